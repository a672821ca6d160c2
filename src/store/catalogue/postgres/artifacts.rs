//! What a run has produced: the stored parts and the hashes of their blocks. Whoever changes parts locks their run first.

use std::time::{Duration, SystemTime};

use tokio_postgres::Row;

use super::Postgres;
use super::rows::{Readable, Unreadable, forget_hidden, get, id_in, instant, lock, number};
use super::session::Session;
use crate::error::Result;
use crate::store::catalogue::{
    Artifacts, Gone, Hash, PART_BLOCK_HASHES, Setting, StoredArtifact, StoredPartRecord,
};
use crate::store::clock::{from_ms, to_ms};
use crate::store::names;
use crate::store::parts::Key;

/// How long the hashes of an artifact's blocks are kept after it was deleted.
const KEPT_AFTER_DELETION: Duration = Duration::from_secs(24 * 60 * 60);

/// Rows that are written at a time: of parts, and of pieces of hashes, 32 KiB each.
const PARTS: usize = 1024;
const PIECES: usize = 64;

/// Writes down parts with the hashes of their blocks. It has time as long as it goes on.
pub(super) fn insert(tx: &mut Session, run: &str, parts: &[(StoredPartRecord, Vec<Hash>)]) -> Result<()> {
    let (mut rows, mut pieces) = (Vec::new(), Vec::new());
    for (number, (part, hashes)) in (1i64..).zip(parts) {
        rows.push((number, part));
        pieces.extend((0i64..).zip(hashes.chunks(PART_BLOCK_HASHES)).map(|(n, hashes)| (number, n, hashes)));
    }
    for rows in rows.chunks(PARTS) {
        let numbers: Vec<i64> = rows.iter().map(|(number, _)| *number).collect();
        let names: Vec<&str> = rows.iter().map(|(_, part)| part.name.as_str()).collect();
        let sizes: Vec<i64> = rows.iter().map(|(_, part)| part.size as i64).collect();
        let digests: Vec<&[u8]> = rows.iter().map(|(_, part)| part.sha256.as_slice()).collect();
        let roots: Vec<&[u8]> = rows.iter().map(|(_, part)| part.root.as_slice()).collect();
        let key = |part: &'_ StoredPartRecord| Some(part.key.to_string()).filter(|key| *key != part.name);
        let keys: Vec<Option<String>> = rows.iter().map(|(_, part)| key(part)).collect();
        tx.execute(
            "INSERT INTO part (run, number, name, size, sha256, root, key) SELECT $1, *
             FROM unnest($2::bigint[], $3::text[], $4::bigint[], $5::bytea[], $6::bytea[], $7::text[])",
            &[&run, &numbers, &names, &sizes, &digests, &roots, &keys],
        )?;
        tx.go_on();
    }
    for pieces in pieces.chunks(PIECES) {
        let numbers: Vec<i64> = pieces.iter().map(|(number, ..)| *number).collect();
        let places: Vec<i64> = pieces.iter().map(|(_, place, _)| *place).collect();
        let hashes: Vec<Vec<u8>> = pieces.iter().map(|(.., hashes)| hashes.concat()).collect();
        tx.execute(
            "INSERT INTO block_hashes (run, number, piece, hashes) SELECT $1, *
             FROM unnest($2::bigint[], $3::bigint[], $4::bytea[])",
            &[&run, &numbers, &places, &hashes],
        )?;
        tx.go_on();
    }
    Ok(())
}

/// Reads a part. Files are reached by its name, so that only one of the right form is taken.
fn part_in(row: &Row) -> Readable<(String, StoredPartRecord)> {
    let (run, name): (String, String) = (id_in(row, "run")?, get(row, "name")?);
    if names::part_of(&run, &name).is_none() {
        let what = format!("{:?} is no name of a part of {run}", name.escape_debug().to_string());
        return Err(Unreadable(what));
    }
    let key = get::<Option<String>>(row, "key")?.unwrap_or_else(|| name.clone());
    let key = Key::new(key).ok().filter(|key| names::is_key_of(&run, &name, key));
    let key = key.ok_or_else(|| Unreadable(format!("the key of {name} is none of a part of {run}")))?;
    let part = StoredPartRecord {
        key,
        size: number(row, "size")?,
        sha256: hash(row, "sha256")?,
        root: hash(row, "root")?,
        is_deleted: get::<Option<i64>>(row, "deleted")?.is_some(),
        name,
    };
    Ok((run, part))
}

fn hash(row: &Row, column: &str) -> Readable<Hash> {
    let bytes: &[u8] = get(row, column)?;
    bytes.try_into().map_err(|_| Unreadable(format!("its {column:?} has {} bytes", bytes.len())))
}

/// Reads an artifact, which has its parts in rows of their own.
fn artifact_in(row: &Row) -> Readable<StoredArtifact> {
    let missing = || Unreadable("an artifact was made at no instant".into());
    Ok(StoredArtifact {
        run: id_in(row, "id")?,
        made: instant(row, "finished")?.ok_or_else(missing)?,
        bytes: number(row, "bytes")?,
        parts: Vec::new(),
    })
}

impl Artifacts for Postgres {
    fn artifacts(&self) -> Result<Vec<StoredArtifact>> {
        // Of one moment, and parts of one artifact after another.
        let sql = "SELECT run.id, finished, bytes, part.* FROM run LEFT JOIN part ON part.run = run.id
                   WHERE present ORDER BY run.id, part.number";
        let rows = self.read(|c| c.query(sql, &[]))?;
        let is_of_one = |a: &Row, b: &Row| a.try_get::<_, &str>("id").ok() == b.try_get("id").ok();
        let mut artifacts = Vec::new();
        for rows in rows.chunk_by(is_of_one) {
            for mut artifact in self.collect(&rows[..1], artifact_in) {
                let parts = rows.iter().filter(|row| !matches!(row.try_get("run"), Ok(None::<&str>)));
                artifact.parts = self.collect(parts, part_in).into_iter().map(|(_, part)| part).collect();
                artifacts.push(artifact);
            }
        }
        Ok(artifacts)
    }

    fn oldest_artifact(&self) -> Result<Option<SystemTime>> {
        let sql = "SELECT min(finished) FROM run WHERE present";
        let ms: Option<i64> = self.read(|c| c.value(sql, &[]))?;
        Ok(ms.and_then(from_ms))
    }

    fn parts(&self, run: &str) -> Result<Vec<StoredPartRecord>> {
        let rows = self.read(|c| c.query("SELECT * FROM part WHERE run = $1 ORDER BY number", &[&run]))?;
        Ok(self.collect(&rows, part_in).into_iter().map(|(_, part)| part).collect())
    }

    fn block_hashes(&self, run: &str, number: u32, piece: u64) -> Result<Vec<Hash>> {
        let sql = "SELECT hashes FROM block_hashes WHERE run = $1 AND number = $2 AND piece = $3";
        let place = (i64::from(number), i64::try_from(piece).unwrap_or(i64::MAX));
        let row = self.read(|c| c.query_opt(sql, &[&run, &place.0, &place.1]))?;
        let Some(row) = row else { return Ok(Vec::new()) };
        let (hashes, _) = get::<&[u8]>(&row, "hashes")?.as_chunks();
        Ok(hashes.to_vec())
    }

    fn artifact_is_gone(&self, run: &str, now: SystemTime) -> Result<bool> {
        self.write(|tx| {
            let sql = "UPDATE run SET present = false, deleted = $2 WHERE id = $1 AND present";
            Ok(tx.execute(sql, &[&run, &to_ms(now)])? > 0)
        })
    }

    fn part_is_gone(&self, run: &str, name: &str, now: SystemTime) -> Result<Gone> {
        self.write(|tx| {
            lock(tx, run)?;
            let sql = "UPDATE part SET deleted = $3 WHERE run = $1 AND name = $2 AND deleted IS NULL";
            let gone = tx.execute(sql, &[&run, &name, &to_ms(now)])?;
            let sql = "UPDATE run SET present = false, deleted = $2 WHERE id = $1 AND present
                       AND NOT EXISTS (SELECT 1 FROM part WHERE part.run = $1 AND part.deleted IS NULL)";
            let is_last = tx.execute(sql, &[&run, &to_ms(now)])? > 0;
            Ok(match (gone, is_last) {
                (0, _) => Gone::Nothing,
                (_, false) => Gone::Part,
                (_, true) => Gone::Artifact,
            })
        })
    }

    fn leftovers(&self, until: SystemTime) -> Result<Vec<String>> {
        let sql = "SELECT id FROM run WHERE NOT present AND coalesce(deleted, 0) <= $1
             AND EXISTS (SELECT 1 FROM part WHERE part.run = run.id) ORDER BY id";
        self.read(|c| c.query(sql, &[&to_ms(until)])).map(|rows| self.collect(&rows, |row| id_in(row, "id")))
    }

    fn deleted_parts(&self, until: SystemTime) -> Result<Vec<StoredPartRecord>> {
        let rows = self.read(|c| c.query("SELECT * FROM part WHERE deleted <= $1", &[&to_ms(until)]))?;
        Ok(self.collect(&rows, part_in).into_iter().map(|(_, part)| part).collect())
    }

    fn forget_parts(&self, run: &str, known: usize, now: SystemTime) -> Result<()> {
        let known = i64::try_from(known).unwrap_or(i64::MAX);
        self.write(|tx| {
            lock(tx, run)?;
            // There are none any more if somebody else has forgotten them meanwhile.
            let sql = "UPDATE run SET debris = true WHERE id = $1 AND (SELECT count(*) FROM part WHERE run = $1) > $2";
            tx.execute(sql, &[&run, &known])?;
            tx.execute("DELETE FROM part WHERE run = $1", &[&run])?;
            // Not earlier than a time that was believed: by a clock that is behind they would go too soon.
            let sql = "SELECT value FROM setting WHERE name = $1";
            let believed = tx.query_opt(sql, &[&Setting::ConfirmedClock.name()])?;
            let believed = believed.and_then(|row| get::<&str>(&row, "value").ok()?.parse::<i64>().ok());
            let sql = "INSERT INTO discarded (run, at) VALUES ($1, $2) ON CONFLICT (run) DO UPDATE SET at = $2";
            tx.execute(sql, &[&run, &to_ms(now).max(believed.unwrap_or(0))])?;
            forget_hidden(tx)
        })
    }

    fn forget_hashes(&self, now: SystemTime) -> Result<()> {
        let before = to_ms(now).saturating_sub(KEPT_AFTER_DELETION.as_millis() as i64);
        if !self.read(|c| c.exists("SELECT 1 FROM discarded WHERE at < $1 LIMIT 1", &[&before]))? {
            return Ok(());
        }
        self.write(|tx| {
            let sql = "WITH old AS (
                         DELETE FROM discarded WHERE run IN (
                           SELECT run FROM discarded WHERE at < $1 ORDER BY run LIMIT 100 FOR UPDATE SKIP LOCKED)
                         RETURNING run)
                       DELETE FROM block_hashes USING old WHERE block_hashes.run = old.run";
            tx.execute(sql, &[&before]).map(drop)
        })
    }
}
