//! What a database has: tables, their columns, and the indexes that a walk can follow.

use rusqlite::Connection;

use super::open::SqliteResult;
use crate::error::{Error, Kind, Result};
use crate::export::source::layout::column;

/// A table as it is in the database at hand.
#[derive(Debug)]
pub(crate) struct TableSchema {
    pub(crate) name: String,
    /// In the table's order.
    pub(crate) columns: Vec<String>,
    /// A name of the rowid that no column has; `None` for a table WITHOUT ROWID.
    pub(crate) rowid: Option<&'static str>,
    /// The column that is another name of the rowid: that declared INTEGER PRIMARY KEY.
    alias: Option<String>,
    indexes: Vec<IndexSchema>,
    has_generated: bool,
}

/// An index over whole columns and all rows.
#[derive(Debug)]
pub(crate) struct IndexSchema {
    pub(crate) name: String,
    is_unique: bool,
    is_primary: bool,
    /// How many of the parts are the key; the others make an entry unique.
    key_len: usize,
    pub(crate) parts: Vec<IndexPart>,
}

#[derive(Debug)]
pub(crate) struct IndexPart {
    /// `None` is the rowid.
    pub(crate) column: Option<String>,
    pub(crate) is_descending: bool,
    pub(crate) collation: String,
}

/// How a row is found by its id.
#[derive(Debug)]
pub(crate) struct RowKey<'a> {
    /// `None` where the id is the rowid.
    pub(crate) index: Option<&'a IndexSchema>,
    pub(crate) collation: &'a str,
}

impl TableSchema {
    /// Returns the table of that name, in any case, if there is one.
    pub(crate) fn load(connection: &Connection, name: &str) -> Result<Option<TableSchema>> {
        let sql = "SELECT name, type, wr FROM pragma_table_list
                   WHERE schema = 'main' AND name = ?1 COLLATE NOCASE";
        let mut statement = connection.prepare(sql).sqlite()?;
        let mut rows = statement.query([name]).sqlite()?;
        let Some(row) = rows.next().sqlite()? else { return Ok(None) };
        let (found, kind, without_rowid): (String, String, bool) =
            (row.get(0).sqlite()?, row.get(1).sqlite()?, row.get(2).sqlite()?);
        if kind != "table" {
            let text = format!("{name} is a {kind}; the database must have it as a table");
            return Err(Error::new(Kind::Invalid, text));
        }
        let TableColumns { names: columns, primary, has_generated } = columns(connection, &found)?;
        let indexes = indexes(connection, &found)?;
        let mut table =
            TableSchema { name: found, columns, rowid: None, alias: None, indexes, has_generated };
        if !without_rowid {
            let free =
                ["rowid", "_rowid_", "oid"].into_iter().find(|name| column(&table.columns, name).is_none());
            table.rowid = Some(free.ok_or_else(|| {
                let text = format!("{name} has columns called rowid, _rowid_ and oid; one name must be left");
                Error::new(Kind::Invalid, text)
            })?);
            // Every other primary key has an index.
            if primary.len() == 1 && !table.indexes.iter().any(|index| index.is_primary) {
                table.alias = primary.into_iter().next();
            }
        }
        Ok(Some(table))
    }

    /// Returns true if SQLite can read its values in pieces (`sqlite3_blob_open`).
    pub(crate) fn is_read_in_pieces(&self) -> bool {
        self.rowid.is_some() && !self.has_generated
    }

    /// Returns an index whose key begins with these columns, compared byte by byte and ascending.
    pub(crate) fn ordered_by(&self, columns: &[&str]) -> Option<&IndexSchema> {
        self.indexes.iter().find(|index| {
            index.key_len >= columns.len()
                && columns.iter().zip(&index.parts).all(|(column, part)| {
                    part.is(column) && !part.is_descending && part.collation == "BINARY"
                })
        })
    }

    /// Returns an index by which all rows with one value of a column are found.
    pub(crate) fn grouped_by(&self, column: &str, collation: &str) -> Option<&IndexSchema> {
        self.indexes.iter().find(|index| index.parts[0].is(column) && index.parts[0].collation == collation)
    }

    /// Returns how the one row with a value of this column is found.
    pub(crate) fn key(&self, column: &str) -> Option<RowKey<'_>> {
        if self.is_rowid(column) {
            return Some(RowKey { index: None, collation: "BINARY" });
        }
        let is_key =
            |index: &&IndexSchema| index.is_unique && index.key_len == 1 && index.parts[0].is(column);
        let index = self.indexes.iter().find(is_key)?;
        Some(RowKey { index: Some(index), collation: &index.parts[0].collation })
    }

    /// Returns true if a column is another name of the rowid.
    pub(crate) fn is_rowid(&self, column: &str) -> bool {
        self.alias.as_deref() == Some(column)
    }

    pub(crate) fn indexes(&self) -> &[IndexSchema] {
        &self.indexes
    }

    /// Returns the primary key's index, which for a table WITHOUT ROWID is the table itself.
    pub(crate) fn primary(&self) -> Option<&IndexSchema> {
        self.indexes.iter().find(|index| index.is_primary)
    }
}

impl IndexSchema {
    pub(crate) fn key(&self) -> &[IndexPart] {
        &self.parts[..self.key_len]
    }

    pub(crate) fn begins_with(&self, column: &str) -> bool {
        self.parts[0].is(column)
    }

    /// Returns true for the index that is a table WITHOUT ROWID.
    pub(crate) fn is_table(&self, table: &TableSchema) -> bool {
        self.is_primary && table.rowid.is_none()
    }
}

impl IndexPart {
    fn is(&self, column: &str) -> bool {
        self.column.as_deref() == Some(column)
    }
}

struct TableColumns {
    names: Vec<String>,
    primary: Vec<String>,
    has_generated: bool,
}

fn columns(connection: &Connection, table: &str) -> Result<TableColumns> {
    // 1 is a hidden column of a virtual table; 2 and 3 are generated ones.
    let sql = "SELECT name, pk, hidden FROM pragma_table_xinfo(?1) WHERE hidden <> 1 ORDER BY cid";
    let mut statement = connection.prepare(sql).sqlite()?;
    let rows = statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).sqlite()?;
    let rows: Vec<(String, i64, i64)> = rows.collect::<rusqlite::Result<_>>().sqlite()?;
    let primary = rows.iter().filter(|row| row.1 > 0).map(|row| row.0.clone()).collect();
    let has_generated = rows.iter().any(|row| row.2 > 1);
    Ok(TableColumns { names: rows.into_iter().map(|row| row.0).collect(), primary, has_generated })
}

fn indexes(connection: &Connection, table: &str) -> Result<Vec<IndexSchema>> {
    let sql =
        r#"SELECT name, "unique", origin = 'pk' FROM pragma_index_list(?1) WHERE NOT partial ORDER BY name"#;
    let mut statement = connection.prepare(sql).sqlite()?;
    let rows = statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).sqlite()?;
    let mut indexes = Vec::new();
    for row in rows {
        let (name, is_unique, is_primary): (String, bool, bool) = row.sqlite()?;
        let sql = r#"SELECT cid, name, "desc", coll, key FROM pragma_index_xinfo(?1) ORDER BY seqno"#;
        let mut statement = connection.prepare(sql).sqlite()?;
        let mut parts = statement.query([&name]).sqlite()?;
        let mut index =
            IndexSchema { name: name.clone(), is_unique, is_primary, key_len: 0, parts: Vec::new() };
        let mut has_expression = false;
        while let Some(part) = parts.next().sqlite()? {
            has_expression |= part.get::<_, i64>(0).sqlite()? == -2;
            index.key_len += usize::from(part.get::<_, bool>(4).sqlite()?);
            index.parts.push(IndexPart {
                column: part.get(1).sqlite()?,
                is_descending: part.get(2).sqlite()?,
                collation: part.get::<_, String>(3).sqlite()?.to_ascii_uppercase(),
            });
        }
        if !has_expression && index.key_len > 0 {
            indexes.push(index);
        }
    }
    Ok(indexes)
}

#[cfg(test)]
mod tests {
    use super::super::SCHEMA;
    use super::*;
    use crate::export::source::layout::Layout;
    use crate::export::source::selection::Kind;

    fn table(sql: &str) -> Result<Option<TableSchema>> {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(sql).unwrap();
        TableSchema::load(&connection, "t")
    }

    fn found(sql: &str) -> TableSchema {
        table(sql).unwrap().unwrap()
    }

    #[test]
    fn the_schema_has_what_is_documented() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        for layout in [Kind::Interaction, Kind::Contact].map(Layout::of) {
            for table in [&layout.parent, &layout.child] {
                let found = TableSchema::load(&connection, table.name).unwrap().unwrap();
                assert_eq!(found.columns, table.columns);
            }
        }
    }

    #[test]
    fn a_key_is_what_is_unique() {
        let keys = [
            ("CREATE TABLE T (Id TEXT PRIMARY KEY)", true),
            ("CREATE TABLE T (Id INTEGER PRIMARY KEY)", true),
            ("CREATE TABLE T (Id TEXT PRIMARY KEY) WITHOUT ROWID", true),
            ("CREATE TABLE T (Id TEXT, b, PRIMARY KEY (Id, b))", false),
            ("CREATE TABLE T (Id TEXT); CREATE UNIQUE INDEX x ON t (id)", true),
            ("CREATE TABLE T (Id TEXT); CREATE INDEX x ON t (id)", false),
            ("CREATE TABLE T (Id TEXT); CREATE UNIQUE INDEX x ON t (id) WHERE id > 'a'", false),
            ("CREATE TABLE T (Id TEXT); CREATE UNIQUE INDEX x ON t (lower(id))", false),
            ("CREATE TABLE T (Id TEXT)", false),
        ];
        for (sql, expected) in keys {
            let table = found(sql);
            assert_eq!(table.key(column(&table.columns, "ID").unwrap()).is_some(), expected, "{sql}");
        }
    }

    #[test]
    fn an_index_serves_what_its_key_begins_with() {
        let table = found(
            "CREATE TABLE t (a, b, c COLLATE NOCASE);
             CREATE INDEX t1 ON t (a, b, c); CREATE INDEX t2 ON t (c); CREATE INDEX t3 ON t (b DESC)",
        );
        assert_eq!(table.ordered_by(&["a", "b"]).unwrap().name, "t1");
        assert!(table.ordered_by(&["c"]).is_none());
        assert!(table.ordered_by(&["b"]).is_none());
        assert!(table.grouped_by("b", "BINARY").is_some());
        assert!(table.grouped_by("c", "BINARY").is_none());
        assert!(table.grouped_by("c", "NOCASE").is_some());
    }

    #[test]
    fn what_is_no_table_is_refused() {
        assert!(table("").unwrap().is_none());
        let error = table("CREATE VIEW t AS SELECT 1").map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), "t is a view; the database must have it as a table");
        assert_eq!(found("CREATE TABLE t (rowid, b)").rowid, Some("_rowid_"));
        assert!(table("CREATE TABLE t (rowid, oid, _rowid_)").is_err());
    }
}
