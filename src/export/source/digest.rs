//! What tells the rows of a table from others: for each segment of it the sum of their hashes.
//!
//! A row's hash is of its id, its date and its media type. A rowid, and an id too, may be given again to another row:
//! that has another date. Where the date is not exact (none, a day, a full minute), the row's columns are in the hash,
//! too: the length of each, and of short ones the value. So are all those of what belongs to a row, an attachment or an
//! attribute, whose hash is added to the segment of its row: one that comes later, or is replaced, is seen.
//!
//! That is one pass over the table, without the pages of wide values, and one along the walk to all that belongs to
//! it, which needs no index but the one of the ids. Wide values that stand before short ones in their table are passed
//! through, and so read from disk.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::instant;
use super::open::{Sqlite, value};
use super::plan::{Child, Filter, Parent, Walk, check, quoted};
use super::schema::Table;
use crate::error::Result;

/// Of a value of more bytes only the length counts.
const SHORT: usize = 256;

/// Of the rows of a segment, in any order: their number, and the sum of the hashes of them and of what belongs to them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Digest {
    pub rows: u64,
    pub sum: u128,
}

impl Digest {
    pub fn plus(self, other: Digest) -> Digest {
        Digest { rows: self.rows.saturating_add(other.rows), sum: self.sum.wrapping_add(other.sum) }
    }
}

/// The table that is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Marked<'a> {
    pub table: &'a Table,
    pub id: &'a str,
    pub date: Option<&'a str>,
    /// The column with the media type: a row may get one that is asked for when others were exported.
    pub media: Option<&'a str>,
    /// What belongs to the rows.
    pub child: Option<&'a Child<'a>>,
    pub media_types: Option<&'a [String]>,
}

impl Marked<'_> {
    /// Returns the digests of all segments that end there.
    pub fn digests(&self, connection: &Connection, ends: &[i64]) -> Result<Vec<Digest>> {
        let mut digests = vec![Digest::default(); ends.len()];
        let mut add = |rowid: i64, rows: u64, bytes: &[u8]| {
            if let Some(digest) = digests.get_mut(ends.partition_point(|&end| end < rowid)) {
                digest.rows = digest.rows.saturating_add(rows);
                digest.sum = digest.sum.wrapping_add(hash(bytes));
            }
        };
        self.each_row(connection, &mut |rowid, bytes| add(rowid, 1, bytes))?;
        if let Some(child) = self.child {
            self.each_child(connection, child, &mut |rowid, bytes| add(rowid, 0, bytes))?;
        }
        Ok(digests)
    }

    fn each_row(&self, connection: &Connection, each: &mut dyn FnMut(i64, &[u8])) -> Result<()> {
        let (name, rowid) = (quoted(&self.table.name), self.table.rowid.unwrap_or("rowid"));
        let column = |name: Option<&str>| name.map_or_else(|| "NULL".to_owned(), quoted);
        let (id, date, media) = (quoted(self.id), column(self.date), column(self.media));
        let sql = format!("SELECT {rowid}, {id}, {date}, {media} FROM {name}");
        let content = Content::of(self.table, &name);
        let whole = format!("SELECT {} FROM {name} WHERE {rowid} = ?1", content.selected);
        let mut whole = connection.prepare(&whole).sqlite()?;
        let mut statement = connection.prepare(&sql).sqlite()?;
        let mut rows = statement.raw_query();
        let mut bytes = Vec::new();
        while let Some(row) = rows.next().sqlite()? {
            let rowid: i64 = row.get(0).sqlite()?;
            bytes.clear();
            bytes.push(b'r');
            for i in 1..=3 {
                append(&mut bytes, row.get_ref(i).sqlite()?);
            }
            if !is_exact(row.get_ref(2).sqlite()?) {
                let mut found = whole.query([rowid]).sqlite()?;
                if let Some(row) = found.next().sqlite()? {
                    content.append(&mut bytes, row, 0)?;
                }
            }
            each(rowid, &bytes);
        }
        Ok(())
    }

    fn each_child(
        &self,
        connection: &Connection,
        child: &Child<'_>,
        each: &mut dyn FnMut(i64, &[u8]),
    ) -> Result<()> {
        let parent = Parent { table: self.table, id: self.id, group: None, date: None };
        let content = Content::of(child.table, "c");
        let columns = format!("p.{}, {}", self.table.rowid.unwrap_or("rowid"), content.selected);
        let sql = Walk::of_children(&parent, child, &Filter::default()).select(&columns);
        check(connection, &sql)?;
        let mut statement = connection.prepare(&sql).sqlite()?;
        let mut rows = statement.raw_query();
        let mut bytes = Vec::new();
        while let Some(row) = rows.next().sqlite()? {
            bytes.clear();
            bytes.push(b'c');
            content.append(&mut bytes, row, 1)?;
            each(row.get(0).sqlite()?, &bytes);
        }
        Ok(())
    }
}

/// All columns of a table: of each its length, and its value if it is short.
struct Content {
    names: Vec<String>,
    selected: String,
}

impl Content {
    fn of(table: &Table, alias: &str) -> Content {
        let select = |name: &String| {
            let column = format!("{alias}.{}", quoted(name));
            let length = format!("octet_length({column})");
            format!("{length}, CASE WHEN {length} <= {SHORT} THEN {column} END")
        };
        let selected: Vec<String> = table.columns.iter().map(select).collect();
        let names = table.columns.iter().map(|name| name.to_ascii_lowercase()).collect();
        Content { names, selected: selected.join(", ") }
    }

    /// A column that is added later, and NULL, changes nothing.
    fn append(&self, bytes: &mut Vec<u8>, row: &Row<'_>, first: usize) -> Result<()> {
        for (i, name) in self.names.iter().enumerate() {
            let length = row.get_ref(first + 2 * i).sqlite()?;
            if length != ValueRef::Null {
                append(bytes, ValueRef::Text(name.as_bytes()));
                append(bytes, length);
                append(bytes, row.get_ref(first + 2 * i + 1).sqlite()?);
            }
        }
        Ok(())
    }
}

/// Returns true for a date that hardly two rows share: it has seconds, and perhaps their fractions.
fn is_exact(date: ValueRef<'_>) -> bool {
    let at = instant::read(value(date)).ok().flatten();
    at.is_some_and(|(at, _)| at.second() != 0 || at.subsec_nanosecond() != 0)
}

/// No two sequences of values give the same bytes.
fn append(bytes: &mut Vec<u8>, value: ValueRef<'_>) {
    let mut wide = |tag, text: &[u8]| {
        bytes.push(tag);
        bytes.extend_from_slice(&text.len().to_le_bytes());
        bytes.extend_from_slice(text);
    };
    match value {
        ValueRef::Null => bytes.push(b'0'),
        ValueRef::Integer(number) => {
            bytes.push(b'1');
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        ValueRef::Real(number) => {
            bytes.push(b'2');
            bytes.extend_from_slice(&number.to_bits().to_le_bytes());
        }
        ValueRef::Text(text) => wide(b'3', text),
        ValueRef::Blob(blob) => wide(b'4', blob),
    }
}

fn hash(bytes: &[u8]) -> u128 {
    let hash = blake3::hash(bytes);
    let (head, _) = hash.as_bytes().split_at(16);
    head.iter().rev().fold(0, |sum, &byte| sum << 8 | u128::from(byte))
}
