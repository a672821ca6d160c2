//! The queue of runs: each transition checks the id, the fence and the status that it starts from, in the transaction
//! that makes it.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use rusqlite::{OptionalExtension, Transaction, params};

use super::rows::{forget_hidden, id_in};
use super::runs::run_in;
use super::{LOCK, Sqlite, artifacts};
use crate::error::{At, Error, Result};
use crate::store::catalogue::{
    Attendance, Claim, Completion, End, Ended, Note, Progress, Queue, Run, Runs, Standing, Status, Wanted,
    Why,
};
use crate::store::clock::to_ms;

/// Selects the run that is executed under that claim, and under no other.
const HELD: &str = "id = ?1 AND attempts = ?2 AND status = 'In Progress'";

fn claim_of(run: Run) -> Claim {
    let fence = run.attempts;
    Claim::new(run, fence)
}

impl Queue for Sqlite {
    fn attend(&self) -> Result<Option<Attendance>> {
        let path = self.beside(LOCK);
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        match Flock::lock(file.at(path.display())?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Attendance::new(lock))),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(Error::from(io::Error::from(errno)).at(path.display())),
        }
    }

    fn claim(&self, wanted: &Wanted<'_>, now: SystemTime) -> Result<Option<Claim>> {
        for run in self.runs_that_are(Status::Queued)?.iter().filter(|run| wanted.takes(&run.id)) {
            let claimed = self.write(|tx| {
                let sql =
                    "UPDATE run SET status = 'In Progress', started = ?2, attempts = attempts + 1, debris = 1,
                     rows_done = NULL, rows_total = NULL, bytes_written = NULL, eta_seconds = NULL
                     WHERE id = ?1 AND status = 'Queued' AND cancel = 0 RETURNING *";
                tx.prepare_cached(sql)?.query_row(params![run.id, to_ms(now)], run_in).optional()
            });
            if let Some(run) = claimed.map_err(|error| error.at(run.stem()))? {
                return Ok(Some(claim_of(run)));
            }
        }
        Ok(None)
    }

    fn renew(&self, claim: &Claim, progress: &Progress, now: SystemTime) -> Result<Standing> {
        let Progress { rows_done, rows_total, bytes_written, eta_seconds } = *progress;
        let cancel = self.write(|tx| {
            let sql = format!(
                "UPDATE run SET rows_done = ?3, rows_total = ?4, bytes_written = ?5, eta_seconds = ?6,
                 progressed = ?7 WHERE {HELD} RETURNING cancel"
            );
            let values = params![
                claim.id(),
                claim.fence(),
                rows_done as i64,
                rows_total as i64,
                bytes_written as i64,
                eta_seconds.map(|s| s as i64),
                to_ms(now)
            ];
            tx.prepare_cached(&sql)?.query_row(values, |row| row.get::<_, bool>(0)).optional()
        })?;
        Ok(match cancel {
            None => Standing::Lost,
            Some(true) => Standing::Cancel,
            Some(false) => Standing::Go,
        })
    }

    fn note(&self, claim: &Claim, note: Note<'_>) -> Result<()> {
        let (column, text) = match note {
            Note::Certificate(text) => ("certificate", text),
            Note::Warnings(text) => ("warnings", text),
        };
        let sql = format!("UPDATE run SET {column} = ?3 WHERE {HELD}");
        self.write(|tx| tx.execute(&sql, params![claim.id(), claim.fence(), text])).map(drop)
    }

    fn complete(&self, claim: &Claim, made: &Completion<'_>) -> Result<Ended> {
        let size = made.parts.iter().fold(0u64, |size, (part, _)| size.saturating_add(part.size));
        self.write(|tx| {
            let sql = format!(
                "UPDATE run SET status = 'Completed', finished = ?3, bytes = ?4, present = 1, debris = 0,
                 rows_done = ?5, rows_total = ?5, bytes_written = ?6, eta_seconds = NULL, error = NULL
                 WHERE {HELD} AND cancel = 0"
            );
            let (bytes, rows) = (made.bytes as i64, made.rows as i64);
            let values = params![claim.id(), claim.fence(), to_ms(made.finished), bytes, rows, size as i64];
            if tx.execute(&sql, values)? > 0 {
                artifacts::insert(tx, claim.id(), made.parts)?;
                keep_mark(tx, claim.id(), made.mark)?;
                return Ok(Ended::Completed);
            }
            let sql = "SELECT status FROM run WHERE id = ?1 AND attempts = ?2";
            let status = tx.query_row(sql, params![claim.id(), claim.fence()], |row| row.get::<_, String>(0));
            Ok(match status.optional()?.as_deref() {
                Some("Completed") => Ended::Completed,
                Some("In Progress") => Ended::Cancelled,
                _ => Ended::Lost,
            })
        })
    }

    fn is_complete(&self, claim: &Claim) -> Result<bool> {
        // A commit of this process is over when it returns, and nobody else has the claim.
        let sql = "SELECT 1 FROM run WHERE id = ?1 AND attempts = ?2 AND status = 'Completed'";
        self.read(|c| c.prepare_cached(sql)?.exists(params![claim.id(), claim.fence()]))
    }

    fn end(&self, claim: &Claim, end: &End) -> Result<()> {
        let End { status, finished, ref error, is_clean } = *end;
        self.write(|tx| {
            let sql = format!(
                "UPDATE run SET status = ?3, finished = ?4, error = ?5, debris = ?6, eta_seconds = NULL
                 WHERE {HELD}"
            );
            let finished = to_ms(finished);
            tx.execute(&sql, params![claim.id(), claim.fence(), status.name(), finished, error, !is_clean])?;
            forget_hidden(tx)
        })
    }

    fn give_back(&self, claim: &Claim, why: Why) -> Result<bool> {
        let deaths = match why {
            Why::Interrupted => "deaths",
            Why::Died => "CASE WHEN rows_done > 0 THEN 0 ELSE deaths + 1 END",
        };
        let sql = format!("UPDATE run SET status = 'Queued', deaths = {deaths} WHERE {HELD} AND cancel = 0");
        self.write(|tx| tx.execute(&sql, params![claim.id(), claim.fence()])).map(|given_back| given_back > 0)
    }

    fn orphans(&self, holds: &dyn Fn(&str) -> bool) -> Result<Vec<Claim>> {
        // The process that attends is the only one that executes runs.
        let runs = self.runs_that_are(Status::InProgress)?;
        Ok(runs.into_iter().filter(|run| !holds(&run.id)).map(claim_of).collect())
    }

    fn executed(&self, holds: &dyn Fn(&str) -> bool) -> Result<Vec<String>> {
        let runs = self.runs_that_are(Status::InProgress)?.into_iter();
        Ok(runs.map(|run| run.id).filter(|id| holds(id)).collect())
    }

    fn to_cancel(&self) -> Result<Vec<String>> {
        self.read(|c| {
            let mut query =
                c.prepare_cached("SELECT id FROM run WHERE status = 'In Progress' AND cancel <> 0")?;
            self.collect(query.query_map([], |row| id_in(row, "id"))?)
        })
    }
}

/// Writes down what a job has exported.
fn keep_mark(tx: &Transaction<'_>, run: &str, mark: Option<&str>) -> rusqlite::Result<()> {
    let Some(mark) = mark else { return Ok(()) };
    tx.execute("UPDATE job SET mark = ?2 WHERE name = (SELECT job FROM run WHERE id = ?1)", [run, mark])
        .map(drop)
}
