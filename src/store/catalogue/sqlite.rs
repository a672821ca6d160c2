//! The catalogue of a store that is a directory, in SQLite, and the queue of its runs.
//!
//! ```text
//! cddsfs.db          settings, jobs, runs, parts and their block hashes
//! certificate.pem    what new exports are encrypted to
//! engine.lock        flock(2): held by the one process that executes runs
//! ```
//!
//! Write-ahead log and `synchronous=FULL`: what has been committed survives a loss of power. Writes go through one
//! connection, reads through another, so that no reader waits for an fsync.
//!
//! Instants are milliseconds since 1970, UTC.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{Catalogue, Certificates, Revision, Setting};
use crate::error::{At, Error, Kind, Result};
use crate::io::{check_permit, take_permit};
use crate::store::atomic::{sync_dir, write_atomically};
use crate::store::log_once::LogOnce;

mod artifacts;
mod connect;
#[cfg(feature = "postgres")]
mod import;
mod jobs;
mod queue;
mod refusals;
mod rows;
mod runs;

pub(crate) use connect::{DatabaseKind, identify};
use connect::{ReadConnection, from_sqlite};
#[cfg(feature = "postgres")]
pub(crate) use import::{Import, Value};

/// Names of its files beside the catalogue itself.
pub(crate) const CERTIFICATE: &str = "certificate.pem";
pub(crate) const LOCK: &str = "engine.lock";

/// Pages that are copied at a time.
const BACKUP_PAGES: i32 = 1024;

/// Returns the version of SQLite that is built in.
pub(crate) fn library_version() -> &'static str {
    rusqlite::version()
}

pub struct Sqlite {
    path: PathBuf,
    /// `None` where nothing can be written.
    writer: Option<Mutex<Connection>>,
    reader: Mutex<ReadConnection>,
    log_once: LogOnce,
}

impl Sqlite {
    /// Opens the catalogue, making it where it is missing.
    pub fn create(path: &Path) -> Result<Sqlite> {
        // SQLite gives the files beside it the mode that it has.
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        Sqlite::open(path)
    }

    pub fn open(path: &Path) -> Result<Sqlite> {
        let writer = connect::writable(path)?;
        for file in ["", "-wal", "-shm"].map(|suffix| connect::beside(path, suffix)) {
            // Catalogues of earlier versions were readable by others, in a directory that was not.
            if fs::metadata(&file).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0)
                && let Err(error) = fs::set_permissions(&file, Permissions::from_mode(0o600))
            {
                log::warn!("{}: {error}", file.display());
            }
        }
        Ok(Sqlite::of(path, Some(writer), ReadConnection::live(path)?))
    }

    /// Opens a catalogue that is only read: on a medium that cannot be written to, or by somebody who is not to.
    pub fn open_read_only(path: &Path) -> Result<Sqlite> {
        Ok(Sqlite::of(path, None, ReadConnection::of_read_only(path)?))
    }

    fn of(path: &Path, writer: Option<Connection>, reader: ReadConnection) -> Sqlite {
        Sqlite {
            path: path.to_path_buf(),
            writer: writer.map(Mutex::new),
            reader: Mutex::new(reader),
            log_once: LogOnce::default(),
        }
    }

    fn at(&self, error: &rusqlite::Error) -> Error {
        from_sqlite(error).at(self.path.display())
    }

    /// Makes it the catalogue of a store that is one directory: parts are reached by their names, and the certificate is in
    /// a file.
    pub(crate) fn stand_alone(&self) -> Result<()> {
        let elsewhere = [Setting::Parts.name(), Setting::Certificates.name()];
        self.write(|tx| {
            tx.execute("UPDATE part SET key = NULL WHERE key IS NOT NULL", [])?;
            tx.execute("DELETE FROM setting WHERE name IN (?1, ?2)", elsewhere).map(drop)
        })
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

    /// Changes the catalogue in one transaction, unless the request has been refused meanwhile because it took too
    /// long.
    fn write<T>(&self, change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        let mut connection = self.writer()?;
        // It may have waited long for other writers.
        check_permit()?;
        let changed = connection.transaction_with_behavior(TransactionBehavior::Immediate).and_then(|tx| {
            let result = change(&tx)?;
            match take_permit() {
                Ok(()) => tx.commit().map(|()| Ok(result)),
                Err(late) => Ok(Err(late)),
            }
        });
        changed.map_err(|error| self.at(&error))?
    }

    /// Collects rows. One that cannot be read is left out and logged, so that the others are of use all the same.
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
                self.log_once
                    .error(&format!("{}: catalogue: a row is left out: {error}", self.path.display()));
                None
            }
            other => Some(other),
        };
        rows.filter_map(readable).collect()
    }

    /// The file of that name beside the catalogue.
    fn beside(&self, name: &str) -> PathBuf {
        self.path.with_file_name(name)
    }
}

impl Catalogue for Sqlite {
    fn is_read_only(&self) -> bool {
        self.writer.is_none()
    }

    fn changes(&self) -> Result<Revision> {
        let version = self.reader.lock().version().map_err(|error| error.at(self.path.display()))?;
        Ok(Revision::of(version))
    }

    fn epoch(&self) -> Result<Revision> {
        self.read(|c| c.query_row("SELECT number FROM epoch", [], |row| row.get(0))).map(Revision::of)
    }

    fn setting(&self, setting: Setting) -> Result<Option<String>> {
        let sql = "SELECT value FROM setting WHERE name = ?1";
        self.read(|c| c.query_row(sql, [setting.name()], |row| row.get(0)).optional())
    }

    fn set(&self, setting: Setting, value: &str) -> Result<()> {
        self.write(|tx| {
            // A row that is inserted counts in the epoch, one that is updated does not.
            let sql = "UPDATE setting SET value = ?2 WHERE name = ?1";
            if !setting.is_shown() && tx.execute(sql, [setting.name(), value])? > 0 {
                return Ok(());
            }
            let sql = "INSERT OR REPLACE INTO setting (name, value) VALUES (?1, ?2)";
            tx.execute(sql, params![setting.name(), value]).map(drop)
        })
    }

    fn certificates(&self) -> Result<Certificates> {
        Ok(Certificates {
            pem: fs::read(self.beside(CERTIFICATE)).at(CERTIFICATE)?,
            place: CERTIFICATE.into(),
        })
    }

    fn set_certificates(&self, pem: &[u8]) -> Result<()> {
        let path = self.beside(CERTIFICATE);
        let dir = path.parent().unwrap_or(Path::new("."));
        write_atomically(&path, pem).and_then(|()| sync_dir(dir)).at(path.display())
    }

    fn checkpoint(&self) -> Result<()> {
        let writer = self.writer()?;
        writer.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).map_err(|error| self.at(&error))
    }

    fn copy_to(&self, path: &Path) -> Result<()> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let to_path = |error: rusqlite::Error| from_sqlite(&error).at(path.display());
        let mut copy = Connection::open(path).map_err(to_path)?;
        let mut reader = self.reader.lock();
        let backup = rusqlite::backup::Backup::new(reader.connection()?, &mut copy).map_err(to_path)?;
        backup.run_to_completion(BACKUP_PAGES, Duration::ZERO, None).map_err(to_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::catalogue::Artifacts;
    use crate::store::retention::Retention;

    fn catalogue() -> (tempfile::TempDir, Sqlite) {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Sqlite::create(&dir.path().join("c.db")).unwrap();
        (dir, catalogue)
    }

    #[test]
    fn every_older_schema_is_read_as_it_is_and_brought_to_the_latest() {
        const SCHEMAS: [&str; 2] = [include_str!("sqlite/schema-1.sql"), include_str!("sqlite/schema-2.sql")];
        const ID: &str = "302a38f0-b493-4921-b8e4-61c1e18a0655";
        for version in 1..=SCHEMAS.len() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("c.db");
            let older = Connection::open(&path).unwrap();
            SCHEMAS[..version].iter().for_each(|schema| older.execute_batch(schema).unwrap());
            older.pragma_update(None, "user_version", version as u32).unwrap();
            let rows = format!(
                "INSERT INTO run (id, spec, status, finished, bytes, present) VALUES ('{ID}', '{{}}', 'Completed', 7, 9, 1);
                 INSERT INTO part (run, number, name, size, sha256, root)
                 VALUES ('{ID}', 1, 'export-{ID}.zip.smime', 9, zeroblob(32), zeroblob(32));"
            );
            older.execute_batch(&rows).unwrap();
            drop(older);
            let known = |catalogue: &Sqlite| {
                let artifacts = catalogue.artifacts().unwrap();
                (artifacts.len(), artifacts[0].parts.len(), artifacts[0].parts[0].key.to_string())
            };
            let expected = (1, 1, format!("export-{ID}.zip.smime"));
            assert_eq!(
                known(&Sqlite::open_read_only(&path).unwrap()),
                expected,
                "version {version}, read only"
            );
            assert_eq!(known(&Sqlite::open(&path).unwrap()), expected, "version {version}");
        }
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
        let other = Sqlite::open(&dir.path().join("c.db")).unwrap();
        let (catalogue, other): (&dyn Catalogue, &dyn Catalogue) = (&catalogue, &other);
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
        let error = Sqlite::open(&dir.path().join("c.db")).err().unwrap();
        assert!(error.to_string().contains("version 99"), "{error}");
    }
}
