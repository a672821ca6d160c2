//! Connections to the catalogue's database: one that writes, one that reads, and one for a database that cannot be
//! written to.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::error::{Error, Kind, Result};
use crate::format::sqlite_uri::immutable;
use crate::store::catalogue::newer_schema;

/// How long a writer waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(10);

/// The statements that lead from each version of the schema to the next; `user_version` counts them.
const MIGRATIONS: [&str; 3] =
    [include_str!("schema-1.sql"), include_str!("schema-2.sql"), include_str!("schema-3.sql")];

/// Adds what a database of version 1 lacks, where it cannot be migrated. Each temporary view hides the table of its
/// name.
const OF_VERSION_1: &str = "PRAGMA temp_store = MEMORY;
    CREATE TEMP VIEW run AS SELECT *, 0 AS deaths, 0 AS debris, NULL AS warnings, NULL AS made FROM main.run;
    CREATE TEMP VIEW job AS SELECT *, NULL AS skipped FROM main.job;
    CREATE TEMP VIEW part AS SELECT *, NULL AS deleted, NULL AS key FROM main.part;";
/// The same of version 2.
const OF_VERSION_2: &str = "PRAGMA temp_store = MEMORY;
    CREATE TEMP VIEW part AS SELECT *, NULL AS key FROM main.part;";

/// Converts an error of SQLite. Its text holds names of tables and files, never values.
pub(crate) fn from_sqlite(error: &rusqlite::Error) -> Error {
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

/// Returns the name of a file that SQLite keeps beside a database.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    name.into()
}

/// A kind of file with the name of a catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatabaseKind {
    Catalogue,
    /// A database without a table: one that was being made when the process died.
    Empty,
    SomethingElse,
}

/// Looks at a file without changing anything. A file that cannot be looked at now (it is locked, or damaged) is taken
/// for a catalogue: opening it gives the error.
pub(crate) fn identify(path: &Path) -> DatabaseKind {
    use rusqlite::ErrorCode::NotADatabase;
    if fs::metadata(path).is_ok_and(|meta| meta.len() == 0) {
        return DatabaseKind::Empty;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let has_log = fs::metadata(beside(path, "-wal")).is_ok_and(|meta| meta.len() > 0);
    let opened = match has_log {
        true => Connection::open_with_flags(path, flags),
        false => Connection::open_with_flags(immutable(path), flags | OpenFlags::SQLITE_OPEN_URI),
    };
    let count = |connection: Connection| {
        let sql = "SELECT count(*), sum(type = 'table' AND name IN ('setting', 'job', 'run', 'part')) FROM sqlite_schema";
        connection.query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?)))
    };
    match opened.and_then(count) {
        Ok((0, _)) => DatabaseKind::Empty,
        Ok((_, Some(4))) => DatabaseKind::Catalogue,
        Ok(_) => DatabaseKind::SomethingElse,
        Err(error) if error.sqlite_error_code() == Some(NotADatabase) => DatabaseKind::SomethingElse,
        Err(_) => DatabaseKind::Catalogue,
    }
}

/// Opens a database for writing, and brings it to the latest version of the schema.
pub(crate) fn writable(path: &Path) -> Result<Connection> {
    let mut connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let place = |error: rusqlite::Error| from_sqlite(&error).at(path.display());
    let connection =
        Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(place)?;
    prepare(&connection).map_err(place)?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)
}

fn version_of(connection: &Connection) -> rusqlite::Result<usize> {
    connection
        .pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))
        .map(|version| version as usize)
}

fn check_version(version: usize, path: &Path) -> Result<()> {
    if version <= MIGRATIONS.len() {
        return Ok(());
    }
    Err(newer_schema(version as i64, MIGRATIONS.len() as i64).at(path.display()))
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<()> {
    let place = |error: rusqlite::Error| from_sqlite(&error).at(path.display());
    if version_of(connection).map_err(place)? == MIGRATIONS.len() {
        return Ok(());
    }
    // Immediate: of two processes that open an old catalogue, one migrates it and the other waits.
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(place)?;
    let version = version_of(&tx).map_err(place)?;
    check_version(version, path)?;
    for (i, statements) in MIGRATIONS.iter().enumerate().skip(version) {
        tx.execute_batch(statements).map_err(place)?;
        tx.pragma_update(None, "user_version", i as u32 + 1).map_err(place)?;
    }
    tx.commit().map_err(place)
}

/// A connection that reads.
pub(crate) struct ReadConnection {
    connection: Connection,
    /// Set for a database that is taken to be immutable: SQLite does not notice when it changes all the same.
    frozen: Option<(PathBuf, FileStamp)>,
}

/// Size, time of change and inode of the database.
type FileStamp = (u64, i64, i64, u64);

fn stamp(path: &Path) -> FileStamp {
    fs::metadata(path).map_or_else(
        |_| FileStamp::default(),
        |meta| (meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ino()),
    )
}

impl ReadConnection {
    /// Opens a connection beside one that writes.
    pub(crate) fn live(path: &Path) -> Result<ReadConnection> {
        Ok(ReadConnection { connection: open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?, frozen: None })
    }

    /// Opens a database that is not written to from here. Where its log cannot be read (on a medium that cannot be
    /// written to), it is read as of the last checkpoint.
    pub(crate) fn of_read_only(path: &Path) -> Result<ReadConnection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let place = |error: rusqlite::Error| from_sqlite(&error).at(path.display());
        let live = Connection::open_with_flags(path, flags).and_then(|connection| {
            connection.busy_timeout(BUSY)?;
            version_of(&connection).map(|version| (connection, version))
        });
        let (connection, version, frozen) = match live {
            Ok((connection, version)) => (connection, version, None),
            Err(error) if !cannot_be_shared(&error) => return Err(place(error)),
            Err(_) => {
                let frozen = Some((path.to_path_buf(), stamp(path)));
                let connection =
                    Connection::open_with_flags(immutable(path), flags | OpenFlags::SQLITE_OPEN_URI)
                        .map_err(place)?;
                if fs::metadata(beside(path, "-wal")).is_ok_and(|meta| meta.len() > 0) {
                    log::warn!(
                        "{}: its log cannot be read here: the last changes are not seen",
                        path.display()
                    );
                }
                let version = version_of(&connection).map_err(place)?;
                (connection, version, frozen)
            }
        };
        check_version(version, path)?;
        match version {
            0 => return Err(Error::damaged("catalogue: it has no tables").at(path.display())),
            1 => connection.execute_batch(OF_VERSION_1).map_err(place)?,
            2 => connection.execute_batch(OF_VERSION_2).map_err(place)?,
            _ => {}
        }
        Ok(ReadConnection { connection, frozen })
    }

    /// Returns the connection, a new one if the file has been changed behind it.
    pub(crate) fn connection(&mut self) -> Result<&Connection> {
        if let Some((path, seen)) = &self.frozen
            && stamp(path) != *seen
        {
            *self = ReadConnection::of_read_only(&path.clone())?;
        }
        Ok(&self.connection)
    }

    /// Returns a value that differs after another process has changed the database.
    pub(crate) fn version(&mut self) -> Result<i64> {
        let connection = self.connection()?;
        let version: rusqlite::Result<i64> =
            connection.query_row("PRAGMA data_version", [], |row| row.get(0));
        let version = version.map_err(|error| from_sqlite(&error))?;
        Ok(self
            .frozen
            .as_ref()
            .map_or(version, |(_, (size, s, ns, inode))| *size as i64 ^ s ^ ns ^ *inode as i64))
    }
}

/// Returns true for a database beside which SQLite cannot make the files that its readers share.
fn cannot_be_shared(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, ReadOnly};
    matches!(error.sqlite_error_code(), Some(CannotOpen | ReadOnly))
}
