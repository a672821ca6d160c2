//! The ceiling that `scripts/bench` compares with: memory served by a minimal fuser filesystem.
//!
//! ```text
//! memfs MOUNTPOINT FILE            one file, `data`, holding FILE's bytes, read into memory at start
//! memfs MOUNTPOINT --size BYTES    the same with pseudo-random bytes
//! memfs MOUNTPOINT --files N       N empty files, `file-000000` and so on, for listings
//! ```
//!
//! Runs in the foreground until it is unmounted (`fusermount3 -u`, `umount`). A read does nothing but hand out
//! a slice. Nothing is kept in the page cache from one open to the next, so a newly opened file is read cold.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use std::time::SystemTime;

use clap::Parser;
use fuser::Config;
use fuser::Errno;
use fuser::FileAttr;
use fuser::FileHandle;
use fuser::FileType;
use fuser::Filesystem;
use fuser::FopenFlags;
use fuser::Generation;
use fuser::INodeNo;
use fuser::InitFlags;
use fuser::KernelConfig;
use fuser::LockOwner;
use fuser::MountOption;
use fuser::OpenFlags;
use fuser::ReplyAttr;
use fuser::ReplyData;
use fuser::ReplyDirectory;
use fuser::ReplyDirectoryPlus;
use fuser::ReplyEntry;
use fuser::ReplyOpen;
use fuser::Request;

/// Nothing here ever changes.
const TTL: Duration = Duration::from_secs(3600);
/// File number i has the inode `FIRST + i`; 1 is the root.
const FIRST: u64 = 2;

#[derive(Parser)]
#[command(name = "memfs", about = "Serves memory as files: the ceiling for scripts/bench")]
struct Args {
    mountpoint: PathBuf,
    /// Serve this file's bytes as `data`
    file: Option<PathBuf>,
    /// Without FILE: this many pseudo-random bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    size: usize,
    /// Instead of `data`: this many empty files
    #[arg(long, value_name = "N", conflicts_with_all = ["file", "size"])]
    files: Option<usize>,
    /// Event-loop threads, each with its own descriptor
    #[arg(long, value_name = "N", default_value_t = 2)]
    threads: usize,
}

/// A flat directory of files that all hold the same bytes.
struct MemFs {
    names: Vec<OsString>,
    index: HashMap<OsString, u64>,
    data: Vec<u8>,
    uid: u32,
    gid: u32,
    time: SystemTime,
}

impl MemFs {
    fn new(args: &Args) -> io::Result<Self> {
        let owner = fs::metadata(&args.mountpoint)?;
        let (names, data) = match (args.files, &args.file) {
            (Some(n), _) => ((0..n).map(|i| format!("file-{i:06}").into()).collect(), Vec::new()),
            (None, Some(file)) => (vec!["data".into()], fs::read(file)?),
            (None, None) => (vec!["data".into()], pseudo_random(args.size)),
        };
        let index = names.iter().cloned().zip(FIRST..).collect();
        Ok(Self { names, index, data, uid: owner.uid(), gid: owner.gid(), time: SystemTime::now() })
    }

    fn attr(&self, ino: u64) -> FileAttr {
        let root = ino == u64::from(INodeNo::ROOT);
        let size = if root { 0 } else { self.data.len() as u64 };
        FileAttr {
            ino: INodeNo(ino),
            size,
            blocks: size.div_ceil(512),
            atime: self.time,
            mtime: self.time,
            ctime: self.time,
            crtime: self.time,
            kind: if root { FileType::Directory } else { FileType::RegularFile },
            perm: if root { 0o755 } else { 0o644 },
            nlink: if root { 2 } else { 1 },
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            blksize: 128 << 10,
            flags: 0,
        }
    }

    /// The directory from `offset` on: the offset of what follows, inode, name.
    fn entries(&self, offset: u64) -> impl Iterator<Item = (u64, u64, &OsStr)> {
        let root = u64::from(INodeNo::ROOT);
        let dots = [(root, OsStr::new(".")), (root, OsStr::new(".."))];
        let files = (FIRST..).zip(self.names.iter().map(OsString::as_os_str));
        let all = (1..).zip(dots.into_iter().chain(files));
        all.skip(offset as usize).map(|(next, (ino, name))| (next, ino, name))
    }
}

impl Filesystem for MemFs {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let listing = InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_PARALLEL_DIROPS;
        let _ = config.add_capabilities(listing & config.capabilities());
        Ok(())
    }

    fn lookup(&self, _req: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.index.get(name) {
            Some(&ino) => reply.entry(&TTL, &self.attr(ino), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attr(ino.into()));
    }

    fn open(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let rest = self.data.get(offset as usize..).unwrap_or_default();
        reply.data(&rest[..rest.len().min(size as usize)]);
    }

    fn readdir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        for (next, ino, name) in self.entries(offset) {
            if reply.add(INodeNo(ino), next, self.attr(ino).kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn readdirplus(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        for (next, ino, name) in self.entries(offset) {
            if reply.add(INodeNo(ino), next, name, &TTL, &self.attr(ino), Generation(0)) {
                break;
            }
        }
        reply.ok();
    }
}

/// Xorshift: incompressible, the same on every run.
fn pseudo_random(size: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut data = vec![0; size];
    for chunk in data.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
    data
}

fn run(args: &Args) -> io::Result<()> {
    let mut config = Config::default();
    config.mount_options = vec![MountOption::RO, MountOption::FSName("memfs".into())];
    config.n_threads = Some(args.threads);
    config.clone_fd = args.threads > 1;
    fuser::mount(MemFs::new(args)?, &args.mountpoint, &config)
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("memfs: {error}");
            ExitCode::FAILURE
        }
    }
}
