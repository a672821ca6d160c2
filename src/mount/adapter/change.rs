//! Requests that change something. Only `jobs/` takes them, apart from deletions.

use std::ffi::OsStr;
use std::time::SystemTime;

use fuser::{
    Errno, FileHandle, FopenFlags, Generation, INodeNo, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, TimeOrNow,
};

use super::Adapter;
use super::answer::{answer_attr, answer_empty, answer_entry, errno, file_attr};
use crate::tree::{Changes, OpenMode};

/// What is written is read back as it is, and sizes are not to be believed: nothing of it is kept by the kernel.
const WRITTEN: FopenFlags = FopenFlags::FOPEN_DIRECT_IO;

fn mode(flags: OpenFlags) -> OpenMode {
    OpenMode {
        writes: flags.acc_mode() != OpenAccMode::O_RDONLY,
        truncates: flags.0 & libc::O_TRUNC != 0,
        appends: flags.0 & libc::O_APPEND != 0,
        is_new: flags.0 & libc::O_EXCL != 0,
    }
}

/// Returns true if a file that is opened like this may be changed.
pub fn may_change(flags: OpenFlags) -> bool {
    let mode = mode(flags);
    mode.writes || mode.truncates
}

impl Adapter {
    pub fn open_for_writing(&self, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let tree = self.tree.clone();
        self.deadline.run(reply, move |reply| {
            let opened = tree.open_for_writing(ino.0, mode(flags));
            reply.send(|reply| match opened {
                Ok(handle) => reply.opened(FileHandle(handle), WRITTEN),
                Err(error) => reply.error(errno(&error)),
            });
        });
    }

    pub fn create_file(&self, parent: INodeNo, name: &OsStr, flags: i32, reply: ReplyCreate) {
        let (tree, name) = (self.tree.clone(), name.to_owned());
        self.deadline.run(reply, move |reply| {
            let created = tree.create(parent.0, &name, mode(OpenFlags(flags)));
            reply.send(|reply| match created {
                Ok((handle, attr, ttl)) => {
                    reply.created(&ttl, &file_attr(&attr), Generation(0), FileHandle(handle), WRITTEN)
                }
                Err(error) => reply.error(errno(&error)),
            });
        });
    }

    pub fn make_file(&self, parent: INodeNo, name: &OsStr, mode: u32, reply: ReplyEntry) {
        if mode & libc::S_IFMT != libc::S_IFREG {
            return reply.error(errno(&self.tree.refusal()));
        }
        let (tree, name) = (self.tree.clone(), name.to_owned());
        self.deadline.run(reply, move |reply| {
            let made = tree.make(parent.0, &name);
            reply.send(|reply| answer_entry(reply, made));
        });
    }

    pub fn change(
        &self,
        ino: INodeNo,
        size: Option<u64>,
        mtime: Option<TimeOrNow>,
        fh: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        let mtime = mtime.map(|mtime| match mtime {
            TimeOrNow::SpecificTime(time) => time,
            TimeOrNow::Now => SystemTime::now(),
        });
        let tree = self.tree.clone();
        self.deadline.run(reply, move |reply| {
            let changed = tree.change(ino.0, fh.map(|fh| fh.0), Changes { size, mtime });
            reply.send(|reply| answer_attr(reply, changed));
        });
    }

    pub fn change_xattr(&self, ino: INodeNo, reply: ReplyEmpty) {
        let tree = self.tree.clone();
        self.deadline.run(reply, move |reply| {
            let error = tree.xattr_refusal(ino.0);
            reply.send(|reply| reply.error(errno(&error)));
        });
    }

    pub fn move_file(
        &self,
        from: (INodeNo, &OsStr),
        to: (INodeNo, &OsStr),
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !RenameFlags::RENAME_NOREPLACE.contains(flags) {
            return reply.error(Errno::EINVAL);
        }
        let has_to_be_new = flags.contains(RenameFlags::RENAME_NOREPLACE);
        let (from, to) = ((from.0.0, from.1.to_owned()), (to.0.0, to.1.to_owned()));
        let tree = self.tree.clone();
        self.deadline.run(reply, move |reply| {
            let done = tree.rename((from.0, &from.1), (to.0, &to.1), has_to_be_new);
            reply.send(|reply| answer_empty(reply, done));
        });
    }

    pub fn delete(&self, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (tree, name) = (self.tree.clone(), name.to_owned());
        self.deadline.run(reply, move |reply| {
            let done = tree.unlink(parent.0, &name);
            reply.send(|reply| answer_empty(reply, done));
        });
    }

    pub fn write_at(&self, fh: FileHandle, offset: u64, data: &[u8], reply: ReplyWrite) {
        let (tree, data) = (self.tree.clone(), data.to_vec());
        self.deadline.run(reply, move |reply| {
            let written = tree.write(fh.0, offset, &data);
            reply.send(|reply| match written {
                Ok(()) => reply.written(data.len() as u32),
                Err(error) => reply.error(errno(&error)),
            });
        });
    }

    pub fn hand_in(&self, fh: FileHandle, reply: ReplyEmpty) {
        let tree = self.tree.clone();
        self.deadline.run(reply, move |reply| {
            let done = tree.flush(fh.0);
            reply.send(|reply| answer_empty(reply, done));
        });
    }

    /// What has been written and not handed in is, or is kept.
    pub fn close(&self, fh: FileHandle, reply: ReplyEmpty) {
        let tree = self.tree.clone();
        self.deadline.run(reply, move |reply| {
            tree.release(fh.0);
            reply.send(|reply| reply.ok());
        });
    }
}
