//! The condition that a row is inside a timeframe.
//!
//! One pass over the column, along an index if one has it, finds out how dates are spelled.

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::Value as SqlValue;

use super::open::{SqliteResult, value};
use super::plan::{Filter, quoted};
use super::schema::TableSchema;
use crate::error::Result;
use crate::export::source::layout::dates::{Bounds, Survey};
use crate::export::source::selection::Timeframe;

/// The SQL function that reads a value and compares it with the bounds.
const IS_INSIDE: &str = "cddsfs_is_inside";

/// Restricts a filter to a timeframe, if it has a bound.
pub(crate) fn restrict(
    connection: &Connection,
    table: &TableSchema,
    date: &str,
    timeframe: &Timeframe,
    filter: &mut Filter,
) -> Result<()> {
    let Some(bounds) = Bounds::of(timeframe) else { return Ok(()) };
    let survey = survey(connection, table, date)?;
    filter.is_dated = true;
    if let Some(texts) = survey.texts(&bounds) {
        if let Some(start) = texts.start {
            filter.compare(date, ">=", SqlValue::Text(start));
        }
        if let Some(end) = texts.end {
            filter.compare(date, "<", SqlValue::Text(end));
        }
        return Ok(());
    }
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    connection
        .create_scalar_function(IS_INSIDE, 1, flags, move |context| {
            Ok(bounds.contain(value(context.get_raw(0))))
        })
        .sqlite()?;
    filter.conditions.push(format!("{IS_INSIDE}(p.{})", quoted(date)));
    Ok(())
}

fn survey<'a>(connection: &Connection, table: &'a TableSchema, date: &'a str) -> Result<Survey<'a>> {
    let sql = format!("SELECT {} FROM {}", quoted(date), quoted(&table.name));
    let mut statement = connection.prepare(&sql).sqlite()?;
    let mut rows = statement.raw_query();
    let mut survey = Survey::new(&table.name, date);
    while let Some(row) = rows.next().sqlite()? {
        survey.look(value(row.get_ref(0).sqlite()?))?;
    }
    Ok(survey)
}
