//! A zip on its way out, cut into segments (APPNOTE section 8).
//!
//! Whether a zip with a split size will be split is not known before its end, and the two differ from their first
//! byte on: a split one begins with a marker. So the first segment is sealed both ways until that is known; places
//! count with the marker until then.

use std::sync::mpsc::SyncSender;

use super::Staged;
use crate::format::zip::write::{DiskPosition, SPANNING_MARKER};

/// Small records are sent on together.
const PIECE: usize = 128 << 10;

/// What the sealing stage is told.
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    /// The segment is full: there is another, so the zip is a split one.
    Next,
    /// The zip is all in this segment, so it is not a split one.
    Unsplit,
    /// The zip is complete.
    End,
}

/// Cuts the zip, and knows the place of what comes next.
pub(crate) struct Segments {
    /// Bytes in a segment, while the zip may be a split one.
    limit: Option<u64>,
    place: DiskPosition,
    buffer: Vec<u8>,
    pieces: SyncSender<Piece>,
}

impl Segments {
    pub(crate) fn new(split_size: Option<u64>, pieces: SyncSender<Piece>) -> Segments {
        let offset = if split_size.is_some() { SPANNING_MARKER.len() as u64 } else { 0 };
        Segments { limit: split_size, place: DiskPosition { disk: 0, offset }, buffer: Vec::new(), pieces }
    }

    pub(crate) fn place(&self) -> DiskPosition {
        self.place
    }

    fn room(&self) -> u64 {
        self.limit.map_or(u64::MAX, |limit| limit - self.place.offset)
    }

    /// Returns where a record of `len` bytes will be: in the next segment if it does not fit in this one.
    pub(crate) fn place_for(&mut self, len: usize) -> Staged<DiskPosition> {
        if self.room() < len as u64 {
            self.next()?;
        }
        Ok(self.place)
    }

    /// Writes a record, which stays in one piece; returns its place.
    pub(crate) fn record(&mut self, record: &[u8]) -> Staged<DiskPosition> {
        let place = self.place_for(record.len())?;
        self.push(record)?;
        Ok(place)
    }

    /// Writes what may be in several segments.
    pub(crate) fn data(&mut self, data: &[u8]) -> Staged<()> {
        let mut data = data;
        while !data.is_empty() {
            if self.room() == 0 {
                self.next()?;
            }
            let (head, tail) = data.split_at(self.room().min(data.len() as u64) as usize);
            self.push(head)?;
            data = tail;
        }
        Ok(())
    }

    /// Returns true if all of the zip will be in one segment without a marker, given the length of the rest.
    pub(crate) fn is_unsplit_with(&self, rest: u64) -> bool {
        let marker = SPANNING_MARKER.len() as u64;
        self.limit.is_some_and(|limit| self.place.disk == 0 && self.place.offset - marker + rest <= limit)
    }

    /// Decides that the zip is not a split one. Returns by how much all offsets are smaller now.
    pub(crate) fn unsplit(&mut self) -> Staged<u64> {
        let marker = SPANNING_MARKER.len() as u64;
        self.flush()?;
        self.pieces.send(Piece::Unsplit)?;
        self.limit = None;
        self.place.offset -= marker;
        Ok(marker)
    }

    pub(crate) fn end(mut self) -> Staged<()> {
        self.flush()?;
        self.pieces.send(Piece::End)?;
        Ok(())
    }

    fn next(&mut self) -> Staged<()> {
        self.flush()?;
        self.pieces.send(Piece::Next)?;
        self.place = DiskPosition { disk: self.place.disk + 1, offset: 0 };
        Ok(())
    }

    fn push(&mut self, bytes: &[u8]) -> Staged<()> {
        self.buffer.extend_from_slice(bytes);
        self.place.offset += bytes.len() as u64;
        if self.buffer.len() >= PIECE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Staged<()> {
        if !self.buffer.is_empty() {
            self.pieces.send(Piece::Bytes(std::mem::take(&mut self.buffer)))?;
        }
        Ok(())
    }
}
