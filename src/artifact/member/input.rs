//! The compressed data of a member as a decoder takes it. For a sequential reader a thread reads it ahead and cuts it.

use std::thread::{self, JoinHandle};

use crate::error::Result;
use crate::format::deflate::find_block;
use crate::io::{ReadAt, Reader};

/// Bytes that are read at a time.
const INPUT: usize = 64 << 10;
/// A decoder that has taken this much in a row will go on.
const LONG: usize = 16 * INPUT;
/// Bytes that are read ahead of it.
const CHUNK: usize = 512 << 10;
/// Position in a chunk from which on the beginning of a block is looked for, to cut it there.
const CUT_FROM: usize = CHUNK / 4 * 3;

/// The bytes that a decoder is working on, and those that come next.
#[derive(Default)]
pub(crate) struct Input {
    /// Position of the decoder in the compressed data.
    at: u64,
    bytes: Vec<u8>,
    used: usize,
    surplus: Option<u8>,
    /// Bytes that were read in a row.
    run: usize,
    next: Option<JoinHandle<Result<InputChunk>>>,
}

struct InputChunk {
    bytes: Vec<u8>,
    surplus: Option<u8>,
    /// Bytes that have been read behind the cut.
    rest: Vec<u8>,
}

impl Input {
    /// Makes sure that there are bytes, except at the end.
    pub(crate) fn fill(&mut self, compressed: &Reader) -> Result<()> {
        if self.used < self.bytes.len() {
            return Ok(());
        }
        let chunk = match self.next.take().map(JoinHandle::join) {
            Some(Ok(Ok(chunk))) => chunk,
            failed => {
                // As much of a damaged chunk as possible is read.
                self.run = if failed.is_some() { 0 } else { self.run };
                InputChunk { bytes: compressed.read_vec(self.at, INPUT)?, surplus: None, rest: Vec::new() }
            }
        };
        (self.bytes, self.surplus, self.used) = (chunk.bytes, chunk.surplus, 0);
        self.run += self.bytes.len();
        if self.run >= LONG && !self.bytes.is_empty() {
            let (compressed, at) = (compressed.clone(), self.at + self.bytes.len() as u64);
            let read = move || InputChunk::read(&*compressed, at, chunk.rest);
            // If no thread can be started, it is read when it is needed.
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

    /// Returns how many bits at the end of the bytes seem to belong to the next block, if one seems to begin there.
    pub(crate) fn surplus(&self) -> Option<u8> {
        self.surplus
    }

    /// Gives back the memory; the bytes can be read again.
    pub(crate) fn forget(&mut self) {
        *self = Input { run: self.run, ..self.copy() };
    }

    /// Returns the same place, where nothing has been read yet.
    pub(crate) fn copy(&self) -> Input {
        Input { at: self.at, ..Input::default() }
    }

    /// Records that the cut was wrong.
    pub(crate) fn forget_cut(&mut self) {
        self.surplus = None;
    }
}

impl InputChunk {
    /// Reads the chunk at `at`, whose first bytes are given.
    fn read(compressed: &dyn ReadAt, at: u64, mut bytes: Vec<u8>) -> Result<InputChunk> {
        let more = compressed.read_vec(at + bytes.len() as u64, CHUNK - bytes.len())?;
        bytes.extend_from_slice(&more);
        let Some(cut) = find_block(&bytes, 8 * CUT_FROM) else {
            return Ok(InputChunk { bytes, surplus: None, rest: Vec::new() });
        };
        let rest = bytes.split_off(cut.div_ceil(8));
        Ok(InputChunk { surplus: Some((8 * bytes.len() - cut) as u8), bytes, rest })
    }
}
