//! Stores: which parts there are, which sets they make, when they change, what is known about them.
//!
//! ```text
//! Store      plain: a location; managed: a location, a catalogue and its queue
//! parts      locations: a directory
//! catalogue  catalogues: SQLite
//! ```

mod atomic;
pub mod catalogue;
pub mod clock;
mod log_once;
pub mod managed;
pub mod names;
pub mod parts;
pub mod retention;
pub mod sets;
pub mod sizes;
mod snapshot;
pub mod verified;
pub mod watch;

pub use snapshot::{Plain, Store, StoreSnapshot};

/// Returns the version of SQLite that is built in.
pub(crate) fn library_version() -> &'static str {
    catalogue::sqlite::library_version()
}
