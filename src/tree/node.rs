//! Nodes, their inode numbers and attributes.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Options;
use super::export::Export;
use super::jobs;
use crate::artifact::members::{self, MemberAttr, MemberKind, NodeId};
use crate::store::catalogue::Run;
use crate::store::plain::{StoredFile, StoredSet};

/// An inode number.
pub type Ino = u64;

/// The root of the mount.
pub const ROOT: Ino = 1;

/// Attributes of finished bytes: new bytes are a new inode, so they never change.
pub const TTL_FINISHED: Duration = Duration::from_secs(60);
/// Everything that may look different soon.
pub const TTL_CHANGING: Duration = Duration::from_secs(1);

/// What is read at a time is best a multiple of this.
const BLOCK_SIZE: u32 = 128 << 10;

/// How the kernel may keep what it has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// The bytes behind an inode never change.
    Finished,
    /// They are rendered anew for every open: nothing of them is kept, and not even their number may be believed.
    Live,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dir {
    Root,
    Artifacts,
    Contents,
    Encrypted,
    History,
    /// Of managed stores only.
    Jobs,
}

impl Dir {
    const TOP: [Dir; 5] = [Dir::Artifacts, Dir::Contents, Dir::Encrypted, Dir::History, Dir::Jobs];

    /// Returns the directories in the root of a store.
    pub fn top(is_managed: bool) -> &'static [Dir] {
        if is_managed { &Dir::TOP } else { &Dir::TOP[..4] }
    }

    pub fn name(self) -> &'static str {
        match self {
            Dir::Root => "",
            Dir::Artifacts => "artifacts",
            Dir::Contents => "contents",
            Dir::Encrypted => "encrypted",
            Dir::History => "history",
            Dir::Jobs => "jobs",
        }
    }
}

/// Something that has an inode.
#[derive(Clone)]
pub enum Node {
    Dir(Dir),
    /// `artifacts/<stem>.zip`
    Zip(Arc<Export>),
    /// `artifacts/<stem>.zip.incomplete`
    Incomplete(Arc<Export>),
    /// `encrypted/<name>`
    Stored(Arc<StoredFile>),
    /// `history/<stem>.json`
    History(Record),
    /// `contents/<stem>` and everything in it
    Member {
        export: Arc<Export>,
        id: NodeId,
    },
    /// `history/index.csv` and `artifacts/index.csv`
    Index(Dir),
    /// `jobs/<name>`
    Job(jobs::Entry),
}

/// What a record in `history/` is about.
#[derive(Clone)]
pub enum Record {
    /// What is known of the files of a plain store.
    OfSet(Arc<Export>),
    /// A run that the catalogue knows.
    OfRun(Arc<Run>),
}

impl Record {
    fn stem(&self) -> Cow<'_, str> {
        match self {
            Record::OfSet(export) => export.stem().into(),
            Record::OfRun(run) => run.stem().into(),
        }
    }
}

impl Node {
    /// Returns true for a text that is rendered anew for every open.
    pub fn is_rendered(&self) -> bool {
        matches!(self, Node::History(_) | Node::Index(_) | Node::Job(jobs::Entry::Errors))
    }

    pub fn export(&self) -> Option<&Arc<Export>> {
        match self {
            Node::Zip(export) | Node::Incomplete(export) | Node::History(Record::OfSet(export)) => {
                Some(export)
            }
            Node::Member { export, .. } => Some(export),
            Node::Dir(_)
            | Node::Stored(_)
            | Node::History(Record::OfRun(_))
            | Node::Index(_)
            | Node::Job(_) => None,
        }
    }

    /// Returns the root of an export's contents.
    pub fn contents_of(export: &Arc<Export>) -> Node {
        Node::Member { export: export.clone(), id: members::ROOT }
    }

    /// Returns the inode number: a hash of what the node is and of the version of its bytes, so that it is the same
    /// in the next mount, and another for other bytes.
    pub fn ino(&self) -> Ino {
        let mut hasher = blake3::Hasher::new();
        match self {
            Node::Dir(Dir::Root) => return ROOT,
            Node::Member { export, id } => return export.contents_ino() | u64::from(*id),
            Node::Job(entry) => return entry.ino(),
            Node::Index(dir) => hasher.update(b"index\0").update(dir.name().as_bytes()),
            Node::Dir(dir) => hasher.update(b"dir\0").update(dir.name().as_bytes()),
            Node::Zip(export) => export.hash_into(hasher.update(b"zip\0")),
            Node::Incomplete(export) => export.hash_into(hasher.update(b"incomplete\0")),
            Node::History(record) => hasher.update(b"history\0").update(record.stem().as_bytes()),
            Node::Stored(file) => {
                file.version.hash_into(hasher.update(b"stored\0").update(file.name.as_bytes()));
                &mut hasher
            }
        };
        number(&hasher)
    }
}

/// Returns the inode number of what is known by these pieces.
pub fn hash_number(pieces: &[&[u8]]) -> Ino {
    let mut hasher = blake3::Hasher::new();
    for piece in pieces {
        hasher.update(piece);
    }
    number(&hasher)
}

/// 0 means no inode and 1 is the root.
fn number(hasher: &blake3::Hasher) -> Ino {
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first).max(ROOT + 1)
}

/// The lower bits of a member's inode number are its number in the zip, the upper ones a hash of the export: so
/// that hundreds of thousands of members need no table.
const MEMBER_BITS: u32 = 24;

/// Returns the inode number of the root of the contents of a set.
pub fn member_base(set: &StoredSet, indexed: bool) -> Ino {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"contents\0").update(&set.digest).update(&[u8::from(indexed)]).update(set.stem.as_bytes());
    member_base_of(number(&hasher)).max(1 << MEMBER_BITS)
}

/// Returns the inode number of the root of the contents that a member is in.
pub fn member_base_of(ino: Ino) -> Ino {
    ino & !((1 << MEMBER_BITS) - 1)
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
    pub kind: NodeKind,
    pub size: u64,
    /// In units of 512 bytes.
    pub blocks: u64,
    pub block_size: u32,
    pub mtime: SystemTime,
    pub mode: u16,
    pub links: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Attr {
    pub(super) fn new(ino: Ino, node: &Node, shape: Shape, options: &Options) -> Attr {
        let (mode, links) = match (shape.kind, node) {
            // How many directories are in there is not worth counting; 1 means that nobody knows.
            (NodeKind::Directory, Node::Member { .. } | Node::Dir(Dir::Contents)) => (0o755, 1),
            (NodeKind::Directory, _) => (0o755, 2),
            (NodeKind::File, _) => (0o644, 1),
            (NodeKind::Link, _) => (0o777, 1),
        };
        Attr {
            ino,
            kind: shape.kind,
            size: shape.size,
            blocks: shape.size.div_ceil(512),
            block_size: BLOCK_SIZE,
            mtime: shape.mtime,
            mode: mode & !(options.umask as u16),
            links,
            uid: options.uid,
            gid: options.gid,
        }
    }

    /// Returns the same for a directory with that many directories in it.
    pub(super) fn of_directories(self, count: usize) -> Attr {
        Attr { links: 2 + count as u32, ..self }
    }

    /// Returns the same for a file of that size.
    pub(super) fn of_size(self, size: u64) -> Attr {
        Attr { size, blocks: size.div_ceil(512), ..self }
    }
}

/// What differs from node to node.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub kind: NodeKind,
    pub size: u64,
    pub mtime: SystemTime,
}

impl From<MemberAttr> for Shape {
    fn from(attr: MemberAttr) -> Shape {
        Shape { kind: attr.kind.into(), size: attr.size, mtime: attr.mtime }
    }
}
