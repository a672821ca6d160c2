//! A session with the database, in which nothing takes longer than its time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use crate::error::{Error, Kind, Result};
use crate::io::Cancel;
use crate::postgresql::{Client, Failure, Url, Wait};

/// A statement begins within this time of the call that it is of, or not at all.
pub(crate) const CALL: Duration = Duration::from_secs(6);
/// How long one is waited for. The server gives it up before, so that what it was waiting for is known.
const STATEMENT: Duration = Duration::from_secs(5);

/// What is committed survives a loss of power, whatever the server does for others.
const SETTINGS: &str = "SET statement_timeout = '4s';
    SET lock_timeout = '4s';
    SET idle_in_transaction_session_timeout = '60s';
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";
const READS: &str = "SET default_transaction_read_only = on";

pub(crate) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// What a session may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

pub(crate) struct Session {
    client: Client,
    statements: HashMap<String, Statement>,
    /// Until when the call that has it may begin statements.
    until: Instant,
    in_transaction: bool,
    is_broken: bool,
    /// It has not answered in time: asking again would take as long.
    is_late: bool,
}

impl Session {
    pub(crate) fn open(url: &Url, access: Access) -> Result<Session> {
        let wait = Wait { cancel: Cancel::new(), time: Some(STATEMENT) };
        let client = url.connect(wait).map_err(unreachable)?;
        let (statements, until) = (HashMap::new(), Instant::now() + CALL);
        let mut session =
            Session { client, statements, until, in_transaction: false, is_broken: false, is_late: false };
        session.batch(SETTINGS)?;
        if access == Access::Read {
            session.batch(READS)?;
        }
        Ok(session)
    }

    /// Begins a call, which may begin statements until then.
    pub(crate) fn have_until(&mut self, until: Instant) {
        self.until = until;
    }

    /// Gives the call more time: what it does is bounded by something else.
    pub(crate) fn go_on(&mut self) {
        self.have_until(Instant::now() + CALL);
    }

    /// Executes statements without values.
    pub(crate) fn batch(&mut self, sql: &str) -> Result<()> {
        self.check_time()?;
        let done = self.client.batch_execute(sql);
        self.judge(done)
    }

    /// Returns how many rows a statement has changed.
    pub(crate) fn execute(&mut self, sql: &str, values: Values<'_>) -> Result<u64> {
        let statement = self.prepare(sql)?;
        let done = self.client.execute(&statement, values);
        self.judge(done)
    }

    pub(crate) fn query(&mut self, sql: &str, values: Values<'_>) -> Result<Vec<Row>> {
        let statement = self.prepare(sql)?;
        let done = self.client.query(&statement, values);
        self.judge(done)
    }

    /// Returns the first row, if there is one.
    pub(crate) fn query_opt(&mut self, sql: &str, values: Values<'_>) -> Result<Option<Row>> {
        Ok(self.query(sql, values)?.into_iter().next())
    }

    pub(crate) fn exists(&mut self, sql: &str, values: Values<'_>) -> Result<bool> {
        Ok(!self.query(sql, values)?.is_empty())
    }

    /// Returns the value of a query that has one.
    pub(crate) fn value<T: for<'a> tokio_postgres::types::FromSql<'a>>(
        &mut self,
        sql: &str,
        values: Values<'_>,
    ) -> Result<T> {
        let row = self.query_opt(sql, values)?;
        let row = row.ok_or_else(|| Error::damaged("catalogue: a row is missing that is always there"))?;
        row.try_get(0).map_err(|error| Error::damaged(format!("catalogue: {error}")))
    }

    /// Begins a transaction, and returns what the server calls it.
    pub(crate) fn begin(&mut self) -> Result<String> {
        self.batch("BEGIN")?;
        self.in_transaction = true;
        self.value("SELECT pg_current_xact_id()::text", &[])
    }

    pub(crate) fn commit(&mut self) -> Result<()> {
        // What is refused here is taken back by the server.
        self.in_transaction = false;
        let done = self.client.batch_execute("COMMIT");
        self.judge(done)
    }

    /// Takes back what was done since the beginning of the transaction; a session that cannot is not used any more.
    pub(crate) fn roll_back(&mut self) {
        let done = self.client.batch_execute("ROLLBACK");
        self.in_transaction = self.judge(done).is_err();
    }

    /// True if the connection is gone, and that was no matter of time: with another one the same may come to something.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_broken && !self.is_late
    }

    pub(crate) fn is_in_transaction(&self) -> bool {
        self.in_transaction
    }

    /// False if it cannot be used any more. So it is, too, with one whose transaction was left.
    pub(crate) fn is_sound(&self) -> bool {
        !(self.is_broken || self.in_transaction || self.client.is_closed())
    }

    fn prepare(&mut self, sql: &str) -> Result<Statement> {
        self.check_time()?;
        if let Some(known) = self.statements.get(sql) {
            return Ok(known.clone());
        }
        let prepared = self.client.prepare(sql);
        let prepared = self.judge(prepared)?;
        self.statements.insert(sql.into(), prepared.clone());
        Ok(prepared)
    }

    fn check_time(&self) -> Result<()> {
        (Instant::now() < self.until).then_some(()).ok_or_else(busy)
    }

    fn judge<T>(&mut self, done: std::result::Result<T, Failure>) -> Result<T> {
        done.map_err(|failure| {
            // A plan that has become out of date is made anew with a new session.
            let is_outdated = failure.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED);
            self.is_broken |= failure.is_final() || is_outdated;
            self.is_late |= matches!(failure, Failure::TimedOut(_));
            said(failure)
        })
    }
}

pub(crate) fn busy() -> Error {
    Error::new(Kind::TimedOut, "catalogue: the database takes too long with what others ask it")
}

/// Whatever is only so at the moment is worth waiting for.
fn said(failure: Failure) -> Error {
    let kind = match failure.code() {
        Some(code) if *code == SqlState::DISK_FULL => Some(Kind::Os(libc::ENOSPC)),
        Some(code) if *code == SqlState::READ_ONLY_SQL_TRANSACTION => Some(Kind::ReadOnly),
        Some(code) if *code == SqlState::UNIQUE_VIOLATION => Some(Kind::Os(libc::EEXIST)),
        Some(code) if *code == SqlState::FEATURE_NOT_SUPPORTED => Some(Kind::TimedOut),
        _ if failure.is_final() => Some(Kind::TimedOut),
        _ => None,
    };
    let error = Error::from(failure).at("catalogue");
    match (kind, error.kind()) {
        (Some(kind), _) => of_kind(kind, &error),
        (None, Kind::Os(libc::EAGAIN | libc::ECONNRESET)) => of_kind(Kind::TimedOut, &error),
        (None, Kind::Invalid) => of_kind(Kind::Damaged, &error),
        (None, _) => error,
    }
}

/// A server that cannot be reached is waited for, like one that does not answer.
fn unreachable(error: Error) -> Error {
    match error.kind() {
        Kind::Os(libc::EACCES | libc::ENOENT) => error,
        Kind::Os(_) => of_kind(Kind::TimedOut, &error),
        _ => error,
    }
}

fn of_kind(kind: Kind, error: &Error) -> Error {
    let made = Error::new(kind, error.to_string());
    match error.hint() {
        Some(hint) => made.with_hint(hint),
        None => made,
    }
}
