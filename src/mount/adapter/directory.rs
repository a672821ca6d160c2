//! Requests for what is in a directory.

use fuser::{FileHandle, FopenFlags, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus, ReplyOpen};

use super::Adapter;
use super::answer::{errno, file_attr, file_type};
use crate::mount::deadline::Answer;
use crate::tree::{Listing, Tree};

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
        self.with_listing(fh, reply, move |_, listing, mut reply| {
            for (next, entry) in (offset + 1..).zip(listing.entries_from(offset as usize)) {
                if reply.add(INodeNo(entry.ino), next, file_type(entry.kind), &entry.name) {
                    break;
                }
            }
            reply.ok();
        });
    }

    /// The same, with those attributes that are there to be had.
    pub fn list_with_attributes(&self, fh: FileHandle, offset: u64, reply: ReplyDirectoryPlus) {
        self.with_listing(fh, reply, move |tree, listing, mut reply| {
            for (next, entry) in (offset + 1..).zip(listing.entries_from(offset as usize)) {
                // What has gone since the directory was opened is left out.
                let Ok((attr, ttl)) = tree.attributes_now(listing, &entry) else { continue };
                let (ino, attr) = (INodeNo(entry.ino), file_attr(&attr));
                if reply.add(ino, next, &entry.name, &ttl, &attr, Generation(0)) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn with_listing<R: Answer>(
        &self,
        fh: FileHandle,
        reply: R,
        answer: impl FnOnce(&Tree, &Listing, R) + Send + 'static,
    ) {
        let tree = self.tree.clone();
        self.deadline.run(reply, move |reply| {
            let listing = tree.listing(fh.0);
            reply.send(|reply| match listing {
                Ok(listing) => answer(&tree, &listing, reply),
                Err(error) => reply.fail(&error),
            });
        });
    }
}
