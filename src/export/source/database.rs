//! The embedded source: a contact history in an SQLite database.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, params_from_iter};

use super::digest::Marked;
use super::media::Media;
use super::open::{Sqlite, WIDE, open};
use super::plan::{Child, Filter, Group, Ordered, Parent, Selected, Walk, check};
use super::reading::{FileWalk, Planned, Reading, WIDEST};
use super::row::Columns;
use super::schema::Table;
use super::{FileInfo, FilePath, Kind, Mark, Selection, Snapshot, Source, Timeframe, dates};
use crate::error::{self, At, Error, Result};
use crate::io::Cancel;

/// The words of file names, and which `entitytypeid` they are. Any value, of any type, is of exactly one.
const ENTITY_TYPES: [(&str, Group); 7] = [
    ("EmailIn", &["$ = 0"]),
    ("EmailOut", &["$ = 1"]),
    ("Chat", &["$ = 2"]),
    ("PhoneCall", &["$ = 3"]),
    ("CallBack", &["$ = 5"]),
    ("CoBrowse", &["$ = 6"]),
    (
        "Interaction",
        &[
            "$ IS NULL",
            "$ < 0",
            "$ > 0 AND $ < 1",
            "$ > 1 AND $ < 2",
            "$ > 2 AND $ < 3",
            "$ > 3 AND $ < 5",
            "$ > 5 AND $ < 6",
            "$ > 6 AND $ < 7",
            "$ = 7",
            "$ > 7",
        ],
    ),
];

/// A contact-history database.
#[derive(Debug, Clone)]
pub struct ContactHistory {
    path: PathBuf,
}

impl ContactHistory {
    /// Nothing is opened yet.
    pub fn new(path: impl Into<PathBuf>) -> ContactHistory {
        ContactHistory { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fails if neither interactions nor contacts can be exported from it.
    pub fn check(&self) -> Result<()> {
        let connection = open(&self.path, &Cancel::new()).at(self.path.display())?;
        let has = |name: &str, columns: &[&str]| {
            let table = required(&connection, name)?;
            columns.iter().try_for_each(|column| table.require(column, name).map(drop))
        };
        has("interaction", &["id", "entitytypeid", "mediatypeid", "startdate"])
            .or_else(|error| has("contact", &["contactid"]).map_err(|_| error))
            .at(self.path.display())
    }
}

impl Source for ContactHistory {
    fn snapshot(&self, selection: &Selection, cancel: &Cancel) -> Result<Box<dyn Snapshot>> {
        cancel.check()?;
        let connection = open(&self.path, cancel).at(self.path.display())?;
        let read = plan(&connection, selection).at(self.path.display())?;
        let (path, cancel) = (self.path.clone(), cancel.clone());
        Ok(Box::new(Reading { connection, path, cancel, planned: read }))
    }
}

fn plan(connection: &Connection, selection: &Selection) -> Result<Planned> {
    match selection.kind {
        Kind::Interaction => {
            let table = required(connection, "interaction")?;
            let parent = Parent {
                id: table.require("id", "interaction")?,
                group: Some(table.require("entitytypeid", "interaction")?),
                date: Some(table.require("startdate", "interaction")?),
                table: &table,
            };
            let media = table.require("mediatypeid", "interaction")?;
            let mut files = Planning::new(connection, parent, selection)?;
            if let Some(types) = &selection.media_types {
                files.filter.among(media, types);
                files.media = Some(Media::new(&table.name, media, types.clone()));
            }
            let child = Table::load(connection, "attachment")?;
            files.plan("UCS/Interaction", &ENTITY_TYPES, child.as_ref(), &["entityid", "documentid"])
        }
        Kind::Contact => {
            if selection.media_types.is_some() {
                let text = "media types are of interactions: contacts have none";
                return Err(Error::new(error::Kind::Invalid, text));
            }
            let table = required(connection, "contact")?;
            let date = match selection.timeframe {
                Timeframe::Between { .. } => Some(table.require("createddate", "contact")?),
                _ => table.column("createddate"),
            };
            let id = table.require("contactid", "contact")?;
            let parent = Parent { id, group: None, date, table: &table };
            let files = Planning::new(connection, parent, selection)?;
            let child = Table::load(connection, "contactattribute")?;
            files.plan("UCS", &[("Contact", &["TRUE"])], child.as_ref(), &["contactid", "attrname"])
        }
    }
}

fn required(connection: &Connection, name: &str) -> Result<Table> {
    Table::load(connection, name)?.ok_or_else(|| {
        let text = format!("there is no table {name}; the database must have one");
        Error::new(error::Kind::Invalid, text)
    })
}

struct Planning<'a> {
    connection: &'a Connection,
    parent: Parent<'a>,
    selection: &'a Selection,
    filter: Filter,
    mark: Option<Mark>,
    warnings: Vec<String>,
    media: Option<Media>,
}

impl<'a> Planning<'a> {
    fn new(connection: &'a Connection, parent: Parent<'a>, selection: &'a Selection) -> Result<Planning<'a>> {
        let mut planning = Planning {
            connection,
            parent,
            selection,
            filter: Filter::default(),
            mark: None,
            warnings: Vec::new(),
            media: None,
        };
        let Parent { table, date, .. } = planning.parent;
        if let (Timeframe::Between { start, end }, Some(date)) = (&selection.timeframe, date) {
            dates::restrict(connection, table, date, (*start, *end), &mut planning.filter)?;
        }
        Ok(planning)
    }

    /// Leaves out what was exported before, where that is asked for.
    fn leave_out(&mut self, child: Option<&Child<'_>>) -> Result<()> {
        let Timeframe::Since(mark) = &self.selection.timeframe else { return Ok(()) };
        let Parent { table, id, date, group } = self.parent;
        let media = group.and_then(|_| table.column("mediatypeid"));
        let media_types = self.selection.media_types.as_deref();
        let since =
            Marked { table, id, date, media, child, media_types }.since(self.connection, mark.as_ref())?;
        self.filter.only(self.connection, since.ranges)?;
        self.mark = since.mark;
        self.warnings.extend(since.warning);
        Ok(())
    }

    /// `links` is the child's column with the parent's id, and another that it has to have.
    fn plan(
        mut self,
        folder: &str,
        groups: &[(&str, Group)],
        child: Option<&'a Table>,
        links: &[&str; 2],
    ) -> Result<Planned> {
        let ranges: Vec<Group> = groups.iter().map(|group| group.1).collect();
        let is_contact = self.parent.group.is_none();
        let (parent_name, child_name) =
            if is_contact { ("contact", "contactattribute") } else { ("interaction", "attachment") };
        let child = child.map(|table| self.child(table, child_name, parent_name, links)).transpose()?;
        self.leave_out(child.as_ref())?;
        let own = Walk::of_parents(&self.parent, &self.filter);
        let own_counts = self.counts(&own, &ranges)?;
        let own_columns = self.parent.table.in_order(parent_name)?;
        let mut belonging = None;
        if let Some(child) = &child {
            let table = child.table;
            let counting = Walk::counting_children(&self.parent, child, &self.filter);
            let walk = Walk::of_children(&self.parent, child, &self.filter);
            belonging = Some((walk, self.counts(&counting, &ranges)?, table, table.in_order(child_name)?));
        }
        let (mut files, mut walks) = (Vec::new(), Vec::new());
        let mut add = |path, rows, selected: &Selected<'_>, statements: Vec<Ordered>, id| -> Result<()> {
            if rows > 0 {
                let settled = statements.into_iter().map(|statement| statement.settle(self.connection));
                let is_media = |name: &&str| id == Some("id") && name.eq_ignore_ascii_case("mediatypeid");
                files.push(FileInfo { path, rows });
                walks.push(FileWalk {
                    keys: Columns::new(selected.columns.iter().map(|column| key(column, id)).collect()),
                    table: selected.table.name.clone(),
                    columns: selected.columns.iter().map(|&column| column.to_owned()).collect(),
                    in_pieces: selected.table.is_read_in_pieces(),
                    media: selected.columns.iter().position(is_media),
                    statements: settled.collect::<Result<_>>()?,
                });
            }
            Ok(())
        };
        let own_selected = selected("p", self.parent.table, &own_columns);
        for (i, &(word, range)) in groups.iter().enumerate() {
            let folder = format!("{folder}/{word}");
            let stem = if is_contact { "ContactAttribute".to_owned() } else { format!("{word}-Attachment") };
            let path = FilePath { folder: folder.clone(), stem: word.to_owned() };
            let id = (!is_contact).then_some("id");
            add(path, own_counts[i], &own_selected, own.rows(&own_selected, range), id)?;
            if let Some((walk, counts, table, columns)) = &belonging {
                let path = FilePath { folder, stem };
                let selected = selected("c", table, columns);
                add(path, counts[i], &selected, walk.rows(&selected, range), None)?;
            }
        }
        let Planning { filter, mark, warnings, media, .. } = self;
        Ok(Planned { files, walks, values: filter.values, mark, warnings, media })
    }

    fn child(&self, table: &'a Table, name: &str, parent: &str, links: &[&str; 2]) -> Result<Child<'a>> {
        for link in links {
            table.require(link, name)?;
        }
        let key = self.parent.table.key(self.parent.id).ok_or_else(|| {
            let id = self.parent.id;
            let text = format!(
                "{parent}.{id} has no unique index; the database must have one, because {name} belongs to it: \
                 CREATE UNIQUE INDEX {parent}_{id} ON {parent} ({id})"
            );
            Error::new(error::Kind::Invalid, text)
        })?;
        Ok(Child { table, parent: table.require(links[0], name)?, key })
    }

    /// Returns the number of rows of every group.
    fn counts(&self, walk: &Walk, groups: &[Group]) -> Result<Vec<u64>> {
        let mut counts = Vec::with_capacity(groups.len());
        for statements in walk.counts(groups) {
            let mut sums: Vec<u64> = Vec::new();
            for sql in statements {
                check(self.connection, &sql)?;
                let mut statement = self.connection.prepare(&sql).sqlite()?;
                let width = statement.column_count();
                sums.resize(width, 0);
                let mut rows = statement.query(params_from_iter(&self.filter.values)).sqlite()?;
                while let Some(row) = rows.next().sqlite()? {
                    for (i, sum) in sums.iter_mut().enumerate() {
                        *sum += row.get::<_, i64>(i).sqlite()? as u64;
                    }
                }
            }
            counts.extend(sums);
        }
        Ok(counts)
    }
}

fn selected<'a>(alias: &'a str, table: &'a Table, columns: &'a [&'a str]) -> Selected<'a> {
    let widest = if table.is_read_in_pieces() { WIDE } else { WIDEST };
    Selected { alias, table, columns, widest }
}

/// The key of a column in the export. `id` is the column that is called so there, if any.
fn key(column: &str, id: Option<&str>) -> String {
    let name = column.to_ascii_lowercase();
    match name.as_str() {
        "contactid" => "ContactId".to_owned(),
        _ if id == Some(name.as_str()) => "IXNID".to_owned(),
        _ => name,
    }
}

#[cfg(test)]
mod tests;
