//! What a run has produced: the stored parts and the hashes of their blocks.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::Sqlite;
use super::rows::{forget_hidden, id_in, unreadable};
use crate::error::Result;
use crate::store::catalogue::{
    Artifacts, Gone, Hash, PART_BLOCK_HASHES, Setting, StoredArtifact, StoredPartRecord,
};
use crate::store::clock::{from_ms, to_ms};
use crate::store::names;
use crate::store::parts::Key;

/// How long the hashes of an artifact's blocks are kept after it was deleted.
const KEPT_AFTER_DELETION: Duration = Duration::from_secs(24 * 60 * 60);

/// Writes down parts with the hashes of their blocks.
pub(super) fn insert(
    tx: &Transaction<'_>,
    run: &str,
    parts: &[(StoredPartRecord, Vec<Hash>)],
) -> rusqlite::Result<()> {
    let mut part_row = tx.prepare_cached(
        "INSERT INTO part (run, number, name, size, sha256, root, key) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let mut hashes_row =
        tx.prepare_cached("INSERT INTO block_hashes (run, number, piece, hashes) VALUES (?1, ?2, ?3, ?4)")?;
    for (i, (part, hashes)) in parts.iter().enumerate() {
        let number = i as i64 + 1;
        let key = Some(part.key.as_str()).filter(|key| *key != part.name);
        let (name, size) = (&part.name, part.size as i64);
        part_row.execute(params![run, number, name, size, part.sha256, part.root, key])?;
        for (piece, hashes) in hashes.chunks(PART_BLOCK_HASHES).enumerate() {
            hashes_row.execute(params![run, number, piece as i64, hashes.concat()])?;
        }
    }
    Ok(())
}

/// Reads a part. Files are reached by its name, so that only a name of the right form is taken.
fn part_in(row: &Row<'_>) -> rusqlite::Result<(String, StoredPartRecord)> {
    let (run, name): (String, String) = (id_in(row, "run")?, row.get("name")?);
    if names::part_of(&run, &name).is_none() {
        let what = format!("{:?} is no name of a part of {run}", name.escape_debug().to_string());
        return Err(unreadable(what));
    }
    let key = row.get::<_, Option<String>>("key")?.unwrap_or_else(|| name.clone());
    let key = Key::new(key).ok().filter(|key| names::is_key_of(&run, &name, key));
    let key = key.ok_or_else(|| unreadable(format!("the key of {name} is none of a part of {run}")))?;
    let size: i64 = row.get("size")?;
    let part = StoredPartRecord {
        name,
        key,
        size: u64::try_from(size).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, size))?,
        sha256: row.get("sha256")?,
        root: row.get("root")?,
        is_deleted: row.get::<_, Option<i64>>("deleted")?.is_some(),
    };
    Ok((run, part))
}

impl Artifacts for Sqlite {
    fn artifacts(&self) -> Result<Vec<StoredArtifact>> {
        self.read(|c| {
            let mut query = c.prepare_cached(
                "SELECT part.* FROM part JOIN run ON run.id = part.run WHERE run.present = 1
                 ORDER BY part.run, part.number",
            )?;
            let mut parts: HashMap<String, Vec<StoredPartRecord>> = HashMap::new();
            for (run, part) in self.collect(query.query_map([], part_in)?)? {
                parts.entry(run).or_default().push(part);
            }
            let mut query =
                c.prepare_cached("SELECT id, finished, bytes FROM run WHERE present = 1 ORDER BY id")?;
            let artifact = |row: &Row<'_>| {
                let (run, made, bytes): (String, i64, i64) = (id_in(row, "id")?, row.get(1)?, row.get(2)?);
                let made = from_ms(made).ok_or(rusqlite::Error::IntegralValueOutOfRange(1, made))?;
                let bytes =
                    u64::try_from(bytes).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(2, bytes))?;
                Ok(StoredArtifact { parts: parts.remove(&run).unwrap_or_default(), run, made, bytes })
            };
            self.collect(query.query_map([], artifact)?)
        })
    }

    fn oldest_artifact(&self) -> Result<Option<SystemTime>> {
        let ms: Option<i64> = self
            .read(|c| c.query_row("SELECT min(finished) FROM run WHERE present = 1", [], |row| row.get(0)))?;
        Ok(ms.and_then(from_ms))
    }

    fn parts(&self, run: &str) -> Result<Vec<StoredPartRecord>> {
        self.read(|c| {
            let mut query = c.prepare_cached("SELECT * FROM part WHERE run = ?1 ORDER BY number")?;
            let parts = self.collect(query.query_map([run], part_in)?)?;
            Ok(parts.into_iter().map(|(_, part)| part).collect())
        })
    }

    fn block_hashes(&self, run: &str, number: u32, piece: u64) -> Result<Vec<Hash>> {
        let bytes: Option<Vec<u8>> = self.read(|c| {
            c.prepare_cached("SELECT hashes FROM block_hashes WHERE run = ?1 AND number = ?2 AND piece = ?3")?
                .query_row(params![run, number, piece as i64], |row| row.get(0))
                .optional()
        })?;
        let (hashes, _) = bytes.as_deref().unwrap_or_default().as_chunks();
        Ok(hashes.to_vec())
    }

    fn artifact_is_gone(&self, run: &str, now: SystemTime) -> Result<bool> {
        self.write(|tx| {
            let gone = tx.execute(
                "UPDATE run SET present = 0, deleted = ?2 WHERE id = ?1 AND present = 1",
                params![run, to_ms(now)],
            )?;
            Ok(gone > 0)
        })
    }

    fn part_is_gone(&self, run: &str, name: &str, now: SystemTime) -> Result<Gone> {
        self.write(|tx| {
            let sql = "UPDATE part SET deleted = ?3 WHERE run = ?1 AND name = ?2 AND deleted IS NULL";
            let gone = tx.execute(sql, params![run, name, to_ms(now)])?;
            let sql = "UPDATE run SET present = 0, deleted = ?2 WHERE id = ?1 AND present = 1
                       AND NOT EXISTS (SELECT 1 FROM part WHERE part.run = ?1 AND part.deleted IS NULL)";
            let is_last = tx.execute(sql, params![run, to_ms(now)])? > 0;
            Ok(match (gone, is_last) {
                (0, _) => Gone::Nothing,
                (_, false) => Gone::Part,
                (_, true) => Gone::Artifact,
            })
        })
    }

    fn leftovers(&self, until: SystemTime) -> Result<Vec<String>> {
        self.read(|c| {
            let mut query = c.prepare_cached(
                "SELECT DISTINCT part.run FROM part JOIN run ON run.id = part.run
                 WHERE run.present = 0 AND coalesce(run.deleted, 0) <= ?1",
            )?;
            self.collect(query.query_map([to_ms(until)], |row| id_in(row, "run"))?)
        })
    }

    fn deleted_parts(&self, until: SystemTime) -> Result<Vec<StoredPartRecord>> {
        self.read(|c| {
            let mut query = c.prepare_cached("SELECT * FROM part WHERE deleted <= ?1")?;
            let parts = self.collect(query.query_map([to_ms(until)], part_in)?)?;
            Ok(parts.into_iter().map(|(_, part)| part).collect())
        })
    }

    fn forget_parts(&self, run: &str, known: usize, now: SystemTime) -> Result<()> {
        self.write(|tx| {
            let sql = "UPDATE run SET debris = 1 WHERE id = ?1 AND (SELECT count(*) FROM part WHERE run = ?1) <> ?2";
            tx.execute(sql, params![run, known as i64])?;
            tx.execute("DELETE FROM part WHERE run = ?1", [run])?;
            // Not earlier than a time that was believed: under a clock that is behind they would be forgotten too soon.
            let sql = "INSERT OR REPLACE INTO discarded (run, at) VALUES (?1, max(?2, coalesce(
                       (SELECT CAST(value AS INTEGER) FROM setting WHERE name = ?3), 0)))";
            tx.execute(sql, params![run, to_ms(now), Setting::ConfirmedClock.name()])?;
            forget_hidden(tx)
        })
    }

    fn forget_hashes(&self, now: SystemTime) -> Result<()> {
        let before = to_ms(now).saturating_sub(KEPT_AFTER_DELETION.as_millis() as i64);
        let old = "SELECT run FROM discarded WHERE at < ?1";
        if !self.read(|c| c.prepare_cached(old)?.exists([before]))? {
            return Ok(());
        }
        self.write(|tx| {
            tx.execute(&format!("DELETE FROM block_hashes WHERE run IN ({old})"), [before])?;
            tx.execute("DELETE FROM discarded WHERE at < ?1", [before])
        })
        .map(drop)
    }
}
