//! Instants as columns spell them.
//!
//! ```text
//! 2026-01-15 10:30:00.250         no zone: UTC; any number of digits after the seconds, or no seconds, or only a date
//! 2026-01-15T10:30:00.25Z         T or a blank; Z, UTC, +02:00, +0200, +02, perhaps a zone's name behind the offset
//! 20260115T103000Z                the same without - and :
//! 1768473000                      since 1970: seconds, milliseconds, microseconds or nanoseconds, as a number or a text
//! 2461056.06                      a Julian day
//! ```
//!
//! Numbers are told by their size: what is counted since 1970 must lie in 2000 to 2039 in seconds, to 2099 in the
//! others, a Julian day between 1900 and 2200. So no number has two of these meanings, nor that of other counts and
//! spellings in use: .NET's ticks, FILETIME, what is counted from 1601, 1900, 1904 or (until 2030) 2001, YYYYMMDDHHMM,
//! and YYMMDDHHMM from 2022 on are refused, and what begins with the digits of a year of 2000 to 2039 but is neither of
//! the above. NULL, an empty text and MySQL's `0000-00-00` are no date.

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;

use crate::export::source::row::Value;

/// What errors say would be right, for a value that is not understood.
pub(crate) const RIGHT: &str = "it should be YYYY-MM-DD HH:MM:SS.fff in UTC, ISO 8601 with Z or an offset, or seconds \
                         (of 2000 to 2039), milliseconds or microseconds (of 2000 to 2099) since 1970 that do not begin as a year of 2000 \
                         to 2039 does";

/// How a value is spelled, which decides whether values can be compared as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The date alone, which goes with any local form.
    Date,
    /// `DATE<separator>HH:MM[:SS[.f]]`: what is spelled shorter is a beginning of what is spelled longer.
    Local(char),
    /// `DATE<separator>HH:MM:SS[.f]Z` with so many digits: all are of one length.
    Zulu(char, u8),
    /// Not to be compared as text.
    Other,
}

impl Form {
    /// Returns the form of a column that has values of both forms.
    pub(crate) fn and(self, other: Form) -> Form {
        match (self, other) {
            (a, b) if a == b => a,
            (Form::Date, Form::Local(c)) | (Form::Local(c), Form::Date) => Form::Local(c),
            _ => Form::Other,
        }
    }

    /// Returns the least text of this form that is not before an instant; `None` where instants of this form cannot
    /// be compared as text.
    pub(crate) fn bound(self, at: DateTime) -> Option<String> {
        let (separator, digits) = match self {
            Form::Date => (' ', None),
            Form::Local(separator) => (separator, None),
            Form::Zulu(separator, digits) => (separator, Some(usize::from(digits))),
            Form::Other => return None,
        };
        let Some(digits) = digits else {
            // The shortest spelling is a beginning of all others of this instant.
            let long = at.strftime("%Y-%m-%d %H:%M:%S%.f").to_string();
            let short = long.strip_suffix(":00").unwrap_or(&long);
            let short = short.strip_suffix(" 00:00").unwrap_or(short);
            return Some(short.replace(' ', separator.encode_utf8(&mut [0; 4])));
        };
        let unit = 10_i64.checked_pow(9_u32.checked_sub(digits as u32)?)?;
        let beyond = i64::from(at.subsec_nanosecond()) % unit;
        let up = if beyond == 0 { 0 } else { unit - beyond };
        let at = at.checked_add(SignedDuration::from_nanos(up)).ok()?;
        let mut text =
            at.strftime("%Y-%m-%d %H:%M:%S").to_string().replace(' ', separator.encode_utf8(&mut [0; 4]));
        if digits > 0 {
            text.push('.');
            text.push_str(&format!("{:09}", at.subsec_nanosecond())[..digits]);
        }
        Some(text + "Z")
    }
}

/// Reads a value: `Ok(None)` if it has no date, `Err` if it is not understood. The instant is in UTC.
pub(crate) fn read(value: Value<'_>) -> Result<Option<(DateTime, Form)>, ()> {
    let found = match value {
        Value::Null => return Ok(None),
        Value::Integer(number) => number_of(number.into(), 0).map(|at| (at, Form::Other)),
        Value::Real(number) => real(number).map(|at| (at, Form::Other)),
        Value::Text(text) => match text.trim_ascii() {
            b"" => return Ok(None),
            zero if is_zero_date(zero) => return Ok(None),
            trimmed if trimmed.len() < text.len() => self::text(trimmed).map(|(at, _)| (at, Form::Other)),
            _ => self::text(text),
        },
        Value::Blob(b"") => return Ok(None),
        Value::Blob(_) | Value::Wide(_) => None,
    };
    found.map(Some).ok_or(())
}

fn is_zero_date(text: &[u8]) -> bool {
    text.starts_with(b"0000-00-00") && text.iter().all(|b| b"0-: T.Z".contains(b))
}

/// Reads what is counted since 1970, in the unit that its size tells, and `billionths` of one unit more.
fn number_of(number: i128, billionths: i128) -> Option<DateTime> {
    /// How many of a unit make a second, and up to which second it counts: 2040-01-01 or 2100-01-01.
    const UNITS: [(i128, i128); 4] = [
        (1, 2_208_988_800),
        (1_000, 4_102_444_800),
        (1_000_000, 4_102_444_800),
        (1_000_000_000, 4_102_444_800),
    ];
    /// 2000-01-01.
    const FROM: i128 = 946_684_800;
    if number == 0 && billionths == 0 {
        return Some(Date::constant(1970, 1, 1).at(0, 0, 0, 0));
    }
    if let Some(at) = julian(number, billionths).or_else(|| compact(number, billionths)) {
        return Some(at);
    }
    /// As digits these begin with a year, which YYYYMMDDHH and YYYYDDDHHMMSS do, too: 2033-05-18 to 2034-08-23.
    const YEARS: std::ops::Range<i128> = 2_000_000_000..2_040_000_000;
    let (unit, _) = UNITS.into_iter().find(|(n, until)| (FROM * n..until * n).contains(&number))?;
    if YEARS.contains(&(number / unit)) {
        return None;
    }
    let nanoseconds = number * (1_000_000_000 / unit) + billionths / unit;
    jiff::Timestamp::from_nanosecond(nanoseconds).ok().map(|at| Offset::UTC.to_datetime(at))
}

/// Reads a Julian day, to the millisecond, as SQLite does.
fn julian(day: i128, billionths: i128) -> Option<DateTime> {
    /// 1900-01-01 12:00 and 2200-01-01 12:00.
    const DAYS: std::ops::Range<i128> = 2_415_021..2_524_594;
    /// 1970-01-01 00:00, in halves of a day.
    const EPOCH: i128 = 4_881_175;
    if !DAYS.contains(&day) {
        return None;
    }
    let milliseconds =
        (2 * day - EPOCH) * 43_200_000 + (billionths * 86_400_000 + 500_000_000) / 1_000_000_000;
    let at = jiff::Timestamp::from_millisecond(i64::try_from(milliseconds).ok()?).ok()?;
    Some(Offset::UTC.to_datetime(at))
}

/// Reads `YYYYMMDD` or `YYYYMMDDHHMMSS` as a number. None of these numbers is also one of seconds or milliseconds.
fn compact(number: i128, billionths: i128) -> Option<DateTime> {
    let (date, time) = match number {
        19_000_101..=21_991_231 => (number, 0),
        19_000_101_000_000..=21_991_231_235_959 => (number / 1_000_000, number % 1_000_000),
        _ => return None,
    };
    let part = |n: i128| i8::try_from(n % 100).ok();
    let year = i16::try_from(date / 10_000).ok()?;
    let (month, day) = (part(date / 100)?, part(date)?);
    let (hour, minute, second) = (part(time / 10_000)?, part(time / 100)?, part(time)?);
    DateTime::new(year, month, day, hour, minute, second, i32::try_from(billionths).ok()?).ok()
}

/// Reads a number with a fraction, which is precise to about a microsecond: it is rounded to that.
fn real(number: f64) -> Option<DateTime> {
    if !(0.0..1e19).contains(&number) {
        return None;
    }
    let whole = number.floor();
    let billionths = ((number - whole) * 1e9).round() as i128;
    let at = number_of(whole as i128, billionths.min(999_999_999))?;
    at.round(jiff::Unit::Microsecond).ok()
}

/// The rest of a text that has not been read yet.
struct Unread<'a>(&'a [u8]);

impl Unread<'_> {
    fn digits(&mut self, count: usize) -> Option<i16> {
        let (head, tail) = self.0.split_at_checked(count)?;
        let number = head.iter().try_fold(0, |n: i16, b| Some(n * 10 + i16::from(digit(*b)?)))?;
        self.0 = tail;
        Some(number)
    }

    fn pair(&mut self) -> Option<i8> {
        self.digits(2).map(|n| n as i8)
    }

    /// Takes one of these bytes, if it comes next.
    fn take(&mut self, any: &[u8]) -> Option<u8> {
        let (&first, tail) = self.0.split_first().filter(|(first, _)| any.contains(first))?;
        self.0 = tail;
        Some(first)
    }

    /// Takes as many digits as there are: their number, and their value as billionths.
    fn fraction(&mut self) -> (usize, i32) {
        let count = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        let (head, tail) = self.0.split_at(count);
        let padded = head.iter().map(|b| i32::from(b - b'0')).chain(std::iter::repeat(0));
        self.0 = tail;
        (count, padded.take(9).fold(0, |n, digit| n * 10 + digit))
    }
}

fn digit(byte: u8) -> Option<u8> {
    byte.is_ascii_digit().then(|| byte - b'0')
}

fn text(text: &[u8]) -> Option<(DateTime, Form)> {
    let mut rest = Unread(text);
    if let Some(number) = decimal(text) {
        return number_of(number.0, number.1).map(|at| (at, Form::Other));
    }
    let year = rest.digits(4)?;
    let is_long = rest.take(b"-").is_some();
    let month = rest.pair()?;
    if is_long {
        rest.take(b"-")?;
    }
    let date = Date::new(year, month, rest.pair()?).ok()?;
    if rest.0.is_empty() {
        return Some((date.at(0, 0, 0, 0), if is_long { Form::Date } else { Form::Other }));
    }
    let separator = rest.take(b" Tt")?;
    let mut form = match (is_long, separator) {
        (true, b' ' | b'T') => Form::Local(separator.into()),
        _ => Form::Other,
    };
    let hour = rest.pair()?;
    if is_long {
        rest.take(b":")?;
    }
    let minute = rest.pair()?;
    let (mut second, mut nanosecond, mut digits) = (0, 0, None);
    if (is_long && rest.take(b":").is_some()) || (!is_long && rest.0.first().is_some_and(u8::is_ascii_digit))
    {
        second = rest.pair()?;
        digits = Some(0);
        if let Some(point) = rest.take(b".,") {
            let (count, billionths) = rest.fraction();
            (nanosecond, digits) = (billionths, u8::try_from(count).ok());
            if count == 0 {
                return None;
            }
            if point == b',' {
                form = Form::Other;
            }
        }
    }
    // A leap second comes after all others of its minute.
    if second == 60 {
        (second, nanosecond, form) = (59, 999_999_999, Form::Other);
    }
    let local =
        DateTime::new(date.year(), date.month(), date.day(), hour, minute, second, nanosecond).ok()?;
    if rest.0.is_empty() {
        return Some((local, form));
    }
    if let (b"Z", Form::Local(separator), Some(digits)) = (rest.0, form, digits) {
        return Some((local, Form::Zulu(separator, digits)));
    }
    let east = offset(rest.0)?;
    // Beyond the ends of time the instant is the end.
    let utc = local.saturating_sub(SignedDuration::from_secs(east));
    Some((utc, Form::Other))
}

/// Reads a number without a sign, and what follows its point.
fn decimal(text: &[u8]) -> Option<(i128, i128)> {
    let point = text.iter().position(|&b| b == b'.');
    let (whole, fraction) = text.split_at(point.unwrap_or(text.len()));
    if whole.is_empty() || whole.len() > 19 || !whole.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = whole.iter().fold(0, |n: i128, b| n * 10 + i128::from(b - b'0'));
    let Some(fraction) = fraction.strip_prefix(b".") else { return Some((number, 0)) };
    let mut rest = Unread(fraction);
    let (count, billionths) = rest.fraction();
    (count > 0 && rest.0.is_empty()).then_some((number, billionths.into()))
}

/// Reads the zone behind a time as seconds to the east of Greenwich.
fn offset(zone: &[u8]) -> Option<i64> {
    let zone = zone.strip_prefix(b" ").unwrap_or(zone);
    // `[Europe/Berlin]` says no more than the offset before it.
    let zone = match zone.iter().position(|&b| b == b'[') {
        Some(at) if at > 0 && zone.ends_with(b"]") => &zone[..at],
        _ => zone,
    };
    if [&b"Z"[..], b"z", b"UTC", b"GMT"].contains(&zone) {
        return Some(0);
    }
    let mut rest = Unread(zone);
    let sign = match rest.take(b"+-")? {
        b'-' => -1,
        _ => 1,
    };
    let hours = rest.pair().filter(|hours| *hours <= 23)?;
    let has_colon = rest.take(b":").is_some();
    let has_minutes = has_colon || rest.0.first().is_some_and(u8::is_ascii_digit);
    let minutes = if has_minutes { rest.pair().filter(|minutes| *minutes <= 59)? } else { 0 };
    // Some write the zone's name behind it.
    let is_named = rest.0.split_first().is_some_and(|(first, name)| {
        *first == b' ' && !name.is_empty() && name.iter().all(u8::is_ascii_alphabetic)
    });
    (rest.0.is_empty() || is_named).then_some(sign * (i64::from(hours) * 3600 + i64::from(minutes) * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime {
        text.parse().unwrap()
    }

    fn text_at(text: &str) -> Option<(DateTime, Form)> {
        read(Value::Text(text.as_bytes())).unwrap_or_else(|()| panic!("{text}"))
    }

    #[test]
    fn spellings_in_use_are_understood() {
        let noon = [
            "2026-01-15 12:00:00",
            "2026-01-15T12:00:00",
            "2026-01-15 12:00",
            "2026-01-15t12:00z",
            "2026-01-15T12:00:00Z",
            "2026-01-15T12:00:00.000000000Z",
            "2026-01-15 12:00:00,0",
            "20260115T120000Z",
            "2026-01-15 14:00:00+02:00",
            "2026-01-15T14:00:00.000+0200",
            "2026-01-15 14:00+02",
            "2026-01-15 06:30:00 -0530",
            "2026-01-15 12:00:00 UTC",
            "2026-01-15 12:00:00 +0000 UTC",
            "2026-01-15T13:00:00+01:00[Europe/Berlin]",
            " 2026-01-15 12:00:00 ",
            "1768478400",
            "1768478400000",
            "1768478400000000",
            "1768478400000000000",
            "1768478400.0",
            "2461056.0",
            "20260115120000",
        ];
        for spelling in noon {
            assert_eq!(text_at(spelling).unwrap().0, at("2026-01-15T12:00:00"), "{spelling}");
        }
        let midnight = at("2026-01-15T00:00:00");
        for value in [
            Value::Text(b"2026-01-15"),
            Value::Text(b"20260115"),
            Value::Integer(20_260_115),
            Value::Real(2_461_055.5),
            Value::Integer(1_768_435_200),
            Value::Real(1_768_435_200_000.0),
        ] {
            assert_eq!(read(value).unwrap().unwrap().0, midnight, "{value:?}");
        }
        let fraction = read(Value::Real(1_768_435_200.1)).unwrap().unwrap().0;
        assert_eq!(fraction, at("2026-01-15T00:00:00.1"));
        assert_eq!(text_at("9999-12-31 23:59:59-05:00").unwrap().0, DateTime::MAX);
        for nothing in ["", " ", "0000-00-00", "0000-00-00 00:00:00.000"] {
            assert_eq!(text_at(nothing), None);
        }
    }

    #[test]
    fn what_could_mean_two_things_is_not_understood() {
        for text in [
            "15/01/2026",
            "2026-1-5",
            "2026-02-30 10:00:00",
            "2026-01-15 24:00:00",
            "2026-01-15 10:00:00.",
            "2026-01-15 10:00:00 CET",
            "2026-01-15  10:00",
            "2026-01-15T",
            "2026-13-01",
            "now",
            "1",
            "86400",
            "99999999999999",
            "-1",
            "2026",
            "2026-01-15 10:00:00+2",
            "2026-01-15 10:00:00+25:00",
            "1e9",
        ] {
            assert_eq!(read(Value::Text(text.as_bytes())), Err(()), "{text}");
        }
        for value in
            [Value::Integer(-1), Value::Integer(1_000), Value::Integer(i64::MAX), Value::Blob(b"2026-01-15")]
        {
            assert_eq!(read(value), Err(()), "{value:?}");
        }
        for real in [f64::NEG_INFINITY, f64::INFINITY, -1.0, 3.5, 1e300] {
            assert_eq!(read(Value::Real(real)), Err(()), "{real}");
        }
    }

    #[test]
    fn numbers_of_other_counts_and_spellings_are_refused_and_never_taken_for_another_time() {
        // 2026-01-15 10:30:00, as others count and spell it.
        for number in [
            639_040_698_000_000_000, // .NET's ticks
            134_129_466_000_000_000, // FILETIME
            13_412_946_600_000_000,  // microseconds since 1601
            17_684_730_000_000_000,  // 100 nanoseconds since 1970
            176_847_300_000,         // hundredths
            29_474_550,              // minutes
            790_165_800,             // seconds since 2001
            3_977_461_800,           // since 1900
            3_851_317_800,           // since 1904
            46_037,                  // days since 1899
            202_601_151_030,
            2_601_151_030,
            260_115_103_000,
            15_012_026_103_000,
            150_120_261_030,
            20_260_115_103_000_250,
            2_026_011_510,             // YYYYMMDDHH
            2_026_015_103_000,         // YYYYDDDHHMMSS
            2_026_015_103_000_250,     // with milliseconds
            2_026_015_103_000_250_000, // with microseconds
        ] {
            assert_eq!(read(Value::Integer(number)), Err(()), "{number}");
            assert_eq!(read(Value::Text(number.to_string().as_bytes())), Err(()), "{number}");
            assert_eq!(read(Value::Real(number as f64)), Err(()), "{number}");
        }
        // The first and the last instant of every unit, and what is beside them.
        for (unit, end, until) in [
            (1, 2_208_988_800, "2039-12-31T23:59:59"),
            (1_000, 4_102_444_800, "2099-12-31T23:59:59.999"),
            (1_000_000, 4_102_444_800, "2099-12-31T23:59:59.999999"),
            (1_000_000_000, 4_102_444_800, "2099-12-31T23:59:59.999999999"),
        ] {
            let found = |number: i64| read(Value::Integer(number)).map(|at| at.unwrap().0);
            assert_eq!(found(946_684_800 * unit), Ok(at("2000-01-01T00:00:00")));
            assert_eq!(found(end * unit - 1), Ok(at(until)));
            assert_eq!((found(946_684_800 * unit - 1), found(end * unit)), (Err(()), Err(())), "{unit}");
        }
    }

    #[test]
    fn a_bound_is_the_least_text_of_its_form() {
        let noon = at("2026-01-15T12:00:00");
        let half = at("2026-01-15T12:00:00.5");
        let table = [
            (Form::Local(' '), at("2026-01-15T00:00:00"), "2026-01-15"),
            (Form::Local(' '), noon, "2026-01-15 12:00"),
            (Form::Local('T'), half, "2026-01-15T12:00:00.5"),
            (Form::Zulu('T', 0), half, "2026-01-15T12:00:01Z"),
            (Form::Zulu('T', 3), half, "2026-01-15T12:00:00.500Z"),
            (Form::Zulu(' ', 9), noon, "2026-01-15 12:00:00.000000000Z"),
        ];
        for (form, at, text) in table {
            assert_eq!(form.bound(at).as_deref(), Some(text));
        }
        assert_eq!((Form::Other.bound(noon), Form::Zulu('T', 12).bound(noon)), (None, None));
        assert_eq!(Form::Date.and(Form::Local('T')), Form::Local('T'));
        assert_eq!(Form::Local(' ').and(Form::Local('T')), Form::Other);
    }
}
