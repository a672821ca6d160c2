//! How long an export is kept, counted from its modification time.

use std::fmt;
use std::time::{Duration, SystemTime};

/// Retention unless a store says otherwise, in days.
pub(crate) const DEFAULT_DAYS: u32 = 30;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long artifacts are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    Days(u32),
    Never,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention::Days(DEFAULT_DAYS)
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Retention::Days(1) => f.write_str("1 day"),
            Retention::Days(days) => write!(f, "{days} days"),
            Retention::Never => f.write_str("never"),
        }
    }
}

impl Retention {
    /// Returns the instant at which something of that modification time expires, if it ever does.
    pub(crate) fn expires(self, mtime: SystemTime) -> Option<SystemTime> {
        match self {
            Retention::Days(days) => mtime.checked_add(DAY * days),
            Retention::Never => None,
        }
    }

    /// Returns the days that are left, begun ones included: from all of them down to 0.
    pub(crate) fn remaining_days(self, mtime: SystemTime, now: SystemTime) -> Option<u32> {
        let Retention::Days(days) = self else { return None };
        let left = self.expires(mtime)?.duration_since(now).unwrap_or_default();
        let begun = left.as_nanos().div_ceil(DAY.as_nanos());
        Some(begun.min(u128::from(days)) as u32)
    }

    pub(crate) fn has_expired(self, mtime: SystemTime, now: SystemTime) -> bool {
        self.remaining_days(mtime, now) == Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_down_from_thirty() {
        let made = SystemTime::UNIX_EPOCH + DAY * 20_000;
        let after = |age: Duration| Retention::Days(30).remaining_days(made, made + age).unwrap();
        assert_eq!(after(Duration::ZERO), 30);
        assert_eq!(after(Duration::from_nanos(1)), 30);
        assert_eq!(after(DAY), 29);
        assert_eq!(after(DAY * 29), 1);
        assert_eq!(after(DAY * 30 - Duration::from_secs(1)), 1);
        assert_eq!(after(DAY * 30), 0);
        assert_eq!(after(DAY * 3000), 0);
        // A clock that is behind does not give more than all days.
        assert_eq!(Retention::Days(30).remaining_days(made, made - DAY * 100), Some(30));
        assert!(!Retention::Never.has_expired(made, made + DAY * 10_000));
    }
}
