//! The ciphertext of a message: one stretch of octets, or the OCTET STRING segments that BER allows instead.
//!
//! ```text
//! A0 80  04 82 03 E8 [1000 octets]  04 82 03 E8 [1000 octets] .. 04 81 91 [145 octets]  00 00
//! ```
//!
//! Real producers write segments of one size and one or two others at the end. So the size is learnt from the first
//! and, where the end agrees with it, only the headers that a read steps on are looked at. Otherwise all headers are
//! read once and their positions kept as extents.

use std::sync::Arc;

use super::addressing::Addressing;
use super::transfer::reserve;
use crate::error::{Error, Kind, Result};
use crate::format::ber::{self, BerError};
use crate::format::cms::EncryptedContent;
use crate::format::extents::{Extent, Extents};
use crate::io::{Budget, ReadAt, Reader, Share, Slice, available, with_scratch};

/// Longest header of a segment.
const MAX_HEADER: usize = 10;
/// Up to this many segments are always walked through.
const FEW: u64 = 64;
/// Nesting of constructed segments.
const MAX_DEPTH: usize = 16;
/// Octets that are read at a time to find headers.
const WINDOW: usize = 64 << 10;

/// Opens the ciphertext of a message, given all octets of it; also returns the position where the ciphertext ends,
/// before any end-of-contents octets.
pub fn open(
    message: &Reader,
    content: EncryptedContent,
    addressing: Addressing,
    budget: &Arc<Budget>,
) -> Result<(Reader, u64)> {
    if !content.constructed {
        let len = content.len.ok_or_else(|| Error::damaged("a primitive content of indefinite length"))?;
        let end = end_of(content.start, len, message)?;
        return Ok((Arc::new(Slice::new(message.clone(), content.start, len)), end));
    }
    let limit = match content.len {
        Some(len) => end_of(content.start, len, message)?,
        None => message.len(),
    };
    let walk = SegmentWalk { message, limit, definite: content.len.is_some(), budget };
    if addressing == Addressing::Regular
        && let Some(found) = walk.regular(content.start)?
    {
        return Ok(found);
    }
    let mut extents = Extents::default();
    let (end, share) = walk.index(content.start, &mut extents)?;
    Ok((Arc::new(SegmentReader { message: message.clone(), extents, header: None, _share: share }), end))
}

/// Returns where `len` octets from `start` on end, if the message is that long.
fn end_of(start: u64, len: u64, message: &Reader) -> Result<u64> {
    start.checked_add(len).filter(|&end| end <= message.len()).ok_or_else(|| {
        Error::damaged(format!(
            "the encrypted content of {len} octets is longer than what is left (cut off?)"
        ))
    })
}

/// Steps from header to header.
struct SegmentWalk<'a> {
    message: &'a Reader,
    limit: u64,
    definite: bool,
    budget: &'a Arc<Budget>,
}

impl SegmentWalk<'_> {
    /// Returns the reader and the end if the segments look regular from both ends, and there are many.
    fn regular(&self, start: u64) -> Result<Option<(Reader, u64)>> {
        let head = self.message.read_vec(start, MAX_HEADER)?;
        let Ok(first) = ber::header(&head) else { return Ok(None) };
        let (Some(len), ber::OCTET_STRING) = (first.len.filter(|&len| len >= 16), first.tag) else {
            return Ok(None);
        };
        // No segment has a length near 2^64; the index reports it with its position.
        let Some(stride) = len.checked_add(first.size as u64) else { return Ok(None) };
        let most = self.limit.saturating_sub(start) / stride;
        if most <= FEW {
            return Ok(None);
        }
        let header = head[..first.size].to_vec();
        // After the equal segments come others and what closes the message: together less than a few strides.
        for count in (most.saturating_sub(4)..=most).rev() {
            let at = start + (count - 1) * stride;
            if self.message.read_vec(at, header.len())? != header || at + stride > self.limit {
                continue;
            }
            let mut extents = Extents::regular(start + header.len() as u64, len, stride, count)?;
            return Ok(match self.index(at + stride, &mut extents) {
                Ok((end, share)) => {
                    let message = self.message.clone();
                    Some((
                        Arc::new(SegmentReader { message, extents, header: Some(header), _share: share }),
                        end,
                    ))
                }
                Err(error) if error.kind().is_transient() => return Err(error),
                Err(_) => None,
            });
        }
        Ok(None)
    }

    /// Adds the segments from `at` on to the extents; returns the position where they end, and the memory they take.
    fn index(&self, at: u64, extents: &mut Extents) -> Result<(u64, Share)> {
        let mut share = self.budget.share();
        // Ends of the constructed segments that are open, `None` for the indefinite form.
        let mut open: Vec<Option<u64>> = Vec::new();
        let mut at = at;
        let mut window = Window { message: self.message, at: 0, bytes: Vec::new() };
        loop {
            while open.last().is_some_and(|&end| end == Some(at)) {
                open.pop();
            }
            if open.is_empty() && self.definite && at == self.limit {
                return Ok((at, share));
            }
            let limit = open.iter().rev().find_map(|&end| end).unwrap_or(self.limit);
            let header = ber::header(window.at(at)?).map_err(|error| error_at(error, at))?;
            let body = at + header.size as u64;
            if header.is_end_of_contents() {
                match open.pop() {
                    Some(None) => at = body,
                    None if !self.definite => return Ok((at, share)),
                    _ => {
                        return Err(Error::damaged(format!(
                            "end-of-contents octets out of place at octet {at}"
                        )));
                    }
                }
                continue;
            }
            let end = match header.len {
                None => None,
                Some(len) => {
                    let end = body.checked_add(len).filter(|&end| end <= limit);
                    Some(end.ok_or_else(|| {
                        Error::damaged(format!(
                            "the segment at octet {at} is longer than what is left (cut off?)"
                        ))
                    })?)
                }
            };
            match (header.tag, end) {
                (ber::OCTET_STRING, Some(end)) => {
                    extents.push(body, end - body)?;
                    reserve(&mut share, extents.memory())?;
                    at = end;
                }
                (tag, _) if tag == ber::OCTET_STRING | ber::CONSTRUCTED && open.len() < MAX_DEPTH => {
                    open.push(end);
                    at = body;
                }
                (tag, _) if tag == ber::OCTET_STRING | ber::CONSTRUCTED => {
                    return Err(Error::damaged("segments nested too deeply"));
                }
                _ => {
                    return Err(Error::damaged(format!("no segment of the encrypted content at octet {at}")));
                }
            }
        }
    }
}

fn error_at(error: BerError, at: u64) -> Error {
    match error {
        BerError::Short => {
            Error::damaged(format!("the encrypted content breaks off at octet {at} (cut off?)"))
        }
        BerError::Bad(what) => Error::damaged(format!("{what} at octet {at}")),
    }
}

/// Some octets of the message, so that neighbouring headers come with one read.
struct Window<'a> {
    message: &'a Reader,
    at: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// Returns the octets from `at` on, enough for a header if there are so many.
    fn at(&mut self, at: u64) -> Result<&[u8]> {
        let held = self.at..self.at + self.bytes.len() as u64;
        let wanted = available(self.message.len(), at, MAX_HEADER) as u64;
        if !held.contains(&at) || at + wanted > held.end {
            // A window pays where headers are near one another; the first look at a place takes less.
            let size = if at < held.end + WINDOW as u64 && !self.bytes.is_empty() { WINDOW } else { 1 << 10 };
            self.bytes = self.message.read_vec(at, size)?;
            self.at = at;
        }
        Ok(&self.bytes[(at - self.at) as usize..])
    }
}

struct SegmentReader {
    message: Reader,
    extents: Extents,
    /// The header of the segments of the first series, where not all of them have been looked at.
    header: Option<Vec<u8>>,
    /// Memory of the extents.
    _share: Share,
}

impl SegmentReader {
    /// Returns the header that must stand before the payload of an extent, if that is to be checked.
    fn unchecked(&self, extent: &Extent) -> Option<&[u8]> {
        self.header.as_deref().filter(|_| extent.series == 0)
    }

    fn check(&self, found: &[u8], expected: &[u8], at: u64) -> Result<()> {
        if found == expected {
            return Ok(());
        }
        Err(Error::new(Kind::Irregular, format!("segments are not regular near octet {at}")))
    }

    /// Reads `len` bytes from `offset` on that lie in the stretch `span` of the message with one read.
    fn read_span(&self, buf: &mut [u8], offset: u64, span: std::ops::Range<u64>) -> Result<()> {
        with_scratch((span.end - span.start) as usize, |octets| {
            self.message.read_exact_at(octets, span.start)?;
            let mut done = 0;
            for extent in self.extents.range(offset, buf.len() as u64) {
                if let Some(expected) = self.unchecked(&extent) {
                    let header_at = extent.payload - expected.len() as u64;
                    if header_at >= span.start {
                        let at = (header_at - span.start) as usize;
                        self.check(&octets[at..at + expected.len()], expected, header_at)?;
                    }
                }
                let (at, len) = ((extent.physical - span.start) as usize, extent.len as usize);
                buf[done..done + len].copy_from_slice(&octets[at..at + len]);
                done += len;
            }
            Ok(())
        })
    }
}

impl ReadAt for SegmentReader {
    fn len(&self) -> u64 {
        self.extents.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let n = available(self.len(), offset, buf.len());
        let buf = &mut buf[..n];
        let Some(first) = self.extents.range(offset, n as u64).next() else { return Ok(0) };
        let mut start = first.physical;
        if let Some(expected) = self.unchecked(&first) {
            let header_at = first.payload - expected.len() as u64;
            if first.physical == first.payload {
                start = header_at;
            } else {
                self.check(&self.message.read_vec(header_at, expected.len())?, expected, header_at)?;
            }
        }
        let last = self.extents.range(offset + n as u64 - 1, 1).next().map_or(start, |p| p.physical + 1);
        if last - start <= 2 * n as u64 + WINDOW as u64 {
            self.read_span(buf, offset, start..last)?;
            return Ok(n);
        }
        // So much lies between the extents that reading it would cost more than a read for each.
        let mut done = 0;
        for extent in self.extents.range(offset, n as u64) {
            if let Some(expected) = self.unchecked(&extent).filter(|_| extent.physical == extent.payload) {
                let header_at = extent.payload - expected.len() as u64;
                self.check(&self.message.read_vec(header_at, expected.len())?, expected, header_at)?;
            }
            let len = extent.len as usize;
            self.message.read_exact_at(&mut buf[done..done + len], extent.physical)?;
            done += len;
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_checked_also_where_far_apart_pieces_are_read_one_by_one() {
        const LEN: usize = 100_000;
        let header = [0x04, 0x83, 0x01, 0x86, 0xA0];
        let mut octets = [&header[..], &[7; LEN]].concat().repeat(70);
        let stride = header.len() + LEN;
        octets[68 * stride + 4] -= 1;
        octets.extend([0x04, 0].repeat(150_000));
        octets.extend([&[0x04, 16][..], &[7; 16], &[0, 0]].concat());
        let content = EncryptedContent { start: 0, len: None, constructed: true };
        let message: Reader = Arc::new(octets);
        let (segments, _) = open(&message, content, Addressing::Regular, &Budget::unlimited()).unwrap();
        assert_eq!(segments.len(), 70 * LEN as u64 + 16);
        let error = segments.read_vec(68 * LEN as u64, 2 * LEN + 16).unwrap_err();
        assert_eq!(error.kind(), Kind::Irregular);
    }

    fn long(tag: u8, len: u64, body: &[u8]) -> Vec<u8> {
        [&[tag, 0x88][..], &len.to_be_bytes(), body].concat()
    }

    #[test]
    fn lengths_of_eight_octets_are_read_and_those_that_would_wrap_are_refused_with_their_place() {
        let open = |octets: Vec<u8>, len: Option<u64>| {
            let content = EncryptedContent { start: 0, len, constructed: true };
            let message: Reader = Arc::new(octets);
            let [regular, indexed] = [Addressing::Regular, Addressing::Indexed]
                .map(|addressing| open(&message, content, addressing, &Budget::unlimited()));
            match (regular, indexed) {
                (Ok(regular), Ok(_)) => Ok(regular.0.read_vec(0, 10_000).unwrap()),
                (Err(regular), Err(indexed)) => {
                    assert_eq!(regular.to_string(), indexed.to_string());
                    Err(regular.to_string())
                }
                _ => panic!("regular and indexed differ"),
            }
        };
        let right = long(4, 16, &[7; 16]);
        assert_eq!(open([&right[..], &[0, 0]].concat(), None).unwrap(), [7; 16]);
        assert_eq!(open(right.clone(), Some(26)).unwrap(), [7; 16]);
        assert_eq!(open([&long(0x24, 26, &right)[..], &[0, 0]].concat(), None).unwrap(), [7; 16]);
        for len in [u64::MAX, u64::MAX - 9, u64::MAX - 10, u64::MAX - 25, 1 << 63, u64::MAX / 71] {
            let wrong = long(4, len, &[7; 4000]);
            for (octets, at) in [
                (wrong.clone(), 0),
                ([&right[..], &wrong].concat(), 26),
                (right.repeat(70).into_iter().chain(wrong.clone()).collect(), 70 * 26),
                ([&[0x24, 0x80][..], &wrong].concat(), 2),
                (long(0x24, len, &right), 0),
            ] {
                let says = format!("the segment at octet {at} is longer than what is left");
                let definite = octets.len() as u64;
                for content_len in [None, Some(definite)] {
                    let error = open(octets.clone(), content_len).unwrap_err();
                    assert!(error.starts_with(&says), "{len:x}: {error}");
                }
                let error = open(octets, Some(len)).unwrap_err();
                assert!(error.contains("longer than what is left"), "{len:x}: {error}");
            }
        }
    }
}
