//! The catalogue of a managed store: settings, jobs, runs, parts and their block hashes, in SQLite.
//!
//! Write-ahead log and `synchronous=FULL`: what has been committed survives a loss of power. Writes go through one
//! connection, reads through another, so that no reader waits for an fsync. Several processes may have a store open;
//! what one of them commits, the others see at their next query ([`Catalogue::changes`] tells that something has).
//!
//! Instants are milliseconds since 1970, UTC.

use std::collections::HashSet;
use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, MutexGuard};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::retention::Retention;
use crate::error::{Error, Kind, Result};
use crate::io::{check_permit, take_permit};

mod connect;
mod jobs;
mod parts;
mod refusals;
mod rows;
mod runs;
mod status;

use connect::Reading;
pub use connect::{Looks, look_at};
pub use jobs::Job;
pub use parts::{Gone, PART_BLOCK_HASHES, StoredArtifact, StoredPartRecord};
pub use refusals::RefusedSpec;
pub use runs::{Made, Progress, Run, RunUpdate};
pub use status::{INCOMPLETE, Status};

const CLOCK: &str = "confirmed_clock";
/// Pages that are copied at a time.
const BACKUP_PAGES: i32 = 1024;
/// Rows that cannot be read and have been said.
const MAX_SAID: usize = 100;

pub struct Catalogue {
    path: PathBuf,
    /// `None` where nothing can be written.
    writer: Option<Mutex<Connection>>,
    reader: Mutex<Reading>,
    /// Counts what this process has committed.
    own_changes: AtomicU64,
    said: Mutex<HashSet<String>>,
}

impl Catalogue {
    /// Opens the catalogue, making it where it is missing.
    pub fn create(path: &Path) -> Result<Catalogue> {
        // The files beside it get the mode that it has.
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        Catalogue::open(path)
    }

    pub fn open(path: &Path) -> Result<Catalogue> {
        let writer = connect::writable(path)?;
        for file in ["", "-wal", "-shm"].map(|suffix| connect::beside(path, suffix)) {
            // Catalogues of before were readable by others, in a directory that is not.
            if fs::metadata(&file).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0)
                && let Err(error) = fs::set_permissions(&file, Permissions::from_mode(0o600))
            {
                log::warn!("{}: {error}", file.display());
            }
        }
        Ok(Catalogue::of(path, Some(writer), Reading::live(path)?))
    }

    /// Opens a catalogue that is only read: on a medium that cannot be written to, or by somebody who is not to.
    pub fn open_read_only(path: &Path) -> Result<Catalogue> {
        Ok(Catalogue::of(path, None, Reading::of_read_only(path)?))
    }

    fn of(path: &Path, writer: Option<Connection>, reader: Reading) -> Catalogue {
        Catalogue {
            path: path.to_path_buf(),
            writer: writer.map(Mutex::new),
            reader: Mutex::new(reader),
            own_changes: AtomicU64::new(0),
            said: Mutex::default(),
        }
    }

    pub fn is_read_only(&self) -> bool {
        self.writer.is_none()
    }

    fn at(&self, error: &rusqlite::Error) -> Error {
        from_sqlite(error).at(self.path.display())
    }

    /// Runs a query.
    fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let mut reader = self.reader.lock();
        query(reader.connection()?).map_err(|error| self.at(&error))
    }

    fn writer(&self) -> Result<MutexGuard<'_, Connection>> {
        let read_only =
            || Error::new(Kind::ReadOnly, "catalogue: it is only read here").at(self.path.display());
        self.writer.as_ref().map(Mutex::lock).ok_or_else(read_only)
    }

    /// Changes the catalogue in one transaction, unless whoever asked has been told that it is not done.
    fn write<T>(&self, change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        let mut connection = self.writer()?;
        // It may have waited for others.
        check_permit()?;
        let changed = connection.transaction_with_behavior(TransactionBehavior::Immediate).and_then(|tx| {
            let result = change(&tx)?;
            match take_permit() {
                Ok(()) => tx.commit().map(|()| Ok(result)),
                Err(late) => Ok(Err(late)),
            }
        });
        self.own_changes.fetch_add(1, Ordering::Relaxed);
        changed.map_err(|error| self.at(&error))?
    }

    /// Collects rows. One that cannot be read is left out and said: the others are not to suffer for it.
    fn collect<T>(&self, rows: impl Iterator<Item = rusqlite::Result<T>>) -> rusqlite::Result<Vec<T>> {
        use rusqlite::Error::{
            FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error,
        };
        let readable = |row: rusqlite::Result<T>| match row {
            Err(
                error @ (FromSqlConversionFailure(..)
                | IntegralValueOutOfRange(..)
                | InvalidColumnType(..)
                | Utf8Error(..)),
            ) => {
                self.say_once(&format!("{}: catalogue: a row is left out: {error}", self.path.display()));
                None
            }
            other => Some(other),
        };
        rows.filter_map(readable).collect()
    }

    /// Says what is wrong with the catalogue's content, once.
    pub fn say_once(&self, text: &str) {
        let mut said = self.said.lock();
        if said.len() < MAX_SAID && said.insert(text.into()) {
            log::error!("{text}");
        }
    }

    /// Moves what is in the write-ahead log into the database, so that a copy of that file alone has it.
    pub fn checkpoint(&self) -> Result<()> {
        let writer = self.writer()?;
        writer.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).map_err(|error| self.at(&error))
    }

    /// Copies the catalogue as it is at one moment (SQLite's online backup) to a new file.
    pub fn copy_to(&self, path: &Path) -> Result<()> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let to_path = |error: rusqlite::Error| from_sqlite(&error).at(path.display());
        let mut copy = Connection::open(path).map_err(to_path)?;
        let mut reader = self.reader.lock();
        let backup = rusqlite::backup::Backup::new(reader.connection()?, &mut copy).map_err(to_path)?;
        backup.run_to_completion(BACKUP_PAGES, Duration::ZERO, None).map_err(to_path)
    }

    /// Returns a value that is another one after anything in the catalogue has changed.
    pub fn changes(&self) -> Result<(u64, i64)> {
        let others = self.reader.lock().version().map_err(|error| error.at(self.path.display()))?;
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

    /// Returns the time of day that was believed last.
    pub fn confirmed_clock(&self) -> Result<Option<SystemTime>> {
        Ok(self.setting(CLOCK)?.and_then(|ms| from_ms(ms.parse().ok()?)))
    }

    /// Writes down that the time of day is believed. That is no change that anybody has to be told of.
    pub fn confirm_clock(&self, now: SystemTime) -> Result<()> {
        self.write(|tx| {
            let ms = to_ms(now).to_string();
            if tx.execute("UPDATE setting SET value = ?2 WHERE name = ?1", params![CLOCK, ms])? == 0 {
                tx.execute("INSERT INTO setting (name, value) VALUES (?1, ?2)", params![CLOCK, ms])?;
            }
            Ok(())
        })
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

/// Texts of SQLite hold names of tables and files, never values.
fn from_sqlite(error: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Kind::Os(libc::ENOSPC),
        Some(ErrorCode::ReadOnly) => Kind::ReadOnly,
        Some(ErrorCode::CannotOpen) => Kind::Os(libc::EIO),
        Some(ErrorCode::SystemIoFailure) => Kind::Os(libc::EIO),
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

/// Returns an instant; `None` for one that is out of any calendar (the years -9999 to 9999).
fn from_ms(ms: i64) -> Option<SystemTime> {
    jiff::Timestamp::from_millisecond(ms).ok().map(SystemTime::from)
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
        let connection = catalogue.writer().unwrap();
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
        catalogue.writer().unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = Catalogue::open(&dir.path().join("c.db")).err().unwrap();
        assert!(error.to_string().contains("version 99"), "{error}");
    }
}
