//! What is being written in `jobs/`: specs, and temporary files that editors make beside a job. In memory only, and not much
//! of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Kind, Result};

/// Bytes of all of them.
const MAX_BYTES: usize = 16 << 20;
/// More bytes, for small specs: so that whoever writes much does not keep others from handing in.
const RESERVE: usize = 4 << 20;
/// A spec is small up to this length.
const SMALL: usize = 16 << 10;
/// Temporary files.
pub(crate) const MAX_FILES: usize = 256;

pub(crate) fn no_space() -> Error {
    let text = "too much is being written in jobs/ at the same time, or there are too many temporary files";
    Error::new(Kind::Os(libc::ENOSPC), text)
}

/// What all of them take together.
#[derive(Default)]
pub(crate) struct Budget(AtomicUsize);

/// What one of them takes; given back when it is dropped.
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
    is_spec: bool,
}

impl Share {
    /// For a temporary file.
    pub(crate) fn of(budget: &Arc<Budget>) -> Share {
        Share { budget: budget.clone(), bytes: 0, is_spec: false }
    }

    pub(crate) fn of_spec(budget: &Arc<Budget>) -> Share {
        Share { budget: budget.clone(), bytes: 0, is_spec: true }
    }

    pub(crate) fn resize(&mut self, bytes: usize) -> Result<()> {
        let total = &self.budget.0;
        if let Some(more) = bytes.checked_sub(self.bytes).filter(|&more| more > 0) {
            let limit = if self.is_spec && bytes <= SMALL { MAX_BYTES + RESERVE } else { MAX_BYTES };
            let fits = |used: usize| used.checked_add(more).filter(|&used| used <= limit);
            total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).map_err(|_| no_space())?;
        }
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

    #[test]
    fn a_small_spec_gets_in_when_others_write_much() {
        let budget = Arc::new(Budget::default());
        let mut hoarders: Vec<Share> = (0..100).map(|_| Share::of_spec(&budget)).collect();
        let taken = hoarders.iter_mut().filter_map(|share| share.resize(1 << 20).ok()).count();
        assert_eq!(taken, MAX_BYTES >> 20);
        let mut small = Share::of_spec(&budget);
        small.resize(SMALL).unwrap();
        assert!(small.resize(SMALL + 1).is_err() && Share::of(&budget).resize(1).is_err());
        small.resize(SMALL - 1).unwrap();
        drop(hoarders);
        small.resize(1 << 20).unwrap();
    }
}
