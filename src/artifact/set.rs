//! A set of stored parts, opened: one zip, or what is missing.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::addressing::Addressing;
use super::directory::{CentralDirectory, broken_off, each_header};
use super::part::PartReader;
use super::rejoined::{Rejoined, Whole, last_disk, rejoin};
use crate::crypto::Identity;
use crate::error::{At, Error, Kind, Result};
use crate::format::part_name::Ordinal;
use crate::format::zip::Entry;
use crate::io::{Budget, ReadAt, Reader, Share};

/// With fewer parts than this another thread costs more than it saves.
const PARTS_PER_THREAD: usize = 4;

/// A stored part and its place in the set.
#[derive(Clone)]
pub struct PartFile {
    pub ordinal: Ordinal,
    pub name: String,
    /// Opens what is stored. Errors name the part.
    pub open: OpenPart,
}

pub type OpenPart = Arc<dyn Fn() -> Result<Reader> + Send + Sync>;

/// The reasons why a set is not whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gaps {
    pub(crate) missing: Vec<Ordinal>,
    /// Parts beyond the number that the last one states.
    pub(crate) surplus: Vec<Ordinal>,
    /// True if more parts may be missing than are named.
    pub(crate) open_ended: bool,
}

/// The reassembled, decrypted zip.
pub struct Zip {
    reader: Reader,
    directory: CentralDirectory,
    parts: usize,
    _share: Share,
    /// Ranges of it that are in missing parts, each with its part.
    missing: Vec<(Range<u64>, Ordinal)>,
}

impl Zip {
    fn new(whole: Whole, parts: usize) -> Zip {
        let Whole { reader, directory, share, .. } = whole;
        Zip { reader, directory, parts, _share: share, missing: Vec::new() }
    }

    /// Returns where its central directory is.
    pub(crate) fn directory(&self) -> CentralDirectory {
        self.directory
    }

    /// Calls `each` with every header of the central directory and its position. Returns where the list ends: at the
    /// directory's end, or at the first thing that is no header.
    pub(crate) fn each_entry(&self, each: impl FnMut(&Entry<'_>, u64) -> Result<()>) -> Result<u64> {
        each_header(self, self.directory.range()?, each)
    }

    /// Says what is wrong if that list ends at `end`.
    pub(crate) fn broken_off(&self, end: u64) -> Result<Option<Error>> {
        broken_off(self, &self.directory.range()?, end)
    }

    /// Returns the missing parts that a range of it needs.
    pub(crate) fn missing_in(&self, stretch: &Range<u64>) -> impl Iterator<Item = Ordinal> {
        let (start, end) = (stretch.start, stretch.end);
        let within = move |(range, _): &&(Range<u64>, Ordinal)| range.start < end && start < range.end;
        self.missing.iter().filter(within).map(|(_, ordinal)| *ordinal)
    }

    /// Number of its parts; each holds a file descriptor.
    pub(crate) fn parts(&self) -> usize {
        self.parts
    }
}

impl ReadAt for Zip {
    fn len(&self) -> u64 {
        self.reader.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.reader.read_at(buf, offset)
    }
}

pub enum OpenedSet {
    Zip(Zip),
    Incomplete(Gaps),
}

/// Opens a set. `parts` are in the order of their ordinals, each ordinal once.
///
/// The work is in proportion to the number of parts, plus the central directory; with `indexed` set, which is for parts
/// that turned out to be irregular, to their bytes. Its memory is taken from the budget.
pub fn open(
    parts: &[PartFile],
    identities: &Arc<[Identity]>,
    indexed: bool,
    budget: &Arc<Budget>,
) -> Result<OpenedSet> {
    let options = PartOptions::new(identities, indexed, budget);
    if let Some(gaps) = gaps_in_names(parts) {
        return with_count_of_last(gaps, parts, &options).map(OpenedSet::Incomplete);
    }
    let segments = open_all(parts, &options)?;
    let is_cut = matches!(parts[0].ordinal, Ordinal::Cut(_));
    match rejoin(segments, budget) {
        Ok(Rejoined::Zip(whole)) => Ok(OpenedSet::Zip(Zip::new(whole, parts.len()))),
        Ok(Rejoined::OtherDisk(disk)) => Ok(OpenedSet::Incomplete(disagreement(parts, disk))),
        // Nothing tells the last piece of a cut zip from the others, so its end may simply be missing.
        Err(error) if is_cut && !error.kind().is_transient() => {
            Ok(OpenedSet::Incomplete(Gaps { open_ended: true, ..Gaps::default() }))
        }
        // An error in reading a part names it already; what is wrong with the zip itself is found in its last part.
        Err(error) if parts.iter().any(|part| error.to_string().starts_with(&part.name)) => Err(error),
        Err(error) => Err(error.at(&parts[parts.len() - 1].name)),
    }
}

/// Options for opening parts.
struct PartOptions<'a> {
    identities: &'a Arc<[Identity]>,
    addressing: Addressing,
    budget: &'a Arc<Budget>,
}

impl<'a> PartOptions<'a> {
    fn new(identities: &'a Arc<[Identity]>, indexed: bool, budget: &'a Arc<Budget>) -> PartOptions<'a> {
        PartOptions {
            identities,
            addressing: if indexed { Addressing::Indexed } else { Addressing::Regular },
            budget,
        }
    }
}

/// A part that is missing or cannot be read. Its length is not known: offsets within the other parts count from their
/// own beginnings, so that any length will do that no part has.
struct MissingPart {
    ordinal: Ordinal,
    /// Why it cannot be read, if it is there.
    why: Option<Box<Error>>,
}

const MISSING_LEN: u64 = 1 << 40;

impl ReadAt for MissingPart {
    fn len(&self) -> u64 {
        MISSING_LEN
    }

    fn read_at(&self, buf: &mut [u8], _offset: u64) -> Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        Err(match &self.why {
            Some(error) => Error::new(Kind::MissingPart, error.to_string()),
            None => Error::new(Kind::MissingPart, format!("{} is missing", self.ordinal)),
        })
    }
}

/// Opens what is there of a split set that is incomplete or damaged, for the members that lie wholly in it.
///
/// The result is not a zip for others to read: missing parts have made-up lengths.
pub fn open_rest(
    parts: &[PartFile],
    identities: &Arc<[Identity]>,
    indexed: bool,
    budget: &Arc<Budget>,
) -> Result<Zip> {
    let options = PartOptions::new(identities, indexed, budget);
    let last = parts.iter().find(|part| part.ordinal == Ordinal::Last);
    let last = last.ok_or_else(|| {
        Error::new(Kind::MissingPart, "the last part (.zip) is missing: it has the directory")
    })?;
    let last_segment = open_part(last, &options)?;
    let disk = last_disk(last_segment.clone()).at(&last.name)?.min(MAX_NAMED);
    let mut segments = Vec::new();
    let mut missing = Vec::new();
    let mut at = 0;
    for ordinal in (1..=disk).map(Ordinal::Split) {
        let part = parts.binary_search_by_key(&ordinal, |part| part.ordinal).ok().map(|i| &parts[i]);
        let segment = match part.map(|part| open_part(part, &options)) {
            Some(Ok(segment)) => segment,
            Some(Err(error)) if is_of_the_moment(&error) => return Err(error),
            absent => {
                missing.push((at..at + MISSING_LEN, ordinal));
                Arc::new(MissingPart { ordinal, why: absent.and_then(Result::err).map(Box::new) })
            }
        };
        at += segment.len();
        segments.push(segment);
    }
    segments.push(last_segment);
    let Rejoined::Zip(whole) = rejoin(segments, budget)? else {
        return Err(Error::damaged("the last part does not say how many there are"));
    };
    let cut = whole.cut;
    let mut zip = Zip::new(whole, parts.len());
    zip.missing =
        missing.into_iter().map(|(r, name)| (r.start.saturating_sub(cut)..r.end - cut, name)).collect();
    Ok(zip)
}

/// Returns true for an error of the moment: the part itself may be sound.
fn is_of_the_moment(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::Cancelled | Kind::TimedOut | Kind::Os(libc::EMFILE | libc::ENFILE | libc::ENOMEM)
    )
}

/// Returns false if the names alone tell that parts are missing.
pub fn may_be_whole(parts: &[PartFile]) -> bool {
    gaps_in_names(parts).is_none()
}

/// Returns the gaps that the names alone show: there have to be the first part to the last, and the `.zip`.
fn gaps_in_names(parts: &[PartFile]) -> Option<Gaps> {
    let has = |ordinal: Ordinal| parts.binary_search_by_key(&ordinal, |part| part.ordinal).is_ok();
    let mut gaps = Gaps::default();
    let split =
        parts.iter().rev().find_map(|p| if let Ordinal::Split(n) = p.ordinal { Some(n) } else { None });
    let cut = parts.iter().rev().find_map(|p| if let Ordinal::Cut(n) = p.ordinal { Some(n) } else { None });
    if let Some(highest) = cut {
        gaps.missing.extend(numbered(highest, Ordinal::Cut, has));
        // A cut zip and a split one under the same name cannot both be the set.
        gaps.surplus.extend(parts.iter().map(|p| p.ordinal).filter(|o| !matches!(o, Ordinal::Cut(_))));
    } else {
        gaps.missing.extend(numbered(split.unwrap_or(0), Ordinal::Split, has));
        if !has(Ordinal::Last) {
            gaps.missing.push(Ordinal::Last);
            gaps.open_ended = true;
        }
    }
    (gaps != Gaps::default()).then_some(gaps)
}

/// Highest number of a part that is believed; a higher one is a mistake (or a trap).
const MAX_NAMED: u32 = 100_000;

fn numbered(
    highest: u32,
    ordinal: fn(u32) -> Ordinal,
    has: impl Fn(Ordinal) -> bool,
) -> impl Iterator<Item = Ordinal> {
    (1..=highest.min(MAX_NAMED)).map(ordinal).filter(move |&o| !has(o))
}

/// Corrects what the names show by the number of parts that the last one states, if it is there and can be opened.
fn with_count_of_last(gaps: Gaps, parts: &[PartFile], options: &PartOptions<'_>) -> Result<Gaps> {
    let last = parts.iter().find(|part| part.ordinal == Ordinal::Last && gaps.surplus.is_empty());
    let Some(last) = last else { return Ok(gaps) };
    match open_part(last, options).and_then(last_disk) {
        Ok(disk) if disk > 0 => Ok(disagreement(parts, disk)),
        Err(error) if error.kind().is_transient() => Err(error),
        _ => Ok(gaps),
    }
}

/// Compares the parts with an end record on disk `disk`, counted from 0: `.z01` to that number, and the `.zip`.
fn disagreement(parts: &[PartFile], disk: u32) -> Gaps {
    let has = |ordinal| parts.iter().any(|part| part.ordinal == ordinal);
    let surplus = |part: &PartFile| matches!(part.ordinal, Ordinal::Split(n) if n > disk);
    Gaps {
        missing: numbered(disk, Ordinal::Split, has).collect(),
        surplus: parts.iter().filter(|part| surplus(part)).map(|part| part.ordinal).collect(),
        open_ended: disk > MAX_NAMED,
    }
}

fn open_part(part: &PartFile, options: &PartOptions<'_>) -> Result<Reader> {
    let opened =
        PartReader::open((part.open)()?, options.identities.clone(), options.addressing, options.budget)
            .at(&part.name)?;
    Ok(Arc::new(NamedPart { name: part.name.clone(), part: opened }))
}

/// Opens all parts, several at a time: what costs is the private key operation for each.
fn open_all(parts: &[PartFile], options: &PartOptions<'_>) -> Result<Vec<Reader>> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(parts.len().div_ceil(PARTS_PER_THREAD));
    if threads == 1 {
        return parts.iter().map(|part| open_part(part, options)).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut opened = Vec::new();
        while let Some((i, part)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, parts.get(i)?)))
        {
            opened.push((i, open_part(part, options)));
        }
        opened
    };
    let mut opened = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut opened = work();
        for other in others {
            opened.extend(other.join().unwrap_or_default());
        }
        opened
    });
    opened.sort_by_key(|(i, _)| *i);
    if opened.len() != parts.len() {
        return Err(Error::damaged("opening a part failed unexpectedly"));
    }
    opened.into_iter().map(|(_, part)| part).collect()
}

/// A part that puts its name in front of every error.
struct NamedPart {
    name: String,
    part: PartReader,
}

impl ReadAt for NamedPart {
    fn len(&self) -> u64 {
        self.part.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.part.read_at(buf, offset).at(&self.name)
    }
}
