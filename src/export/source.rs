//! Where an export's rows come from.
//!
//! A [`Source`] gives a [`Snapshot`] of what a [`Selection`] asks for. The snapshot knows the files of the archive and
//! how many rows each has before the first row is read, and then hands out rows one at a time: what is held does not
//! grow with their number. [`Row::append_json`] writes one as a line.
//!
//! [`layout`] says what an export is made of, whatever engine has the rows: tables, entity types, folders, files, keys,
//! and which rows a timeframe means. It knows no SQL. An engine (`sqlite`, `postgres`) knows how such rows are found and read.
//! [`open`] is the only one who knows which engines there are.
//!
//! ```text
//! source -> { sqlite, postgres } -> layout -> row -> json
//! ```
//!
//! # The contact-history database
//!
//! [`SqliteSource`] reads an SQLite database, and never writes to it. This schema is what `cddsfs sample` makes:
//!
#![doc = concat!("```sql\n", include_str!("source/sqlite/schema.sql"), "```")]
//!
//! What must be there: for interactions a table `interaction` with `id`, `entitytypeid`, `mediatypeid` and `startdate`;
//! for contacts a table `contact` with `contactid` (and `createddate`, where a timeframe asks for it). The tables
//! `attachment` (`documentid`, `entityid`) and `contactattribute` (`contactid`, `attrname`) may be missing; with
//! them, `id` or `contactid` must be a primary key or have a unique index. Names match in any case. Every column is
//! exported: those that are known in the order above, then all others in the table's.
//!
//! Instants are text, `YYYY-MM-DD HH:MM:SS.fff`, UTC, or spelled in any other way that `layout/instant.rs` lists, also
//! in several in one column. A value that is not understood fails an export with a timeframe. A row whose date is NULL
//! or empty is in no timeframe that has a bound.
//!
//! A value of more than 256 KiB is read in pieces, so that memory does not grow with the widest, and a shorter one too
//! where a row may have more than 16 MiB of them. SQLite gives no pieces of a table WITHOUT ROWID or with generated
//! columns: there a value of more than 16 MiB and a row of more than 32 MiB are refused by name. So is, in any table, a
//! value of more than 64 KiB in an index that leads to rows.
//!
//! # What is new
//!
//! [`Timeframe::Since`] gives every row that the runs before have not had; `sqlite/mark.rs` says how that is proved. A
//! row that was only changed is not new, but for its id, date and media type (`layout/digest.rs`). Attachments and
//! attributes go with their rows: when one is added or changed, its row is exported again with all that it has.
//!
//! # Files and their order
//!
//! ```text
//! UCS/Interaction/<EntityType>/<EntityType>             entitytypeid 0 EmailIn, 1 EmailOut, 2 Chat, 3 PhoneCall,
//!                                                       5 CallBack, 6 CoBrowse, 7 and every other Interaction
//! UCS/Interaction/<EntityType>/<EntityType>-Attachment  attachments of those interactions
//! UCS/Contact/Contact
//! UCS/Contact/ContactAttribute                          attributes of those contacts
//! ```
//!
//! Interactions come in the order of the index on (entitytypeid, startdate), else on startdate (with a timeframe) or
//! entitytypeid, and otherwise of the table; contacts in that of an index on createddate (with a timeframe), else of
//! the table. `Since` always goes by the table. Attachments and attributes follow the order of what they belong to
//! where there is an index on `entityid` or `contactid`, and are otherwise in that of their table. One that belongs
//! to no row is in no file. Ties are in the order of the rowid, or of the primary key without one.
//!
//! # Locks
//!
//! A snapshot is one read transaction. In WAL mode others go on writing meanwhile; with a rollback journal they wait.
//!
//! # PostgreSQL
//!
//! `PostgresSource` reads the same tables of a PostgreSQL database, the first of each name along the search_path: tables,
//! partitioned ones, views, materialized and foreign ones. `postgres/form.rs` says what values of its types are. `entitytypeid` has to be a
//! number, and a date a timestamp or a date, or a text if all are spelled alike. `id` and `contactid` must be unique; of a view that is
//! believed.
//!
//! The order is by (entitytypeid, startdate), rows without a date first; contacts come by createddate (with a timeframe), and
//! attachments and attributes with what they belong to. Ties are in the order of the primary key, byte by byte, else of the
//! place in the table (tableoid, ctid), of a view in that of `id`, `documentid`, or `contactid` and `attrname`. That is no matter
//! of indexes; where there are some that lead to it, rows come along them, and elsewhere PostgreSQL sorts.
//!
//! Values of more than 256 KiB are read in pieces as above, over a second connection with the same snapshot; from a view a row
//! of more than 16 MiB is refused. `postgres/mark.rs` says what is new: rows come at least once.
//!
//! The snapshot is one transaction, REPEATABLE READ and READ ONLY, in which the server's timeouts are off. Others go on writing.

use std::fmt;
use std::path::PathBuf;

#[cfg(not(feature = "postgres"))]
use crate::error::Error;
use crate::error::Result;
use crate::postgresql::is_url;

mod json;
pub mod layout;
#[cfg(feature = "postgres")]
pub(super) mod postgres;
mod row;
mod selection;
mod snapshot;
pub(super) mod sqlite;

pub use layout::{FileInfo, FilePath};
#[cfg(feature = "postgres")]
pub use postgres::PostgresSource;
pub use row::{CHUNK, Columns, Pieces, Row, Value, Wide};
pub use selection::{Kind, Mark, Selection, Timeframe};
pub use snapshot::{Snapshot, Source};
pub use sqlite::{SCHEMA, SqliteSource};

/// Which database a store's exports are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceSpec {
    /// The file of an SQLite database.
    Sqlite(PathBuf),
    /// The URL of a PostgreSQL database.
    Postgres(String),
}

impl SourceSpec {
    /// Reads it as a store keeps it. What is no URL is a path.
    pub fn parse(text: &str) -> SourceSpec {
        match is_url(text) {
            true => SourceSpec::Postgres(text.to_owned()),
            false => SourceSpec::Sqlite(text.into()),
        }
    }
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceSpec::Sqlite(path) => path.display().fmt(f),
            // What it could say too much with is refused when it is read.
            SourceSpec::Postgres(url) => f.write_str(url.split('?').next().unwrap_or_default()),
        }
    }
}

/// Returns the source. Nothing is opened yet that could fail because of what is in it.
pub fn open(spec: &SourceSpec) -> Result<Box<dyn Source>> {
    match spec {
        SourceSpec::Sqlite(path) => Ok(Box::new(SqliteSource::new(path))),
        #[cfg(feature = "postgres")]
        SourceSpec::Postgres(url) => Ok(Box::new(PostgresSource::new(url)?)),
        #[cfg(not(feature = "postgres"))]
        SourceSpec::Postgres(_) => Err(without_postgres()),
    }
}

#[cfg(not(feature = "postgres"))]
pub(super) fn without_postgres() -> Error {
    Error::unsupported("this cddsfs was built without PostgreSQL (the cargo feature postgres)")
}
