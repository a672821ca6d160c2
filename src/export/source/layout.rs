//! What an export is made of, whatever engine has the rows: tables, entity types, folders, files and keys.
//!
//! | subject | where |
//! |---|---|
//! | which instants a column may hold, and how they are spelled | `instant.rs` |
//! | which rows are inside a timeframe | `dates.rs` |
//! | which media types were asked for in vain | `media.rs` |
//! | what makes a row another one | `digest.rs` |
//! | what `since_last_run` promises, and says where it cannot | `since.rs` |

use std::fmt;

use super::row::{Columns, Value};
use super::selection::{Kind, Timeframe};
use crate::error::{self, Error, Result};

pub mod dates;
pub mod digest;
mod instant;
pub mod media;
pub mod since;

/// The place of a file in the archive, but for the run's id in its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FilePath {
    /// Without a slash at either end.
    pub folder: String,
    /// What the name begins with.
    pub stem: String,
}

impl FilePath {
    /// Returns the name of the member that a run writes.
    pub fn member(&self, run: impl fmt::Display) -> String {
        format!("{}/{}-{run}.json", self.folder, self.stem)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    pub path: FilePath,
    /// Never 0.
    pub rows: u64,
}

/// A table that every source has, though its names may be in any case and it may have more columns.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    pub name: &'static str,
    /// Those that are documented, in the order in which they are exported.
    pub(crate) columns: &'static [&'static str],
    /// Those without which nothing is exported from it.
    pub(crate) required: &'static [&'static str],
    /// Columns whose key in the export is not their name.
    renamed: &'static [(&'static str, &'static str)],
}

/// One export type: the rows that a selection is about, and what belongs to them.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    pub parent: Table,
    /// Attachments or attributes. The table may be missing.
    pub child: Table,
    /// The parent's column that a child names.
    pub id: &'static str,
    /// The child's column that names a parent.
    pub link: &'static str,
    /// The parent's column with the instant that a timeframe is about.
    pub date: &'static str,
    pub entity_type: Option<&'static str>,
    pub media_type: Option<&'static str>,
    pub folders: &'static [Folder],
}

/// A folder of the archive, with a file of parents and one of what belongs to them.
#[derive(Debug, PartialEq, Eq)]
pub struct Folder {
    path: &'static str,
    parent: &'static str,
    child: &'static str,
    /// The entity types that go here, ascending.
    pub(crate) codes: &'static [Codes],
}

/// A range of entity types. One that is NULL is below all numbers; what is no number is above all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codes {
    Any,
    Null,
    Is(i64),
    Below(i64),
    /// Without both ends.
    Between(i64, i64),
    Above(i64),
}

/// Which of the two tables a file is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    Parent,
    Child,
}

/// A file that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub info: FileInfo,
    pub of: Of,
    pub folder: &'static Folder,
}

macro_rules! entity_type {
    ($word:literal, $codes:expr) => {
        Folder {
            path: concat!("UCS/Interaction/", $word),
            parent: $word,
            child: concat!($word, "-Attachment"),
            codes: $codes,
        }
    };
}

/// Any value, of any type, is of exactly one.
const ENTITY_TYPES: [Folder; 7] = [
    entity_type!("EmailIn", &[Codes::Is(0)]),
    entity_type!("EmailOut", &[Codes::Is(1)]),
    entity_type!("Chat", &[Codes::Is(2)]),
    entity_type!("PhoneCall", &[Codes::Is(3)]),
    entity_type!("CallBack", &[Codes::Is(5)]),
    entity_type!("CoBrowse", &[Codes::Is(6)]),
    entity_type!(
        "Interaction",
        &[
            Codes::Null,
            Codes::Below(0),
            Codes::Between(0, 1),
            Codes::Between(1, 2),
            Codes::Between(2, 3),
            Codes::Between(3, 5),
            Codes::Between(5, 6),
            Codes::Between(6, 7),
            // Most of them: a range of its own, within which an index can go by date.
            Codes::Is(7),
            Codes::Above(7),
        ]
    ),
];

const CONTACT_ID: (&str, &str) = ("contactid", "ContactId");

static INTERACTION: Layout = Layout {
    parent: Table {
        name: "interaction",
        columns: &[
            "id",
            "status",
            "entitytypeid",
            "mediatypeid",
            "typeid",
            "subtypeid",
            "externalid",
            "ownerid",
            "contactid",
            "parentid",
            "startdate",
            "modifieddate",
            "enddate",
            "threadid",
            "categoryid",
            "timeshift",
            "subject",
            "text",
            "structuredtext",
            "structtextmimetype",
            "thecomment",
            "tenantid",
            "subtenantid",
            "threadhash",
            "canbeparent",
            "creatorappid",
            "queuename",
            "allattributes",
            "isspam",
            "websafeemailstatus",
            "strattribute1",
            "strattribute2",
            "strattribute3",
            "strattribute4",
            "strattribute5",
            "strattribute6",
            "strattribute7",
            "strattribute8",
            "strattribute9",
            "strattribute10",
            "intattribute1",
            "intattribute2",
            "intattribute3",
            "intattribute4",
            "intattribute5",
            "iscategoryapproved",
            "stoppedreason",
            "lang",
        ],
        required: &["id", "entitytypeid", "mediatypeid", "startdate"],
        renamed: &[("id", "IXNID"), CONTACT_ID],
    },
    child: Table {
        name: "attachment",
        columns: &["documentid", "entityid", "thename", "mimetype", "thesize", "description", "content"],
        required: &["entityid", "documentid"],
        renamed: &[CONTACT_ID],
    },
    id: "id",
    link: "entityid",
    date: "startdate",
    entity_type: Some("entitytypeid"),
    media_type: Some("mediatypeid"),
    folders: &ENTITY_TYPES,
};

static CONTACT: Layout = Layout {
    parent: Table {
        name: "contact",
        columns: &["contactid", "tenantid", "createddate", "modifieddate"],
        required: &["contactid"],
        renamed: &[CONTACT_ID],
    },
    child: Table {
        name: "contactattribute",
        columns: &["contactid", "attrname", "attrvalue", "isprimary", "modifieddate"],
        required: &["contactid", "attrname"],
        renamed: &[CONTACT_ID],
    },
    id: "contactid",
    link: "contactid",
    date: "createddate",
    entity_type: None,
    media_type: None,
    folders: &[Folder {
        path: "UCS/Contact",
        parent: "Contact",
        child: "ContactAttribute",
        codes: &[Codes::Any],
    }],
};

impl Layout {
    pub fn of(kind: Kind) -> &'static Layout {
        match kind {
            Kind::Interaction => &INTERACTION,
            Kind::Contact => &CONTACT,
        }
    }

    /// Returns the column with the date as a source spells it. It has to be there where a timeframe asks for it.
    pub fn date_column<'c>(&self, columns: &'c [String], timeframe: &Timeframe) -> Result<Option<&'c str>> {
        match timeframe {
            Timeframe::Between { .. } => self.parent.require(columns, self.date).map(Some),
            _ => Ok(column(columns, self.date)),
        }
    }

    /// Returns the files that are written, in order. Of each folder the counts have one number; there are none of
    /// children where their table is missing.
    pub fn files(&self, parents: &[u64], children: Option<&[u64]>) -> Vec<File> {
        let mut files = Vec::new();
        for (i, folder) in self.folders.iter().enumerate() {
            let both = [
                (Of::Parent, folder.parent, parents.get(i)),
                (Of::Child, folder.child, children.and_then(|counts| counts.get(i))),
            ];
            for (of, stem, rows) in both {
                if let Some(&rows) = rows.filter(|&&rows| rows > 0) {
                    let path = FilePath { folder: folder.path.to_owned(), stem: stem.to_owned() };
                    files.push(File { info: FileInfo { path, rows }, of, folder });
                }
            }
        }
        files
    }

    /// Says that two parents might have one id, and what belongs to both would be exported twice.
    pub fn without_key(&self, id: &str) -> Error {
        let (name, child) = (self.parent.name, self.child.name);
        let text = format!(
            "{name}.{id} has no unique index; the database must have one, because {child} belongs to it: \
             CREATE UNIQUE INDEX {name}_{id} ON {name} ({id})"
        );
        Error::new(error::Kind::Invalid, text)
    }

    /// Returns the table that a file is of.
    pub fn table(&self, of: Of) -> &Table {
        match of {
            Of::Parent => &self.parent,
            Of::Child => &self.child,
        }
    }
}

impl Folder {
    /// Returns true if rows of this entity type go here. For sources that have no ranges to ask for.
    pub fn holds(&self, entity_type: Value<'_>) -> bool {
        self.codes.iter().any(|codes| codes.hold(entity_type))
    }
}

impl Codes {
    /// Returns true if an entity type is in the range.
    pub fn hold(self, value: Value<'_>) -> bool {
        let number = match value {
            Value::Null => return matches!(self, Codes::Any | Codes::Null),
            // Codes are small: as far as they go a float is exact.
            Value::Integer(number) => number as f64,
            Value::Real(number) => number,
            Value::Text(_) | Value::Blob(_) | Value::Wide(_) => f64::INFINITY,
        };
        match self {
            Codes::Any => true,
            Codes::Null => false,
            Codes::Is(code) => number == code as f64,
            Codes::Below(end) => number < end as f64,
            Codes::Between(start, end) => (start as f64) < number && number < end as f64,
            Codes::Above(start) => number > start as f64,
        }
    }
}

impl Table {
    /// Says that a source has no such table.
    pub fn missing(&self) -> Error {
        let text = format!("there is no table {}; the database must have one", self.name);
        Error::new(error::Kind::Invalid, text)
    }

    /// Fails if a column is not there without which nothing is exported.
    pub fn check(&self, columns: &[String]) -> Result<()> {
        self.required.iter().try_for_each(|name| self.require(columns, name).map(drop))
    }

    /// Returns a column as a source spells it, or says that it is not there.
    pub(crate) fn require<'c>(&self, columns: &'c [String], name: &str) -> Result<&'c str> {
        column(columns, name).ok_or_else(|| {
            let table = self.name;
            let text =
                format!("the table {table} has no column {name}; the database must have {table}.{name}");
            Error::new(error::Kind::Invalid, text)
        })
    }

    /// Returns the columns of a source in the order in which they are exported: the documented ones in theirs, then the
    /// others.
    pub fn in_order<'c>(&self, columns: &'c [String]) -> Vec<&'c str> {
        let place = |column: &str| self.columns.iter().position(|name| column.eq_ignore_ascii_case(name));
        let mut columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        // The sort is stable.
        columns.sort_by_key(|column| place(column).unwrap_or(self.columns.len()));
        columns
    }

    /// Returns the keys of columns in the export.
    pub fn keys(&self, columns: &[&str]) -> Columns {
        let key = |column: &&str| {
            let renamed = self.renamed.iter().find(|(name, _)| column.eq_ignore_ascii_case(name));
            renamed.map_or_else(|| column.to_ascii_lowercase(), |(_, key)| (*key).to_owned())
        };
        Columns::new(columns.iter().map(key).collect())
    }
}

/// Returns a column as a source spells it. Names match in any case.
pub(crate) fn column<'c>(columns: &'c [String], name: &str) -> Option<&'c str> {
    columns.iter().find(|column| column.eq_ignore_ascii_case(name)).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entity_type_goes_to_one_folder() {
        let numbers = [-1e300, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 5.5, 6.0, 6.5, 7.0, 8.0, 1e300];
        let integers = (-3..12).chain([i64::MIN, i64::MAX]).map(Value::Integer);
        let others = [Value::Null, Value::Text(b"x"), Value::Blob(b"")];
        for value in numbers.map(Value::Real).into_iter().chain(integers).chain(others) {
            let held = ENTITY_TYPES.iter().flat_map(|folder| folder.codes).filter(|codes| codes.hold(value));
            assert_eq!(held.count(), 1, "{value:?}");
        }
        let stem =
            |code| ENTITY_TYPES.iter().find(|folder| folder.holds(Value::Integer(code))).unwrap().parent;
        let stems = (0..9).map(stem).collect::<Vec<_>>().join(" ");
        let expected =
            "EmailIn EmailOut Chat PhoneCall Interaction CallBack CoBrowse Interaction Interaction";
        assert_eq!(stems, expected);
    }

    #[test]
    fn what_is_required_and_renamed_is_documented() {
        for layout in [&INTERACTION, &CONTACT] {
            for table in [&layout.parent, &layout.child] {
                assert!(table.required.iter().all(|name| table.columns.contains(name)), "{}", table.name);
            }
            let own = [Some(layout.id), Some(layout.date), layout.entity_type, layout.media_type];
            assert!(own.iter().flatten().all(|name| layout.parent.columns.contains(name)));
            assert!(layout.child.columns.contains(&layout.link));
        }
    }
}
