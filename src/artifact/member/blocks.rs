//! Members that are decoded in blocks, and what was decoded lately: shared by the whole mount, bounded in bytes.
//!
//! The kernel asks for a sequential reader's next stretches in any order and from several threads; without a memory
//! of what was just decoded each of them would decode it again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::Shared;
use crate::error::Result;
use crate::io::{Lru, ReadAt, available};

/// Bytes of content in a block.
pub const BLOCK: u64 = 256 << 10;

/// A decoded block.
pub type Block = Arc<Vec<u8>>;
/// Blocks by member and number.
pub type Blocks = Lru<(u64, u64), Block>;

/// Something that decodes the blocks of a member.
pub trait Decode: Send {
    /// Returns the block that begins at `wanted`. Blocks that are decoded on the way to it, and may be wanted soon,
    /// are passed to `keep` with their beginnings.
    fn decode(&mut self, wanted: u64, keep: &mut dyn FnMut(u64, &Block)) -> Result<Block>;
}

/// A member that is read by decoding its blocks.
pub struct Blockwise<D> {
    /// No other member has it.
    id: u64,
    len: u64,
    shared: Arc<Shared>,
    pub(super) decoder: Mutex<D>,
}

impl<D: Decode> Blockwise<D> {
    pub fn new(len: u64, shared: Arc<Shared>, decoder: D) -> Blockwise<D> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Blockwise { id, len, shared, decoder: Mutex::new(decoder) }
    }

    fn block(&self, n: u64) -> Result<Block> {
        let blocks = &self.shared.blocks;
        if let Some(block) = blocks.get(&(self.id, n)) {
            return Ok(block);
        }
        let mut decoder = self.decoder.lock().unwrap();
        // Somebody may have decoded it while this waited.
        if let Some(block) = blocks.get(&(self.id, n)) {
            return Ok(block);
        }
        let mut keep =
            |at: u64, block: &Block| blocks.insert((self.id, at / BLOCK), block.clone(), block.len());
        let block = decoder.decode(n * BLOCK, &mut keep)?;
        keep(n * BLOCK, &block);
        Ok(block)
    }
}

impl<D: Decode> ReadAt for Blockwise<D> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let wanted = available(self.len, offset, buf.len());
        let mut done = 0;
        while done < wanted {
            let at = offset + done as u64;
            done += self.block(at / BLOCK)?.read_at(&mut buf[done..wanted], at % BLOCK)?;
        }
        Ok(done)
    }
}
