//! Working buffers that are kept per thread, so that a read does not allocate.

use std::cell::RefCell;

/// A buffer larger than this is given back to the system after use.
const KEEP: usize = 1 << 20;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with a buffer of `len` bytes of unspecified content. Calls may nest.
pub(crate) fn with_scratch<T>(len: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut buf = POOL.with_borrow_mut(Vec::pop).unwrap_or_default();
    if buf.capacity() == 0 {
        // Zeroed memory costs nothing until it is touched, and a read may wait long before it fills it.
        buf = vec![0; len];
    } else if buf.len() < len {
        buf.resize(len, 0);
    }
    let result = work(&mut buf[..len]);
    if buf.len() <= KEEP {
        POOL.with_borrow_mut(|pool| pool.push(buf));
    }
    result
}
