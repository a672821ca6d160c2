//! Answers in the terms of FUSE: what each kind of reply says.

use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, FopenFlags, Generation, INodeNo, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr,
};

use crate::error::{Error, Result};
use crate::mount::deadline::Answer;
use crate::store::parts::Space;
use crate::tree::{Attr, Handle, NodeKind};

/// A reply that says something when all went well.
pub(crate) trait Reply: Answer + Sized {
    type Value: Send;

    fn tell(self, value: Self::Value);

    fn answer(self, found: Result<Self::Value>) {
        match found {
            Ok(value) => self.tell(value),
            Err(error) => self.fail(&error),
        }
    }

    /// Returns what is open only for whoever gets this answer.
    fn opened(_value: &Self::Value) -> Option<Handle> {
        None
    }
}

/// What a file or directory was opened as.
pub(crate) struct Opened {
    pub(crate) handle: Handle,
    pub(crate) flags: FopenFlags,
}

/// A file that was made and opened.
pub(crate) struct Created {
    pub(crate) opened: Opened,
    pub(crate) attr: Attr,
    pub(crate) ttl: Duration,
}

/// The reply to a question for an extended attribute, or for the names of all, with the size of the asker's buffer
/// (getxattr(2), listxattr(2)).
pub(crate) struct ReplySized {
    pub(crate) reply: ReplyXattr,
    pub(crate) size: u32,
}

pub(crate) fn errno(error: &Error) -> Errno {
    Errno::from_i32(error.errno())
}

pub(crate) fn file_type(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::Directory => FileType::Directory,
        NodeKind::File => FileType::RegularFile,
        NodeKind::Link => FileType::Symlink,
    }
}

pub(crate) fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino),
        size: attr.size,
        blocks: attr.blocks,
        atime: attr.mtime,
        mtime: attr.mtime,
        ctime: attr.mtime,
        crtime: SystemTime::UNIX_EPOCH,
        kind: file_type(attr.kind),
        perm: attr.mode,
        nlink: attr.links,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: attr.block_size,
        flags: 0,
    }
}

macro_rules! answers {
    ($($reply:ty),*) => { $(impl Answer for $reply {
        fn fail(self, error: &Error) {
            self.error(errno(error));
        }
    })* };
}
answers!(
    ReplyAttr,
    ReplyCreate,
    ReplyData,
    ReplyDirectory,
    ReplyDirectoryPlus,
    ReplyEmpty,
    ReplyEntry,
    ReplyLseek,
    ReplyOpen,
    ReplyStatfs,
    ReplyWrite
);

impl Answer for ReplySized {
    fn fail(self, error: &Error) {
        self.reply.error(errno(error));
    }
}

impl Reply for ReplyEntry {
    type Value = (Attr, Duration);

    fn tell(self, (attr, ttl): (Attr, Duration)) {
        self.entry(&ttl, &file_attr(&attr), Generation(0));
    }
}

impl Reply for ReplyAttr {
    type Value = (Attr, Duration);

    fn tell(self, (attr, ttl): (Attr, Duration)) {
        self.attr(&ttl, &file_attr(&attr));
    }
}

impl Reply for ReplyEmpty {
    type Value = ();

    fn tell(self, (): ()) {
        self.ok();
    }
}

impl Reply for ReplyDirectory {
    type Value = ();

    fn tell(self, (): ()) {
        self.ok();
    }
}

impl Reply for ReplyDirectoryPlus {
    type Value = ();

    fn tell(self, (): ()) {
        self.ok();
    }
}

impl Reply for ReplyData {
    type Value = Vec<u8>;

    fn tell(self, data: Vec<u8>) {
        self.data(&data);
    }
}

impl Reply for ReplyWrite {
    type Value = u32;

    fn tell(self, written: u32) {
        self.written(written);
    }
}

impl Reply for ReplyLseek {
    type Value = i64;

    fn tell(self, offset: i64) {
        self.offset(offset);
    }
}

impl Reply for ReplyOpen {
    type Value = Opened;

    fn tell(self, Opened { handle, flags }: Opened) {
        self.opened(FileHandle(handle), flags);
    }

    fn opened(value: &Opened) -> Option<Handle> {
        Some(value.handle)
    }
}

impl Reply for ReplyCreate {
    type Value = Created;

    fn tell(self, Created { opened, attr, ttl }: Created) {
        self.created(&ttl, &file_attr(&attr), Generation(0), FileHandle(opened.handle), opened.flags);
    }

    fn opened(value: &Created) -> Option<Handle> {
        Some(value.opened.handle)
    }
}

impl Reply for ReplyStatfs {
    type Value = Space;

    fn tell(self, fs: Space) {
        self.statfs(
            fs.blocks,
            fs.blocks_free,
            fs.blocks_available,
            fs.files,
            fs.files_free,
            fs.block_size as u32,
            fs.name_max as u32,
            fs.fragment_size as u32,
        );
    }
}

impl Reply for ReplySized {
    type Value = Vec<u8>;

    fn tell(self, value: Vec<u8>) {
        match self.size as usize {
            0 => self.reply.size(value.len() as u32),
            size if value.len() > size => self.reply.error(Errno::ERANGE),
            _ => self.reply.data(&value),
        }
    }
}
