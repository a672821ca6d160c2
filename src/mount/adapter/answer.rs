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

/// A reply that carries a value when all went well.
pub(crate) trait Reply: Answer + Sized {
    type Value: Send;

    fn succeed(self, value: Self::Value);

    fn answer(self, found: Result<Self::Value>) {
        match found {
            Ok(value) => self.succeed(value),
            Err(error) => self.fail(&error),
        }
    }

    /// Returns the handle that only this answer makes known.
    fn opened(_value: &Self::Value) -> Option<Handle> {
        None
    }
}

/// The answer to OPEN and OPENDIR.
pub(crate) struct OpenReply {
    pub(crate) handle: Handle,
    pub(crate) flags: FopenFlags,
}

/// The answer to CREATE.
pub(crate) struct CreateReply {
    pub(crate) opened: OpenReply,
    pub(crate) attr: Attr,
    pub(crate) ttl: Duration,
}

/// The reply to getxattr(2) or listxattr(2), with the size of the caller's buffer; 0 asks for the length alone.
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

    fn succeed(self, (attr, ttl): (Attr, Duration)) {
        self.entry(&ttl, &file_attr(&attr), Generation(0));
    }
}

impl Reply for ReplyAttr {
    type Value = (Attr, Duration);

    fn succeed(self, (attr, ttl): (Attr, Duration)) {
        self.attr(&ttl, &file_attr(&attr));
    }
}

impl Reply for ReplyEmpty {
    type Value = ();

    fn succeed(self, (): ()) {
        self.ok();
    }
}

impl Reply for ReplyDirectory {
    type Value = ();

    fn succeed(self, (): ()) {
        self.ok();
    }
}

impl Reply for ReplyDirectoryPlus {
    type Value = ();

    fn succeed(self, (): ()) {
        self.ok();
    }
}

impl Reply for ReplyData {
    type Value = Vec<u8>;

    fn succeed(self, data: Vec<u8>) {
        self.data(&data);
    }
}

impl Reply for ReplyWrite {
    type Value = u32;

    fn succeed(self, written: u32) {
        self.written(written);
    }
}

impl Reply for ReplyLseek {
    type Value = i64;

    fn succeed(self, offset: i64) {
        self.offset(offset);
    }
}

impl Reply for ReplyOpen {
    type Value = OpenReply;

    fn succeed(self, OpenReply { handle, flags }: OpenReply) {
        self.opened(FileHandle(handle), flags);
    }

    fn opened(value: &OpenReply) -> Option<Handle> {
        Some(value.handle)
    }
}

impl Reply for ReplyCreate {
    type Value = CreateReply;

    fn succeed(self, CreateReply { opened, attr, ttl }: CreateReply) {
        self.created(&ttl, &file_attr(&attr), Generation(0), FileHandle(opened.handle), opened.flags);
    }

    fn opened(value: &CreateReply) -> Option<Handle> {
        Some(value.opened.handle)
    }
}

impl Reply for ReplyStatfs {
    type Value = Space;

    fn succeed(self, fs: Space) {
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

    fn succeed(self, value: Vec<u8>) {
        match self.size as usize {
            0 => self.reply.size(value.len() as u32),
            size if value.len() > size => self.reply.error(Errno::ERANGE),
            _ => self.reply.data(&value),
        }
    }
}
