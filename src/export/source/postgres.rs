//! The contact history in a PostgreSQL database, which is only read.
//!
//! ```text
//! open      a connection with its one transaction, and what is said when it ends early
//! schema    the tables, columns and indexes that are there
//! form      how values of PostgreSQL's types are asked for and read
//! plan      the SQL of walks along them, in an order that is the same for every plan
//! dates, mark   which rows: inside a timeframe, new since a mark
//! planning  all that a snapshot has found out before its first row
//! reading, wide   rows and values
//! ```

use super::layout::Layout;
use super::selection::{Kind, Selection};
use super::snapshot::{Snapshot, Source};
use crate::error::{At, Result};
use crate::io::Cancel;
use crate::postgresql::{Client, Url};

mod dates;
mod form;
mod mark;
mod open;
mod plan;
mod planning;
mod reading;
mod schema;
mod wide;

use open::Said;
use reading::Reading;
use schema::Table;

/// A PostgreSQL database with a contact history.
#[derive(Debug, Clone)]
pub struct PostgresSource {
    url: Url,
}

impl PostgresSource {
    /// Nothing is asked yet but how the URL is spelled.
    pub fn new(url: &str) -> Result<PostgresSource> {
        Ok(PostgresSource { url: Url::parse(url)? })
    }
}

impl Source for PostgresSource {
    fn check(&self) -> Result<()> {
        let mut client = open::open_to_check(&self.url)?;
        let mut has = |kind| has_parents(&mut client, Layout::of(kind));
        let found = has(Kind::Interaction).or_else(|error| has(Kind::Contact).map_err(|_| error));
        found.at(&self.url)
    }

    fn snapshot(&self, selection: &Selection, cancel: &Cancel) -> Result<Box<dyn Snapshot>> {
        cancel.check()?;
        let mut client = open::open(&self.url, cancel)?;
        let id = open::export(&mut client).at(&self.url)?;
        let planned = planning::plan(&mut client, &self.url, selection).at(&self.url)?;
        Ok(Box::new(Reading::new(client, planned, wide::Opener { url: self.url.clone(), id }, cancel)))
    }
}

fn has_parents(client: &mut Client, layout: &Layout) -> Result<()> {
    let table = Table::load(client, layout.parent.name)?.ok_or_else(|| layout.parent.missing())?;
    layout.parent.check(&table.names())?;
    // Who may see it may not be one who may read it.
    client.query(&format!("SELECT FROM {} LIMIT 0", table.sql), &[]).said().map(drop)
}

#[cfg(test)]
mod tests;
