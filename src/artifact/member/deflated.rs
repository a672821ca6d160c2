//! Random access into deflate: the decoder's state is kept from time to time, and a read goes on from the nearest.
//!
//! ```text
//! content   |block|block|block|block|block|block|block|block| ...
//! kept      ^           ^           ^           ^              seek points: copies of the decoder
//!                                         ^                    cursors: decoders that readers have left there
//! ```
//!
//! Seek points are made as decoding goes. When the memory for them is used up, or another member needs it, every other
//! one of this member is dropped, and they are made half as often from then on.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::MemberResources;
use super::blocks::{BLOCK, Decode, DecodedBlock};
use super::cursor::{CompressedMember, Cursor};
use super::decoders::Yield;
use super::inflate::STATE_SIZE;
use crate::error::Result;
use crate::io::{Reader, Share};

/// Distance between seek points at first.
const SPACING: u64 = 4 * BLOCK;
/// Decoders that are kept where readers have left them.
const MAX_CURSORS: usize = 3;
/// Blocks decoded on the way to the one that is wanted are kept if they are this near before it.
const KEEP_BEFORE: u64 = 4;

/// The decoder of a deflated member.
pub(crate) struct Deflated {
    member: CompressedMember,
    /// By position in the content; never 0, because a new decoder begins there.
    points: BTreeMap<u64, Cursor>,
    spacing: u64,
    /// The last used at the back.
    cursors: Vec<Cursor>,
    /// Memory for all of these.
    share: Share,
}

/// Memory of a decoder whose reader may go on: its state, a block that is not complete, and its input.
const CURSOR_SIZE: usize = STATE_SIZE + BLOCK as usize + (64 << 10);

impl Deflated {
    /// Returns a decoder that gives memory back when others need it.
    pub(crate) fn shared(
        compressed: Reader,
        len: u64,
        crc: u32,
        shared: Arc<MemberResources>,
    ) -> Arc<Mutex<Deflated>> {
        let deflated = Arc::new(Mutex::new(Deflated::new(compressed, len, crc, shared.clone())));
        let weak: Weak<Mutex<Deflated>> = Arc::downgrade(&deflated);
        shared.decoders.add(weak);
        deflated
    }

    fn new(compressed: Reader, len: u64, crc: u32, shared: Arc<MemberResources>) -> Deflated {
        let share = shared.decoders.budget.share();
        let member = CompressedMember { compressed, len, crc, shared };
        Deflated { member, points: BTreeMap::new(), spacing: SPACING, cursors: Vec::new(), share }
    }

    /// Returns the memory of so many seek points and cursors; all cursors but the latest are as small as points.
    fn cost(points: usize, cursors: usize) -> usize {
        (points + cursors.saturating_sub(1)) * STATE_SIZE + cursors.min(1) * CURSOR_SIZE
    }

    /// Gives back what is not needed any more.
    fn release_unused(&mut self) {
        self.share.try_resize(Deflated::cost(self.points.len(), self.cursors.len()));
    }

    /// Drops every other seek point, and makes them half as often from now on.
    fn thin_out(&mut self) {
        if self.points.is_empty() {
            return self.release_unused();
        }
        self.spacing = self.spacing.saturating_mul(2);
        let (mut last, spacing) = (0u64, self.spacing);
        self.points.retain(|&at, _| {
            let is_kept = at >= last.saturating_add(spacing);
            last = if is_kept { at } else { last };
            is_kept
        });
        self.release_unused();
    }

    /// Keeps a seek point at the cursor if the last one is far enough back and there is memory for it.
    fn keep_point(&mut self, cursor: &Cursor) -> Result<()> {
        let last = self.points.last_key_value().map_or(0, |(&at, _)| at);
        if cursor.at() < last.saturating_add(self.spacing) || cursor.at() == self.member.len {
            return Ok(());
        }
        if self.share.try_resize(Deflated::cost(self.points.len() + 1, self.cursors.len())) {
            self.points.insert(cursor.at(), cursor.copy()?);
        } else {
            self.thin_out();
        }
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
        if cursor.at() >= self.member.len {
            return;
        }
        if self.cursors.len() == MAX_CURSORS {
            self.cursors.remove(0);
        }
        // Only the latest is likely to go on.
        self.cursors.iter_mut().for_each(Cursor::forget_data);
        let cost = |deflated: &Deflated| Deflated::cost(deflated.points.len(), deflated.cursors.len() + 1);
        while !self.share.resize(cost(self), Duration::ZERO) {
            if self.points.is_empty() && self.cursors.is_empty() {
                // Others use all the memory.
                return;
            }
            self.cursors.clear();
            self.thin_out();
        }
        self.cursors.push(cursor);
    }
}

impl Yield for Mutex<Deflated> {
    fn yield_some(&self) -> bool {
        let Some(mut decoder) = self.try_lock() else { return false };
        let before = decoder.share.bytes();
        decoder.cursors.clear();
        decoder.thin_out();
        decoder.share.bytes() < before
    }
}

impl Decode for Arc<Mutex<Deflated>> {
    fn decode(&self, wanted: u64, keep: &mut dyn FnMut(u64, DecodedBlock)) -> Result<DecodedBlock> {
        let mut decoder = self.lock();
        let mut cursor = decoder.nearest(wanted * BLOCK)?;
        let mut found = None;
        loop {
            decoder.keep_point(&cursor)?;
            if let Some(found) = found {
                decoder.release_unused();
                decoder.leave(cursor);
                return Ok(found);
            }
            cursor.advance(&decoder.member, &mut |n, block| {
                if n == wanted {
                    found = Some(block);
                } else if n + KEEP_BEFORE >= wanted {
                    keep(n, block);
                }
            })?;
        }
    }

    fn release_idle(&self) {
        self.lock().cursors.iter_mut().for_each(Cursor::forget_input);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::member::blocks::Blockwise;
    use crate::artifact::member::decoders::Decoders;
    use crate::format::deflate::tests::{deflate, letters};
    use crate::io::ReadAt;
    use proptest::prelude::*;

    fn deflated(content: &[u8], crc: u32, len: u64) -> Blockwise<Arc<Mutex<Deflated>>> {
        sharing(content, crc, len, Arc::default())
    }

    fn sharing(
        content: &[u8],
        crc: u32,
        len: u64,
        shared: Arc<MemberResources>,
    ) -> Blockwise<Arc<Mutex<Deflated>>> {
        let compressed = deflate(content, 6);
        let decoder = Deflated::shared(Arc::new(compressed), len, crc, shared.clone());
        Blockwise::new(len, shared, decoder)
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
        let shared = Arc::new(MemberResources {
            decoders: Decoders::new(18 * STATE_SIZE),
            ..MemberResources::default()
        });
        let member = sharing(&content, crc32fast::hash(&content), content.len() as u64, shared.clone());
        assert!(member.read_vec(0, content.len()).unwrap() == content);
        let decoder = member.decoder().lock();
        assert!((4..=10).contains(&decoder.points.len()), "{}", decoder.points.len());
        let cost = Deflated::cost(decoder.points.len(), decoder.cursors.len());
        assert_eq!(shared.decoders.budget.held(), cost);
        drop(decoder);
        drop(member);
        assert_eq!(shared.decoders.budget.held(), 0);
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
