//! The catalogue of a managed store: settings, jobs, runs, parts and their block hashes, in SQLite.
//!
//! Write-ahead log and `synchronous=FULL`: what has been committed survives a loss of power. Writes go through one
//! connection, reads through another, so that no reader waits for an fsync. Several processes may have a store open;
//! what one of them commits, the others see at their next query ([`Catalogue::changes`] tells that something has).
//!
//! Instants are milliseconds since 1970, UTC.

use parking_lot::{Mutex, MutexGuard};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};

use super::retention::Retention;
use crate::error::{Error, Kind, Result};

mod jobs;
mod parts;
mod refusals;
mod runs;

pub use jobs::Job;
pub use parts::{PART_BLOCK_HASHES, StoredArtifact, StoredPartRecord};
pub use refusals::RefusedSpec;
pub use runs::{Progress, Run, RunUpdate, Status, stem_of};

/// How long a writer waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(10);

/// The statements that lead from each version of the schema to the next; `user_version` counts them.
const MIGRATIONS: [&str; 1] = [include_str!("catalogue/schema-1.sql")];

pub struct Catalogue {
    path: PathBuf,
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    /// Counts what this process has committed.
    own_changes: AtomicU64,
}

impl Catalogue {
    /// Opens the catalogue, making it where it is missing.
    pub fn create(path: &Path) -> Result<Catalogue> {
        Catalogue::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)
    }

    pub fn open(path: &Path) -> Result<Catalogue> {
        Catalogue::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Catalogue> {
        let place = |error: rusqlite::Error| from_sqlite(&error).at(path.display());
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut writer = Connection::open_with_flags(path, flags).map_err(place)?;
        prepare(&writer).map_err(place)?;
        migrate(&mut writer, path)?;
        let reader = Connection::open_with_flags(path, flags).map_err(place)?;
        prepare(&reader).map_err(place)?;
        Ok(Catalogue {
            path: path.to_path_buf(),
            writer: Mutex::new(writer),
            reader: Mutex::new(reader),
            own_changes: AtomicU64::new(0),
        })
    }

    /// Runs a query.
    fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        query(&self.lock_reader()).map_err(|error| from_sqlite(&error).at(self.path.display()))
    }

    fn lock_reader(&self) -> MutexGuard<'_, Connection> {
        self.reader.lock()
    }

    /// Changes the catalogue in one transaction.
    fn write<T>(&self, change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        let mut connection = self.writer.lock();
        let changed = connection.transaction_with_behavior(TransactionBehavior::Immediate).and_then(|tx| {
            let result = change(&tx)?;
            tx.commit().map(|()| result)
        });
        self.own_changes.fetch_add(1, Ordering::Relaxed);
        changed.map_err(|error| from_sqlite(&error).at(self.path.display()))
    }

    /// Returns a value that is another one after anything in the catalogue has changed.
    pub fn changes(&self) -> Result<(u64, i64)> {
        let others = self.read(|c| c.query_row("PRAGMA data_version", [], |row| row.get(0)))?;
        Ok((self.own_changes.load(Ordering::Relaxed), others))
    }

    /// Returns a number that grows with every change but progress: of jobs, runs, artifacts and settings.
    pub fn epoch(&self) -> Result<i64> {
        self.read(|c| c.query_row("SELECT number FROM epoch", [], |row| row.get(0)))
    }

    pub fn retention(&self) -> Result<Retention> {
        match self.setting("retention_days")?.as_deref() {
            None => Ok(Retention::default()),
            Some("never") => Ok(Retention::Never),
            Some(days) => days
                .parse()
                .map(Retention::Days)
                .map_err(|_| Error::damaged("the store's retention is no number of days")),
        }
    }

    pub fn set_retention(&self, retention: Retention) -> Result<()> {
        let text = match retention {
            Retention::Days(days) => days.to_string(),
            Retention::Never => "never".into(),
        };
        self.set("retention_days", &text)
    }

    /// Returns the contact-history database that exports come from.
    pub fn source(&self) -> Result<Option<PathBuf>> {
        Ok(self.setting("source")?.map(PathBuf::from))
    }

    pub fn set_source(&self, path: &str) -> Result<()> {
        self.set("source", path)
    }

    /// Returns true if content keys are encrypted with RSAES-OAEP instead of PKCS#1 v1.5.
    pub fn uses_oaep(&self) -> Result<bool> {
        Ok(self.setting("key_transport")?.as_deref() == Some("oaep"))
    }

    pub fn set_oaep(&self, oaep: bool) -> Result<()> {
        self.set("key_transport", if oaep { "oaep" } else { "pkcs1" })
    }

    fn setting(&self, name: &str) -> Result<Option<String>> {
        self.read(|c| {
            c.query_row("SELECT value FROM setting WHERE name = ?1", [name], |row| row.get(0)).optional()
        })
    }

    fn set(&self, name: &str, value: &str) -> Result<()> {
        self.write(|tx| {
            tx.execute("INSERT OR REPLACE INTO setting (name, value) VALUES (?1, ?2)", params![name, value])
        })
        .map(drop)
    }
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<()> {
    let place = |error: rusqlite::Error| from_sqlite(&error).at(path.display());
    // Immediate: of two processes that open an old catalogue, one migrates it and the other waits.
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(place)?;
    let version: u32 = tx.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(place)?;
    let version = version as usize;
    if version > MIGRATIONS.len() {
        let text = format!(
            "its schema is of version {version}; this cddsfs knows versions up to {}: a newer one is needed",
            MIGRATIONS.len()
        );
        return Err(Error::new(Kind::Unsupported, text).at(path.display()));
    }
    for (i, statements) in MIGRATIONS.iter().enumerate().skip(version) {
        tx.execute_batch(statements).map_err(place)?;
        tx.pragma_update(None, "user_version", i as u32 + 1).map_err(place)?;
    }
    tx.commit().map_err(place)
}

/// Texts of SQLite hold names of tables and files, never values.
fn from_sqlite(error: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Kind::Os(libc::ENOSPC),
        Some(ErrorCode::ReadOnly) => Kind::ReadOnly,
        Some(ErrorCode::CannotOpen) => Kind::Os(libc::EIO),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Kind::TimedOut,
        _ => Kind::Damaged,
    };
    Error::new(kind, format!("catalogue: {error}"))
}

fn to_ms(instant: SystemTime) -> i64 {
    match instant.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_millis() as i64,
        Err(before) => -(before.duration().as_millis() as i64),
    }
}

fn from_ms(ms: i64) -> SystemTime {
    let distance = Duration::from_millis(ms.unsigned_abs());
    if ms >= 0 { UNIX_EPOCH + distance } else { UNIX_EPOCH - distance }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue() -> (tempfile::TempDir, Catalogue) {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::create(&dir.path().join("c.db")).unwrap();
        (dir, catalogue)
    }

    #[test]
    fn it_is_durable_by_its_settings() {
        let (_dir, catalogue) = catalogue();
        let connection = catalogue.writer.lock();
        let pragma = |name: &str| -> String {
            connection
                .pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
                .map(|value| format!("{value:?}"))
                .unwrap()
        };
        assert_eq!(pragma("journal_mode"), "Text(\"wal\")");
        assert_eq!(pragma("synchronous"), "Integer(2)");
        assert_eq!(pragma("foreign_keys"), "Integer(1)");
    }

    #[test]
    fn changes_of_this_and_of_other_processes_are_noticed() {
        let (dir, catalogue) = catalogue();
        let other = Catalogue::open(&dir.path().join("c.db")).unwrap();
        let before = catalogue.changes().unwrap();
        assert_eq!(catalogue.changes().unwrap(), before);
        other.set_source("/x").unwrap();
        let between = catalogue.changes().unwrap();
        assert_ne!(between, before);
        catalogue.set_retention(Retention::Never).unwrap();
        assert_ne!(catalogue.changes().unwrap(), between);
        assert_eq!(catalogue.source().unwrap(), Some("/x".into()));
        assert_eq!(other.retention().unwrap(), Retention::Never);
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let (dir, catalogue) = catalogue();
        catalogue.writer.lock().pragma_update(None, "user_version", 99).unwrap();
        let error = Catalogue::open(&dir.path().join("c.db")).err().unwrap();
        assert!(error.to_string().contains("version 99"), "{error}");
    }
}
