//! Decoded blocks of members, shared by the whole mount and bounded in bytes.
//!
//! The kernel asks for a sequential reader's next stretches in any order and from several threads; without a memory
//! of what was just decoded each of them would decode it again.

use std::sync::Arc;

use crate::io::Lru;

/// Bytes of content in a block.
pub const BLOCK: u64 = 256 << 10;
/// Bytes of all blocks together.
const MAX_BYTES: usize = 16 << 20;

/// Blocks by member and number.
pub type Blocks = Lru<(u64, u64), Arc<Vec<u8>>>;

pub fn new() -> Blocks {
    Lru::new(MAX_BYTES)
}
