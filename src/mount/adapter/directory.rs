//! Requests for what is in a directory.

use fuser::{FileHandle, FopenFlags, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus, ReplyOpen};

use super::Adapter;
use super::answer::{errno, file_attr, file_type};
use crate::error::Result;
use crate::tree::{DirEntry, Listing, Tree};

impl Adapter {
    pub fn open_directory(&self, ino: INodeNo, reply: ReplyOpen) {
        let tree = self.tree.clone();
        self.deadline.run(reply, move |reply| {
            let opened = tree.open_dir(ino.0);
            reply.send(|reply| match opened {
                Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
                Err(error) => reply.error(errno(&error)),
            });
        });
    }

    /// Fills the reply with the entries from `offset` on, as far as there is room.
    pub fn list(&self, fh: FileHandle, offset: u64, reply: ReplyDirectory) {
        let tree = self.tree.clone();
        self.deadline.run(reply, move |reply| {
            let done = each_entry(&tree, fh, offset, |_, next, entry| {
                let (ino, kind) = (INodeNo(entry.ino), file_type(entry.kind));
                reply.with(|reply| reply.add(ino, next, kind, &entry.name)).unwrap_or(true)
            });
            reply.send(|reply| match done {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(errno(&error)),
            });
        });
    }

    /// The same, with those attributes that are there to be had.
    pub fn list_with_attributes(&self, fh: FileHandle, offset: u64, reply: ReplyDirectoryPlus) {
        let tree = self.tree.clone();
        self.deadline.run(reply, move |reply| {
            let done = each_entry(&tree, fh, offset, |listing, next, entry| {
                // What has gone since the directory was opened is left out.
                let Ok((attr, ttl)) = tree.attributes_now(listing, entry) else { return false };
                let (ino, attr) = (INodeNo(entry.ino), file_attr(&attr));
                let add = |reply: &mut ReplyDirectoryPlus| {
                    reply.add(ino, next, &entry.name, &ttl, &attr, Generation(0))
                };
                reply.with(add).unwrap_or(true)
            });
            reply.send(|reply| match done {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(errno(&error)),
            });
        });
    }
}

/// Calls back with the entries from `offset` on, each with the offset of the next, until that returns true.
fn each_entry(
    tree: &Tree,
    fh: FileHandle,
    offset: u64,
    mut is_enough: impl FnMut(&Listing, u64, &DirEntry) -> bool,
) -> Result<()> {
    let listing = tree.listing(fh.0)?;
    for (next, entry) in (offset + 1..).zip(listing.entries_from(offset as usize)) {
        if is_enough(&listing, next, &entry) {
            break;
        }
    }
    Ok(())
}
