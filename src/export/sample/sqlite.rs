//! Made rows in an SQLite database.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};

use super::sink::{Cell, Sink, Target};
use super::{Counts, Size, fill};
use crate::error::{At, Error, Kind, Result};
use crate::export::source::sqlite::{SCHEMA, SqliteResult};

/// Makes a database under a name that nothing has yet. It appears whole or not at all.
pub fn make(path: &Path, size: Size) -> Result<Counts> {
    refuse_existing(path)?;
    let name = path.file_name().ok_or_else(|| Error::new(Kind::Invalid, "not the name of a file"));
    let mut partial = name?.to_owned();
    partial.push(format!(".partial-{}", std::process::id()));
    let partial = Partial(path.with_file_name(partial));
    // SQLite would not say why it cannot.
    File::create_new(&partial.0)?;
    let connection = Connection::open(&partial.0).sqlite()?;
    // Until the end it is nobody's database: it needs no journal.
    let settings = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -32768;
                    PRAGMA locking_mode = EXCLUSIVE; PRAGMA foreign_keys = OFF;";
    connection.execute_batch(settings).sqlite()?;
    connection.execute_batch(SCHEMA).sqlite()?;
    connection.execute_batch("BEGIN").sqlite()?;
    let mut rows = Rows { connection, inserts: Vec::new() };
    let made = fill(&mut rows, size)?;
    rows.connection.execute_batch("COMMIT").sqlite()?;
    rows.connection.close().map_err(|(_, error)| error).sqlite()?;
    File::open(&partial.0)?.sync_all()?;
    refuse_existing(path)?;
    fs::rename(&partial.0, path)?;
    Ok(made)
}

fn refuse_existing(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(Error::new(Kind::Os(libc::EEXIST), "there is such a file already"));
    }
    Ok(())
}

/// A file that goes unless it has been renamed.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

struct Rows {
    connection: Connection,
    /// The statements of tables.
    inserts: Vec<(&'static str, String)>,
}

impl Sink for Rows {
    fn insert(&mut self, into: &'static Target, row: &[Cell<'_>]) -> Result<()> {
        let Rows { connection, inserts } = self;
        let known = inserts.iter().position(|(table, _)| *table == into.table);
        let at = known.unwrap_or_else(|| {
            let (columns, places) = (into.columns.join(", "), vec!["?"; into.columns.len()].join(", "));
            let sql = format!("INSERT INTO {} ({columns}) VALUES ({places})", into.table);
            inserts.push((into.table, sql));
            inserts.len() - 1
        });
        let sql = inserts.get(at).map(|(_, sql)| sql.as_str()).unwrap_or_default();
        let mut insert = connection.prepare_cached(sql).sqlite()?;
        insert.execute(params_from_iter(row)).sqlite().at("inserting").map(drop)
    }

    fn pause(&mut self) -> Result<()> {
        self.connection.execute_batch("COMMIT; BEGIN").sqlite()
    }
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Cell::Null => ValueRef::Null,
            Cell::Integer(number) => ValueRef::Integer(number),
            Cell::Text(text) => ValueRef::Text(text.as_bytes()),
            Cell::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
