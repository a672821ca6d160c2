//! What is shown of a node: its attributes, how long they hold, and its name in a directory.

use std::time::{Duration, SystemTime};

use super::context::Options;
use super::ino::Ino;
use crate::artifact::members::{MemberAttr, MemberKind};

/// How long attributes of finished bytes hold: they never change, since new bytes are a new inode.
pub(crate) const TTL_FINISHED: Duration = Duration::from_secs(60);
/// How long attributes hold that may change soon.
pub(crate) const TTL_CHANGING: Duration = Duration::from_secs(1);

/// Preferred size of reads, in bytes (st_blksize).
const BLOCK_SIZE: u32 = 128 << 10;

/// How the kernel may keep what it has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// The bytes behind an inode never change.
    Finished,
    /// The bytes are rendered anew for every open: nothing of them is kept, and the size may be wrong.
    Live,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    pub(crate) ino: Ino,
    pub(crate) kind: NodeKind,
    pub name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    Directory,
    File,
    Link,
}

impl From<MemberKind> for NodeKind {
    fn from(kind: MemberKind) -> NodeKind {
        match kind {
            MemberKind::Directory => NodeKind::Directory,
            MemberKind::File => NodeKind::File,
            MemberKind::Link => NodeKind::Link,
        }
    }
}

/// What stat(2) shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attr {
    pub ino: Ino,
    pub(crate) kind: NodeKind,
    pub size: u64,
    /// In units of 512 bytes.
    pub(crate) blocks: u64,
    pub(crate) block_size: u32,
    pub(crate) mtime: SystemTime,
    pub(crate) mode: u16,
    pub(crate) links: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Attr {
    pub(super) fn new(ino: Ino, shape: Shape, options: &Options) -> Attr {
        let mode: u16 = match shape.kind {
            NodeKind::Directory => 0o755,
            NodeKind::File => 0o644,
            NodeKind::Link => 0o777,
        };
        Attr {
            ino,
            kind: shape.kind,
            size: shape.size,
            blocks: shape.size.div_ceil(512),
            block_size: BLOCK_SIZE,
            mtime: shape.mtime,
            mode: mode & !(options.umask as u16),
            links: shape.links,
            uid: options.uid,
            gid: options.gid,
        }
    }

    /// Returns the same attributes with another size.
    pub(super) fn of_size(self, size: u64) -> Attr {
        Attr { size, blocks: size.div_ceil(512), ..self }
    }
}

/// What differs from node to node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) kind: NodeKind,
    pub(crate) size: u64,
    pub(crate) mtime: SystemTime,
    /// Of a directory 2 plus the number of directories in it; 1 means unknown.
    pub(crate) links: u32,
}

impl Shape {
    pub(crate) fn new(kind: NodeKind, size: u64, mtime: SystemTime) -> Shape {
        Shape { kind, size, mtime, links: 1 }
    }

    pub(crate) fn file(size: u64, mtime: SystemTime) -> Shape {
        Shape::new(NodeKind::File, size, mtime)
    }

    pub(crate) fn directory(mtime: SystemTime, links: u32) -> Shape {
        Shape { links, ..Shape::new(NodeKind::Directory, 0, mtime) }
    }
}

impl From<MemberAttr> for Shape {
    fn from(attr: MemberAttr) -> Shape {
        Shape::new(attr.kind.into(), attr.size, attr.mtime)
    }
}
