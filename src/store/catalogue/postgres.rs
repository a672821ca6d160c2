//! The catalogue of a store that several hosts share, in PostgreSQL, and the queue of its runs.
//!
//! ```text
//! session    statements that end in time
//! link       a session that is replaced when it is broken
//! schema     the tables, of the versions that SQLite's have
//! queue      claims with a lease, by the database's clock
//! ```
//!
//! Tables are in the first schema of the search path. Writes go through one connection, reads through another, so that
//! no reader waits for a commit. The answer to a commit can be lost: then the database is asked what has become of it.
//!
//! Instants are milliseconds since 1970, UTC.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tokio_postgres::Row;

use super::{Catalogue, Certificates, Revision, Setting};
use crate::error::{Error, Kind, Result};
use crate::io::{check_permit, take_permit};
use crate::postgresql::Url;
use crate::store::clock::from_ms;
use crate::store::log_once::LogOnce;

mod artifacts;
mod copy;
mod jobs;
mod link;
mod queue;
mod refusals;
mod rows;
mod runs;
mod schema;
mod session;

use link::Link;
use rows::{Readable, Unreadable, get};
use session::{Access, Session};

/// How long a server is asked what has become of a commit.
const SETTLING: Duration = Duration::from_secs(3);
/// Between two times.
const AGAIN: Duration = Duration::from_millis(50);

/// Each process that has the store open asks this often: a thousand of them are a thousand queries in this time.
const PACE: Duration = Duration::from_secs(1);

pub struct Postgres {
    url: Url,
    reader: Link,
    /// `None` where nothing is to be written.
    writer: Option<Link>,
    /// What this process is called as the owner of claims.
    owner: String,
    log_once: LogOnce,
    is_by_own_time: bool,
}

impl Postgres {
    /// Opens the catalogue, making it where it is missing.
    pub fn create(url: &str) -> Result<Postgres> {
        let url = Url::parse(url)?;
        schema::create(&url)?;
        Ok(Postgres::of(url, Access::Write))
    }

    pub fn open(url: &str) -> Result<Postgres> {
        let url = Url::parse(url)?;
        schema::update(&url)?;
        Ok(Postgres::of(url, Access::Write))
    }

    /// Returns true if there is a catalogue in the database.
    pub(crate) fn exists(url: &str) -> Result<bool> {
        schema::exists(&Url::parse(url)?)
    }

    /// Opens a catalogue that is only read, by somebody who is not to write it.
    pub fn open_read_only(url: &str) -> Result<Postgres> {
        let catalogue = Postgres::of(Url::parse(url)?, Access::Read);
        catalogue.read(|_| Ok(()))?;
        Ok(catalogue)
    }

    fn of(url: Url, access: Access) -> Postgres {
        let writer = (access == Access::Write).then(|| Link::new(&url, Access::Write));
        Postgres {
            reader: Link::new(&url, Access::Read),
            writer,
            owner: queue::owner(),
            log_once: LogOnce::default(),
            is_by_own_time: false,
            url,
        }
    }

    /// Returns it going by the time of day of whoever asks, as a model needs it that sets the time.
    pub fn by_own_time(self) -> Postgres {
        Postgres { is_by_own_time: true, ..self }
    }

    /// Runs a query.
    fn read<T>(&self, query: impl Fn(&mut Session) -> Result<T>) -> Result<T> {
        self.reader.ask(query).map(|(_, answer)| answer)
    }

    fn writer(&self) -> Result<&Link> {
        let read_only = || Error::new(Kind::ReadOnly, "catalogue: it is only read here").at(&self.url);
        self.writer.as_ref().ok_or_else(read_only)
    }

    /// Changes the catalogue in one transaction, unless whoever asked has been told that it is not done.
    fn write<T>(&self, change: impl FnOnce(&mut Session) -> Result<T>) -> Result<T> {
        let writer = self.writer()?;
        let (mut session, transaction) = writer.ask(Session::begin)?;
        // It may have waited for others.
        let changed = check_permit().and_then(|()| change(&mut session));
        match changed.and_then(|result| take_permit().map(|()| result)) {
            Ok(result) => match session.commit() {
                Err(lost) if !session.is_sound() => {
                    drop(session);
                    settle(writer, &transaction, lost).map(|()| result)
                }
                done => done.map(|()| result),
            },
            Err(error) => {
                session.roll_back();
                Err(error)
            }
        }
    }

    /// Collects rows. One that cannot be read is left out and said: the others are not to suffer for it.
    fn collect<'a, T>(
        &self,
        rows: impl IntoIterator<Item = &'a Row>,
        read: impl Fn(&'a Row) -> Readable<T>,
    ) -> Vec<T> {
        let readable = |row| match read(row) {
            Ok(value) => Some(value),
            Err(Unreadable(why)) => {
                self.log_once.error(&format!("{}: catalogue: a row is left out: {why}", self.url));
                None
            }
        };
        rows.into_iter().filter_map(readable).collect()
    }
}

/// Finds out what has become of a transaction whose commit has no answer.
fn settle(writer: &Link, transaction: &str, lost: Error) -> Result<()> {
    let until = Instant::now() + SETTLING;
    let sql = "SELECT pg_xact_status($1::text::xid8)";
    loop {
        let status = writer.ask(|c| c.value::<Option<String>>(sql, &[&transaction]));
        match status.as_ref().map(|(_, status)| status.as_deref()) {
            Ok(Some("committed")) => return Ok(()),
            Ok(Some("aborted")) => return Err(lost),
            Ok(Some(_)) if Instant::now() < until => thread::sleep(AGAIN),
            _ => {
                let text = format!("{lost}; whether it is done is not known");
                return Err(Error::new(Kind::TimedOut, text));
            }
        }
    }
}

impl Catalogue for Postgres {
    fn is_read_only(&self) -> bool {
        self.writer.is_none()
    }

    fn changes(&self) -> Result<Revision> {
        self.read(|c| c.value("SELECT number + others FROM epoch", &[])).map(Revision::of)
    }

    fn pace(&self) -> Duration {
        PACE
    }

    fn epoch(&self) -> Result<Revision> {
        self.read(|c| c.value("SELECT number FROM epoch", &[])).map(Revision::of)
    }

    fn setting(&self, setting: Setting) -> Result<Option<String>> {
        let sql = "SELECT value FROM setting WHERE name = $1";
        let row = self.read(|c| c.query_opt(sql, &[&setting.name()]))?;
        Ok(row.map(|row| get(&row, "value")).transpose()?)
    }

    fn set(&self, setting: Setting, value: &str) -> Result<()> {
        let sql =
            "INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2";
        self.write(|tx| tx.execute(sql, &[&setting.name(), &value])).map(drop)
    }

    fn certificates(&self) -> Result<Certificates> {
        let missing =
            || Error::new(Kind::Os(libc::ENOENT), "the catalogue has no certificates").at(&self.url);
        let pem = self.setting(Setting::Certificates)?.ok_or_else(missing)?.into_bytes();
        Ok(Certificates { pem, place: "the catalogue".into() })
    }

    fn set_certificates(&self, pem: &[u8]) -> Result<()> {
        let text = str::from_utf8(pem).map_err(|_| Error::new(Kind::Invalid, "certificates: no PEM"))?;
        self.set(Setting::Certificates, text)
    }

    fn today(&self, own: SystemTime) -> Result<SystemTime> {
        if self.is_by_own_time {
            return Ok(own);
        }
        let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
        let ms: i64 = self.read(|c| c.value(sql, &[]))?;
        from_ms(ms).ok_or_else(|| {
            Error::damaged("the time of day of the database is out of any calendar").at(&self.url)
        })
    }

    fn checkpoint(&self) -> Result<()> {
        // Backups of a database are the server's matter.
        Ok(())
    }

    fn copy_to(&self, path: &Path) -> Result<()> {
        copy::copy(&self.url, path)
    }
}
