//! The last specs that were refused.

use std::time::SystemTime;

use rusqlite::params;

use super::{Catalogue, from_ms, to_ms};
use crate::error::Result;

/// Older refusals than this many are forgotten.
const KEPT: u32 = 20;

/// A spec that was refused, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedSpec {
    pub at: SystemTime,
    /// The file in `jobs/` that it was written to.
    pub target: String,
    pub field: String,
    pub wrong: String,
    pub remedy: String,
    /// As it was received.
    pub spec: Vec<u8>,
}

impl Catalogue {
    pub fn add_refusal(&self, refused: &RefusedSpec) -> Result<()> {
        let RefusedSpec { at, target, field, wrong, remedy, spec } = refused;
        self.write(|tx| {
            tx.execute(
                "INSERT INTO refusal (at, target, field, wrong, remedy, spec) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![to_ms(*at), target, field, wrong, remedy, spec],
            )?;
            tx.execute(
                "DELETE FROM refusal WHERE id <= (SELECT max(id) FROM refusal) - ?1",
                [KEPT],
            )
        })
        .map(drop)
    }

    /// Returns the last refusals, the latest first.
    pub fn refusals(&self) -> Result<Vec<RefusedSpec>> {
        self.read(|c| {
            let mut query = c.prepare_cached("SELECT * FROM refusal ORDER BY id DESC")?;
            let rows = query.query_map([], |row| {
                Ok(RefusedSpec {
                    at: from_ms(row.get("at")?).unwrap_or(SystemTime::UNIX_EPOCH),
                    target: row.get("target")?,
                    field: row.get("field")?,
                    wrong: row.get("wrong")?,
                    remedy: row.get("remedy")?,
                    spec: row.get("spec")?,
                })
            })?;
            self.collect(rows)
        })
    }
}
