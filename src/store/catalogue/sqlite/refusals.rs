//! The last specs that were refused.

use std::time::SystemTime;

use rusqlite::params;

use super::Sqlite;
use crate::error::Result;
use crate::store::catalogue::{Refusals, RefusedSpec};
use crate::store::clock::{from_ms, to_ms};

/// Older refusals than this many are forgotten.
const KEPT: u32 = 20;

impl Refusals for Sqlite {
    fn add_refusal(&self, refused: &RefusedSpec) -> Result<()> {
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

    fn refusals(&self) -> Result<Vec<RefusedSpec>> {
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
