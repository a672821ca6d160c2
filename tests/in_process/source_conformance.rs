//! Every source on the same suite: the same rows give the same bytes.

use std::path::PathBuf;

use cddsfs::export::source::{Source, SourceSpec, open};
use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, params_from_iter};

use crate::source_suite;
use crate::support::memory_source::MemoryMaker;
use crate::support::source_suite::{Maker, Table, Type, Value};

source_suite!(memory, super::MemoryMaker);
source_suite!(sqlite, super::SqliteMaker::new());

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
