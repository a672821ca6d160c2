//! A contact-history database to try things on: invented people, their mails, chats and calls.
//!
//! The rows follow from the sizes and the seed alone, on every machine. People are not remembered but made again
//! from their number, and rows are inserted in the order of every index: so any size takes the same memory, and time
//! in proportion.

#[cfg(not(feature = "postgres"))]
use super::source;
use super::source::SourceSpec;
use crate::error::{At, Result};

mod dates;
mod interactions;
mod people;
#[cfg(feature = "postgres")]
mod postgres;
mod rng;
mod sink;
mod sqlite;
mod text;
mod words;

use interactions::Interactions;
use people::Person;
use rng::Choice;
use sink::{Cell, Sink, Target};

pub use sqlite::make;

/// Contacts or interactions between two pauses.
const BATCH: u64 = 50_000;

/// What to make; the interactions are of two years up to November 2026.
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

const CONTACT: Target =
    Target { table: "contact", columns: &["contactid", "tenantid", "createddate", "modifieddate"] };

const ATTRIBUTE: Target = Target {
    table: "contactattribute",
    columns: &["contactid", "attrname", "attrvalue", "isprimary", "modifieddate"],
};

/// Makes a database where nothing of it is yet: a file, or the tables in a database of PostgreSQL.
pub fn make_at(place: &SourceSpec, size: Size) -> Result<Counts> {
    match place {
        SourceSpec::Sqlite(path) => make(path, size).at(path.display()),
        #[cfg(feature = "postgres")]
        SourceSpec::Postgres(url) => postgres::make(&crate::postgresql::Url::parse(url)?, size),
        #[cfg(not(feature = "postgres"))]
        SourceSpec::Postgres(_) => Err(source::without_postgres()),
    }
}

/// Makes all rows.
fn fill(rows: &mut dyn Sink, size: Size) -> Result<Counts> {
    let mut made = Counts::default();
    for number in 0..size.contacts {
        contact(rows, size, number, &mut made)?;
        if number % BATCH == BATCH - 1 {
            rows.pause()?;
        }
    }
    let mut history = Interactions::new(size);
    for number in 0..size.interactions {
        history.insert(rows, number, &mut made)?;
        if number % BATCH == BATCH - 1 {
            rows.pause()?;
        }
    }
    Ok(made)
}

/// Sixteen characters that grow with the number, as text too.
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

fn contact(rows: &mut dyn Sink, size: Size, number: u64, made: &mut Counts) -> Result<()> {
    let step = (dates::SPAN / (size.contacts as i64 + 1)).max(1);
    let person = Person::new(size.seed, number);
    let mut choice = Choice::new(size.seed, (1 << 62) + number);
    let created = (dates::END - dates::SPAN + number as i64 * step).min(dates::END - 1);
    let changed =
        choice.chance(40).then(|| dates::text(created + choice.below((dates::END - created) as u64) as i64));
    let created = dates::text(created);
    let id = contact_id(number);
    rows.insert(&CONTACT, &[(&id).into(), 101.into(), (&created).into(), changed.as_ref().into()])?;
    made.contacts += 1;
    let date = changed.as_ref().unwrap_or(&created);
    let mut add = |name: &str, value: &str, is_primary: bool| -> Result<()> {
        made.attributes += 1;
        let row: [Cell<'_>; 5] =
            [(&id).into(), name.into(), value.into(), i64::from(is_primary).into(), date.into()];
        rows.insert(&ATTRIBUTE, &row)
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rusqlite::Connection;

    use super::*;
    use crate::error::Kind;

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
