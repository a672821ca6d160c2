//! Whether the time of day may be believed when something is to be deleted for ever.
//!
//! A clock that is wrong (a flat battery, no time server yet, a slip of somebody's hand) makes everything look expired.
//! So it has to be confirmed: at the start by a time of day that was believed before and is not far back, or else by
//! running for a while without a step. After a step forward it is doubted again, until it is put back or has run on
//! for a while. A step shows in the difference between the time of day and the time that has passed.

use std::time::{Duration, SystemTime};

use crate::store::clock::Clock;

/// Smaller steps are those of time servers, or of a machine that slept.
const STEP: Duration = Duration::from_secs(60 * 60);
/// How long a clock that is doubted has to run.
const DOUBT: Duration = Duration::from_secs(60 * 60);

pub(crate) struct Stepping {
    /// When the time of day was believed last, in time that has passed, and what it was.
    believed: Option<(Duration, SystemTime)>,
    /// When it was looked at last, and what it was.
    last: (Duration, SystemTime),
    /// Since when it has run without a step, in time that has passed.
    steady_since: Duration,
    is_confirmed: bool,
}

impl Stepping {
    /// `confirmed` is the time of day that was believed last, in whatever process.
    pub(crate) fn new(clock: &dyn Clock, confirmed: Option<SystemTime>) -> Stepping {
        let (passed, now) = (clock.passed(), clock.now());
        let believed = confirmed.map(|then| (passed, then));
        Stepping { believed, last: (passed, now), steady_since: passed, is_confirmed: false }
    }

    /// Compares the clocks; false while the time of day is doubted. One that is behind deletes nothing too early.
    pub(crate) fn is_trusted(&mut self, clock: &dyn Clock) -> bool {
        let (passed, now) = (clock.passed(), clock.now());
        if is_ahead(self.last, (passed, now)) || is_ahead((passed, now), self.last) {
            self.steady_since = passed;
            log::warn!(
                "the clock was set: it is believed again when it has run for {} minutes, unless it is right",
                DOUBT.as_secs() / 60
            );
        }
        self.last = (passed, now);
        let is_not_ahead = self.believed.is_some_and(|then| !is_ahead(then, (passed, now)));
        let is_behind = self.believed.is_some_and(|then| is_ahead((passed, now), then));
        let is_steady = passed.saturating_sub(self.steady_since) >= DOUBT;
        self.is_confirmed = is_steady || (is_not_ahead && !is_behind);
        if self.is_confirmed {
            self.believed = Some((passed, now));
        }
        is_not_ahead || is_steady
    }

    /// Returns true if the time of day, when it was looked at last, was one to compare others with: not one that is behind.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.is_confirmed
    }
}

/// Returns true if the time of day at `to` is later than what has passed since `from` explains, or, with both the other
/// way round, earlier.
fn is_ahead(from: (Duration, SystemTime), to: (Duration, SystemTime)) -> bool {
    let forward = to.0.saturating_sub(from.0);
    let backward = from.0.saturating_sub(to.0);
    let ahead = (to.1 + backward).duration_since(from.1 + forward);
    ahead.is_ok_and(|ahead| ahead > STEP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    const DAY: Duration = Duration::from_secs(86400);

    struct Fake(Mutex<(Duration, SystemTime)>);

    impl Fake {
        fn new() -> Fake {
            Fake(Mutex::new((Duration::ZERO, SystemTime::UNIX_EPOCH + DAY * 20_000)))
        }

        fn pass(&self, time: Duration) {
            let mut both = self.0.lock();
            both.0 += time;
            both.1 += time;
        }
    }

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
        let clock = Fake::new();
        let mut stepping = Stepping::new(&clock, Some(clock.now()));
        clock.pass(DAY * 40);
        assert!(stepping.is_trusted(&clock), "time that has passed is no step");
        clock.0.lock().1 += DAY * 40;
        assert!(!stepping.is_trusted(&clock));
        clock.pass(DOUBT / 2);
        assert!(!stepping.is_trusted(&clock));
        clock.pass(DOUBT);
        assert!(stepping.is_trusted(&clock));
        clock.0.lock().1 += DAY * 40;
        assert!(!stepping.is_trusted(&clock));
        clock.0.lock().1 -= DAY * 5;
        assert!(!stepping.is_trusted(&clock), "it is still ahead");
        clock.0.lock().1 -= DAY * 35;
        assert!(stepping.is_trusted(&clock));
    }

    #[test]
    fn a_clock_at_the_start_is_believed_if_it_was_just_so_or_has_run_for_an_hour() {
        let clock = Fake::new();
        let is_trusted = |confirmed| Stepping::new(&clock, confirmed).is_trusted(&clock);
        assert!(is_trusted(Some(clock.now() - STEP)));
        assert!(is_trusted(Some(clock.now() + DAY * 400)), "behind");
        assert!(!is_trusted(Some(clock.now() - STEP * 2)));
        assert!(!is_trusted(None));
        let mut stepping = Stepping::new(&clock, None);
        clock.pass(DOUBT - Duration::from_secs(1));
        assert!(!stepping.is_trusted(&clock));
        clock.pass(Duration::from_secs(1));
        assert!(stepping.is_trusted(&clock));
    }
}
