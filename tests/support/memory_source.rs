//! A source whose rows are in memory, made of nothing but the layout: the reference for all others.

use cddsfs::error::{Error, Kind as Failure, Result};
use cddsfs::export::source::layout::dates::{Bounds, Survey};
use cddsfs::export::source::layout::digest::{Digest, Fingerprint, SHORT, is_exact};
use cddsfs::export::source::layout::media::{self, Media};
use cddsfs::export::source::layout::since::{Asked, NO_PROOF, everything_again};
use cddsfs::export::source::layout::{self, Layout, Of};
use cddsfs::export::source::{
    Columns, FileInfo, Kind, Mark, Row, Selection, Snapshot, Source, Timeframe, Value,
};
use cddsfs::io::Cancel;

use crate::support::source_suite::{self, Maker, Table};

pub struct MemorySource {
    tables: Vec<Table>,
}

pub struct MemoryMaker;

impl Maker for MemoryMaker {
    fn make(&mut self, tables: &[Table]) -> Box<dyn Source> {
        Box::new(MemorySource::new(tables))
    }
}

/// What is exported of a file: columns by number, and rows.
struct Taken {
    keys: Columns,
    columns: Vec<usize>,
    media: Option<usize>,
    rows: Vec<Vec<source_suite::Value>>,
}

struct MemorySnapshot {
    files: Vec<FileInfo>,
    taken: Vec<Taken>,
    mark: Option<Mark>,
    warnings: Vec<String>,
    media: Option<Media>,
    /// All media types that there are.
    occurring: Vec<source_suite::Value>,
    cancel: Cancel,
}

fn value(value: &source_suite::Value) -> Value<'_> {
    use source_suite::Value as Given;
    match value {
        Given::Null => Value::Null,
        Given::Text(text) | Given::Instant(text) => Value::Text(text.as_bytes()),
        Given::Integer(number) => Value::Integer(*number),
        Given::Real(number) => Value::Real(*number),
        Given::Blob(bytes) => Value::Blob(bytes),
    }
}

fn names(table: &Table) -> Vec<String> {
    table.columns.iter().map(|(name, _)| name.clone()).collect()
}

impl MemorySource {
    pub fn new(tables: &[Table]) -> MemorySource {
        MemorySource { tables: tables.to_vec() }
    }

    fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name.eq_ignore_ascii_case(name))
    }

    fn parents(&self, layout: &Layout) -> Result<&Table> {
        let table = self.table(layout.parent.name).ok_or_else(|| layout.parent.missing())?;
        layout.parent.check(&names(table))?;
        Ok(table)
    }
}

impl Source for MemorySource {
    fn check(&self) -> Result<()> {
        let has = |kind| self.parents(Layout::of(kind)).map(drop);
        has(Kind::Interaction).or_else(|error| has(Kind::Contact).map_err(|_| error))
    }

    fn snapshot(&self, selection: &Selection, cancel: &Cancel) -> Result<Box<dyn Snapshot>> {
        cancel.check()?;
        selection.check()?;
        let layout = Layout::of(selection.kind);
        let table = self.parents(layout)?;
        let columns = names(table);
        let place =
            |columns: &[String], name: &str| columns.iter().position(|c| c.eq_ignore_ascii_case(name));
        let at = |name: Option<&str>| name.and_then(|name| place(&columns, name));
        let date = layout.date_column(&columns, &selection.timeframe)?.and_then(|name| at(Some(name)));
        let (id, entity, media) = (at(Some(layout.id)), at(layout.entity_type), at(layout.media_type));
        let cell = |row: &'_ Vec<source_suite::Value>, at: Option<usize>| {
            at.map_or(source_suite::Value::Null, |at| row[at].clone())
        };
        let child = self.table(layout.child.name);
        let child_columns = child.map(names).unwrap_or_default();
        if child.is_some() {
            layout.child.check(&child_columns)?;
        }
        let link = place(&child_columns, layout.link);
        let children = |row: &Vec<source_suite::Value>| -> Vec<Vec<source_suite::Value>> {
            let of = cell(row, id);
            let belongs = |child: &&Vec<source_suite::Value>| {
                cell(child, link) == of && of != source_suite::Value::Null
            };
            child.map(|table| table.rows.iter().filter(belongs).cloned().collect()).unwrap_or_default()
        };

        let mut rows: Vec<&Vec<source_suite::Value>> = table.rows.iter().collect();
        let bounds = Bounds::of(&selection.timeframe);
        if let Some(bounds) = &bounds {
            let mut survey = Survey::new(&table.name, layout.date);
            rows.iter().try_for_each(|row| survey.look(value(&cell(row, date))))?;
            rows.retain(|row| bounds.contain(value(&cell(row, date))));
        }
        let asked = selection.media_types.as_ref();
        if let Some(asked) = asked {
            rows.retain(|row| asked.iter().any(|asked| media::is(value(&cell(row, media)), asked)));
        }
        let (mut mark, mut warnings) = (None, Vec::new());
        if let Timeframe::Since(old) = &selection.timeframe {
            let now = Asked { table: layout.parent.name, media_types: asked.map(Vec::as_slice) };
            let digest = |row: &Vec<source_suite::Value>| {
                let mut print = Fingerprint::default();
                print.begin_row(value(&cell(row, id)), value(&cell(row, date)), value(&cell(row, media)));
                if !is_exact(value(&cell(row, date))) {
                    contents(&mut print, &columns, row);
                }
                let mut digest = Digest::default();
                digest.add_row(&print);
                for child in children(row) {
                    print.begin_child();
                    contents(&mut print, &child_columns, &child);
                    digest.add_child(&print);
                }
                format!("{:032x}", digest.sum)
            };
            let mut known: Vec<String> = Vec::new();
            match old.as_ref().map(|old| proof(old, &now)) {
                None => {}
                Some(Ok(digests)) => known = digests,
                Some(Err(why)) => warnings.push(everything_again(&why)),
            }
            let all: Vec<String> = rows.iter().map(|row| digest(row)).collect();
            rows.retain(|row| !known.contains(&digest(row)));
            mark = Some(Mark::from(serde_json::json!([now.table, now.media_types, all]).to_string()));
        } else if entity.is_some() || bounds.is_some() {
            // As along an index on the entity type and the date.
            let key = |row: &&Vec<source_suite::Value>| {
                let entity = match cell(row, entity) {
                    source_suite::Value::Integer(number) => Some(number),
                    _ => None,
                };
                let date = match cell(row, date) {
                    source_suite::Value::Instant(text) => Some(text),
                    _ => None,
                };
                (entity, date)
            };
            rows.sort_by_key(key);
        }

        let held = |folder: &layout::Folder| -> Vec<Vec<source_suite::Value>> {
            let is_held = |row: &&&Vec<source_suite::Value>| folder.holds(value(&cell(row, entity)));
            rows.iter().filter(is_held).map(|row| (*row).clone()).collect()
        };
        let own: Vec<_> = layout.folders.iter().map(held).collect();
        let belonging: Vec<Vec<_>> =
            own.iter().map(|rows| rows.iter().flat_map(&children).collect()).collect();
        let count = |groups: &[Vec<Vec<source_suite::Value>>]| {
            groups.iter().map(|rows| rows.len() as u64).collect::<Vec<_>>()
        };
        let (own_counts, counts) = (count(&own), count(&belonging));
        let (mut files, mut taken) = (Vec::new(), Vec::new());
        for file in layout.files(&own_counts, child.is_some().then_some(counts.as_slice())) {
            let i = layout.folders.iter().position(|folder| folder == file.folder).unwrap();
            let (columns, rows) = match file.of {
                Of::Parent => (&columns, own[i].clone()),
                Of::Child => (&child_columns, belonging[i].clone()),
            };
            let order = layout.table(file.of).in_order(columns);
            let columns: Vec<usize> = order.iter().filter_map(|name| place(columns, name)).collect();
            taken.push(Taken {
                keys: layout.table(file.of).keys(&order),
                media: media
                    .filter(|_| file.of == Of::Parent)
                    .and_then(|m| columns.iter().position(|c| *c == m)),
                columns,
                rows,
            });
            files.push(file.info);
        }
        let media_types =
            asked.map(|asked| Media::new(&table.name, layout.media_type.unwrap(), asked.clone()));
        let occurring = table.rows.iter().map(|row| cell(row, media)).collect();
        let cancel = cancel.clone();
        Ok(Box::new(MemorySnapshot { files, taken, mark, warnings, media: media_types, occurring, cancel }))
    }
}

fn contents(print: &mut Fingerprint, columns: &[String], row: &[source_suite::Value]) {
    for (name, given) in columns.iter().zip(row) {
        let given = value(given);
        let length = match given {
            Value::Text(bytes) | Value::Blob(bytes) => bytes.len(),
            Value::Integer(number) => number.to_string().len(),
            Value::Real(number) => number.to_string().len(),
            Value::Null | Value::Wide(_) => continue,
        };
        let short = if length <= SHORT { given } else { Value::Null };
        print.column(&name.to_ascii_lowercase(), Value::Integer(length as i64), short);
    }
}

fn proof(mark: &Mark, now: &Asked<'_>) -> std::result::Result<Vec<String>, String> {
    let read: Option<(String, Option<Vec<String>>, Vec<String>)> = serde_json::from_str(mark.as_str()).ok();
    let (table, media_types, digests) = read.ok_or(NO_PROOF)?;
    now.check_covered(Asked { table: &table, media_types: media_types.as_deref() })?;
    Ok(digests)
}

impl Snapshot for MemorySnapshot {
    fn files(&self) -> &[FileInfo] {
        &self.files
    }

    fn rows(&mut self, file: usize, row: &mut dyn FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
        let taken =
            self.taken.get(file).ok_or_else(|| Error::new(Failure::Invalid, "there is no such file"))?;
        for given in &taken.rows {
            self.cancel.check()?;
            let values: Vec<Value<'_>> = taken.columns.iter().map(|&at| value(&given[at])).collect();
            if let (Some(media), Some(at)) = (&mut self.media, taken.media) {
                media.meet(values[at]);
            }
            row(&Row::new(&taken.keys, &values))?;
        }
        Ok(())
    }

    fn mark(&self) -> Option<Mark> {
        self.mark.clone()
    }

    fn warnings(&self) -> Result<Vec<String>> {
        let mut warnings = self.warnings.clone();
        if let Some(mut survey) = self.media.as_ref().and_then(Media::survey) {
            let is_complete = self.occurring.iter().any(|given| survey.look(value(given)));
            warnings.extend((!is_complete).then(|| survey.warning()));
        }
        Ok(warnings)
    }
}
