//! Requests for what is in a directory.

use fuser::{FileHandle, FopenFlags, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus, ReplyOpen};

use super::Adapter;
use super::answer::{errno, file_attr, file_type};

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
            let listing = tree.listing(fh.0);
            reply.send(|mut reply| {
                let listing = match listing {
                    Ok(listing) => listing,
                    Err(error) => return reply.error(errno(&error)),
                };
                for i in offset.. {
                    let Some(entry) = listing.entry(i as usize) else { break };
                    if reply.add(INodeNo(entry.ino), i + 1, file_type(entry.kind), &entry.name) {
                        break;
                    }
                }
                reply.ok();
            });
        });
    }

    /// The same, with those attributes that are there to be had.
    pub fn list_with_attributes(&self, fh: FileHandle, offset: u64, reply: ReplyDirectoryPlus) {
        let tree = self.tree.clone();
        self.deadline.run(reply, move |reply| {
            let listing = tree.listing(fh.0);
            reply.send(|mut reply| {
                let listing = match listing {
                    Ok(listing) => listing,
                    Err(error) => return reply.error(errno(&error)),
                };
                for i in offset.. {
                    let Some(entry) = listing.entry(i as usize) else { break };
                    // What has gone since the directory was opened is left out.
                    let Ok((attr, ttl)) = tree.attributes_now(&listing, &entry) else { continue };
                    let (ino, attr) = (INodeNo(entry.ino), file_attr(&attr));
                    if reply.add(ino, i + 1, &entry.name, &ttl, &attr, Generation(0)) {
                        break;
                    }
                }
                reply.ok();
            });
        });
    }
}
