//! Temporary files that editors make beside a job: in memory only, and not much of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Kind, Result};

/// Bytes of all of them.
const MAX_BYTES: usize = 16 << 20;
pub const MAX_FILES: usize = 256;

pub fn no_space() -> Error {
    Error::new(Kind::Os(libc::ENOSPC), "there are too many temporary files in jobs/, or too large ones")
}

/// What all temporary files take together.
#[derive(Default)]
pub struct Budget(AtomicUsize);

/// What one of them takes; given back when it is dropped.
pub struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Share {
    pub fn of(budget: &Arc<Budget>) -> Share {
        Share { budget: budget.clone(), bytes: 0 }
    }

    pub fn resize(&mut self, bytes: usize) -> Result<()> {
        let more = bytes.saturating_sub(self.bytes);
        let fits = |used: usize| used.checked_add(more).filter(|&used| used <= MAX_BYTES);
        let total = &self.budget.0;
        total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).map_err(|_| no_space())?;
        total.fetch_sub(self.bytes.saturating_sub(bytes), Ordering::Relaxed);
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let budget = Arc::new(Budget::default());
        let mut one = Share::of(&budget);
        one.resize(MAX_BYTES - 1).unwrap();
        let mut other = Share::of(&budget);
        assert_eq!(other.resize(2).unwrap_err().errno(), libc::ENOSPC);
        assert!(other.resize(usize::MAX).is_err());
        other.resize(1).unwrap();
        one.resize(5).unwrap();
        other.resize(MAX_BYTES - 5).unwrap();
        drop(other);
        one.resize(MAX_BYTES).unwrap();
    }
}
