//! Reading what was planned: rows in their order, as they come.

use std::cell::RefCell;

use tokio_postgres::Row as Sent;
use tokio_postgres::types::ToSql;

use super::form::{Made, Raw};
use super::open::Said;
use super::planning::{Asked, FileWalk, Planned};
use super::schema::quoted;
use super::wide::{Helper, Opener};
use crate::error::{At, Error, Kind, Result};
use crate::export::source::layout::{FileInfo, media};
use crate::export::source::row::{Row, Value, Wide};
use crate::export::source::selection::Mark;
use crate::export::source::snapshot::Snapshot;
use crate::io::Cancel;
use crate::postgresql::Client;

pub(crate) struct Reading {
    /// Its transaction ends with it.
    client: RefCell<Client>,
    planned: Planned,
    helper: Helper,
    cancel: Cancel,
}

impl Reading {
    pub(crate) fn new(client: Client, planned: Planned, opener: Opener, cancel: &Cancel) -> Reading {
        let helper = Helper::new(opener, cancel);
        Reading { client: RefCell::new(client), planned, helper, cancel: cancel.clone() }
    }
}

impl Snapshot for Reading {
    fn files(&self) -> &[FileInfo] {
        &self.planned.files
    }

    fn rows(&mut self, file: usize, row: &mut dyn FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
        let Reading { client, planned, helper, cancel } = self;
        let Planned { walks, values, media, .. } = planned;
        let walk =
            walks.get(file).ok_or_else(|| Error::new(Kind::Invalid, format!("there is no file {file}")))?;
        let mut take = |values: &[Value<'_>]| {
            cancel.check()?;
            if let (Some(asked), Some(column)) = (media.as_mut(), walk.media) {
                values.get(column).into_iter().for_each(|value| asked.media.meet(*value));
            }
            row(&Row::new(&walk.keys, values))
        };
        let client = client.get_mut();
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
        let mut made = Made::default();
        for statement in &walk.statements {
            for sent in client.rows(statement, &values).said().at(helper.url())? {
                let sent = sent.said().at(helper.url())?;
                give(walk, &sent, helper, &mut made, &mut take)?;
            }
        }
        Ok(())
    }

    fn mark(&self) -> Option<Mark> {
        self.planned.mark.clone()
    }

    fn warnings(&self) -> Result<Vec<String>> {
        let mut warnings = self.planned.warnings.clone();
        if let Some(asked) = &self.planned.media {
            warnings.extend(missing(&mut self.client.borrow_mut(), asked).at(self.helper.url())?);
        }
        Ok(warnings)
    }
}

/// Gives the values of a row.
fn give(
    walk: &FileWalk,
    sent: &Sent,
    helper: &Helper,
    made: &mut Made,
    take: &mut dyn FnMut(&[Value<'_>]) -> Result<()>,
) -> Result<()> {
    let fields = &walk.fields.fields;
    made.clear();
    for (i, field) in fields.iter().enumerate() {
        if field.form.is_instant() {
            made.write(field.form, Raw::of(sent, i)?, i)?;
        }
    }
    let wide = walk.fields.wide(sent, helper)?;
    let mut values = Vec::with_capacity(fields.len());
    for (i, field) in fields.iter().enumerate() {
        values.push(field.form.read(Raw::of(sent, i)?, made, i)?);
    }
    for (i, cell) in &wide {
        if let Some(value) = values.get_mut(*i) {
            *value = Value::Wide(Wide { is_text: cell.field.is_text(), pieces: cell });
        }
    }
    take(&values)
}

/// Returns what is to be said of media types that were asked for. The whole table is looked at only for those that no
/// exported row had.
fn missing(client: &mut Client, asked: &Asked) -> Result<Option<String>> {
    let Some(mut survey) = asked.media.survey() else { return Ok(None) };
    let column = format!("{}::text", quoted(&asked.column));
    let sql = format!(
        "SELECT DISTINCT {column} FROM {} WHERE octet_length({column}) <= {}",
        asked.table,
        media::MAX_BYTES
    );
    for sent in client.rows(&sql, &[]).said()? {
        let sent = sent.said()?;
        let value = Raw::of(&sent, 0)?.0.map_or(Value::Null, Value::Text);
        if survey.look(value) {
            return Ok(None);
        }
    }
    Ok(Some(survey.warning()))
}
