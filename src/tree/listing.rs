//! What an open directory lists: its entries when it was opened.

use std::sync::Arc;
use std::time::Duration;

use super::attr::{DirEntry, NodeKind, Shape};
use super::ino::{Ino, ROOT};
use super::needs::Needs;
use super::scope::Scope;

/// The entries of a directory without `.` and `..`, made one at a time, since there may be many.
pub(crate) trait DirEntries: Send + Sync {
    /// Returns the entry of that number, counted from 0.
    fn entry(&self, i: usize) -> Option<DirEntry>;

    /// Returns the attributes of an entry where the listing has them itself, and how long they hold.
    fn attributes(&self, _: &Scope, _entry: &DirEntry) -> Option<(Shape, Duration)> {
        None
    }
}

impl DirEntries for Vec<DirEntry> {
    fn entry(&self, i: usize) -> Option<DirEntry> {
        self.get(i).cloned()
    }
}

/// One entry for each item, and then others.
struct Each<T, F> {
    items: Arc<[T]>,
    entry: F,
    others: Vec<DirEntry>,
}

impl<T: Send + Sync, F: Fn(&T) -> DirEntry + Send + Sync> DirEntries for Each<T, F> {
    fn entry(&self, i: usize) -> Option<DirEntry> {
        match self.items.get(i) {
            Some(item) => Some((self.entry)(item)),
            None => self.others.get(i - self.items.len()).cloned(),
        }
    }
}

pub struct DirListing {
    own: Ino,
    parent: Ino,
    entries: Box<dyn DirEntries>,
    /// What it takes to list it with attributes.
    pub(crate) needs: Needs,
}

impl DirListing {
    pub(crate) fn new(own: Ino, parent: Ino, entries: impl DirEntries + 'static) -> DirListing {
        DirListing { own, parent, entries: Box::new(entries), needs: Needs::Memory }
    }

    /// Lists a directory of the root: one entry for each item, and then others.
    pub(crate) fn of_each<T: Send + Sync + 'static>(
        own: Ino,
        items: &Arc<[T]>,
        entry: impl Fn(&T) -> DirEntry + Send + Sync + 'static,
        others: Vec<DirEntry>,
    ) -> DirListing {
        DirListing::new(own, ROOT, Each { items: items.clone(), entry, others })
    }

    /// Sets what it takes to get the attributes of its entries.
    pub(crate) fn that_needs(self, needs: Needs) -> DirListing {
        DirListing { needs, ..self }
    }

    fn entry(&self, i: usize) -> Option<DirEntry> {
        let directory = |ino, name: &str| DirEntry { ino, kind: NodeKind::Directory, name: name.into() };
        match i {
            0 => Some(directory(self.own, ".")),
            1 => Some(directory(self.parent, "..")),
            _ => self.entries.entry(i - 2),
        }
    }

    /// Returns the entries from that number on.
    pub fn entries_from(&self, i: usize) -> impl Iterator<Item = DirEntry> {
        (i..).map_while(|i| self.entry(i))
    }

    /// See [`DirEntries::attributes`].
    pub(crate) fn attributes(&self, scope: &Scope, entry: &DirEntry) -> Option<(Shape, Duration)> {
        self.entries.attributes(scope, entry)
    }
}
