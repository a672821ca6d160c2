//! How long an export is kept, counted from its modification time.

use std::time::{Duration, SystemTime};

/// Retention unless a store says otherwise, in days.
pub const DEFAULT_DAYS: u32 = 30;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns the instant at which something of that modification time expires.
pub fn expires(mtime: SystemTime, days: u32) -> SystemTime {
    mtime + DAY * days
}

/// Returns the days that are left, begun ones included: from `days` down to 0.
pub fn remaining_days(mtime: SystemTime, days: u32, now: SystemTime) -> u32 {
    let left = expires(mtime, days).duration_since(now).unwrap_or_default();
    let begun = left.as_nanos().div_ceil(DAY.as_nanos());
    (begun as u32).min(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_down_from_thirty() {
        let made = SystemTime::UNIX_EPOCH + DAY * 20_000;
        let after = |age: Duration| remaining_days(made, 30, made + age);
        assert_eq!(after(Duration::ZERO), 30);
        assert_eq!(after(Duration::from_nanos(1)), 30);
        assert_eq!(after(DAY), 29);
        assert_eq!(after(DAY * 29), 1);
        assert_eq!(after(DAY * 30 - Duration::from_secs(1)), 1);
        assert_eq!(after(DAY * 30), 0);
        assert_eq!(after(DAY * 3000), 0);
        // A clock that is behind does not give more than all days.
        assert_eq!(remaining_days(made, 30, made - DAY * 100), 30);
    }
}
