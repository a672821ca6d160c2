//! The defined jobs.

use std::time::SystemTime;

use rusqlite::{OptionalExtension, Row, params};

use super::{Catalogue, from_ms, runs, to_ms};
use crate::error::Result;

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
    /// What has been exported, in the words of the source.
    pub mark: Option<String>,
}

impl Job {
    fn of(row: &Row<'_>) -> rusqlite::Result<Job> {
        Ok(Job {
            name: row.get("name")?,
            text: row.get("text")?,
            modified: from_ms(row.get("modified")?),
            due: row.get::<_, Option<i64>>("due")?.map(from_ms),
            mark: row.get("mark")?,
        })
    }
}

impl Catalogue {
    pub fn jobs(&self) -> Result<Vec<Job>> {
        self.read(|c| c.prepare_cached("SELECT * FROM job ORDER BY name")?.query_map([], Job::of)?.collect())
    }

    pub fn job(&self, name: &str) -> Result<Option<Job>> {
        self.read(|c| {
            c.prepare_cached("SELECT * FROM job WHERE name = ?1")?.query_row([name], Job::of).optional()
        })
    }

    /// Returns the jobs that have no run to come and none under way.
    pub fn jobs_without_a_run(&self) -> Result<Vec<Job>> {
        self.read(|c| {
            let sql = "SELECT * FROM job WHERE NOT EXISTS (SELECT 1 FROM run WHERE run.job = job.name
                       AND run.status IN ('Scheduled', 'Queued', 'In Progress')) ORDER BY name";
            c.prepare_cached(sql)?.query_map([], Job::of)?.collect()
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

    /// Changes how a job's spec is written, but not what it means.
    pub fn set_job_text(&self, name: &str, text: &str, modified: SystemTime) -> Result<()> {
        self.write(|tx| {
            let sql = "UPDATE job SET text = ?2, modified = ?3 WHERE name = ?1";
            tx.execute(sql, params![name, text, to_ms(modified)])
        })
        .map(drop)
    }

    /// Gives a job another name; one that is there under it is replaced.
    pub fn rename_job(&self, from: &str, to: &str) -> Result<()> {
        self.write(|tx| {
            runs::delete_scheduled(tx, to)?;
            tx.execute("DELETE FROM job WHERE name = ?1", [to])?;
            tx.execute("UPDATE job SET name = ?2 WHERE name = ?1", [from, to])?;
            tx.execute(
                "UPDATE run SET job = ?2 WHERE job = ?1 AND status IN ('Scheduled', 'Queued', 'In Progress')",
                [from, to],
            )
        })
        .map(drop)
    }

    /// Deletes a job and its schedule; returns false if there is none.
    pub fn delete_job(&self, name: &str) -> Result<bool> {
        self.write(|tx| {
            runs::delete_scheduled(tx, name)?;
            Ok(tx.execute("DELETE FROM job WHERE name = ?1", [name])? > 0)
        })
    }
}
