//! How values of PostgreSQL's types are asked for, and what they are in an export.
//!
//! | type | value |
//! |---|---|
//! | smallint, integer, bigint, and boolean as 0 or 1 | a number |
//! | numeric without a fraction, of at most 64 bits | a number |
//! | any other numeric, NaN too | the text that PostgreSQL has for it |
//! | double precision; real, as the shortest number that is it | a number; NaN and Infinity are texts |
//! | timestamp, and timestamp with time zone in UTC | `YYYY-MM-DD HH:MM:SS.fff`, cut at the millisecond, perhaps with ` BC`; `infinity`, `-infinity` |
//! | bytea | base64 |
//! | all others | the text that PostgreSQL has for it: `2026-01-15` of a date, `{1,2}` of an array |

use std::error::Error as StdError;
use std::fmt::Write;
use std::ops::Range;

use jiff::ToSpan;
use jiff::civil::Date;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

use crate::error::{Error, Result};
use crate::export::source::row::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Boolean,
    Integer,
    Real,
    Numeric,
    /// Without a zone: in UTC.
    Timestamp,
    TimestampWithZone,
    Date,
    Bytes,
    /// text and character varying.
    Text,
    /// Whatever is asked for as text.
    Other,
}

/// Bytes of a value that is declared with a length and is always held.
const SHORT: i32 = 4 << 10;

impl Form {
    pub(crate) fn of(oid: u32) -> Form {
        match Type::from_oid(oid) {
            Some(Type::BOOL) => Form::Boolean,
            Some(Type::INT2 | Type::INT4 | Type::INT8) => Form::Integer,
            Some(Type::FLOAT4 | Type::FLOAT8) => Form::Real,
            Some(Type::NUMERIC) => Form::Numeric,
            Some(Type::TIMESTAMP) => Form::Timestamp,
            Some(Type::TIMESTAMPTZ) => Form::TimestampWithZone,
            Some(Type::DATE) => Form::Date,
            Some(Type::BYTEA) => Form::Bytes,
            Some(Type::TEXT | Type::VARCHAR) => Form::Text,
            _ => Form::Other,
        }
    }

    /// Returns true if a type modifier makes all values short. A character has up to 4 bytes, and its length is counted
    /// with 4 more.
    pub(crate) fn is_short(self, modifier: i32) -> bool {
        match self {
            Form::Text => (0..SHORT / 4).contains(&modifier),
            Form::Numeric => modifier >= 0,
            _ => false,
        }
    }

    pub(crate) fn is_number(self) -> bool {
        matches!(self, Form::Integer | Form::Real | Form::Numeric)
    }

    pub(crate) fn is_instant(self) -> bool {
        matches!(self, Form::Timestamp | Form::TimestampWithZone | Form::Date)
    }

    /// Returns the SQL that asks for a value.
    pub(crate) fn asked(self, column: &str) -> String {
        match self {
            Form::Numeric | Form::Date | Form::Other => format!("{column}::text"),
            _ => column.to_owned(),
        }
    }

    /// Returns the SQL that asks for an unbounded value as bytes.
    pub(crate) fn bytes(self, column: &str) -> String {
        match self {
            // Whatever is compressed becomes whole here, once.
            Form::Bytes => format!("{column} || ''::bytea"),
            _ => format!("convert_to({column}::text, 'UTF8')"),
        }
    }

    /// Returns the value. A text that has to be made for it is in `made`, whence it was written by [`Made::write`].
    pub(crate) fn read<'a>(self, raw: Raw<'a>, made: &'a Made, index: usize) -> Result<Value<'a>> {
        let Some(bytes) = raw.0 else { return Ok(Value::Null) };
        Ok(match self {
            Form::Boolean => Value::Integer(i64::from(bytes != [0])),
            Form::Integer => Value::Integer(integer(bytes)?),
            Form::Real => Value::Real(real(bytes)?),
            Form::Numeric => whole(bytes).map_or(Value::Text(bytes), Value::Integer),
            Form::Timestamp | Form::TimestampWithZone => Value::Text(made.of(index)),
            Form::Bytes => Value::Blob(bytes),
            Form::Date | Form::Text | Form::Other => Value::Text(bytes),
        })
    }
}

/// A value as the server has sent it: in its binary form, which of text is the text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw<'a>(pub Option<&'a [u8]>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> std::result::Result<Raw<'a>, Box<dyn StdError + Sync + Send>> {
        Ok(Raw(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> std::result::Result<Raw<'a>, Box<dyn StdError + Sync + Send>> {
        Ok(Raw(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl<'a> Raw<'a> {
    pub(crate) fn of(row: &'a Row, column: usize) -> Result<Raw<'a>> {
        row.try_get(column).map_err(|_| Error::damaged("the server gives fewer columns than asked for"))
    }
}

/// Texts that are made for the values of a row, by their columns.
#[derive(Debug, Default)]
pub(crate) struct Made {
    text: String,
    ranges: Vec<(usize, Range<usize>)>,
}

impl Made {
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.ranges.clear();
    }

    /// Writes what a value of this form is, if that is a text that has to be made.
    pub(crate) fn write(&mut self, form: Form, raw: Raw<'_>, index: usize) -> Result<()> {
        if let (Form::Timestamp | Form::TimestampWithZone, Some(bytes)) = (form, raw.0) {
            let start = self.text.len();
            append_timestamp(&mut self.text, integer(bytes)?);
            self.ranges.push((index, start..self.text.len()));
        }
        Ok(())
    }

    fn of(&self, index: usize) -> &[u8] {
        let range = self.ranges.binary_search_by_key(&index, |(index, _)| *index).ok();
        let range = range.and_then(|at| self.ranges.get(at)).map_or(0..0, |(_, range)| range.clone());
        self.text.as_bytes().get(range).unwrap_or_default()
    }
}

/// Reads a big-endian integer of 2, 4 or 8 bytes.
pub(crate) fn integer(bytes: &[u8]) -> Result<i64> {
    match *bytes {
        [a, b] => Ok(i16::from_be_bytes([a, b]).into()),
        [a, b, c, d] => Ok(i32::from_be_bytes([a, b, c, d]).into()),
        [a, b, c, d, e, f, g, h] => Ok(i64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => Err(Error::damaged("the server gives a number of an unknown length")),
    }
}

fn real(bytes: &[u8]) -> Result<f64> {
    match *bytes {
        // 0.1 stays 0.1, and not what it is as a double.
        [a, b, c, d] => {
            let number = f32::from_be_bytes([a, b, c, d]);
            Ok(number.to_string().parse().unwrap_or(number.into()))
        }
        [a, b, c, d, e, f, g, h] => Ok(f64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => Err(Error::damaged("the server gives a number of an unknown length")),
    }
}

/// Returns a numeric that has no fraction.
fn whole(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Microseconds from 1970 to 2000, whence PostgreSQL counts.
pub(crate) const EPOCH: i64 = 946_684_800_000_000;

/// Appends an instant as text: microseconds since 2000.
fn append_timestamp(out: &mut String, at: i64) {
    const DAY: i64 = 86_400_000_000;
    /// The calendar is the same again after 400 years.
    const CYCLE: i64 = 146_097 * DAY;
    match at {
        i64::MAX => return out.push_str("infinity"),
        i64::MIN => return out.push_str("-infinity"),
        _ => {}
    }
    let (cycles, rest) = (at.div_euclid(CYCLE), at.rem_euclid(CYCLE));
    let (days, ms) = (rest / DAY, rest % DAY / 1_000);
    let date = Date::constant(2000, 1, 1).saturating_add(days.days());
    let year = i64::from(date.year()) + 400 * cycles;
    // There is no year 0.
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    let (minutes, seconds) = (ms / 60_000, ms / 1_000 % 60);
    // Writing into a String does not fail.
    let _ = write!(
        out,
        "{year:04}-{:02}-{:02} {:02}:{:02}:{seconds:02}.{:03}{era}",
        date.month(),
        date.day(),
        minutes / 60,
        minutes % 60,
        ms % 1_000
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_text_whatever_its_year() {
        let text = |at| {
            let mut out = String::new();
            append_timestamp(&mut out, at);
            out
        };
        for (at, expected) in [
            (0, "2000-01-01 00:00:00.000"),
            (-1, "1999-12-31 23:59:59.999"),
            (817_000_000_123_999, "2025-11-21 00:26:40.123"),
            (68_256_000_000_000, "2002-03-01 00:00:00.000"),
            (-63_082_281_600_000_000, "0001-01-01 00:00:00.000"),
            (-63_082_281_600_000_001, "0001-12-31 23:59:59.999 BC"),
            (-211_813_488_000_000_000, "4714-11-24 00:00:00.000 BC"),
            (9_223_371_331_199_999_999, "294276-12-31 23:59:59.999"),
            (i64::MAX, "infinity"),
            (i64::MIN, "-infinity"),
        ] {
            assert_eq!(text(at), expected);
        }
    }

    #[test]
    fn a_numeric_is_a_number_where_it_is_whole() {
        assert_eq!(whole(b"-9223372036854775808"), Some(i64::MIN));
        for text in ["9223372036854775808", "1.0", "NaN", "Infinity", "1e3", ""] {
            assert_eq!(whole(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_real_is_the_shortest_number() {
        assert_eq!(real(&0.1_f32.to_be_bytes()).unwrap(), 0.1);
        assert_eq!(real(&f32::INFINITY.to_be_bytes()).unwrap(), f64::INFINITY);
        assert!(real(&f32::NAN.to_be_bytes()).unwrap().is_nan());
        assert!(real(&[1]).is_err() && integer(&[]).is_err());
    }
}
