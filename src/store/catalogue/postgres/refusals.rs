//! The last specs that were refused.

use std::time::SystemTime;

use super::Postgres;
use super::rows::{get, instant, storable};
use crate::error::Result;
use crate::store::catalogue::{Refusals, RefusedSpec};
use crate::store::clock::to_ms;

/// Older refusals than this many are forgotten.
const KEPT: i64 = 20;

impl Refusals for Postgres {
    fn add_refusal(&self, refused: &RefusedSpec) -> Result<()> {
        let RefusedSpec { at, target, field, wrong, remedy, spec } = refused;
        let [target, field, wrong, remedy] = [target, field, wrong, remedy].map(|text| storable(text));
        self.write(|tx| {
            tx.execute(
                "INSERT INTO refusal (at, target, field, wrong, remedy, spec) VALUES ($1, $2, $3, $4, $5, $6)",
                &[&to_ms(*at), &target, &field, &wrong, &remedy, spec],
            )?;
            let sql = "DELETE FROM refusal WHERE id <= (SELECT id FROM refusal ORDER BY id DESC OFFSET $1 LIMIT 1)";
            tx.execute(sql, &[&KEPT]).map(drop)
        })
    }

    fn refusals(&self) -> Result<Vec<RefusedSpec>> {
        let rows = self.read(|c| c.query("SELECT * FROM refusal ORDER BY id DESC", &[]))?;
        Ok(self.collect(&rows, |row| {
            Ok(RefusedSpec {
                at: instant(row, "at")?.unwrap_or(SystemTime::UNIX_EPOCH),
                target: get(row, "target")?,
                field: get(row, "field")?,
                wrong: get(row, "wrong")?,
                remedy: get(row, "remedy")?,
                spec: get(row, "spec")?,
            })
        }))
    }
}
