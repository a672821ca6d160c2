//! The digests of the segments of a table.
//!
//! This takes one pass over the table, without the pages of wide values, and one walk along all that belongs to it,
//! which needs no other index than that of the ids. Wide values that come before short ones in a row are read from
//! disk, since SQLite has to pass through them.

use rusqlite::{Connection, Row};

use super::open::{SqliteResult, value};
use super::plan::{Child, Filter, Parent, Walk, check, quoted};
use super::schema::TableSchema;
use crate::error::Result;
use crate::export::source::layout::digest::{Digest, Fingerprint, SHORT, is_exact};

/// The table that is asked about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MarkedTable<'a> {
    pub(crate) parent: &'a Parent<'a>,
    /// What belongs to the rows.
    pub(crate) child: Option<&'a Child<'a>>,
    pub(crate) media_types: Option<&'a [String]>,
}

impl MarkedTable<'_> {
    /// Returns the digests of all segments that end there.
    pub(crate) fn digests(&self, connection: &Connection, ends: &[i64]) -> Result<Vec<Digest>> {
        let mut digests = vec![Digest::default(); ends.len()];
        let segment = |rowid: i64| ends.partition_point(|&end| end < rowid);
        self.each_row(connection, &mut |rowid, row| {
            digests.get_mut(segment(rowid)).into_iter().for_each(|digest| digest.add_row(row));
        })?;
        if let Some(child) = self.child {
            self.each_child(connection, child, &mut |rowid, row| {
                digests.get_mut(segment(rowid)).into_iter().for_each(|digest| digest.add_child(row));
            })?;
        }
        Ok(digests)
    }

    fn each_row(&self, connection: &Connection, each: &mut dyn FnMut(i64, &Fingerprint)) -> Result<()> {
        let Parent { table, id, date, media, .. } = *self.parent;
        let (name, rowid) = (quoted(&table.name), table.rowid.unwrap_or("rowid"));
        // All rows, whatever their media type: a row may later get one that is asked for.
        let column = |name: Option<&str>| name.map_or_else(|| "NULL".to_owned(), quoted);
        let (id, date, media) = (quoted(id), column(date), column(media));
        let sql = format!("SELECT {rowid}, {id}, {date}, {media} FROM {name}");
        let content = ShortColumns::of(table, &name);
        let whole = format!("SELECT {} FROM {name} WHERE {rowid} = ?1", content.selected);
        let mut whole = connection.prepare(&whole).sqlite()?;
        let mut statement = connection.prepare(&sql).sqlite()?;
        let mut rows = statement.raw_query();
        let mut print = Fingerprint::default();
        while let Some(row) = rows.next().sqlite()? {
            let rowid: i64 = row.get(0).sqlite()?;
            let value = |i| row.get_ref(i).sqlite().map(value);
            let date = value(2)?;
            print.begin_row(value(1)?, date, value(3)?);
            if !is_exact(date) {
                let mut found = whole.query([rowid]).sqlite()?;
                if let Some(row) = found.next().sqlite()? {
                    content.append(&mut print, row, 0)?;
                }
            }
            each(rowid, &print);
        }
        Ok(())
    }

    fn each_child(
        &self,
        connection: &Connection,
        child: &Child<'_>,
        each: &mut dyn FnMut(i64, &Fingerprint),
    ) -> Result<()> {
        let parent = Parent { group: None, date: None, media: None, ..*self.parent };
        let content = ShortColumns::of(child.table, "c");
        let columns = format!("p.{}, {}", parent.table.rowid.unwrap_or("rowid"), content.selected);
        let sql = Walk::of_children(&parent, child, &Filter::default()).select(&columns);
        check(connection, &sql)?;
        let mut statement = connection.prepare(&sql).sqlite()?;
        let mut rows = statement.raw_query();
        let mut print = Fingerprint::default();
        while let Some(row) = rows.next().sqlite()? {
            print.begin_child();
            content.append(&mut print, row, 1)?;
            each(row.get(0).sqlite()?, &print);
        }
        Ok(())
    }
}

/// The columns of a table as SQL: of each its length, and its value if that is short.
struct ShortColumns {
    names: Vec<String>,
    selected: String,
}

impl ShortColumns {
    fn of(table: &TableSchema, alias: &str) -> ShortColumns {
        let select = |name: &String| {
            let column = format!("{alias}.{}", quoted(name));
            let length = format!("octet_length({column})");
            format!("{length}, CASE WHEN {length} <= {SHORT} THEN {column} END")
        };
        let selected: Vec<String> = table.columns.iter().map(select).collect();
        let names = table.columns.iter().map(|name| name.to_ascii_lowercase()).collect();
        ShortColumns { names, selected: selected.join(", ") }
    }

    fn append(&self, print: &mut Fingerprint, row: &Row<'_>, first: usize) -> Result<()> {
        for (i, name) in self.names.iter().enumerate() {
            let at = first + 2 * i;
            print.column(name, value(row.get_ref(at).sqlite()?), value(row.get_ref(at + 1).sqlite()?));
        }
        Ok(())
    }
}
