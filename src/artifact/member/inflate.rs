//! A raw deflate decoder (RFC 1951) whose state can be copied: zlib-rs through its C interface, because the Rust one
//! cannot do that.

use std::ptr;

use libz_rs_sys::{
    Z_BLOCK, Z_BUF_ERROR, Z_NO_FLUSH, Z_OK, Z_STREAM_END, inflate, inflateCopy, inflateEnd,
    inflateGetDictionary, inflateInit2_, inflatePrime, inflateSetDictionary, z_stream, zlibVersion,
};

use crate::error::{Error, Kind, Result};
use crate::format::deflate::{PendingBits, WINDOW};

/// Approximate memory of one decoder: a window of 32 KiB and its tables.
pub(crate) const STATE_SIZE: usize = 48 << 10;

/// Without header and check sum, with the largest window.
const RAW_WINDOW_BITS: i32 = -15;

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) consumed: usize,
    pub(crate) produced: usize,
    /// True once the last block has been decoded.
    pub(crate) ended: bool,
    /// Known if another block begins here.
    pub(crate) pending: Option<PendingBits>,
}

/// A decoder.
pub(crate) struct Inflate {
    /// Its address must not change: an implementation of zlib may keep a pointer back to it.
    stream: Box<z_stream>,
    /// The last byte of the input.
    last: u8,
}

// SAFETY: the stream owns all memory that its pointers lead to, and nothing in it is tied to a thread.
unsafe impl Send for Inflate {}

impl Inflate {
    pub(crate) fn new() -> Result<Inflate> {
        let mut stream = Box::new(z_stream::default());
        // A stream without an output pointer cannot be copied. Nothing is written there: avail_out is 0.
        stream.next_out = ptr::dangling_mut();
        let size = size_of::<z_stream>() as i32;
        // SAFETY: the stream is initialised memory of that size, with the default allocator.
        let code = unsafe { inflateInit2_(&mut *stream, RAW_WINDOW_BITS, zlibVersion(), size) };
        if code == Z_OK { Ok(Inflate { stream, last: 0 }) } else { Err(no_memory()) }
    }

    /// Returns a decoder for the rest of a stream, from a block on that begins behind `window`.
    pub(crate) fn behind(window: &[u8], pending: PendingBits) -> Result<Inflate> {
        let mut new = Inflate::new()?;
        let stream = &mut *new.stream;
        let (bits, value) = (i32::from(pending.count()), i32::from(pending.value()));
        // SAFETY: the stream was initialised; the window is that long, and zlib copies it.
        let codes = unsafe {
            [
                inflateSetDictionary(stream, window.as_ptr(), window.len() as u32),
                inflatePrime(stream, bits, value),
            ]
        };
        if codes == [Z_OK; 2] { Ok(new) } else { Err(no_memory()) }
    }

    /// Returns the last of what was decoded, as far as later blocks may refer to it.
    pub(crate) fn window(&self) -> Option<Vec<u8>> {
        let (mut window, mut len) = (vec![0; WINDOW], 0);
        // SAFETY: no window is longer, see RAW_WINDOW_BITS.
        let code = unsafe { inflateGetDictionary(&raw const *self.stream, window.as_mut_ptr(), &mut len) };
        window.truncate(len as usize);
        (code == Z_OK).then_some(window)
    }

    /// Returns a decoder in the same state.
    pub(crate) fn copy(&self) -> Result<Inflate> {
        let mut stream = Box::new(z_stream::default());
        // SAFETY: both are initialised memory; the source is a stream that was initialised for inflating.
        let code = unsafe { inflateCopy(&mut *stream, &raw const *self.stream) };
        if code == Z_OK { Ok(Inflate { stream, last: self.last }) } else { Err(no_memory()) }
    }

    /// Decodes as much as input and output allow; with `stop`, not beyond the end of a block.
    pub(crate) fn step(&mut self, input: &[u8], output: &mut [u8], stop: bool) -> Result<Step> {
        let (available_in, available_out) = (input.len() as u32, output.len() as u32);
        self.stream.next_in = input.as_ptr().cast_mut();
        self.stream.avail_in = available_in;
        self.stream.next_out = output.as_mut_ptr();
        self.stream.avail_out = available_out;
        // SAFETY: the pointers lead to that many bytes, which live until the call returns; zlib only reads the input.
        let code = unsafe { inflate(&mut *self.stream, if stop { Z_BLOCK } else { Z_NO_FLUSH }) };
        let consumed = (available_in - self.stream.avail_in) as usize;
        if let Some(&last) = input[..consumed].last() {
            self.last = last;
        }
        let step = Step {
            consumed,
            produced: (available_out - self.stream.avail_out) as usize,
            ended: code == Z_STREAM_END,
            pending: self.pending(),
        };
        match code {
            Z_OK | Z_STREAM_END | Z_BUF_ERROR => Ok(step),
            _ => Err(Error::damaged("the compressed data is damaged")),
        }
    }

    fn pending(&self) -> Option<PendingBits> {
        // How many bits of the last byte are left, 64 in the last block, 128 at the end of one.
        match self.stream.data_type {
            state @ 128..136 => Some(PendingBits::of(self.last, (state - 128) as u8)),
            _ => None,
        }
    }
}

impl Drop for Inflate {
    fn drop(&mut self) {
        // SAFETY: the stream was initialised and is not used again.
        unsafe { inflateEnd(&mut *self.stream) };
    }
}

fn no_memory() -> Error {
    Error::new(Kind::Os(libc::ENOMEM), "no memory for a decoder")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "hello hello hello hello" by zlib, raw.
    const DEFLATED: [u8; 10] = [0xCB, 0x48, 0xCD, 0xC9, 0xC9, 0x57, 0xC8, 0x40, 0x27, 0x01];

    #[test]
    fn a_copy_goes_on_where_the_original_was() {
        let mut first = Inflate::new().unwrap();
        let mut out = [0; 8];
        let step = first.step(&DEFLATED, &mut out, false).unwrap();
        assert_eq!((&out, step.produced, step.ended), (b"hello he", 8, false));
        let mut second = first.copy().unwrap();
        for decoder in [&mut first, &mut second] {
            let mut rest = [0; 32];
            let step = decoder.step(&DEFLATED[step.consumed..], &mut rest, false).unwrap();
            assert_eq!((&rest[..step.produced], step.ended), (&b"llo hello hello"[..], true));
        }
    }

    #[test]
    fn garbage_is_an_error() {
        assert!(Inflate::new().unwrap().step(&[0xFF; 50], &mut [0; 100], false).is_err());
    }
}
