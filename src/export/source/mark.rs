//! The high-water mark of an export: the last row of its table.
//!
//! ```json
//! {"table":"interaction","rowid":5000,"id":"0002AB00000000A1","date":"2026-10-31 23:59:59.120"}
//! ```
//!
//! Rowids grow with every insertion, but VACUUM may number them anew (in the same order), and that of a last row that
//! was deleted is given again. So the id tells whether it is still that row.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::Mark;
use super::open::Sqlite;
use super::plan::quoted;
use super::schema::Table;
use crate::error::{Error, Kind, Result};

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    table: String,
    rowid: i64,
    id: Option<String>,
    date: Option<String>,
}

/// Where what has not been exported begins.
#[derive(Debug, PartialEq)]
pub enum Since {
    Everything,
    /// Greater rowids.
    Rowid(i64),
    /// This date and later ones.
    Date(String),
}

/// Returns the mark of a table as it is now: `None` if it is empty, or WITHOUT ROWID.
pub fn take(connection: &Connection, table: &Table, id: &str, date: Option<&str>) -> Result<Option<Mark>> {
    let Some(rowid) = table.rowid else { return Ok(None) };
    let date = date.map_or_else(|| "NULL".to_owned(), quoted);
    let name = quoted(&table.name);
    let id = quoted(id);
    let sql = format!(
        "SELECT {rowid}, CAST({id} AS TEXT), CAST({date} AS TEXT) FROM {name} NOT INDEXED ORDER BY {rowid} DESC LIMIT 1"
    );
    let row = |row: &rusqlite::Row<'_>| {
        let (id, date) = (text(row.get_ref(1)?), text(row.get_ref(2)?));
        Ok(Row { table: table.name.to_ascii_lowercase(), rowid: row.get(0)?, id, date })
    };
    let last = connection.query_row(&sql, [], row).optional().sqlite()?;
    let mark = |row| serde_json::to_string(&row).map(Mark);
    last.map(mark).transpose().map_err(|error| Error::new(Kind::Invalid, error.to_string()))
}

/// A text that is not UTF-8 is no id that could be found again.
fn text(value: ValueRef<'_>) -> Option<String> {
    value.as_str().ok().map(str::to_owned)
}

/// Finds what was marked.
pub fn find(connection: &Connection, table: &Table, id: &str, mark: &Mark) -> Result<Since> {
    let Some(rowid) = table.rowid else {
        let text = format!("{} is WITHOUT ROWID: what is new in it cannot be told", table.name);
        return Err(Error::new(Kind::Unsupported, text));
    };
    let row: Row = serde_json::from_str(&mark.0)
        .map_err(|error| Error::new(Kind::Invalid, format!("not a mark of a contact history: {error}")))?;
    if !row.table.eq_ignore_ascii_case(&table.name) {
        let text = format!("the mark is of the table {}, not of {}", row.table, table.name);
        return Err(Error::new(Kind::Invalid, text));
    }
    let (name, id) = (quoted(&table.name), quoted(id));
    let sql = format!("SELECT 1 FROM {name} WHERE {rowid} = ?1 AND CAST({id} AS TEXT) IS ?2");
    let mut same = connection.prepare(&sql).sqlite()?;
    if same.exists(params![row.rowid, row.id]).sqlite()? {
        return Ok(Since::Rowid(row.rowid));
    }
    let sql = format!("SELECT min({rowid}) FROM {name} WHERE {id} = ?1");
    let moved: Option<i64> = connection.query_row(&sql, [&row.id], |row| row.get(0)).sqlite()?;
    Ok(match (moved, row.date) {
        (Some(rowid), _) => Since::Rowid(rowid),
        (None, Some(date)) => Since::Date(date),
        (None, None) => Since::Everything,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(sql: &str) -> (Connection, Table) {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(sql).unwrap();
        let table = Table::load(&connection, "t").unwrap().unwrap();
        (connection, table)
    }

    #[test]
    fn the_marked_row_is_found_by_rowid_then_id_then_date() {
        let (connection, table) = all("CREATE TABLE t (id TEXT PRIMARY KEY, d);
             INSERT INTO t VALUES ('a', '2026-01-01'), ('b', '2026-01-02'), ('c', '2026-01-03')");
        let mark = take(&connection, &table, "id", Some("d")).unwrap().unwrap();
        assert_eq!(mark.to_string(), r#"{"table":"t","rowid":3,"id":"c","date":"2026-01-03"}"#);
        let found = || find(&connection, &table, "id", &mark).unwrap();
        assert_eq!(found(), Since::Rowid(3));
        connection.execute_batch("DELETE FROM t WHERE id = 'a'; UPDATE t SET rowid = rowid - 1").unwrap();
        assert_eq!(found(), Since::Rowid(2));
        connection.execute_batch("DELETE FROM t WHERE id = 'c'").unwrap();
        assert_eq!(found(), Since::Date("2026-01-03".to_owned()));
        connection.execute_batch("DELETE FROM t").unwrap();
        assert_eq!(take(&connection, &table, "id", None).unwrap(), None);
    }

    #[test]
    fn what_is_no_mark_here_is_refused() {
        let (connection, table) = all("CREATE TABLE t (id)");
        for text in ["", "5", r#"{"table":"u","rowid":3,"id":"c","date":null}"#] {
            assert_eq!(
                find(&connection, &table, "id", &Mark::from(text.to_owned())).unwrap_err().kind(),
                Kind::Invalid
            );
        }
        let (connection, table) = all("CREATE TABLE t (id PRIMARY KEY) WITHOUT ROWID");
        let error = find(&connection, &table, "id", &Mark::from("{}".to_owned())).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert_eq!(take(&connection, &table, "id", None).unwrap(), None);
    }
}
