//! What a run has produced: the stored parts and the hashes of their blocks.

use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Catalogue, from_ms, to_ms};
use crate::error::Result;

/// Block hashes in one row: a read of a part needs one or two rows.
pub const PART_BLOCK_HASHES: usize = 1024;

/// How long the hashes of an artifact's blocks are kept after it was deleted.
const KEPT_AFTER_DELETION: Duration = Duration::from_secs(24 * 60 * 60);

pub type Hash = [u8; 32];

/// A stored part as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPartRecord {
    pub name: String,
    pub size: u64,
    pub sha256: Hash,
    /// BLAKE3 of the block hashes in their order.
    pub root: Hash,
}

/// An artifact that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredArtifact {
    /// The run that it is of.
    pub run: String,
    /// When it was made: the end of the run.
    pub made: SystemTime,
    /// Length of the zip in bytes.
    pub bytes: u64,
    /// In the order of the zip's bytes.
    pub parts: Vec<StoredPartRecord>,
}

/// Writes down parts with the hashes of their blocks.
pub(super) fn insert(
    tx: &Transaction<'_>,
    run: &str,
    parts: &[(StoredPartRecord, Vec<Hash>)],
) -> rusqlite::Result<()> {
    let mut part_row = tx.prepare_cached(
        "INSERT INTO part (run, number, name, size, sha256, root) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let mut hashes_row =
        tx.prepare_cached("INSERT INTO block_hashes (run, number, piece, hashes) VALUES (?1, ?2, ?3, ?4)")?;
    for (i, (part, hashes)) in parts.iter().enumerate() {
        let number = i as i64 + 1;
        part_row.execute(params![run, number, part.name, part.size as i64, part.sha256, part.root])?;
        for (piece, hashes) in hashes.chunks(PART_BLOCK_HASHES).enumerate() {
            hashes_row.execute(params![run, number, piece as i64, hashes.concat()])?;
        }
    }
    Ok(())
}

fn parts_of(c: &Connection, run: &str) -> rusqlite::Result<Vec<StoredPartRecord>> {
    let mut query =
        c.prepare_cached("SELECT name, size, sha256, root FROM part WHERE run = ?1 ORDER BY number")?;
    let rows = query.query_map([run], |row| {
        Ok(StoredPartRecord {
            name: row.get(0)?,
            size: row.get::<_, i64>(1)? as u64,
            sha256: row.get(2)?,
            root: row.get(3)?,
        })
    })?;
    rows.collect()
}

impl Catalogue {
    /// Returns the artifacts that are there.
    pub fn artifacts(&self) -> Result<Vec<StoredArtifact>> {
        self.read(|c| {
            let mut query =
                c.prepare_cached("SELECT id, finished, bytes FROM run WHERE present = 1 ORDER BY id")?;
            let rows = query.query_map([], |row| {
                let (run, made, bytes): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(StoredArtifact {
                    parts: parts_of(c, &run)?,
                    run,
                    made: from_ms(made),
                    bytes: bytes as u64,
                })
            })?;
            rows.collect()
        })
    }

    /// Returns when the oldest artifact that is there was made.
    pub fn oldest_artifact(&self) -> Result<Option<SystemTime>> {
        let ms: Option<i64> = self
            .read(|c| c.query_row("SELECT min(finished) FROM run WHERE present = 1", [], |row| row.get(0)))?;
        Ok(ms.map(from_ms))
    }

    /// Returns the parts of a run's artifact; none if it is not there.
    pub fn parts(&self, run: &str) -> Result<Vec<StoredPartRecord>> {
        self.read(|c| parts_of(c, run))
    }

    /// Returns one piece of the hashes of a part's blocks. Parts count from 1, pieces from 0.
    pub fn block_hashes(&self, run: &str, number: u32, piece: u64) -> Result<Vec<Hash>> {
        let bytes: Option<Vec<u8>> = self.read(|c| {
            c.prepare_cached("SELECT hashes FROM block_hashes WHERE run = ?1 AND number = ?2 AND piece = ?3")?
                .query_row(params![run, number, piece as i64], |row| row.get(0))
                .optional()
        })?;
        let (hashes, _) = bytes.as_deref().unwrap_or_default().as_chunks();
        Ok(hashes.to_vec())
    }

    /// Says that an artifact is gone. It comes before its files are deleted, so that no half of it is ever shown;
    /// its parts are forgotten by [`Catalogue::forget_parts`] once they are.
    pub fn artifact_is_gone(&self, run: &str, now: SystemTime) -> Result<bool> {
        self.write(|tx| {
            let gone = tx.execute(
                "UPDATE run SET present = 0, deleted = ?2 WHERE id = ?1 AND present = 1",
                params![run, to_ms(now)],
            )?;
            Ok(gone > 0)
        })
    }

    /// Returns the runs whose artifact is gone, but not all files of it, as far as is known.
    pub fn leftovers(&self) -> Result<Vec<String>> {
        self.read(|c| {
            let mut query = c.prepare_cached(
                "SELECT DISTINCT run FROM part JOIN run ON run.id = part.run WHERE run.present = 0",
            )?;
            query.query_map([], |row| row.get(0))?.collect()
        })
    }

    /// Forgets the parts of an artifact whose files are deleted, and with them a run that was only kept for it. The
    /// hashes of their blocks stay for whoever still has a file open, as long as [`KEPT_AFTER_DELETION`] says.
    pub fn forget_parts(&self, run: &str, now: SystemTime) -> Result<()> {
        self.write(|tx| {
            tx.execute("DELETE FROM part WHERE run = ?1", [run])?;
            tx.execute(
                "DELETE FROM block_hashes WHERE run IN (
                   SELECT DISTINCT run FROM block_hashes EXCEPT SELECT run FROM part
                   EXCEPT SELECT id FROM run WHERE deleted > ?2) AND run <> ?1",
                params![run, to_ms(now) - KEPT_AFTER_DELETION.as_millis() as i64],
            )?;
            tx.execute("DELETE FROM run WHERE id = ?1 AND hidden = 1 AND present = 0", [run])
        })
        .map(drop)
    }
}
