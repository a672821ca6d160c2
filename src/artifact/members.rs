//! The tree inside a zip, from its central directory.
//!
//! A node is a number: 0 is the root, the others follow in the order in which the directory names them, so that they
//! are the same whenever the same zip is opened. A name is stored once: that of a node within its directory.

use std::sync::Arc;
use std::time::SystemTime;

use super::directory::entry_at;
use super::member::{self, MemberResources};
use super::set::Zip;
use crate::error::{Error, Kind, Result};
use crate::format::zip::{Entry, LOCAL_HEADER_LEN};
use crate::io::{Budget, Reader, Share};

mod builder;
mod links;
mod nodes;

use builder::TreeBuilder;
use nodes::Nodes;
pub use nodes::{MemberKind, NodeId, ROOT};

/// Bytes that the tree of one zip may take.
pub(crate) const MAX_TREE: usize = 32 << 20;

/// The attributes that stat(2) shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberAttr {
    pub(crate) kind: MemberKind,
    pub size: u64,
    pub mtime: SystemTime,
}

/// The tree of one zip.
pub struct Members {
    zip: Arc<Zip>,
    nodes: Nodes,
    /// All nodes but the root, grouped by parent, sorted by name within each.
    order: Vec<NodeId>,
    _share: Share,
}

impl Members {
    /// Reads the central directory, with memory out of a budget. `mtime` is for directories that have none of their
    /// own.
    pub fn open(zip: Arc<Zip>, mtime: SystemTime, budget: &Arc<Budget>) -> Result<Members> {
        let mut builder = TreeBuilder::new(&zip, mtime, budget);
        let end = zip.each_entry(|entry, at| builder.add(entry, at))?;
        // A tree that lacks what comes behind the damage would pass for the whole one.
        zip.broken_off(end)?.map_or(Ok(()), Err)?;
        let (nodes, order, share) = builder.finish()?;
        Ok(Members { zip, nodes, order, _share: share })
    }

    /// Number of parts of its zip, each of which holds a file descriptor.
    pub(crate) fn parts(&self) -> usize {
        self.zip.parts()
    }

    pub fn attr(&self, id: NodeId) -> Result<MemberAttr> {
        let node = self.nodes.get(id)?;
        Ok(MemberAttr { kind: node.kind, size: node.size(), mtime: node.mtime })
    }

    /// Returns the children of a directory, sorted by name.
    pub fn children(&self, id: NodeId) -> Result<&[NodeId]> {
        Ok(&self.order[self.nodes.get(id)?.children()])
    }

    pub fn name(&self, id: NodeId) -> Result<&str> {
        Ok(self.nodes.name(self.nodes.get(id)?))
    }

    /// Returns the names from the root of the zip on.
    pub(crate) fn path(&self, id: NodeId) -> Result<String> {
        let mut names = Vec::new();
        let mut at = id;
        while at != ROOT {
            names.push(self.name(at)?);
            at = self.parent(at)?;
        }
        names.reverse();
        Ok(names.join("/"))
    }

    pub(crate) fn parent(&self, id: NodeId) -> Result<NodeId> {
        Ok(self.nodes.get(id)?.parent)
    }

    pub fn kind(&self, id: NodeId) -> Result<MemberKind> {
        Ok(self.nodes.get(id)?.kind)
    }

    pub fn child(&self, id: NodeId, name: &str) -> Result<Option<NodeId>> {
        self.nodes.get(id)?;
        Ok(self.nodes.child(&self.order, id, name))
    }

    /// Opens a file or link.
    pub fn open_member(&self, id: NodeId, shared: &Arc<MemberResources>) -> Result<Reader> {
        match self.with_entry(id, |entry| open_entry(&self.zip, entry, shared))? {
            Some(reader) => Ok(reader),
            None => Err(Error::new(Kind::IsADirectory, "is a directory")),
        }
    }

    /// Returns the missing parts that the member needs.
    pub fn needs(&self, id: NodeId) -> Result<Vec<String>> {
        let needs = self.with_entry(id, |entry| {
            // The local header's extra field may be longer; then one part too few is named.
            let header = LOCAL_HEADER_LEN + entry.name.len() + entry.extra.len();
            let end = entry.offset.saturating_add(header as u64).saturating_add(entry.compressed);
            Ok(self.zip.missing_in(&(entry.offset..end)).map(|part| part.to_string()).collect())
        })?;
        Ok(needs.unwrap_or_default())
    }

    /// Returns the name that the member has in the zip, if it is shown under another; and for a symbolic link that is
    /// shown as a text, that it is one.
    pub(crate) fn original_name(&self, id: NodeId) -> Result<Option<Vec<u8>>> {
        let node = self.nodes.get(id)?;
        if !node.renamed && !node.is_link_as_text {
            return Ok(None);
        }
        let Some(at) = self.entry_position(id)? else { return Ok(None) };
        entry_at(&*self.zip, at, |entry| {
            let mut name = entry.name.to_vec();
            if node.is_link_as_text {
                let read = |reader: Reader| reader.read_vec(0, links::MAX_TARGET as usize);
                if entry.size <= links::MAX_TARGET
                    && member::is_small_work(entry)
                    && let Ok(target) = open_entry(&self.zip, entry, &Arc::default()).and_then(read)
                {
                    name = [&name[..], b" -> ", &target].concat();
                }
                name.extend(b" (a symbolic link, shown as a text)");
            }
            Ok(Some(name))
        })
    }

    /// Position of the header of a node; `None` for directories that are only implied.
    fn entry_position(&self, id: NodeId) -> Result<Option<u64>> {
        let start = self.zip.directory().start;
        Ok(self.nodes.get(id)?.entry().map(|at| start + at))
    }

    /// Calls `work` with the header of a file or link; returns `None` for a directory.
    fn with_entry<T>(&self, id: NodeId, work: impl FnOnce(&Entry<'_>) -> Result<T>) -> Result<Option<T>> {
        match self.entry_position(id)? {
            Some(at) if self.kind(id)? != MemberKind::Directory => entry_at(&*self.zip, at, work).map(Some),
            _ => Ok(None),
        }
    }
}

fn open_entry(zip: &Arc<Zip>, entry: &Entry<'_>, shared: &Arc<MemberResources>) -> Result<Reader> {
    let archive: Reader = zip.clone();
    let header = entry.offset.checked_add(zip.directory().shift);
    let header = header.ok_or_else(|| Error::damaged("an offset beyond 2^64"))?;
    member::open(&archive, entry, header, shared)
}
