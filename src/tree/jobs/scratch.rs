//! The memory of what is being written in `jobs/`: specs, and temporary files that editors make beside a job.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Kind, Result};

/// Bytes of all texts together.
const MAX_BYTES: usize = 16 << 20;
/// Further bytes for small specs, so that whoever writes much does not keep others from handing in.
const RESERVE: usize = 4 << 20;
/// A spec is small up to this length.
const SMALL: usize = 16 << 10;
/// Temporary files, at most.
pub(crate) const MAX_FILES: usize = 256;

pub(crate) fn no_space() -> Error {
    let text = "too much is being written in jobs/ at the same time, or there are too many temporary files";
    Error::new(Kind::Os(libc::ENOSPC), text)
}

/// The bytes that all texts take together.
#[derive(Default)]
pub(crate) struct WriteBudget(AtomicUsize);

/// The bytes that one text takes; given back when this is dropped.
pub(crate) struct WriteShare {
    budget: Arc<WriteBudget>,
    bytes: usize,
    is_spec: bool,
}

impl WriteShare {
    /// For a temporary file.
    pub(crate) fn of(budget: &Arc<WriteBudget>) -> WriteShare {
        WriteShare { budget: budget.clone(), bytes: 0, is_spec: false }
    }

    pub(crate) fn of_spec(budget: &Arc<WriteBudget>) -> WriteShare {
        WriteShare { budget: budget.clone(), bytes: 0, is_spec: true }
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

impl Drop for WriteShare {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let budget = Arc::new(WriteBudget::default());
        let mut one = WriteShare::of(&budget);
        one.resize(MAX_BYTES - 1).unwrap();
        let mut other = WriteShare::of(&budget);
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
        let budget = Arc::new(WriteBudget::default());
        let mut hoarders: Vec<WriteShare> = (0..100).map(|_| WriteShare::of_spec(&budget)).collect();
        let taken = hoarders.iter_mut().filter_map(|share| share.resize(1 << 20).ok()).count();
        assert_eq!(taken, MAX_BYTES >> 20);
        let mut small = WriteShare::of_spec(&budget);
        small.resize(SMALL).unwrap();
        assert!(small.resize(SMALL + 1).is_err() && WriteShare::of(&budget).resize(1).is_err());
        small.resize(SMALL - 1).unwrap();
        drop(hoarders);
        small.resize(1 << 20).unwrap();
    }
}
