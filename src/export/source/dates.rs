//! Which rows are inside a timeframe, however their dates are spelled.
//!
//! One pass over the column, along an index that has it where there is one, finds out how. Where all values have one
//! spelling that sorts as text, so are the bounds compared, and an index on the date leads to the rows; elsewhere every
//! value is read. A value that is not understood fails the export, wherever it stands: it might be inside.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::Value as SqlValue;

use super::instant::{Form, RIGHT, read};
use super::open::{Sqlite, value};
use super::plan::{Filter, quoted};
use super::row::Value;
use super::schema::Table;
use crate::error::{Error, Kind, Result};
use crate::export::refusal::shown;

/// The SQL function that reads a value and compares it with the bounds.
const IS_INSIDE: &str = "cddsfs_is_inside";

/// Restricts a filter to a timeframe, if it has a bound. A row without a date is in none.
pub fn restrict(
    connection: &Connection,
    table: &Table,
    date: &str,
    (start, end): (Option<Timestamp>, Option<Timestamp>),
    filter: &mut Filter,
) -> Result<()> {
    if start.is_none() && end.is_none() {
        return Ok(());
    }
    let form = form(connection, table, date)?;
    let utc = |bound: Timestamp| Offset::UTC.to_datetime(bound);
    let (start, end) = (start.map(utc), end.map(utc));
    let text = |at: Option<DateTime>| at.map(|at| form.bound(at).ok_or(())).transpose();
    filter.is_dated = true;
    if let (Ok(from), Ok(until)) = (text(start), text(end)) {
        if let Some(from) = from {
            filter.compare(date, ">=", SqlValue::Text(from));
        }
        if let Some(until) = until {
            filter.compare(date, "<", SqlValue::Text(until));
        }
        return Ok(());
    }
    let is_inside = move |context: &rusqlite::functions::Context<'_>| {
        let at = read(value(context.get_raw(0))).ok().flatten();
        at.is_some_and(|(at, _)| start.is_none_or(|start| start <= at) && end.is_none_or(|end| at < end))
    };
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    connection.create_scalar_function(IS_INSIDE, 1, flags, move |context| Ok(is_inside(context))).sqlite()?;
    filter.conditions.push(format!("{IS_INSIDE}(p.{})", quoted(date)));
    Ok(())
}

/// Returns the one form that all dates have.
fn form(connection: &Connection, table: &Table, date: &str) -> Result<Form> {
    let sql = format!("SELECT {} FROM {}", quoted(date), quoted(&table.name));
    let mut statement = connection.prepare(&sql).sqlite()?;
    let mut rows = statement.raw_query();
    let mut form = None;
    while let Some(row) = rows.next().sqlite()? {
        let value = value(row.get_ref(0).sqlite()?);
        let own = match read(value) {
            Ok(Some((_, own))) => own,
            Ok(None) if value == Value::Null => continue,
            // As text it would be before every date.
            Ok(None) => Form::Other,
            Err(()) => return Err(not_understood(table, date, value)),
        };
        form = Some(form.map_or(own, |form: Form| form.and(own)));
    }
    Ok(form.unwrap_or(Form::Date))
}

fn not_understood(table: &Table, date: &str, value: Value<'_>) -> Error {
    let example = match value {
        Value::Text(text) => format!("{:?}", shown(&String::from_utf8_lossy(text))),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Blob(bytes) => format!("a blob of {} bytes", bytes.len()),
        Value::Null | Value::Wide(_) => "NULL".to_owned(),
    };
    let text =
        format!("{}.{date} has a value that is no instant we understand: {example}; {RIGHT}", table.name);
    Error::new(Kind::Invalid, text)
}
