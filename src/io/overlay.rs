//! Bytes in memory that stand in front of those of another reader.

use super::{ReadAt, Reader, available};
use crate::error::Result;

/// `base` up to `tail_at`, then `tail`; and small patches anywhere before it.
pub(crate) struct Overlay {
    base: Reader,
    tail_at: u64,
    tail: Vec<u8>,
    /// Sorted by position; they do not overlap one another or the tail.
    patches: Vec<(u64, Vec<u8>)>,
}

impl Overlay {
    pub(crate) fn new(
        base: Reader,
        tail_at: u64,
        tail: Vec<u8>,
        mut patches: Vec<(u64, Vec<u8>)>,
    ) -> Overlay {
        patches.sort_unstable_by_key(|patch| patch.0);
        Overlay { tail_at: tail_at.min(base.len()), base, tail, patches }
    }

    fn apply_patches(&self, buf: &mut [u8], offset: u64) {
        let end = offset + buf.len() as u64;
        let first = self.patches.partition_point(|(at, bytes)| at + bytes.len() as u64 <= offset);
        for (at, bytes) in self.patches[first..].iter().take_while(|patch| patch.0 < end) {
            let from = offset.max(*at);
            let to = end.min(at + bytes.len() as u64);
            buf[(from - offset) as usize..(to - offset) as usize]
                .copy_from_slice(&bytes[(from - at) as usize..(to - at) as usize]);
        }
    }
}

impl ReadAt for Overlay {
    fn len(&self) -> u64 {
        self.tail_at + self.tail.len() as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let n = available(self.len(), offset, buf.len());
        let below = available(self.tail_at, offset, n);
        if below > 0 {
            self.base.read_exact_at(&mut buf[..below], offset)?;
            self.apply_patches(&mut buf[..below], offset);
        }
        if n > below {
            self.tail.read_at(&mut buf[below..n], (offset + below as u64) - self.tail_at)?;
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    proptest! {
        #[test]
        fn equals_the_patched_bytes(base in proptest::collection::vec(any::<u8>(), 0..60), cut in 0usize..60,
                                    tail in proptest::collection::vec(any::<u8>(), 0..30),
                                    offset in 0u64..100, len in 0usize..100) {
            let cut = cut.min(base.len());
            let mut whole = base[..cut].to_vec();
            let mut patches = Vec::new();
            for at in (0..cut.saturating_sub(3)).step_by(11) {
                patches.push((at as u64, vec![0xAA, 0xBB, 0xCC]));
                whole[at..at + 3].copy_from_slice(&[0xAA, 0xBB, 0xCC]);
            }
            whole.extend_from_slice(&tail);
            let overlay = Overlay::new(Arc::new(base), cut as u64, tail, patches);
            let from = (offset as usize).min(whole.len());
            let to = (from + len).min(whole.len());
            prop_assert_eq!(overlay.read_vec(offset, len).unwrap(), &whole[from..to]);
        }
    }
}
