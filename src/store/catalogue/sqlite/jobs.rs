//! The defined jobs.

use std::time::SystemTime;

use rusqlite::{OptionalExtension, Row, params};

use super::{Sqlite, runs};
use crate::error::Result;
use crate::store::catalogue::{Job, Jobs, Run, job_instant, job_is_gone};
use crate::store::clock::to_ms;

/// Reads a job. An instant outside of the calendar counts as missing, and is reported.
fn job_in(row: &Row<'_>, report: &dyn Fn(&str)) -> rusqlite::Result<Job> {
    let name: String = row.get("name")?;
    let instant =
        |column: &str| Ok::<_, rusqlite::Error>(job_instant(&name, column, row.get(column)?, report));
    Ok(Job {
        text: row.get("text")?,
        modified: instant("modified")?.unwrap_or(SystemTime::UNIX_EPOCH),
        due: instant("due")?,
        skipped: instant("skipped")?,
        mark: row.get("mark")?,
        name,
    })
}

impl Jobs for Sqlite {
    fn jobs(&self) -> Result<Vec<Job>> {
        self.read(|c| {
            let mut query = c.prepare_cached("SELECT * FROM job ORDER BY name")?;
            self.collect(query.query_map([], |row| job_in(row, &|text| self.log_once.error(text)))?)
        })
    }

    fn job(&self, name: &str) -> Result<Option<Job>> {
        self.read(|c| {
            let job = |row: &Row<'_>| job_in(row, &|text| self.log_once.error(text));
            c.prepare_cached("SELECT * FROM job WHERE name = ?1")?.query_row([name], job).optional()
        })
    }

    fn schedule(&self, job: &Job, run: &Run) -> Result<()> {
        self.write(|tx| {
            let silently = |row: &Row<'_>| job_in(row, &|_| ());
            let sql = "SELECT * FROM job WHERE name = ?1";
            let now = tx.prepare_cached(sql)?.query_row([&job.name], silently).optional()?;
            if now.as_ref() != Some(job) || runs::is_pending(tx, &job.name)? {
                return Ok(());
            }
            runs::insert(tx, run)
        })
    }

    fn define_job(&self, name: &str, text: &str, modified: SystemTime, run: Option<&Run>) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "INSERT INTO job (name, text, modified) VALUES (?1, ?2, ?3)
                 ON CONFLICT (name) DO UPDATE SET text = ?2, modified = ?3",
                params![name, text, to_ms(modified)],
            )?;
            runs::delete_scheduled(tx, name)?;
            run.map_or(Ok(()), |run| runs::insert(tx, run))
        })
    }

    fn add_job(
        &self,
        names: &mut dyn Iterator<Item = String>,
        text: &str,
        modified: SystemTime,
        run: &Run,
    ) -> Result<()> {
        self.write(|tx| {
            let sql = "INSERT OR IGNORE INTO job (name, text, modified) VALUES (?1, ?2, ?3)";
            let mut query = tx.prepare_cached(sql)?;
            for name in names {
                if query.execute(params![name, text, to_ms(modified)])? > 0 {
                    return runs::insert(tx, &Run { job: Some(name), ..run.clone() });
                }
            }
            Ok(())
        })
    }

    fn set_job_text(&self, name: &str, text: &str, modified: SystemTime) -> Result<()> {
        self.write(|tx| {
            let sql = "UPDATE job SET text = ?2, modified = ?3 WHERE name = ?1";
            tx.execute(sql, params![name, text, to_ms(modified)])
        })
        .map(drop)
    }

    fn rename_job(&self, from: &str, to: &str) -> Result<()> {
        let is_renamed = self.write(|tx| {
            let is_there = tx.prepare_cached("SELECT 1 FROM job WHERE name = ?1")?.exists([from])?;
            if !is_there || from == to {
                return Ok(is_there);
            }
            runs::delete_scheduled(tx, to)?;
            runs::detach(tx, to)?;
            tx.execute("DELETE FROM job WHERE name = ?1", [to])?;
            tx.execute("UPDATE job SET name = ?2 WHERE name = ?1", [from, to])?;
            tx.execute(
                "UPDATE run SET job = ?2 WHERE job = ?1 AND status IN ('Scheduled', 'Queued', 'In Progress')",
                [from, to],
            )?;
            Ok(true)
        })?;
        is_renamed.then_some(()).ok_or_else(job_is_gone)
    }

    fn delete_job(&self, name: &str) -> Result<bool> {
        self.write(|tx| {
            runs::delete_scheduled(tx, name)?;
            runs::detach(tx, name)?;
            Ok(tx.execute("DELETE FROM job WHERE name = ?1", [name])? > 0)
        })
    }
}
