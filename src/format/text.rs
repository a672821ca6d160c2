//! Instants, bytes and JSON as texts for people and programs.

use std::fmt;
use std::time::SystemTime;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use serde::{Serialize, Serializer};

/// An instant as it is shown: RFC 3339, UTC, rounded down to whole seconds as stat(1) does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Timestamp);

impl Instant {
    /// `None` for an instant outside of the calendar (the years -9999 to 9999).
    pub(crate) fn of(time: SystemTime) -> Option<Instant> {
        let whole = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Floor);
        Timestamp::try_from(time).and_then(|time| time.round(whole)).ok().map(Instant)
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Returns an instant as text; an empty one for an instant outside of the calendar.
pub(crate) fn timestamp(time: SystemTime) -> String {
    Instant::of(time).map(|instant| instant.to_string()).unwrap_or_default()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Renders JSON for people and programs: indented, with a newline at the end.
pub(crate) fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}
