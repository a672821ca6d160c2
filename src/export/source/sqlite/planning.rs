//! What a snapshot finds out before its first row: the files, how many rows each has, and the statements that give
//! them.

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, params_from_iter};

use super::dates;
use super::digest::MarkedTable;
use super::keys;
use super::open::SqliteResult;
use super::plan::{Child, Filter, Parent, Selected, Statement, Walk, check};
use super::schema::TableSchema;
use crate::error::Result;
use crate::export::source::layout::media::Media;
use crate::export::source::layout::{self, File, FileInfo, Layout, Of};
use crate::export::source::row::Columns;
use crate::export::source::selection::{Mark, Selection, Timeframe};

/// What a snapshot has found out before its first row.
pub(crate) struct Planned {
    pub(crate) files: Vec<FileInfo>,
    /// Where the rows of each file come from.
    pub(crate) walks: Vec<FileWalk>,
    /// What is bound to every statement.
    pub(crate) values: Vec<SqlValue>,
    pub(crate) mark: Option<Mark>,
    pub(crate) warnings: Vec<String>,
    pub(crate) media: Option<AskedMedia>,
}

/// The media types that were asked for, and the column that has them.
pub(crate) struct AskedMedia {
    pub(crate) media: Media,
    pub table: String,
    pub(crate) column: String,
}

/// Where the rows of a file come from.
pub(crate) struct FileWalk {
    pub(crate) keys: Columns,
    /// The table's name in the database.
    pub(crate) table: String,
    pub(crate) columns: Vec<String>,
    /// The name of the table's rowid, if SQLite can read its values in pieces (`sqlite3_blob_open`).
    pub(crate) in_pieces_by: Option<&'static str>,
    /// Index of the column with the media type.
    pub(crate) media: Option<usize>,
    pub(crate) statements: Vec<Statement>,
}

pub(crate) fn plan(connection: &Connection, selection: &Selection) -> Result<Planned> {
    selection.check()?;
    let layout = Layout::of(selection.kind);
    let table = TableSchema::load(connection, layout.parent.name)?.ok_or_else(|| layout.parent.missing())?;
    layout.parent.check(&table.columns)?;
    let parent = Parent {
        id: layout.parent.require(&table.columns, layout.id)?,
        group: layout.entity_type.and_then(|name| layout::column(&table.columns, name)),
        date: layout.date_column(&table.columns, &selection.timeframe)?,
        media: layout.media_type.and_then(|name| layout::column(&table.columns, name)),
        table: &table,
    };
    let belonging = TableSchema::load(connection, layout.child.name)?;
    let child = belonging.as_ref().map(|table| child_of(layout, &parent, table)).transpose()?;
    keys::check(connection, &parent, child.as_ref(), &selection.timeframe)?;
    let planning = Planning { connection, layout, parent: &parent, child: child.as_ref(), selection };
    planning.plan().map_err(|error| keys::named(error, connection, &parent, child.as_ref()))
}

fn child_of<'a>(layout: &Layout, parent: &Parent<'a>, table: &'a TableSchema) -> Result<Child<'a>> {
    layout.child.check(&table.columns)?;
    let key = parent.table.key(parent.id).ok_or_else(|| layout.without_key(parent.id))?;
    Ok(Child { table, parent: layout.child.require(&table.columns, layout.link)?, key })
}

struct Planning<'a> {
    connection: &'a Connection,
    layout: &'static Layout,
    parent: &'a Parent<'a>,
    child: Option<&'a Child<'a>>,
    selection: &'a Selection,
}

impl Planning<'_> {
    fn plan(&self) -> Result<Planned> {
        let Planning { connection, layout, parent, child, selection } = *self;
        let mut filter = Filter::default();
        if let Some(date) = parent.date {
            dates::restrict(connection, parent.table, date, &selection.timeframe, &mut filter)?;
        }
        let mut asked = None;
        if let (Some(types), Some(column)) = (&selection.media_types, parent.media) {
            filter.among(column, types);
            let (table, column) = (parent.table.name.clone(), column.to_owned());
            asked = Some(AskedMedia { media: Media::new(&table, &column, types.clone()), table, column });
        }
        let (mut mark, mut warnings) = (None, Vec::new());
        if let Timeframe::Since(old) = &selection.timeframe {
            let media_types = selection.media_types.as_deref();
            let since = MarkedTable { parent, child, media_types }.since(connection, old.as_ref())?;
            filter.only(connection, since.ranges)?;
            (mark, warnings) = (since.mark, since.warning.into_iter().collect());
        }

        let own = Walk::of_parents(parent, &filter);
        let own_counts = self.counts(&own, &filter)?;
        let belonging = child.map(|child| Walk::of_children(parent, child, &filter));
        let counted = child.map(|child| Walk::counting_children(parent, child, &filter));
        let counts = counted.map(|walk| self.counts(&walk, &filter)).transpose()?;
        let (mut files, mut walks) = (Vec::new(), Vec::new());
        for file in layout.files(&own_counts, counts.as_deref()) {
            let walk = match (file.of, child, &belonging) {
                (Of::Child, Some(child), Some(walk)) => self.walk(&file, walk, "c", child.table)?,
                _ => self.walk(&file, &own, "p", parent.table)?,
            };
            walks.push(walk);
            files.push(file.info);
        }
        Ok(Planned { files, walks, values: filter.values, mark, warnings, media: asked })
    }

    fn walk(&self, file: &File, walk: &Walk, alias: &str, table: &TableSchema) -> Result<FileWalk> {
        let described = self.layout.table(file.of);
        let columns = described.in_order(&table.columns);
        let selected = Selected { alias, table, columns: &columns };
        let statements = walk.rows(&selected, file.folder.codes).into_iter();
        let media = self.parent.media.filter(|_| file.of == Of::Parent);
        Ok(FileWalk {
            keys: described.keys(&columns),
            table: table.name.clone(),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            in_pieces_by: table.rowid.filter(|_| table.is_read_in_pieces()),
            media: media.and_then(|media| columns.iter().position(|column| *column == media)),
            statements: statements
                .map(|statement| statement.choose(self.connection))
                .collect::<Result<_>>()?,
        })
    }

    /// Returns the number of rows of every folder.
    fn counts(&self, walk: &Walk, filter: &Filter) -> Result<Vec<u64>> {
        let folders = self.layout.folders;
        let mut counts = Vec::with_capacity(folders.len());
        for statements in walk.counts(folders) {
            let mut sums: Vec<u64> = Vec::new();
            for sql in statements {
                check(self.connection, &sql)?;
                let mut statement = self.connection.prepare(&sql).sqlite()?;
                let width = statement.column_count();
                sums.resize(width, 0);
                let mut rows = statement.query(params_from_iter(&filter.values)).sqlite()?;
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
