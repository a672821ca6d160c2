//! A range of another reader.

use super::{ReadAt, Reader, available};
use crate::error::Result;

/// The bytes `start .. start + len` of `base`, numbered from 0.
pub(crate) struct Slice {
    base: Reader,
    start: u64,
    len: u64,
}

impl Slice {
    /// The range is cut off at the end of `base`.
    pub(crate) fn new(base: Reader, start: u64, len: u64) -> Slice {
        let len = len.min(base.len().saturating_sub(start));
        Slice { base, start, len }
    }
}

impl ReadAt for Slice {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let n = available(self.len, offset, buf.len());
        self.base.read_at(&mut buf[..n], self.start + offset.min(self.len))
    }
}
