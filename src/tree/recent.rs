//! What was opened lately stays open for a while: `unzip -l` and then `unzip -p` unwrap the keys once, and a member
//! that was read before keeps its seek points.

use std::sync::Arc;

use crate::artifact::Zip;
use crate::artifact::member::Shared;
use crate::artifact::members::{Members, NodeId};
use crate::io::{Lru, Reader};

/// Hash of a set's files, and how they are read.
pub type Key = ([u8; 16], bool);

/// Every part of an open zip holds a file descriptor, so they are what is counted; and memory in units of 32 KiB.
const MAX_PARTS: usize = 256;
const MEMORY_PER_PART: usize = 32 << 10;
/// Bytes of all trees inside zips.
const MAX_TREES: usize = 32 << 20;
/// Members; what they keep of decoders has a bound of its own.
const MAX_MEMBERS: usize = 32;

/// The latest of everything.
pub struct Recent {
    pub zips: Lru<Key, Arc<Zip>>,
    pub trees: Lru<Key, Arc<Members>>,
    pub members: Lru<(Key, NodeId), Reader>,
    pub shared: Arc<Shared>,
}

impl Recent {
    /// `cache` is in bytes, for what is kept of decompressing.
    pub fn new(cache: usize) -> Recent {
        Recent {
            zips: Lru::new(MAX_PARTS),
            trees: Lru::new(MAX_TREES),
            members: Lru::new(MAX_MEMBERS),
            shared: Arc::new(Shared::new(cache)),
        }
    }

    pub fn keep_zip(&self, key: Key, zip: &Arc<Zip>) {
        self.zips.insert(key, zip.clone(), zip.parts() + zip.memory() / MEMORY_PER_PART);
    }

    /// Closes what belongs to sets that are gone: deleted files would go on taking space.
    pub fn retain(&self, present: impl Fn(&[u8; 16]) -> bool) {
        self.zips.retain(|(digest, _)| present(digest));
        self.trees.retain(|(digest, _)| present(digest));
        self.members.retain(|((digest, _), _)| present(digest));
    }
}
