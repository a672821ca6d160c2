//! The runs of jobs, and how they change from queued to finished.

use std::time::SystemTime;

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::parts::{self, Hash, StoredPartRecord};
use super::rows::{forget_hidden, id_in, unreadable};
use super::status::{INCOMPLETE, Status};
use super::{Catalogue, from_ms, to_ms};
use crate::error::Result;
use crate::store::names::stem_of;

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
    /// When it was written down that it is to come.
    pub made: Option<SystemTime>,
    /// How often it was started. The last number is what its worker changes it by: another one's is not the latest.
    pub attempts: u32,
    /// Attempts in a row that ended with their process before a row was written.
    pub deaths: u32,
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
    /// JSON: a list of texts.
    pub warnings: Option<String>,
    /// True if the artifact is there.
    pub present: bool,
    /// True if it is, but lacks parts that were deleted alone.
    pub incomplete: bool,
    /// When the artifact was removed or had expired.
    pub deleted: Option<SystemTime>,
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
            made: None,
            attempts: 0,
            deaths: 0,
            cancel: false,
            hidden: false,
            progress: None,
            progressed: None,
            bytes: None,
            certificate: None,
            error: None,
            warnings: None,
            present: false,
            incomplete: false,
            deleted: None,
        }
    }

    /// What the names of its artifact and of its record begin with.
    pub fn stem(&self) -> String {
        stem_of(&self.id)
    }

    /// Returns what is shown as its status: that of its artifact, where that has suffered.
    pub fn shown_status(&self) -> &'static str {
        if self.incomplete { INCOMPLETE } else { self.status.name() }
    }

    fn of(row: &Row<'_>) -> rusqlite::Result<Run> {
        let id = id_in(row, "id")?;
        Run::read(row).map_err(|error| unreadable(format!("run {id}: {error}")))
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Run> {
        let instant = |name: &str| row.get::<_, Option<i64>>(name).map(|ms| ms.and_then(from_ms));
        let count =
            |name: &str| row.get::<_, Option<i64>>(name).map(|n| n.and_then(|n| u64::try_from(n).ok()));
        let status: String = row.get("status")?;
        // As it is compared in the database.
        let status = Status::ALL
            .into_iter()
            .find(|known| known.name() == status)
            .ok_or_else(|| unreadable(format!("{:?} is no status", status.escape_debug().to_string())))?;
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
            id: id_in(row, "id")?,
            job: row.get("job")?,
            spec: row.get("spec")?,
            status,
            scheduled: instant("scheduled")?,
            queued: instant("queued")?,
            started: instant("started")?,
            finished: instant("finished")?,
            made: instant("made")?,
            attempts: row.get("attempts")?,
            deaths: row.get("deaths")?,
            cancel: row.get("cancel")?,
            hidden: row.get("hidden")?,
            progress,
            progressed: instant("progressed")?,
            bytes: count("bytes")?,
            certificate: row.get("certificate")?,
            error: row.get("error")?,
            warnings: row.get("warnings")?,
            present: row.get("present")?,
            incomplete: row.as_ref().column_index("incomplete").is_ok() && row.get("incomplete")?,
            deleted: instant("deleted")?,
        })
    }
}

pub(super) fn insert(tx: &Transaction<'_>, run: &Run) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT INTO run (id, job, spec, status, scheduled, queued, made) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            run.id,
            run.job,
            run.spec,
            run.status.name(),
            run.scheduled.map(to_ms),
            run.queued.map(to_ms),
            run.made.map(to_ms)
        ],
    )
    .map(drop)
}

/// Takes the runs of a job that goes from it: one that comes under its name has nothing to do with them.
pub(super) fn orphan(tx: &Transaction<'_>, job: &str) -> rusqlite::Result<()> {
    let sql = "UPDATE run SET job = NULL WHERE job = ?1 AND status IN ('Queued', 'In Progress')";
    tx.execute(sql, [job]).map(drop)
}

/// Deletes the run of a job that is still to come.
pub(super) fn delete_scheduled(tx: &Transaction<'_>, job: &str) -> rusqlite::Result<()> {
    tx.execute("DELETE FROM run WHERE job = ?1 AND status = 'Scheduled'", [job]).map(drop)
}

/// Returns true if a job has a run to come or under way. A run that cannot be read is none.
pub(super) fn is_pending(tx: &Transaction<'_>, job: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT * FROM run WHERE job = ?1 AND status IN ('Scheduled', 'Queued', 'In Progress')";
    let mut query = tx.prepare_cached(sql)?;
    Ok(query.query_map([job], Run::of)?.any(|run| run.is_ok()))
}

/// What a run has come to.
pub struct Made<'a> {
    pub finished: SystemTime,
    /// Of the zip.
    pub bytes: u64,
    pub rows: u64,
    pub parts: &'a [(StoredPartRecord, Vec<Hash>)],
    /// What its job has exported now.
    pub mark: Option<&'a str>,
}

impl Catalogue {
    /// Returns the runs of the history, in the order of their ids.
    pub fn runs(&self) -> Result<Vec<Run>> {
        self.read(|c| {
            let mut query = c.prepare_cached(&format!("{RUNS} WHERE hidden = 0 ORDER BY id"))?;
            self.collect(query.query_map([], Run::of)?)
        })
    }

    /// Returns all runs of that status, the earliest first.
    pub fn runs_that_are(&self, status: Status) -> Result<Vec<Run>> {
        self.read(|c| {
            let sql = "SELECT * FROM run WHERE status = ?1 ORDER BY coalesce(queued, scheduled), id";
            self.collect(c.prepare_cached(sql)?.query_map([status.name()], Run::of)?)
        })
    }

    pub fn run(&self, id: &str) -> Result<Option<Run>> {
        self.read(|c| c.prepare_cached(&format!("{RUNS} WHERE id = ?1"))?.query_row([id], Run::of).optional())
    }

    pub fn add_run(&self, run: &Run) -> Result<()> {
        self.write(|tx| insert(tx, run))
    }

    /// Queues a scheduled run that is due.
    pub fn queue(&self, id: &str, now: SystemTime) -> Result<()> {
        self.write(|tx| {
            let sql = "UPDATE run SET status = 'Queued', queued = ?2 WHERE id = ?1 AND status = 'Scheduled'";
            if tx.execute(sql, params![id, to_ms(now)])? > 0 {
                let sql = "UPDATE job SET due = ?2 WHERE name = (SELECT job FROM run WHERE id = ?1)";
                tx.execute(sql, params![id, to_ms(now)])?;
            }
            Ok(())
        })
    }

    /// Gives a run to come another time.
    pub fn reschedule(&self, id: &str, at: Option<SystemTime>, now: SystemTime) -> Result<()> {
        self.write(|tx| {
            let sql = "UPDATE run SET scheduled = ?2, made = ?3 WHERE id = ?1 AND status = 'Scheduled'";
            tx.execute(sql, params![id, at.map(to_ms), to_ms(now)])
        })
        .map(drop)
    }

    /// Starts a queued run, and returns it as it is then; `None` if it is not queued any more.
    pub fn start(&self, id: &str, now: SystemTime) -> Result<Option<Run>> {
        self.write(|tx| {
            let sql =
                "UPDATE run SET status = 'In Progress', started = ?2, attempts = attempts + 1, debris = 1,
                       rows_done = NULL, rows_total = NULL, bytes_written = NULL, eta_seconds = NULL
                       WHERE id = ?1 AND status = 'Queued' AND cancel = 0 RETURNING *";
            tx.prepare_cached(sql)?.query_row(params![id, to_ms(now)], Run::of).optional()
        })
    }

    /// Puts a run that was told to stop, but not for good, back into the queue.
    pub fn requeue(&self, run: &Run) -> Result<()> {
        self.put_back(run, "deaths")
    }

    /// Puts a run whose process has died back into the queue. What had come as far as to rows is no death.
    pub fn requeue_after_death(&self, run: &Run) -> Result<()> {
        self.put_back(run, "CASE WHEN rows_done > 0 THEN 0 ELSE deaths + 1 END")
    }

    fn put_back(&self, run: &Run, deaths: &str) -> Result<()> {
        self.write(|tx| {
            let sql = format!(
                "UPDATE run SET status = 'Queued', deaths = {deaths}
                 WHERE id = ?1 AND status = 'In Progress' AND cancel = 0 AND attempts = ?2"
            );
            tx.execute(&sql, params![run.id, run.attempts])
        })
        .map(drop)
    }

    /// Ends a run to come that has no time at which it could come.
    pub fn fail_scheduled(&self, id: &str, error: &str, now: SystemTime) -> Result<()> {
        self.write(|tx| {
            let sql = "UPDATE run SET status = 'Failed', error = ?2, finished = ?3
                       WHERE id = ?1 AND status = 'Scheduled'";
            tx.execute(sql, params![id, error, to_ms(now)])
        })
        .map(drop)
    }

    pub fn set_certificate_of(&self, id: &str, certificate: &str) -> Result<()> {
        self.write(|tx| tx.execute("UPDATE run SET certificate = ?2 WHERE id = ?1", [id, certificate]))
            .map(drop)
    }

    pub fn set_warnings_of(&self, id: &str, warnings: &str) -> Result<()> {
        self.write(|tx| tx.execute("UPDATE run SET warnings = ?2 WHERE id = ?1", [id, warnings])).map(drop)
    }

    pub fn set_progress(&self, run: &Run, progress: &Progress, now: SystemTime) -> Result<()> {
        let Progress { rows_done, rows_total, bytes_written, eta_seconds } = *progress;
        self.write(|tx| {
            tx.prepare_cached(
                "UPDATE run SET rows_done = ?3, rows_total = ?4, bytes_written = ?5, eta_seconds = ?6,
                 progressed = ?7 WHERE id = ?1 AND attempts = ?2 AND status = 'In Progress'",
            )?
            .execute(params![
                run.id,
                run.attempts,
                rows_done as i64,
                rows_total as i64,
                bytes_written as i64,
                eta_seconds.map(|s| s as i64),
                to_ms(now)
            ])
        })
        .map(drop)
    }

    /// Completes a run: with this its artifact, whose files are in place, is there. False: it has been cancelled
    /// meanwhile, or is another's, and there is no artifact.
    pub fn complete(&self, run: &Run, made: &Made<'_>) -> Result<bool> {
        let size: u64 = made.parts.iter().map(|(part, _)| part.size).sum();
        self.write(|tx| {
            let completed = tx.execute(
                "UPDATE run SET status = 'Completed', finished = ?3, bytes = ?4, present = 1, debris = 0,
                 rows_done = ?5, rows_total = ?5, bytes_written = ?6, eta_seconds = NULL, error = NULL
                 WHERE id = ?1 AND attempts = ?2 AND status = 'In Progress' AND cancel = 0",
                params![
                    run.id,
                    run.attempts,
                    to_ms(made.finished),
                    made.bytes as i64,
                    made.rows as i64,
                    size as i64
                ],
            )?;
            if completed == 0 {
                return Ok(false);
            }
            parts::insert(tx, &run.id, made.parts)?;
            keep_mark(tx, &run.id, made.mark).map(|()| true)
        })
    }

    /// Ends a run in progress that has no artifact. `is_clean` says that no files of it are left.
    pub fn end(&self, run: &Run, end: &RunUpdate, is_clean: bool) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "UPDATE run SET status = ?3, finished = ?4, error = ?5, debris = ?6, eta_seconds = NULL
                 WHERE id = ?1 AND attempts = ?2 AND status = 'In Progress'",
                params![run.id, run.attempts, end.status.name(), to_ms(end.finished), end.error, !is_clean],
            )?;
            forget_hidden(tx)
        })
    }

    /// Asks for a run to stop. One that has not started is over at once.
    pub fn cancel(&self, id: &str, now: SystemTime) -> Result<()> {
        self.write(|tx| cancel(tx, id, now))
    }

    /// Ends the runs that are not in progress, but were to stop when they were.
    pub fn end_cancelled(&self, now: SystemTime) -> Result<()> {
        let waiting: i64 = self.read(|c| {
            c.query_row(&format!("SELECT count(*) FROM run {LEFT_CANCELLED}"), [], |row| row.get(0))
        })?;
        if waiting == 0 {
            return Ok(());
        }
        self.write(|tx| {
            tx.execute(
                &format!("UPDATE run SET status = 'Cancelled', finished = ?1 {LEFT_CANCELLED}"),
                [to_ms(now)],
            )?;
            forget_hidden(tx)
        })
    }

    /// Returns the runs in progress that are to stop.
    pub fn runs_to_cancel(&self) -> Result<Vec<String>> {
        self.read(|c| {
            let mut query =
                c.prepare_cached("SELECT id FROM run WHERE status = 'In Progress' AND cancel <> 0")?;
            self.collect(query.query_map([], |row| id_in(row, "id"))?)
        })
    }

    /// Removes the record of a run that is over; its artifact stays. One that is not over is cancelled, and its record
    /// says so.
    pub fn remove_run(&self, id: &str, now: SystemTime) -> Result<()> {
        self.write(|tx| {
            let sql = "UPDATE run SET hidden = 1 WHERE id = ?1 AND status NOT IN ('Scheduled', 'Queued', 'In Progress')";
            match tx.execute(sql, [id])? {
                0 => cancel(tx, id, now),
                _ => forget_hidden(tx),
            }
        })
    }

    /// Returns the runs not in progress that may have left files which are no parts of an artifact.
    pub fn runs_with_debris(&self) -> Result<Vec<String>> {
        self.read(|c| {
            let mut query = c.prepare_cached(
                "SELECT id FROM run WHERE debris = 1 AND present = 0 AND status <> 'In Progress'",
            )?;
            self.collect(query.query_map([], |row| id_in(row, "id"))?)
        })
    }

    /// Says that nothing is left of runs but what belongs to their artifacts.
    pub fn set_clean(&self, runs: &[String]) -> Result<()> {
        self.write(|tx| {
            let mut query =
                tx.prepare_cached("UPDATE run SET debris = 0 WHERE id = ?1 AND status <> 'In Progress'")?;
            runs.iter().try_for_each(|id| query.execute([id]).map(drop))?;
            forget_hidden(tx)
        })
    }
}

const RUNS: &str = "SELECT *, present = 1 AND EXISTS (
    SELECT 1 FROM part WHERE part.run = run.id AND part.deleted IS NOT NULL) AS incomplete FROM run";

const LEFT_CANCELLED: &str = "WHERE status IN ('Scheduled', 'Queued') AND cancel <> 0";

fn cancel(tx: &Transaction<'_>, id: &str, now: SystemTime) -> rusqlite::Result<()> {
    skip_scheduled(tx, id)?;
    tx.execute("UPDATE run SET cancel = 1 WHERE id = ?1 AND status = 'In Progress'", [id])?;
    let sql = "UPDATE run SET status = 'Cancelled', finished = ?2 WHERE id = ?1 AND status IN ('Scheduled', 'Queued')";
    tx.execute(sql, params![id, to_ms(now)]).map(drop)
}

/// Has a job do without a run that is still to come: the next one is that after it.
fn skip_scheduled(tx: &Transaction<'_>, run: &str) -> rusqlite::Result<()> {
    let sql = "UPDATE job SET skipped = run.scheduled FROM run
               WHERE run.id = ?1 AND run.status = 'Scheduled' AND job.name = run.job";
    tx.execute(sql, [run]).map(drop)
}

/// Writes down what a job has exported.
fn keep_mark(tx: &Transaction<'_>, run: &str, mark: Option<&str>) -> rusqlite::Result<()> {
    let Some(mark) = mark else { return Ok(()) };
    tx.execute("UPDATE job SET mark = ?2 WHERE name = (SELECT job FROM run WHERE id = ?1)", [run, mark])
        .map(drop)
}
