//! The central directory of a zip, read in pieces: it may be larger than what should be held in memory.

use super::set::Zip;
use crate::error::{Error, Result};
use crate::format::zip::{self, DIGITAL_SIGNATURE, Entry};
use crate::io::ReadAt;

/// How much of the directory is read at a time.
const STEP: usize = 1 << 20;

/// Calls `each` with every header and its position in the zip. Returns where the list ends: at the directory's end,
/// or at the first thing that is no header.
pub fn each_entry(zip: &Zip, mut each: impl FnMut(&Entry<'_>, u64) -> Result<()>) -> Result<u64> {
    let place = zip.directory();
    let (mut at, end) = (place.start, place.start + place.size);
    let mut bytes: Vec<u8> = Vec::new();
    while at < end {
        let wanted = STEP.max(2 * bytes.len()).min((end - at) as usize);
        bytes = zip.read_vec(at, wanted)?;
        let mut used = 0;
        for entry in zip::entries(&bytes).map_while(|entry| entry.ok()) {
            each(&entry, at + used as u64)?;
            used += entry.header_len();
        }
        if used == 0 && wanted as u64 == end - at {
            // What is here is no header: a signature, or damage that ends the list.
            break;
        }
        at += used as u64;
        if used > 0 {
            bytes.clear();
        }
    }
    Ok(at)
}

/// Says what is wrong if the list ends at `end`, as `each_entry` returned it: before the directory's end there may be a
/// signature, and nothing else.
pub fn broken_off(zip: &Zip, end: u64) -> Result<Option<Error>> {
    let place = zip.directory();
    if end == place.start + place.size || zip.read_vec(end, 4)? == DIGITAL_SIGNATURE {
        return Ok(None);
    }
    let at = end - place.start;
    Ok(Some(Error::damaged(format!("no header at byte {at} of the central directory"))))
}

/// Reads the header at a position once more.
pub fn entry_at<T>(zip: &Zip, at: u64, work: impl FnOnce(&Entry<'_>) -> Result<T>) -> Result<T> {
    // A header is at most 46 + 3 * 65,535 bytes; nearly all are far shorter.
    for size in [1 << 10, 200 << 10] {
        let bytes = zip.read_vec(at, size)?;
        if let Some(Ok(entry)) = zip::entries(&bytes).next() {
            return work(&entry);
        }
    }
    Err(Error::damaged(format!("the central directory has changed at byte {at}")))
}
