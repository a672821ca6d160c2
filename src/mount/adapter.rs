//! Passes FUSE requests on to the tree, and its answers back; no policy of its own. Handlers that refuse or change
//! something come first.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, INodeNo,
    InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenAccMode, OpenFlags, PollEvents, PollFlags,
    PollNotifier, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite,
    ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::deadline::{Answer, Pending};
use crate::error::{Error, Kind, Result};
use crate::tree::{Caching, Changes, Needs, OpenMode, Place, Question, Tree};

mod answer;
mod ask;
mod readdir;

use answer::{CreateReply, OpenReply, Reply, ReplySized, errno};
pub(crate) use ask::Adapter;
use ask::send;

/// Read-ahead requests that the kernel may have under way, of all files together. The limit is out of reach: once that
/// many hang, the kernel sends no more of them.
const MAX_BACKGROUND: u16 = u16::MAX;

/// A file that is open for reading needs no FLUSH: a process that ends need not wait for the answer.
const READ: FopenFlags = FopenFlags::FOPEN_NOFLUSH;
/// The kernel caches nothing of a file that can be written: its bytes and its size also change without it.
const WRITTEN: FopenFlags = FopenFlags::FOPEN_DIRECT_IO;

fn open_mode(flags: OpenFlags) -> OpenMode {
    OpenMode {
        writes: flags.acc_mode() != OpenAccMode::O_RDONLY,
        truncates: flags.0 & libc::O_TRUNC != 0,
        appends: flags.0 & libc::O_APPEND != 0,
        is_new: flags.0 & libc::O_EXCL != 0,
    }
}

fn open_flags(caching: Caching) -> FopenFlags {
    match caching {
        Caching::Finished => READ | FopenFlags::FOPEN_KEEP_CACHE,
        // The kernel would cut off reads at the size that it knows.
        Caching::Live => READ | FopenFlags::FOPEN_DIRECT_IO,
    }
}

/// Returns the offset that SEEK_DATA or SEEK_HOLE finds: a file is all data, and its only hole is at the end.
fn seek(size: u64, offset: i64, whence: i32) -> Result<i64> {
    match size as i64 {
        size if !(0..size).contains(&offset) => {
            Err(Error::new(Kind::Os(libc::ENXIO), "it is behind the end"))
        }
        size if whence == libc::SEEK_HOLE => Ok(size),
        _ => Ok(offset),
    }
}

/// Handlers that refuse. The kernel takes ENOSYS, which is what fuser answers by default, for every node and for ever.
/// A read-only mount needs them too: root can remount it read-write.
macro_rules! refuse {
    ($($name:ident($($arg:ty),*) -> $reply:ty: $errno:expr;)*) => { $(
        fn $name(&self, _req: &Request, $(_: $arg,)* reply: $reply) {
            let errno: fn(&Adapter) -> Errno = $errno;
            reply.error(errno(self));
        }
    )* };
}

fn refusal(adapter: &Adapter) -> Errno {
    errno(&adapter.tree.refusal())
}

type Time = Option<SystemTime>;

impl Filesystem for Adapter {
    refuse! {
        mkdir(INodeNo, &OsStr, u32, u32) -> ReplyEntry: refusal;
        rmdir(INodeNo, &OsStr) -> ReplyEmpty: refusal;
        symlink(INodeNo, &OsStr, &Path) -> ReplyEntry: refusal;
        link(INodeNo, INodeNo, &OsStr) -> ReplyEntry: refusal;
        ioctl(INodeNo, FileHandle, IoctlFlags, u32, &[u8], u32) -> ReplyIoctl: |_| Errno::ENOTTY;
        fallocate(INodeNo, FileHandle, u64, u64, i32) -> ReplyEmpty: |_| Errno::EOPNOTSUPP;
        // The kernel then copies by itself.
        copy_file_range(INodeNo, FileHandle, u64, INodeNo, FileHandle, u64, u64, CopyFileRangeFlags) -> ReplyWrite:
            |_| Errno::EOPNOTSUPP;
    }

    fn setattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Time,
        fh: Option<FileHandle>,
        _crtime: Time,
        _chgtime: Time,
        _bkuptime: Time,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mtime = mtime.map(|mtime| match mtime {
            TimeOrNow::SpecificTime(time) => time,
            TimeOrNow::Now => SystemTime::now(),
        });
        let changes = Changes { size, mtime };
        self.change(reply, move |tree| tree.setattr(ino.0, fh.map(|fh| fh.0), changes));
    }

    fn mknod(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        if mode & libc::S_IFMT != libc::S_IFREG {
            return reply.error(errno(&self.tree.refusal()));
        }
        let name = name.to_owned();
        self.change(reply, move |tree| tree.mknod(parent.0, &name));
    }

    fn create(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (name, mode) = (name.to_owned(), open_mode(OpenFlags(flags)));
        self.change(reply, move |tree| {
            let (handle, attr, ttl) = tree.create(parent.0, &name, mode)?;
            Ok(CreateReply { opened: OpenReply { handle, flags: WRITTEN }, attr, ttl })
        });
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !RenameFlags::RENAME_NOREPLACE.contains(flags) {
            return reply.error(Errno::EINVAL);
        }
        let has_to_be_new = flags.contains(RenameFlags::RENAME_NOREPLACE);
        let (name, newname) = (name.to_owned(), newname.to_owned());
        self.change(reply, move |tree| {
            tree.rename((parent.0, &name), (newparent.0, &newname), has_to_be_new)
        });
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        self.change(reply, move |tree| tree.unlink(parent.0, &name));
    }

    fn write(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let data = data.to_vec();
        self.write_through(fh, reply, move |tree| {
            tree.write(fh.0, offset, &data).map(|()| data.len() as u32)
        });
    }

    fn setxattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        _name: &OsStr,
        _value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let needs = |tree: &Tree| tree.needs(ino.0, Question::Attributes);
        self.answer(reply, needs, move |tree| Err(tree.xattr_refusal(ino.0)));
    }

    fn removexattr(&self, _req: &Request, ino: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        let needs = |tree: &Tree| tree.needs(ino.0, Question::Attributes);
        self.answer(reply, needs, move |tree| Err(tree.xattr_refusal(ino.0)));
    }

    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // A kernel that knows less does without: each of these only saves round trips.
        for wish in [
            InitFlags::FUSE_PARALLEL_DIROPS,
            // Always, not when the kernel thinks fit (FUSE_READDIRPLUS_AUTO): `find` looks at nothing until it has read
            // all of a directory. What would take work to give is left for later, see `Tree::attributes_now`.
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_EXPORT_SUPPORT,
            // Else a truncation would come without saying which handle it is for.
            InitFlags::FUSE_ATOMIC_O_TRUNC,
        ] {
            let _ = config.add_capabilities(wish);
        }
        let _ = config.set_max_background(MAX_BACKGROUND);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let owned = name.to_owned();
        let needs = |tree: &Tree| tree.needs_of_name(parent.0, name);
        self.answer(reply, needs, move |tree| tree.lookup(parent.0, &owned));
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        let needs = |tree: &Tree| tree.needs(ino.0, Question::Attributes);
        self.answer(reply, needs, move |tree| tree.getattr(ino.0, fh.map(|fh| fh.0)));
    }

    fn open(&self, _req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let mode = open_mode(flags);
        if mode.writes || mode.truncates {
            return self.change(reply, move |tree| {
                tree.open_for_writing(ino.0, mode).map(|handle| OpenReply { handle, flags: WRITTEN })
            });
        }
        let needs = |tree: &Tree| tree.needs(ino.0, Question::Open);
        self.answer(reply, needs, move |tree| {
            tree.open(ino.0).map(|(handle, caching)| OpenReply { handle, flags: open_flags(caching) })
        });
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let tree = self.tree.clone();
        // The bytes are borrowed for the length of the call, so the reply is sent from within it.
        let work = move |reply: &Pending<ReplyData>| {
            let mut lent = |bytes: &[u8]| {
                reply.send(|reply| reply.data(bytes));
            };
            if let Err(error) = tree.read(fh.0, offset, size as usize, &mut lent) {
                reply.send(|reply| reply.fail(&error));
            }
        };
        match self.tree.needs_of_handle(fh.0) {
            // A read behind a complete spec hands it in, and returns the id of its run.
            Needs::Store(Place::Changes) => self.deadline.change(reply, self.giving_up(fh), work),
            needs => self.deadline.run_at(reply, needs, work),
        }
    }

    fn lseek(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        // Only SEEK_DATA and SEEK_HOLE come here.
        let needs = |tree: &Tree| tree.needs(ino.0, Question::Attributes);
        self.answer(reply, needs, move |tree| seek(tree.getattr(ino.0, Some(fh.0))?.0.size, offset, whence));
    }

    fn poll(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _ph: PollNotifier,
        events: PollEvents,
        _flags: PollFlags,
        reply: ReplyPoll,
    ) {
        // Files are always ready. The kernel always asks for errors too.
        reply.poll(events & (PollEvents::POLLIN | PollEvents::POLLRDNORM));
    }

    fn flush(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        match self.is_written(fh) {
            true => self.write_through(fh, reply, move |tree| tree.flush(fh.0)),
            // What is only read has nothing to hand in.
            false => reply.ok(),
        }
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let (tree, needs) = (self.tree.clone(), self.tree.needs_of_handle(fh.0));
        // What has been written is handed in now, or kept as refused. Nobody waits for that, nor for files of the store
        // to be closed.
        reply.ok();
        self.deadline.spawn(needs, move || tree.release(fh.0));
    }

    fn fsync(&self, req: &Request, ino: INodeNo, fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.flush(req, ino, fh, LockOwner(0), reply);
    }

    fn fsyncdir(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let opened = |handle| OpenReply { handle, flags: FopenFlags::empty() };
        let (tree, known) = (self.tree.clone(), self.tree.clone());
        let work = move |reply: &Pending<ReplyOpen>| send(reply, &tree, tree.opendir(ino.0).map(opened));
        match self.tree.needs(ino.0, Question::List) {
            // An older listing stands in where only the catalogue knows what there is.
            needs @ Needs::Store(Place::Catalogue) => {
                let stand_in = move |reply: ReplyOpen| {
                    reply.answer(known.opendir_as_known(ino.0).map(opened));
                };
                self.deadline.run_or(reply, needs, stand_in, work);
            }
            needs => self.deadline.run_at(reply, needs, work),
        }
    }

    fn readdir(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, offset: u64, reply: ReplyDirectory) {
        self.fill(fh, offset, reply);
    }

    fn readdirplus(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.fill_with_attributes(fh, offset, reply);
    }

    fn releasedir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.tree.release(fh.0);
        reply.ok();
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let needs = |_: &Tree| Needs::Store(Place::Disk);
        self.answer(reply, needs, |tree| tree.statfs());
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        // Most names that are asked for belong to no node, and saying so takes no look at this one.
        if let Err(error) = Tree::check_xattr_name(name) {
            return reply.error(errno(&error));
        }
        let name = name.to_owned();
        let needs = |tree: &Tree| tree.needs_of_xattr(ino.0);
        self.answer(ReplySized { reply, size }, needs, move |tree| tree.getxattr(ino.0, &name));
    }

    fn listxattr(&self, _req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let needs = |tree: &Tree| tree.needs_of_xattr(ino.0);
        self.answer(ReplySized { reply, size }, needs, move |tree| tree.listxattr(ino.0));
    }

    fn access(&self, _req: &Request, ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let needs = |tree: &Tree| tree.needs(ino.0, Question::Attributes);
        self.answer(reply, needs, move |tree| {
            tree.exists(ino.0)?;
            let is_refused = mask.contains(AccessFlags::W_OK) && !tree.is_writable();
            if is_refused { Err(tree.refusal()) } else { Ok(()) }
        });
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        let needs = |tree: &Tree| tree.needs(ino.0, Question::Open);
        self.answer(reply, needs, move |tree| tree.readlink(ino.0));
    }
}
