//! Permits: whether a change that was asked for may still be made.
//!
//! A request waits for a bounded time. Whatever makes the change takes the permit at the last moment, just before the
//! change counts; whatever answers that time is up revokes it. Exactly one of the two succeeds, so that what was
//! refused is never done.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::error::{Error, Kind, Result};

const OPEN: u8 = 0;
const TAKEN: u8 = 1;
const REVOKED: u8 = 2;

#[derive(Debug, Default)]
pub struct Permit(AtomicU8);

thread_local! {
    /// The permit of the request that this thread works for.
    static CURRENT: RefCell<Option<Arc<Permit>>> = const { RefCell::new(None) };
}

impl Permit {
    /// Returns true unless it was revoked before.
    fn take(&self) -> bool {
        let before = self.0.compare_exchange(OPEN, TAKEN, Ordering::AcqRel, Ordering::Acquire);
        before.is_ok() || before == Err(TAKEN)
    }

    /// Returns true unless it was taken before.
    pub fn revoke(&self) -> bool {
        let before = self.0.compare_exchange(OPEN, REVOKED, Ordering::AcqRel, Ordering::Acquire);
        before.is_ok() || before == Err(REVOKED)
    }

    fn is_revoked(&self) -> bool {
        self.0.load(Ordering::Acquire) == REVOKED
    }
}

/// Calls `work` under this permit; without one everything may be done.
pub fn with_permit<T>(permit: Option<Arc<Permit>>, work: impl FnOnce() -> T) -> T {
    /// Restores the permit that was there before, even if the work panics.
    struct Before(Option<Arc<Permit>>);
    impl Drop for Before {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let _before = Before(CURRENT.replace(permit));
    work()
}

/// Fails if nobody waits for this thread's work any more.
pub fn check_permit() -> Result<()> {
    fail_unless(CURRENT.with_borrow(|permit| permit.as_ref().is_none_or(|permit| !permit.is_revoked())))
}

/// Takes the permit of this thread: from now on its change can no longer be refused.
pub fn take_permit() -> Result<()> {
    fail_unless(CURRENT.with_borrow(|permit| permit.as_ref().is_none_or(|permit| permit.take())))
}

fn fail_unless(allowed: bool) -> Result<()> {
    if allowed { Ok(()) } else { Err(Error::new(Kind::TimedOut, "it has taken too long and is not done")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_is_taken_or_revoked_but_not_both() {
        let (taken, revoked) = (Arc::new(Permit::default()), Arc::new(Permit::default()));
        with_permit(Some(taken.clone()), || {
            assert!(check_permit().is_ok() && take_permit().is_ok() && take_permit().is_ok());
        });
        assert!(!taken.revoke());
        assert!(revoked.revoke() && revoked.revoke());
        with_permit(Some(revoked), || {
            assert_eq!(take_permit().unwrap_err().errno(), libc::ETIMEDOUT);
            assert!(with_permit(None, take_permit).is_ok(), "what is done for nobody is always allowed");
            assert!(check_permit().is_err());
        });
        assert!(take_permit().is_ok());
    }
}
