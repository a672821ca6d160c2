//! Members that are decoded in blocks, and what was decoded lately: shared by the whole mount, bounded in bytes.
//!
//! The kernel asks for a sequential reader's next stretches in any order and from several threads; without a memory
//! of what was just decoded each of them would decode it again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

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
///
/// For whoever reads on and on they are decoded in the background, while the last ones are on their way to the reader.
pub struct Blockwise<D>(Arc<Inner<D>>);

struct Inner<D> {
    /// No other member has it.
    id: u64,
    len: u64,
    shared: Arc<Shared>,
    decoder: Mutex<D>,
    run: Mutex<Run>,
}

/// Where the member is being read, and how far it has been decoded ahead of that.
#[derive(Default)]
struct Run {
    /// The block that the reader has come to.
    next: u64,
    /// Blocks that he has read one after the other.
    length: u64,
    /// The block to which has been decoded ahead of him.
    ahead_to: u64,
    /// Set while a thread decodes ahead.
    is_ahead: bool,
}

/// Requests of one reader come in any order within so many blocks.
const DISORDER: u64 = 4;
/// A reader of so many blocks in a row will read on.
const LONG: u64 = 3;
/// Members that are decoded ahead at the same time, at the most.
const MAX_AHEAD: usize = 2;

impl<D: Decode + 'static> Blockwise<D> {
    pub fn new(len: u64, shared: Arc<Shared>, decoder: D) -> Blockwise<D> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Blockwise(Arc::new(Inner { id, len, shared, decoder: Mutex::new(decoder), run: Mutex::default() }))
    }

    #[cfg(test)]
    pub(super) fn decoder(&self) -> std::sync::MutexGuard<'_, D> {
        self.0.decoder.lock().unwrap()
    }
}

impl<D: Decode + 'static> Inner<D> {
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

    /// Takes notice of a read, and has the next blocks decoded if more will be read than has been, unless that is going on.
    fn go_on(self: &Arc<Self>, n: u64) {
        let mut run = self.run.lock().unwrap();
        let is_near = n <= run.next && n + DISORDER >= run.next;
        let next = if is_near { run.next.max(n + 1) } else { n + 1 };
        run.length = if is_near { run.length + (next - run.next) } else { 1 };
        run.next = next;
        if !is_near {
            run.ahead_to = next;
        }
        let has_enough = run.ahead_to >= next + self.shared.blocks_ahead / 2;
        if run.length >= LONG && !has_enough && !run.is_ahead {
            run.is_ahead = self.start_ahead();
        }
    }

    /// Starts decoding ahead, if not too many do; without it the reader decodes for himself.
    fn start_ahead(self: &Arc<Self>) -> bool {
        let ahead = &self.shared.ahead;
        let started = ahead.fetch_add(1, Ordering::AcqRel) < MAX_AHEAD && {
            let inner = self.clone();
            thread::Builder::new().name("ahead".into()).spawn(move || inner.decode_ahead()).is_ok()
        };
        if !started {
            ahead.fetch_sub(1, Ordering::AcqRel);
        }
        started
    }

    fn decode_ahead(&self) {
        let mut n = 0;
        loop {
            let position = self.run.lock().unwrap().next;
            n = position.max(n);
            let end = (position + self.shared.blocks_ahead).min(self.len.div_ceil(BLOCK));
            // What goes wrong is told to whoever reads it.
            if n >= end || self.block(n).is_err() {
                break;
            }
            n += 1;
            self.run.lock().unwrap().ahead_to = n;
        }
        self.shared.ahead.fetch_sub(1, Ordering::AcqRel);
        self.run.lock().unwrap().is_ahead = false;
    }
}

impl<D: Decode + 'static> ReadAt for Blockwise<D> {
    fn len(&self) -> u64 {
        self.0.len
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let inner = &self.0;
        let wanted = available(inner.len, offset, buf.len());
        let mut done = 0;
        while done < wanted {
            let at = offset + done as u64;
            let block = inner.block(at / BLOCK)?;
            inner.go_on(at / BLOCK);
            done += block.read_at(&mut buf[done..wanted], at % BLOCK)?;
        }
        Ok(done)
    }
}
