//! Copying the catalogue as it is at one moment to a new database of SQLite.

use std::error::Error as StdError;
use std::path::Path;

use tokio_postgres::types::{FromSql, Type};

use super::schema;
use super::session::{Access, Session};
use crate::error::{At, Error, Result};
use crate::postgresql::Url;
use crate::store::catalogue::sqlite::{Import, Value};

/// What is copied, in an order in which nothing refers to what is not there yet. Certificates are in a file there, and nobody
/// has a claim.
const TABLES: [(&str, &[&str]); 7] = [
    ("setting WHERE name <> 'certificates'", &["name", "value"]),
    ("job", &["name", "text", "modified", "due", "mark", "skipped"]),
    (
        "run",
        &[
            "id",
            "job",
            "spec",
            "status",
            "scheduled",
            "queued",
            "started",
            "finished",
            "made",
            "attempts",
            "deaths",
            "cancel",
            "hidden",
            "debris",
            "rows_done",
            "rows_total",
            "bytes_written",
            "eta_seconds",
            "progressed",
            "bytes",
            "certificate",
            "warnings",
            "error",
            "present",
            "deleted",
        ],
    ),
    ("part", &["run", "number", "name", "key", "size", "sha256", "root", "deleted"]),
    ("block_hashes", &["run", "number", "piece", "hashes"]),
    ("discarded", &["run", "at"]),
    ("refusal", &["id", "at", "target", "field", "wrong", "remedy", "spec"]),
];

/// Rows that are in memory at a time; one may have a spec of 1 MiB.
const ROWS: usize = 32;

impl<'a> FromSql<'a> for Value {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> std::result::Result<Value, Box<dyn StdError + Sync + Send>> {
        Ok(match *ty {
            Type::BOOL => Value::Integer(bool::from_sql(ty, raw)?.into()),
            Type::INT8 => Value::Integer(i64::from_sql(ty, raw)?),
            Type::TEXT => Value::Text(String::from_sql(ty, raw)?),
            _ => Value::Blob(Vec::from_sql(ty, raw)?),
        })
    }

    fn from_sql_null(_: &Type) -> std::result::Result<Value, Box<dyn StdError + Sync + Send>> {
        Ok(Value::Null)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::BOOL | Type::INT8 | Type::TEXT | Type::BYTEA)
    }
}

/// It has a session of its own, which may take its time.
pub(crate) fn copy(url: &Url, path: &Path) -> Result<()> {
    let mut into = Import::create(path)?;
    let mut session = Session::open(url, Access::Read)?;
    schema::check(&mut session).at(url)?;
    session.batch("BEGIN ISOLATION LEVEL REPEATABLE READ")?;
    for (rows, columns) in TABLES {
        let table = rows.split(' ').next().unwrap_or(rows);
        copy_table(&mut session, table, rows, columns, &mut into).at(url)?;
    }
    into.finish()
}

fn copy_table(
    session: &mut Session,
    table: &str,
    rows: &str,
    columns: &[&str],
    into: &mut Import,
) -> Result<()> {
    session.batch(&format!("DECLARE {table}_rows CURSOR FOR SELECT {} FROM {rows}", columns.join(", ")))?;
    loop {
        session.go_on();
        let rows = session.query(&format!("FETCH {ROWS} FROM {table}_rows"), &[])?;
        for row in &rows {
            let values: std::result::Result<Vec<Value>, _> =
                (0..columns.len()).map(|i| row.try_get(i)).collect();
            let values = values.map_err(|error| Error::damaged(format!("catalogue: {table}: {error}")))?;
            into.insert(table, columns, &values)?;
        }
        if rows.len() < ROWS {
            return session.batch(&format!("CLOSE {table}_rows"));
        }
    }
}
