//! What an open directory lists: how it was when it was opened.

use std::sync::Arc;

use super::export::Export;
use super::node::{Dir, Ino, Node, NodeKind};
use crate::artifact::members::{self, MemberAttr, Members, NodeId};
use crate::error::Result;

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    pub ino: Ino,
    pub kind: NodeKind,
    pub name: String,
}

/// The entries of a directory, `.` and `..` included.
pub enum Listing {
    Fixed(Vec<DirEntry>),
    /// A directory inside a zip, which may be large: its entries are made as they are asked for.
    Members {
        members: Arc<Members>,
        id: NodeId,
        base: Ino,
        parent: Ino,
    },
}

impl Listing {
    /// Lists a directory inside an export.
    pub fn of_members(export: &Export, members: Arc<Members>, id: NodeId) -> Result<Listing> {
        // Looked up once here, so that the rest cannot fail.
        members.children(id)?;
        let base = export.contents_ino();
        let parent = match id {
            members::ROOT => Node::Dir(Dir::Contents).ino(),
            _ => base | u64::from(members.parent(id)?),
        };
        Ok(Listing::Members { members, id, base, parent })
    }

    /// Returns the entry of that number, counted from 0.
    fn entry(&self, i: usize) -> Option<DirEntry> {
        match self {
            Listing::Fixed(entries) => entries.get(i).cloned(),
            Listing::Members { members, id, base, parent } => {
                let directory =
                    |ino, name: &str| DirEntry { ino, kind: NodeKind::Directory, name: name.into() };
                match i {
                    0 => Some(directory(base | u64::from(*id), ".")),
                    1 => Some(directory(*parent, "..")),
                    _ => {
                        let child = *members.children(*id).ok()?.get(i - 2)?;
                        let (kind, name) =
                            (members.kind(child).ok()?.into(), members.name(child).ok()?.into());
                        Some(DirEntry { ino: base | u64::from(child), kind, name })
                    }
                }
            }
        }
    }

    /// Returns the entries from that number on.
    pub fn entries_from(&self, i: usize) -> impl Iterator<Item = DirEntry> {
        (i..).map_while(|i| self.entry(i))
    }

    /// Returns the attributes of an entry inside a zip, which need no work.
    pub fn member_attr(&self, entry: &DirEntry) -> Option<MemberAttr> {
        match self {
            Listing::Members { members, base, .. } => {
                members.attr(u32::try_from(entry.ino ^ base).ok()?).ok()
            }
            Listing::Fixed(_) => None,
        }
    }
}
