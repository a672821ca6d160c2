//! READDIR and READDIRPLUS: fills replies with the entries of a directory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fuser::{FileHandle, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus};

use super::answer::{Reply, file_attr, file_type};
use super::{Adapter, send};
use crate::error::{Kind, Result};
use crate::tree::{Attr, DirEntry, DirListing, Tree};

impl Adapter {
    /// Fills the reply with the entries from `offset` on, as far as there is room.
    pub(crate) fn fill(&self, fh: FileHandle, offset: u64, reply: ReplyDirectory) {
        self.deadline.now(reply, |reply| {
            let done = each_entry(&self.tree, fh, offset, |_, next, entry| {
                let (ino, kind) = (INodeNo(entry.ino), file_type(entry.kind));
                reply.with(|reply| reply.add(ino, next, kind, &entry.name)).unwrap_or(true)
            });
            send(reply, &self.tree, done);
        });
    }

    /// The same, with the attributes that can be had without work.
    pub(crate) fn fill_with_attributes(&self, fh: FileHandle, offset: u64, reply: ReplyDirectoryPlus) {
        let (tree, known) = (self.tree.clone(), self.tree.clone());
        // Offset behind the last entry that is in the reply.
        let reached = Arc::new(AtomicU64::new(offset));
        let from = reached.clone();
        let stand_in = move |mut reply: ReplyDirectoryPlus| {
            let done = each_entry(&known, fh, from.load(Ordering::Acquire), |_, next, entry| {
                add(&mut reply, next, entry, known.attributes_as_known(entry))
            });
            reply.answer(done);
        };
        self.deadline.run_or(reply, self.tree.needs_of_listing(fh.0), stand_in, move |reply| {
            let done = each_entry(&tree, fh, offset, |listing, next, entry| {
                let found = match tree.attributes_now(listing, entry) {
                    Ok(found) => found,
                    // What has gone since the directory was opened is left out, and nothing else.
                    Err(error) if matches!(error.kind(), Kind::Stale | Kind::NotFound) => return false,
                    Err(_) => tree.attributes_as_known(entry),
                };
                let is_full = reply.with(|reply| {
                    let is_full = add(reply, next, entry, found);
                    reached.fetch_max(if is_full { 0 } else { next }, Ordering::Release);
                    is_full
                });
                is_full.unwrap_or(true)
            });
            send(reply, &tree, done);
        });
    }
}

/// Returns true if there was no room for it.
fn add(reply: &mut ReplyDirectoryPlus, next: u64, entry: &DirEntry, (attr, ttl): (Attr, Duration)) -> bool {
    reply.add(INodeNo(entry.ino), next, &entry.name, &ttl, &file_attr(&attr), Generation(0))
}

/// Calls back with the entries from `offset` on, each with the offset of the next, until that returns true.
fn each_entry(
    tree: &Tree,
    fh: FileHandle,
    offset: u64,
    mut is_enough: impl FnMut(&DirListing, u64, &DirEntry) -> bool,
) -> Result<()> {
    let listing = tree.listing(fh.0)?;
    for (next, entry) in (offset + 1..).zip(listing.entries_from(offset as usize)) {
        if is_enough(&listing, next, &entry) {
            break;
        }
    }
    Ok(())
}
