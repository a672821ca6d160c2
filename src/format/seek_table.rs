//! Seek tables: where reading can begin in a deflated member that we wrote. They are a private extra field of its
//! central directory header.
//!
//! The content is cut into blocks of equal size (the last may be shorter); each was deflated by itself, so that an
//! inflater can begin at any of them with an empty window. So that the field stays small whatever the size of the
//! member, blocks are taken together in groups of a power of two.
//!
//! ```text
//! 0 u16 id 0x4443 ("CD"), u16 length of what follows
//! 4 "seek"                      so that another use of the same id is not mistaken for this
//! 8 u8 version, 1
//! 9 u8 b: a block is 2^b bytes of content
//! 10 u8 g: a group is 2^g blocks
//! 11 for every group, to the end of the member:
//!      compressed length in bytes: LEB128, seven bits at a time, the lowest first
//!      u32 CRC-32 of its content
//! ```
//!
//! A table counts only if its lengths add up to the member's compressed size and its CRC-32s to the member's.

use super::zip::{self, Entry, extra_fields, u32_at};

/// Not in APPNOTE 4.5.2 nor in the lists of Info-ZIP.
const ID: u16 = 0x4443;
const MARK: [u8; 5] = *b"seek\x01";
/// Bytes of the field before the groups.
const HEAD: usize = MARK.len() + 2;
/// Binary logarithms of the block sizes that are accepted.
const BLOCK_BITS: std::ops::RangeInclusive<u32> = 12..=30;
const MAX_GROUP_BITS: u32 = 30;
/// At five to eight bytes each the field takes at most 32 KiB for all but terabytes, and always less than 64 KiB.
const MAX_GROUPS: usize = 4000;

/// Consecutive blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    /// Bytes of compressed data.
    pub(crate) compressed: u64,
    /// CRC-32 of the content.
    pub(crate) crc: u32,
}

/// A table that agrees with its member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeekTable {
    /// Bytes of content in each group but the last.
    pub(crate) group_size: u64,
    pub(crate) groups: Vec<Group>,
}

impl SeekTable {
    /// Returns the table of a member; `None` where it has none, or one that does not agree with the rest.
    pub(crate) fn of(entry: &Entry<'_>) -> Option<SeekTable> {
        let (_, field) = extra_fields(entry.extra).find(|(id, data)| *id == ID && data.starts_with(&MARK))?;
        let table = SeekTable::parse(field, entry.size)?;
        let compressed = table.groups.iter().try_fold(0u64, |sum, group| sum.checked_add(group.compressed));
        (compressed == Some(entry.compressed) && table.crc(entry.size) == entry.crc).then_some(table)
    }

    fn parse(field: &[u8], size: u64) -> Option<SeekTable> {
        let (head, mut rest) = field.split_at_checked(HEAD)?;
        let (block_bits, group_bits) = (u32::from(head[MARK.len()]), u32::from(head[MARK.len() + 1]));
        if !BLOCK_BITS.contains(&block_bits) || group_bits > MAX_GROUP_BITS {
            return None;
        }
        let group_size = 1u64 << (block_bits + group_bits);
        let count = usize::try_from(size.div_ceil(group_size)).ok()?;
        if count > rest.len() / 5 {
            return None;
        }
        let mut groups = Vec::with_capacity(count);
        for _ in 0..count {
            let compressed = take_varint(&mut rest).filter(|&len| len > 0)?;
            let (crc, after) = rest.split_at_checked(4)?;
            groups.push(Group { compressed, crc: u32_at(crc, 0) });
            rest = after;
        }
        rest.is_empty().then_some(SeekTable { group_size, groups })
    }

    /// Returns the CRC-32 of the content of all groups.
    fn crc(&self, size: u64) -> u32 {
        let mut all = crc32fast::Hasher::new();
        let mut left = size;
        for group in &self.groups {
            let len = left.min(self.group_size);
            all.combine(&crc32fast::Hasher::new_with_initial_len(group.crc, len));
            left -= len;
        }
        all.finalize()
    }
}

/// Makes the table of a member, block after block, in bounded memory.
pub(crate) struct SeekTableBuilder {
    block_bits: u32,
    group_bits: u32,
    groups: Vec<Group>,
    /// Blocks in the last group.
    in_last: u64,
}

impl SeekTableBuilder {
    /// Blocks will be of `block` bytes of content, a power of two.
    pub(crate) fn new(block: usize) -> SeekTableBuilder {
        debug_assert!(block.is_power_of_two() && BLOCK_BITS.contains(&block.ilog2()));
        SeekTableBuilder { block_bits: block.ilog2(), group_bits: 0, groups: Vec::new(), in_last: 0 }
    }

    /// Adds a block with `size` bytes of content.
    pub(crate) fn push(&mut self, compressed: u64, crc: u32, size: u64) {
        let is_full = self.in_last == 1 << self.group_bits;
        if is_full && self.groups.len() == MAX_GROUPS {
            self.widen();
        }
        match self.groups.last_mut() {
            Some(last) if self.in_last < 1 << self.group_bits => {
                *last = joined(*last, Group { compressed, crc }, size);
                self.in_last += 1;
            }
            _ => {
                self.groups.push(Group { compressed, crc });
                self.in_last = 1;
            }
        }
    }

    /// Merges the groups two by two; all of them are full.
    fn widen(&mut self) {
        let size = 1u64 << (self.block_bits + self.group_bits);
        self.groups = self.groups.chunks(2).map(|pair| joined(pair[0], pair[1], size)).collect();
        self.group_bits += 1;
        self.in_last *= 2;
    }

    /// Appends the extra field, if there is more than one block: a member of one can only be read from its beginning.
    pub(crate) fn write(&self, extra: &mut Vec<u8>) {
        if self.groups.len() < 2 {
            return;
        }
        let mut field = MARK.to_vec();
        field.extend([self.block_bits as u8, self.group_bits as u8]);
        for group in &self.groups {
            push_varint(&mut field, group.compressed);
            field.extend(group.crc.to_le_bytes());
        }
        zip::push_field(extra, ID, &field);
    }
}

/// Merges two groups; `size` is that of the second one's content.
fn joined(first: Group, second: Group, size: u64) -> Group {
    let mut crc = crc32fast::Hasher::new_with_initial(first.crc);
    crc.combine(&crc32fast::Hasher::new_with_initial_len(second.crc, size));
    Group { compressed: first.compressed + second.compressed, crc: crc.finalize() }
}

fn push_varint(out: &mut Vec<u8>, value: u64) {
    let mut value = value;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a number of at most 63 bits: seven of them in each byte, the lowest first, of which all but the last have the
/// highest bit set. The same as in xz.
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (&first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7F) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests;
