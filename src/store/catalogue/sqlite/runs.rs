//! The runs of jobs, and how they change while they are not executed.

use std::time::SystemTime;

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::Sqlite;
use super::rows::{forget_hidden, id_in, unreadable};
use crate::error::Result;
use crate::store::catalogue::{Progress, Run, Runs, Status};
use crate::store::clock::{from_ms, to_ms};

pub(super) fn run_in(row: &Row<'_>) -> rusqlite::Result<Run> {
    let id = id_in(row, "id")?;
    fields_in(row).map_err(|error| unreadable(format!("run {id}: {error}")))
}

fn fields_in(row: &Row<'_>) -> rusqlite::Result<Run> {
    let instant = |name: &str| row.get::<_, Option<i64>>(name).map(|ms| ms.and_then(from_ms));
    let count = |name: &str| row.get::<_, Option<i64>>(name).map(|n| n.and_then(|n| u64::try_from(n).ok()));
    let status: String = row.get("status")?;
    // Compared exactly, as in the database.
    let status = Status::STORED
        .iter()
        .copied()
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

/// Detaches the queued and running runs of a job that is deleted: a later job of that name has nothing to do with them.
pub(super) fn detach(tx: &Transaction<'_>, job: &str) -> rusqlite::Result<()> {
    let sql = "UPDATE run SET job = NULL WHERE job = ?1 AND status IN ('Queued', 'In Progress')";
    tx.execute(sql, [job]).map(drop)
}

/// Deletes the run of a job that is still to come.
pub(super) fn delete_scheduled(tx: &Transaction<'_>, job: &str) -> rusqlite::Result<()> {
    tx.execute("DELETE FROM run WHERE job = ?1 AND status = 'Scheduled'", [job]).map(drop)
}

/// Returns true if a job has a run to come or under way. A run that cannot be read does not count.
pub(super) fn is_pending(tx: &Transaction<'_>, job: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT * FROM run WHERE job = ?1 AND status IN ('Scheduled', 'Queued', 'In Progress')";
    let mut query = tx.prepare_cached(sql)?;
    Ok(query.query_map([job], run_in)?.any(|run| run.is_ok()))
}

impl Runs for Sqlite {
    fn runs(&self) -> Result<Vec<Run>> {
        self.read(|c| {
            let mut query = c.prepare_cached(&format!("{RUNS} WHERE hidden = 0 ORDER BY id"))?;
            self.collect(query.query_map([], run_in)?)
        })
    }

    fn runs_that_are(&self, status: Status) -> Result<Vec<Run>> {
        self.read(|c| {
            let sql = "SELECT * FROM run WHERE status = ?1 ORDER BY coalesce(queued, scheduled), id";
            self.collect(c.prepare_cached(sql)?.query_map([status.name()], run_in)?)
        })
    }

    fn run(&self, id: &str) -> Result<Option<Run>> {
        self.read(|c| c.prepare_cached(&format!("{RUNS} WHERE id = ?1"))?.query_row([id], run_in).optional())
    }

    fn add_run(&self, run: &Run) -> Result<()> {
        self.write(|tx| insert(tx, run))
    }

    fn queue(&self, id: &str, now: SystemTime) -> Result<()> {
        self.write(|tx| {
            let sql = "UPDATE run SET status = 'Queued', queued = ?2 WHERE id = ?1 AND status = 'Scheduled'";
            if tx.execute(sql, params![id, to_ms(now)])? > 0 {
                let sql = "UPDATE job SET due = ?2 WHERE name = (SELECT job FROM run WHERE id = ?1)";
                tx.execute(sql, params![id, to_ms(now)])?;
            }
            Ok(())
        })
    }

    fn reschedule(&self, id: &str, at: Option<SystemTime>, now: SystemTime) -> Result<()> {
        self.write(|tx| {
            let sql = "UPDATE run SET scheduled = ?2, made = ?3 WHERE id = ?1 AND status = 'Scheduled'";
            tx.execute(sql, params![id, at.map(to_ms), to_ms(now)])
        })
        .map(drop)
    }

    fn fail_scheduled(&self, id: &str, error: &str, now: SystemTime) -> Result<()> {
        self.write(|tx| {
            let sql = "UPDATE run SET status = 'Failed', error = ?2, finished = ?3
                       WHERE id = ?1 AND status = 'Scheduled'";
            tx.execute(sql, params![id, error, to_ms(now)])
        })
        .map(drop)
    }

    fn cancel(&self, id: &str, now: SystemTime) -> Result<()> {
        self.write(|tx| cancel(tx, id, now))
    }

    fn end_cancelled(&self, now: SystemTime) -> Result<()> {
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

    fn remove_run(&self, id: &str, now: SystemTime) -> Result<()> {
        self.write(|tx| {
            let sql = "UPDATE run SET hidden = 1 WHERE id = ?1 AND status NOT IN ('Scheduled', 'Queued', 'In Progress')";
            match tx.execute(sql, [id])? {
                0 => cancel(tx, id, now),
                _ => forget_hidden(tx),
            }
        })
    }

    fn runs_with_debris(&self) -> Result<Vec<String>> {
        self.read(|c| {
            let mut query = c.prepare_cached(
                "SELECT id FROM run WHERE debris = 1 AND present = 0 AND status <> 'In Progress'",
            )?;
            self.collect(query.query_map([], |row| id_in(row, "id"))?)
        })
    }

    fn set_clean(&self, runs: &[String]) -> Result<()> {
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

/// Has a job skip its run that is still to come: the next one is the one after it.
fn skip_scheduled(tx: &Transaction<'_>, run: &str) -> rusqlite::Result<()> {
    let sql = "UPDATE job SET skipped = run.scheduled FROM run
               WHERE run.id = ?1 AND run.status = 'Scheduled' AND job.name = run.job";
    tx.execute(sql, [run]).map(drop)
}
