//! Decoded blocks of members, shared by the whole mount and bounded in bytes.
//!
//! The kernel asks for a sequential reader's next stretches in any order and from several threads; without a memory
//! of what was just decoded each of them would decode it again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// Bytes of content in a block.
pub const BLOCK: u64 = 256 << 10;
/// Bytes of all blocks together.
const MAX_BYTES: usize = 16 << 20;

/// Which member, and which of its blocks.
pub type Key = (u64, u64);

/// The latest blocks, the last used at the back.
#[derive(Default)]
pub struct Blocks {
    blocks: Mutex<VecDeque<(Key, Arc<Vec<u8>>)>>,
}

impl Blocks {
    pub fn get(&self, key: Key) -> Option<Arc<Vec<u8>>> {
        let mut blocks = self.blocks.lock().unwrap();
        let at = blocks.iter().rposition(|(k, _)| *k == key)?;
        let found = blocks.remove(at)?;
        let block = found.1.clone();
        blocks.push_back(found);
        Some(block)
    }

    pub fn insert(&self, key: Key, block: Arc<Vec<u8>>) {
        let mut blocks = self.blocks.lock().unwrap();
        blocks.retain(|(k, _)| *k != key);
        blocks.push_back((key, block));
        while blocks.iter().map(|(_, block)| block.len()).sum::<usize>() > MAX_BYTES {
            blocks.pop_front();
        }
    }
}
