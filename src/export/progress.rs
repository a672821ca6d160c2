//! How far a run has come, and how long it will still take.

use std::collections::VecDeque;
use std::time::Duration;

use crate::store::catalogue::Progress;

/// The rate is measured over this time.
const WINDOW: Duration = Duration::from_secs(20);
/// A rate that is measured over less time than this is not used.
const FIRST: Duration = Duration::from_millis(1500);
/// Samples are at least this far apart.
const STEP: Duration = Duration::from_millis(250);

/// Estimates the time that is left from a sliding window.
pub(crate) struct Estimate {
    total: u64,
    /// When, and how many rows were done; the oldest first.
    samples: VecDeque<(Duration, u64)>,
}

impl Estimate {
    /// `started` is the time, as [`Clock::passed`](crate::store::clock::Clock::passed) counts it, before the first row.
    pub(crate) fn new(total: u64, started: Duration) -> Estimate {
        Estimate { total, samples: VecDeque::from([(started, 0)]) }
    }

    /// Returns the progress after `done` rows and `bytes_written` bytes.
    pub(crate) fn progress(&mut self, passed: Duration, done: u64, bytes_written: u64) -> Progress {
        if self.samples.back().is_none_or(|(last, _)| passed.saturating_sub(*last) >= STEP) {
            self.samples.push_back((passed, done));
        }
        // The oldest sample stays just outside the window.
        while self.samples.len() > 2 && passed.saturating_sub(self.samples[1].0) >= WINDOW {
            self.samples.pop_front();
        }
        Progress {
            rows_done: done,
            rows_total: self.total,
            bytes_written,
            eta_seconds: self.eta(passed, done),
        }
    }

    fn eta(&self, passed: Duration, done: u64) -> Option<u64> {
        let (from, before) = *self.samples.front()?;
        let span = passed.saturating_sub(from);
        let rows = done.saturating_sub(before);
        if span < FIRST || rows == 0 {
            return None;
        }
        let left = self.total.saturating_sub(done) as f64;
        Some((left * span.as_secs_f64() / rows as f64).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_run_is_estimated_right_and_a_slower_one_soon() {
        let at = Duration::from_secs_f64;
        let mut estimate = Estimate::new(1_000_000, at(5.0));
        assert_eq!(estimate.progress(at(5.1), 500, 0).eta_seconds, None, "too early to tell");
        let mut last = Progress::default();
        for tick in 0..=250u32 {
            last = estimate.progress(at(5.0 + f64::from(tick) * 0.1), u64::from(tick) * 1000, 0);
        }
        assert!((74..=76).contains(&last.eta_seconds.unwrap()), "{last:?}");
        // From here on it is ten times slower.
        for tick in 0..=250u32 {
            last = estimate.progress(at(30.0 + f64::from(tick) * 0.1), 250_000 + u64::from(tick) * 100, 0);
        }
        assert!((720..=730).contains(&last.eta_seconds.unwrap()), "{last:?}");
        assert!(estimate.samples.len() < 100);
    }
}
