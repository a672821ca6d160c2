//! What an open directory lists: how it was when it was opened.

use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attr::{DirEntry, NodeKind};
use super::export::Export;
use super::ino::Ino;
use super::node::{Dir, Node};
use crate::artifact::members::{self, MemberAttr, Members, NodeId};
use crate::error::Result;

/// The entries of a directory, `.` and `..` included.
pub enum Listing {
    Fixed(Arc<Vec<DirEntry>>),
    /// `artifacts/`. What a set is may become known while it is listed: each name is as true as can be when it is read.
    Artifacts {
        exports: Arc<Vec<Arc<Export>>>,
        /// `.`, `..` and the table.
        others: [DirEntry; 3],
        named: Arc<Named>,
        /// See [`Named`].
        held: Mutex<HashSet<Ino>>,
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
            Listing::Artifacts { exports, others: [own, parent, table], named, held } => match i {
                0 => Some(own.clone()),
                1 => Some(parent.clone()),
                _ if i - 2 == exports.len() => Some(table.clone()),
                _ => Some(named.entry(exports.get(i - 2)?, held)),
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

impl Drop for Listing {
    fn drop(&mut self) {
        if let Listing::Artifacts { named, held, .. } = self {
            named.release(held.get_mut());
        }
    }
}

/// How long the names of a listing may be held by whoever has closed it and looks at them one by one, when none of
/// them takes work.
const HELD: Duration = Duration::from_secs(60);

/// Sets that were listed as a zip before anybody knew what they are. A name that was listed resolves, if only to the
/// text that says that it is no zip: as long as the listing is open, and then for a while.
#[derive(Default)]
pub struct Named(Mutex<Names>);

#[derive(Default)]
struct Names {
    sets: HashMap<Ino, TooEarly>,
    /// When somebody last waited for a set to be worked out.
    waited: Option<Instant>,
}

/// A set that was taken for a zip.
struct TooEarly {
    listed: Instant,
    /// Listings that are open.
    open: usize,
}

impl Names {
    fn is_held(&self, set: &TooEarly) -> bool {
        let last = self.waited.unwrap_or(set.listed).max(set.listed);
        set.open > 0 || last.elapsed() < HELD
    }
}

impl Named {
    /// Names a set by what is known now. `held` are those that this listing has named too early.
    fn entry(&self, export: &Arc<Export>, held: &Mutex<HashSet<Ino>>) -> DirEntry {
        // Asked before the name: what becomes known in between does no harm.
        let is_open = !export.is_decided();
        let name = export.artifact_name();
        let is_whole = name.ends_with(".zip");
        let node = if is_whole { Node::Zip(export.clone()) } else { Node::Incomplete(export.clone()) };
        let mut names = self.0.lock();
        if is_open && is_whole {
            let listed = Instant::now();
            let fresh = TooEarly { listed, open: 0 };
            let set = names.sets.entry(export.contents_ino()).or_insert(fresh);
            set.listed = listed;
            set.open += usize::from(held.lock().insert(export.contents_ino()));
        }
        DirEntry { ino: node.ino(), kind: NodeKind::File, name }
    }

    fn release(&self, held: &mut HashSet<Ino>) {
        let mut names = self.0.lock();
        for set in held.drain() {
            if let Some(set) = names.sets.get_mut(&set) {
                set.open -= 1;
            }
        }
    }

    /// Returns true for a set that somebody may still take for a zip.
    pub fn is_held(&self, export: &Export) -> bool {
        let names = self.0.lock();
        names.sets.get(&export.contents_ino()).is_some_and(|set| names.is_held(set))
    }

    /// Whoever looks at the names of a listing had to wait for one.
    pub fn has_waited(&self) {
        self.0.lock().waited = Some(Instant::now());
    }

    /// Forgets those that nobody holds any more.
    pub fn tidy(&self) {
        let mut names = self.0.lock();
        let mut sets = mem::take(&mut names.sets);
        sets.retain(|_, set| names.is_held(set));
        names.sets = sets;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_held_as_long_as_somebody_may_be_at_it() {
        let long_ago = Instant::now().checked_sub(2 * HELD).unwrap();
        let set = |listed, open| TooEarly { listed, open };
        let mut names = Names::default();
        assert!(names.is_held(&set(Instant::now(), 0)) && !names.is_held(&set(long_ago, 0)));
        assert!(names.is_held(&set(long_ago, 1)), "a listing that is open");
        names.waited = Some(Instant::now());
        assert!(names.is_held(&set(long_ago, 0)), "sets are still being worked out for somebody");
        names.waited = Some(long_ago);
        assert!(!names.is_held(&set(long_ago, 0)));
    }
}
