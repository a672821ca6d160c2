//! Several readers end to end.

use super::{ReadAt, Reader, available};
use crate::error::{Error, Result};

/// The concatenation of its pieces: prefix sums and a binary search.
pub(crate) struct Joined {
    pieces: Vec<Reader>,
    /// `ends[i]` is the position after the last byte of piece `i`.
    ends: Vec<u64>,
}

impl Joined {
    /// Fails if a 64-bit position cannot reach the end of them.
    pub(crate) fn new(pieces: Vec<Reader>) -> Result<Joined> {
        let mut ends = Vec::with_capacity(pieces.len());
        let mut end = 0u64;
        for piece in &pieces {
            end = end
                .checked_add(piece.len())
                .ok_or_else(|| Error::damaged("parts of more than 2^64 bytes"))?;
            ends.push(end);
        }
        Ok(Joined { pieces, ends })
    }

    /// Returns the position of the first byte of each piece.
    pub(crate) fn starts(&self) -> Vec<u64> {
        std::iter::once(0).chain(self.ends.iter().copied()).take(self.pieces.len()).collect()
    }
}

impl ReadAt for Joined {
    fn len(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let wanted = available(self.len(), offset, buf.len());
        let mut done = 0;
        let mut i = self.ends.partition_point(|&end| end <= offset);
        while done < wanted {
            let start = if i == 0 { 0 } else { self.ends[i - 1] };
            let at = offset + done as u64;
            let n = available(self.ends[i], at, wanted - done);
            self.pieces[i].read_exact_at(&mut buf[done..done + n], at - start)?;
            done += n;
            i += 1;
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    proptest! {
        #[test]
        fn equals_the_concatenation(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8),
                                    offset in 0u64..400, len in 0usize..400) {
            let whole: Vec<u8> = pieces.concat();
            let joined = Joined::new(pieces.into_iter().map(|p| Arc::new(p) as Reader).collect()).unwrap();
            prop_assert_eq!(joined.len(), whole.len() as u64);
            let from = (offset as usize).min(whole.len());
            let to = (from + len).min(whole.len());
            prop_assert_eq!(joined.read_vec(offset, len).unwrap(), &whole[from..to]);
        }
    }
}
