//! What an open directory lists: how it was when it was opened.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    /// `artifacts/`. What a set is may become known while it is listed: each name is as true as can be when it is read.
    Artifacts {
        exports: Vec<Arc<Export>>,
        /// `.`, `..` and the table.
        others: [DirEntry; 3],
        named: Arc<Named>,
    },
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
            Listing::Artifacts { exports, others: [own, parent, table], named } => match i {
                0 => Some(own.clone()),
                1 => Some(parent.clone()),
                _ if i - 2 == exports.len() => Some(table.clone()),
                _ => Some(named.entry(exports.get(i - 2)?)),
            },
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
            Listing::Fixed(_) | Listing::Artifacts { .. } => None,
        }
    }
}

/// How long a listing may be held by whoever looks at its names one by one, when none of them takes work.
const HELD: Duration = Duration::from_secs(60);

/// Sets that were listed as a zip before anybody knew what they are. A name that was listed resolves, if only to the
/// text that says that it is no zip.
#[derive(Default)]
pub struct Named(Mutex<Names>);

#[derive(Default)]
struct Names {
    sets: HashMap<Ino, Instant>,
    /// When somebody last waited for a set to be worked out.
    waited: Option<Instant>,
}

impl Names {
    fn is_held(&self, listed: &Instant) -> bool {
        self.waited.unwrap_or(*listed).max(*listed).elapsed() < HELD
    }
}

impl Named {
    fn entry(&self, export: &Arc<Export>) -> DirEntry {
        // Asked before the name: what becomes known in between does no harm.
        let is_open = !export.is_decided();
        let name = export.artifact_name();
        let is_whole = name.ends_with(".zip");
        let node = if is_whole { Node::Zip(export.clone()) } else { Node::Incomplete(export.clone()) };
        if is_open && is_whole {
            self.0.lock().sets.insert(export.contents_ino(), Instant::now());
        }
        DirEntry { ino: node.ino(), kind: NodeKind::File, name }
    }

    /// Returns true for a set that somebody may still take for a zip.
    pub fn is_held(&self, export: &Export) -> bool {
        let names = self.0.lock();
        names.sets.get(&export.contents_ino()).is_some_and(|listed| names.is_held(listed))
    }

    /// Whoever looks at the names of a listing had to wait for one.
    pub fn has_waited(&self) {
        self.0.lock().waited = Some(Instant::now());
    }

    /// Forgets those that nobody holds any more.
    pub fn tidy(&self) {
        let mut names = self.0.lock();
        let mut sets = std::mem::take(&mut names.sets);
        sets.retain(|_, listed| names.is_held(listed));
        names.sets = sets;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_held_as_long_as_somebody_may_be_at_it() {
        let long_ago = Instant::now().checked_sub(2 * HELD).unwrap();
        let mut names = Names::default();
        assert!(names.is_held(&Instant::now()) && !names.is_held(&long_ago));
        names.waited = Some(Instant::now());
        assert!(names.is_held(&long_ago), "sets are still being worked out for somebody");
        names.waited = Some(long_ago);
        assert!(!names.is_held(&long_ago));
    }
}
