//! What was opened lately stays open for a while: `unzip -l` and then `unzip -p` unwrap the keys once, and a member
//! that was read before keeps its seek points.
//!
//! The memory of all archives, those included that somebody has open, comes out of one budget. When it is used up, what
//! is only cached is dropped, the trees first.

use std::sync::Arc;

use crate::artifact::member::MemberResources;
use crate::artifact::members::{Members, NodeId};
use crate::artifact::{MAX_OPEN, Zip};
use crate::io::{self, Budget, Lru, Reader};

/// Hash of a set's files, and whether they are read by a full index.
pub(crate) type SetKey = ([u8; 16], bool);

/// Parts of cached zips, counted because each holds a file descriptor.
const MAX_PARTS: usize = 256;
/// Cached members; what they keep of decoders has a bound of its own.
const MAX_MEMBERS: usize = 32;

/// What was opened lately.
pub(crate) struct Recent {
    kept: Arc<Caches>,
    pub(crate) shared: Arc<MemberResources>,
    /// Memory of archives.
    pub(crate) budget: Arc<Budget>,
}

struct Caches {
    zips: Lru<SetKey, Arc<Zip>>,
    /// Each holds its zip, which holds its parts.
    trees: Lru<SetKey, Arc<Members>>,
    /// Each holds its zip, too.
    members: Lru<(SetKey, NodeId), Reader>,
}

impl Recent {
    /// `cache` is the number of bytes for what is kept of decompressing.
    pub(crate) fn new(cache: usize) -> Recent {
        io::give_back_large_pieces();
        let (zips, trees, members) = (Lru::new(MAX_PARTS), Lru::new(MAX_PARTS), Lru::new(MAX_MEMBERS));
        let kept = Arc::new(Caches { zips, trees, members });
        let reclaimed = kept.clone();
        Recent {
            kept,
            shared: Arc::new(MemberResources::new(cache)),
            budget: Budget::new(MAX_OPEN, move || {
                let Caches { zips, trees, members } = &*reclaimed;
                trees.drop_oldest() || zips.drop_oldest() || members.drop_oldest()
            }),
        }
    }

    pub(crate) fn zip(&self, key: &SetKey) -> Option<Arc<Zip>> {
        self.kept.zips.get(key)
    }

    pub(crate) fn keep_zip(&self, key: SetKey, zip: &Arc<Zip>) {
        self.kept.zips.insert(key, zip.clone(), zip.parts());
    }

    pub(crate) fn tree(&self, key: &SetKey) -> Option<Arc<Members>> {
        self.kept.trees.get(key)
    }

    pub(crate) fn keep_tree(&self, key: SetKey, tree: &Arc<Members>) {
        self.kept.trees.insert(key, tree.clone(), tree.parts());
    }

    pub(crate) fn member(&self, key: &(SetKey, NodeId)) -> Option<Reader> {
        self.kept.members.get(key)
    }

    pub(crate) fn keep_member(&self, key: (SetKey, NodeId), member: &Reader) {
        self.kept.members.insert(key, member.clone(), 1);
    }

    /// Closes what belongs to sets that have gone: a deleted file takes space as long as it is open.
    pub(crate) fn retain(&self, present: impl Fn(&[u8; 16]) -> bool) {
        self.kept.zips.retain(|(digest, _)| present(digest));
        self.kept.trees.retain(|(digest, _)| present(digest));
        self.kept.members.retain(|((digest, _), _)| present(digest));
    }
}
