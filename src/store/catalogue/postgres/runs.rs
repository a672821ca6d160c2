//! The runs of jobs, and how they change for whoever does not execute them.

use std::time::SystemTime;

use tokio_postgres::Row;

use super::Postgres;
use super::rows::{Readable, Unreadable, count, forget_hidden, get, id_in, instant, lock, number, storable};
use super::session::Session;
use crate::error::Result;
use crate::store::catalogue::{Progress, Run, Runs, Status};
use crate::store::clock::to_ms;

pub(super) fn run_in(row: &Row) -> Readable<Run> {
    let id = id_in(row, "id")?;
    read(row, &id).map_err(|Unreadable(why)| Unreadable(format!("run {id}: {why}")))
}

fn read(row: &Row, id: &str) -> Readable<Run> {
    let status: String = get(row, "status")?;
    // As it is compared in the database.
    let status = Status::STORED
        .iter()
        .copied()
        .find(|known| known.name() == status)
        .ok_or_else(|| Unreadable(format!("{:?} is no status", status.escape_debug().to_string())))?;
    let progress = match (count(row, "rows_done")?, count(row, "rows_total")?) {
        (Some(rows_done), Some(rows_total)) => Some(Progress {
            rows_done,
            rows_total,
            bytes_written: count(row, "bytes_written")?.unwrap_or_default(),
            eta_seconds: count(row, "eta_seconds")?,
        }),
        _ => None,
    };
    let has_incomplete = row.columns().iter().any(|column| column.name() == "incomplete");
    Ok(Run {
        id: id.into(),
        job: get(row, "job")?,
        spec: get(row, "spec")?,
        status,
        scheduled: instant(row, "scheduled")?,
        queued: instant(row, "queued")?,
        started: instant(row, "started")?,
        finished: instant(row, "finished")?,
        made: instant(row, "made")?,
        attempts: number(row, "attempts")?,
        deaths: number(row, "deaths")?,
        cancel: get(row, "cancel")?,
        hidden: get(row, "hidden")?,
        progress,
        progressed: instant(row, "progressed")?,
        bytes: count(row, "bytes")?,
        certificate: get(row, "certificate")?,
        error: get(row, "error")?,
        warnings: get(row, "warnings")?,
        present: get(row, "present")?,
        incomplete: has_incomplete && get(row, "incomplete")?,
        deleted: instant(row, "deleted")?,
    })
}

pub(super) fn insert(tx: &mut Session, run: &Run) -> Result<()> {
    let (scheduled, queued) = (run.scheduled.map(to_ms), run.queued.map(to_ms));
    tx.execute(
        "INSERT INTO run (id, job, spec, status, scheduled, queued, made) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        &[&run.id, &run.job, &run.spec, &run.status.name(), &scheduled, &queued, &run.made.map(to_ms)],
    )
    .map(drop)
}

/// Takes the runs of a job that goes from it: one that comes under its name has nothing to do with them.
pub(super) fn detach(tx: &mut Session, job: &str) -> Result<()> {
    let sql = "UPDATE run SET job = NULL WHERE job = $1 AND status IN ('Queued', 'In Progress')";
    tx.execute(sql, &[&job]).map(drop)
}

/// Deletes the run of a job that is still to come.
pub(super) fn delete_scheduled(tx: &mut Session, job: &str) -> Result<()> {
    tx.execute("DELETE FROM run WHERE job = $1 AND status = 'Scheduled'", &[&job]).map(drop)
}

/// Returns true if a job has a run to come or under way. A run that cannot be read is none.
pub(super) fn is_pending(tx: &mut Session, job: &str) -> Result<bool> {
    let sql = "SELECT * FROM run WHERE job = $1 AND status IN ('Scheduled', 'Queued', 'In Progress')";
    Ok(tx.query(sql, &[&job])?.iter().any(|row| run_in(row).is_ok()))
}

impl Runs for Postgres {
    fn runs(&self) -> Result<Vec<Run>> {
        let sql = format!("{RUNS} WHERE NOT hidden ORDER BY id");
        self.read(|c| c.query(&sql, &[])).map(|rows| self.collect(&rows, run_in))
    }

    fn runs_that_are(&self, status: Status) -> Result<Vec<Run>> {
        let sql = "SELECT * FROM run WHERE status = $1 ORDER BY coalesce(queued, scheduled) NULLS FIRST, id";
        self.read(|c| c.query(sql, &[&status.name()])).map(|rows| self.collect(&rows, run_in))
    }

    fn run(&self, id: &str) -> Result<Option<Run>> {
        let row = self.read(|c| c.query_opt(&format!("{RUNS} WHERE id = $1"), &[&id]))?;
        Ok(row.as_ref().map(run_in).transpose()?)
    }

    fn add_run(&self, run: &Run) -> Result<()> {
        self.write(|tx| insert(tx, run))
    }

    fn queue(&self, id: &str, now: SystemTime) -> Result<()> {
        self.write(|tx| {
            lock(tx, id)?;
            let sql = "UPDATE run SET status = 'Queued', queued = $2 WHERE id = $1 AND status = 'Scheduled'";
            if tx.execute(sql, &[&id, &to_ms(now)])? > 0 {
                let sql = "UPDATE job SET due = $2 WHERE name = (SELECT job FROM run WHERE id = $1)";
                tx.execute(sql, &[&id, &to_ms(now)])?;
            }
            Ok(())
        })
    }

    fn reschedule(&self, id: &str, at: Option<SystemTime>, now: SystemTime) -> Result<()> {
        self.write(|tx| {
            let sql = "UPDATE run SET scheduled = $2, made = $3 WHERE id = $1 AND status = 'Scheduled'";
            tx.execute(sql, &[&id, &at.map(to_ms), &to_ms(now)]).map(drop)
        })
    }

    fn fail_scheduled(&self, id: &str, error: &str, now: SystemTime) -> Result<()> {
        self.write(|tx| {
            let sql = "UPDATE run SET status = 'Failed', error = $2, finished = $3
                       WHERE id = $1 AND status = 'Scheduled'";
            tx.execute(sql, &[&id, &storable(error), &to_ms(now)]).map(drop)
        })
    }

    fn cancel(&self, id: &str, now: SystemTime) -> Result<()> {
        self.write(|tx| {
            lock(tx, id)?;
            cancel(tx, id, now)
        })
    }

    fn end_cancelled(&self, now: SystemTime) -> Result<()> {
        if !self.read(|c| c.exists(&format!("SELECT 1 FROM run {LEFT_CANCELLED} LIMIT 1"), &[]))? {
            return Ok(());
        }
        self.write(|tx| {
            let sql = format!("UPDATE run SET status = 'Cancelled', finished = $1 {LEFT_CANCELLED}");
            tx.execute(&sql, &[&to_ms(now)])?;
            forget_hidden(tx)
        })
    }

    fn remove_run(&self, id: &str, now: SystemTime) -> Result<()> {
        self.write(|tx| {
            lock(tx, id)?;
            let sql = "UPDATE run SET hidden = true WHERE id = $1 AND status NOT IN ('Scheduled', 'Queued', 'In Progress')";
            match tx.execute(sql, &[&id])? {
                0 => cancel(tx, id, now),
                _ => forget_hidden(tx),
            }
        })
    }

    fn runs_with_debris(&self) -> Result<Vec<String>> {
        let sql = "SELECT id FROM run WHERE debris AND NOT present AND status <> 'In Progress'";
        self.read(|c| c.query(sql, &[])).map(|rows| self.collect(&rows, |row| id_in(row, "id")))
    }

    fn set_clean(&self, runs: &[String]) -> Result<()> {
        self.write(|tx| {
            // In one order, whoever else does it.
            let sql = "UPDATE run SET debris = false WHERE status <> 'In Progress' AND id IN (
                       SELECT id FROM run WHERE id = ANY($1) ORDER BY id FOR UPDATE)";
            tx.execute(sql, &[&runs])?;
            forget_hidden(tx)
        })
    }
}

const RUNS: &str = "SELECT *, present AND EXISTS (
    SELECT 1 FROM part WHERE part.run = run.id AND part.deleted IS NOT NULL) AS incomplete FROM run";

const LEFT_CANCELLED: &str = "WHERE status IN ('Scheduled', 'Queued') AND cancel";

/// Of a run that is locked.
fn cancel(tx: &mut Session, id: &str, now: SystemTime) -> Result<()> {
    skip_scheduled(tx, id)?;
    tx.execute("UPDATE run SET cancel = true WHERE id = $1 AND status = 'In Progress'", &[&id])?;
    let sql = "UPDATE run SET status = 'Cancelled', finished = $2 WHERE id = $1 AND status IN ('Scheduled', 'Queued')";
    tx.execute(sql, &[&id, &to_ms(now)]).map(drop)
}

/// Has a job do without a run that is still to come: the next one is that after it.
fn skip_scheduled(tx: &mut Session, run: &str) -> Result<()> {
    let sql = "UPDATE job SET skipped = run.scheduled FROM run
               WHERE run.id = $1 AND run.status = 'Scheduled' AND job.name = run.job";
    tx.execute(sql, &[&run]).map(drop)
}
