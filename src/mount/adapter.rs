//! From FUSE requests to the tree and back; no policy of its own.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, INodeNo,
    InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};
use nix::sys::statvfs::statvfs;

use super::deadline::{Answer, Deadline, Pending};
use crate::tree::{Asked, Caching, Needs, Place, Tree};

mod answer;
mod change;
mod directory;

use answer::{answer_attr, answer_empty, answer_entry, answer_xattr, errno};
use change::may_change;

/// Requests that the kernel sends ahead of readers, of all files together: those that hang must not be all there are, for then
/// it sends no others.
const MAX_BACKGROUND: u16 = u16::MAX;

/// Nothing that is read has anything to say when it is closed; and who ends need not wait for an answer to that.
const READ: FopenFlags = FopenFlags::FOPEN_NOFLUSH;

pub struct Adapter {
    tree: Arc<Tree>,
    deadline: Deadline,
}

impl Adapter {
    pub fn new(tree: Arc<Tree>, deadline: Deadline) -> Adapter {
        Adapter { tree, deadline }
    }

    /// Answers with what `ask` finds. `needs` tells what it takes.
    fn answer<R: Answer, T>(
        &self,
        reply: R,
        needs: impl FnOnce(&Tree) -> Needs,
        ask: impl FnOnce(&Tree) -> T + Send + 'static,
        tell: impl FnOnce(R, T) + Send + 'static,
    ) {
        let tree = self.tree.clone();
        self.deadline.run(
            reply,
            || needs(&self.tree),
            move |reply| {
                let found = ask(&tree);
                reply.send(|reply| tell(reply, found));
            },
        );
    }
}

/// Handlers that refuse. What fuser says of its own (ENOSYS) the kernel takes for every node and for ever; and a mount
/// that is read-only can be remounted otherwise by root.
macro_rules! refuse {
    ($($name:ident($($arg:ty),*) -> $reply:ty;)*) => { $(
        fn $name(&self, _req: &Request, $(_: $arg,)* reply: $reply) {
            reply.error(errno(&self.tree.refusal()));
        }
    )* };
}

type Time = Option<SystemTime>;

impl Filesystem for Adapter {
    refuse! {
        mkdir(INodeNo, &OsStr, u32, u32) -> ReplyEntry;
        rmdir(INodeNo, &OsStr) -> ReplyEmpty;
        symlink(INodeNo, &OsStr, &Path) -> ReplyEntry;
        link(INodeNo, INodeNo, &OsStr) -> ReplyEntry;
    }

    fn ioctl(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
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
        self.change(ino, size, mtime, fh, reply);
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
        self.make_file(parent, name, mode, reply);
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
        self.create_file(parent, name, flags, reply);
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
        self.move_file((parent, name), (newparent, newname), flags, reply);
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.delete(parent, name, reply);
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
        self.write_at(fh, offset, data, reply);
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
        self.change_xattr(ino, reply);
    }

    fn removexattr(&self, _req: &Request, ino: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        self.change_xattr(ino, reply);
    }

    fn copy_file_range(
        &self,
        _req: &Request,
        _ino_in: INodeNo,
        _fh_in: FileHandle,
        _offset_in: u64,
        _ino_out: INodeNo,
        _fh_out: FileHandle,
        _offset_out: u64,
        _len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        // The kernel then copies by itself.
        reply.error(Errno::EOPNOTSUPP);
    }

    fn fallocate(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _offset: u64,
        _length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EOPNOTSUPP);
    }

    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // A kernel that knows less does without: each of these only saves round trips.
        for wish in [
            InitFlags::FUSE_PARALLEL_DIROPS,
            // Always, not when the kernel thinks fit (FUSE_READDIRPLUS_AUTO): `find` looks at nothing until it has read all of
            // a directory. What would take work to give is left for later, see `Tree::attributes_now`.
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
        self.answer(reply, needs, move |tree| tree.lookup(parent.0, &owned), answer_entry);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        let needs = |tree: &Tree| tree.needs(ino.0, Asked::Attributes);
        self.answer(reply, needs, move |tree| tree.getattr(ino.0, fh.map(|fh| fh.0)), answer_attr);
    }

    fn open(&self, _req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if may_change(flags) {
            return self.open_for_writing(ino, flags, reply);
        }
        let tree = self.tree.clone();
        let needs = || self.tree.needs(ino.0, Asked::Open);
        self.deadline.run(reply, needs, move |reply| match tree.open(ino.0) {
            Ok((handle, caching)) => {
                let flags = match caching {
                    Caching::Finished => READ | FopenFlags::FOPEN_KEEP_CACHE,
                    // The kernel would cut what it reads at the size that it knows.
                    Caching::Live => READ | FopenFlags::FOPEN_DIRECT_IO,
                };
                if !reply.send(|reply| reply.opened(FileHandle(handle), flags)) {
                    tree.release(handle);
                }
            }
            Err(error) => drop(reply.send(|reply| reply.error(errno(&error)))),
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
        let needs = self.tree.needs_of_handle(fh.0);
        if needs == Needs::Store(Place::Changes) {
            return self.read_written(fh, offset, size, reply);
        }
        let tree = self.tree.clone();
        self.deadline.run_at(reply, needs, move |reply| read(&tree, fh, offset, size, reply));
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
        // Only SEEK_DATA and SEEK_HOLE come here. All is data, and behind it is a hole.
        let needs = |tree: &Tree| tree.needs(ino.0, Asked::Attributes);
        let ask = move |tree: &Tree| tree.getattr(ino.0, Some(fh.0));
        self.answer(reply, needs, ask, move |reply, found| match found {
            Ok((attr, _)) if !(0..attr.size as i64).contains(&offset) => reply.error(Errno::ENXIO),
            Ok((attr, _)) if whence == libc::SEEK_HOLE => reply.offset(attr.size as i64),
            Ok(_) => reply.offset(offset),
            Err(error) => reply.error(errno(&error)),
        });
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
        self.hand_in(fh, reply);
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
        self.close(fh, reply);
    }

    fn fsync(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.hand_in(fh, reply);
    }

    fn fsyncdir(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.open_directory(ino, reply);
    }

    fn readdir(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, offset: u64, reply: ReplyDirectory) {
        self.list(fh, offset, reply);
    }

    fn readdirplus(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.list_with_attributes(fh, offset, reply);
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
        let ask = |tree: &Tree| statvfs(tree.store().dir());
        self.answer(reply, needs, ask, |reply, found| match found {
            Ok(fs) => reply.statfs(
                fs.blocks(),
                fs.blocks_free(),
                fs.blocks_available(),
                fs.files(),
                fs.files_free(),
                fs.block_size() as u32,
                fs.name_max() as u32,
                fs.fragment_size() as u32,
            ),
            Err(error) => reply.error(Errno::from_i32(error as i32)),
        });
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        // Most are asked in vain, and that needs no look at the node.
        if let Err(error) = Tree::check_xattr_name(name) {
            return reply.error(errno(&error));
        }
        let name = name.to_owned();
        let needs = |tree: &Tree| tree.needs_of_xattr(ino.0);
        self.answer(
            reply,
            needs,
            move |tree| tree.xattr(ino.0, &name),
            move |reply, value| answer_xattr(reply, size, value),
        );
    }

    fn listxattr(&self, _req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let needs = |tree: &Tree| tree.needs_of_xattr(ino.0);
        let ask = move |tree: &Tree| tree.xattr_names(ino.0);
        self.answer(reply, needs, ask, move |reply, names| answer_xattr(reply, size, names));
    }

    fn access(&self, _req: &Request, ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let needs = |tree: &Tree| tree.needs(ino.0, Asked::Attributes);
        let ask = move |tree: &Tree| {
            tree.exists(ino.0).and_then(|()| match tree.is_writable() {
                false if mask.contains(AccessFlags::W_OK) => Err(tree.refusal()),
                _ => Ok(()),
            })
        };
        self.answer(reply, needs, ask, answer_empty);
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        let needs = |tree: &Tree| tree.needs(ino.0, Asked::Open);
        self.answer(
            reply,
            needs,
            move |tree| tree.readlink(ino.0),
            |reply, target| match target {
                Ok(target) => reply.data(&target),
                Err(error) => reply.error(errno(&error)),
            },
        );
    }
}

fn read(tree: &Tree, fh: FileHandle, offset: u64, size: u32, reply: &Pending<ReplyData>) {
    let mut answer = |bytes: &[u8]| {
        reply.send(|reply| reply.data(bytes));
    };
    if let Err(error) = tree.read(fh.0, offset, size as usize, &mut answer) {
        reply.send(|reply| reply.error(errno(&error)));
    }
}
