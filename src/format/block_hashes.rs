//! The hashes that verify the stored bytes of a part: BLAKE3 of every 64 KiB, and one over those.
//!
//! ```text
//! stored part   | 64 KiB | 64 KiB | ... | rest |
//! blocks          hash     hash           hash
//! root            BLAKE3 of all of them, concatenated
//! ```

/// Bytes in a block; the last block of a part may be shorter.
pub(crate) const BLOCK: usize = 64 << 10;

pub(crate) type BlockHash = [u8; 32];

/// Returns the hash of one block.
pub(crate) fn block(bytes: &[u8]) -> BlockHash {
    *blake3::hash(bytes).as_bytes()
}

/// Returns the hash of all block hashes of a part.
pub fn root(blocks: &[BlockHash]) -> BlockHash {
    block(blocks.as_flattened())
}
