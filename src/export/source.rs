//! Where an export's rows come from: the interface, and the embedded default.
//!
//! A [`Source`] gives a [`Snapshot`] of what a [`Selection`] asks for. The snapshot knows the files of the archive and
//! how many rows each has before the first row is read, and then hands out rows one at a time: what is held does not
//! grow with their number. [`Row::append_json`] writes one as a line.
//!
//! # The contact-history database
//!
//! [`ContactHistory`] reads an SQLite database, and never writes to it. This schema is what `cddsfs sample` makes:
//!
#![doc = concat!("```sql\n", include_str!("source/schema.sql"), "```")]
//!
//! What must be there: for interactions a table `interaction` with `id`, `entitytypeid`, `mediatypeid` and `startdate`;
//! for contacts a table `contact` with `contactid` (and `createddate`, where a timeframe asks for it). The tables
//! `attachment` (`documentid`, `entityid`) and `contactattribute` (`contactid`, `attrname`) may be missing; with
//! them, `id` or `contactid` must be a primary key or have a unique index. Names match in any case. Every column is
//! exported: those that are known in the order above, then all others in the table's.
//!
//! Instants are text, `YYYY-MM-DD HH:MM:SS.fff`, UTC, or spelled in any other way that `source/instant.rs` lists, also
//! in several in one column. A value that is not understood fails an export with a timeframe. A row whose date is NULL
//! or empty is in no timeframe that has a bound.
//!
//! A value of more than 256 KiB is read in pieces, so that memory does not grow with the widest. SQLite gives none of a
//! table WITHOUT ROWID or with generated columns: there more than 16 MiB are refused by name.
//!
//! # What is new
//!
//! [`Timeframe::Since`] gives every row that the runs before have not had; `source/mark.rs` says how that is proved. A
//! row that was only changed is not new, but for its id, date and media type (`source/digest.rs`). Attachments and
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

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::io::Cancel;

mod database;
mod dates;
mod digest;
mod instant;
mod json;
mod mark;
mod media;
mod open;
mod plan;
mod reading;
mod row;
mod schema;
mod wide;

pub use database::ContactHistory;
pub(super) use open::Sqlite;
pub use row::{CHUNK, Columns, Pieces, Row, Value, Wide};

/// The tables and indexes of a contact-history database.
pub const SCHEMA: &str = include_str!("source/schema.sql");

/// What an export is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    Interaction,
    Contact,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Interaction => "Interaction",
            Kind::Contact => "Contact",
        }
    }
}

/// Which rows, by the date on which an interaction started or a contact was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Timeframe {
    All,
    /// `start` is included, `end` is not.
    Between {
        start: Option<jiff::Timestamp>,
        end: Option<jiff::Timestamp>,
    },
    /// What was not exported with the mark, whatever its date; without a mark everything.
    Since(Option<Mark>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    pub kind: Kind,
    /// Exactly as they are in `mediatypeid`; `None` is all. Only for interactions.
    pub media_types: Option<Vec<String>>,
    pub timeframe: Timeframe,
}

/// What has been exported of a table. Its text may be stored; only the source that made it understands it.
///
/// It proves which rows were exported, whatever becomes of the database meanwhile; where it cannot, they are exported
/// again, and [`Snapshot::warnings`] says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mark(String);

impl From<String> for Mark {
    fn from(text: String) -> Mark {
        Mark(text)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The place of a file in the archive, but for the run's id in its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FilePath {
    /// Without a slash at either end.
    pub folder: String,
    /// What the name begins with.
    pub stem: String,
}

impl FilePath {
    /// Returns the name of the member that a run writes.
    pub fn member(&self, run: impl fmt::Display) -> String {
        format!("{}/{}-{run}.json", self.folder, self.stem)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    pub path: FilePath,
    /// Never 0.
    pub rows: u64,
}

/// What can be exported from.
pub trait Source: Send + Sync {
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

    /// What has been exported with this snapshot, for the next [`Timeframe::Since`]; `None` after any other timeframe.
    fn mark(&self) -> Option<Mark>;

    /// What is to be said of the rows once all of them have been read: what was asked for and is not there, what may
    /// have been exported before.
    fn warnings(&self) -> Result<Vec<String>>;
}
