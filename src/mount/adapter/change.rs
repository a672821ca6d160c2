//! Requests that change something. Only `jobs/` takes them, apart from deletions.

use std::ffi::OsStr;
use std::time::SystemTime;

use fuser::{
    Errno, FileHandle, FopenFlags, Generation, INodeNo, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, TimeOrNow,
};

use super::answer::{answer_attr, answer_empty, answer_entry, errno, file_attr};
use super::{Adapter, read};
use crate::mount::deadline::{Answer, Pending};
use crate::tree::{Asked, Changes, Needs, OpenMode, Place, Tree, no_answer};

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
    /// Answers with what becomes of a change.
    fn answer_change<R: Answer, T>(
        &self,
        reply: R,
        change: impl FnOnce(&Tree) -> T + Send + 'static,
        tell: impl FnOnce(R, T) + Send + 'static,
    ) {
        let tree = self.tree.clone();
        let work = move |reply: &Pending<R>| {
            let done = change(&tree);
            reply.send(|reply| tell(reply, done));
        };
        self.deadline.change(reply, || {}, work);
    }

    /// The same for what is written through a handle: what is given up is not handed in later either.
    fn answer_writer<R: Answer, T>(
        &self,
        fh: FileHandle,
        reply: R,
        change: impl FnOnce(&Tree) -> T + Send + 'static,
        tell: impl FnOnce(R, T) + Send + 'static,
    ) {
        if self.tree.is_given_up(fh.0) {
            return reply.fail(&no_answer());
        }
        let (tree, writer) = (self.tree.clone(), self.tree.clone());
        let work = move |reply: &Pending<R>| {
            let done = change(&tree);
            reply.send(|reply| tell(reply, done));
        };
        self.deadline.change(reply, move || writer.give_up(fh.0), work);
    }

    pub fn open_for_writing(&self, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let tree = self.tree.clone();
        let work = move |reply: &Pending<ReplyOpen>| match tree.open_for_writing(ino.0, mode(flags)) {
            Ok(handle) => {
                if !reply.send(|reply| reply.opened(FileHandle(handle), WRITTEN)) {
                    tree.release(handle);
                }
            }
            Err(error) => drop(reply.send(|reply| reply.error(errno(&error)))),
        };
        self.deadline.change(reply, || {}, work);
    }

    pub fn create_file(&self, parent: INodeNo, name: &OsStr, flags: i32, reply: ReplyCreate) {
        let (tree, name) = (self.tree.clone(), name.to_owned());
        let work =
            move |reply: &Pending<ReplyCreate>| match tree.create(parent.0, &name, mode(OpenFlags(flags))) {
                Ok((handle, attr, ttl)) => {
                    let created = |reply: ReplyCreate| {
                        reply.created(&ttl, &file_attr(&attr), Generation(0), FileHandle(handle), WRITTEN);
                    };
                    if !reply.send(created) {
                        tree.release(handle);
                    }
                }
                Err(error) => drop(reply.send(|reply| reply.error(errno(&error)))),
            };
        self.deadline.change(reply, || {}, work);
    }

    pub fn make_file(&self, parent: INodeNo, name: &OsStr, mode: u32, reply: ReplyEntry) {
        if mode & libc::S_IFMT != libc::S_IFREG {
            return reply.error(errno(&self.tree.refusal()));
        }
        let name = name.to_owned();
        self.answer_change(reply, move |tree| tree.make(parent.0, &name), answer_entry);
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
        let change = move |tree: &Tree| tree.change(ino.0, fh.map(|fh| fh.0), Changes { size, mtime });
        self.answer_change(reply, change, answer_attr);
    }

    pub fn change_xattr(&self, ino: INodeNo, reply: ReplyEmpty) {
        let needs = |tree: &Tree| tree.needs(ino.0, Asked::Attributes);
        let ask = move |tree: &Tree| tree.xattr_refusal(ino.0);
        self.answer(reply, needs, ask, |reply, error| reply.error(errno(&error)));
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
        let change = move |tree: &Tree| tree.rename((from.0, &from.1), (to.0, &to.1), has_to_be_new);
        self.answer_change(reply, change, answer_empty);
    }

    pub fn delete(&self, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        self.answer_change(reply, move |tree| tree.unlink(parent.0, &name), answer_empty);
    }

    pub fn write_at(&self, fh: FileHandle, offset: u64, data: &[u8], reply: ReplyWrite) {
        let data = data.to_vec();
        let change = move |tree: &Tree| tree.write(fh.0, offset, &data).map(|()| data.len() as u32);
        self.answer_writer(fh, reply, change, |reply, written| match written {
            Ok(written) => reply.written(written),
            Err(error) => reply.error(errno(&error)),
        });
    }

    /// Reads what is being written: behind a spec that is complete, which is handed in for that, is the id of its run.
    pub fn read_written(&self, fh: FileHandle, offset: u64, size: u32, reply: ReplyData) {
        let (tree, writer) = (self.tree.clone(), self.tree.clone());
        let work = move |reply: &Pending<ReplyData>| read(&tree, fh, offset, size, reply);
        self.deadline.change(reply, move || writer.give_up(fh.0), work);
    }

    pub fn hand_in(&self, fh: FileHandle, reply: ReplyEmpty) {
        match self.tree.needs_of_handle(fh.0) {
            Needs::Store(Place::Changes) => {
                self.answer_writer(fh, reply, move |tree| tree.flush(fh.0), answer_empty);
            }
            // What is only read has nothing to hand in.
            _ => reply.ok(),
        }
    }

    /// What has been written and not handed in is, or is kept. Nobody waits for that, nor for what is closed in the store.
    pub fn close(&self, fh: FileHandle, reply: ReplyEmpty) {
        let (tree, needs) = (self.tree.clone(), self.tree.needs_of_handle(fh.0));
        reply.ok();
        self.deadline.spawn(needs, move || tree.release(fh.0));
    }
}
