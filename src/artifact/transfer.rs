//! Octets that are encoded as text: base64 or uuencode.

use std::sync::Arc;
use std::time::Duration;

use super::addressing::Addressing;
use crate::error::{Error, Kind, Result};
use crate::format::base64::{Irregular, Lines, TextIndex, TextIndexer, decode_quanta};
use crate::format::mime::{Body, Coding};
use crate::io::{Budget, ReadAt, Reader, Share, Slice, available, with_scratch};

/// Bytes of the text that are looked at to learn its lines.
const HEAD: usize = 8 << 10;
const TAIL: usize = 4 << 10;
/// Bytes that are read at a time to index it.
const STEP: usize = 256 << 10;
/// How long to wait for memory that is in use.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens the octets of a body.
pub fn open(file: &Reader, body: Body, addressing: Addressing, budget: &Arc<Budget>) -> Result<Reader> {
    let text: Reader = Arc::new(Slice::new(file.clone(), body.start, body.end.saturating_sub(body.start)));
    match body.coding {
        Coding::Binary => Ok(text),
        Coding::Uuencode => Ok(Arc::new(IndexedText::open(text, true, budget)?)),
        Coding::Base64 => {
            if addressing == Addressing::Regular {
                let len = text.len();
                let head = text.read_vec(0, HEAD)?;
                let tail = text.read_vec(len.saturating_sub(TAIL as u64), TAIL)?;
                if let Some(lines) = Lines::learn(&head, &tail, len) {
                    return Ok(Arc::new(RegularText { text, lines }));
                }
            }
            Ok(Arc::new(IndexedText::open(text, false, budget)?))
        }
    }
}

/// Base64 whose lines are all alike, as far as has been seen.
struct RegularText {
    text: Reader,
    lines: Lines,
}

impl ReadAt for RegularText {
    fn len(&self) -> u64 {
        self.lines.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let n = available(self.len(), offset, buf.len());
        if n == 0 {
            return Ok(0);
        }
        let span = self.lines.span(offset, n);
        with_scratch((span.end - span.start) as usize, |text| {
            self.text.read_exact_at(text, span.start)?;
            self.lines.decode(text, &mut buf[..n], offset).map_err(|Irregular| {
                Error::new(Kind::Irregular, format!("base64 is not regular near byte {}", span.start))
            })
        })?;
        Ok(n)
    }
}

/// A text with lines of any length, read by an index of all of them.
struct IndexedText {
    text: Reader,
    index: TextIndex,
    /// Memory of the index.
    _share: Share,
}

impl IndexedText {
    fn open(text: Reader, uuencoded: bool, budget: &Arc<Budget>) -> Result<IndexedText> {
        let mut indexer = TextIndexer::new(uuencoded);
        let mut share = budget.share();
        with_scratch(STEP, |buf| {
            let mut at = 0;
            while at < text.len() {
                let n = text.read_at(buf, at)?;
                indexer.feed(&buf[..n]).map_err(Error::damaged)?;
                reserve(&mut share, indexer.memory())?;
                at += n as u64;
            }
            Ok::<_, Error>(())
        })?;
        let index = indexer.finish().map_err(Error::damaged)?;
        Ok(IndexedText { text, index, _share: share })
    }
}

/// Makes the share of an index `bytes` large.
pub(crate) fn reserve(share: &mut Share, bytes: usize) -> Result<()> {
    if bytes == share.bytes() || share.resize(bytes, PATIENCE) {
        return Ok(());
    }
    let what =
        "no memory for the places of irregular lines or segments: what else is open takes all there is";
    Err(Error::new(Kind::Os(libc::ENOMEM), what))
}

impl ReadAt for IndexedText {
    fn len(&self) -> u64 {
        self.index.len
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let n = available(self.len(), offset, buf.len());
        if n == 0 {
            return Ok(0);
        }
        let first = offset / 3 * 4;
        let last = ((offset + n as u64).div_ceil(3) * 4).min(self.index.chars.len());
        with_scratch((last - first) as usize, |chars| {
            let mut done = 0;
            for extent in self.index.chars.range(first, last - first) {
                let len = extent.len as usize;
                self.text.read_exact_at(&mut chars[done..done + len], extent.physical)?;
                done += len;
            }
            self.index.to_base64(chars);
            decode_quanta(chars, (offset % 3) as usize, &mut buf[..n]).map_err(|Irregular| {
                Error::damaged(format!("base64 has changed since it was indexed, near character {first}"))
            })
        })?;
        Ok(n)
    }
}
