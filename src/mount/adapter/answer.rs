//! Answers in the terms of FUSE.

use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileType, Generation, INodeNo, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr,
};

use crate::error::{Error, Result};
use crate::mount::deadline::Answer;
use crate::tree::{Attr, NodeKind};

pub fn errno(error: &Error) -> Errno {
    Errno::from_i32(error.errno())
}

pub fn file_type(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::Directory => FileType::Directory,
        NodeKind::File => FileType::RegularFile,
        NodeKind::Link => FileType::Symlink,
    }
}

pub fn file_attr(attr: &Attr) -> FileAttr {
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
    ReplyEmpty,
    ReplyEntry,
    ReplyLseek,
    ReplyOpen,
    ReplyStatfs,
    ReplyWrite,
    ReplyXattr,
    ReplyDirectory,
    ReplyDirectoryPlus
);

pub fn answer_entry(reply: ReplyEntry, found: Result<(Attr, Duration)>) {
    match found {
        Ok((attr, ttl)) => reply.entry(&ttl, &file_attr(&attr), Generation(0)),
        Err(error) => reply.error(errno(&error)),
    }
}

pub fn answer_attr(reply: ReplyAttr, found: Result<(Attr, Duration)>) {
    match found {
        Ok((attr, ttl)) => reply.attr(&ttl, &file_attr(&attr)),
        Err(error) => reply.error(errno(&error)),
    }
}

/// Answers with a value, its size, or that the buffer is too small (getxattr(2)).
pub fn answer_xattr(reply: ReplyXattr, size: u32, value: Result<Vec<u8>>) {
    match value {
        Ok(value) if size == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(error) => reply.error(errno(&error)),
    }
}

pub fn answer_empty(reply: ReplyEmpty, done: Result<()>) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(&error)),
    }
}
