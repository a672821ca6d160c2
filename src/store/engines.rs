//! The kinds of locations and catalogues that this program was built with.

use std::sync::Arc;

use super::address::Reach;
use super::catalogue::{Catalogue, Queue};
use super::parts::Parts;
use crate::error::Result;

/// A catalogue, and the queue of its runs.
pub(super) type Both = (Arc<dyn Catalogue>, Arc<dyn Queue>);

/// How a catalogue is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is made where it is missing.
    Create,
    Write,
    Read,
}

#[cfg(feature = "object-store")]
pub(super) fn object_store(url: &str, reach: &Reach) -> Result<Arc<dyn Parts>> {
    Ok(Arc::new(super::parts::object::Object::open(url, reach)?))
}

#[cfg(not(feature = "object-store"))]
pub(super) fn object_store(_url: &str, _reach: &Reach) -> Result<Arc<dyn Parts>> {
    Err(not_built_in("object stores", "object-store"))
}

#[cfg(feature = "postgres")]
pub(super) fn database(url: &str, mode: Mode) -> Result<Both> {
    use super::catalogue::postgres::Postgres;
    let catalogue = Arc::new(match mode {
        Mode::Create => Postgres::create(url)?,
        Mode::Write => Postgres::open(url)?,
        Mode::Read => Postgres::open_read_only(url)?,
    });
    Ok((catalogue.clone(), catalogue))
}

#[cfg(not(feature = "postgres"))]
pub(super) fn database(_url: &str, _mode: Mode) -> Result<Both> {
    Err(not_built_in("catalogues in PostgreSQL", "postgres"))
}

/// Returns true if there is a catalogue in the database.
#[cfg(feature = "postgres")]
pub(super) fn is_in_database(url: &str) -> Result<bool> {
    super::catalogue::postgres::Postgres::exists(url)
}

#[cfg(not(feature = "postgres"))]
pub(super) fn is_in_database(_url: &str) -> Result<bool> {
    Err(not_built_in("catalogues in PostgreSQL", "postgres"))
}

#[cfg(not(all(feature = "object-store", feature = "postgres")))]
fn not_built_in(what: &str, feature: &str) -> crate::error::Error {
    let text = format!("this program was built without {what}");
    let hint = format!("build it with the feature {feature}, which is on by default");
    crate::error::Error::new(crate::error::Kind::Unsupported, text).with_hint(hint)
}
