//! The defined jobs.

use std::collections::HashSet;
use std::time::SystemTime;

use rusqlite::{OptionalExtension, Row, params};

use super::{Catalogue, Status, from_ms, runs, to_ms};
use crate::error::{Error, Kind, Result};

/// A defined job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// `jobs/<name>.json`
    pub name: String,
    /// The spec as it was written.
    pub text: String,
    pub modified: SystemTime,
    /// When it was due last.
    pub due: Option<SystemTime>,
    /// The last run to come that somebody removed.
    pub skipped: Option<SystemTime>,
    /// What has been exported, in the words of the source.
    pub mark: Option<String>,
}

impl Job {
    /// An instant that is out of any calendar is taken for none. `said` hears of it.
    fn of(row: &Row<'_>, said: &dyn Fn(&str)) -> rusqlite::Result<Job> {
        let name: String = row.get("name")?;
        let instant = |column: &str| {
            let Some(ms) = row.get::<_, Option<i64>>(column)? else { return Ok(None) };
            let instant = from_ms(ms);
            if instant.is_none() {
                said(&format!(
                    "jobs/{name}.json: its {column:?} in the catalogue, {ms}, is no instant: it is taken as missing"
                ));
            }
            Ok::<_, rusqlite::Error>(instant)
        };
        Ok(Job {
            text: row.get("text")?,
            modified: instant("modified")?.unwrap_or(SystemTime::UNIX_EPOCH),
            due: instant("due")?,
            skipped: instant("skipped")?,
            mark: row.get("mark")?,
            name,
        })
    }
}

impl Catalogue {
    pub fn jobs(&self) -> Result<Vec<Job>> {
        self.jobs_by("SELECT * FROM job ORDER BY name")
    }

    pub fn job(&self, name: &str) -> Result<Option<Job>> {
        self.read(|c| {
            let job = |row: &Row<'_>| Job::of(row, &|text| self.say_once(text));
            c.prepare_cached("SELECT * FROM job WHERE name = ?1")?.query_row([name], job).optional()
        })
    }

    fn jobs_by(&self, sql: &str) -> Result<Vec<Job>> {
        self.read(|c| {
            let mut query = c.prepare_cached(sql)?;
            self.collect(query.query_map([], |row| Job::of(row, &|text| self.say_once(text)))?)
        })
    }

    /// Returns the jobs that have no run to come and none under way. A run that cannot be read is none.
    pub fn jobs_without_a_run(&self) -> Result<Vec<Job>> {
        let mut jobs = self.jobs()?;
        let mut busy = HashSet::new();
        for status in [Status::Scheduled, Status::Queued, Status::InProgress] {
            busy.extend(self.runs_that_are(status)?.into_iter().filter_map(|run| run.job));
        }
        jobs.retain(|job| !busy.contains(&job.name));
        Ok(jobs)
    }

    /// Gives a job the run to come. Nothing happens if it is not any more what it was when it was looked at: it may have been
    /// changed, deleted, or have a run by now.
    pub fn schedule(&self, job: &Job, run: &runs::Run) -> Result<()> {
        self.write(|tx| {
            let unsaid = |row: &Row<'_>| Job::of(row, &|_| ());
            let sql = "SELECT * FROM job WHERE name = ?1";
            let now = tx.prepare_cached(sql)?.query_row([&job.name], unsaid).optional()?;
            if now.as_ref() != Some(job) || runs::is_pending(tx, &job.name)? {
                return Ok(());
            }
            runs::insert(tx, run)
        })
    }

    /// Defines a job, or changes the one of that name, and puts `run` in the place of its run that is still to come.
    pub fn define_job(
        &self,
        name: &str,
        text: &str,
        modified: SystemTime,
        run: Option<&runs::Run>,
    ) -> Result<()> {
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

    /// Adds a job under the first of the names that no other one has, with its run to come.
    pub fn add_job(
        &self,
        names: impl Iterator<Item = String>,
        text: &str,
        modified: SystemTime,
        mut run: runs::Run,
    ) -> Result<()> {
        self.write(|tx| {
            let sql = "INSERT OR IGNORE INTO job (name, text, modified) VALUES (?1, ?2, ?3)";
            let mut query = tx.prepare_cached(sql)?;
            for name in names {
                if query.execute(params![name, text, to_ms(modified)])? > 0 {
                    run.job = Some(name);
                    return runs::insert(tx, &run);
                }
            }
            Ok(())
        })
    }

    /// Changes how a job's spec is written, but not what it means.
    pub fn set_job_text(&self, name: &str, text: &str, modified: SystemTime) -> Result<()> {
        self.write(|tx| {
            let sql = "UPDATE job SET text = ?2, modified = ?3 WHERE name = ?1";
            tx.execute(sql, params![name, text, to_ms(modified)])
        })
        .map(drop)
    }

    /// Gives a job another name; one that is there under it is replaced. If there is no job `from`, nothing is changed.
    pub fn rename_job(&self, from: &str, to: &str) -> Result<()> {
        let is_renamed = self.write(|tx| {
            let is_there = tx.prepare_cached("SELECT 1 FROM job WHERE name = ?1")?.exists([from])?;
            if !is_there || from == to {
                return Ok(is_there);
            }
            runs::delete_scheduled(tx, to)?;
            runs::orphan(tx, to)?;
            tx.execute("DELETE FROM job WHERE name = ?1", [to])?;
            tx.execute("UPDATE job SET name = ?2 WHERE name = ?1", [from, to])?;
            tx.execute(
                "UPDATE run SET job = ?2 WHERE job = ?1 AND status IN ('Scheduled', 'Queued', 'In Progress')",
                [from, to],
            )?;
            Ok(true)
        })?;
        let gone = || Error::new(Kind::NotFound, "the job has been deleted meanwhile");
        is_renamed.then_some(()).ok_or_else(gone)
    }

    /// Deletes a job and its schedule; returns false if there is none.
    pub fn delete_job(&self, name: &str) -> Result<bool> {
        self.write(|tx| {
            runs::delete_scheduled(tx, name)?;
            runs::orphan(tx, name)?;
            Ok(tx.execute("DELETE FROM job WHERE name = ?1", [name])? > 0)
        })
    }
}
