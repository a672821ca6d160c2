//! A new database that is filled with the rows of a catalogue of another kind.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};

use super::connect::{from_sqlite, writable};
use crate::error::{At, Error, Result};

/// A value of a row, as every kind of catalogue has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Integer(i64),
    Text(String),
    Blob(Vec<u8>),
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// Its rows are there once it is finished.
pub(crate) struct Import {
    connection: Connection,
    path: PathBuf,
}

impl Import {
    pub(crate) fn create(path: &Path) -> Result<Import> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).at(path.display())?;
        let import = Import { connection: writable(path)?, path: path.to_path_buf() };
        import.connection.execute_batch("BEGIN").map_err(|error| import.at(&error))?;
        Ok(import)
    }

    pub(crate) fn insert(&mut self, table: &str, columns: &[&str], values: &[Value]) -> Result<()> {
        let marks = vec!["?"; columns.len()].join(", ");
        let sql = format!("INSERT INTO {table} ({}) VALUES ({marks})", columns.join(", "));
        let query = self.connection.prepare_cached(&sql);
        let inserted = query.and_then(|mut query| query.execute(params_from_iter(values)));
        inserted.map(drop).map_err(|error| self.at(&error))
    }

    pub(crate) fn finish(self) -> Result<()> {
        self.connection.execute_batch("COMMIT").map_err(|error| self.at(&error))
    }

    fn at(&self, error: &rusqlite::Error) -> Error {
        from_sqlite(error).at(self.path.display())
    }
}
