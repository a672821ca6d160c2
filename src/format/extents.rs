//! Logical to physical offsets over many payloads, most of them alike.
//!
//! Base64 lines and BER segments are the same thing here: payloads with something between them.
//!
//! ```text
//! physical   [hdr][payload 0][hdr][payload 1][hdr][payload 2] ...
//!                 ^ physical      ^ + stride      ^ + 2 * stride
//! logical         [payload 0][payload 1][payload 2] ...
//! ```

use crate::error::{Error, Kind, Result};

/// More series than this (40 bytes each) come from no real producer and would only take memory.
const MAX_SERIES: usize = 1 << 18;

/// `count` payloads of `len` bytes each, `stride` bytes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Series {
    logical: u64,
    physical: u64,
    len: u64,
    stride: u64,
    count: u64,
}

impl Series {
    fn logical_end(&self) -> u64 {
        self.logical + self.len * self.count
    }
}

/// A stretch of payload that is contiguous in both numberings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub physical: u64,
    pub len: u64,
    /// Index of the series that the extent belongs to.
    pub(crate) series: usize,
    /// Physical position of the beginning of the payload that the extent is part of.
    pub(crate) payload: u64,
}

/// The map from logical to physical offsets; payloads are added in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extents {
    series: Vec<Series>,
}

impl Extents {
    /// One series of equal payloads.
    pub(crate) fn regular(physical: u64, len: u64, stride: u64, count: u64) -> Result<Extents> {
        let payloads = len.checked_mul(count);
        let end = stride.checked_mul(count).and_then(|all| all.checked_add(physical));
        if payloads.is_none() || end.is_none() {
            return Err(Error::damaged("lines or segments that would end beyond 2^64"));
        }
        let series = match payloads {
            Some(0) => Vec::new(),
            _ => vec![Series { logical: 0, physical, len, stride, count }],
        };
        Ok(Extents { series })
    }

    /// Adds the next payload, which begins after the last one; empty ones are left out.
    pub(crate) fn push(&mut self, physical: u64, len: u64) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        if physical.checked_add(len).is_none() || self.len().checked_add(len).is_none() {
            return Err(Error::damaged("lines or segments that would end beyond 2^64"));
        }
        if let Some(series) = self.series.last_mut().filter(|series| series.len == len) {
            let last = series.physical + series.stride * (series.count - 1);
            let Some(step) = physical.checked_sub(last) else {
                return Err(Error::damaged("lines or segments that overlap"));
            };
            if series.count == 1 || series.stride == step {
                series.stride = step;
                series.count += 1;
                return Ok(());
            }
        }
        if self.series.len() == MAX_SERIES {
            return Err(Error::new(
                Kind::Unsupported,
                format!("more than {MAX_SERIES} changes of line or segment length"),
            ));
        }
        let logical = self.len();
        self.series.push(Series { logical, physical, len, stride: len, count: 1 });
        Ok(())
    }

    /// Bytes of memory that the map takes.
    pub(crate) fn memory(&self) -> usize {
        self.series.capacity() * size_of::<Series>()
    }

    /// Returns the length of all payloads together.
    pub(crate) fn len(&self) -> u64 {
        self.series.last().map_or(0, Series::logical_end)
    }

    /// Returns the extents that make up the logical range, in order; the range is cut off at the end.
    pub fn range(&self, offset: u64, len: u64) -> impl Iterator<Item = Extent> + '_ {
        let end = offset.saturating_add(len).min(self.len());
        let mut at = offset;
        let mut i = self.series.partition_point(|series| series.logical_end() <= offset);
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            if self.series[i].logical_end() <= at {
                i += 1;
            }
            let series = &self.series[i];
            let (nth, within) = ((at - series.logical) / series.len, (at - series.logical) % series.len);
            let payload = series.physical + nth * series.stride;
            let len = (series.len - within).min(end - at);
            at += len;
            Some(Extent { physical: payload + within, len, series: i, payload })
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
        assert_eq!(extents.series.len(), 2);
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
            let got: Vec<u64> = extents.range(offset, len).flat_map(|p| p.physical..p.physical + p.len).collect();
            let from = (offset as usize).min(naive.len());
            let to = (from + len as usize).min(naive.len());
            prop_assert_eq!(got, &naive[from..to]);
        }
    }
}
