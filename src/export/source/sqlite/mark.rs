//! What a job has exported, and how the next run proves it: no row is taken for exported that was not.
//!
//! Rowids prove nothing by themselves. That of the last row is used again when it is deleted, REPLACE moves a row, an
//! application may choose them, VACUUM numbers them anew, and the file may be another one. So a mark has a digest: the
//! table is cut into segments by rowid, and for each the mark keeps how many rows there were, and the sum of the hashes
//! of them and of what belongs to them (`digest.rs` says what that costs, `layout/digest.rs` what is hashed). A segment
//! with the same sum holds what was exported; every other segment, and all rows above the last, are exported. Where a
//! row was deleted or has got an attachment, the other rows of its segment are exported twice, and a warning says so.
//!
//! ```json
//! {"version":3,"table":"interaction","media_types":["chat"],
//!  "segments":[[5000,"0002AB00000000A1",5000,"9f86d081884c7d659a2feaa0c55ad015"]]}
//! ```
//!
//! The end of a segment is found by the row that was its last; if that is wrong, more is exported, never less.

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::digest::MarkedTable;
use super::open::SqliteResult;
use super::plan::{Parent, Ranges, quoted};
use crate::error::{Error, Kind, Result};
use crate::export::source::layout::digest::Digest;
use crate::export::source::layout::since::{Asked, NO_PROOF, everything_again, perhaps_again};
use crate::export::source::selection::Mark;

/// Marks of 0.1.0 have no version; neither they nor those of version 2 prove anything.
const VERSION: u32 = 3;
/// Number of segments that a table is cut into at first.
const PIECES: i128 = 256;
/// With more segments than this, neighbours are merged.
const MAX_SEGMENTS: usize = 512;

/// What a job exports since its last run.
#[derive(Debug)]
pub(crate) struct Since {
    pub(crate) ranges: Ranges,
    /// The mark for the next run.
    pub(crate) mark: Option<Mark>,
    /// Why some rows may be exported again.
    pub(crate) warning: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Proof {
    version: u32,
    table: String,
    /// The media types that were exported of these rows.
    media_types: Option<Vec<String>>,
    segments: Vec<Segment>,
}

/// The rowid and the id of the last row, the number of rows, and their digest.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Segment(i64, Option<String>, u64, String);

impl Segment {
    /// Returns the digest; `None` if it was not written by cddsfs.
    fn digest(&self) -> Option<Digest> {
        Some(Digest { rows: self.2, sum: u128::from_str_radix(&self.3, 16).ok()? })
    }
}

impl MarkedTable<'_> {
    /// Finds out what has not been exported before, according to a mark.
    pub(crate) fn since(&self, connection: &Connection, old: Option<&Mark>) -> Result<Since> {
        let table = self.parent.table;
        let rowid = table.rowid.ok_or_else(|| {
            let text = format!(
                "{} is WITHOUT ROWID: its rows have no order of insertion, so that what is new cannot be told; \
                 give a timeframe instead of \"since_last_run\"",
                table.name
            );
            Error::new(Kind::Unsupported, text)
        })?;
        let (proof, mut warning) = match old.map(|mark| self.proof(mark)) {
            None => (None, None),
            Some(Ok(proof)) => (Some(proof), None),
            Some(Err(why)) => (None, Some(everything_again(&why))),
        };
        let sql = format!("SELECT min({rowid}), max({rowid}) FROM {}", quoted(&table.name));
        let ends = connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?))).sqlite()?;
        let (Some(first), Some(last)) = ends else {
            return Ok(Since { ranges: Ranges(Vec::new()), mark: old.cloned(), warning: None });
        };
        let known = proof.as_ref().map(|proof| self.ends(connection, &proof.segments)).transpose()?;
        let known = known.unwrap_or_default();
        let mut ends = known.clone();
        cut(&mut ends, first, last);
        let digests = self.digests(connection, &ends)?;

        let mut ranges = Vec::new();
        let (mut exported, mut unproved, mut from) = (0_u64, 0_u64, i64::MIN);
        let old = proof.iter().flat_map(|proof| &proof.segments);
        for ((segment, &end), found) in old.zip(&known).zip(&digests) {
            if segment.digest() != Some(*found) {
                unproved = unproved.saturating_add(segment.2);
                exported = exported.saturating_add(found.rows);
                if found.rows > 0 {
                    ranges.push((from, end));
                }
            }
            from = end.saturating_add(1);
        }
        if known.last().is_none_or(|&top| top < last) {
            exported =
                digests.iter().skip(known.len()).fold(exported, |sum, new| sum.saturating_add(new.rows));
            ranges.push((from, i64::MAX));
        }
        let again = exported.min(unproved);
        if again > 0 {
            warning = Some(perhaps_again(again, &table.name));
        }
        let segments = self.segments(connection, &ends, &digests)?;
        let media_types = self.media_types.map(<[String]>::to_vec);
        let table = table.name.to_ascii_lowercase();
        let proof = Proof { version: VERSION, table, media_types, segments };
        let text = serde_json::to_string(&proof).map_err(|e| Error::new(Kind::Invalid, e.to_string()))?;
        Ok(Since { ranges: Ranges::joined(ranges), mark: Some(Mark::from(text)), warning })
    }

    /// Reads a mark, or says why it proves nothing here.
    fn proof(&self, mark: &Mark) -> std::result::Result<Proof, String> {
        let proof: Proof = serde_json::from_str(mark.as_str())
            .ok()
            .filter(|proof: &Proof| proof.version == VERSION)
            .ok_or(NO_PROOF)?;
        let before = Asked { table: &proof.table, media_types: proof.media_types.as_deref() };
        Asked { table: &self.parent.table.name, media_types: self.media_types }.check_covered(before)?;
        Ok(proof)
    }

    /// Returns the rowids at which segments end now, ascending: where the last row of each is now, or would be if it
    /// were still there.
    fn ends(&self, connection: &Connection, segments: &[Segment]) -> Result<Vec<i64>> {
        let Parent { table, id: column, .. } = *self.parent;
        let (name, id) = (quoted(&table.name), quoted(column));
        let rowid = table.rowid.unwrap_or("rowid");
        let same = format!("SELECT {rowid} FROM {name} WHERE {rowid} = ?1 AND CAST({id} AS TEXT) IS ?2");
        let mut same = connection.prepare(&same).sqlite()?;
        let by_id = format!("SELECT {rowid} FROM {name} WHERE {id} = ?1");
        let mut by_id = connection.prepare(&by_id).sqlite()?;
        let mut found: Vec<Option<i64>> = Vec::with_capacity(segments.len());
        for Segment(before, id, ..) in segments {
            let mut now = same.query_row(params![before, id], |row| row.get(0)).optional().sqlite()?;
            if now.is_none() && table.key(column).is_some() {
                now = by_id.query_row([id], |row| row.get(0)).optional().sqlite()?;
            }
            // VACUUM and reloading close gaps, so rowids only become smaller; a row above its old place was inserted
            // again.
            found.push(now.filter(|now| now <= before));
        }
        let shift = |(before, now): (&Segment, &Option<i64>)| now.map(|now| before.0.saturating_sub(now));
        let mut moved = segments.iter().zip(&found).rev().find_map(shift).unwrap_or(0);
        let mut above = i64::MAX;
        let mut ends = Vec::with_capacity(segments.len());
        for (segment, now) in segments.iter().zip(&found).rev() {
            moved = shift((segment, now)).unwrap_or(moved);
            above = above.min(segment.0.saturating_sub(moved));
            ends.push(above);
        }
        ends.reverse();
        Ok(ends)
    }

    /// Returns the segments as the mark has them: not too many, and none of them empty.
    fn segments(&self, connection: &Connection, ends: &[i64], digests: &[Digest]) -> Result<Vec<Segment>> {
        let mut merged: Vec<(i64, Digest)> = Vec::with_capacity(ends.len());
        merged
            .extend(ends.iter().copied().zip(digests.iter().copied()).filter(|(_, digest)| digest.rows > 0));
        while merged.len() > MAX_SEGMENTS {
            let pair = |pair: &[(i64, Digest)]| {
                let sum = pair.iter().fold(Digest::default(), |sum, (_, digest)| sum.plus(*digest));
                pair.last().map(|(end, _)| (*end, sum))
            };
            merged = merged.chunks(2).filter_map(pair).collect();
        }
        let rowid = self.parent.table.rowid.unwrap_or("rowid");
        let sql = format!(
            "SELECT {rowid}, CAST({} AS TEXT) FROM {} NOT INDEXED WHERE {rowid} <= ?1 ORDER BY {rowid} DESC LIMIT 1",
            quoted(self.parent.id),
            quoted(&self.parent.table.name)
        );
        let mut last = connection.prepare(&sql).sqlite()?;
        let mut segment = |(end, digest): (i64, Digest)| {
            // An id that is not UTF-8 could not be found again.
            let id =
                |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get_ref(1)?.as_str().ok().map(str::to_owned)));
            let (end, id) = last.query_row([end], id).sqlite()?;
            Ok(Segment(end, id, digest.rows, format!("{:032x}", digest.sum)))
        };
        merged.into_iter().map(&mut segment).collect()
    }
}

/// Cuts the rows above the last end, or all rows, into segments.
fn cut(ends: &mut Vec<i64>, first: i64, last: i64) {
    // There are no rows below the first.
    let below = i128::from(first) - 1;
    let base = ends.last().map_or(below, |&top| below.max(top.into()));
    let width = (i128::from(last) - i128::from(first)) / PIECES + 1;
    let step = usize::try_from(width).unwrap_or(usize::MAX);
    // What lies between two rowids fits into one.
    ends.extend((base + width..last.into()).step_by(step).filter_map(|end| i64::try_from(end).ok()));
    if base < last.into() {
        ends.push(last);
    }
}

#[cfg(test)]
mod tests;
