//! Nodes and their inode numbers.

use std::borrow::Cow;
use std::sync::Arc;

use super::export::Export;
use super::ino::{Ino, ROOT, number};
use super::jobs;
use crate::artifact::members::{self, NodeId};
use crate::store::catalogue::Run;
use crate::store::plain::StoredFile;

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
