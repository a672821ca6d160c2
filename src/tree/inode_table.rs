//! Which inode number stands for what in a view.

use super::ino::{Ino, base_of};

/// What an inode number stands for, as the directory of the root knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeKey {
    /// Number of the directory.
    pub(crate) directory: u8,
    /// The kind of node, see [`super::directory::Directory::inodes`].
    pub(crate) kind: u8,
    /// Which one of that kind.
    pub(crate) at: u32,
}

/// Sorted by inode number, and without spare capacity: there may be tens of thousands.
#[derive(Default)]
pub(crate) struct InodeTable(Vec<(Ino, NodeKey)>);

impl InodeTable {
    pub(crate) fn new(mut keys: Vec<(Ino, NodeKey)>) -> InodeTable {
        keys.sort_unstable_by_key(|(ino, _)| *ino);
        keys.shrink_to_fit();
        InodeTable(keys)
    }

    fn get(&self, ino: Ino) -> Option<NodeKey> {
        let found = self.0.binary_search_by_key(&ino, |(ino, _)| *ino);
        found.ok().map(|at| self.0[at].1)
    }

    /// Returns what an inode number stands for, and the number of the node below that, which the table does not list; 0
    /// is the node itself.
    pub(crate) fn find(&self, ino: Ino) -> Option<(NodeKey, u32)> {
        let base = base_of(ino);
        let inside = || Some((self.get(base)?, (ino - base) as u32));
        self.get(ino).map(|key| (key, 0)).or_else(inside)
    }
}
