//! Stores on disk: what files are there, which sets they make, when they change, what is remembered of them.

mod atomic;
pub mod catalogue;
pub mod clock;
pub mod managed;
pub mod names;
pub mod plain;
pub mod retention;
mod said;
mod same;
pub mod sizes;
mod snapshot;
pub mod watch;

pub use snapshot::{Snapshot, Store};

/// Returns the version of SQLite that is built in.
pub fn library_version() -> &'static str {
    rusqlite::version()
}
