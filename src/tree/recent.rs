//! What was opened lately stays open for a while: `unzip -l` and then `unzip -p` unwrap the keys once, and a member
//! that was read before keeps its seek points.
//!
//! What all archives take in memory, those included that somebody has open, comes out of one budget. Where that is used up
//! what is only kept is given up, the trees first.

use std::sync::Arc;

use crate::artifact::member::MemberResources;
use crate::artifact::members::{Members, NodeId};
use crate::artifact::{MAX_OPEN, Zip};
use crate::io::{self, Budget, Lru, Reader};

/// Hash of a set's files, and how they are read.
pub(crate) type Key = ([u8; 16], bool);

/// Every part of an open zip holds a file descriptor, so they are what is counted.
const MAX_PARTS: usize = 256;
/// Members; what they keep of decoders has a bound of its own.
const MAX_MEMBERS: usize = 32;

/// The latest of everything.
pub(crate) struct Recent {
    kept: Arc<Kept>,
    pub(crate) shared: Arc<MemberResources>,
    /// Memory of archives.
    pub(crate) budget: Arc<Budget>,
}

struct Kept {
    zips: Lru<Key, Arc<Zip>>,
    /// Each holds its zip, and that its parts.
    trees: Lru<Key, Arc<Members>>,
    /// Each holds its zip, too.
    members: Lru<(Key, NodeId), Reader>,
}

impl Recent {
    /// `cache` is in bytes, for what is kept of decompressing.
    pub(crate) fn new(cache: usize) -> Recent {
        io::give_back_large_pieces();
        let (zips, trees, members) = (Lru::new(MAX_PARTS), Lru::new(MAX_PARTS), Lru::new(MAX_MEMBERS));
        let kept = Arc::new(Kept { zips, trees, members });
        let reclaimed = kept.clone();
        Recent {
            kept,
            shared: Arc::new(MemberResources::new(cache)),
            budget: Budget::new(MAX_OPEN, move || {
                let Kept { zips, trees, members } = &*reclaimed;
                trees.drop_oldest() || zips.drop_oldest() || members.drop_oldest()
            }),
        }
    }

    pub(crate) fn zip(&self, key: &Key) -> Option<Arc<Zip>> {
        self.kept.zips.get(key)
    }

    pub(crate) fn keep_zip(&self, key: Key, zip: &Arc<Zip>) {
        self.kept.zips.insert(key, zip.clone(), zip.parts());
    }

    pub(crate) fn tree(&self, key: &Key) -> Option<Arc<Members>> {
        self.kept.trees.get(key)
    }

    pub(crate) fn keep_tree(&self, key: Key, tree: &Arc<Members>) {
        self.kept.trees.insert(key, tree.clone(), tree.parts());
    }

    pub(crate) fn member(&self, key: &(Key, NodeId)) -> Option<Reader> {
        self.kept.members.get(key)
    }

    pub(crate) fn keep_member(&self, key: (Key, NodeId), member: &Reader) {
        self.kept.members.insert(key, member.clone(), 1);
    }

    /// Closes what belongs to sets that are gone: deleted files would go on taking space.
    pub(crate) fn retain(&self, present: impl Fn(&[u8; 16]) -> bool) {
        self.kept.zips.retain(|(digest, _)| present(digest));
        self.kept.trees.retain(|(digest, _)| present(digest));
        self.kept.members.retain(|((digest, _), _)| present(digest));
    }
}
