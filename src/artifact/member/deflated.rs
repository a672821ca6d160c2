//! Random access into deflate: the decoder's state is kept from time to time, and a read goes on from the nearest.
//!
//! ```text
//! content   |block|block|block|block|block|block|block|block| ...
//! kept      ^           ^           ^           ^              seek points: copies of the decoder
//!                                         ^                    cursors: decoders that readers have left there
//! ```
//!
//! Seek points are made as decoding goes. Where the memory for them is used up, every other one of this member is
//! dropped, and they are made half as often from then on.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Shared;
use super::blocks::{BLOCK, Block, Decode};
use super::cursor::{Cursor, Source};
use super::inflate::STATE_SIZE;
use crate::error::Result;
use crate::io::Reader;

/// Distance between seek points at first.
const SPACING: u64 = 4 * BLOCK;
/// Decoders that are kept where readers have left them.
const MAX_CURSORS: usize = 3;
/// Blocks decoded on the way to the one that is wanted are kept if they are this near before it.
const KEEP_BEFORE: u64 = 4;

/// Memory for all seek points of the mount, in bytes.
pub struct SeekBudget {
    left: AtomicUsize,
}

impl SeekBudget {
    pub fn new(bytes: usize) -> SeekBudget {
        SeekBudget { left: AtomicUsize::new(bytes) }
    }

    fn take(&self) -> bool {
        let less = |left: usize| left.checked_sub(STATE_SIZE);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn give_back(&self, points: usize) {
        self.left.fetch_add(points * STATE_SIZE, Ordering::Relaxed);
    }
}

/// The decoder of a deflated member.
pub struct Deflated {
    source: Source,
    /// By position in the content; never 0, because anybody can begin there.
    points: BTreeMap<u64, Cursor>,
    spacing: u64,
    /// The last used at the back.
    cursors: Vec<Cursor>,
}

impl Deflated {
    pub fn new(compressed: Reader, len: u64, crc: u32, shared: Arc<Shared>) -> Deflated {
        let source = Source { compressed, len, crc, shared };
        Deflated { source, points: BTreeMap::new(), spacing: SPACING, cursors: Vec::new() }
    }

    /// Keeps a seek point at the cursor if the last one is far enough back and there is memory for it.
    fn keep_point(&mut self, cursor: &Cursor) -> Result<()> {
        let last = self.points.last_key_value().map_or(0, |(&at, _)| at);
        if cursor.at() < last + self.spacing || cursor.at() == self.source.len {
            return Ok(());
        }
        let budget = &self.source.shared.budget;
        if budget.take() {
            let copy = cursor.copy().inspect_err(|_| budget.give_back(1))?;
            self.points.insert(cursor.at(), copy);
            return Ok(());
        }
        self.spacing *= 2;
        let (mut last, spacing, before) = (0, self.spacing, self.points.len());
        self.points.retain(|&at, _| {
            let is_kept = at >= last + spacing;
            last = if is_kept { at } else { last };
            is_kept
        });
        self.source.shared.budget.give_back(before - self.points.len());
        Ok(())
    }

    /// Returns a decoder at the nearest place before or at `wanted`.
    fn nearest(&mut self, wanted: u64) -> Result<Cursor> {
        let cursor = (0..self.cursors.len())
            .filter(|&i| self.cursors[i].gives_from() <= wanted)
            .max_by_key(|&i| self.cursors[i].at());
        let point = self.points.range(..=wanted).next_back().map(|(_, point)| point);
        match (cursor, point) {
            (Some(i), point) if point.is_none_or(|point| point.at() <= self.cursors[i].at()) => {
                Ok(self.cursors.remove(i))
            }
            (_, Some(point)) => point.copy(),
            _ => Cursor::new(),
        }
    }

    /// Leaves a decoder for the next reader, unless there is nothing more to decode.
    fn leave(&mut self, cursor: Cursor) {
        if cursor.at() >= self.source.len {
            return;
        }
        if self.cursors.len() == MAX_CURSORS {
            self.cursors.remove(0);
        }
        // Only the latest is likely to go on.
        self.cursors.iter_mut().for_each(Cursor::forget_data);
        self.cursors.push(cursor);
    }
}

impl Decode for Mutex<Deflated> {
    fn decode(&self, wanted: u64, keep: &mut dyn FnMut(u64, Block)) -> Result<Block> {
        let mut decoder = self.lock();
        let mut cursor = decoder.nearest(wanted * BLOCK)?;
        let mut found = None;
        loop {
            decoder.keep_point(&cursor)?;
            if let Some(found) = found {
                decoder.leave(cursor);
                return Ok(found);
            }
            cursor.advance(&decoder.source, &mut |n, block| {
                if n == wanted {
                    found = Some(block);
                } else if n + KEEP_BEFORE >= wanted {
                    keep(n, block);
                }
            })?;
        }
    }

    fn rest(&self) {
        self.lock().cursors.iter_mut().for_each(Cursor::forget_input);
    }
}

impl Drop for Deflated {
    fn drop(&mut self) {
        self.source.shared.budget.give_back(self.points.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::member::blocks::Blockwise;
    use crate::format::deflate::tests::{deflate, letters};
    use crate::io::ReadAt;
    use proptest::prelude::*;

    fn deflated(content: &[u8], crc: u32, len: u64) -> Blockwise<Mutex<Deflated>> {
        sharing(content, crc, len, Arc::default())
    }

    fn sharing(content: &[u8], crc: u32, len: u64, shared: Arc<Shared>) -> Blockwise<Mutex<Deflated>> {
        let compressed = deflate(content, 6);
        let decoder = Deflated::new(Arc::new(compressed), len, crc, shared.clone());
        Blockwise::new(len, shared, Mutex::new(decoder))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]
        #[test]
        fn reads_in_any_order_equal_the_content(reads in proptest::collection::vec((0u64..4_000_000, 0usize..300_000), 1..20)) {
            let content = letters(3_700_000);
            let member = deflated(&content, crc32fast::hash(&content), content.len() as u64);
            for (offset, len) in reads {
                let from = (offset as usize).min(content.len());
                let to = (from + len).min(content.len());
                prop_assert!(member.read_vec(offset, len).unwrap() == content[from..to]);
            }
        }
    }

    #[test]
    fn seek_points_thin_out_when_memory_is_short() {
        let content = letters(40 * SPACING as usize);
        let shared = Arc::<Shared>::default();
        shared.budget.left.store(10 * STATE_SIZE, Ordering::Relaxed);
        let member = sharing(&content, crc32fast::hash(&content), content.len() as u64, shared.clone());
        assert!(member.read_vec(0, content.len()).unwrap() == content);
        let decoder = member.decoder().lock();
        assert!((4..=10).contains(&decoder.points.len()), "{}", decoder.points.len());
        let left = shared.budget.left.load(Ordering::Relaxed);
        assert_eq!(left + decoder.points.len() * STATE_SIZE, 10 * STATE_SIZE);
    }

    #[test]
    fn a_wrong_crc_or_length_fails_at_the_end_only() {
        let content = letters(1_000_000);
        let crc = crc32fast::hash(&content);
        for (crc, len) in [(crc ^ 1, 1_000_000), (crc, 999_999), (crc, 1_000_001)] {
            let member = deflated(&content, crc, len);
            assert!(member.read_vec(0, 500_000).is_ok());
            assert!(member.read_vec(900_000, 50).is_err(), "{len}");
        }
    }
}
