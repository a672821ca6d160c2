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
