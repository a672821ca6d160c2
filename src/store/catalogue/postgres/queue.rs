//! The queue of runs: each transition asks for the id, the fence and the status that it leads from, in the statement that
//! makes it.
//!
//! A claim is its owner's for 30 seconds after he was last heard of, by the database's clock; then another one may take it up,
//! by a fence of its own. He is heard of when he renews it, and when he says which runs he holds.

use std::time::SystemTime;

use tokio_postgres::Row;
use uuid::Uuid;

use super::rows::{Readable, forget_hidden, get, id_in, lock, number, storable};
use super::runs::run_in;
use super::session::Session;
use super::{Postgres, artifacts};
use crate::error::Result;
use crate::store::catalogue::{
    Attendance, Claim, Completion, End, Ended, Note, Progress, Queue, Standing, Wanted, Why,
};
use crate::store::clock::to_ms;

/// The run that is executed by that claim, and by no other.
const HELD: &str = "id = $1 AND fence = $2 AND status = 'In Progress'";
/// Until when a claim lasts that is made or renewed now.
const LEASE: &str = "clock_timestamp() + interval '30 seconds'";
/// A claim is renewed when it has less left than this.
const RENEWED: &str = "clock_timestamp() + interval '20 seconds'";
/// Another claim can be counted.
const COUNTED: &str = "attempts BETWEEN 0 AND 4294967294 AND fence BETWEEN 0 AND 4294967294";

/// Returns what this process is called in the rows of runs that it has claimed.
pub(super) fn owner() -> String {
    let host =
        nix::unistd::gethostname().map_or_else(|_| String::new(), |name| name.to_string_lossy().into());
    format!("{} {} {}", Uuid::new_v4(), storable(&host), std::process::id())
}

fn claim_in(row: &Row) -> Readable<Claim> {
    Ok(Claim::new(run_in(row)?, number(row, "fence")?))
}

/// A run in progress, as one worker sees it.
struct Seen {
    claim: Claim,
    is_own: bool,
    has_run_out: bool,
    /// It is to be renewed.
    is_due: bool,
}

fn seen(row: &Row) -> Readable<Seen> {
    Ok(Seen {
        claim: claim_in(row)?,
        is_own: get(row, "is_own")?,
        has_run_out: get(row, "has_run_out")?,
        is_due: get(row, "is_due")?,
    })
}

impl Postgres {
    /// Claims a run that is none of `not`. `unreadable` is raised by one that cannot be read, and stays as it is.
    fn claim_readable(
        &self,
        only: Option<&str>,
        not: &[String],
        now: SystemTime,
        unreadable: &mut bool,
    ) -> Result<Option<Claim>> {
        let sql = format!(
            "UPDATE run SET status = 'In Progress', started = $1, attempts = attempts + 1, fence = fence + 1, debris = true,
             rows_done = NULL, rows_total = NULL, bytes_written = NULL, eta_seconds = NULL,
             owner = $2, lease_until = {LEASE} WHERE id = (
               SELECT id FROM run WHERE status = 'Queued' AND NOT cancel AND {COUNTED}
               AND ($3::text IS NULL OR id = $3) AND id <> ALL ($4)
               ORDER BY coalesce(queued, scheduled) NULLS FIRST, id LIMIT 1 FOR UPDATE SKIP LOCKED)
             RETURNING *"
        );
        self.write(|tx| {
            let row = tx.query_opt(&sql, &[&to_ms(now), &self.owner, &only, &not])?;
            let claim = row.as_ref().map(claim_in).transpose();
            *unreadable = claim.is_err();
            Ok(claim?)
        })
    }

    /// Returns the ids of queued runs that cannot be read.
    fn unreadable(&self) -> Result<Vec<String>> {
        let mut rows = self.read(|c| c.query("SELECT * FROM run WHERE status = 'Queued'", &[]))?;
        rows.retain(|row| claim_in(row).is_err());
        self.collect(&rows, claim_in);
        Ok(rows.iter().filter_map(|row| get(row, "id").ok()).collect())
    }

    /// Takes up a claim of another that has run out, or one of this process; `None` if somebody else has done so, or has to
    /// do with it.
    fn take_up(&self, claim: &Claim) -> Result<Option<Claim>> {
        let sql = format!(
            "UPDATE run SET fence = fence + 1, owner = $3, lease_until = {LEASE} WHERE id = (
               SELECT id FROM run WHERE {HELD} AND {COUNTED}
               AND (owner = $3 OR lease_until IS NULL OR lease_until < clock_timestamp()) FOR UPDATE SKIP LOCKED)
             RETURNING *"
        );
        self.write(|tx| {
            let row = tx.query_opt(&sql, &[&claim.id(), &i64::from(claim.fence()), &self.owner])?;
            Ok(row.as_ref().map(claim_in).transpose()?)
        })
    }
}

impl Queue for Postgres {
    fn attend(&self) -> Result<Option<Attendance>> {
        // Any number of processes may.
        self.writer().map(|_| Some(Attendance::new(())))
    }

    fn claim(&self, wanted: &Wanted<'_>, now: SystemTime) -> Result<Option<Claim>> {
        if !self.read(|c| c.exists("SELECT 1 FROM run WHERE status = 'Queued' LIMIT 1", &[]))? {
            return Ok(None);
        }
        let (mut not, mut unreadable): (Vec<_>, _) = (wanted.not.iter().cloned().collect(), false);
        let claimed = self.claim_readable(wanted.only, &not, now, &mut unreadable);
        if !unreadable {
            return claimed;
        }
        not.extend(self.unreadable()?);
        self.claim_readable(wanted.only, &not, now, &mut unreadable)
    }

    fn renew(&self, claim: &Claim, progress: &Progress, now: SystemTime) -> Result<Standing> {
        let Progress { rows_done, rows_total, bytes_written, eta_seconds } = *progress;
        let [rows_done, rows_total, bytes_written] = [rows_done, rows_total, bytes_written].map(|n| n as i64);
        let eta_seconds = eta_seconds.map(|s| s as i64);
        let sql = format!(
            "UPDATE run SET rows_done = $3, rows_total = $4, bytes_written = $5, eta_seconds = $6, progressed = $7,
             lease_until = {LEASE} WHERE {HELD} RETURNING cancel"
        );
        let cancel = self.write(|tx| {
            let (fence, now) = (i64::from(claim.fence()), to_ms(now));
            tx.query_opt(
                &sql,
                &[&claim.id(), &fence, &rows_done, &rows_total, &bytes_written, &eta_seconds, &now],
            )
        })?;
        Ok(match cancel.map(|row| get(&row, "cancel")).transpose()? {
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
        let sql = format!("UPDATE run SET {column} = $3, lease_until = {LEASE} WHERE {HELD}");
        let fence = i64::from(claim.fence());
        self.write(|tx| tx.execute(&sql, &[&claim.id(), &fence, &storable(text)])).map(drop)
    }

    fn complete(&self, claim: &Claim, made: &Completion<'_>) -> Result<Ended> {
        let size = made.parts.iter().fold(0u64, |size, (part, _)| size.saturating_add(part.size));
        let (id, fence) = (claim.id(), i64::from(claim.fence()));
        self.write(|tx| {
            if made.mark.is_some() {
                lock(tx, id)?;
            }
            let sql = format!(
                "UPDATE run SET status = 'Completed', finished = $3, bytes = $4, present = true, debris = false,
                 rows_done = $5, rows_total = $5, bytes_written = $6, eta_seconds = NULL, error = NULL
                 WHERE {HELD} AND NOT cancel"
            );
            let (finished, bytes, rows) = (to_ms(made.finished), made.bytes as i64, made.rows as i64);
            if tx.execute(&sql, &[&id, &fence, &finished, &bytes, &rows, &(size as i64)])? > 0 {
                artifacts::insert(tx, id, made.parts)?;
                keep_mark(tx, id, made.mark)?;
                return Ok(Ended::Completed);
            }
            let row = tx.query_opt("SELECT status FROM run WHERE id = $1 AND fence = $2", &[&id, &fence])?;
            Ok(match row.as_ref().map(|row| get::<&str>(row, "status")).transpose()? {
                Some("Completed") => Ended::Completed,
                Some("In Progress") => Ended::Cancelled,
                _ => Ended::Lost,
            })
        })
    }

    fn is_complete(&self, claim: &Claim) -> Result<bool> {
        let (id, fence) = (claim.id(), i64::from(claim.fence()));
        // A commit that is under way has the row until it is over.
        let sql = "SELECT status FROM run WHERE id = $1 AND fence = $2 FOR SHARE";
        let (_, row) = self.writer()?.ask(|c| c.query_opt(sql, &[&id, &fence]))?;
        Ok(row.as_ref().map(|row| get::<&str>(row, "status")).transpose()? == Some("Completed"))
    }

    fn end(&self, claim: &Claim, end: &End) -> Result<()> {
        let End { status, finished, ref error, is_clean } = *end;
        let (id, fence, error) = (claim.id(), i64::from(claim.fence()), error.as_deref().map(storable));
        let sql = format!(
            "UPDATE run SET status = $3, finished = $4, error = $5, debris = $6, eta_seconds = NULL WHERE {HELD}"
        );
        self.write(|tx| {
            tx.execute(&sql, &[&id, &fence, &status.name(), &to_ms(finished), &error, &!is_clean])?;
            forget_hidden(tx)
        })
    }

    fn give_back(&self, claim: &Claim, why: Why) -> Result<bool> {
        let deaths = match why {
            Why::Interrupted => "deaths",
            Why::Died => "CASE WHEN rows_done > 0 THEN 0 ELSE deaths + 1 END",
        };
        let sql = format!("UPDATE run SET status = 'Queued', deaths = {deaths} WHERE {HELD} AND NOT cancel");
        Ok(self.write(|tx| tx.execute(&sql, &[&claim.id(), &i64::from(claim.fence())]))? > 0)
    }

    fn orphans(&self, holds: &dyn Fn(&str) -> bool) -> Result<Vec<Claim>> {
        let sql = format!(
            "SELECT *, coalesce(owner = $1, false) AS is_own,
             coalesce(lease_until < clock_timestamp(), true) AS has_run_out,
             coalesce(lease_until < {RENEWED}, true) AS is_due
             FROM run WHERE status = 'In Progress' ORDER BY id"
        );
        let rows = self.read(|c| c.query(&sql, &[&self.owner]))?;
        let runs = self.collect(&rows, seen);
        let (held, others): (Vec<_>, Vec<_>) =
            runs.into_iter().partition(|seen| seen.is_own && holds(seen.claim.id()));
        let due: Vec<_> = held.iter().filter(|seen| seen.is_due).map(|seen| seen.claim.id()).collect();
        if !due.is_empty() {
            let sql = format!(
                "UPDATE run SET lease_until = {LEASE} WHERE owner = $1 AND status = 'In Progress' AND id IN (
                   SELECT id FROM run WHERE id = ANY ($2) ORDER BY id FOR UPDATE SKIP LOCKED)"
            );
            self.write(|tx| tx.execute(&sql, &[&self.owner, &due]))?;
        }
        let orphans = others.iter().filter(|seen| seen.is_own || seen.has_run_out);
        orphans.filter_map(|seen| self.take_up(&seen.claim).transpose()).collect()
    }

    fn executed(&self, holds: &dyn Fn(&str) -> bool) -> Result<Vec<String>> {
        // Whoever has let a claim run out may live all the same, until it is taken up.
        let sql = "SELECT id, coalesce(owner = $1, false) AS is_own FROM run WHERE status = 'In Progress' ORDER BY id";
        let rows = self.read(|c| c.query(sql, &[&self.owner]))?;
        let mut runs = self.collect(&rows, |row| Ok((id_in(row, "id")?, get::<bool>(row, "is_own")?)));
        runs.retain(|(id, is_own)| !is_own || holds(id));
        Ok(runs.into_iter().map(|(id, _)| id).collect())
    }

    fn to_cancel(&self) -> Result<Vec<String>> {
        let sql = "SELECT id FROM run WHERE status = 'In Progress' AND cancel";
        self.read(|c| c.query(sql, &[])).map(|rows| self.collect(&rows, |row| id_in(row, "id")))
    }
}

/// Writes down what a job has exported.
fn keep_mark(tx: &mut Session, run: &str, mark: Option<&str>) -> Result<()> {
    let Some(mark) = mark else { return Ok(()) };
    let sql = "UPDATE job SET mark = $2 WHERE name = (SELECT job FROM run WHERE id = $1)";
    tx.execute(sql, &[&run, &storable(mark)]).map(drop)
}
