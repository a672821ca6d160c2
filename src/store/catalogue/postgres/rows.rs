//! What rows have in common: values that are checked as they are read, rows that are locked in one order, and rows that go
//! together.

use std::time::SystemTime;

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::session::Session;
use crate::error::{Error, Result};
use crate::store::clock::from_ms;
use crate::store::names::is_run_id;

/// Why a row is not what it has to be: it alone is left out.
#[derive(Debug)]
pub(crate) struct Unreadable(pub String);

pub(crate) type Readable<T> = std::result::Result<T, Unreadable>;

impl From<Unreadable> for Error {
    fn from(Unreadable(why): Unreadable) -> Error {
        Error::damaged(format!("catalogue: {why}"))
    }
}

pub(crate) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Readable<T> {
    row.try_get(column).map_err(|error| Unreadable(error.to_string()))
}

/// Reads a number that is not negative.
pub(crate) fn number<T: TryFrom<i64>>(row: &Row, column: &str) -> Readable<T> {
    let number: i64 = get(row, column)?;
    number.try_into().map_err(|_| Unreadable(format!("its {column:?} is {number}")))
}

/// Reads a number that may be missing. One that cannot be is taken for missing.
pub(crate) fn count(row: &Row, column: &str) -> Readable<Option<u64>> {
    Ok(get::<Option<i64>>(row, column)?.and_then(|number| number.try_into().ok()))
}

/// Reads an instant that may be missing. One that is out of any calendar is taken for missing.
pub(crate) fn instant(row: &Row, column: &str) -> Readable<Option<SystemTime>> {
    Ok(get::<Option<i64>>(row, column)?.and_then(from_ms))
}

/// Reads the id of a run. File names are made of it, so that only one of the right form is taken.
pub(crate) fn id_in(row: &Row, column: &str) -> Readable<String> {
    let id: String = get(row, column)?;
    let wrong = || Unreadable(format!("{:?} is no id of a run", id.escape_debug().to_string()));
    is_run_id(&id).then(|| id.clone()).ok_or_else(wrong)
}

/// Returns a text as the database can have it: it has no NUL.
pub(crate) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Locks a run, and the job that it is of: always in this order, so that nobody waits for one who waits for him.
pub(crate) fn lock(tx: &mut Session, run: &str) -> Result<()> {
    tx.query("SELECT 1 FROM job WHERE name = (SELECT job FROM run WHERE id = $1) FOR UPDATE", &[&run])?;
    tx.query("SELECT 1 FROM run WHERE id = $1 FOR UPDATE", &[&run]).map(drop)
}

/// Deletes runs that were removed from the history and have nothing in the store any more. One that somebody else has to do
/// with is left to him.
pub(crate) fn forget_hidden(tx: &mut Session) -> Result<()> {
    tx.execute(
        "DELETE FROM run WHERE id IN (
           SELECT id FROM run WHERE hidden AND NOT present AND NOT debris
           AND status NOT IN ('Scheduled', 'Queued', 'In Progress')
           AND NOT EXISTS (SELECT 1 FROM part WHERE part.run = run.id)
           FOR UPDATE SKIP LOCKED)",
        &[],
    )
    .map(drop)
}
