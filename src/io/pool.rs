//! Large buffers that are reused: fresh memory would have to be requested from the system and cleared every time.

use parking_lot::Mutex;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Buffers that are not in use.
pub(crate) struct Pool {
    /// Bytes that are kept at most, unless a single buffer is larger.
    limit: usize,
    spare: Mutex<Vec<Vec<u8>>>,
}

/// A buffer that returns to its pool on drop.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    pool: Arc<Pool>,
}

impl Pool {
    pub(crate) fn new(limit: usize) -> Arc<Pool> {
        Arc::new(Pool { limit, spare: Mutex::default() })
    }

    /// Returns a buffer of `len` bytes of unspecified content.
    pub(crate) fn take(self: &Arc<Pool>, len: usize) -> Buffer {
        let found = {
            let mut spare = self.spare.lock();
            spare.iter().rposition(|bytes| bytes.len() == len).map(|at| spare.remove(at))
        };
        Buffer { bytes: found.unwrap_or_else(|| vec![0; len]), pool: self.clone() }
    }

    fn give_back(&self, bytes: Vec<u8>) {
        // Small buffers are cheap to make, and there would be many.
        if bytes.len() < self.limit / 64 {
            return;
        }
        let mut spare = self.spare.lock();
        spare.push(bytes);
        while spare.len() > 1 && spare.iter().map(Vec::len).sum::<usize>() > self.limit {
            spare.remove(0);
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.give_back(mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_the_limit() {
        let pool = Pool::new(10);
        let spare = || pool.spare.lock().iter().map(Vec::len).collect::<Vec<_>>();
        let three = [4, 4, 4].map(|len| pool.take(len));
        drop(three);
        assert_eq!(spare(), [4, 4]);
        let (a, b) = (pool.take(4), pool.take(5));
        assert_eq!((a.len(), b.len(), spare()), (4, 5, vec![4]));
        drop((a, b));
        drop(pool.take(100));
        assert_eq!(spare(), [100], "one stays, however large");
    }
}
