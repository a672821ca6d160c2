//! Whether the time of day may be believed when something is to be deleted for ever.
//!
//! A clock that is put forward by mistake (a flat battery, a wrong time server) makes everything look expired. So
//! after a step nothing is deleted for a while, and not at all if the clock is put back meanwhile. A step shows in
//! the difference between the time of day and the time that has passed, while the process lives.

use std::time::{Duration, SystemTime};

use crate::store::clock::Clock;

/// Smaller steps are those of time servers, or of a machine that slept.
const STEP: Duration = Duration::from_secs(60 * 60);
/// How long a clock that was put forward is not believed.
const DOUBT: Duration = Duration::from_secs(60 * 60);

pub struct Stepping {
    last: (Duration, SystemTime),
    /// Until then, in time that has passed.
    doubted_until: Option<Duration>,
}

impl Stepping {
    pub fn new(clock: &dyn Clock) -> Stepping {
        Stepping { last: (clock.passed(), clock.now()), doubted_until: None }
    }

    /// Compares the clocks; false for a while after a step forward.
    pub fn is_trusted(&mut self, clock: &dyn Clock) -> bool {
        let (passed, now) = (clock.passed(), clock.now());
        let expected = self.last.1 + passed.saturating_sub(self.last.0);
        self.last = (passed, now);
        if now.duration_since(expected).is_ok_and(|ahead| ahead > STEP) {
            log::warn!("the clock was put forward: nothing is deleted for {} minutes", DOUBT.as_secs() / 60);
            self.doubted_until = Some(passed + DOUBT);
        } else if expected.duration_since(now).is_ok_and(|behind| behind > STEP) {
            self.doubted_until = None;
        }
        self.doubted_until.is_none_or(|until| passed >= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    struct Fake(Mutex<(Duration, SystemTime)>);

    impl Clock for Fake {
        fn now(&self) -> SystemTime {
            self.0.lock().1
        }

        fn passed(&self) -> Duration {
            self.0.lock().0
        }
    }

    #[test]
    fn a_step_forward_is_doubted_for_an_hour_or_until_it_is_taken_back() {
        const DAY: Duration = Duration::from_secs(86400);
        let clock = Fake(Mutex::new((Duration::ZERO, SystemTime::UNIX_EPOCH + DAY * 20_000)));
        let pass = |time: Duration| {
            let mut both = clock.0.lock();
            both.0 += time;
            both.1 += time;
        };
        let mut stepping = Stepping::new(&clock);
        pass(DAY * 40);
        assert!(stepping.is_trusted(&clock), "time that has passed is no step");
        clock.0.lock().1 += DAY * 40;
        assert!(!stepping.is_trusted(&clock));
        pass(DOUBT / 2);
        assert!(!stepping.is_trusted(&clock));
        pass(DOUBT);
        assert!(stepping.is_trusted(&clock));
        clock.0.lock().1 += DAY * 40;
        assert!(!stepping.is_trusted(&clock));
        clock.0.lock().1 -= DAY * 40;
        assert!(stepping.is_trusted(&clock));
    }
}
