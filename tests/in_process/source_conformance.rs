//! Every source on the same suite: the same rows give the same bytes.

use std::path::PathBuf;

use cddsfs::export::source::{Source, SourceSpec, open};
use postgres::types::ToSql;
use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, params_from_iter};

use crate::source_suite;
use crate::support::memory_source::MemoryMaker;
use crate::support::postgres::Database;
use crate::support::source_suite::{Maker, Table, Type, Value};

source_suite!(memory, super::MemoryMaker);
source_suite!(sqlite, super::SqliteMaker::new());
source_suite!(postgresql, super::PostgresMaker::new());

struct SqliteMaker {
    folder: tempfile::TempDir,
}

impl SqliteMaker {
    fn new() -> SqliteMaker {
        SqliteMaker { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("h.db")
    }
}

fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

impl Maker for SqliteMaker {
    fn make(&mut self, tables: &[Table]) -> Box<dyn Source> {
        let _ = std::fs::remove_file(self.path());
        let mut connection = Connection::open(self.path()).unwrap();
        let transaction = connection.transaction().unwrap();
        for Table { name, columns, rows } in tables {
            let key = if name == "contactattribute" { "" } else { " PRIMARY KEY" };
            let declared = columns.iter().enumerate().map(|(i, (name, kind))| {
                let kind = match kind {
                    Type::Text | Type::Instant => "TEXT",
                    Type::Integer => "INTEGER",
                    Type::Real => "REAL",
                    Type::Blob => "BLOB",
                };
                format!("{} {kind}{}", quoted(name), if i == 0 { key } else { "" })
            });
            let declared = declared.collect::<Vec<_>>().join(", ");
            transaction.execute_batch(&format!("CREATE TABLE {} ({declared})", quoted(name))).unwrap();
            for index in [&["entitytypeid", "startdate"][..], &["createddate"], &["entityid"], &["contactid"]]
            {
                let has = |column: &&str| columns.iter().any(|(name, _)| name.eq_ignore_ascii_case(column));
                if index.iter().all(has) && (name != "interaction" || index.len() == 2) {
                    let sql = format!("CREATE INDEX {name}_{0} ON {name} ({1})", index[0], index.join(", "));
                    transaction.execute_batch(&sql).unwrap();
                }
            }
            let places = vec!["?"; columns.len()].join(", ");
            let mut insert =
                transaction.prepare(&format!("INSERT INTO {} VALUES ({places})", quoted(name))).unwrap();
            for row in rows {
                let value = |value: &Value| match value {
                    Value::Null => SqlValue::Null,
                    Value::Text(text) | Value::Instant(text) => SqlValue::Text(text.clone()),
                    Value::Integer(number) => SqlValue::Integer(*number),
                    Value::Real(number) => SqlValue::Real(*number),
                    Value::Blob(bytes) => SqlValue::Blob(bytes.clone()),
                };
                insert.execute(params_from_iter(row.iter().map(value))).unwrap();
            }
        }
        transaction.commit().unwrap();
        open(&SourceSpec::Sqlite(self.path())).unwrap()
    }
}

/// A database of its own for each suite test; its tables are made anew.
struct PostgresMaker {
    database: Database,
}

impl PostgresMaker {
    fn new() -> PostgresMaker {
        PostgresMaker { database: Database::new() }
    }
}

impl Maker for PostgresMaker {
    fn make(&mut self, tables: &[Table]) -> Box<dyn Source> {
        let mut client = self.database.connect();
        client.batch_execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").unwrap();
        let mut transaction = client.transaction().unwrap();
        for Table { name, columns, rows } in tables {
            let key = if name == "contactattribute" { "" } else { " PRIMARY KEY" };
            let declared = columns.iter().enumerate().map(|(i, (name, kind))| {
                let kind = match kind {
                    Type::Text => "text",
                    Type::Instant => "timestamp",
                    Type::Integer => "bigint",
                    Type::Real => "double precision",
                    Type::Blob => "bytea",
                };
                format!("{} {kind}{}", quoted(name), if i == 0 { key } else { "" })
            });
            let declared = declared.collect::<Vec<_>>().join(", ");
            transaction.batch_execute(&format!("CREATE TABLE {} ({declared})", quoted(name))).unwrap();
            for index in [&["entitytypeid", "startdate"][..], &["createddate"], &["entityid"], &["contactid"]]
            {
                let own = |wanted: &&str| {
                    columns
                        .iter()
                        .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
                        .map(|(name, _)| quoted(name))
                };
                let own: Vec<String> = index.iter().filter_map(own).collect();
                if own.len() == index.len() && (!name.eq_ignore_ascii_case("interaction") || index.len() == 2)
                {
                    let sql = format!("CREATE INDEX ON {} ({})", quoted(name), own.join(", "));
                    transaction.batch_execute(&sql).unwrap();
                }
            }
            let places: Vec<String> = columns
                .iter()
                .enumerate()
                .map(|(i, (_, kind))| match kind {
                    Type::Instant => format!("${}::text::timestamp", i + 1),
                    _ => format!("${}", i + 1),
                })
                .collect();
            let sql = format!("INSERT INTO {} VALUES ({})", quoted(name), places.join(", "));
            let insert = transaction.prepare(&sql).unwrap();
            for row in rows {
                let values: Vec<Box<dyn ToSql + Sync>> = row.iter().zip(columns).map(own_value).collect();
                let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(AsRef::as_ref).collect();
                transaction.execute(&insert, &values).unwrap();
            }
        }
        transaction.commit().unwrap();
        open(&SourceSpec::parse(&self.database.url())).unwrap()
    }
}

/// A value as its column wants it; NULL of its type.
fn own_value((value, (_, kind)): (&Value, &(String, Type))) -> Box<dyn ToSql + Sync> {
    match (value, kind) {
        (Value::Null, Type::Integer) => Box::new(None::<i64>),
        (Value::Null, Type::Real) => Box::new(None::<f64>),
        (Value::Null, Type::Blob) => Box::new(None::<Vec<u8>>),
        (Value::Null, Type::Text | Type::Instant) => Box::new(None::<String>),
        (Value::Text(text) | Value::Instant(text), _) => Box::new(text.clone()),
        (Value::Integer(number), _) => Box::new(*number),
        (Value::Real(number), _) => Box::new(*number),
        (Value::Blob(bytes), _) => Box::new(bytes.clone()),
    }
}
