//! The ceiling that `scripts/bench` compares with: memory served by a minimal fuser filesystem.
//!
//! ```text
//! memfs MOUNTPOINT FILE            one file, `data`, holding FILE's bytes, read into memory at start
//! memfs MOUNTPOINT --size BYTES    the same with pseudo-random bytes
//! memfs MOUNTPOINT --files N       N empty files, `file-000000` and so on, for listings
//! memfs MOUNTPOINT --tree LIST     empty files at the paths that LIST names, one a line, for walks
//! ```
//!
//! Runs in the foreground until it is unmounted (`fusermount3 -u`, `umount`). A read does nothing but hand out
//! a slice. Nothing is kept in the page cache from one open to the next, so a newly opened file is read cold.

#![allow(clippy::expect_used, clippy::unwrap_used)]

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
const ROOT: u64 = 1;

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
    /// Instead of `data`: empty files at the paths in this list, a relative path a line
    #[arg(long, value_name = "LIST", conflicts_with_all = ["file", "size", "files"])]
    tree: Option<PathBuf>,
    /// Event-loop threads, each with its own descriptor
    #[arg(long, value_name = "N", default_value_t = 2)]
    threads: usize,
}

/// A tree whose files all hold the same bytes. Inode i is `nodes[i - 1]`; the root is inode 1.
struct MemFs {
    nodes: Vec<Node>,
    index: HashMap<(u64, OsString), u64>,
    data: Vec<u8>,
    uid: u32,
    gid: u32,
    time: SystemTime,
}

struct Node {
    name: OsString,
    /// `None` for a file.
    children: Option<Vec<u64>>,
}

impl MemFs {
    fn new(args: &Args) -> io::Result<Self> {
        let owner = fs::metadata(&args.mountpoint)?;
        let root = Node { name: OsString::new(), children: Some(Vec::new()) };
        let (uid, gid, time) = (owner.uid(), owner.gid(), SystemTime::now());
        let mut memfs = Self { nodes: vec![root], index: HashMap::new(), data: Vec::new(), uid, gid, time };
        if let Some(list) = &args.tree {
            fs::read_to_string(list)?.lines().for_each(|path| memfs.add(path));
        } else if let Some(files) = args.files {
            (0..files).for_each(|i| memfs.add(&format!("file-{i:06}")));
        } else {
            memfs.add("data");
            memfs.data = match &args.file {
                Some(file) => fs::read(file)?,
                None => pseudo_random(args.size),
            };
        }
        Ok(memfs)
    }

    /// A file, and the directories above it that are not there yet.
    fn add(&mut self, path: &str) {
        let mut parent = ROOT;
        let mut names = path.split('/').peekable();
        while let Some(name) = names.next() {
            let key = (parent, OsString::from(name));
            parent = match self.index.get(&key) {
                Some(&ino) => ino,
                None => {
                    let children = names.peek().is_some().then(Vec::new);
                    self.nodes.push(Node { name: name.into(), children });
                    let ino = self.nodes.len() as u64;
                    self.nodes[parent as usize - 1].children.get_or_insert_default().push(ino);
                    self.index.insert(key, ino);
                    ino
                }
            };
        }
    }

    fn node(&self, ino: u64) -> &Node {
        &self.nodes[ino as usize - 1]
    }

    fn kind(&self, ino: u64) -> FileType {
        if self.node(ino).children.is_some() { FileType::Directory } else { FileType::RegularFile }
    }

    fn attr(&self, ino: u64) -> FileAttr {
        let kind = self.kind(ino);
        let directory = kind == FileType::Directory;
        let size = if directory { 0 } else { self.data.len() as u64 };
        FileAttr {
            ino: INodeNo(ino),
            size,
            blocks: size.div_ceil(512),
            atime: self.time,
            mtime: self.time,
            ctime: self.time,
            crtime: self.time,
            kind,
            perm: if directory { 0o755 } else { 0o644 },
            nlink: if directory { 2 } else { 1 },
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            blksize: 128 << 10,
            flags: 0,
        }
    }

    /// A directory from `offset` on: the offset of what follows, inode, name.
    fn entries(&self, directory: u64, offset: u64) -> impl Iterator<Item = (u64, u64, &OsStr)> {
        // The kernel never asks for the way up by `..`; any inode will do.
        let dots = [(directory, OsStr::new(".")), (ROOT, OsStr::new(".."))];
        let children = self.node(directory).children.iter().flatten();
        let children = children.map(|&ino| (ino, self.node(ino).name.as_os_str()));
        let all = (1..).zip(dots.into_iter().chain(children));
        all.skip(offset as usize).map(|(next, (ino, name))| (next, ino, name))
    }
}

impl Filesystem for MemFs {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let listing = InitFlags::FUSE_DO_READDIRPLUS | InitFlags::FUSE_PARALLEL_DIROPS;
        let _ = config.add_capabilities(listing & config.capabilities());
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.index.get(&(parent.into(), name.to_owned())) {
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

    fn readdir(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        for (next, ino, name) in self.entries(ino.into(), offset) {
            if reply.add(INodeNo(ino), next, self.kind(ino), name) {
                break;
            }
        }
        reply.ok();
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        for (next, ino, name) in self.entries(ino.into(), offset) {
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
