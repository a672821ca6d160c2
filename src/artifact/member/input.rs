//! The compressed data of a member as a decoder takes it: for one that goes on and on, read ahead and cut in a thread.

use std::thread::{self, JoinHandle};

use crate::error::Result;
use crate::format::deflate::find_block;
use crate::io::{ReadAt, Reader};

/// How much is read at a time.
const INPUT: usize = 64 << 10;
/// A decoder that has taken so much in a row will go on.
const LONG: usize = 16 * INPUT;
/// How much is read ahead of it.
const PIECE: usize = 512 << 10;
/// Where in a piece is looked for the beginning of a block, so that it can be cut there.
const CUT_FROM: usize = PIECE / 4 * 3;

/// What a decoder is at, and what comes next.
#[derive(Default)]
pub(crate) struct Input {
    /// Position of the decoder in the compressed data.
    at: u64,
    bytes: Vec<u8>,
    used: usize,
    surplus: Option<u8>,
    /// Bytes that were read in a row.
    run: usize,
    next: Option<JoinHandle<Result<Piece>>>,
}

struct Piece {
    bytes: Vec<u8>,
    surplus: Option<u8>,
    /// What has been read behind the cut.
    rest: Vec<u8>,
}

impl Input {
    /// Makes sure that there is something; only at the end there is not.
    pub(crate) fn fill(&mut self, compressed: &Reader) -> Result<()> {
        if self.used < self.bytes.len() {
            return Ok(());
        }
        let piece = match self.next.take().map(JoinHandle::join) {
            Some(Ok(Ok(piece))) => piece,
            failed => {
                // What can be read of a damaged piece is.
                self.run = if failed.is_some() { 0 } else { self.run };
                Piece { bytes: compressed.read_vec(self.at, INPUT)?, surplus: None, rest: Vec::new() }
            }
        };
        (self.bytes, self.surplus, self.used) = (piece.bytes, piece.surplus, 0);
        self.run += self.bytes.len();
        if self.run >= LONG && !self.bytes.is_empty() {
            let (compressed, at) = (compressed.clone(), self.at + self.bytes.len() as u64);
            let read = move || Piece::read(&*compressed, at, piece.rest);
            // Without a thread it is read when it is needed.
            self.next = thread::Builder::new().name("input".into()).spawn(read).ok();
        }
        Ok(())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.used += count;
        self.at += count as u64;
    }

    /// How many bits at the end of the bytes seem to belong to the next block, if a block seems to begin there.
    pub(crate) fn surplus(&self) -> Option<u8> {
        self.surplus
    }

    /// Gives back the memory. It can be filled again.
    pub(crate) fn forget(&mut self) {
        *self = Input { run: self.run, ..self.copy() };
    }

    /// Returns the same place, where nothing has been read yet.
    pub(crate) fn copy(&self) -> Input {
        Input { at: self.at, ..Input::default() }
    }

    /// The cut was wrong.
    pub(crate) fn forget_cut(&mut self) {
        self.surplus = None;
    }
}

impl Piece {
    /// Reads what is at `at`, of which the first bytes are there.
    fn read(compressed: &dyn ReadAt, at: u64, mut bytes: Vec<u8>) -> Result<Piece> {
        let more = compressed.read_vec(at + bytes.len() as u64, PIECE - bytes.len())?;
        bytes.extend_from_slice(&more);
        let Some(cut) = find_block(&bytes, 8 * CUT_FROM) else {
            return Ok(Piece { bytes, surplus: None, rest: Vec::new() });
        };
        let rest = bytes.split_off(cut.div_ceil(8));
        Ok(Piece { surplus: Some((8 * bytes.len() - cut) as u8), bytes, rest })
    }
}
