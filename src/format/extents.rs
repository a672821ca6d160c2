//! Logical to physical offsets over many pieces, most of them alike.
//!
//! Base64 lines and BER segments are the same thing here: payloads with something between them.
//!
//! ```text
//! physical   [hdr][payload 0][hdr][payload 1][hdr][payload 2] ...
//!                 ^ physical      ^ + stride      ^ + 2 * stride
//! logical         [payload 0][payload 1][payload 2] ...
//! ```

use crate::error::{Error, Kind, Result};

/// More runs than this (40 bytes each) come from no real producer; they would only eat memory.
const MAX_RUNS: usize = 1 << 18;

/// `count` payloads of `len` bytes each, `stride` bytes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    logical: u64,
    physical: u64,
    len: u64,
    stride: u64,
    count: u64,
}

impl Run {
    fn logical_end(&self) -> u64 {
        self.logical + self.len * self.count
    }
}

/// A stretch of payload that is contiguous in both numberings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub physical: u64,
    pub len: u64,
    /// Index of the run that the piece belongs to.
    pub(crate) run: usize,
    /// Physical position of the beginning of the payload that the piece is part of.
    pub(crate) payload: u64,
}

/// The map; payloads are added in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extents {
    runs: Vec<Run>,
}

impl Extents {
    /// One run of equal payloads.
    pub(crate) fn regular(physical: u64, len: u64, stride: u64, count: u64) -> Result<Extents> {
        let payloads = len.checked_mul(count);
        let end = stride.checked_mul(count).and_then(|all| all.checked_add(physical));
        if payloads.is_none() || end.is_none() {
            return Err(Error::damaged("lines or segments that would end beyond 2^64"));
        }
        let runs = match payloads {
            Some(0) => Vec::new(),
            _ => vec![Run { logical: 0, physical, len, stride, count }],
        };
        Ok(Extents { runs })
    }

    /// Adds the next payload, which begins behind the last one; empty ones are left out.
    pub(crate) fn push(&mut self, physical: u64, len: u64) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        if physical.checked_add(len).is_none() || self.len().checked_add(len).is_none() {
            return Err(Error::damaged("lines or segments that would end beyond 2^64"));
        }
        if let Some(run) = self.runs.last_mut().filter(|run| run.len == len) {
            let last = run.physical + run.stride * (run.count - 1);
            let Some(step) = physical.checked_sub(last) else {
                return Err(Error::damaged("lines or segments that overlap"));
            };
            if run.count == 1 || run.stride == step {
                run.stride = step;
                run.count += 1;
                return Ok(());
            }
        }
        if self.runs.len() == MAX_RUNS {
            return Err(Error::new(
                Kind::Unsupported,
                format!("more than {MAX_RUNS} changes of line or segment length"),
            ));
        }
        let logical = self.len();
        self.runs.push(Run { logical, physical, len, stride: len, count: 1 });
        Ok(())
    }

    /// Bytes of memory that it takes.
    pub(crate) fn memory(&self) -> usize {
        self.runs.capacity() * size_of::<Run>()
    }

    /// Returns the sum of all payloads.
    pub(crate) fn len(&self) -> u64 {
        self.runs.last().map_or(0, Run::logical_end)
    }

    /// Returns the pieces that make up the logical range, in order; the range is cut off at the end.
    pub fn pieces(&self, offset: u64, len: u64) -> impl Iterator<Item = Piece> + '_ {
        let end = offset.saturating_add(len).min(self.len());
        let mut at = offset;
        let mut i = self.runs.partition_point(|run| run.logical_end() <= offset);
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            if self.runs[i].logical_end() <= at {
                i += 1;
            }
            let run = &self.runs[i];
            let (nth, within) = ((at - run.logical) / run.len, (at - run.logical) % run.len);
            let payload = run.physical + nth * run.stride;
            let len = (run.len - within).min(end - at);
            at += len;
            Some(Piece { physical: payload + within, len, run: i, payload })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_payloads_become_one_run() {
        let mut extents = Extents::default();
        for i in 0..1000 {
            extents.push(4 + i * 1004, 1000).unwrap();
        }
        extents.push(4 + 1000 * 1004, 17).unwrap();
        assert_eq!(extents.runs.len(), 2);
        assert_eq!(extents.len(), 1_000_017);
    }

    proptest! {
        #[test]
        fn pieces_equal_the_naive_map(gaps in proptest::collection::vec((0u64..3, 0u64..5), 0..60),
                                      offset in 0u64..200, len in 0u64..200) {
            let (mut extents, mut naive, mut at) = (Extents::default(), Vec::new(), 0);
            for (gap, len) in gaps {
                at += gap + 1;
                extents.push(at, len).unwrap();
                naive.extend(at..at + len);
                at += len;
            }
            prop_assert_eq!(extents.len(), naive.len() as u64);
            let got: Vec<u64> = extents.pieces(offset, len).flat_map(|p| p.physical..p.physical + p.len).collect();
            let from = (offset as usize).min(naive.len());
            let to = (from + len as usize).min(naive.len());
            prop_assert_eq!(got, &naive[from..to]);
        }
    }
}
