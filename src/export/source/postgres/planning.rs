//! What a snapshot finds out before its first row: which files there are, how many rows each has, and the statements
//! that give them.

use tokio_postgres::types::ToSql;

use super::dates;
use super::mark::Marked;
use super::open::Said;
use super::plan::{Child, Count, Filter, Parent, Walk};
use super::schema::{Column, Table, get};
use super::wide::Fields;
use crate::error::{Error, Kind, Result};
use crate::export::source::layout::media::Media;
use crate::export::source::layout::{Codes, File, FileInfo, Layout, Of};
use crate::export::source::row::{Columns, Value};
use crate::export::source::selection::{Mark, Selection, Timeframe};
use crate::postgresql::{Client, Url};

/// What a snapshot has found out.
pub(crate) struct Planned {
    pub(crate) files: Vec<FileInfo>,
    /// Of each file.
    pub(crate) walks: Vec<FileWalk>,
    /// What is bound to every statement.
    pub(crate) values: Vec<Vec<String>>,
    pub(crate) mark: Option<Mark>,
    pub(crate) warnings: Vec<String>,
    pub(crate) media: Option<Asked>,
}

/// The media types that were asked for, and where they stand.
pub(crate) struct Asked {
    pub(crate) media: Media,
    /// As SQL.
    pub(crate) table: String,
    pub(crate) column: String,
}

/// Where the rows of a file come from.
pub(crate) struct FileWalk {
    pub(crate) keys: Columns,
    pub(crate) fields: Fields,
    /// The field with the media type.
    pub(crate) media: Option<usize>,
    pub(crate) statements: Vec<String>,
}

pub(crate) fn plan(client: &mut Client, url: &Url, selection: &Selection) -> Result<Planned> {
    selection.check()?;
    let layout = Layout::of(selection.kind);
    let table = Table::load(client, layout.parent.name)?.ok_or_else(|| layout.parent.missing())?;
    let names = table.names();
    layout.parent.check(&names)?;
    layout.date_column(&names, &selection.timeframe)?;
    let id = required(&table, layout, Of::Parent, layout.id)?;
    let group = layout.entity_type.and_then(|name| table.column(name));
    if let Some(group) = group.filter(|group| !group.form.is_number()) {
        let text =
            format!("{}.{} is of the type {}; it should be a number", table.name, group.name, group.declared);
        return Err(Error::new(Kind::Invalid, text));
    }
    let is_between = matches!(selection.timeframe, Timeframe::Between { .. });
    let parent = Parent {
        id,
        group,
        date: table.column(layout.date),
        media: layout.media_type.and_then(|name| table.column(name)),
        table: &table,
        is_by_date: group.is_some() || is_between,
    };
    let belonging = Table::load(client, layout.child.name)?;
    let own = belonging.as_ref().map(|table| own_columns(layout, table)).unwrap_or_default();
    let child = belonging.as_ref().map(|table| child_of(layout, &parent, table, &own)).transpose()?;
    Planning { client, url, layout, parent: &parent, child: child.as_ref(), selection }.plan()
}

fn required<'t>(table: &'t Table, layout: &Layout, of: Of, name: &str) -> Result<&'t Column> {
    let missing =
        || layout.table(of).require(&[], name).map(drop).err().unwrap_or_else(|| layout.table(of).missing());
    table.column(name).ok_or_else(missing)
}

fn own_columns<'t>(layout: &Layout, table: &'t Table) -> Vec<&'t Column> {
    layout.child.required.iter().filter_map(|name| table.column(name)).collect()
}

fn child_of<'a>(
    layout: &Layout,
    parent: &Parent<'a>,
    table: &'a Table,
    own: &'a [&'a Column],
) -> Result<Child<'a>> {
    layout.child.check(&table.names())?;
    if !parent.table.is_key(&parent.id.name) {
        return Err(layout.without_key(&parent.id.name));
    }
    Ok(Child { table, parent: required(table, layout, Of::Child, layout.link)?, own })
}

struct Planning<'a> {
    client: &'a mut Client,
    url: &'a Url,
    layout: &'static Layout,
    parent: &'a Parent<'a>,
    child: Option<&'a Child<'a>>,
    selection: &'a Selection,
}

impl Planning<'_> {
    fn plan(mut self) -> Result<Planned> {
        let Planning { layout, parent, child, selection, url, .. } = self;
        let mut filter = Filter::default();
        let mut asked = None;
        if let (Some(types), Some(column)) = (&selection.media_types, parent.media) {
            filter.among(column, types);
            let media = Media::new(&parent.table.name, &column.name, types.clone());
            asked = Some(Asked { media, table: parent.table.sql.clone(), column: column.name.clone() });
        }
        if let Some(date) = parent.date {
            dates::restrict(self.client, parent.table, date, &selection.timeframe, &mut filter)?;
        }
        let (mut mark, mut warnings) = (None, Vec::new());
        if let Timeframe::Since(old) = &selection.timeframe {
            let marked = Marked { url, parent, media_types: selection.media_types.as_deref() };
            let since = marked.since(self.client, old.as_ref(), &mut filter)?;
            (mark, warnings) = (since.mark, since.warnings);
        }

        let own = Walk { parent, child: None, filter: &filter };
        let own_counts = self.counts(&own)?;
        let belonging = child.map(|child| Walk { child: Some(child), ..own });
        let counts = belonging.map(|walk| self.counts(&walk)).transpose()?;
        self.settle()?;
        let (mut files, mut walks) = (Vec::new(), Vec::new());
        let sums = counts.as_ref().map(|counts| counts.sums());
        for file in layout.files(&own_counts.sums(), sums.as_deref()) {
            let walk = match (file.of, &belonging, &counts) {
                (Of::Child, Some(walk), Some(counts)) => self.walk(&file, walk, counts),
                _ => self.walk(&file, &own, &own_counts),
            };
            walks.push(walk);
            files.push(file.info);
        }
        Ok(Planned { files, walks, values: filter.media.into_iter().collect(), mark, warnings, media: asked })
    }

    fn walk(&self, file: &File, walk: &Walk<'_>, counts: &Counts) -> FileWalk {
        let described = self.layout.table(file.of);
        let names = walk.table().names();
        let order = described.in_order(&names);
        let fields = Fields::new(walk.table(), &order);
        let ranges = file.folder.codes.iter().map(|codes| (*codes, counts.of(*codes)));
        let statements = ranges.flat_map(|(codes, count)| walk.rows(codes, count));
        let media = self.parent.media.filter(|_| file.of == Of::Parent);
        FileWalk {
            keys: described.keys(&order),
            media: media.and_then(|media| order.iter().position(|column| *column == media.name)),
            statements: statements.map(|rows| fields.select(&rows)).collect(),
            fields,
        }
    }

    /// Returns the number of rows of every range of entity types.
    fn counts(&mut self, walk: &Walk<'_>) -> Result<Counts> {
        let folders = self.layout.folders.iter();
        let none =
            folders.map(|folder| folder.codes.iter().map(|codes| (*codes, Count::default())).collect());
        let mut counts = Counts(none.collect());
        let values = walk.filter.media.as_ref();
        let values: Vec<&(dyn ToSql + Sync)> = values.into_iter().map(|value| value as _).collect();
        for row in self.client.rows(&walk.counts(), &values).said()? {
            let row = row.said()?;
            let group = get::<Option<f64>>(&row, 0)?.map_or(Value::Null, Value::Real);
            let (rows, dated): (i64, i64) = (get(&row, 1)?, get(&row, 2)?);
            counts.add(group, rows.unsigned_abs(), dated.unsigned_abs());
        }
        Ok(counts)
    }

    /// Has rows come along indexes, where counting may go through whole tables.
    fn settle(&mut self) -> Result<()> {
        let mut settings = String::from("SET LOCAL enable_seqscan = off;");
        // What is new is found by several indexes together, and there is little of it.
        if !matches!(self.selection.timeframe, Timeframe::Since(_)) {
            settings += "SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off;";
        }
        self.client.batch_execute(&settings).said()
    }
}

/// How many rows there are of each range of each folder.
struct Counts(Vec<Vec<(Codes, Count)>>);

impl Counts {
    fn add(&mut self, group: Value<'_>, rows: u64, dated: u64) {
        let ranges = self.0.iter_mut().flatten();
        if let Some((_, count)) = ranges.into_iter().find(|(codes, _)| codes.hold(group)) {
            count.rows = count.rows.saturating_add(rows);
            count.dated = count.dated.saturating_add(dated);
        }
    }

    /// No two folders have a range in common.
    fn of(&self, codes: Codes) -> Count {
        let found = self.0.iter().flatten().find(|(own, _)| *own == codes);
        found.map(|(_, count)| *count).unwrap_or_default()
    }

    fn sums(&self) -> Vec<u64> {
        let sum = |ranges: &Vec<(Codes, Count)>| {
            ranges.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(count.rows))
        };
        self.0.iter().map(sum).collect()
    }
}
