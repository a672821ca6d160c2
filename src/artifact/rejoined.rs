//! The parts of a split zip as one standard zip: everything before the central directory as it is, the rest rewritten.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::directory::{CentralDirectory, broken_off, each_header, entry_at, too_large};
use crate::error::{Error, Kind, Result};
use crate::format::rejoin::{write_end, write_entry};
use crate::format::zip::{self, CENTRAL_HEADER, EndRecord, Entry, LOCAL_HEADER, LOCAL_HEADER_LEN, Locator};
use crate::io::{Budget, Joined, Overlay, ReadAt, Reader, Share, Slice};

/// The directory of a split zip is rewritten in memory; a larger one is refused (some two hundred thousand members).
const MAX_DIRECTORY: u64 = 16 << 20;
/// How long to wait for memory that is in use.
const PATIENCE: Duration = Duration::from_secs(5);

/// The result of rejoining the parts that were given.
pub enum Rejoined {
    Zip(Whole),
    /// The end record is on the disk of this number, counted from 0, and that is not the last of those given.
    OtherDisk(u32),
}

/// One zip.
pub struct Whole {
    pub reader: Reader,
    pub(crate) directory: CentralDirectory,
    /// Memory of the rewritten tail.
    pub share: Share,
    /// Bytes at the front of the first segment that are not part of the zip.
    pub(crate) cut: u64,
}

/// Makes one zip of the segments of a set, in their order, with memory out of a budget.
pub fn rejoin(segments: Vec<Reader>, budget: &Arc<Budget>) -> Result<Rejoined> {
    let count = segments.len();
    let joined = Arc::new(Joined::new(segments)?);
    let starts = joined.starts();
    let segments = JoinedSegments { joined: joined.clone(), starts };
    let (end, position) = segments.find_end()?;
    if end.disk != 0 && end.disk as usize != count - 1 {
        return Ok(Rejoined::OtherDisk(end.disk));
    }
    let marker = match segments.peek(0, 4)? {
        Some(first) if zip::SPANNING_MARKERS.iter().any(|m| first == m) => 4,
        _ => 0,
    };
    if end.disk == 0 && marker == 0 {
        let directory = segments.find_directory(&end, position)?;
        return Ok(Rejoined::Zip(Whole { reader: joined, directory, share: budget.share(), cut: 0 }));
    }
    segments.rewrite(&end, position, marker, budget.share()).map(Rejoined::Zip)
}

/// Returns the number of the disk that the end record in the last segment names, without looking at the others.
pub(crate) fn last_disk(last: Reader) -> Result<u32> {
    let joined = Arc::new(Joined::new(vec![last])?);
    let segments = JoinedSegments { joined, starts: vec![0] };
    let (tail, tail_at) = segments.tail()?;
    let at = *zip::end_candidates(&tail).first().ok_or_else(no_end)?;
    Ok(segments.end_at(&tail, tail_at, at)?.0.disk)
}

fn no_end() -> Error {
    Error::damaged("no end of central directory record: not a zip, or its end is missing")
}

struct JoinedSegments {
    joined: Arc<Joined>,
    /// Position of the first byte of each segment.
    starts: Vec<u64>,
}

impl JoinedSegments {
    /// Reads some bytes; `None` where they are in a missing part.
    fn peek(&self, at: u64, len: usize) -> Result<Option<Vec<u8>>> {
        match self.joined.read_vec(at, len) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == Kind::MissingPart => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the end of the set, where the end records are, and its position.
    fn tail(&self) -> Result<(Vec<u8>, u64)> {
        let at = self.joined.len().saturating_sub(zip::MAX_TAIL as u64);
        if let Some(tail) = self.peek(at, zip::MAX_TAIL)? {
            return Ok((tail, at));
        }
        // The part before the last is missing.
        let last = self.starts.last().copied().unwrap_or(0);
        Ok((self.joined.read_vec(last, zip::MAX_TAIL)?, last))
    }

    /// Finds the end record whose directory ends where its own records begin, and the position of those.
    fn find_end(&self) -> Result<(EndRecord, u64)> {
        let (tail, tail_at) = self.tail()?;
        let candidates = zip::end_candidates(&tail);
        let mut fallback = None;
        let mut fitting = None;
        for at in candidates {
            let (end, position) = match self.end_at(&tail, tail_at, at) {
                Ok(found) => found,
                Err(error) if error.kind().is_transient() => return Err(error),
                Err(error) => {
                    fallback.get_or_insert(Err(error));
                    continue;
                }
            };
            let directory_end =
                self.directory_start(&end).map(|start| start.saturating_add(end.directory_size));
            if !directory_end.is_ok_and(|end| end == position) {
                fallback.get_or_insert(Ok((end, position)));
            } else if fitting.replace((end, position)).is_some() {
                return Err(Error::damaged(
                    "two end records that both fit: readers would disagree on what is in this zip",
                ));
            }
        }
        fitting.map(Ok).or(fallback).unwrap_or_else(|| Err(no_end()))
    }

    /// Reads the end record at `at` of the tail, with its zip64 record; returns it with the position of the first
    /// of these records.
    fn end_at(&self, tail: &[u8], tail_at: u64, at: usize) -> Result<(EndRecord, u64)> {
        let mut end = EndRecord::parse(&tail[at..]).ok_or_else(no_end)?;
        let mut position = tail_at + at as u64;
        let before = at.checked_sub(zip::ZIP64_LOCATOR_LEN).map(|from| &tail[from..]);
        if let Some(locator) = before.and_then(Locator::parse) {
            let base = if end.disk == 0 { Some(0) } else { self.starts.get(locator.disk as usize).copied() };
            let record_at = base.and_then(|base| base.checked_add(locator.offset));
            let mut record = [0; zip::ZIP64_RECORD_LEN];
            let read = record_at.map(|at| self.joined.read_exact_at(&mut record, at));
            match (read, record_at) {
                (Some(Ok(())), Some(record_at)) if record.starts_with(&zip::ZIP64_RECORD) => {
                    end.widen(&record);
                    position = record_at;
                }
                (Some(Err(error)), _) if error.kind().is_transient() => return Err(error),
                // With the last part alone the other disks are missing; the fields of the end record have to do.
                _ if self.starts.len() == 1 && end.disk != 0 => {}
                _ => return Err(Error::damaged("the zip64 locator does not lead to a zip64 record")),
            }
        }
        Ok((end, position))
    }

    /// Position of an offset that counts from the beginning of a disk.
    fn position(&self, end: &EndRecord, disk: u32, offset: u64) -> Result<u64> {
        let disk = if end.disk == 0 { 0 } else { disk };
        let start = self.starts.get(disk as usize).ok_or_else(|| {
            Error::damaged(format!(
                "something is said to be on part {}, but there are {}",
                u64::from(disk) + 1,
                self.starts.len()
            ))
        })?;
        start.checked_add(offset).ok_or_else(|| Error::damaged("an offset beyond 2^64"))
    }

    fn directory_start(&self, end: &EndRecord) -> Result<u64> {
        self.position(end, end.directory_disk, end.directory_offset)
    }

    /// Finds the directory of a zip that is served as it is: where the end record says, or further on by the length of
    /// what was put in front of the zip.
    fn find_directory(&self, end: &EndRecord, position: u64) -> Result<CentralDirectory> {
        let wrong =
            || Error::damaged("no central directory where the end record says: cut off, or not a zip");
        if end.directory_size == 0 && end.entries == 0 {
            return Ok(CentralDirectory::default());
        }
        if end.entries.saturating_mul(zip::CENTRAL_HEADER_LEN as u64) > end.directory_size {
            return Err(Error::damaged(
                "the end record says more members than its central directory can hold",
            ));
        }
        let stated = self.directory_start(end)?;
        let shifted = position.checked_sub(end.directory_size).ok_or_else(wrong)?;
        if stated > shifted {
            return Err(wrong());
        }
        for at in [stated, shifted] {
            if at.checked_add(end.directory_size).is_some_and(|end| end <= position)
                && self.joined.read_vec(at, 4)? == CENTRAL_HEADER
            {
                return Ok(CentralDirectory {
                    start: at,
                    size: end.directory_size,
                    shift: at - stated,
                    entries: end.entries,
                    is_zip64: end.is_zip64,
                });
            }
        }
        Err(wrong())
    }

    fn rewrite(&self, end: &EndRecord, position: u64, marker: u64, mut share: Share) -> Result<Whole> {
        let start = self.directory_start(end)?;
        let range = start
            ..start.checked_add(end.directory_size).filter(|&end| end <= position).ok_or_else(|| {
                Error::damaged("the central directory is said to reach beyond the end record")
            })?;
        if end.directory_size > MAX_DIRECTORY {
            return Err(too_large(end.directory_size, MAX_DIRECTORY));
        }
        let mut listed = SplitDirectory { segments: self, end, range, moved: HashMap::new() };
        let count = listed.find_moved()?;
        if !end.agrees_with(count) {
            return Err(Error::damaged(format!(
                "the end record says {} members, the central directory has {count}",
                end.entries
            )));
        }
        let (mut first, mut len, mut written) = (start, 0, Vec::new());
        let mut neighbours = Neighbours::default();
        listed.each(|entry, at| {
            first = first.min(at);
            neighbours.add(self.starts.partition_point(|&start| start < at), entry, at);
            written.clear();
            write_entry(&mut written, entry, at);
            len += written.len();
            Ok(())
        })?;
        // The marker stays if a member or the directory claims its bytes.
        let cut = if first >= marker { marker } else { 0 };
        let patches = self.stale_headers(&neighbours, cut)?;
        let room =
            len + zip::END_RECORD_LEN + zip::ZIP64_RECORD_LEN + zip::ZIP64_LOCATOR_LEN + end.comment.len();
        if !share.resize(room, PATIENCE) {
            let what =
                "no memory for the directory of this zip: those of others that are open take all there is";
            return Err(Error::new(Kind::Os(libc::ENOMEM), what));
        }
        let mut tail = Vec::with_capacity(room);
        listed.each(|entry, at| {
            write_entry(&mut tail, entry, at - cut);
            Ok(())
        })?;
        let directory = CentralDirectory {
            start: start - cut,
            size: tail.len() as u64,
            shift: 0,
            entries: count,
            is_zip64: true,
        };
        write_end(&mut tail, end, count, start - cut);
        let members = Arc::new(Slice::new(self.joined.clone(), cut, start - cut));
        let reader = Arc::new(Overlay::new(members, start - cut, tail, patches));
        Ok(Whole { reader, directory, share, cut })
    }

    fn is_header_of(&self, entry: &Entry<'_>, at: u64) -> Result<bool> {
        let Some(header) = self.peek(at, LOCAL_HEADER_LEN + entry.name.len())? else { return Ok(false) };
        Ok(header.starts_with(&LOCAL_HEADER)
            && header.len() == LOCAL_HEADER_LEN + entry.name.len()
            && usize::from(zip::u16_at(&header, 26)) == entry.name.len()
            && header[LOCAL_HEADER_LEN..] == *entry.name)
    }

    /// Finds local headers whose CRC-32 and sizes zip4j failed to fill in, because it wrote them into the next part,
    /// and returns what belongs there, by position in the result.
    ///
    /// That happens to the last member that ends in a part and to one whose header moved to the next (see
    /// [`SplitDirectory::find_moved`]), so the headers next to each boundary are looked at.
    fn stale_headers(&self, neighbours: &Neighbours, cut: u64) -> Result<Vec<(u64, Vec<u8>)>> {
        let mut patches = Vec::new();
        for fields in neighbours.before_boundaries(self.starts.len()) {
            let Some(header) = self.peek(fields.at, LOCAL_HEADER_LEN)? else { continue };
            if let Some(patch) = fields.differing_from(&header) {
                patches.push((fields.at + 14 - cut, patch));
            }
        }
        Ok(patches)
    }
}

/// The directory of a split zip, which is read several times rather than held in memory.
struct SplitDirectory<'a> {
    segments: &'a JoinedSegments,
    end: &'a EndRecord,
    range: Range<u64>,
    /// Positions of local headers that are not where the directory says, by the position of their header in it.
    moved: HashMap<u64, u64>,
}

impl SplitDirectory<'_> {
    /// Calls `each` with every header and the position of its local header.
    fn each(&self, mut each: impl FnMut(&Entry<'_>, u64) -> Result<()>) -> Result<()> {
        self.each_header(|entry, header, at| each(entry, self.moved.get(&header).copied().unwrap_or(at)))
    }

    fn each_header(&self, mut each: impl FnMut(&Entry<'_>, u64, u64) -> Result<()>) -> Result<()> {
        let joined = &*self.segments.joined;
        let end = each_header(joined, self.range.clone(), |entry, header| {
            each(entry, header, self.segments.position(self.end, entry.disk, entry.offset)?)
        })?;
        broken_off(joined, &self.range, end)?.map_or(Ok(()), Err)
    }

    /// Finds local headers that zip4j noted at the end of a part and then wrote at the beginning of the next. Returns
    /// how many headers there are in all.
    ///
    /// Only the last header of a part can be affected, which keeps the work in proportion to the number of parts.
    fn find_moved(&mut self) -> Result<u64> {
        let mut count = 0;
        let mut last: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        self.each_header(|entry, header, at| {
            count += 1;
            let slot = last.entry(entry.disk).or_insert((header, at));
            if at > slot.1 {
                *slot = (header, at);
            }
            Ok(())
        })?;
        if self.end.disk == 0 {
            return Ok(count);
        }
        for (disk, (header, at)) in last {
            let Some(&next) = self.segments.starts.get(disk as usize + 1) else { continue };
            let there = self.segments.peek(at, 4)?;
            if there.is_some_and(|bytes| bytes != LOCAL_HEADER)
                && entry_at(&*self.segments.joined, header, |entry| self.segments.is_header_of(entry, next))?
            {
                self.moved.insert(header, next);
            }
        }
        Ok(count)
    }
}

/// The last local headers before each boundary of two parts.
#[derive(Default)]
struct Neighbours {
    /// By the number of parts that begin before them; the last ones, in order.
    last: BTreeMap<usize, Vec<Fields>>,
}

/// Headers that are looked at before each boundary.
const NEIGHBOURS: usize = 3;

impl Neighbours {
    fn add(&mut self, part: usize, entry: &Entry<'_>, at: u64) {
        let last = self.last.entry(part).or_default();
        let place = last.partition_point(|fields| fields.at <= at);
        last.insert(place, Fields::of(entry, at));
        if last.len() > NEIGHBOURS {
            last.remove(0);
        }
    }

    /// Returns those before the beginnings of all parts but the first.
    fn before_boundaries(&self, parts: usize) -> Vec<Fields> {
        let mut found = BTreeMap::new();
        for part in 1..parts {
            let before = self.last.range(..=part).rev().flat_map(|(_, last)| last.iter().rev());
            found.extend(before.take(NEIGHBOURS).map(|fields| (fields.at, *fields)));
        }
        found.into_values().collect()
    }
}

/// The fields of a header in the directory that its local header repeats.
#[derive(Debug, Clone, Copy)]
struct Fields {
    at: u64,
    flags: u16,
    crc: u32,
    compressed: u64,
    size: u64,
}

impl Fields {
    fn of(entry: &Entry<'_>, at: u64) -> Fields {
        let Entry { flags, crc, compressed, size, .. } = *entry;
        Fields { at, flags, crc, compressed, size }
    }

    /// Returns the CRC-32 and sizes that a local header should have, if it has others.
    fn differing_from(&self, header: &[u8]) -> Option<Vec<u8>> {
        let comparable = header.len() == LOCAL_HEADER_LEN
            && header.starts_with(&LOCAL_HEADER)
            && self.flags & zip::FLAG_DATA_DESCRIPTOR == 0
            && self.size < 0xFFFF_FFFF
            && self.compressed < 0xFFFF_FFFF
            && header[18..26] != [0xFF; 8];
        let mut fields = self.crc.to_le_bytes().to_vec();
        fields.extend((self.compressed as u32).to_le_bytes());
        fields.extend((self.size as u32).to_le_bytes());
        (comparable && header[14..26] != fields).then_some(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_directory_said_to_begin_inside_the_marker_is_no_overflow() {
        let zip = [&zip::SPANNING_MARKERS[0][..], &zip::END_RECORD, &[0; 18]].concat();
        let Ok(Rejoined::Zip(whole)) = rejoin(vec![Arc::new(zip.clone())], &Budget::unlimited()) else {
            panic!("not a zip")
        };
        assert_eq!(whole.reader.read_vec(0, 100).unwrap(), zip[4..]);
    }
}
