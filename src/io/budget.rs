//! A limit for the memory that several users hold together.

use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Frees some memory that is only cached; returns false if there is none.
type Reclaim = dyn Fn() -> bool + Send + Sync;

/// Time between two attempts of a waiting share to reclaim memory.
const RETRY: Duration = Duration::from_millis(5);

pub struct Budget {
    limit: usize,
    held: Mutex<usize>,
    given_back: Condvar,
    reclaim: Box<Reclaim>,
}

/// Bytes taken from a budget, given back on drop.
pub struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// `reclaim` is called, with no lock held, when bytes are wanted and too few are left.
    pub(crate) fn new(limit: usize, reclaim: impl Fn() -> bool + Send + Sync + 'static) -> Arc<Budget> {
        let (held, given_back) = Default::default();
        Arc::new(Budget { limit, held, given_back, reclaim: Box::new(reclaim) })
    }

    /// Returns a budget without a limit.
    pub fn unlimited() -> Arc<Budget> {
        Budget::new(usize::MAX, || false)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        *self.held.lock()
    }

    /// Returns a share of nothing, which can grow.
    pub(crate) fn share(self: &Arc<Budget>) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }

    /// Replaces `old` bytes by `new`, if there is room.
    fn replace(&self, old: usize, new: usize) -> bool {
        let mut held = self.held.lock();
        match (*held - old).checked_add(new).filter(|&all| all <= self.limit || new <= old) {
            Some(all) => *held = all,
            None => return false,
        }
        if new < old {
            self.given_back.notify_all();
        }
        true
    }
}

impl Share {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes its size if the budget has room; nothing is reclaimed.
    pub(crate) fn try_resize(&mut self, bytes: usize) -> bool {
        let done = self.budget.replace(self.bytes, bytes);
        if done {
            self.bytes = bytes;
        }
        done
    }

    /// Changes its size. As long as the budget lacks room, cached memory is reclaimed, and other shares may give some
    /// back; returns false after `patience`.
    pub(crate) fn resize(&mut self, bytes: usize, patience: Duration) -> bool {
        let started = Instant::now();
        loop {
            if self.try_resize(bytes) {
                return true;
            }
            let reclaimed = (self.budget.reclaim)();
            if self.try_resize(bytes) {
                return true;
            }
            if bytes > self.budget.limit || (!reclaimed && started.elapsed() >= patience) {
                return false;
            }
            // Memory that a thread holds is given back only when the thread ends.
            let mut held = self.budget.held.lock();
            self.budget.given_back.wait_for(&mut held, RETRY);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.replace(self.bytes, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_held_than_the_limit_and_what_is_dropped_is_there_again() {
        let budget = Budget::new(10, || false);
        let (mut a, mut b) = (budget.share(), budget.share());
        assert!(a.try_resize(6) && !b.try_resize(5) && b.try_resize(4));
        assert!(!a.resize(usize::MAX, Duration::ZERO) && a.bytes() == 6);
        assert!(a.try_resize(1) && b.try_resize(9));
        drop(b);
        assert_eq!(budget.held(), 1);
    }

    #[test]
    fn what_is_only_kept_makes_room_for_what_is_wanted() {
        let kept = Arc::new(Mutex::new(Vec::<Share>::new()));
        let shares = kept.clone();
        let budget = Budget::new(10, move || {
            let oldest = shares.lock().pop();
            oldest.is_some()
        });
        for _ in 0..5 {
            let mut share = budget.share();
            assert!(share.try_resize(2));
            kept.lock().push(share);
        }
        assert!(budget.share().resize(5, Duration::ZERO));
        assert_eq!(kept.lock().len(), 2);
    }

    #[test]
    fn who_waits_gets_what_another_gives_back() {
        let budget = Budget::new(10, || false);
        let mut first = budget.share();
        assert!(first.try_resize(8));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| budget.share().resize(5, Duration::from_secs(20)));
            drop(first);
            assert!(waiting.join().unwrap());
        });
    }
}
