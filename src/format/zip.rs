//! The end of a zip: end records and central directory (APPNOTE 6.3.10 sections 4.3.12 to 4.3.16, 4.5.3).
//!
//! ```text
//! end of central directory record          zip64 record                       zip64 locator
//!  0 PK 05 06                               0 PK 06 06                         0 PK 06 07
//!  4 u16 this disk                          4 u64 size of the rest             4 u32 disk of the record
//!  6 u16 disk of the directory             12 u16 made by, u16 needed          8 u64 offset of the record
//!  8 u16 entries on this disk              16 u32 this disk                   16 u32 disks
//! 10 u16 entries                           20 u32 disk of the directory       20
//! 12 u32 size of the directory             24 u64 entries on this disk
//! 16 u32 offset of the directory           32 u64 entries
//! 20 u16 comment length, comment           40 u64 size, 48 u64 offset
//! 22                                       56
//!
//! central directory header
//!  0 PK 01 02      10 u16 method        24 u32 size               34 u16 disk
//!  4 u16 made by   12 u32 time          28 u16 name length        36 u16 internal attributes
//!  6 u16 needed    16 u32 CRC-32        30 u16 extra length       38 u32 external attributes
//!  8 u16 flags     20 u32 compressed    32 u16 comment length     42 u32 offset of the local header
//! 46 name, extra, comment
//! ```
//!
//! In a split set every offset counts from the beginning of the disk that is named with it. A field that is all ones
//! stands in the zip64 record or, for an entry, in its extra field 0x0001.

pub mod write;

pub(crate) const LOCAL_HEADER: [u8; 4] = *b"PK\x03\x04";
pub(crate) const CENTRAL_HEADER: [u8; 4] = *b"PK\x01\x02";
pub(crate) const DIGITAL_SIGNATURE: [u8; 4] = *b"PK\x05\x05";
pub const END_RECORD: [u8; 4] = *b"PK\x05\x06";
pub const ZIP64_RECORD: [u8; 4] = *b"PK\x06\x06";
pub const ZIP64_LOCATOR: [u8; 4] = *b"PK\x06\x07";
/// What a split zip begins with, and what may be left of it in a set of one part (APPNOTE sections 8.5.3, 8.5.4).
pub const SPANNING_MARKERS: [[u8; 4]; 2] = [*b"PK\x07\x08", *b"PK00"];

pub(crate) const LOCAL_HEADER_LEN: usize = 30;
pub(crate) const CENTRAL_HEADER_LEN: usize = 46;
pub const END_RECORD_LEN: usize = 22;
pub(crate) const ZIP64_RECORD_LEN: usize = 56;
pub(crate) const ZIP64_LOCATOR_LEN: usize = 20;
/// The end record lies within this many bytes of the end, with the longest comment and the zip64 records before it.
pub(crate) const MAX_TAIL: usize = 0xFFFF + END_RECORD_LEN + ZIP64_LOCATOR_LEN + ZIP64_RECORD_LEN;

pub const ZIP64_EXTRA: u16 = 0x0001;
/// Bit 0 of the flags: the data is encrypted.
pub(crate) const FLAG_ENCRYPTED: u16 = 1 << 0;
/// Bit 3 of the flags: sizes and CRC-32 stand in a data descriptor behind the data.
pub(crate) const FLAG_DATA_DESCRIPTOR: u16 = 1 << 3;
/// Bit 11 of the flags: name and comment are UTF-8 (appendix D).
pub(crate) const FLAG_UTF8: u16 = 1 << 11;

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// The end records, with the zip64 ones already taken into account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndRecord {
    /// Number of the disk that the end record is on, counted from 0.
    pub disk: u32,
    pub directory_disk: u32,
    pub(crate) entries: u64,
    pub directory_size: u64,
    pub directory_offset: u64,
    pub comment: Vec<u8>,
    /// True if the counts are those of a zip64 record; otherwise `entries` may have wrapped at 65,536.
    pub(crate) is_zip64: bool,
}

impl EndRecord {
    /// Reads an end record without its zip64 records; `None` where it is cut off.
    pub fn parse(bytes: &[u8]) -> Option<EndRecord> {
        if bytes.len() < END_RECORD_LEN || !bytes.starts_with(&END_RECORD) {
            return None;
        }
        let comment = bytes.get(END_RECORD_LEN..END_RECORD_LEN + usize::from(u16_at(bytes, 20)))?;
        Some(EndRecord {
            disk: u16_at(bytes, 4).into(),
            directory_disk: u16_at(bytes, 6).into(),
            entries: u16_at(bytes, 10).into(),
            directory_size: u32_at(bytes, 12).into(),
            directory_offset: u32_at(bytes, 16).into(),
            comment: comment.to_vec(),
            is_zip64: false,
        })
    }

    /// Replaces what is all ones by the fields of the zip64 record; the others stand.
    pub fn widen(&mut self, record: &[u8; ZIP64_RECORD_LEN]) {
        fn saturated(value: u64, ones: u64, wide: u64) -> u64 {
            if value == ones { wide } else { value }
        }
        self.is_zip64 = self.entries == 0xFFFF;
        self.disk = saturated(self.disk.into(), 0xFFFF, u32_at(record, 16).into()) as u32;
        self.directory_disk = saturated(self.directory_disk.into(), 0xFFFF, u32_at(record, 20).into()) as u32;
        self.entries = saturated(self.entries, 0xFFFF, u64_at(record, 32));
        self.directory_size = saturated(self.directory_size, 0xFFFF_FFFF, u64_at(record, 40));
        self.directory_offset = saturated(self.directory_offset, 0xFFFF_FFFF, u64_at(record, 48));
    }

    /// Returns true if a directory of `found` entries is what this record announces.
    pub fn agrees_with(&self, found: u64) -> bool {
        counts_agree(self.entries, self.is_zip64, found)
    }
}

/// Returns true if a count of an end record is that of `found` headers: it may have wrapped unless it is zip64.
pub(crate) fn counts_agree(said: u64, is_zip64: bool, found: u64) -> bool {
    said == found || (!is_zip64 && found > 0xFFFF && said == found & 0xFFFF)
}

/// Position of the zip64 record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Locator {
    pub(crate) disk: u32,
    pub(crate) offset: u64,
}

impl Locator {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Locator> {
        (bytes.len() >= ZIP64_LOCATOR_LEN && bytes.starts_with(&ZIP64_LOCATOR))
            .then(|| Locator { disk: u32_at(bytes, 4), offset: u64_at(bytes, 8) })
    }
}

/// Returns the positions in `tail`, the end of a zip, where an end record may be: first those whose comment ends
/// exactly at the end, then the others, each from the back.
pub fn end_candidates(tail: &[u8]) -> Vec<usize> {
    let complete = |&at: &usize| {
        tail.len() >= at + END_RECORD_LEN
            && at + END_RECORD_LEN + usize::from(u16_at(tail, at + 20)) <= tail.len()
    };
    let exact = |&at: &usize| at + END_RECORD_LEN + usize::from(u16_at(tail, at + 20)) == tail.len();
    let all: Vec<usize> = memchr::memmem::find_iter(tail, &END_RECORD).filter(complete).collect();
    let (exact, rest): (Vec<usize>, Vec<usize>) = all.into_iter().rev().partition(exact);
    [exact, rest].concat()
}

/// One central directory header.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    pub(crate) fixed: &'a [u8],
    pub name: &'a [u8],
    pub extra: &'a [u8],
    pub comment: &'a [u8],
    pub flags: u16,
    pub crc: u32,
    pub compressed: u64,
    pub size: u64,
    pub disk: u32,
    /// Offset of the local header, from the beginning of `disk`.
    pub offset: u64,
    pub(crate) has_zip64_extra: bool,
}

impl<'a> Entry<'a> {
    /// Reads the header at the beginning of `bytes`; `None` where it is cut off or none.
    fn parse(bytes: &'a [u8]) -> Option<Entry<'a>> {
        if bytes.len() < CENTRAL_HEADER_LEN || !bytes.starts_with(&CENTRAL_HEADER) {
            return None;
        }
        let (fixed, rest) = bytes.split_at(CENTRAL_HEADER_LEN);
        let (name, rest) = rest.split_at_checked(u16_at(fixed, 28).into())?;
        let (extra, rest) = rest.split_at_checked(u16_at(fixed, 30).into())?;
        let comment = rest.get(..usize::from(u16_at(fixed, 32)))?;
        let mut entry = Entry {
            fixed,
            name,
            extra,
            comment,
            flags: u16_at(fixed, 8),
            crc: u32_at(fixed, 16),
            compressed: u32_at(fixed, 20).into(),
            size: u32_at(fixed, 24).into(),
            disk: u16_at(fixed, 34).into(),
            offset: u32_at(fixed, 42).into(),
            has_zip64_extra: false,
        };
        entry.widen();
        Some(entry)
    }

    /// Takes what is all ones from the zip64 extra field, in its fixed order; what is missing there stays.
    fn widen(&mut self) {
        let Some((_, mut field)) = extra_fields(self.extra).find(|(id, _)| *id == ZIP64_EXTRA) else {
            return;
        };
        self.has_zip64_extra = true;
        let mut wide = |value: &mut u64| {
            if *value == 0xFFFF_FFFF
                && let Some((first, rest)) = field.split_at_checked(8)
            {
                *value = u64_at(first, 0);
                field = rest;
            }
        };
        wide(&mut self.size);
        wide(&mut self.compressed);
        wide(&mut self.offset);
        if self.disk == 0xFFFF && field.len() >= 4 {
            self.disk = u32_at(field, 0);
        }
    }

    /// Compression method (APPNOTE 4.4.5).
    pub(crate) fn method(&self) -> u16 {
        u16_at(self.fixed, 10)
    }

    /// File type and permissions, where a Unix system made the entry; otherwise 0.
    pub(crate) fn unix_mode(&self) -> u32 {
        const UNIX: u8 = 3;
        if self.fixed[5] == UNIX { u32_at(self.fixed, 38) >> 16 } else { 0 }
    }

    /// Length of the header with everything that belongs to it.
    pub(crate) fn header_len(&self) -> usize {
        CENTRAL_HEADER_LEN + self.name.len() + self.extra.len() + self.comment.len()
    }
}

/// Iterates over an extra field block: id and data. It ends where a field does not fit.
pub fn extra_fields(extra: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = extra;
    std::iter::from_fn(move || {
        let (head, after) = rest.split_at_checked(4)?;
        let (data, after) = after.split_at_checked(u16_at(head, 2).into())?;
        rest = after;
        Some((u16_at(head, 0), data))
    })
}

/// Appends one field to an extra field block.
pub(crate) fn push_field(extra: &mut Vec<u8>, id: u16, data: &[u8]) {
    extra.extend(id.to_le_bytes());
    extra.extend((data.len() as u16).to_le_bytes());
    extra.extend(data);
}

/// The directory has something else where a header belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadEntry {
    /// Position in the directory.
    pub(crate) at: usize,
}

/// Iterates over a central directory, to its end or to the first thing that is no header.
pub fn entries(directory: &[u8]) -> impl Iterator<Item = Result<Entry<'_>, BadEntry>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest =
            directory.get(at..).filter(|rest| !rest.is_empty() && !rest.starts_with(&DIGITAL_SIGNATURE))?;
        match Entry::parse(rest) {
            Some(entry) => {
                at += entry.header_len();
                Some(Ok(entry))
            }
            None => {
                let bad = BadEntry { at };
                at = directory.len();
                Some(Err(bad))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_record_that_ends_at_the_end_comes_first() {
        let record = |comment: &[u8]| {
            let mut r = END_RECORD.to_vec();
            r.extend([0; 16]);
            r.extend((comment.len() as u16).to_le_bytes());
            r.extend(comment);
            r
        };
        let inner = record(b"");
        assert_eq!(end_candidates(&record(&inner)), [22, 0]);
        assert_eq!(end_candidates(&[record(b""), b"junk".to_vec()].concat()), [0]);
        assert_eq!(end_candidates(&record(b"x")[..22]), [0usize; 0]);
    }

    #[test]
    fn zip64_fields_stand_in_for_what_is_all_ones() {
        let mut header = vec![0; CENTRAL_HEADER_LEN];
        header[..4].copy_from_slice(&CENTRAL_HEADER);
        header[20..24].copy_from_slice(&[0xFF; 4]);
        header[34..36].copy_from_slice(&[0xFF; 2]);
        header[30..32].copy_from_slice(&16u16.to_le_bytes());
        header.extend([1, 0, 12, 0]);
        header.extend(5_000_000_000u64.to_le_bytes());
        header.extend(70_000u32.to_le_bytes());
        let entry = Entry::parse(&header).unwrap();
        assert_eq!((entry.size, entry.compressed, entry.disk), (0, 5_000_000_000, 70_000));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = bytes;
            if bytes.len() > 8 {
                bytes[..4].copy_from_slice(&CENTRAL_HEADER);
            }
            prop_assert!(entries(&bytes).count() <= bytes.len() / CENTRAL_HEADER_LEN + 1);
            for at in end_candidates(&bytes) {
                prop_assert!(EndRecord::parse(&bytes[at..]).is_some());
            }
        }
    }
}
