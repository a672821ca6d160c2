//! What runs and parts have in common: ids that are checked as they are read, and rows that go together.

use rusqlite::{Row, Transaction};

use crate::store::names::is_run_id;

/// The error of a row whose content is not what it has to be: it alone is left out.
pub(crate) fn unreadable(what: impl Into<String>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, what.into().into())
}

/// Reads the id of a run. File names are made of it, so that only an id of the right form is taken.
pub(crate) fn id_in(row: &Row<'_>, column: &str) -> rusqlite::Result<String> {
    let id: String = row.get(column)?;
    if is_run_id(&id) {
        Ok(id)
    } else {
        Err(unreadable(format!("{:?} is no id of a run", id.escape_debug().to_string())))
    }
}

/// Deletes runs that were removed from the history and have nothing in the store any more.
pub(crate) fn forget_hidden(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "DELETE FROM run WHERE hidden = 1 AND present = 0 AND debris = 0
         AND status NOT IN ('Scheduled', 'Queued', 'In Progress')
         AND NOT EXISTS (SELECT 1 FROM part WHERE part.run = run.id)",
    )?
    .execute([])
    .map(drop)
}
