//! Made rows in a PostgreSQL database.

use super::sink::{Cell, Sink, Target};
use super::{Counts, Size, fill};
use crate::error::{At, Error, Kind, Result};
use crate::io::Cancel;
use crate::postgresql::{Client, Url, Wait};

/// The tables of a contact-history database, and their indexes.
const TABLES: &str = include_str!("postgres/tables.sql");
const INDEXES: &str = include_str!("postgres/indexes.sql");
const NAMES: [&str; 4] = ["interaction", "attachment", "contact", "contactattribute"];

/// Rows of a table are sent when they take so many bytes.
const AT_ONCE: usize = 1 << 20;

/// Makes the tables in a database that has none of them. They appear with all rows, or not at all.
pub fn make(url: &Url, size: Size) -> Result<Counts> {
    let mut client = url.connect(Wait { cancel: Cancel::new(), time: None })?;
    make_with(&mut client, size).at(url)
}

fn make_with(client: &mut Client, size: Size) -> Result<Counts> {
    client.batch_execute("BEGIN; SET LOCAL timezone = 'UTC'; SET LOCAL client_min_messages = error")?;
    refuse_existing(client)?;
    client.batch_execute(TABLES)?;
    let mut rows = Rows { client, waiting: Vec::new() };
    let made = fill(&mut rows, size)?;
    rows.send_all()?;
    client.batch_execute(INDEXES)?;
    client.batch_execute("COMMIT")?;
    Ok(made)
}

fn refuse_existing(client: &mut Client) -> Result<()> {
    let sql = "SELECT relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = ANY (current_schemas(false)) AND lower(relname::text COLLATE \"C\") = ANY ($1::text[])";
    match client.query(sql, &[&NAMES.as_slice()])?.first() {
        Some(row) => {
            let name: String = row.try_get(0).unwrap_or_default();
            Err(Error::new(Kind::Os(libc::EEXIST), format!("there is a table {name} already")))
        }
        None => Ok(()),
    }
}

struct Rows<'c> {
    client: &'c mut Client,
    /// Rows of each table, as COPY reads them.
    waiting: Vec<(&'static Target, String)>,
}

impl Rows<'_> {
    fn send_all(&mut self) -> Result<()> {
        for (into, rows) in std::mem::take(&mut self.waiting) {
            self.send(into, rows)?;
        }
        Ok(())
    }

    fn send(&mut self, into: &Target, rows: String) -> Result<()> {
        let sql = format!("COPY {} ({}) FROM STDIN", into.table, into.columns.join(", "));
        Ok(self.client.copy_in(&sql, rows.into_bytes())?)
    }
}

impl Sink for Rows<'_> {
    fn insert(&mut self, into: &'static Target, row: &[Cell<'_>]) -> Result<()> {
        let known = self.waiting.iter().position(|(other, _)| other.table == into.table);
        let at = known.unwrap_or_else(|| {
            self.waiting.push((into, String::new()));
            self.waiting.len() - 1
        });
        let Some((_, rows)) = self.waiting.get_mut(at) else { return Ok(()) };
        append(rows, row);
        if rows.len() >= AT_ONCE {
            let rows = std::mem::take(rows);
            self.send(into, rows)?;
        }
        Ok(())
    }

    fn pause(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Appends a row in COPY's text format.
fn append(out: &mut String, row: &[Cell<'_>]) {
    for (i, cell) in row.iter().enumerate() {
        if i > 0 {
            out.push('\t');
        }
        match *cell {
            Cell::Null => out.push_str("\\N"),
            Cell::Integer(number) => out.push_str(&number.to_string()),
            Cell::Text(text) => text.chars().for_each(|c| match c {
                '\\' => out.push_str("\\\\"),
                '\t' => out.push_str("\\t"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                c => out.push(c),
            }),
            Cell::Blob(bytes) => {
                out.push_str("\\\\x");
                bytes.iter().for_each(|byte| out.push_str(&format!("{byte:02x}")));
            }
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_line() {
        let mut out = String::new();
        append(&mut out, &[Cell::Null, Cell::Integer(-1), Cell::Text("a\tb\\\nü"), Cell::Blob(b"\x00\xff")]);
        assert_eq!(out, "\\N\t-1\ta\\tb\\\\\\nü\t\\\\x00ff\n");
    }
}
