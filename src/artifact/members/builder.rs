//! Makes a tree of the headers of a central directory, in time proportional to their number and in bounded memory.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard};

use super::MAX_TREE;
use super::links::Links;
use super::nodes::{MemberKind, MemberNode, NodeId, Nodes, ROOT};
use crate::artifact::set::Zip;
use crate::error::{Error, Kind, Result};
use crate::format::member_name::{self, numbered, numbering_base};
use crate::format::{zip, zip_time};
use crate::io::{Budget, Share};

/// There are inode numbers for no more nodes than this.
const MAX_NODES: usize = 1 << 24;
/// Memory is asked for in pieces of this size.
const PIECE: usize = 256 << 10;
/// Trees above this are built one at a time: two that are half done could wait for each other.
const SMALL: usize = 2 * PIECE;
static LARGE: Mutex<()> = Mutex::new(());
/// How long to wait for memory that is in use.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait until another large tree is built.
const TURN: Duration = Duration::from_secs(25);

pub(crate) struct TreeBuilder<'a> {
    zip: &'a Arc<Zip>,
    nodes: Nodes,
    by_name: HashTable<NodeId>,
    /// Randomly seeded, so that names cannot be chosen to collide.
    hasher: RandomState,
    /// The last number that was given to a repeated name, by a hash of its directory and its numbering base. Names
    /// whose hashes collide share the count, and still no number is given twice.
    repeated: HashMap<u64, u32>,
    links: Links,
    mtime: SystemTime,
    share: Share,
    alone: Option<MutexGuard<'static, ()>>,
}

impl<'a> TreeBuilder<'a> {
    pub(crate) fn new(zip: &'a Arc<Zip>, mtime: SystemTime, budget: &Arc<Budget>) -> TreeBuilder<'a> {
        TreeBuilder {
            zip,
            nodes: Nodes::new(MemberNode::directory(ROOT, mtime)),
            by_name: HashTable::new(),
            hasher: RandomState::new(),
            repeated: HashMap::new(),
            links: Links::default(),
            mtime,
            share: budget.share(),
            alone: None,
        }
    }

    pub(crate) fn add(&mut self, entry: &zip::Entry<'_>, position: u64) -> Result<()> {
        let path = member_name::safe_path(&member_name::decode(entry));
        let mtime = zip_time::modified(entry);
        let at = position.checked_sub(self.zip.directory().start).and_then(|at| u32::try_from(at).ok());
        let at = at.filter(|&at| at < u32::MAX).ok_or_else(too_much)?;
        let Some((last, dirs)) = path.components.split_last() else { return Ok(()) };
        let mut parent = ROOT;
        for name in dirs {
            parent = self.directory(parent, name)?;
        }
        if path.is_dir {
            let dir = self.directory(parent, last)?;
            let node = self.nodes.at_mut(dir);
            (node.mtime, node.renamed) = (mtime, path.changed);
            node.set_entry(at);
            return Ok(());
        }
        let mut file = MemberNode::file(parent, MemberKind::File, entry.size, mtime);
        file.renamed = path.changed;
        file.set_entry(at);
        let is_link = entry.unix_mode() & 0o170_000 == 0o120_000;
        let target = if is_link { self.links.read(self.zip, entry)? } else { None };
        match target {
            Some(target) => {
                file.kind = MemberKind::Link;
                let id = self.file(file, last)?;
                self.links.push(id, &target);
            }
            None => {
                file.is_link_as_text = is_link;
                let as_text = is_link.then(|| member_name::of_link_as_text(last));
                self.file(file, as_text.as_deref().unwrap_or(last))?;
            }
        }
        Ok(())
    }

    /// Returns the directory of that name, which is made if need be. A file of that name gets another one.
    fn directory(&mut self, parent: NodeId, name: &str) -> Result<NodeId> {
        let found = self.find(parent, name);
        match found.filter(|&id| self.nodes.at(id).kind == MemberKind::Directory) {
            Some(id) => Ok(id),
            None => self.push(MemberNode::directory(parent, self.mtime), name, found),
        }
    }

    /// Adds a file. Of several with one name the last has it, as after unzip; the earlier ones get numbers.
    fn file(&mut self, mut node: MemberNode, name: &str) -> Result<NodeId> {
        match self.find(node.parent, name) {
            Some(id) if self.nodes.at(id).kind == MemberKind::Directory => {
                node.renamed = true;
                let free = self.free_name(node.parent, name);
                self.push(node, &free, None)
            }
            found => self.push(node, name, found),
        }
    }

    /// Adds a node. `old` is the node that has had the name until now; it gets another one.
    fn push(&mut self, node: MemberNode, name: &str, old: Option<NodeId>) -> Result<NodeId> {
        if self.nodes.len() == MAX_NODES {
            return Err(too_much());
        }
        self.take_memory()?;
        let parent = node.parent;
        let id = match old {
            Some(old) => self.nodes.push_namesake(node, old),
            None => self.nodes.push(node, name),
        };
        self.enter(id, old);
        if let Some(old) = old {
            let free = self.free_name(parent, name);
            self.nodes.rename(old, &free);
            self.nodes.at_mut(old).renamed = true;
            self.enter(old, None);
        }
        Ok(id)
    }

    fn find(&self, parent: NodeId, name: &str) -> Option<NodeId> {
        let is_it = |&id: &NodeId| {
            let node = self.nodes.at(id);
            node.parent == parent && self.nodes.name(node) == name
        };
        self.by_name.find(self.hasher.hash_one((parent, name)), is_it).copied()
    }

    /// Enters a node under its name, in place of `old` if that had the name.
    fn enter(&mut self, id: NodeId, old: Option<NodeId>) {
        let (nodes, hasher) = (&self.nodes, &self.hasher);
        let hash_of = |&id: &NodeId| {
            let node = nodes.at(id);
            hasher.hash_one((node.parent, nodes.name(node)))
        };
        let hash = hash_of(&id);
        match old.and_then(|old| self.by_name.find_mut(hash, |&found| found == old)) {
            Some(found) => *found = id,
            None => {
                self.by_name.insert_unique(hash, id, hash_of);
            }
        }
    }

    /// Returns a name with a number that is free. The count goes on from the last number of all names with the same
    /// base, so that it is found soon.
    fn free_name(&mut self, parent: NodeId, name: &str) -> String {
        let key = self.hasher.hash_one((parent, numbering_base(name)));
        let mut count = self.repeated.get(&key).copied().unwrap_or(0);
        loop {
            count += 1;
            let free = numbered(name, count as usize);
            if self.find(parent, &free).is_none() {
                self.repeated.insert(key, count);
                return free;
            }
        }
    }

    /// Makes sure that there is memory for one more node and one more name.
    fn take_memory(&mut self) -> Result<()> {
        // A table that grows exists twice for a while, once in twice the size.
        let needed = self.nodes.memory_with_one_more()
            + (self.nodes.len() + 1) * size_of::<NodeId>()
            + 3 * self.by_name.allocation_size()
            + 3 * self.repeated.capacity() * size_of::<(u64, u32)>()
            + self.links.memory();
        if needed <= self.share.bytes() {
            return Ok(());
        }
        if needed > MAX_TREE {
            return Err(too_much());
        }
        if needed > SMALL && self.alone.is_none() {
            self.alone = Some(LARGE.try_lock_for(TURN).ok_or_else(no_memory)?);
        }
        if !self.share.resize(needed.next_multiple_of(PIECE), PATIENCE) {
            return Err(no_memory());
        }
        Ok(())
    }

    /// Returns the nodes, the order of their children, and the memory that they take.
    pub(crate) fn finish(mut self) -> Result<(Nodes, Vec<NodeId>, Share)> {
        self.take_memory()?;
        let mut order: Vec<NodeId> = (1..self.nodes.len() as NodeId).collect();
        self.nodes.sort(&mut order);
        let lead_out = self.links.lead_out(&self.nodes, &order);
        for &link in &lead_out {
            self.show_as_text(link)?;
        }
        if !lead_out.is_empty() {
            self.nodes.sort(&mut order);
        }
        let TreeBuilder { mut nodes, by_name, repeated, mut share, alone, .. } = self;
        drop((by_name, repeated));
        nodes.shrink();
        share.try_resize(nodes.memory() + order.len() * size_of::<NodeId>());
        drop(alone);
        Ok((nodes, order, share))
    }

    /// Turns a link into a text.
    fn show_as_text(&mut self, link: NodeId) -> Result<()> {
        self.take_memory()?;
        let node = self.nodes.at_mut(link);
        (node.kind, node.is_link_as_text) = (MemberKind::File, true);
        let parent = node.parent;
        let mut name = member_name::of_link_as_text(self.nodes.name(self.nodes.at(link)));
        if self.find(parent, &name).is_some() {
            name = self.free_name(parent, &name);
        }
        self.nodes.rename(link, &name);
        // It is not found by its old name any more, because names are compared.
        self.enter(link, None);
        Ok(())
    }
}

fn no_memory() -> Error {
    let what = "no memory for the names of this zip: those of others that are open take all there is";
    Error::new(Kind::Os(libc::ENOMEM), what)
}

fn too_much() -> Error {
    Error::unsupported(format!("the names of this zip take more than {} MiB", MAX_TREE >> 20))
        .with_hint("the zip itself can be read in artifacts/")
}
