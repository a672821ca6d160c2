//! The tree inside a zip, from its central directory.
//!
//! A node is a number: 0 is the root, the others follow in the order in which the directory names them, so that they
//! are the same whenever the same zip is opened.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use super::directory::{broken_off, each_entry, entry_at};
use super::member::{self, Shared};
use super::set::Zip;
use crate::error::{Error, Kind, Result};
use crate::format::member_name::{self, numbered};
use crate::format::zip::LOCAL_HEADER_LEN;
use crate::format::{zip, zip_time};
use crate::io::Reader;

/// Number of a node; fits in 24 bits.
pub type NodeId = u32;

pub const ROOT: NodeId = 0;
/// More nodes than this are refused.
const MAX_NODES: usize = 1 << 24;
/// A target that is longer is no link that Linux could follow.
const MAX_LINK: u64 = 4095;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKind {
    Directory,
    File,
    Link,
}

#[derive(Debug)]
struct Node {
    name: Box<str>,
    parent: NodeId,
    kind: MemberKind,
    size: u64,
    mtime: SystemTime,
    /// Position of its header in the central directory; `None` for directories that are only implied.
    entry_at: Option<u64>,
    /// True if the name in the zip is another.
    renamed: bool,
    /// Its children, in `order`.
    children: Range<u32>,
}

/// What stat(2) wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberAttr {
    pub kind: MemberKind,
    pub size: u64,
    pub mtime: SystemTime,
}

/// The tree of one zip.
pub struct Members {
    zip: Arc<Zip>,
    nodes: Vec<Node>,
    /// All nodes but the root, grouped by parent, sorted by name within each.
    order: Vec<NodeId>,
    memory: usize,
}

impl Members {
    /// Reads the central directory. `mtime` is for directories that have none of their own.
    pub fn open(zip: Arc<Zip>, mtime: SystemTime) -> Result<Members> {
        let mut builder = Builder::new(mtime);
        let end = each_entry(&zip, |entry, at| builder.add(entry, at))?;
        // A tree that lacks what comes behind the damage would pass for the whole one.
        broken_off(&zip, end)?.map_or(Ok(()), Err)?;
        Ok(builder.finish(zip))
    }

    fn node(&self, id: NodeId) -> Result<&Node> {
        self.nodes.get(id as usize).ok_or_else(|| Error::new(Kind::Stale, "no such member"))
    }

    /// Bytes that it takes, about.
    pub fn memory(&self) -> usize {
        self.memory
    }

    pub fn attr(&self, id: NodeId) -> Result<MemberAttr> {
        let node = self.node(id)?;
        Ok(MemberAttr { kind: node.kind, size: node.size, mtime: node.mtime })
    }

    /// Returns the children of a directory, sorted by name.
    pub fn children(&self, id: NodeId) -> Result<&[NodeId]> {
        let range = self.node(id)?.children.clone();
        Ok(&self.order[range.start as usize..range.end as usize])
    }

    pub fn name(&self, id: NodeId) -> Result<&str> {
        Ok(&self.node(id)?.name)
    }

    /// Returns the names from the root of the zip on.
    pub fn path(&self, id: NodeId) -> Result<String> {
        let mut names = Vec::new();
        let mut at = id;
        while at != ROOT {
            names.push(self.name(at)?);
            at = self.parent(at)?;
        }
        names.reverse();
        Ok(names.join("/"))
    }

    pub fn parent(&self, id: NodeId) -> Result<NodeId> {
        Ok(self.node(id)?.parent)
    }

    pub fn kind(&self, id: NodeId) -> Result<MemberKind> {
        Ok(self.node(id)?.kind)
    }

    pub fn child(&self, id: NodeId, name: &str) -> Result<Option<NodeId>> {
        let children = self.children(id)?;
        let found = children.binary_search_by(|child| (*self.nodes[*child as usize].name).cmp(name));
        Ok(found.ok().map(|i| children[i]))
    }

    /// Opens a file or link.
    pub fn open_member(&self, id: NodeId, shared: &Arc<Shared>) -> Result<Reader> {
        let node = self.node(id)?;
        let Some(at) = node.entry_at.filter(|_| node.kind != MemberKind::Directory) else {
            return Err(Error::new(Kind::IsADirectory, "is a directory"));
        };
        entry_at(&self.zip, at, |entry| {
            let archive: Reader = self.zip.clone();
            let header = entry.offset.checked_add(self.zip.directory().shift);
            let header = header.ok_or_else(|| Error::damaged("an offset beyond 2^64"))?;
            member::open(&archive, entry, header, shared)
        })
    }

    /// Returns the parts that are not there and that the member needs.
    pub fn needs(&self, id: NodeId) -> Result<Vec<String>> {
        let node = self.node(id)?;
        let Some(at) = node.entry_at.filter(|_| node.kind != MemberKind::Directory) else {
            return Ok(Vec::new());
        };
        entry_at(&self.zip, at, |entry| {
            // The local header's extra field may be longer; then one part too few is named.
            let header = LOCAL_HEADER_LEN + entry.name.len() + entry.extra.len();
            let end = entry.offset.saturating_add(header as u64).saturating_add(entry.compressed);
            Ok(self.zip.missing_in(&(entry.offset..end)).map(str::to_string).collect())
        })
    }

    /// Returns the name that the member has in the zip, if it is shown under another.
    pub fn original_name(&self, id: NodeId) -> Result<Option<Vec<u8>>> {
        let node = self.node(id)?;
        match node.entry_at.filter(|_| node.renamed) {
            None => Ok(None),
            Some(at) => entry_at(&self.zip, at, |entry| Ok(Some(entry.name.to_vec()))),
        }
    }
}

struct Builder {
    nodes: Vec<Node>,
    by_name: HashMap<(NodeId, Box<str>), NodeId>,
    /// How many members of one name there were.
    repeated: HashMap<(NodeId, Box<str>), usize>,
    mtime: SystemTime,
}

impl Builder {
    fn new(mtime: SystemTime) -> Builder {
        let root = Node {
            name: "".into(),
            parent: ROOT,
            kind: MemberKind::Directory,
            size: 0,
            mtime,
            entry_at: None,
            renamed: false,
            children: 0..0,
        };
        Builder { nodes: vec![root], by_name: HashMap::new(), repeated: HashMap::new(), mtime }
    }

    fn add(&mut self, entry: &zip::Entry<'_>, entry_at: u64) -> Result<()> {
        let path = member_name::place(&member_name::decode(entry));
        let mtime = zip_time::modified(entry);
        let Some((last, dirs)) = path.components.split_last() else { return Ok(()) };
        let mut parent = ROOT;
        for name in dirs {
            parent = self.directory(parent, name)?;
        }
        if path.is_dir {
            let dir = self.directory(parent, last)?;
            let node = &mut self.nodes[dir as usize];
            (node.mtime, node.renamed) = (mtime, path.changed);
            node.entry_at = Some(entry_at);
            return Ok(());
        }
        let kind = match entry.unix_mode() & 0o170_000 {
            0o120_000 if (1..=MAX_LINK).contains(&entry.size) => MemberKind::Link,
            _ => MemberKind::File,
        };
        let (size, entry_at, renamed) = (entry.size, Some(entry_at), path.changed);
        let file =
            Node { name: last.as_str().into(), parent, kind, size, mtime, entry_at, renamed, children: 0..0 };
        self.file(file)
    }

    /// Returns the directory of that name, made if need be. A file of that name moves out of the way.
    fn directory(&mut self, parent: NodeId, name: &str) -> Result<NodeId> {
        if let Some(&id) = self.by_name.get(&(parent, name.into())) {
            if self.nodes[id as usize].kind == MemberKind::Directory {
                return Ok(id);
            }
            self.move_away(id);
        }
        self.push(Node {
            name: name.into(),
            parent,
            kind: MemberKind::Directory,
            size: 0,
            mtime: self.mtime,
            entry_at: None,
            renamed: false,
            children: 0..0,
        })
    }

    /// Adds a file. Of several with one name the last has it, as after unzip; the earlier ones get numbers.
    fn file(&mut self, mut node: Node) -> Result<()> {
        if let Some(&id) = self.by_name.get(&(node.parent, node.name.clone())) {
            if self.nodes[id as usize].kind == MemberKind::Directory {
                node.name = self.free_name(node.parent, &node.name);
                node.renamed = true;
            } else {
                self.move_away(id);
            }
        }
        self.push(node).map(drop)
    }

    fn move_away(&mut self, id: NodeId) {
        let (parent, name) = (self.nodes[id as usize].parent, self.nodes[id as usize].name.clone());
        let free = self.free_name(parent, &name);
        self.by_name.remove(&(parent, name));
        self.by_name.insert((parent, free.clone()), id);
        let node = &mut self.nodes[id as usize];
        (node.name, node.renamed) = (free, true);
    }

    fn free_name(&mut self, parent: NodeId, name: &str) -> Box<str> {
        let count = self.repeated.entry((parent, name.into())).or_default();
        loop {
            *count += 1;
            let free: Box<str> = numbered(name, *count).into();
            if !self.by_name.contains_key(&(parent, free.clone())) {
                return free;
            }
        }
    }

    fn push(&mut self, node: Node) -> Result<NodeId> {
        if self.nodes.len() == MAX_NODES {
            return Err(Error::unsupported(format!("a zip with more than {MAX_NODES} members")));
        }
        let id = self.nodes.len() as NodeId;
        self.by_name.insert((node.parent, node.name.clone()), id);
        self.nodes.push(node);
        Ok(id)
    }

    fn finish(mut self, zip: Arc<Zip>) -> Members {
        let mut order: Vec<NodeId> = (1..self.nodes.len() as NodeId).collect();
        let nodes = &self.nodes;
        order.sort_unstable_by(|&a, &b| {
            let (a, b) = (&nodes[a as usize], &nodes[b as usize]);
            (a.parent, &a.name).cmp(&(b.parent, &b.name))
        });
        let mut at = 0;
        while at < order.len() {
            let parent = self.nodes[order[at] as usize].parent;
            let siblings = order[at..].iter().take_while(|&&id| self.nodes[id as usize].parent == parent);
            let end = at + siblings.count();
            self.nodes[parent as usize].children = at as u32..end as u32;
            at = end;
        }
        let names: usize = self.nodes.iter().map(|node| node.name.len() + 16).sum();
        let memory = self.nodes.len() * (size_of::<Node>() + size_of::<NodeId>()) + names;
        Members { zip, nodes: self.nodes, order, memory }
    }
}
