//! What a source is asked for, whatever engine has the rows.

use super::layout::FileInfo;
use super::row::Row;
use super::selection::{Mark, Selection};
use crate::error::Result;
use crate::io::Cancel;

/// What can be exported from.
pub trait Source: Send + Sync {
    /// Fails if neither interactions nor contacts can be exported from it.
    fn check(&self) -> Result<()>;

    /// Takes a consistent snapshot and counts its rows, which may take long. Also what is read from it ends with
    /// [`Cancelled`](crate::error::Kind::Cancelled) when `cancel` is raised.
    fn snapshot(&self, selection: &Selection, cancel: &Cancel) -> Result<Box<dyn Snapshot>>;
}

/// Rows that do not change while they are read.
pub trait Snapshot: Send {
    /// Files of the archive in order. One that would have no rows is left out.
    fn files(&self) -> &[FileInfo];

    /// Calls `row` with every row of a file, of which [`files`](Snapshot::files) has the index.
    fn rows(&mut self, file: usize, row: &mut dyn FnMut(&Row<'_>) -> Result<()>) -> Result<()>;

    /// What has been exported with this snapshot, for the next `Timeframe::Since`; `None` after any other timeframe.
    fn mark(&self) -> Option<Mark>;

    /// What is to be said of the rows once all of them have been read: what was asked for and is not there, what may
    /// have been exported before.
    fn warnings(&self) -> Result<Vec<String>>;
}
