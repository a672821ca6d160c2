//! Random access into a deflated member that has a seek table: each group of its blocks is inflated by itself.
//!
//! A block here is one group. Nothing of it is given out before its CRC-32 has been checked.

use std::sync::Arc;
use std::thread;

use libdeflater::Decompressor;

use super::blocks::{BLOCK, Decode, DecodedBlock};
use crate::error::{Error, Result};
use crate::format::seek_table::SeekTable;
use crate::io::{Pool, Reader, with_scratch};

/// Members with larger groups (those of more than 16 GB) are read as if they had no table.
const MAX_GROUP: u64 = 4 << 20;
/// Threads that inflate one member, at most.
const MAX_THREADS: usize = 4;

/// A group, ready to be inflated.
#[derive(Debug, Clone, Copy)]
struct PlacedGroup {
    /// Position of its compressed data.
    start: u64,
    compressed: usize,
    size: usize,
    crc: u32,
}

/// The decoder of a deflated member with a seek table.
pub(crate) struct Grouped {
    compressed: Reader,
    group_size: u64,
    groups: Vec<PlacedGroup>,
    threads: usize,
    pool: Arc<Pool>,
}

impl Grouped {
    /// Takes a table that agrees with a member of `len` bytes; `None` if its groups are not as we write them.
    pub(crate) fn new(compressed: Reader, len: u64, table: &SeekTable, pool: Arc<Pool>) -> Option<Grouped> {
        let group_size = table.group_size;
        if !group_size.is_multiple_of(BLOCK) || group_size > MAX_GROUP {
            return None;
        }
        let (mut start, mut left) = (0, len);
        let mut groups = Vec::with_capacity(table.groups.len());
        for group in &table.groups {
            let size = left.min(group_size);
            // Deflate never needs that much, and memory must not depend on what a file says.
            if size == 0 || group.compressed > 2 * group_size {
                return None;
            }
            let (compressed, crc) = (group.compressed as usize, group.crc);
            groups.push(PlacedGroup { start, compressed, size: size as usize, crc });
            start += group.compressed;
            left -= size;
        }
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        Some(Grouped { compressed, group_size, groups, threads, pool })
    }
}

/// The end of a stream: a block that is final, stored and empty (RFC 1951 section 3.2.4).
const END_OF_STREAM: [u8; 5] = [1, 0, 0, 0xFF, 0xFF];

impl Decode for Grouped {
    fn block_size(&self) -> u64 {
        self.group_size
    }

    fn at_once(&self) -> usize {
        self.threads
    }

    fn decode(&self, wanted: u64, _keep: &mut dyn FnMut(u64, DecodedBlock)) -> Result<DecodedBlock> {
        let group = usize::try_from(wanted).ok().and_then(|n| self.groups.get(n));
        let group =
            group.ok_or_else(|| Error::damaged("a read behind the last group of the member's blocks"))?;
        let mut content = self.pool.take(group.size);
        // A group ends on a byte, where the next would go on. libdeflate, made for speed, cannot pause: it takes whole
        // streams only.
        let size = with_scratch(group.compressed + END_OF_STREAM.len(), |input| {
            let (data, end) = input.split_at_mut(group.compressed);
            self.compressed.read_exact_at(data, group.start)?;
            end.copy_from_slice(&END_OF_STREAM);
            Ok::<_, Error>(Decompressor::new().deflate_decompress(input, &mut content).ok())
        })?;
        if size != Some(group.size) {
            return Err(Error::damaged(format!(
                "group {wanted} of the member's blocks is not what its table says"
            )));
        }
        if crc32fast::hash(&content) != group.crc {
            return Err(Error::damaged(format!(
                "the CRC-32 of group {wanted} of the member's blocks is wrong"
            )));
        }
        Ok(Arc::new(content))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zlib_rs::{Deflate, DeflateFlush};

    use super::*;
    use crate::artifact::member::MemberResources;
    use crate::artifact::member::blocks::Blockwise;
    use crate::format::deflate::tests::letters;
    use crate::format::seek_table::Group;
    use crate::io::ReadAt;

    const GROUP: usize = 512 << 10;

    /// Deflates groups, each by itself.
    fn deflated(content: &[u8]) -> (Vec<u8>, SeekTable) {
        let (mut all, mut groups) = (Vec::new(), Vec::new());
        let count = content.len().div_ceil(GROUP);
        for (n, group) in content.chunks(GROUP).enumerate() {
            let flush = if n + 1 == count { DeflateFlush::Finish } else { DeflateFlush::FullFlush };
            let mut out = vec![0; 2 * GROUP];
            let mut deflate = Deflate::new(1, false, 15);
            deflate.compress(group, &mut out, flush).unwrap();
            let compressed = deflate.total_out();
            all.extend_from_slice(&out[..compressed as usize]);
            groups.push(Group { compressed, crc: crc32fast::hash(group) });
        }
        (all, SeekTable { group_size: GROUP as u64, groups })
    }

    fn member(compressed: Vec<u8>, len: usize, table: &SeekTable) -> Blockwise<Grouped> {
        let shared = Arc::<MemberResources>::default();
        let grouped = Grouped::new(Arc::new(compressed), len as u64, table, shared.pool.clone()).unwrap();
        Blockwise::new(len as u64, shared, grouped)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]
        #[test]
        fn reads_in_any_order_equal_the_content(
            len in 3_000_000usize..3_800_000,
            reads in proptest::collection::vec((0u64..4_000_000, 0usize..900_000), 1..20),
        ) {
            let content = letters(len);
            let (compressed, table) = deflated(&content);
            let member = member(compressed, len, &table);
            for (offset, len) in reads {
                let from = (offset as usize).min(content.len());
                let to = (from + len).min(content.len());
                prop_assert!(member.read_vec(offset, len).unwrap() == content[from..to]);
            }
        }
    }

    #[test]
    fn a_changed_group_fails_and_the_others_do_not() {
        let content = letters(7 * GROUP);
        let (mut compressed, table) = deflated(&content);
        let third: u64 = table.groups[..3].iter().map(|group| group.compressed).sum();
        compressed[third as usize + 1000] ^= 4;
        let member = member(compressed, content.len(), &table);
        for n in 0..7 {
            let read = member.read_vec((n * GROUP) as u64, GROUP);
            assert_eq!(read.is_err(), n == 3, "{n}");
            assert!(read.is_err() || read.unwrap() == content[n * GROUP..(n + 1) * GROUP]);
        }
    }

    #[test]
    fn groups_that_would_take_much_memory_are_not_believed() {
        let (compressed, table) = deflated(&letters(2 * GROUP));
        let taken = |table: &SeekTable, len: usize| {
            Grouped::new(Arc::new(compressed.clone()), len as u64, table, Pool::new(0)).is_some()
        };
        assert!(taken(&table, 2 * GROUP));
        assert!(!taken(&table, GROUP));
        let mut large = table.clone();
        large.groups[0].compressed = 1 << 40;
        assert!(!taken(&large, 2 * GROUP));
        assert!(!taken(&SeekTable { group_size: 8 << 20, ..table.clone() }, 2 * GROUP));
        assert!(!taken(&SeekTable { group_size: 4096, ..table.clone() }, 2 * GROUP));
    }
}
