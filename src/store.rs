//! Stores: which parts there are, which sets they make, when they change, what is known about them.
//!
//! ```text
//! Store      plain: a location; managed: a location, a catalogue and its queue
//! address    what names a store, and `open` who opens it
//! parts      locations: a directory, an object store
//! catalogue  catalogues: SQLite
//! ```

pub mod address;
mod atomic;
pub mod catalogue;
pub mod clock;
mod engines;
mod log_once;
pub mod managed;
pub mod names;
mod open;
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
