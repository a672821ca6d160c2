//! What is to be fetched for a read: what it asks for, and what those that follow will ask for.

use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::cursor::{BLOCK, Cursor, Window};
use super::pieces::{Content, For, Piece, Pieces};

/// Places of one object where somebody may be reading in order.
const CURSORS: usize = 8;
/// A cursor that nobody has used for so long has no share of the budget, and what was fetched ahead of it goes when others need room.
const IDLE: Duration = Duration::from_secs(3);

/// A fetch that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) number: u64,
    pub(crate) range: Range<u64>,
}

/// All objects that are read.
pub(crate) struct State {
    pub(crate) pieces: Pieces,
    cursors: HashMap<u64, Vec<Cursor>>,
    numbers: u64,
    /// Cursors that something is fetched ahead of, and when each was used last.
    active: HashMap<u64, Instant>,
}

impl State {
    pub(crate) fn new(limit: u64) -> State {
        State { pieces: Pieces::new(limit), cursors: HashMap::new(), numbers: 0, active: HashMap::new() }
    }

    /// Notes a read of an object of so many bytes, and returns what is to be fetched. All that the read asks for is there then,
    /// or on its way.
    pub(crate) fn begin(&mut self, object: u64, len: u64, range: &Range<u64>, now: Instant) -> Vec<Begun> {
        let at = self.cursor_for(object, range, now);
        let mut begun = match self.window(object, at, range, now) {
            Some(window) => self.begin_ahead(object, len, at, window, now),
            None => Vec::new(),
        };
        begun.extend(self.begin_exact(object, len, range, now));
        begun
    }

    /// Begins to fetch the blocks of a range that are not there.
    pub(crate) fn begin_exact(
        &mut self,
        object: u64,
        len: u64,
        range: &Range<u64>,
        now: Instant,
    ) -> Vec<Begun> {
        if self.pieces.gaps(object, range.clone()).is_empty() {
            return Vec::new();
        }
        let is_over = |start, piece: &Piece| {
            piece.of == For::Read && piece.consumed > 0 && (piece.end <= range.start || range.end <= start)
        };
        self.pieces.drop_if(object, is_over);
        self.pieces.trim();
        let blocks = range.start / BLOCK * BLOCK..range.end.next_multiple_of(BLOCK).min(len);
        let is_end = blocks.start == 0 || blocks.end == len;
        let of = if is_end && blocks.end - blocks.start <= 2 * BLOCK { For::End } else { For::Read };
        let gaps = self.pieces.gaps(object, blocks);
        let wanted = gaps.into_iter().filter(|gap| gap.start < range.end && gap.end > range.start);
        wanted.map(|range| self.begin_one(object, range, of, now)).collect()
    }

    /// Begins to fetch the first and the last blocks of an object, as far as there is room to keep them.
    pub(crate) fn begin_ends(&mut self, object: u64, len: u64, now: Instant) -> Vec<Begun> {
        let tail = len.saturating_sub(BLOCK) / BLOCK * BLOCK;
        let mut begun = Vec::new();
        for end in [0..BLOCK.min(len), tail..len] {
            for gap in self.pieces.gaps(object, end) {
                if self.pieces.can_keep(gap.end - gap.start) {
                    begun.push(self.begin_one(object, gap, For::End, now));
                }
            }
        }
        begun
    }

    /// Puts in what has come.
    pub(crate) fn land(&mut self, object: u64, begun: &Begun, content: Content, now: Instant) {
        let landed = self.pieces.land(object, begun.range.start, begun.number, content);
        let Some((For::Cursor(number), since)) = landed.map(|piece| (piece.of, piece.begun)) else { return };
        let cursors = self.cursors.get_mut(&object).into_iter().flatten();
        cursors
            .filter(|cursor| cursor.number == number)
            .for_each(|cursor| cursor.has_landed(now.duration_since(since)));
    }

    pub(crate) fn forget(&mut self, object: u64) {
        for cursor in self.cursors.remove(&object).into_iter().flatten() {
            self.active.remove(&cursor.number);
        }
        self.pieces.forget(object);
    }

    /// Returns the place of the cursor that a read is of: the nearest, or a new one instead of that which was not used for longest.
    fn cursor_for(&mut self, object: u64, range: &Range<u64>, now: Instant) -> usize {
        let cursors = self.cursors.entry(object).or_default();
        let distances =
            cursors.iter().enumerate().filter_map(|(at, cursor)| Some((cursor.distance(range)?, at)));
        if let Some((_, at)) = distances.min() {
            cursors[at].note(range, now);
            return at;
        }
        self.numbers += 1;
        let new = Cursor::new(self.numbers, range, now);
        if cursors.len() < CURSORS {
            cursors.push(new);
            return cursors.len() - 1;
        }
        let at = (0..cursors.len()).min_by_key(|&at| cursors[at].used).unwrap_or_default();
        let old = std::mem::replace(&mut cursors[at], new);
        self.active.remove(&old.number);
        at
    }

    /// Returns what is to be fetched ahead of a cursor, if anything.
    fn window(&mut self, object: u64, at: usize, range: &Range<u64>, now: Instant) -> Option<Window> {
        let cursor = &mut self.cursors.get_mut(&object)?[at];
        if !cursor.is_sequential() {
            return None;
        }
        let is_there = |pieces: &mut Pieces, at| {
            pieces.around(object, at).is_some_and(|(_, piece)| matches!(piece.content, Content::Here(_)))
        };
        if !is_there(&mut self.pieces, range.start) || !is_there(&mut self.pieces, range.end - 1) {
            cursor.has_stalled();
        }
        self.active.insert(cursor.number, now);
        self.active.retain(|_, used| now.duration_since(*used) < IDLE);
        cursor.window(self.pieces.limit() / self.active.len() as u64)
    }

    /// Begins to fetch chunks ahead of a cursor, as far as its share of the budget allows. What was fetched and is far behind goes: read,
    /// or not wanted.
    fn begin_ahead(&mut self, object: u64, len: u64, at: usize, window: Window, now: Instant) -> Vec<Begun> {
        let Some(cursor) = self.cursors.get(&object).and_then(|cursors| cursors.get(at)) else {
            return Vec::new();
        };
        let (number, front, mut ahead) = (cursor.number, cursor.front, cursor.ahead);
        self.pieces.drop_if(object, |start, piece| {
            let kept = if piece.consumed >= piece.end - start { 1 } else { 4 };
            piece.of == For::Cursor(number) && piece.end.saturating_add(kept * window.chunk) <= front
        });
        let share = self.pieces.limit() / self.active.len().max(1) as u64;
        let until = front.saturating_add(window.chunk * window.chunks).min(len);
        let mut begun = Vec::new();
        while ahead < until {
            if let Some((_, piece)) = self.pieces.around(object, ahead) {
                ahead = piece.end;
                continue;
            }
            let end = ahead.saturating_add(window.chunk).min(len);
            let Some(gap) = self.pieces.gaps(object, ahead..end).into_iter().next() else { break };
            let bytes = gap.end - gap.start;
            let held = self.pieces.held_for(object, number).saturating_add(bytes);
            let active = &self.active;
            if held > share || !self.pieces.make_room(bytes, |cursor| !active.contains_key(&cursor)) {
                break;
            }
            ahead = gap.end;
            begun.push(self.begin_one(object, gap, For::Cursor(number), now));
        }
        let cursor = self.cursors.get_mut(&object).and_then(|cursors| cursors.get_mut(at));
        cursor.into_iter().for_each(|cursor| cursor.ahead = ahead);
        begun
    }

    fn begin_one(&mut self, object: u64, range: Range<u64>, of: For, now: Instant) -> Begun {
        Begun { number: self.pieces.begin(object, range.clone(), of, now), range }
    }
}
