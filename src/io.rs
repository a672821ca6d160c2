//! Reading by position: the trait that everything readable implements, the readers that know no format, and the threads
//! that work beside them.

use std::sync::Arc;

use crate::error::{Error, Result};

mod allocator;
mod background;
mod budget;
mod cancel;
mod file;
mod joined;
mod lru;
mod overlay;
mod permit;
mod pool;
mod regular;
#[cfg(feature = "object-store")]
mod remote;
mod scratch;
mod slice;
mod version;

pub(crate) use allocator::give_back_large_pieces;
pub use background::{Background, Next, Task, Waker};
pub use budget::{Budget, Share};
pub use cancel::Cancel;
pub use file::FileReader;
pub(crate) use joined::Joined;
pub(crate) use lru::Lru;
pub(crate) use overlay::Overlay;
pub use permit::{Permit, check_permit, take_permit, with_permit};
pub(crate) use pool::{Buffer, Pool};
pub(crate) use regular::{directory_as_named, set_own_device, version_of};
#[cfg(feature = "object-store")]
pub(crate) use remote::{Fetch, Readahead, Remote, RemoteReader, Taker};
pub(crate) use scratch::with_scratch;
pub(crate) use slice::Slice;
pub(crate) use version::FileVersion;

/// A fixed number of bytes that can be read at any position, by any number of threads at once.
pub trait ReadAt: Send + Sync {
    /// Length in bytes; it never changes during the life of a reader.
    fn len(&self) -> u64;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buf` with the bytes from `offset` on and returns how many there were; short only at the end.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize>;

    /// Fills all of `buf`, or fails.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let got = self.read_at(buf, offset)?;
        if got < buf.len() {
            return Err(Error::damaged(format!(
                "{} bytes wanted at {offset}, but the end is at {}",
                buf.len(),
                self.len()
            )));
        }
        Ok(())
    }

    /// Calls `take` once, unless reading fails, with `len` bytes from `offset`, fewer only at the end. A reader that
    /// has them in memory in one piece need not copy them. The caller bounds `len`.
    fn lend(&self, offset: u64, len: usize, take: &mut dyn FnMut(&[u8])) -> Result<()> {
        with_scratch(len, |buf| self.read_at(buf, offset).map(|n| take(&buf[..n])))
    }

    /// Returns `len` bytes from `offset`, fewer only at the end. The caller bounds `len`.
    fn read_vec(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut buf = vec![0; available(self.len(), offset, len)];
        self.read_exact_at(&mut buf, offset)?;
        Ok(buf)
    }
}

/// A reader that others can share.
pub type Reader = Arc<dyn ReadAt>;

/// Returns how many of `wanted` bytes there are at `offset` in something of length `len`.
pub(crate) fn available(len: u64, offset: u64, wanted: usize) -> usize {
    len.saturating_sub(offset).min(wanted as u64) as usize
}

/// Returns `len` bytes from `offset`, fewer only at the end.
fn piece(bytes: &[u8], offset: u64, len: usize) -> &[u8] {
    let n = available(bytes.len() as u64, offset, len);
    let start = if n > 0 { offset as usize } else { 0 };
    &bytes[start..start + n]
}

impl ReadAt for Vec<u8> {
    fn len(&self) -> u64 {
        Vec::len(self) as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let piece = piece(self, offset, buf.len());
        buf[..piece.len()].copy_from_slice(piece);
        Ok(piece.len())
    }

    fn lend(&self, offset: u64, len: usize, take: &mut dyn FnMut(&[u8])) -> Result<()> {
        take(piece(self, offset, len));
        Ok(())
    }
}
