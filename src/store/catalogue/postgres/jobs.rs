//! The defined jobs. Whoever changes one and its runs locks the job first.

use std::time::SystemTime;

use tokio_postgres::Row;

use super::rows::{Readable, Unreadable, get};
use super::session::Session;
use super::{Postgres, runs};
use crate::error::Result;
use crate::store::catalogue::{Job, Jobs, Run, job_instant, job_is_gone};
use crate::store::clock::to_ms;

/// Reads a job. An instant outside of the calendar counts as missing, and is reported.
fn job_in(row: &Row, report: &dyn Fn(&str)) -> Readable<Job> {
    let name: String = get(row, "name")?;
    let instant = |column: &str| Ok::<_, Unreadable>(job_instant(&name, column, get(row, column)?, report));
    Ok(Job {
        text: get(row, "text")?,
        modified: instant("modified")?.unwrap_or(SystemTime::UNIX_EPOCH),
        due: instant("due")?,
        skipped: instant("skipped")?,
        mark: get(row, "mark")?,
        name,
    })
}

/// Locks jobs, and returns how many of them there are.
fn lock(tx: &mut Session, names: &[&str]) -> Result<usize> {
    let sql = "SELECT 1 FROM job WHERE name = ANY($1) ORDER BY name FOR UPDATE";
    tx.query(sql, &[&names]).map(|jobs| jobs.len())
}

impl Jobs for Postgres {
    fn jobs(&self) -> Result<Vec<Job>> {
        let rows = self.read(|c| c.query("SELECT * FROM job ORDER BY name", &[]))?;
        Ok(self.collect(&rows, |row| job_in(row, &|text| self.log_once.error(text))))
    }

    fn job(&self, name: &str) -> Result<Option<Job>> {
        let row = self.read(|c| c.query_opt("SELECT * FROM job WHERE name = $1", &[&name]))?;
        Ok(row.map(|row| job_in(&row, &|text| self.log_once.error(text))).transpose()?)
    }

    fn schedule(&self, job: &Job, run: &Run) -> Result<()> {
        self.write(|tx| {
            let now = tx.query_opt("SELECT * FROM job WHERE name = $1 FOR UPDATE", &[&job.name])?;
            let now = now.map(|row| job_in(&row, &|_| ())).transpose()?;
            if now.as_ref() != Some(job) || runs::is_pending(tx, &job.name)? {
                return Ok(());
            }
            runs::insert(tx, run)
        })
    }

    fn define_job(&self, name: &str, text: &str, modified: SystemTime, run: Option<&Run>) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "INSERT INTO job (name, text, modified) VALUES ($1, $2, $3)
                 ON CONFLICT (name) DO UPDATE SET text = $2, modified = $3",
                &[&name, &text, &to_ms(modified)],
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
            let sql = "INSERT INTO job (name, text, modified) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
            for name in names {
                if tx.execute(sql, &[&name, &text, &to_ms(modified)])? > 0 {
                    return runs::insert(tx, &Run { job: Some(name), ..run.clone() });
                }
            }
            Ok(())
        })
    }

    fn set_job_text(&self, name: &str, text: &str, modified: SystemTime) -> Result<()> {
        self.write(|tx| {
            let sql = "UPDATE job SET text = $2, modified = $3 WHERE name = $1";
            tx.execute(sql, &[&name, &text, &to_ms(modified)]).map(drop)
        })
    }

    fn rename_job(&self, from: &str, to: &str) -> Result<()> {
        let is_renamed = self.write(|tx| {
            lock(tx, &[from, to])?;
            let is_there = tx.exists("SELECT 1 FROM job WHERE name = $1", &[&from])?;
            if !is_there || from == to {
                return Ok(is_there);
            }
            runs::delete_scheduled(tx, to)?;
            runs::detach(tx, to)?;
            tx.execute("DELETE FROM job WHERE name = $1", &[&to])?;
            tx.execute("UPDATE job SET name = $2 WHERE name = $1", &[&from, &to])?;
            tx.execute(
                "UPDATE run SET job = $2 WHERE job = $1 AND status IN ('Scheduled', 'Queued', 'In Progress')",
                &[&from, &to],
            )?;
            Ok(true)
        })?;
        is_renamed.then_some(()).ok_or_else(job_is_gone)
    }

    fn delete_job(&self, name: &str) -> Result<bool> {
        self.write(|tx| {
            let is_there = lock(tx, &[name])? > 0;
            runs::delete_scheduled(tx, name)?;
            runs::detach(tx, name)?;
            tx.execute("DELETE FROM job WHERE name = $1", &[&name])?;
            Ok(is_there)
        })
    }
}
