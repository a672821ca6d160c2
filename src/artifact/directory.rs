//! The central directory of a zip, read in pieces: it may be larger than what should be held in memory.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::format::zip::{self, DIGITAL_SIGNATURE, Entry};
use crate::io::{ReadAt, available};

/// Bytes of the directory that are read at a time: more than any header is long (46 + 3 * 65,535 bytes).
const STEP: usize = 256 << 10;
/// A larger directory is refused, so that reading one ends. A member takes 46 bytes and its name.
const MAX_DIRECTORY: u64 = 1 << 30;

/// Position and size of the central directory, and its entries as announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CentralDirectory {
    pub(crate) start: u64,
    pub(crate) size: u64,
    /// Bytes in front of the zip, which have to be added to the offsets of local headers.
    pub(crate) shift: u64,
    /// Number of headers that the end record announces.
    pub(crate) entries: u64,
    /// True if `entries` is exact; otherwise it may have wrapped at 65,536.
    pub(crate) is_zip64: bool,
}

impl CentralDirectory {
    /// Returns the range of the zip that it takes; fails if that is too long to be read.
    pub(crate) fn range(&self) -> Result<Range<u64>> {
        if self.size > MAX_DIRECTORY {
            return Err(too_large(self.size, MAX_DIRECTORY));
        }
        Ok(self.start..self.start.saturating_add(self.size))
    }

    /// Returns true if that many headers are what the end record announces.
    pub(crate) fn announces(&self, found: u64) -> bool {
        zip::counts_agree(self.entries, self.is_zip64, found)
    }
}

pub(crate) fn too_large(size: u64, most: u64) -> Error {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    Error::unsupported(format!(
        "a central directory of {} MiB: no more than {} are read",
        mib(size),
        mib(most)
    ))
}

/// Calls `each` with every header of the directory in a range of an archive, and the header's position. Returns where
/// the list ends: at the directory's end, or at the first thing that is no header.
pub(crate) fn each_header(
    archive: &dyn ReadAt,
    range: Range<u64>,
    mut each: impl FnMut(&Entry<'_>, u64) -> Result<()>,
) -> Result<u64> {
    let mut at = range.start;
    while at < range.end {
        let bytes = archive.read_vec(at, available(range.end, at, STEP))?;
        let mut used = 0;
        for entry in zip::entries(&bytes).map_while(|entry| entry.ok()) {
            each(&entry, at + used as u64)?;
            used += entry.header_len();
        }
        if used == 0 {
            // There is no header here, but a signature, or damage that ends the list.
            break;
        }
        at += used as u64;
    }
    Ok(at)
}

/// Says what is wrong if the list ends at `end`, as `each_header` returned it: before the directory's end there may be
/// a signature, and nothing else.
pub(crate) fn broken_off(archive: &dyn ReadAt, range: &Range<u64>, end: u64) -> Result<Option<Error>> {
    if end == range.end || archive.read_vec(end, 4)? == DIGITAL_SIGNATURE {
        return Ok(None);
    }
    let at = end - range.start;
    Ok(Some(Error::damaged(format!("no header at byte {at} of the central directory"))))
}

/// Reads the header at a position once more.
pub(crate) fn entry_at<T>(
    zip: &dyn ReadAt,
    at: u64,
    work: impl FnOnce(&Entry<'_>) -> Result<T>,
) -> Result<T> {
    // A header is at most 46 + 3 * 65,535 bytes; nearly all are far shorter.
    for size in [1 << 10, 200 << 10] {
        let bytes = zip.read_vec(at, size)?;
        if let Some(Ok(entry)) = zip::entries(&bytes).next() {
            return work(&entry);
        }
    }
    Err(Error::damaged(format!("the central directory has changed at byte {at}")))
}
