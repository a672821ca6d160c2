//! Symbolic links inside a zip: which of them lead to something within its tree. The others are shown as small texts.
//!
//! A link is followed as the kernel would do it, through other links of the zip; where there is nothing, the names are
//! taken for directories. It stays within the tree if it never climbs above the root, whatever comes behind.

use std::sync::Arc;

use super::nodes::{MemberKind, NodeId, Nodes, ROOT};
use super::open_entry;
use crate::artifact::member::{MemberResources, is_small_work};
use crate::artifact::set::Zip;
use crate::error::Result;
use crate::format::zip::Entry;
use crate::io::Reader;

/// Longest target of a link that Linux can follow.
pub(crate) const MAX_TARGET: u64 = 4095;
/// Links of one zip that are looked at, and bytes of all their targets; the others are shown as texts.
const MAX_LINKS: usize = 10_000;
const MAX_TARGETS: usize = 1 << 20;
/// Links that the kernel follows on one way (MAXSYMLINKS); it goes no further.
const MAX_HOPS: usize = 40;
/// Names on the way of one link, at most.
const MAX_STEPS: usize = 512;

#[derive(Default)]
pub(crate) struct Links {
    /// Links in the order of their numbers, and where their targets end.
    ends: Vec<(NodeId, usize)>,
    targets: Vec<u8>,
    shared: Arc<MemberResources>,
}

impl Links {
    /// Reads the target of a link; `None` where it cannot be one, or costs too much to find out.
    pub(crate) fn read(&self, zip: &Arc<Zip>, entry: &Entry<'_>) -> Result<Option<Vec<u8>>> {
        let has_room = self.ends.len() < MAX_LINKS
            && self.targets.len() + entry.size.min(MAX_TARGET) as usize <= MAX_TARGETS;
        if !has_room || !(1..=MAX_TARGET).contains(&entry.size) || !is_small_work(entry) {
            return Ok(None);
        }
        let read = |reader: Reader| reader.read_vec(0, entry.size as usize);
        match open_entry(zip, entry, &self.shared).and_then(read) {
            Ok(target) => Ok(Some(target).filter(|target| !target.contains(&0))),
            Err(error) if error.kind().is_transient() => Err(error),
            Err(_) => Ok(None),
        }
    }

    pub(crate) fn push(&mut self, link: NodeId, target: &[u8]) {
        self.targets.extend_from_slice(target);
        self.ends.push((link, self.targets.len()));
    }

    pub(crate) fn memory(&self) -> usize {
        2 * (self.targets.capacity() + self.ends.capacity() * size_of::<(NodeId, usize)>())
    }

    /// Returns the links that lead out.
    pub(crate) fn lead_out(&self, nodes: &Nodes, order: &[NodeId]) -> Vec<NodeId> {
        self.ends.iter().map(|(link, _)| *link).filter(|&link| !self.stays(nodes, order, link)).collect()
    }

    fn target(&self, link: NodeId) -> Option<&[u8]> {
        let i = self.ends.binary_search_by_key(&link, |(link, _)| *link).ok()?;
        let start = if i == 0 { 0 } else { self.ends[i - 1].1 };
        Some(&self.targets[start..self.ends[i].1])
    }

    fn stays(&self, nodes: &Nodes, order: &[NodeId], link: NodeId) -> bool {
        // Names that are still to be followed, the next one last.
        let mut names: Vec<&[u8]> = Vec::new();
        let (mut at, mut hops, mut steps) = (link, 0, 0);
        // Names below `at` that do not exist.
        let mut missing = 0usize;
        let mut here = Some(link);
        loop {
            if let Some(link) = here.take() {
                let Some(target) = self.target(link).filter(|target| !target.starts_with(b"/")) else {
                    return false;
                };
                hops += 1;
                if hops > MAX_HOPS {
                    return true;
                }
                at = nodes.at(at).parent;
                names.extend(target.rsplit(|&byte| byte == b'/'));
            }
            let Some(name) = names.pop() else { return true };
            steps += 1;
            if steps > MAX_STEPS {
                return false;
            }
            match name {
                b"" | b"." => {}
                b".." if missing > 0 => missing -= 1,
                b".." if at == ROOT => return false,
                b".." => at = nodes.at(at).parent,
                _ if missing > 0 => missing += 1,
                name => {
                    let child = std::str::from_utf8(name).ok().and_then(|name| nodes.child(order, at, name));
                    match child.map(|id| (id, nodes.at(id).kind)) {
                        Some((id, MemberKind::Directory)) => at = id,
                        Some((id, MemberKind::Link)) => (at, here) = (id, Some(id)),
                        Some((_, MemberKind::File)) | None => missing = 1,
                    }
                }
            }
        }
    }
}
