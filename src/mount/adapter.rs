//! From FUSE requests to the tree and back; no policy of its own.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents,
    PollFlags, PollNotifier, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs,
    ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use nix::sys::statvfs::statvfs;

use super::deadline::{Answer, Deadline};
use crate::error::{Error, Result};
use crate::io::with_scratch;
use crate::tree::{Attr, Caching, NodeKind, Tree};

/// Requests that the kernel sends ahead of a reader.
const MAX_BACKGROUND: u16 = 64;

pub struct Adapter {
    tree: Arc<Tree>,
    deadline: Deadline,
}

impl Adapter {
    /// `threads` is the number of event loops that call this.
    pub fn new(tree: Arc<Tree>, threads: usize) -> Adapter {
        Adapter { tree, deadline: Deadline::start(threads) }
    }
}

fn errno(error: &Error) -> Errno {
    Errno::from_i32(error.errno())
}

fn file_type(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::Directory => FileType::Directory,
        NodeKind::File => FileType::RegularFile,
        NodeKind::Link => FileType::Symlink,
    }
}

fn file_attr(attr: &Attr) -> FileAttr {
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
    ReplyData,
    ReplyEmpty,
    ReplyEntry,
    ReplyOpen,
    ReplyStatfs,
    ReplyXattr,
    ReplyDirectory,
    ReplyDirectoryPlus
);

fn answer_entry(reply: ReplyEntry, found: Result<(Attr, Duration)>) {
    match found {
        Ok((attr, ttl)) => reply.entry(&ttl, &file_attr(&attr), Generation(0)),
        Err(error) => reply.error(errno(&error)),
    }
}

fn answer_attr(reply: ReplyAttr, found: Result<(Attr, Duration)>) {
    match found {
        Ok((attr, ttl)) => reply.attr(&ttl, &file_attr(&attr)),
        Err(error) => reply.error(errno(&error)),
    }
}

/// Answers with a value, its size, or that the buffer is too small (getxattr(2)).
fn answer_xattr(reply: ReplyXattr, size: u32, value: Result<Vec<u8>>) {
    match value {
        Ok(value) if size == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(error) => reply.error(errno(&error)),
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
        setattr(INodeNo, Option<u32>, Option<u32>, Option<u32>, Option<u64>, Option<TimeOrNow>, Option<TimeOrNow>,
            Time, Option<FileHandle>, Time, Time, Time, Option<BsdFileFlags>) -> ReplyAttr;
        mknod(INodeNo, &OsStr, u32, u32, u32) -> ReplyEntry;
        mkdir(INodeNo, &OsStr, u32, u32) -> ReplyEntry;
        rmdir(INodeNo, &OsStr) -> ReplyEmpty;
        symlink(INodeNo, &OsStr, &Path) -> ReplyEntry;
        rename(INodeNo, &OsStr, INodeNo, &OsStr, RenameFlags) -> ReplyEmpty;
        link(INodeNo, INodeNo, &OsStr) -> ReplyEntry;
        create(INodeNo, &OsStr, u32, u32, i32) -> ReplyCreate;
        write(INodeNo, FileHandle, u64, &[u8], WriteFlags, OpenFlags, Option<LockOwner>) -> ReplyWrite;
        fallocate(INodeNo, FileHandle, u64, u64, i32) -> ReplyEmpty;
        copy_file_range(INodeNo, FileHandle, u64, INodeNo, FileHandle, u64, u64, CopyFileRangeFlags)
            -> ReplyWrite;
        setxattr(INodeNo, &OsStr, &[u8], i32, u32) -> ReplyEmpty;
        removexattr(INodeNo, &OsStr) -> ReplyEmpty;
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

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (tree, name) = (self.tree.clone(), name.to_owned());
        self.deadline.run(reply, move |reply| {
            let done = tree.unlink(parent.0, &name);
            reply.send(|reply| match done {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(errno(&error)),
            });
        });
    }

    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // A kernel that knows less does without: each of these only saves round trips.
        for wish in [
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_EXPORT_SUPPORT,
        ] {
            let _ = config.add_capabilities(wish);
        }
        let _ = config.set_max_background(MAX_BACKGROUND);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (tree, name) = (self.tree.clone(), name.to_owned());
        self.deadline.run(reply, move |reply| {
            let found = tree.lookup(parent.0, &name);
            reply.send(|reply| answer_entry(reply, found));
        });
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        let tree = self.tree.clone();
        self.deadline.run(reply, move |reply| {
            let found = tree.getattr(ino.0, fh.map(|fh| fh.0));
            reply.send(|reply| answer_attr(reply, found));
        });
    }

    fn open(&self, _req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if flags.acc_mode() != fuser::OpenAccMode::O_RDONLY {
            return reply.error(errno(&self.tree.refusal()));
        }
        let tree = self.tree.clone();
        self.deadline.run(reply, move |reply| {
            let opened = tree.open(ino.0);
            reply.send(|reply| match opened {
                Ok((handle, Caching::Finished)) => {
                    reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE)
                }
                Ok((handle, Caching::Snapshot)) => reply.opened(FileHandle(handle), FopenFlags::empty()),
                // The kernel would cut what it reads at the size that it knows.
                Ok((handle, Caching::Live)) => reply.opened(FileHandle(handle), FopenFlags::FOPEN_DIRECT_IO),
                Err(error) => reply.error(errno(&error)),
            });
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
        self.deadline.run(reply, move |reply| {
            with_scratch(size as usize, |buf| {
                let read = tree.read(fh.0, buf, offset);
                reply.send(|reply| match read {
                    Ok(n) => reply.data(&buf[..n]),
                    Err(error) => reply.error(errno(&error)),
                });
            });
        });
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
        match self.tree.getattr(ino.0, Some(fh.0)) {
            Ok((attr, _)) if !(0..attr.size as i64).contains(&offset) => reply.error(Errno::ENXIO),
            Ok((attr, _)) => reply.offset(if whence == libc::SEEK_HOLE { attr.size as i64 } else { offset }),
            Err(error) => reply.error(errno(&error)),
        }
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

    fn flush(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        reply.ok();
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
        self.tree.release(fh.0);
        reply.ok();
    }

    fn fsync(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsyncdir(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let tree = self.tree.clone();
        self.deadline.run(reply, move |reply| {
            let opened = tree.open_dir(ino.0);
            reply.send(|reply| match opened {
                Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
                Err(error) => reply.error(errno(&error)),
            });
        });
    }

    fn readdir(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listing = match self.tree.listing(fh.0) {
            Ok(listing) => listing,
            Err(error) => return reply.error(errno(&error)),
        };
        for i in offset.. {
            let Some(entry) = listing.entry(i as usize) else { break };
            if reply.add(INodeNo(entry.ino), i + 1, file_type(entry.kind), &entry.name) {
                break;
            }
        }
        reply.ok();
    }

    fn readdirplus(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let listing = match self.tree.listing(fh.0) {
            Ok(listing) => listing,
            Err(error) => return reply.error(errno(&error)),
        };
        for i in offset.. {
            let Some(entry) = listing.entry(i as usize) else { break };
            // What has gone since the directory was opened is left out.
            let Ok((attr, ttl)) = self.tree.attributes_now(&listing, &entry) else { continue };
            if reply.add(INodeNo(entry.ino), i + 1, &entry.name, &ttl, &file_attr(&attr), Generation(0)) {
                break;
            }
        }
        reply.ok();
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
        let tree = self.tree.clone();
        self.deadline.run(reply, move |reply| {
            let found = statvfs(tree.store().dir());
            reply.send(|reply| match found {
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
        });
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        // `ls -l` asks every file for two attributes of the system.
        if !Tree::may_have_xattr(name) {
            return reply.error(Errno::ENODATA);
        }
        let (tree, name) = (self.tree.clone(), name.to_owned());
        self.deadline.run(reply, move |reply| {
            let value = tree.xattr(ino.0, &name);
            reply.send(|reply| answer_xattr(reply, size, value));
        });
    }

    fn listxattr(&self, _req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let tree = self.tree.clone();
        self.deadline.run(reply, move |reply| {
            let names = tree.xattr_names(ino.0);
            reply.send(|reply| answer_xattr(reply, size, names));
        });
    }

    fn access(&self, _req: &Request, ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let known = self.tree.exists(ino.0);
        match known {
            Ok(()) if mask.contains(AccessFlags::W_OK) && !self.tree.is_writable() => {
                reply.error(errno(&self.tree.refusal()))
            }
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        let tree = self.tree.clone();
        self.deadline.run(reply, move |reply| {
            let target = tree.readlink(ino.0);
            reply.send(|reply| match target {
                Ok(target) => reply.data(&target),
                Err(error) => reply.error(errno(&error)),
            });
        });
    }
}
