//! One place at which somebody reads in order, and how far to fetch ahead of it.

use std::ops::Range;
use std::time::{Duration, Instant};

/// What is read in order is not fetched ahead before it is this much.
const PROOF: u64 = 384 << 10;
/// How close reads are to one another before that.
const CLOSE: u64 = 128 << 10;
const MIB: u64 = 1 << 20;
/// Bytes of a chunk, and how many chunks are fetched ahead. Whoever has to wait all the same gets the next one.
const LEVELS: [(u64, u64); 5] = [(MIB, 1), (4 * MIB, 1), (4 * MIB, 2), (4 * MIB, 4), (4 * MIB, 8)];
/// Chunks that take longer to come are not made more or larger.
const SLOW: Duration = Duration::from_secs(2);
/// Chunks that take longer may come too late: they become fewer or smaller.
const TOO_SLOW: Duration = Duration::from_secs(5);
/// A share of the budget that leaves less for a chunk is used for none.
const SMALLEST_CHUNK: u64 = 256 << 10;
/// Chunks are made of blocks.
pub(crate) const BLOCK: u64 = 64 << 10;

#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) number: u64,
    /// Where the reads that came furthest have ended. Several threads, and the kernel's own read-ahead, come out of order.
    pub(crate) front: u64,
    /// Everything up to here has been fetched, or left out because nobody was close.
    pub(crate) ahead: u64,
    pub(crate) used: Instant,
    /// Bytes by which reads have moved the front.
    asked: u64,
    level: usize,
    /// The front when the level was last raised.
    raised: u64,
    is_slow: bool,
}

/// What is to be fetched ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// Bytes; a multiple of a block.
    pub(crate) chunk: u64,
    pub(crate) chunks: u64,
}

impl Cursor {
    pub(crate) fn new(number: u64, range: &Range<u64>, now: Instant) -> Cursor {
        Cursor {
            number,
            front: range.end,
            ahead: range.start / BLOCK * BLOCK,
            used: now,
            asked: range.end - range.start,
            level: 0,
            raised: range.end,
            is_slow: false,
        }
    }

    /// How large chunks are here.
    pub(crate) fn chunk(&self) -> u64 {
        if self.is_sequential() { LEVELS[self.level].0 } else { CLOSE }
    }

    pub(crate) fn is_sequential(&self) -> bool {
        self.asked >= PROOF
    }

    /// Returns how far a read is from the front, if it can be one of those that are in order here.
    pub(crate) fn distance(&self, range: &Range<u64>) -> Option<u64> {
        let chunk = self.chunk();
        let is_near = range.start <= self.front.saturating_add(2 * chunk)
            && range.start.saturating_add(4 * chunk) >= self.front;
        is_near.then(|| range.start.abs_diff(self.front))
    }

    /// Notes a read that is one of those in order.
    pub(crate) fn note(&mut self, range: &Range<u64>, now: Instant) {
        let was_sequential = self.is_sequential();
        // What is read again does not count.
        let advance = range.end.saturating_sub(self.front).min(range.end - range.start);
        self.front = self.front.max(range.end);
        self.asked = self.asked.saturating_add(advance);
        self.used = now;
        if !was_sequential || range.start > self.ahead.saturating_add(self.chunk()) {
            self.ahead = range.start / BLOCK * BLOCK;
        }
        if !was_sequential {
            self.raised = self.front;
        }
    }

    /// Whoever reads has had to wait.
    pub(crate) fn has_stalled(&mut self) {
        if !self.is_slow && self.level + 1 < LEVELS.len() && self.front - self.raised >= self.chunk() {
            self.level += 1;
            self.raised = self.front;
        }
    }

    /// A chunk has come.
    pub(crate) fn has_landed(&mut self, took: Duration) {
        self.is_slow = took > SLOW;
        if took > TOO_SLOW {
            self.level = self.level.saturating_sub(1);
        }
    }

    /// Returns what is to be fetched ahead with so many bytes of the budget, if anything.
    pub(crate) fn window(&self, share: u64) -> Option<Window> {
        let (chunk, chunks) = LEVELS[self.level];
        // One is being read while another comes.
        let chunk = chunk.min(share / 2 / BLOCK * BLOCK);
        let fits = self.is_sequential() && chunk >= SMALLEST_CHUNK;
        fits.then(|| Window { chunk, chunks: chunks.min(share / chunk) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: u64 = 32 * MIB;

    fn read(cursor: &mut Cursor, start: u64, len: u64) {
        assert!(cursor.distance(&(start..start + len)).is_some(), "{start} at {cursor:?}");
        cursor.note(&(start..start + len), Instant::now());
    }

    #[test]
    fn nothing_is_fetched_ahead_before_384_kib_were_read_in_order() {
        let now = Instant::now();
        let mut cursor = Cursor::new(1, &(0..BLOCK), now);
        for i in 1..6 {
            assert_eq!(cursor.window(BUDGET), None, "{i}");
            read(&mut cursor, i * BLOCK, BLOCK);
        }
        assert_eq!(cursor.window(BUDGET), Some(Window { chunk: MIB, chunks: 1 }));
        assert_eq!(cursor.ahead, 5 * BLOCK);
    }

    #[test]
    fn a_window_grows_with_every_stall_once_per_chunk_and_not_where_chunks_are_slow() {
        let mut cursor = Cursor::new(1, &(0..PROOF), Instant::now());
        let mut at = PROOF;
        let mut seen = vec![cursor.window(BUDGET).unwrap()];
        for _ in 0..60 {
            read(&mut cursor, at, MIB);
            at += MIB;
            cursor.has_stalled();
            cursor.has_stalled();
            seen.extend(cursor.window(BUDGET).filter(|window| seen.last() != Some(window)));
        }
        let expected = LEVELS.map(|(chunk, chunks)| Window { chunk, chunks });
        assert_eq!(seen, expected);
        cursor.has_landed(2 * TOO_SLOW);
        assert_eq!(cursor.window(BUDGET), Some(expected[3]));
        read(&mut cursor, at, 4 * MIB);
        cursor.has_stalled();
        assert_eq!(cursor.window(BUDGET), Some(expected[3]));
    }

    #[test]
    fn a_small_share_makes_chunks_smaller_and_then_none() {
        let cursor = Cursor::new(1, &(0..PROOF), Instant::now());
        assert_eq!(cursor.window(MIB), Some(Window { chunk: MIB / 2, chunks: 1 }));
        assert_eq!(cursor.window(SMALLEST_CHUNK), None);
    }

    #[test]
    fn reads_out_of_order_are_of_one_cursor_and_others_are_not() {
        let mut cursor = Cursor::new(1, &(0..128 << 10), Instant::now());
        for start in [2, 1, 4, 3, 6, 5] {
            read(&mut cursor, start * (128 << 10), 128 << 10);
        }
        assert!(cursor.is_sequential());
        assert_eq!(cursor.distance(&(100 * MIB..101 * MIB)), None);
        assert_eq!(cursor.distance(&(u64::MAX - 5..u64::MAX)), None);
    }
}
