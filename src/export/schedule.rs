//! When a job runs: all in UTC, so that nothing shifts with daylight saving.

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// How often a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recurrence {
    /// Every so many hours, counted from 00:00 of each day.
    Hours(u8),
    Day {
        at: Time,
    },
    Week {
        on: Weekday,
        at: Time,
    },
    /// On that day of the month, or the last one of a shorter month.
    Month {
        on: i8,
        at: Time,
    },
}

impl Recurrence {
    /// Returns the first time of a run that is not before `from`; `None` at the end of time.
    pub(crate) fn first_from(&self, from: Timestamp) -> Option<Timestamp> {
        let from = from.to_zoned(TimeZone::UTC).datetime();
        // The loop is short: the next time is within a week, or within this month or the next.
        let mut day = from.date();
        if let Recurrence::Month { .. } = self {
            day = day.first_of_month();
        }
        loop {
            if let Some(found) = self.on_day(day, from) {
                return found.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
            }
            day = match self {
                Recurrence::Month { .. } => day.checked_add(Span::new().months(1)).ok()?,
                _ => day.tomorrow().ok()?,
            };
        }
    }

    /// Returns the first time after `after`.
    pub(crate) fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        self.first_from(after.checked_add(Span::new().nanoseconds(1)).ok()?)
    }

    /// Returns the first time on `day` (for months: in its month) that is not before `from`.
    fn on_day(&self, day: Date, from: DateTime) -> Option<DateTime> {
        let not_before = |time: DateTime| (time >= from).then_some(time);
        match *self {
            Recurrence::Hours(step) => {
                (0..24).step_by(step.max(1).into()).find_map(|hour| not_before(day.at(hour, 0, 0, 0)))
            }
            Recurrence::Day { at } => not_before(day.to_datetime(at)),
            Recurrence::Week { on, at } if day.weekday() == on => not_before(day.to_datetime(at)),
            Recurrence::Week { .. } => None,
            Recurrence::Month { on, at } => {
                let date = Date::new(day.year(), day.month(), on.min(day.days_in_month())).ok()?;
                not_before(date.to_datetime(at))
            }
        }
    }

    /// Returns the day of the week of that English name.
    pub(crate) fn weekday(name: &str) -> Option<Weekday> {
        Some(match name {
            "Monday" => Weekday::Monday,
            "Tuesday" => Weekday::Tuesday,
            "Wednesday" => Weekday::Wednesday,
            "Thursday" => Weekday::Thursday,
            "Friday" => Weekday::Friday,
            "Saturday" => Weekday::Saturday,
            "Sunday" => Weekday::Sunday,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(recurrence: Recurrence, from: &str, count: usize) -> Vec<String> {
        let mut at = recurrence.first_from(from.parse().unwrap()).unwrap();
        let mut times = Vec::new();
        for _ in 0..count {
            times.push(at.to_string());
            at = recurrence.next_after(at).unwrap();
        }
        times
    }

    #[test]
    fn hours_are_counted_from_midnight_utc() {
        let every_four = times(Recurrence::Hours(4), "2026-03-29T00:59:00Z", 3);
        assert_eq!(every_four, ["2026-03-29T04:00:00Z", "2026-03-29T08:00:00Z", "2026-03-29T12:00:00Z"]);
        let every_seven = times(Recurrence::Hours(7), "2026-01-01T15:00:00Z", 3);
        assert_eq!(every_seven, ["2026-01-01T21:00:00Z", "2026-01-02T00:00:00Z", "2026-01-02T07:00:00Z"]);
        assert_eq!(times(Recurrence::Hours(24), "2026-01-01T00:00:00Z", 2)[1], "2026-01-02T00:00:00Z");
    }

    #[test]
    fn days_weeks_and_months() {
        let at = jiff::civil::time(2, 0, 0, 0);
        assert_eq!(
            times(Recurrence::Day { at }, "2026-12-31T02:00:00Z", 2),
            ["2026-12-31T02:00:00Z", "2027-01-01T02:00:00Z"]
        );
        let monday = Recurrence::Week { on: Weekday::Monday, at };
        assert_eq!(
            times(monday, "2026-11-23T02:00:01Z", 2),
            ["2026-11-30T02:00:00Z", "2026-12-07T02:00:00Z"]
        );
        let last = Recurrence::Month { on: 31, at };
        assert_eq!(
            times(last, "2027-01-31T03:00:00Z", 3),
            ["2027-02-28T02:00:00Z", "2027-03-31T02:00:00Z", "2027-04-30T02:00:00Z"]
        );
    }
}
