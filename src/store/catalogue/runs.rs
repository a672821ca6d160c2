//! The runs of jobs, and how they change from queued to finished.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::parts::{self, Hash, StoredPartRecord};
use super::{Catalogue, from_ms, to_ms};
use crate::error::Result;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    Scheduled,
    Queued,
    InProgress,
    Completed,
    NoData,
    Failed,
    Cancelled,
}

impl Status {
    pub const ALL: [Status; 7] = [
        Status::Scheduled,
        Status::Queued,
        Status::InProgress,
        Status::Completed,
        Status::NoData,
        Status::Failed,
        Status::Cancelled,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Status::Scheduled => "Scheduled",
            Status::Queued => "Queued",
            Status::InProgress => "In Progress",
            Status::Completed => "Completed",
            Status::NoData => "No Data",
            Status::Failed => "Failed",
            Status::Cancelled => "Cancelled",
        }
    }

    /// Returns true if nothing will change it any more.
    pub fn is_final(self) -> bool {
        matches!(self, Status::Completed | Status::NoData | Status::Failed | Status::Cancelled)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Status, String> {
        let found = Status::ALL.into_iter().find(|status| status.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| format!("the statuses are {}", Status::ALL.map(Status::name).join(", ")))
    }
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    pub rows_done: u64,
    pub rows_total: u64,
    /// Of stored parts.
    pub bytes_written: u64,
    pub eta_seconds: Option<u64>,
}

/// One execution of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// UUID.
    pub id: String,
    pub job: Option<String>,
    /// JSON.
    pub spec: String,
    pub status: Status,
    pub scheduled: Option<SystemTime>,
    pub queued: Option<SystemTime>,
    pub started: Option<SystemTime>,
    pub finished: Option<SystemTime>,
    /// How often it was started.
    pub attempts: u32,
    /// True if it is to stop.
    pub cancel: bool,
    /// True if it has been removed from the history and is only kept for its artifact.
    pub hidden: bool,
    pub progress: Option<Progress>,
    /// When the progress was written down.
    pub progressed: Option<SystemTime>,
    /// Length of the zip.
    pub bytes: Option<u64>,
    /// JSON.
    pub certificate: Option<String>,
    pub error: Option<String>,
    /// True if the artifact is there.
    pub present: bool,
    /// When the artifact was removed or had expired.
    pub deleted: Option<SystemTime>,
}

/// Returns what the names of the files of the run of that id begin with.
pub fn stem_of(id: &str) -> String {
    format!("export-{id}")
}

/// How a run has ended, apart from one that completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunUpdate {
    pub status: Status,
    pub finished: SystemTime,
    pub error: Option<String>,
}

impl Run {
    pub fn new(id: String, spec: String, status: Status) -> Run {
        Run {
            id,
            job: None,
            spec,
            status,
            scheduled: None,
            queued: None,
            started: None,
            finished: None,
            attempts: 0,
            cancel: false,
            hidden: false,
            progress: None,
            progressed: None,
            bytes: None,
            certificate: None,
            error: None,
            present: false,
            deleted: None,
        }
    }

    /// What the names of its artifact and of its record begin with.
    pub fn stem(&self) -> String {
        stem_of(&self.id)
    }

    fn of(row: &Row<'_>) -> rusqlite::Result<Run> {
        let instant = |name: &str| row.get::<_, Option<i64>>(name).map(|ms| ms.map(from_ms));
        let count = |name: &str| row.get::<_, Option<i64>>(name).map(|n| n.map(|n| n as u64));
        let status: String = row.get("status")?;
        let status = status.parse().map_err(|error: String| {
            rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into())
        })?;
        let progress = match (count("rows_done")?, count("rows_total")?) {
            (Some(rows_done), Some(rows_total)) => Some(Progress {
                rows_done,
                rows_total,
                bytes_written: count("bytes_written")?.unwrap_or_default(),
                eta_seconds: count("eta_seconds")?,
            }),
            _ => None,
        };
        Ok(Run {
            id: row.get("id")?,
            job: row.get("job")?,
            spec: row.get("spec")?,
            status,
            scheduled: instant("scheduled")?,
            queued: instant("queued")?,
            started: instant("started")?,
            finished: instant("finished")?,
            attempts: row.get("attempts")?,
            cancel: row.get("cancel")?,
            hidden: row.get("hidden")?,
            progress,
            progressed: instant("progressed")?,
            bytes: count("bytes")?,
            certificate: row.get("certificate")?,
            error: row.get("error")?,
            present: row.get("present")?,
            deleted: instant("deleted")?,
        })
    }
}

pub(super) fn insert(tx: &Transaction<'_>, run: &Run) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT INTO run (id, job, spec, status, scheduled, queued) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            run.id,
            run.job,
            run.spec,
            run.status.name(),
            run.scheduled.map(to_ms),
            run.queued.map(to_ms)
        ],
    )
    .map(drop)
}

/// Deletes the run of a job that is still to come.
pub(super) fn delete_scheduled(tx: &Transaction<'_>, job: &str) -> rusqlite::Result<()> {
    tx.execute("DELETE FROM run WHERE job = ?1 AND status = 'Scheduled'", [job]).map(drop)
}

impl Catalogue {
    /// Returns the runs of the history, in the order of their ids.
    pub fn runs(&self) -> Result<Vec<Run>> {
        self.read(|c| {
            c.prepare_cached("SELECT * FROM run WHERE hidden = 0 ORDER BY id")?
                .query_map([], Run::of)?
                .collect()
        })
    }

    /// Returns all runs of that status, the earliest first.
    pub fn runs_that_are(&self, status: Status) -> Result<Vec<Run>> {
        self.read(|c| {
            let sql = "SELECT * FROM run WHERE status = ?1 ORDER BY coalesce(queued, scheduled), id";
            c.prepare_cached(sql)?.query_map([status.name()], Run::of)?.collect()
        })
    }

    pub fn run(&self, id: &str) -> Result<Option<Run>> {
        self.read(|c| {
            c.prepare_cached("SELECT * FROM run WHERE id = ?1")?.query_row([id], Run::of).optional()
        })
    }

    pub fn add_run(&self, run: &Run) -> Result<()> {
        self.write(|tx| insert(tx, run))
    }

    /// Queues a scheduled run that is due.
    pub fn queue(&self, id: &str, now: SystemTime) -> Result<()> {
        self.write(|tx| {
            let sql = "UPDATE run SET status = 'Queued', queued = ?2 WHERE id = ?1 AND status = 'Scheduled'";
            tx.execute(sql, params![id, to_ms(now)])?;
            tx.execute(
                "UPDATE job SET due = ?2 WHERE name = (SELECT job FROM run WHERE id = ?1)",
                params![id, to_ms(now)],
            )
        })
        .map(drop)
    }

    /// Starts a queued run; false if it is not queued any more.
    pub fn start(&self, id: &str, now: SystemTime) -> Result<bool> {
        self.write(|tx| {
            let sql = "UPDATE run SET status = 'In Progress', started = ?2, attempts = attempts + 1,
                       rows_done = NULL, rows_total = NULL, bytes_written = NULL, eta_seconds = NULL
                       WHERE id = ?1 AND status = 'Queued' AND cancel = 0";
            Ok(tx.execute(sql, params![id, to_ms(now)])? > 0)
        })
    }

    /// Puts a run that was interrupted back into the queue.
    pub fn requeue(&self, id: &str) -> Result<()> {
        self.write(|tx| {
            tx.execute("UPDATE run SET status = 'Queued' WHERE id = ?1 AND status = 'In Progress'", [id])
        })
        .map(drop)
    }

    pub fn set_certificate_of(&self, id: &str, certificate: &str) -> Result<()> {
        self.write(|tx| tx.execute("UPDATE run SET certificate = ?2 WHERE id = ?1", [id, certificate]))
            .map(drop)
    }

    pub fn set_progress(&self, id: &str, progress: &Progress, now: SystemTime) -> Result<()> {
        let Progress { rows_done, rows_total, bytes_written, eta_seconds } = *progress;
        self.write(|tx| {
            tx.prepare_cached(
                "UPDATE run SET rows_done = ?2, rows_total = ?3, bytes_written = ?4, eta_seconds = ?5,
                 progressed = ?6 WHERE id = ?1 AND status = 'In Progress'",
            )?
            .execute(params![
                id,
                rows_done as i64,
                rows_total as i64,
                bytes_written as i64,
                eta_seconds.map(|s| s as i64),
                to_ms(now)
            ])
        })
        .map(drop)
    }

    /// Completes a run: with this its artifact, whose files are in place, is there. `mark` is for its job. False: it
    /// has been cancelled meanwhile, and there is no artifact.
    pub fn complete(
        &self,
        id: &str,
        finished: SystemTime,
        bytes: u64,
        rows: u64,
        stored: &[(StoredPartRecord, Vec<Hash>)],
        mark: Option<&str>,
    ) -> Result<bool> {
        let size: u64 = stored.iter().map(|(part, _)| part.size).sum();
        self.write(|tx| {
            let completed = tx.execute(
                "UPDATE run SET status = 'Completed', finished = ?2, bytes = ?3, present = 1, rows_done = ?4,
                 rows_total = ?4, bytes_written = ?5, eta_seconds = NULL, error = NULL
                 WHERE id = ?1 AND status = 'In Progress' AND cancel = 0",
                params![id, to_ms(finished), bytes as i64, rows as i64, size as i64],
            )?;
            if completed == 0 {
                return Ok(false);
            }
            parts::insert(tx, id, stored)?;
            keep_mark(tx, id, mark).map(|()| true)
        })
    }

    /// Ends a run that has no artifact.
    pub fn end(&self, id: &str, end: &RunUpdate) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "UPDATE run SET status = ?2, finished = ?3, error = ?4, eta_seconds = NULL WHERE id = ?1",
                params![id, end.status.name(), to_ms(end.finished), end.error],
            )?;
            tx.execute("DELETE FROM run WHERE id = ?1 AND hidden = 1", [id]).map(drop)
        })
    }

    /// Asks for a run to stop. One that has not started is over at once.
    pub fn cancel(&self, id: &str, now: SystemTime) -> Result<()> {
        self.write(|tx| {
            skip_scheduled(tx, id)?;
            tx.execute("UPDATE run SET cancel = 1 WHERE id = ?1 AND status = 'In Progress'", [id])?;
            tx.execute(
                "UPDATE run SET status = 'Cancelled', finished = ?2 WHERE id = ?1 AND status IN ('Scheduled', 'Queued')",
                params![id, to_ms(now)],
            )
        })
        .map(drop)
    }

    /// Returns the runs in progress that are to stop.
    pub fn runs_to_cancel(&self) -> Result<Vec<String>> {
        self.read(|c| {
            c.prepare_cached("SELECT id FROM run WHERE status = 'In Progress' AND cancel = 1")?
                .query_map([], |row| row.get(0))?
                .collect()
        })
    }

    /// Removes a run from the history; one in progress is stopped first. An artifact that is there stays.
    pub fn remove_run(&self, id: &str) -> Result<()> {
        self.write(|tx| {
            skip_scheduled(tx, id)?;
            tx.execute("UPDATE run SET hidden = 1, cancel = (status = 'In Progress') WHERE id = ?1", [id])?;
            tx.execute(
                "DELETE FROM run WHERE id = ?1 AND status <> 'In Progress' AND present = 0
                 AND NOT EXISTS (SELECT 1 FROM part WHERE run = ?1)",
                [id],
            )
        })
        .map(drop)
    }
}

/// Has a job do without a run that is still to come: the next one is that after it.
fn skip_scheduled(tx: &Transaction<'_>, run: &str) -> rusqlite::Result<()> {
    let sql = "UPDATE job SET due = run.scheduled FROM run
               WHERE run.id = ?1 AND run.status = 'Scheduled' AND job.name = run.job";
    tx.execute(sql, [run]).map(drop)
}

/// Writes down what a job has exported.
fn keep_mark(tx: &Transaction<'_>, run: &str, mark: Option<&str>) -> rusqlite::Result<()> {
    let Some(mark) = mark else { return Ok(()) };
    tx.execute("UPDATE job SET mark = ?2 WHERE name = (SELECT job FROM run WHERE id = ?1)", [run, mark])
        .map(drop)
}
