//! The nodes of a tree, as small as they can be: there may be hundreds of thousands.

use std::ops::Range;
use std::time::SystemTime;

use crate::error::{Error, Kind, Result};

/// Number of a node; fits in 24 bits.
pub type NodeId = u32;

pub const ROOT: NodeId = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKind {
    Directory,
    File,
    Link,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct MemberNode {
    pub(crate) mtime: SystemTime,
    /// Bytes of a file or link; of a directory its children in the order, `start << 32 | end`.
    content: u64,
    pub(crate) parent: NodeId,
    /// Position of its header in the central directory, or [`NO_ENTRY`].
    entry: u32,
    /// Position of its name in `Nodes::names`.
    name: u32,
    name_len: u8,
    pub(crate) kind: MemberKind,
    /// True if it has another name in the zip.
    pub(crate) renamed: bool,
    /// True for a symbolic link that is shown as a file.
    pub(crate) is_link_as_text: bool,
}

const NO_ENTRY: u32 = u32::MAX;

impl MemberNode {
    /// Returns a directory that is only implied.
    pub(crate) fn directory(parent: NodeId, mtime: SystemTime) -> MemberNode {
        MemberNode {
            mtime,
            content: 0,
            parent,
            entry: NO_ENTRY,
            name: 0,
            name_len: 0,
            kind: MemberKind::Directory,
            renamed: false,
            is_link_as_text: false,
        }
    }

    pub(crate) fn file(parent: NodeId, kind: MemberKind, size: u64, mtime: SystemTime) -> MemberNode {
        MemberNode { content: size, kind, ..MemberNode::directory(parent, mtime) }
    }

    pub(crate) fn size(&self) -> u64 {
        if self.kind == MemberKind::Directory { 0 } else { self.content }
    }

    pub(crate) fn children(&self) -> Range<usize> {
        match self.kind {
            MemberKind::Directory => (self.content >> 32) as usize..self.content as u32 as usize,
            _ => 0..0,
        }
    }

    pub(crate) fn set_children(&mut self, children: Range<usize>) {
        self.content = (children.start as u64) << 32 | children.end as u64;
    }

    /// Position of its header in the central directory; `None` for directories that are only implied.
    pub(crate) fn entry(&self) -> Option<u64> {
        (self.entry != NO_ENTRY).then_some(self.entry.into())
    }

    pub(crate) fn set_entry(&mut self, at: u32) {
        self.entry = at;
    }
}

/// Nodes and their names.
pub(crate) struct Nodes {
    nodes: Vec<MemberNode>,
    names: Vec<u8>,
}

impl Nodes {
    pub(crate) fn new(root: MemberNode) -> Nodes {
        Nodes { nodes: vec![root], names: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn get(&self, id: NodeId) -> Result<&MemberNode> {
        self.nodes.get(id as usize).ok_or_else(|| Error::new(Kind::Stale, "no such member"))
    }

    /// Returns the node of a number that is known to exist.
    pub(crate) fn at(&self, id: NodeId) -> &MemberNode {
        &self.nodes[id as usize]
    }

    pub(crate) fn at_mut(&mut self, id: NodeId) -> &mut MemberNode {
        &mut self.nodes[id as usize]
    }

    pub(crate) fn name(&self, node: &MemberNode) -> &str {
        let start = node.name as usize;
        // Names are copied from `str`s.
        std::str::from_utf8(&self.names[start..start + usize::from(node.name_len)]).unwrap_or_default()
    }

    pub(crate) fn push(&mut self, node: MemberNode, name: &str) -> NodeId {
        let id = self.push_unnamed(node);
        self.rename(id, name);
        id
    }

    /// Adds a node that has the name of another.
    pub(crate) fn push_namesake(&mut self, node: MemberNode, of: NodeId) -> NodeId {
        let MemberNode { name, name_len, .. } = *self.at(of);
        self.push_unnamed(MemberNode { name, name_len, ..node })
    }

    fn push_unnamed(&mut self, node: MemberNode) -> NodeId {
        let id = self.nodes.len() as NodeId;
        if self.nodes.len() == self.nodes.capacity() {
            self.nodes.reserve_exact(step(self.nodes.len()));
        }
        self.nodes.push(node);
        id
    }

    /// The name is at most 255 bytes long.
    pub(crate) fn rename(&mut self, id: NodeId, name: &str) {
        let (at, len) = (self.names.len(), name.len().min(255));
        if at + len > self.names.capacity() {
            self.names.reserve_exact(step(at).max(len));
        }
        self.names.extend_from_slice(&name.as_bytes()[..len]);
        let node = self.at_mut(id);
        (node.name, node.name_len) = (at as u32, len as u8);
    }

    /// Returns the bytes that they take.
    pub(crate) fn memory(&self) -> usize {
        self.nodes.capacity() * size_of::<MemberNode>() + self.names.capacity()
    }

    /// Returns the bytes that they will take at most when one more has been added and one renamed.
    pub(crate) fn memory_with_one_more(&self) -> usize {
        let is_full = self.nodes.len() == self.nodes.capacity();
        let nodes = if is_full { step(self.nodes.len()) } else { 0 };
        let are_full = self.names.len() + 2 * 255 > self.names.capacity();
        let names = if are_full { step(self.names.len()) + 2 * 255 } else { 0 };
        self.memory() + nodes * size_of::<MemberNode>() + names
    }

    pub(crate) fn shrink(&mut self) {
        self.nodes.shrink_to_fit();
        self.names.shrink_to_fit();
    }

    /// Sorts all nodes by directory and name, and gives each directory the range of its children.
    pub(crate) fn sort(&mut self, order: &mut [NodeId]) {
        order.sort_unstable_by(|&a, &b| {
            let (a, b) = (self.at(a), self.at(b));
            a.parent.cmp(&b.parent).then_with(|| self.name(a).cmp(self.name(b)))
        });
        let mut at = 0;
        while at < order.len() {
            let parent = self.at(order[at]).parent;
            let end = at + order[at..].iter().take_while(|&&id| self.at(id).parent == parent).count();
            self.at_mut(parent).set_children(at..end);
            at = end;
        }
    }

    /// Finds a child by its name, where the children have been put in order.
    pub(crate) fn child(&self, order: &[NodeId], id: NodeId, name: &str) -> Option<NodeId> {
        let children = &order[self.at(id).children()];
        let found = children.binary_search_by(|child| self.name(self.at(*child)).cmp(name));
        found.ok().map(|i| children[i])
    }
}

/// Returns by how much a table of that length grows: doubling it would take too much of what a tree may have.
fn step(len: usize) -> usize {
    (len / 16).max(64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_takes_forty_bytes() {
        assert_eq!(size_of::<MemberNode>(), 40);
    }
}
