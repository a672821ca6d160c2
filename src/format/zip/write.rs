//! The records of a zip that is written in one pass, onto one disk or several (APPNOTE 4.3.7 to 4.3.16, 8.5).
//!
//! A member whose sizes are not known before its data has them in a descriptor behind it. Its sizes have 32 bits unless
//! one needs 64, and the local header does not announce which, because that is not known yet. java.util.zip and Go do
//! the same, and all readers that go by the central directory take it.

use std::time::SystemTime;

use super::{
    CENTRAL_HEADER, END_RECORD, FLAG_DATA_DESCRIPTOR, FLAG_UTF8, LOCAL_HEADER, SPANNING_MARKERS, ZIP64_EXTRA,
    ZIP64_LOCATOR, ZIP64_RECORD, ZIP64_RECORD_LEN, push_field,
};
use crate::format::zip_time;

/// What the first segment of a split zip begins with, which is also the signature of a data descriptor.
pub(crate) const SPANNING_MARKER: [u8; 4] = SPANNING_MARKERS[0];

const SATURATED_16: u32 = 0xFFFF;
const SATURATED_32: u64 = 0xFFFF_FFFF;
const DEFLATED: u16 = 8;
/// Made on Unix, by version 3.0 of the specification.
const MADE_BY: u16 = 3 << 8 | 30;
const NEEDED: u16 = 20;
const NEEDED_ZIP64: u16 = 45;
/// A regular file, rw-r--r--.
const UNIX_MODE: u32 = 0o100_644;

/// CRC-32 and sizes of a member, known once it has been compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) crc: u32,
    pub(crate) compressed: u64,
    pub(crate) size: u64,
}

impl Sizes {
    fn needs_zip64(&self) -> bool {
        self.compressed >= SATURATED_32 || self.size >= SATURATED_32
    }
}

/// A position in a split zip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct DiskPosition {
    /// Counted from 0.
    pub(crate) disk: u32,
    /// From the beginning of the disk.
    pub(crate) offset: u64,
}

fn flags(name: &str, descriptor: bool) -> u16 {
    let utf8 = if name.is_ascii() { 0 } else { FLAG_UTF8 };
    utf8 | if descriptor { FLAG_DATA_DESCRIPTOR } else { 0 }
}

/// Flags, method and time: the same in both headers of a member.
fn common(out: &mut Vec<u8>, name: &str, modified: SystemTime, descriptor: bool) {
    let (date, time) = zip_time::to_dos(modified);
    for value in [flags(name, descriptor), DEFLATED, time, date] {
        out.extend(value.to_le_bytes());
    }
}

/// Appends the local header of a deflated member; `None` announces a descriptor. The sizes are less than 4 GiB.
pub(crate) fn local_header(out: &mut Vec<u8>, name: &str, modified: SystemTime, sizes: Option<Sizes>) {
    let mut extra = Vec::new();
    zip_time::write_timestamp(&mut extra, modified);
    out.extend(LOCAL_HEADER);
    out.extend(NEEDED.to_le_bytes());
    common(out, name, modified, sizes.is_none());
    let Sizes { crc, compressed, size } = sizes.unwrap_or(Sizes { crc: 0, compressed: 0, size: 0 });
    for value in [crc, compressed as u32, size as u32] {
        out.extend(value.to_le_bytes());
    }
    out.extend((name.len() as u16).to_le_bytes());
    out.extend((extra.len() as u16).to_le_bytes());
    out.extend(name.as_bytes());
    out.extend(extra);
}

/// Appends a data descriptor, with the signature that most readers expect.
pub(crate) fn descriptor(out: &mut Vec<u8>, sizes: &Sizes) {
    out.extend(SPANNING_MARKER);
    out.extend(sizes.crc.to_le_bytes());
    for value in [sizes.compressed, sizes.size] {
        if sizes.needs_zip64() {
            out.extend(value.to_le_bytes());
        } else {
            out.extend((value as u32).to_le_bytes());
        }
    }
}

/// A member that has been written, as the central directory describes it.
#[derive(Debug, Clone)]
pub(crate) struct ListedMember {
    pub(crate) name: Box<str>,
    pub(crate) sizes: Sizes,
    /// True if a descriptor follows its data.
    pub(crate) descriptor: bool,
    /// Position of its local header.
    pub(crate) place: DiskPosition,
    /// An extra field of its own.
    pub(crate) extra: Box<[u8]>,
}

/// Appends the central directory header of a member.
pub(crate) fn central_header(out: &mut Vec<u8>, member: &ListedMember, modified: SystemTime) {
    let mut zip64 = Vec::new();
    let mut narrow = |value: u64| {
        if value >= SATURATED_32 {
            zip64.extend(value.to_le_bytes());
        }
        value.min(SATURATED_32) as u32
    };
    // In the order of the zip64 field: size, compressed size, offset, disk.
    let (size, compressed) = (narrow(member.sizes.size), narrow(member.sizes.compressed));
    let offset = narrow(member.place.offset);
    if member.place.disk >= SATURATED_16 {
        zip64.extend(member.place.disk.to_le_bytes());
    }
    let mut extra = Vec::new();
    if !zip64.is_empty() {
        push_field(&mut extra, ZIP64_EXTRA, &zip64);
    }
    zip_time::write_timestamp(&mut extra, modified);
    extra.extend_from_slice(&member.extra);

    out.extend(CENTRAL_HEADER);
    out.extend(MADE_BY.to_le_bytes());
    out.extend(if zip64.is_empty() { NEEDED } else { NEEDED_ZIP64 }.to_le_bytes());
    common(out, &member.name, modified, member.descriptor);
    for value in [member.sizes.crc, compressed, size] {
        out.extend(value.to_le_bytes());
    }
    out.extend((member.name.len() as u16).to_le_bytes());
    out.extend((extra.len() as u16).to_le_bytes());
    out.extend(0u16.to_le_bytes());
    out.extend((member.place.disk.min(SATURATED_16) as u16).to_le_bytes());
    out.extend(0u16.to_le_bytes());
    out.extend((UNIX_MODE << 16).to_le_bytes());
    out.extend(offset.to_le_bytes());
    out.extend(member.name.as_bytes());
    out.extend(extra);
}

/// A central directory that has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct WrittenDirectory {
    pub(crate) start: DiskPosition,
    pub(crate) size: u64,
    pub(crate) entries: u64,
    /// Number of the entries on the disk that the end records are on.
    pub(crate) entries_on_last: u64,
}

/// Appends the end records, all of which will stand at `here`.
pub(crate) fn end_records(out: &mut Vec<u8>, directory: &WrittenDirectory, here: DiskPosition) {
    let WrittenDirectory { start, size, entries, entries_on_last } = *directory;
    let is_wide = entries >= u64::from(SATURATED_16)
        || size >= SATURATED_32
        || start.offset >= SATURATED_32
        || here.disk >= SATURATED_16;
    if is_wide {
        out.extend(ZIP64_RECORD);
        out.extend((ZIP64_RECORD_LEN as u64 - 12).to_le_bytes());
        out.extend(MADE_BY.to_le_bytes());
        out.extend(NEEDED_ZIP64.to_le_bytes());
        out.extend(here.disk.to_le_bytes());
        out.extend(start.disk.to_le_bytes());
        for value in [entries_on_last, entries, size, start.offset] {
            out.extend(value.to_le_bytes());
        }
        out.extend(ZIP64_LOCATOR);
        out.extend(here.disk.to_le_bytes());
        out.extend(here.offset.to_le_bytes());
        out.extend((here.disk + 1).to_le_bytes());
    }
    out.extend(END_RECORD);
    for disk in [here.disk, start.disk] {
        out.extend((disk.min(SATURATED_16) as u16).to_le_bytes());
    }
    for count in [entries_on_last, entries] {
        out.extend((count.min(SATURATED_16.into()) as u16).to_le_bytes());
    }
    for value in [size, start.offset] {
        out.extend((value.min(SATURATED_32) as u32).to_le_bytes());
    }
    out.extend(0u16.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::super::{EndRecord, Locator, ZIP64_LOCATOR_LEN, entries};
    use super::*;

    const NEAR_32: std::ops::Range<u64> = SATURATED_32 - 2..SATURATED_32 + 3;

    proptest! {
        #[test]
        fn a_central_header_is_read_as_it_was_written(name in "[a-zä/]{1,20}", compressed in prop_oneof![0..100u64, NEAR_32],
                size in prop_oneof![0..100u64, NEAR_32], offset in prop_oneof![0..100u64, NEAR_32],
                disk in prop_oneof![0..100u32, 0xFFFDu32..0x10002], crc: u32, descriptor: bool) {
            let sizes = Sizes { crc, compressed, size };
            let extra = vec![0x99, 0x99, 1, 0, 7].into();
            let place = DiskPosition { disk, offset };
            let member = ListedMember { name: name.clone().into(), sizes, descriptor, place, extra };
            let modified = UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_001);
            let mut out = Vec::new();
            central_header(&mut out, &member, modified);
            let entry = entries(&out).next().unwrap().unwrap();
            prop_assert_eq!((entry.size, entry.compressed, entry.crc), (size, compressed, crc));
            prop_assert_eq!((entry.disk, entry.offset), (disk, offset));
            prop_assert_eq!((entry.name, entry.method(), entry.unix_mode()), (name.as_bytes(), 8, UNIX_MODE));
            prop_assert_eq!((entry.header_len(), zip_time::modified(&entry)), (out.len(), modified));
        }

        #[test]
        fn end_records_are_read_as_they_were_written(count in prop_oneof![0..100u64, 0xFFFDu64..0x10003],
                size in prop_oneof![0..100u64, NEAR_32], offset in prop_oneof![0..100u64, NEAR_32],
                disk in prop_oneof![0..100u32, 0xFFFDu32..0x10002]) {
            let directory = WrittenDirectory {
                start: DiskPosition { disk: disk / 2, offset }, size, entries: count, entries_on_last: count / 2,
            };
            let mut out = Vec::new();
            end_records(&mut out, &directory, DiskPosition { disk, offset: 77 });
            let at = super::super::end_candidates(&out)[0];
            let mut end = EndRecord::parse(&out[at..]).unwrap();
            if let Some(locator) = at.checked_sub(ZIP64_LOCATOR_LEN) {
                let found = Locator::parse(&out[locator..]).unwrap();
                prop_assert_eq!((found.disk, found.offset), (disk, 77));
                end.widen(out[..ZIP64_RECORD_LEN].try_into().unwrap());
            }
            prop_assert_eq!((end.disk, end.directory_disk), (disk, disk / 2));
            prop_assert_eq!((end.entries, end.directory_size, end.directory_offset), (count, size, offset));
        }
    }
}
