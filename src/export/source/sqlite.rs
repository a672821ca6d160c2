//! The contact history in an SQLite database, which is only ever read.
//!
//! ```text
//! open      a connection, and what SQLite's errors mean
//! schema    the tables, columns and indexes that are there
//! plan      the SQL of walks along them, and what SQLite says it does for it
//! dates, mark, digest   which rows: inside a timeframe, not exported before
//! keys      what an index may hold
//! planning  all that a snapshot has found out before its first row
//! reading, wide   rows and values
//! ```

use std::path::PathBuf;

use rusqlite::Connection;

use super::layout::Layout;
use super::selection::{Kind, Selection};
use super::snapshot::{Snapshot, Source};
use crate::error::{At, Result};
use crate::io::Cancel;

mod dates;
mod digest;
mod keys;
mod mark;
mod open;
mod plan;
mod planning;
mod reading;
mod schema;
mod wide;

pub(in crate::export) use open::SqliteResult;

use open::open;
use reading::SqliteSnapshot;
use schema::TableSchema;

/// The tables and indexes of a contact-history database.
pub const SCHEMA: &str = include_str!("sqlite/schema.sql");

/// An SQLite database with a contact history.
#[derive(Debug, Clone)]
pub struct SqliteSource {
    path: PathBuf,
}

impl SqliteSource {
    /// Nothing is opened yet.
    pub fn new(path: impl Into<PathBuf>) -> SqliteSource {
        SqliteSource { path: path.into() }
    }
}

impl Source for SqliteSource {
    fn check(&self) -> Result<()> {
        let connection = open(&self.path, &Cancel::new()).at(self.path.display())?;
        let has = |kind| has_parents(&connection, Layout::of(kind));
        let found = has(Kind::Interaction).or_else(|error| has(Kind::Contact).map_err(|_| error));
        found.at(self.path.display())
    }

    fn snapshot(&self, selection: &Selection, cancel: &Cancel) -> Result<Box<dyn Snapshot>> {
        cancel.check()?;
        let connection = open(&self.path, cancel).at(self.path.display())?;
        let planned = planning::plan(&connection, selection).at(self.path.display())?;
        let (path, cancel) = (self.path.clone(), cancel.clone());
        Ok(Box::new(SqliteSnapshot { connection, path, cancel, planned }))
    }
}

fn has_parents(connection: &Connection, layout: &Layout) -> Result<()> {
    let table = TableSchema::load(connection, layout.parent.name)?.ok_or_else(|| layout.parent.missing())?;
    layout.parent.check(&table.columns)
}

#[cfg(test)]
mod tests;
