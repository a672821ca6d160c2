//! The tables, and how they are brought to the latest version. Versions have the numbers that SQLite's have.

use super::session::{Access, Session};
use crate::error::{At, Error, Kind, Result};
use crate::postgresql::Url;
use crate::store::catalogue::newer_schema;

/// The statements that lead to a version from the one before. The first one begins with nothing.
const MIGRATIONS: [(i64, &str); 1] = [(3, include_str!("schema-3.sql"))];
const LATEST: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;

/// Of transactions that change tables ("cddsfs").
const LOCK: i64 = 0x6364_6473_6673;

/// Makes the tables where there are none, and brings those of an older version to the latest.
pub(crate) fn create(url: &Url) -> Result<()> {
    let mut session = Session::open(url, Access::Write)?;
    migrate(&mut session, 0).at(url)
}

/// Returns true if there are tables of any version.
pub(crate) fn exists(url: &Url) -> Result<bool> {
    let mut session = Session::open(url, Access::Read)?;
    version_of(&mut session).map(|version| version > 0).at(url)
}

/// The same, but without a catalogue it fails.
pub(crate) fn update(url: &Url) -> Result<()> {
    let mut session = Session::open(url, Access::Write)?;
    migrate(&mut session, MIGRATIONS[0].0).at(url)
}

/// Fails unless the tables are there, and of the version that is known.
pub(crate) fn check(session: &mut Session) -> Result<()> {
    match version_of(session)? {
        LATEST => Ok(()),
        version if version > LATEST => Err(newer_schema(version, LATEST)),
        _ => Err(Error::damaged("catalogue: it has no tables of ours in this database and schema")),
    }
}

fn version_of(session: &mut Session) -> Result<i64> {
    match session.value("SELECT to_regclass('schema_version') IS NOT NULL", &[])? {
        true => session.value("SELECT version FROM schema_version", &[]),
        false => Ok(0),
    }
}

fn migrate(session: &mut Session, least: i64) -> Result<()> {
    session.begin()?;
    // Of two processes that make or migrate them one does, and the other waits.
    session.query("SELECT pg_advisory_xact_lock($1)", &[&LOCK])?;
    let version = version_of(session)?;
    if version > LATEST || version < least {
        return check(session);
    }
    for (number, statements) in MIGRATIONS.into_iter().filter(|(number, _)| *number > version) {
        if version == 0 {
            check_database(session)?;
        }
        session.batch(statements)?;
        session.execute("DELETE FROM schema_version", &[])?;
        session.execute("INSERT INTO schema_version VALUES ($1)", &[&number])?;
    }
    session.commit()
}

/// Not every database can have a catalogue.
fn check_database(session: &mut Session) -> Result<()> {
    const OLDEST: i32 = 130_000;
    let version: i32 = session.value("SELECT current_setting('server_version_num')::integer", &[])?;
    let encoding: String = session.value("SELECT current_setting('server_encoding')", &[])?;
    if version < OLDEST {
        return Err(Error::new(Kind::Unsupported, "catalogue: it needs PostgreSQL 13 or later"));
    }
    if encoding != "UTF8" {
        return Err(Error::new(Kind::Unsupported, "catalogue: its database has another encoding than UTF8"));
    }
    Ok(())
}
