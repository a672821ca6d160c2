//! Opening a database that is only read, and what SQLite's errors mean to the user.

use std::fs;
use std::path::{self, Path, PathBuf};
use std::time::Duration;

use nix::unistd::{AccessFlags, access};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::{Error, Kind, Result};
use crate::export::source::row::Value;
use crate::format::sqlite_uri::immutable;
use crate::io::Cancel;

/// How long to wait for a database that another program has locked.
const PATIENCE: Duration = Duration::from_secs(5);

/// A value of more bytes than this is never read into memory as a whole: SQLite refuses to.
pub(crate) const WIDE: i32 = 256 << 10;
/// Except for a value of a table that cannot be read in pieces, which may have this many bytes.
pub(crate) const WIDEST: i32 = 16 << 20;

/// Instructions of SQLite's machine between two looks at the cancel flag: some tens of microseconds.
const STEPS: i32 = 4096;

/// Nothing may be written, least of all plaintext to temporary files; nothing in the schema may call out; and no
/// index may be made that grows with the data.
///
/// There is no memory map: a database on a medium that fails would end the process with SIGBUS.
const SETTINGS: &str = "
    PRAGMA query_only = 1;
    PRAGMA temp_store = MEMORY;
    PRAGMA automatic_index = OFF;
    PRAGMA trusted_schema = OFF;
    PRAGMA mmap_size = 0;
    PRAGMA cache_size = -4096;
    BEGIN;";

/// Opens a database and begins the read transaction that lasts as long as the connection.
pub(crate) fn open(path: &Path, cancel: &Cancel) -> Result<Connection> {
    // An absolute path is never taken for a URI.
    let path = path::absolute(path)?;
    if !fs::metadata(&path)?.is_file() {
        return Err(Error::new(Kind::Invalid, "not a file"));
    }
    // Not tried by opening it: closing it would give up the POSIX locks that SQLite has on it in this process.
    access(&path, AccessFlags::R_OK).map_err(std::io::Error::from)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    match begin(Connection::open_with_flags(&path, flags), cancel) {
        // In WAL mode the -shm file has to be made, which read-only media do not allow. Without a log
        // nobody can be writing there.
        Err(error) if wants_shared_memory(&error) && !has_log(&path) => {
            let uri = Connection::open_with_flags(immutable(&path), flags | OpenFlags::SQLITE_OPEN_URI);
            begin(uri, cancel).sqlite()
        }
        result => result.sqlite(),
    }
}

fn begin(opened: rusqlite::Result<Connection>, cancel: &Cancel) -> rusqlite::Result<Connection> {
    let mut connection = opened?;
    connection.busy_timeout(PATIENCE)?;
    let cancel = cancel.clone();
    connection.progress_handler(STEPS, Some(move || cancel.is_cancelled()))?;
    connection.execute_batch(SETTINGS)?;
    // The first read begins the snapshot.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    // Only now: the schema itself may be longer.
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, WIDE)?;
    Ok(connection)
}

pub(crate) fn value(value: ValueRef<'_>) -> Value<'_> {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(text) => Value::Text(text),
        ValueRef::Blob(bytes) => Value::Blob(bytes),
    }
}

fn wants_shared_memory(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

fn has_log(path: &Path) -> bool {
    ["-wal", "-journal"].iter().any(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name).exists()
    })
}

/// Turns errors of SQLite into what the user should know. SQLite's messages name columns, but never contain values.
pub(crate) trait SqliteResult<T> {
    fn sqlite(self) -> Result<T>;
}

impl<T> SqliteResult<T> for rusqlite::Result<T> {
    fn sqlite(self) -> Result<T> {
        self.map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => Error::new(Kind::Cancelled, "cancelled"),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                let seconds = PATIENCE.as_secs();
                Error::new(Kind::TimedOut, format!("another program has it locked: waited {seconds} seconds"))
            }
            Some(ErrorCode::NotADatabase) => Error::damaged("not an SQLite database, or an encrypted one"),
            Some(ErrorCode::DatabaseCorrupt) => Error::damaged("the database is damaged"),
            Some(ErrorCode::DiskFull) => Error::new(Kind::Os(libc::ENOSPC), "no space left on the device"),
            Some(ErrorCode::TooBig) => {
                let text = format!(
                    "a value of more than {WIDE} bytes stands where rows are looked for (an id, a date, a type), \
                     or in a generated column; shorten it"
                );
                Error::new(Kind::Unsupported, text)
            }
            Some(ErrorCode::OutOfMemory) => Error::new(Kind::Os(libc::ENOMEM), "SQLite is out of memory"),
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) => {
                let text = "cannot be read without writing beside it, because a write was not finished; \
                            open it once where it can be written";
                Error::new(Kind::Os(libc::EACCES), text)
            }
            Some(ErrorCode::SystemIoFailure) => Error::new(Kind::Os(libc::EIO), error.to_string()),
            _ => Error::new(Kind::Invalid, error.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &Path) -> Error {
        open(path, &Cancel::new()).map(|_| ()).unwrap_err()
    }

    #[test]
    fn what_is_no_database_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        assert_eq!(refused(&path).kind(), Kind::Os(libc::ENOENT));
        assert_eq!(refused(dir.path()).kind(), Kind::Invalid);
        fs::write(&path, vec![b'x'; 8192]).unwrap();
        assert_eq!(refused(&path).to_string(), "not an SQLite database, or an encrypted one");
        fs::write(&path, b"").unwrap();
        assert!(open(&path, &Cancel::new()).is_ok());
    }

    #[test]
    fn a_strange_path_is_that_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a b?mode=memory#%41ü.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(immutable(&path), flags).unwrap();
        assert_eq!(connection.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)), Ok(0));
        assert!(open(&path, &Cancel::new()).is_ok());
    }

    #[test]
    fn a_lock_is_waited_for_and_then_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let other = Connection::open(&path).unwrap();
        other.execute_batch("CREATE TABLE t (a); BEGIN EXCLUSIVE").unwrap();
        let error = refused(&path);
        assert_eq!(error.kind(), Kind::TimedOut);
        assert_eq!(error.to_string(), "another program has it locked: waited 5 seconds");
    }

    #[test]
    fn nothing_can_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
        let connection = open(&path, &Cancel::new()).unwrap();
        assert!(connection.execute_batch("INSERT INTO t VALUES (1)").is_err());
    }
}
