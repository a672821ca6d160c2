//! What has been fetched of all objects, and what is on its way: one budget for all of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::error::Error;

/// What a piece is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// The cursor of that number, ahead of its reads.
    Cursor(u64),
    /// One read, and small ones that follow it.
    Read,
    /// The first or the last block, which is asked for again when an object is opened again.
    End,
}

pub(crate) enum Content {
    OnItsWay,
    Here(Arc<Vec<u8>>),
    Failed(Error),
}

pub(crate) struct Piece {
    /// Which fetch it is of: another one may be begun in the same place once this is gone.
    pub(crate) number: u64,
    pub(crate) end: u64,
    pub(crate) of: For,
    pub(crate) content: Content,
    pub(crate) begun: Instant,
    used: Instant,
    /// How many wait for it: as long as somebody does, it stays.
    waiting: u32,
    /// Bytes that were read of it.
    pub(crate) consumed: u64,
}

/// Which object, and where the piece begins.
type Place = (u64, u64);

pub(crate) struct Pieces {
    /// Bytes that may be held ahead of cursors. The others have half as much.
    limit: u64,
    ahead: u64,
    kept: u64,
    numbers: u64,
    pieces: BTreeMap<Place, Piece>,
}

impl Pieces {
    pub(crate) fn new(limit: u64) -> Pieces {
        Pieces { limit, ahead: 0, kept: 0, numbers: 0, pieces: BTreeMap::new() }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// All that is held, in bytes.
    #[cfg(test)]
    pub(crate) fn held(&self) -> u64 {
        self.ahead + self.kept
    }

    fn of(&self, object: u64) -> impl Iterator<Item = (u64, &Piece)> {
        self.pieces.range((object, 0)..=(object, u64::MAX)).map(|((_, start), piece)| (*start, piece))
    }

    /// Returns the piece that has the byte at `at`, and where it begins.
    pub(crate) fn around(&mut self, object: u64, at: u64) -> Option<(u64, &mut Piece)> {
        let (place, piece) = self.pieces.range_mut((object, 0)..=(object, at)).next_back()?;
        (at < piece.end).then_some((place.1, piece))
    }

    /// Returns the ranges within `range` that no piece has.
    pub(crate) fn gaps(&self, object: u64, range: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = range.start;
        for (start, piece) in self.of(object) {
            if start >= range.end {
                break;
            }
            if start > at {
                gaps.push(at..start);
            }
            at = at.max(piece.end);
        }
        if at < range.end {
            gaps.push(at..range.end);
        }
        gaps
    }

    /// Returns how much is held for a cursor, in bytes.
    pub(crate) fn held_for(&self, object: u64, cursor: u64) -> u64 {
        let of_it = self.of(object).filter(|(_, piece)| piece.of == For::Cursor(cursor));
        of_it.map(|(start, piece)| piece.end - start).sum()
    }

    /// Adds a piece that is on its way, where none is, and returns its number.
    pub(crate) fn begin(&mut self, object: u64, range: Range<u64>, of: For, now: Instant) -> u64 {
        self.numbers += 1;
        *self.held_of(of) += range.end - range.start;
        let piece = Piece {
            number: self.numbers,
            end: range.end,
            of,
            content: Content::OnItsWay,
            begun: now,
            used: now,
            waiting: 0,
            consumed: 0,
        };
        self.pieces.insert((object, range.start), piece);
        self.numbers
    }

    /// Puts in what has come, unless nobody wants it any more, and returns the piece.
    pub(crate) fn land(&mut self, object: u64, start: u64, number: u64, content: Content) -> Option<&Piece> {
        let piece = self.pieces.get_mut(&(object, start)).filter(|piece| piece.number == number)?;
        let is_unwanted = matches!(content, Content::Failed(_)) && piece.waiting == 0;
        piece.content = content;
        if is_unwanted {
            self.remove((object, start));
        }
        self.pieces.get(&(object, start))
    }

    /// Keeps the piece around `at` until [`Pieces::unpin`], which has to follow.
    pub(crate) fn pin(&mut self, object: u64, at: u64) {
        self.around(object, at).into_iter().for_each(|(_, piece)| piece.waiting += 1);
    }

    /// Returns why it has failed, if it has. Whoever was the last to wait for it takes it away.
    pub(crate) fn unpin(&mut self, object: u64, at: u64) -> Option<Error> {
        let (start, piece) = self.around(object, at)?;
        piece.waiting -= 1;
        let Content::Failed(error) = &piece.content else { return None };
        let error = error.clone();
        if piece.waiting == 0 {
            self.remove((object, start));
        }
        Some(error)
    }

    /// Notes that so many bytes of a piece were read.
    pub(crate) fn consume(&mut self, object: u64, start: u64, bytes: u64, now: Instant) {
        if let Some(piece) = self.pieces.get_mut(&(object, start)) {
            piece.consumed = piece.consumed.saturating_add(bytes);
            piece.used = now;
        }
    }

    /// Drops pieces of an object that pass.
    pub(crate) fn drop_if(&mut self, object: u64, pass: impl Fn(u64, &Piece) -> bool) {
        let places = self.of(object).filter(|(start, piece)| piece.is_idle() && pass(*start, piece));
        let places: Vec<Place> = places.map(|(start, _)| (object, start)).collect();
        places.into_iter().for_each(|place| self.remove(place));
    }

    /// Drops everything of an object, also what is on its way.
    pub(crate) fn forget(&mut self, object: u64) {
        let places: Vec<Place> = self.of(object).map(|(start, _)| (object, start)).collect();
        places.into_iter().for_each(|place| self.remove(place));
    }

    /// Makes room for so many bytes ahead of a cursor, out of what was fetched for cursors that `are_idle`.
    pub(crate) fn make_room(&mut self, bytes: u64, are_idle: impl Fn(u64) -> bool) -> bool {
        while self.ahead.saturating_add(bytes) > self.limit {
            let of_idle = |piece: &Piece| matches!(piece.of, For::Cursor(cursor) if are_idle(cursor));
            if !self.drop_oldest(of_idle) {
                return false;
            }
        }
        true
    }

    /// Drops what is kept beyond the budget.
    pub(crate) fn trim(&mut self) {
        while self.kept > self.limit / 2 && self.drop_oldest(|piece| !matches!(piece.of, For::Cursor(_))) {}
    }

    /// Returns true if so many bytes can be kept without others that have not been read yet being dropped.
    pub(crate) fn can_keep(&mut self, bytes: u64) -> bool {
        while self.kept.saturating_add(bytes) > self.limit / 2 {
            if !self.drop_oldest(|piece| !matches!(piece.of, For::Cursor(_)) && piece.consumed > 0) {
                return false;
            }
        }
        true
    }

    fn drop_oldest(&mut self, pass: impl Fn(&Piece) -> bool) -> bool {
        let candidates = self.pieces.iter().filter(|(_, piece)| piece.is_idle() && pass(piece));
        let oldest = candidates.min_by_key(|(_, piece)| piece.used).map(|(place, _)| *place);
        oldest.into_iter().for_each(|place| self.remove(place));
        oldest.is_some()
    }

    fn remove(&mut self, place: Place) {
        if let Some(piece) = self.pieces.remove(&place) {
            *self.held_of(piece.of) -= piece.end - place.1;
        }
    }

    fn held_of(&mut self, of: For) -> &mut u64 {
        if matches!(of, For::Cursor(_)) { &mut self.ahead } else { &mut self.kept }
    }
}

impl Piece {
    /// It is on its way for nobody, or here and nobody waits.
    fn is_idle(&self) -> bool {
        self.waiting == 0 && !matches!(self.content, Content::OnItsWay)
    }
}
