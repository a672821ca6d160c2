use proptest::prelude::*;

use super::*;
use crate::format::zip::{CENTRAL_HEADER, CENTRAL_HEADER_LEN};

const BLOCK: usize = 4096;

/// The content of a block is not needed, only its CRC-32: that of its number, over and over.
fn content(n: usize, len: usize) -> Vec<u8> {
    vec![n as u8; len]
}

/// A central directory header with an extra field.
fn header(extra: &[u8], size: u64, compressed: u64, crc: u32) -> Vec<u8> {
    let mut header = vec![0; CENTRAL_HEADER_LEN];
    header[..4].copy_from_slice(&CENTRAL_HEADER);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    header[20..24].copy_from_slice(&(compressed as u32).to_le_bytes());
    header[24..28].copy_from_slice(&(size as u32).to_le_bytes());
    header[30..32].copy_from_slice(&(extra.len() as u16).to_le_bytes());
    header.extend(extra);
    header
}

fn read(header: &[u8]) -> Option<SeekTable> {
    SeekTable::of(&zip::entries(header).next().unwrap().unwrap())
}

/// Returns the field, the sizes and the CRC-32 of a member of `blocks` blocks, the last of `last` bytes.
fn written(blocks: usize, last: usize) -> (Vec<u8>, u64, u64, u32) {
    let mut builder = SeekTableBuilder::new(BLOCK);
    let mut all = crc32fast::Hasher::new();
    let mut compressed = 0;
    for n in 0..blocks {
        let content = content(n, if n + 1 == blocks { last } else { BLOCK });
        all.update(&content);
        compressed += 100 + n as u64 % 300;
        builder.push(100 + n as u64 % 300, crc32fast::hash(&content), content.len() as u64);
    }
    let mut extra = Vec::new();
    builder.write(&mut extra);
    (extra, ((blocks - 1) * BLOCK + last) as u64, compressed, all.finalize())
}

#[test]
fn one_block_needs_no_table() {
    assert!(written(1, 5).0.is_empty());
}

#[test]
fn what_is_written_is_read() {
    for (blocks, last) in
        [(2, 1), (3, BLOCK), (MAX_GROUPS, 7), (MAX_GROUPS + 1, 7), (3 * MAX_GROUPS + 5, BLOCK)]
    {
        let (extra, size, compressed, crc) = written(blocks, last);
        assert!(extra.len() < 32 << 10);
        let table = read(&header(&extra, size, compressed, crc)).unwrap();
        assert_eq!(table.groups.len() as u64, size.div_ceil(table.group_size));
        assert!(table.groups.len() > blocks.min(MAX_GROUPS) / 2);
        let in_first = (table.group_size as usize / BLOCK).min(blocks);
        let first: Vec<u8> =
            (0..in_first).flat_map(|n| content(n, if n + 1 == blocks { last } else { BLOCK })).collect();
        assert_eq!(table.groups[0].crc, crc32fast::hash(&first));
    }
}

#[test]
fn a_table_that_does_not_agree_with_its_member_does_not_count() {
    let (extra, size, compressed, crc) = written(9, 77);
    assert!(read(&header(&extra, size, compressed, crc)).is_some());
    assert!(read(&header(&extra, size, compressed + 1, crc)).is_none());
    assert!(read(&header(&extra, size, compressed, crc ^ 1)).is_none());
    assert!(read(&header(&extra, size + BLOCK as u64, compressed, crc)).is_none());
    assert!(read(&header(&extra, 0, compressed, crc)).is_none());
    for at in 0..extra.len() {
        for bit in [1, 0x80] {
            let mut changed = extra.clone();
            changed[at] ^= bit;
            assert_eq!(read(&header(&changed, size, compressed, crc)), None, "byte {at}");
        }
    }
}

proptest! {
    #[test]
    fn nothing_panics(field in proptest::collection::vec(any::<u8>(), 0..200), bits in 0u8..70, group in 0u8..40,
                      size: u64) {
        let mut extra = Vec::new();
        zip::push_field(&mut extra, ID, &[&MARK[..], &[bits, group], &field].concat());
        read(&header(&extra, size, size >> 2, 0));
        let _ = SeekTable::parse(&field, size);
        let _ = SeekTable::parse(&[&MARK[..], &[bits, group], &field].concat(), size);
    }

    #[test]
    fn any_number_is_read_back(value in 0u64..1 << 62) {
        let mut out = Vec::new();
        push_varint(&mut out, value);
        let mut rest = &out[..];
        prop_assert_eq!((take_varint(&mut rest), rest.len()), (Some(value), 0));
    }
}
