//! The tail of a split zip, rewritten so that the parts laid end to end are one standard zip.
//!
//! ```text
//! parts    [marker][members ...............][central directory][end records]
//!                  |                        |
//! result           [members, untouched ....][directory'][zip64 records?][end record']
//! ```
//!
//! Disk numbers become 0, local header offsets count from the beginning of the result, zip64 fields are written
//! where a value needs them and nowhere else. Names, times, attributes and comments are copied.

use super::zip::{
    CENTRAL_HEADER_LEN, END_RECORD, EndRecord, Entry, ZIP64_EXTRA, ZIP64_LOCATOR, ZIP64_RECORD,
    ZIP64_RECORD_LEN, extra_fields, push_field, u16_at,
};

const SATURATED_32: u64 = 0xFFFF_FFFF;
const ZIP64_VERSION: u16 = 45;
/// Without any extra field Debian's unzip compares a UTF-8 name with that of the local header and complains; so an
/// entry that loses its zip64 field gets this padding field (the one that Android's zipalign writes).
const PADDING_FIELD: [u8; 6] = [0x1E, 0xA1, 2, 0, 0, 0];

/// Appends the header of `entry` with its local header at `offset` of the result.
pub fn write_entry(out: &mut Vec<u8>, entry: &Entry<'_>, offset: u64) {
    let mut zip64 = Vec::new();
    let mut narrow = |value: u64| {
        if value >= SATURATED_32 {
            zip64.extend(value.to_le_bytes());
        }
        value.min(SATURATED_32) as u32
    };
    // In the order of the zip64 field: size, compressed size, offset.
    let (size, compressed, offset) = (narrow(entry.size), narrow(entry.compressed), narrow(offset));

    let mut extra = Vec::with_capacity(entry.extra.len() + 20);
    if !zip64.is_empty() {
        push_field(&mut extra, ZIP64_EXTRA, &zip64);
    }
    for (id, data) in extra_fields(entry.extra).filter(|(id, _)| *id != ZIP64_EXTRA) {
        // Beside a new zip64 field there may be no room for all the others.
        if extra.len() + 4 + data.len() <= usize::from(u16::MAX) {
            push_field(&mut extra, id, data);
        }
    }
    if entry.has_zip64_extra && extra.is_empty() {
        extra.extend(PADDING_FIELD);
    }

    let at = out.len();
    out.extend_from_slice(entry.fixed);
    let mut put =
        |field: usize, bytes: &[u8]| out[at + field..at + field + bytes.len()].copy_from_slice(bytes);
    if !zip64.is_empty() {
        put(6, &u16_at(entry.fixed, 6).max(ZIP64_VERSION).to_le_bytes());
    }
    put(20, &compressed.to_le_bytes());
    put(24, &size.to_le_bytes());
    put(30, &(extra.len() as u16).to_le_bytes());
    put(34, &[0, 0]);
    put(42, &offset.to_le_bytes());
    debug_assert_eq!(out.len(), at + CENTRAL_HEADER_LEN);
    out.extend_from_slice(entry.name);
    out.extend(extra);
    out.extend_from_slice(entry.comment);
}

/// Appends the end records to `tail`, which holds the whole directory that begins at `directory_offset` of the result.
pub fn write_end(tail: &mut Vec<u8>, end: &EndRecord, entries: u64, directory_offset: u64) {
    let size = tail.len() as u64;
    if entries >= 0xFFFF || directory_offset >= SATURATED_32 || size >= SATURATED_32 {
        tail.extend(ZIP64_RECORD);
        tail.extend((ZIP64_RECORD_LEN as u64 - 12).to_le_bytes());
        tail.extend(ZIP64_VERSION.to_le_bytes());
        tail.extend(ZIP64_VERSION.to_le_bytes());
        tail.extend([0; 8]);
        for value in [entries, entries, size, directory_offset] {
            tail.extend(value.to_le_bytes());
        }
        tail.extend(ZIP64_LOCATOR);
        tail.extend(0u32.to_le_bytes());
        tail.extend((directory_offset + size).to_le_bytes());
        tail.extend(1u32.to_le_bytes());
    }
    let count = entries.min(0xFFFF) as u16;
    tail.extend(END_RECORD);
    tail.extend([0; 4]);
    tail.extend(count.to_le_bytes());
    tail.extend(count.to_le_bytes());
    tail.extend((size.min(SATURATED_32) as u32).to_le_bytes());
    tail.extend((directory_offset.min(SATURATED_32) as u32).to_le_bytes());
    tail.extend((end.comment.len() as u16).to_le_bytes());
    tail.extend(&end.comment);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::zip::{self, CENTRAL_HEADER};

    fn header(size: u32, extra: &[u8]) -> Vec<u8> {
        let mut h = vec![0; CENTRAL_HEADER_LEN];
        h[..4].copy_from_slice(&CENTRAL_HEADER);
        h[24..28].copy_from_slice(&size.to_le_bytes());
        h[28..30].copy_from_slice(&1u16.to_le_bytes());
        h[30..32].copy_from_slice(&(extra.len() as u16).to_le_bytes());
        h[34..36].copy_from_slice(&3u16.to_le_bytes());
        h.push(b'n');
        h.extend(extra);
        h
    }

    fn rewritten(header: &[u8], offset: u64) -> Vec<u8> {
        let entry = zip::entries(header).next().unwrap().unwrap();
        let mut out = Vec::new();
        write_entry(&mut out, &entry, offset);
        out
    }

    #[test]
    fn disk_and_offset_are_the_only_changes_to_a_plain_header() {
        let original = header(5, &[0x99, 0x99, 1, 0, 7]);
        let mut expected = original.clone();
        expected[34..36].fill(0);
        expected[42..46].copy_from_slice(&77u32.to_le_bytes());
        assert_eq!(rewritten(&original, 77), expected);
    }

    #[test]
    fn zip64_fields_come_and_go_with_the_need_for_them() {
        let needless = header(u32::MAX, &[1, 0, 8, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        let out = rewritten(&needless, 0);
        let entry = zip::entries(&out).next().unwrap().unwrap();
        assert_eq!((entry.size, entry.has_zip64_extra, entry.extra), (5, false, &PADDING_FIELD[..]));

        let out = rewritten(&header(5, &[]), 5_000_000_000);
        let entry = zip::entries(&out).next().unwrap().unwrap();
        assert_eq!((entry.offset, entry.disk, u16_at(entry.fixed, 6)), (5_000_000_000, 0, 45));
    }

    #[test]
    fn an_extra_field_that_a_zip64_field_leaves_no_room_for_goes() {
        let full = [&[0x99, 0x99, 0xFB, 0xFF][..], &[7; 0xFFFB]].concat();
        assert_eq!(rewritten(&header(5, &full), 77).len(), CENTRAL_HEADER_LEN + 1 + 0xFFFF);
        let out = rewritten(&header(5, &full), 5_000_000_000);
        let entry = zip::entries(&out).next().unwrap().unwrap();
        assert_eq!((entry.offset, entry.extra.len()), (5_000_000_000, 12));
        assert_eq!(out.len(), CENTRAL_HEADER_LEN + 1 + 12);
    }

    #[test]
    fn many_entries_need_zip64_end_records() {
        let end = EndRecord {
            disk: 3,
            directory_disk: 3,
            entries: 0xFFFF,
            directory_size: 0,
            directory_offset: 0,
            comment: b"c".to_vec(),
            is_zip64: true,
        };
        let mut tail = vec![0; 10];
        write_end(&mut tail, &end, 70_000, 1000);
        let at = zip::end_candidates(&tail)[0];
        let mut back = EndRecord::parse(&tail[at..]).unwrap();
        back.widen(tail[10..10 + ZIP64_RECORD_LEN].try_into().unwrap());
        assert_eq!(
            (back.disk, back.entries, back.directory_size, back.directory_offset),
            (0, 70_000, 10, 1000)
        );
        assert_eq!(back.comment, b"c");
    }
}
