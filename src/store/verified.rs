//! A stored file whose blocks are checked by their hashes before a byte of them is used.

use parking_lot::RwLock;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::block_hashes::{self, BLOCK, BlockHash};
use crate::io::{ReadAt, Reader, available, with_scratch};

/// Rows of hashes that are kept, each as long as [`BlockHashes::around`] returns it.
const KEPT: usize = 4;

/// Hashes of consecutive blocks, with the number of the first.
type HashRow = (u64, Arc<Vec<BlockHash>>);

/// The hashes that the blocks of a stored file must have.
pub(crate) trait BlockHashes: Send + Sync {
    /// Returns the hashes of consecutive blocks, and the number of the first; that of `block` is among them, if there
    /// is one.
    fn around(&self, block: u64) -> Result<(u64, Vec<BlockHash>)>;
}

pub(crate) struct Verified {
    file: Reader,
    hashes: Arc<dyn BlockHashes>,
    kept: RwLock<Vec<HashRow>>,
}

impl Verified {
    /// `size` is how long the file was when it was written.
    pub(crate) fn open(file: Reader, hashes: Arc<dyn BlockHashes>, size: u64) -> Result<Verified> {
        if file.len() != size {
            let text = format!("it has {} bytes, but was written with {size}", file.len());
            return Err(Error::damaged(text));
        }
        Ok(Verified { file, hashes, kept: RwLock::default() })
    }

    fn hash(&self, block: u64) -> Result<BlockHash> {
        let of = |(first, hashes): &HashRow| {
            hashes.get(usize::try_from(block.checked_sub(*first)?).ok()?).copied()
        };
        if let Some(hash) = self.kept.read().iter().find_map(of) {
            return Ok(hash);
        }
        let (first, hashes) = self.hashes.around(block)?;
        let row = (first, Arc::new(hashes));
        let hash = of(&row).ok_or_else(|| Error::damaged(format!("there is no hash of block {block}")))?;
        let mut kept = self.kept.write();
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push(row);
        Ok(hash)
    }
}

impl ReadAt for Verified {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let n = available(self.len(), offset, buf.len());
        if n == 0 {
            return Ok(0);
        }
        let skip = (offset % BLOCK as u64) as usize;
        let start = offset - skip as u64;
        let span = available(self.len(), start, (skip + n).next_multiple_of(BLOCK));
        with_scratch(span, |bytes| {
            self.file.read_exact_at(bytes, start)?;
            for (block, number) in bytes.chunks(BLOCK).zip(start / BLOCK as u64..) {
                if block_hashes::block(block) != self.hash(number)? {
                    let from = number * BLOCK as u64;
                    let text = format!(
                        "the bytes from {from} to {} are not those that were written",
                        from + block.len() as u64
                    );
                    return Err(Error::damaged(text));
                }
            }
            buf[..n].copy_from_slice(&bytes[skip..skip + n]);
            Ok(n)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Fixed(Vec<BlockHash>);

    impl BlockHashes for Fixed {
        /// In rows of two.
        fn around(&self, block: u64) -> Result<(u64, Vec<BlockHash>)> {
            let first = block / 2 * 2;
            Ok((first, self.0.iter().skip(first as usize).take(2).copied().collect()))
        }
    }

    fn verified(bytes: Vec<u8>, written: &[u8]) -> Result<Verified> {
        let hashes = Arc::new(Fixed(written.chunks(BLOCK).map(block_hashes::block).collect()));
        Verified::open(Arc::new(bytes), hashes, written.len() as u64)
    }

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 31 % 251) as u8).collect()
    }

    proptest! {
        #[test]
        fn any_range_is_right_or_refused(len in 1usize..5 * BLOCK, at: prop::sample::Index, from: prop::sample::Index, n in 0usize..2 * BLOCK) {
            let written = content(len);
            let (at, from) = (at.index(len), from.index(len));
            let whole = verified(written.clone(), &written).unwrap();
            let expected = &written[from..(from + n).min(len)];
            prop_assert_eq!(&whole.read_vec(from as u64, n).unwrap(), expected);
            let mut changed = written.clone();
            changed[at] ^= 0x10;
            match verified(changed, &written).unwrap().read_vec(from as u64, n) {
                Ok(read) => prop_assert_eq!(&read, expected),
                Err(_) => prop_assert!(!expected.is_empty()),
            }
        }
    }

    #[test]
    fn a_changed_block_is_named_and_another_length_refused() {
        let written = content(3 * BLOCK);
        let mut changed = written.clone();
        changed[BLOCK + 5] ^= 1;
        let reader = verified(changed, &written).unwrap();
        assert!(reader.read_vec(0, BLOCK).is_ok() && reader.read_vec(2 * BLOCK as u64, 10).is_ok());
        let error = reader.read_vec(BLOCK as u64 - 1, 2).unwrap_err();
        assert_eq!(error.to_string(), "the bytes from 65536 to 131072 are not those that were written");
        assert!(verified(written[..100].to_vec(), &written).is_err());
    }
}
