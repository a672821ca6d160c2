//! PostgreSQL: how a database is reached, and how it is asked without waiting for ever.
//!
//! ```text
//! url      what names a database: libpq's spelling, without a password
//! pgpass   where the password is: PGPASSWORD, PGPASSFILE, ~/.pgpass
//! tls      sslmode and sslrootcert, as libpq means them
//! client   statements, each of which ends in time or when it is cancelled
//! failure  what the server says, as the user may read it
//! ```
//!
//! A build without the feature `postgres` knows a URL when it sees one, and no more.

#[cfg(feature = "postgres")]
mod client;
#[cfg(feature = "postgres")]
mod failure;
#[cfg(feature = "postgres")]
mod pgpass;
#[cfg(feature = "postgres")]
mod tls;
#[cfg(feature = "postgres")]
mod url;

#[cfg(feature = "postgres")]
pub(crate) use client::{Client, Wait};
#[cfg(feature = "postgres")]
pub(crate) use failure::Failure;
#[cfg(feature = "postgres")]
pub(crate) use url::Url;

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// Returns true for a text that names a database of PostgreSQL. A file of such a name is `./postgres://...`.
pub(crate) fn is_url(text: &str) -> bool {
    SCHEMES.iter().any(|scheme| text.starts_with(scheme))
}
