//! Whether the time of day can be trusted for deleting what has expired.
//!
//! A clock that is wrong (a flat battery, no time server yet, a slip of the hand) makes everything look expired. So it
//! has to be confirmed: at the start by a time of day that was believed before and is not long ago, or else by running
//! for a while without a step. After a step forward it is doubted, until it is set back or has run for a while. A step
//! shows in the difference between the time of day and the time that has passed.

use std::time::{Duration, SystemTime};

use crate::store::clock::Clock;

/// Smaller steps are normal: time servers make them, and machines that sleep.
const STEP: Duration = Duration::from_secs(60 * 60);
/// How long a clock that is doubted has to run without a step.
const DOUBT: Duration = Duration::from_secs(60 * 60);

pub(crate) struct ClockTrust {
    /// When the time of day was believed last, in time that has passed, and what it was.
    believed: Option<(Duration, SystemTime)>,
    /// When it was looked at last, and what it was.
    last: (Duration, SystemTime),
    /// Since when it has run without a step, in time that has passed.
    steady_since: Duration,
    is_confirmed: bool,
}

impl ClockTrust {
    /// `confirmed` is the time of day that was believed last, in whatever process.
    pub(crate) fn new(clock: &dyn Clock, confirmed: Option<SystemTime>) -> ClockTrust {
        let (passed, now) = (clock.passed(), clock.now());
        let believed = confirmed.map(|then| (passed, then));
        ClockTrust { believed, last: (passed, now), steady_since: passed, is_confirmed: false }
    }

    /// Compares the clocks; returns false while the time of day is doubted. A clock that is behind is trusted: it
    /// deletes nothing too early.
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

    /// Returns true if the time of day at the last look can confirm later ones: it is trusted, and not behind.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.is_confirmed
    }
}

/// Returns true if the time of day at `to` is later than the time that has passed since `from` explains. With the
/// arguments swapped it tells whether it is earlier.
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
        let mut trust = ClockTrust::new(&clock, Some(clock.now()));
        clock.pass(DAY * 40);
        assert!(trust.is_trusted(&clock), "time that has passed is no step");
        clock.0.lock().1 += DAY * 40;
        assert!(!trust.is_trusted(&clock));
        clock.pass(DOUBT / 2);
        assert!(!trust.is_trusted(&clock));
        clock.pass(DOUBT);
        assert!(trust.is_trusted(&clock));
        clock.0.lock().1 += DAY * 40;
        assert!(!trust.is_trusted(&clock));
        clock.0.lock().1 -= DAY * 5;
        assert!(!trust.is_trusted(&clock), "it is still ahead");
        clock.0.lock().1 -= DAY * 35;
        assert!(trust.is_trusted(&clock));
    }

    #[test]
    fn a_clock_at_the_start_is_believed_if_it_was_just_so_or_has_run_for_an_hour() {
        let clock = Fake::new();
        let is_trusted = |confirmed| ClockTrust::new(&clock, confirmed).is_trusted(&clock);
        assert!(is_trusted(Some(clock.now() - STEP)));
        assert!(is_trusted(Some(clock.now() + DAY * 400)), "behind");
        assert!(!is_trusted(Some(clock.now() - STEP * 2)));
        assert!(!is_trusted(None));
        let mut trust = ClockTrust::new(&clock, None);
        clock.pass(DOUBT - Duration::from_secs(1));
        assert!(!trust.is_trusted(&clock));
        clock.pass(Duration::from_secs(1));
        assert!(trust.is_trusted(&clock));
    }
}
