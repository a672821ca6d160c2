//! Which inode number stands for what in a view.

use super::ino::{Ino, base_of};

/// What an inode number stands for: the directory of the root that knows it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    /// Number of the directory.
    pub(crate) directory: u8,
    /// What it is there.
    pub(crate) kind: u8,
    /// Which one of these.
    pub(crate) at: u32,
}

/// Sorted by inode numbers, and without room to grow: there may be tens of thousands.
#[derive(Default)]
pub(crate) struct Table(Vec<(Ino, Key)>);

impl Table {
    pub(crate) fn new(mut keys: Vec<(Ino, Key)>) -> Table {
        keys.sort_unstable_by_key(|(ino, _)| *ino);
        keys.shrink_to_fit();
        Table(keys)
    }

    fn get(&self, ino: Ino) -> Option<Key> {
        let found = self.0.binary_search_by_key(&ino, |(ino, _)| *ino);
        found.ok().map(|at| self.0[at].1)
    }

    /// Returns what it stands for, and the number of what is in that, of which the table has nothing; 0 is itself.
    pub(crate) fn find(&self, ino: Ino) -> Option<(Key, u32)> {
        let base = base_of(ino);
        let inside = || Some((self.get(base)?, (ino - base) as u32));
        self.get(ino).map(|key| (key, 0)).or_else(inside)
    }
}
