//! A contact-history database to try things on: invented people, their mails, chats and calls.
//!
//! The rows follow from the sizes and the seed alone, on every machine. People are not kept but made again from their
//! number, and rows are inserted in the order of every index: so memory does not grow with the size, and time grows in
//! proportion.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Statement, params};

use super::source::sqlite::{SCHEMA, SqliteResult};
use crate::error::{At, Error, Kind, Result};

mod dates;
mod interactions;
mod people;
mod rng;
mod text;
mod words;

use interactions::Interactions;
use people::Person;
use rng::Choice;

/// Rows in one transaction.
const BATCH: u64 = 50_000;

/// What to make. The interactions are of the two years before November 2026.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub contacts: u64,
    pub interactions: u64,
    pub seed: u64,
}

/// How many rows there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub(crate) contacts: u64,
    pub(crate) attributes: u64,
    pub(crate) interactions: u64,
    pub(crate) attachments: u64,
}

/// Makes a database; the name must not be taken. It appears whole or not at all.
pub fn make(path: &Path, size: Size) -> Result<Counts> {
    refuse_existing(path)?;
    let name = path.file_name().ok_or_else(|| Error::new(Kind::Invalid, "not the name of a file"));
    let mut partial = name?.to_owned();
    partial.push(format!(".partial-{}", std::process::id()));
    let partial = PartialFile(path.with_file_name(partial));
    // Made here, since SQLite would not say why it cannot.
    File::create_new(&partial.0)?;
    let mut connection = Connection::open(&partial.0).sqlite()?;
    // Nobody else uses the database before it is renamed, so it needs no journal.
    let settings = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -32768;
                    PRAGMA locking_mode = EXCLUSIVE; PRAGMA foreign_keys = OFF;";
    connection.execute_batch(settings).sqlite()?;
    connection.execute_batch(SCHEMA).sqlite()?;
    let mut made = Counts::default();
    batches(&mut connection, size.contacts, |connection, numbers| {
        contacts(connection, size, numbers, &mut made)
    })?;
    let mut interactions = Interactions::new(size);
    batches(&mut connection, size.interactions, |connection, numbers| {
        interactions.insert(connection, numbers, &mut made)
    })?;
    connection.close().map_err(|(_, error)| error).sqlite()?;
    File::open(&partial.0)?.sync_all()?;
    refuse_existing(path)?;
    fs::rename(&partial.0, path)?;
    Ok(made)
}

fn refuse_existing(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(Error::new(Kind::Os(libc::EEXIST), "there is such a file already"));
    }
    Ok(())
}

/// A file that is deleted when this is dropped, unless it has been renamed.
struct PartialFile(PathBuf);

impl Drop for PartialFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn batches(
    connection: &mut Connection,
    end: u64,
    mut insert: impl FnMut(&Connection, std::ops::Range<u64>) -> rusqlite::Result<()>,
) -> Result<()> {
    for first in (0..end).step_by(BATCH as usize) {
        let transaction = connection.transaction().sqlite()?;
        insert(&transaction, first..end.min(first + BATCH)).sqlite().at("inserting")?;
        transaction.commit().sqlite()?;
    }
    Ok(())
}

/// Returns an id of sixteen characters; ids sort as text in the order of their numbers.
fn id(prefix: &str, mut number: u64) -> String {
    let mut digits = [b'0'; 10];
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[(number % 36) as usize];
        number /= 36;
    }
    prefix.chars().chain(digits.into_iter().map(char::from)).collect()
}

fn contact_id(number: u64) -> String {
    id("0001Ua", number * 37)
}

fn contacts(
    connection: &Connection,
    size: Size,
    numbers: std::ops::Range<u64>,
    made: &mut Counts,
) -> rusqlite::Result<()> {
    let mut contact = connection.prepare("INSERT INTO contact VALUES (?1, ?2, ?3, ?4)")?;
    let mut attribute = connection.prepare("INSERT INTO contactattribute VALUES (?1, ?2, ?3, ?4, ?5)")?;
    let step = (dates::SPAN / (size.contacts as i64 + 1)).max(1);
    for number in numbers {
        let person = Person::new(size.seed, number);
        let mut choice = Choice::new(size.seed, (1 << 62) + number);
        let created = (dates::END - dates::SPAN + number as i64 * step).min(dates::END - 1);
        let changed = choice
            .chance(40)
            .then(|| dates::text(created + choice.below((dates::END - created) as u64) as i64));
        let created = dates::text(created);
        let id = contact_id(number);
        contact.execute(params![id, 101, created, changed])?;
        made.contacts += 1;
        let date = changed.as_ref().unwrap_or(&created);
        let mut add = |name: &str, value: &str, is_primary: bool| -> rusqlite::Result<()> {
            made.attributes += 1;
            insert_attribute(&mut attribute, &id, name, value, is_primary, date)
        };
        add("FirstName", person.first_name, true)?;
        add("LastName", person.last_name, true)?;
        add("EmailAddress", &person.email, true)?;
        if choice.chance(25) {
            add("EmailAddress", &format!("work-{}", person.email), false)?;
        }
        if choice.chance(70) {
            add("PhoneNumber", &person.phone, true)?;
        }
        if choice.chance(15) {
            add("Title", choice.of(&["Dr.", "Prof.", "Mx", ""]), true)?;
        }
        if choice.chance(30) {
            let media = choice.of(&["email", "chat", "voice"]);
            add(&format!("LCA_EmplID_{media}"), &format!("{}", 2900 + choice.below(40)), true)?;
        }
    }
    Ok(())
}

fn insert_attribute(
    attribute: &mut Statement<'_>,
    id: &str,
    name: &str,
    value: &str,
    is_primary: bool,
    date: &str,
) -> rusqlite::Result<()> {
    attribute.execute(params![id, name, value, i64::from(is_primary), date]).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(size: Size) -> (blake3::Hash, Counts) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let made = make(&path, size).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let connection = Connection::open(&path).unwrap();
        let mut hash = blake3::Hasher::new();
        for table in ["contact", "contactattribute", "interaction", "attachment"] {
            let mut statement = connection.prepare(&format!("SELECT * FROM {table} ORDER BY rowid")).unwrap();
            let width = statement.column_count();
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next().unwrap() {
                (0..width).for_each(|i| {
                    hash.update(format!("{:?}", row.get_ref(i).unwrap()).as_bytes());
                });
            }
        }
        (hash.finalize(), made)
    }

    #[test]
    fn the_seed_decides_everything() {
        let size = Size { contacts: 50, interactions: 300, seed: 1 };
        let (first, made) = digest(size);
        assert_eq!((made.contacts, made.interactions), (50, 300));
        assert_eq!(digest(size), (first, made));
        assert_ne!(digest(Size { seed: 2, ..size }).0, first);
        assert_eq!(first.to_hex()[..16], *GOLDEN, "a seed gives the same rows in every version");
    }

    const GOLDEN: &str = "8697ca968a00581f";

    #[test]
    fn nothing_is_overwritten_and_nothing_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        fs::write(&path, "mine").unwrap();
        let size = Size { contacts: 0, interactions: 3, seed: 1 };
        assert_eq!(make(&path, size).unwrap_err().kind(), Kind::Os(libc::EEXIST));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        assert_eq!(make(&dir.path().join("no/s.db"), size).unwrap_err().kind(), Kind::Os(libc::ENOENT));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(make(&dir.path().join("t.db"), size).unwrap().interactions, 3);
    }

    #[test]
    fn ids_grow() {
        let ids: Vec<String> = (0..2000).map(contact_id).collect();
        assert!(ids.is_sorted() && ids.iter().all(|id| id.len() == 16));
    }
}
