//! What `since_last_run` promises: every row that earlier runs have not exported, and a warning if one may be exported
//! twice.
//!
//! How a source proves what it has exported is its own affair: a [`Mark`](crate::export::source::selection::Mark) is
//! opaque. Whether the proof covers what is asked for now, and what the user is told, is the same for all sources.

/// What is asked of a table, or was asked of it when a mark was made.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Compared without regard to case.
    pub table: &'a str,
    /// `None` is all.
    pub media_types: Option<&'a [String]>,
}

/// The reason given for a mark that cannot be read.
pub const NO_PROOF: &str = "the last run has left no proof of what it exported, as those of older versions";

impl Asked<'_> {
    /// Fails with the reason if what was exported `before` does not cover all that is asked for now.
    pub fn check_covered(&self, before: Asked<'_>) -> Result<(), String> {
        if !before.table.eq_ignore_ascii_case(self.table) {
            return Err(format!("the last run exported from the table {}", before.table));
        }
        let is_covered = match (before.media_types, self.media_types) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(before), Some(now)) => now.iter().all(|media| before.contains(media)),
        };
        if is_covered { Ok(()) } else { Err("the last run exported fewer media types".to_owned()) }
    }
}

/// Returns the warning for a mark that proves nothing.
pub fn everything_again(why: &str) -> String {
    format!("since_last_run: everything is exported again: {why}")
}

/// Returns the warning for rows that may have been exported before.
pub(crate) fn perhaps_again(rows: u64, table: &str) -> String {
    format!(
        "since_last_run: up to {rows} rows of {table} may have been exported before: since the last run some were \
         deleted, replaced, changed in id, date or media type, or inserted out of order, or what belongs to them changed"
    )
}

/// What is said where a source goes by the dates in a column, and takes some rows that it has had already.
pub fn overlapping(rows: u64, table: &str, column: &str) -> String {
    format!(
        "since_last_run: up to {rows} rows of {table} may have been exported before: rows come by {column}, those of the last \
         10 minutes before the last run again, and those without a date or with one in the future every time"
    )
}

/// What is said where a source can only go by the dates at which rows begin.
pub fn unproved(table: &str, column: &str, right: &str) -> String {
    format!(
        "since_last_run: {table} has no {right} that is a timestamp, so that rows come by {column}: one that was stored more \
         than 10 minutes after that instant is not exported"
    )
}
