//! Locations: where the parts of a store are.
//!
//! A part is reached by its key, and shown by its name: in a directory they are mostly the same, in other locations
//! nothing can be renamed. A version says which bytes are meant; only the location understands it.
//!
//! Nothing above [`crate::store`] knows which kind it has.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::watch::Watch;
use crate::error::{At, Error, Kind, Result};
use crate::io::{Cancel, Reader};

pub mod local;
#[cfg(feature = "object-store")]
pub mod object;

/// The key by which a part is reached within its location: names with `/` between them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

/// The longest that object stores take.
const MAX_KEY: usize = 1024;

impl Key {
    /// Takes a key that does not lead out of the location.
    pub fn new(text: impl Into<String>) -> Result<Key> {
        let text = text.into();
        let is_name = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\0');
        match text.len() <= MAX_KEY && text.split('/').all(is_name) {
            true => Ok(Key(text)),
            false => Err(Error::new(Kind::Invalid, "this is no key of a stored part")),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which bytes a part has: it differs whenever they may differ. Only the location that has made it can read it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version(Box<[u8]>);

impl Version {
    pub fn new(bytes: &[u8]) -> Version {
        Version(bytes.into())
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn hash_into(&self, hasher: &mut blake3::Hasher) {
        hasher.update(&self.0);
    }
}

/// A part as it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartRef {
    pub key: Key,
    /// The name that it is shown with.
    pub name: String,
    pub size: u64,
    pub version: Version,
    pub mtime: SystemTime,
}

/// What a location holds at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// All encrypted files, as far as their names tell.
    pub parts: Vec<PartRef>,
    /// Names of unfinished downloads of parts, as the downloading programs have made them.
    pub unfinished: Vec<String>,
    /// Names of encrypted files that are not taken, and why.
    pub refused: BTreeMap<String, String>,
    /// When anything was last added or removed, as far as the location knows.
    pub mtime: SystemTime,
}

/// Something that a run has left in the location, whether or not a catalogue knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    pub key: Key,
    pub name: String,
    pub size: u64,
    /// The id of the run.
    pub run: String,
    /// The fence of the attempt that has made it, if that is known.
    pub fence: Option<u32>,
    /// True if it does not belong to an artifact unless a catalogue has its key. (A file that has its final name may
    /// belong to a catalogue that was lost.)
    pub is_unfinished: bool,
}

/// Room on the filesystem, as statvfs(3) counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// Bytes.
    pub block_size: u64,
    pub fragment_size: u64,
    pub blocks: u64,
    pub blocks_free: u64,
    pub blocks_available: u64,
    pub files: u64,
    pub files_free: u64,
    pub name_max: u64,
}

/// The way in which a part was saved in another place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    Copied,
    /// Both places share its bytes.
    Linked,
}

/// A location of parts. All calls block; one that waits for too long fails with [`Kind::TimedOut`].
pub trait Parts: Send + Sync {
    /// Returns what there is in a store without a catalogue. Fails once `stop` is raised.
    fn list(&self, stop: &Cancel) -> Result<Listing>;

    /// Looks at parts that are there according to a catalogue, and returns at least those that really are. Where this
    /// would take a request for each, they are returned as they were recorded.
    fn look(&self, recorded: &[PartRef], stop: &Cancel) -> Result<Listing>;

    /// Looks at one part; `None` if it is not there.
    fn find(&self, key: &Key) -> Result<Option<PartRef>>;

    /// Parts of these are about to be opened: where looking is a request for each, what is read first may be fetched for all of them
    /// together. Nothing has to be, and nothing fails here.
    fn warm(&self, _parts: &[PartRef]) {}

    /// Opens a part for reading. The version is pinned: opening and reading fail with [`Kind::Stale`] once the part has
    /// another one. A part that is deleted meanwhile can be read to its end, where the location can do that. Reads fail
    /// once `stop` is raised.
    fn open(&self, part: &PartRef, stop: &Cancel) -> Result<Reader>;

    /// Returns true if two parts have the same bytes.
    fn same(&self, a: &PartRef, b: &PartRef, stop: &Cancel) -> Result<bool> {
        const STEP: usize = 128 << 10;
        let (a, b) = (self.open(a, stop)?, self.open(b, stop)?);
        let mut at = 0;
        while a.len() == b.len() && at < a.len() {
            let (left, right) = (a.read_vec(at, STEP)?, b.read_vec(at, STEP)?);
            if left != right {
                return Ok(false);
            }
            at += left.len() as u64;
        }
        Ok(a.len() == b.len())
    }

    /// Begins a part. What an earlier attempt has left under its key is deleted.
    fn create(&self, key: &Key) -> Result<Box<dyn PartSink>>;

    /// Gives finished parts their names and their time, durably, and returns the keys that they have then. A location
    /// that has no names does nothing, and the keys stay. This may fail half done: then the caller deletes what the run
    /// has left.
    fn publish(&self, parts: &[(Key, String)], made: SystemTime) -> Result<Vec<Key>>;

    /// Deletes parts, durably; one that is not there is fine. A failure does not keep the others from being deleted;
    /// the first error is returned.
    fn delete(&self, keys: &[Key]) -> Result<()>;

    /// Returns what a run has left, or what all runs have. The caller compares it with the catalogue.
    fn left(&self, run: Option<&str>) -> Result<Vec<Left>>;

    /// Calls `changed` soon after something has changed that concerns a set of parts.
    fn watch(&self, changed: Box<dyn FnMut() + Send>) -> Result<Watch>;

    fn space(&self) -> Result<Space>;

    /// Returns how long parts of an artifact that is gone are kept, so that whoever has them open can read them to their
    /// end. A file that is open outlives its name.
    fn grace(&self) -> Duration {
        Duration::ZERO
    }

    /// Puts a part into a new file. Fails with [`Kind::Stale`] if it has changed since it was looked at.
    fn save(&self, part: &PartRef, to: &Path) -> Result<Saved> {
        copy(&self.open(part, &Cancel::new())?, part, to).map(|()| Saved::Copied)
    }

    /// Returns the directory of this machine that the location is, if it is one.
    fn dir(&self) -> Option<PathBuf> {
        None
    }
}

/// A part that is being written. Dropped before it is finished, it leaves nothing.
pub trait PartSink: Send {
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Returns once the part is durable. From then on it belongs to the caller, under its key.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Copies what is read of a part to a new file.
fn copy(reader: &Reader, part: &PartRef, to: &Path) -> Result<()> {
    const STEP: usize = 1 << 20;
    let mut file = new_file(to).at(&part.name)?;
    let mut at = 0;
    while at < reader.len() {
        let piece = reader.read_vec(at, STEP).at(&part.name)?;
        file.write_all(&piece).at(&part.name)?;
        at += piece.len() as u64;
    }
    file.set_modified(part.mtime).and_then(|()| file.sync_all()).at(&part.name)
}

/// Makes a file for its owner alone.
fn new_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
