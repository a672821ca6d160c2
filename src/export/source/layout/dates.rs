//! Which rows are inside a timeframe, however their dates are spelled.
//!
//! A source first looks at every value of the column: one that is not understood fails the export, wherever it is,
//! because it might be inside. If all have one spelling that sorts as text, the bounds are texts of that spelling, and
//! an index on the column leads to the rows; otherwise every value is read.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::instant::{Form, RIGHT, read};
use crate::error::{Error, Kind, Result};
use crate::export::refusal::shown;
use crate::export::source::row::Value;
use crate::export::source::selection::Timeframe;

/// The bounds of a timeframe: `start` is included, `end` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    start: Option<DateTime>,
    end: Option<DateTime>,
}

impl Bounds {
    /// Returns the bounds; `None` if there are none.
    pub fn of(timeframe: &Timeframe) -> Option<Bounds> {
        let Timeframe::Between { start, end } = timeframe else { return None };
        let utc = |bound: &Timestamp| Offset::UTC.to_datetime(*bound);
        let bounds = Bounds { start: start.as_ref().map(utc), end: end.as_ref().map(utc) };
        (start.is_some() || end.is_some()).then_some(bounds)
    }

    /// Returns true if a date is inside. A row without a date is in no timeframe that has a bound.
    pub fn contain(&self, date: Value<'_>) -> bool {
        let at = read(date).ok().flatten();
        at.is_some_and(|(at, _)| {
            self.start.is_none_or(|start| start <= at) && self.end.is_none_or(|end| at < end)
        })
    }
}

/// The bounds as texts that dates are compared with, byte by byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Texts {
    pub(crate) start: Option<String>,
    pub(crate) end: Option<String>,
}

/// Looks at all dates of a column, one by one.
pub struct Survey<'a> {
    table: &'a str,
    column: &'a str,
    form: Option<Form>,
}

impl<'a> Survey<'a> {
    /// `table` and `column` are spelled as in the source.
    pub fn new(table: &'a str, column: &'a str) -> Survey<'a> {
        Survey { table, column, form: None }
    }

    pub fn look(&mut self, date: Value<'_>) -> Result<()> {
        let own = match read(date) {
            Ok(Some((_, own))) => own,
            Ok(None) if date == Value::Null => return Ok(()),
            // As text, an empty value would come before every date.
            Ok(None) => Form::Other,
            Err(()) => return Err(self.not_understood(date)),
        };
        self.form = Some(self.form.map_or(own, |form| form.and(own)));
        Ok(())
    }

    /// Returns the bounds as texts, if all dates can be compared as text.
    pub(crate) fn texts(&self, bounds: &Bounds) -> Option<Texts> {
        let form = self.form.unwrap_or(Form::Date);
        let text = |at: Option<DateTime>| at.map(|at| form.bound(at).ok_or(())).transpose().ok();
        Some(Texts { start: text(bounds.start)?, end: text(bounds.end)? })
    }

    fn not_understood(&self, date: Value<'_>) -> Error {
        let example = match date {
            Value::Text(text) => format!("{:?}", shown(&String::from_utf8_lossy(text))),
            Value::Integer(number) => number.to_string(),
            Value::Real(number) => number.to_string(),
            Value::Blob(bytes) => format!("a blob of {} bytes", bytes.len()),
            Value::Null | Value::Wide(_) => "NULL".to_owned(),
        };
        let text = format!(
            "{}.{} has a value that is no instant we understand: {example}; {RIGHT}",
            self.table, self.column
        );
        Error::new(Kind::Invalid, text)
    }
}
