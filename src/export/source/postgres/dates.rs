//! The condition that a row is inside a timeframe.

use super::form::{EPOCH, Form, Raw};
use super::open::Said;
use super::plan::{Filter, named};
use super::schema::{Column, Table, quoted};
use crate::error::{Error, Kind, Result};
use crate::export::source::layout::dates::{Bounds, Survey};
use crate::export::source::row::Value;
use crate::export::source::selection::Timeframe;
use crate::postgresql::Client;

/// Restricts a filter to a timeframe, if it has a bound.
pub(crate) fn restrict(
    client: &mut Client,
    table: &Table,
    date: &Column,
    timeframe: &Timeframe,
    filter: &mut Filter,
) -> Result<()> {
    let Timeframe::Between { start, end } = timeframe else { return Ok(()) };
    let Some(bounds) = Bounds::of(timeframe) else { return Ok(()) };
    filter.is_dated = true;
    let (start, end) = match date.form {
        form if form.is_instant() => {
            let instant = |at: &jiff::Timestamp| instant(form, microseconds(*at));
            (start.as_ref().map(instant), end.as_ref().map(instant))
        }
        Form::Text => {
            let texts = survey(client, table, date)?.texts(&bounds).ok_or_else(|| mixed(table, date))?;
            let literal = |text: String| format!("'{text}' COLLATE \"C\"");
            (texts.start.map(literal), texts.end.map(literal))
        }
        _ => return Err(no_date(table, date)),
    };
    let name = named("p", date);
    filter.conditions.extend(start.map(|start| format!("{name} >= {start}")));
    filter.conditions.extend(end.map(|end| format!("{name} < {end}")));
    Ok(())
}

/// Returns an instant as SQL: microseconds since 2000. What has no zone is in UTC.
pub(crate) fn instant(form: Form, at: i64) -> String {
    match form {
        Form::TimestampWithZone => {
            format!("timestamptz '2000-01-01 00:00:00+00' + interval '{at} microseconds'")
        }
        _ => format!("timestamp '2000-01-01 00:00:00' + interval '{at} microseconds'"),
    }
}

/// Microseconds since 2000, up to the next: PostgreSQL has no finer ones.
fn microseconds(at: jiff::Timestamp) -> i64 {
    let up = i64::from(at.subsec_nanosecond().rem_euclid(1_000) != 0);
    // An instant before 1970 is cut towards 1970, which is up.
    let up = if at.as_nanosecond() < 0 { 0 } else { up };
    at.as_microsecond() + up - EPOCH
}

fn survey<'a>(client: &mut Client, table: &'a Table, date: &'a Column) -> Result<Survey<'a>> {
    /// A longer text is no instant.
    const LONGEST: usize = 4 << 10;
    let name = quoted(&date.name);
    let sql = format!("SELECT left({name}, {LONGEST}) FROM {}", table.sql);
    let mut survey = Survey::new(&table.name, &date.name);
    for row in client.rows(&sql, &[]).said()? {
        let row = row.said()?;
        survey.look(Raw::of(&row, 0)?.0.map_or(Value::Null, Value::Text))?;
    }
    Ok(survey)
}

fn mixed(table: &Table, date: &Column) -> Error {
    let text = format!(
        "{}.{} spells instants as texts that cannot be compared with each other; it should be a timestamp: \
         ALTER TABLE ... ALTER COLUMN ... TYPE timestamp USING ...",
        table.name, date.name
    );
    Error::new(Kind::Unsupported, text)
}

pub(crate) fn no_date(table: &Table, date: &Column) -> Error {
    let text = format!(
        "{}.{} is of the type {}, of which no instants are read; it should be a timestamp",
        table.name, date.name, date.declared
    );
    Error::new(Kind::Invalid, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_the_next_microsecond() {
        let at = |text: &str| microseconds(text.parse().unwrap());
        assert_eq!(at("2000-01-01T00:00:00Z"), 0);
        assert_eq!(at("2000-01-01T00:00:00.000001Z"), 1);
        assert_eq!(at("2000-01-01T00:00:00.000000001Z"), 1);
        assert_eq!(at("1960-01-01T00:00:00.000000001Z"), at("1960-01-01T00:00:00.000001Z"));
        assert_eq!(at("1960-01-01T00:00:00Z") + 1, at("1960-01-01T00:00:00.000001Z"));
    }
}
