//! What runs have made: the stored parts, and the hashes of their blocks.

use std::time::SystemTime;

use crate::error::Result;
use crate::store::parts::Key;

/// Block hashes that are read at a time: a read of a part needs one or two pieces.
pub const PART_BLOCK_HASHES: usize = 1024;

pub type Hash = [u8; 32];

/// A stored part as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPartRecord {
    pub name: String,
    /// Its key in the location.
    pub key: Key,
    pub size: u64,
    pub sha256: Hash,
    /// BLAKE3 of the block hashes in their order.
    pub root: Hash,
    /// True if this part alone was deleted.
    pub is_deleted: bool,
}

/// What [`Artifacts::part_is_gone`] has removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// The part was not there.
    Nothing,
    Part,
    Artifact,
}

/// An artifact that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredArtifact {
    /// The run that has made it.
    pub run: String,
    /// When it was made: the end of the run.
    pub made: SystemTime,
    /// Length of the zip in bytes.
    pub bytes: u64,
    /// In the order of the zip's bytes.
    pub parts: Vec<StoredPartRecord>,
}

pub trait Artifacts: Send + Sync {
    /// Returns the artifacts that are there, in the order of their runs.
    fn artifacts(&self) -> Result<Vec<StoredArtifact>>;

    /// Returns when the oldest artifact that is there was made.
    fn oldest_artifact(&self) -> Result<Option<SystemTime>>;

    /// Returns the parts of a run's artifact, deleted ones too, until they are forgotten.
    fn parts(&self, run: &str) -> Result<Vec<StoredPartRecord>>;

    /// Returns one piece of the hashes of a part's blocks, [`PART_BLOCK_HASHES`] or fewer at the end. Parts count from
    /// 1, pieces from 0.
    fn block_hashes(&self, run: &str, number: u32, piece: u64) -> Result<Vec<Hash>>;

    /// Records that an artifact is gone; returns false if it was not there. This comes before its files are deleted, so
    /// that half of it is never shown; afterwards [`Artifacts::forget_parts`] forgets its parts.
    fn artifact_is_gone(&self, run: &str, now: SystemTime) -> Result<bool>;

    /// Records that one part of an artifact is gone; with its last part the artifact is gone as well. This comes before
    /// the file is deleted.
    fn part_is_gone(&self, run: &str, name: &str, now: SystemTime) -> Result<Gone>;

    /// Returns the runs whose artifact was gone at `until`, but whose parts have not been forgotten yet.
    fn leftovers(&self, until: SystemTime) -> Result<Vec<String>>;

    /// Returns the parts that had been deleted alone at `until`.
    fn deleted_parts(&self, until: SystemTime) -> Result<Vec<StoredPartRecord>>;

    /// Forgets the parts of an artifact whose files are deleted, and with them a run that was only kept for it. The
    /// hashes of their blocks stay for readers that still have a file open: see [`Artifacts::forget_hashes`].
    ///
    /// `known` is the number of parts whose names could be read: if there were more,
    /// [`Runs::runs_with_debris`](super::Runs::runs_with_debris) returns the run, so that their files are looked for.
    fn forget_parts(&self, run: &str, known: usize, now: SystemTime) -> Result<()>;

    /// Forgets the block hashes of parts that were forgotten a day ago, by a clock that is believed.
    fn forget_hashes(&self, now: SystemTime) -> Result<()>;
}
