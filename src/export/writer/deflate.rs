//! Deflates blocks of a member, each by itself, so that reading can begin at any of them (RFC 1951).

use parking_lot::Mutex;
use std::sync::mpsc::{Receiver, SyncSender};

use zlib_rs::{Deflate, DeflateFlush, Status, compress_bound};

use super::{Staged, Stop};
use crate::error::{Error, Kind};

/// Bytes of content in a block. Each begins with an empty window, which costs half a percent of the size at 512 KiB
/// and twice that at 256 KiB.
pub const BLOCK: usize = 512 << 10;
/// On JSON lines this is within 2 % of the size that `zip -6` makes, and more than twice as fast.
const LEVEL: i32 = 4;
const WINDOW_BITS: u8 = 15;

/// A block to be deflated.
pub(crate) struct DeflateJob {
    pub(crate) content: Vec<u8>,
    /// True for the last block of a member.
    pub(crate) is_last: bool,
    pub(crate) done: SyncSender<DeflatedBlock>,
}

/// A block that has been deflated.
pub(crate) struct DeflatedBlock {
    pub(crate) content: Vec<u8>,
    pub(crate) is_last: bool,
    pub(crate) compressed: Vec<u8>,
    /// CRC-32 of the content.
    pub(crate) crc: u32,
}

/// Works until no more blocks can come.
pub(crate) fn run(undeflated: &Mutex<Receiver<DeflateJob>>) -> Staged<()> {
    let mut deflater = Deflater::new();
    loop {
        let next = undeflated.lock().recv();
        let Ok(DeflateJob { content, is_last, done }) = next else { return Ok(()) };
        let compressed = deflater.block(&content, is_last)?;
        let crc = crc32fast::hash(&content);
        // If nobody waits for it any more, the other stages have ended too.
        let _ = done.send(DeflatedBlock { content, is_last, compressed, crc });
    }
}

struct Deflater {
    deflate: Deflate,
    out: Vec<u8>,
}

impl Deflater {
    fn new() -> Deflater {
        Deflater { deflate: Deflate::new(LEVEL, false, WINDOW_BITS), out: Vec::new() }
    }

    /// Returns the block, closed by an empty stored block that ends on a byte, or as the end of the data.
    fn block(&mut self, content: &[u8], is_last: bool) -> Result<Vec<u8>, Stop> {
        // A flush may add to the bound.
        self.out.resize(compress_bound(content.len()) + 64, 0);
        self.deflate.reset();
        let flush = if is_last { DeflateFlush::Finish } else { DeflateFlush::FullFlush };
        let status = self.deflate.compress(content, &mut self.out, flush);
        let (read, written) = (self.deflate.total_in() as usize, self.deflate.total_out() as usize);
        let has_ended = match status {
            Ok(Status::StreamEnd) => is_last,
            Ok(Status::Ok) => !is_last && written < self.out.len(),
            _ => false,
        };
        if !has_ended || read != content.len() {
            let message = format!("{read} of {} bytes could be deflated", content.len());
            return Err(Error::new(Kind::Os(libc::EIO), message).into());
        }
        Ok(self.out[..written].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zlib_rs::Inflate;

    use super::*;

    fn noise(len: usize, seed: u32) -> Vec<u8> {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        };
        (0..len).map(|_| next()).collect()
    }

    proptest! {
        #[test]
        fn blocks_are_one_stream_and_each_one_of_its_own(len in 0usize..200_000, random: bool, seed: u32) {
            let content = if random { noise(len, seed) } else { vec![seed as u8; len] };
            let mut deflater = Deflater::new();
            let flushed = deflater.block(&content, false).ok().unwrap();
            prop_assert!(flushed.ends_with(&[0, 0, 0xFF, 0xFF]));
            let last = deflater.block(&content, true).ok().unwrap();
            let mut out = vec![0; 2 * len + 1];
            let mut inflate = Inflate::new(false, WINDOW_BITS);
            let status = inflate.decompress(&[&flushed[..], &last].concat(), &mut out, zlib_rs::InflateFlush::NoFlush);
            prop_assert_eq!(status, Ok(Status::StreamEnd));
            prop_assert_eq!(&out[..2 * len], content.repeat(2));
            let mut inflate = Inflate::new(false, WINDOW_BITS);
            prop_assert!(inflate.decompress(&flushed, &mut out, zlib_rs::InflateFlush::SyncFlush).is_ok());
            prop_assert_eq!(inflate.total_out(), len as u64);
        }
    }

    #[test]
    fn the_empty_member_is_two_bytes() {
        assert_eq!(Deflater::new().block(&[], true).ok().unwrap(), [3, 0]);
    }
}
