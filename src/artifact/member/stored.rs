//! A stored member: a slice of the zip, whose CRC-32 is checked if it is read from one end to the other.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::mem;

use crc32fast::Hasher;

use crate::error::{Error, Result};
use crate::io::{ReadAt, Reader};

/// Ranges read ahead of the rest that are remembered. A reader that jumps about leaves more, and its reads are not
/// checked any further.
const MAX_AHEAD: usize = 64;

pub(crate) struct StoredMember {
    data: Reader,
    crc: u32,
    running: Mutex<RunningCrc>,
}

/// CRC-32 of what has been read without a gap from the beginning, and of what has been read ahead of it.
#[derive(Default)]
struct RunningCrc {
    end: u64,
    crc: Hasher,
    ahead: BTreeMap<u64, (u64, Hasher)>,
}

impl StoredMember {
    pub(crate) fn new(data: Reader, crc: u32) -> StoredMember {
        StoredMember { data, crc, running: Mutex::default() }
    }
}

impl RunningCrc {
    /// Adds what was read; returns true once everything has been read.
    fn add(&mut self, offset: u64, bytes: &[u8], len: u64) -> bool {
        if self.end == len || offset < self.end || self.ahead.len() == MAX_AHEAD {
            return false;
        }
        let mut crc = Hasher::new();
        crc.update(bytes);
        self.ahead.insert(offset, (offset + bytes.len() as u64, crc));
        while let Some((end, crc)) = self.ahead.remove(&self.end) {
            self.crc.combine(&crc);
            self.end = end;
        }
        self.end == len
    }
}

impl ReadAt for StoredMember {
    fn len(&self) -> u64 {
        self.data.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let n = self.data.read_at(buf, offset)?;
        if n > 0 {
            let mut slot = self.running.lock();
            // Taken out, so that the check begins anew after a panic, and after an error: whoever reads everything
            // again gets the error again.
            let mut running = mem::take(&mut *slot);
            if running.add(offset, &buf[..n], self.data.len()) && running.crc.clone().finalize() != self.crc {
                return Err(Error::damaged("the CRC-32 of the member is wrong"));
            }
            *slot = running;
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_wrong_crc_fails_the_read_that_completes_the_member() {
        let content: Vec<u8> = (0..100u8).collect();
        let right = StoredMember::new(Arc::new(content.clone()), crc32fast::hash(&content));
        let wrong = StoredMember::new(Arc::new(content), 1);
        for (offset, len) in [(0, 10), (50, 50), (10, 20), (30, 20)] {
            assert!(right.read_vec(offset, len).is_ok());
            assert_eq!(wrong.read_vec(offset, len).is_ok(), offset != 30);
        }
    }
}
