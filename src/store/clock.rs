//! The time, as something that tests can set.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Tells the time of day, which can be set and may jump, and the time that has passed, which cannot.
pub trait Clock: Send + Sync {
    fn now(&self) -> SystemTime;

    /// Time since some moment that stays the same as long as the process lives.
    fn passed(&self) -> Duration;
}

/// The clock of the machine.
pub struct SystemClock(Instant);

impl SystemClock {
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(SystemClock(Instant::now()))
    }
}

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn passed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Returns an instant as milliseconds since 1970, UTC.
pub(crate) fn to_ms(instant: SystemTime) -> i64 {
    let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    match instant.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => ms(after),
        Err(before) => -ms(before.duration()),
    }
}

/// Returns an instant; `None` for one outside of the calendar (the years -9999 to 9999).
pub(crate) fn from_ms(ms: i64) -> Option<SystemTime> {
    jiff::Timestamp::from_millisecond(ms).ok().map(SystemTime::from)
}
