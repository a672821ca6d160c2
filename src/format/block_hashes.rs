//! The hashes that the stored bytes of a part are checked by: BLAKE3 of every 64 KiB, and one over those.
//!
//! ```text
//! stored part   | 64 KiB | 64 KiB | ... | rest |
//! blocks          hash     hash           hash
//! root            BLAKE3 of all of them, one behind the other
//! ```

/// Bytes of a stored part that one hash is for; the last block may be shorter.
pub(crate) const BLOCK: usize = 64 << 10;

pub(crate) type Hash = [u8; 32];

/// Returns the hash of one block.
pub(crate) fn block(bytes: &[u8]) -> Hash {
    *blake3::hash(bytes).as_bytes()
}

/// Returns the hash that stands for all of a part.
pub fn root(blocks: &[Hash]) -> Hash {
    block(blocks.as_flattened())
}
