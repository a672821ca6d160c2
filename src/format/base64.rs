//! Base64 text as a byte range that can be read anywhere (RFC 4648; RFC 2045 section 6.8 for lines).
//!
//! Nearly every text has lines of one width, so that byte `q` of the content stands at a place that can be computed:
//!
//! ```text
//! character   c = q / 3 * 4
//! position    c / width * (width + eol) + c % width
//!
//! |<---- width ---->|eol|<---- width ---->|eol|<- rest ->|
//! ```
//!
//! [`Lines`] is that arithmetic. It is learnt from the beginning and the end, and every line end that a read steps on
//! is checked, so that a text that is not regular is noticed instead of misread. Such a text, and a uuencoded one, is
//! read through a [`TextIndex`], which takes one pass over the whole text to make.

use base64_simd::{Out, STANDARD};

use super::extents::Extents;

mod encode;
mod index;
mod kernel;

pub(crate) use encode::LineEncoder;
pub use index::{TextIndex, TextIndexer};
pub(crate) use kernel::LineShape;

/// The text has a byte that does not fit, or a line that does not end where it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Irregular;

/// The ends of longer lines are not read and checked: that would cost more than the range itself. So only a text of a
/// single line may be longer.
const CHECKED_WIDTH: u64 = 4096;

/// A text of equal lines; positions count from its first character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lines {
    shape: LineShape,
    /// Characters in all, padding included.
    chars: u64,
    /// Bytes of content.
    len: u64,
}

impl Lines {
    /// Learns the shape of a text of `len` bytes from its beginning and its end; `None` where it is not regular.
    pub fn learn(head: &[u8], tail: &[u8], len: u64) -> Option<Lines> {
        let text_in_tail = tail.len() - tail.iter().rev().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let text = len - (tail.len() - text_in_tail) as u64;
        let shape = match memchr::memchr(b'\n', head) {
            Some(i) if (i as u64) < text => {
                let eol: &'static [u8] = if head[..i].ends_with(b"\r") { b"\r\n" } else { b"\n" };
                LineShape { width: i + 1 - eol.len(), eol }
            }
            _ => LineShape { width: usize::try_from(text).ok()?, eol: b"\n" },
        };
        let (width, period) = (shape.width as u64, (shape.width + shape.eol.len()) as u64);
        if width == 0 || width % 4 != 0 {
            return None;
        }
        let (full, rest) = (text / period, text % period);
        if width > CHECKED_WIDTH && full > 0 {
            return None;
        }
        let chars = full * width + rest;
        if rest == 0 || rest > width || chars % 4 != 0 {
            return None;
        }
        let padding = tail[..text_in_tail].iter().rev().take(2).take_while(|&&b| b == b'=').count();
        let lines = Lines { shape, chars, len: chars / 4 * 3 - padding as u64 };
        lines.agrees_with(&tail[..text_in_tail], text).then_some(lines)
    }

    /// Checks that `tail`, the last bytes of a text of `text` bytes, has its line ends where they are expected.
    fn agrees_with(&self, tail: &[u8], text: u64) -> bool {
        let tail_at = text - tail.len() as u64;
        let period = self.period();
        let ends = memchr::memchr_iter(b'\n', tail).map(|i| tail_at + i as u64 + 1);
        let mut expected = (tail_at / period + 1) * period;
        for end in ends {
            if end != expected {
                return false;
            }
            expected += period;
        }
        expected > text
    }

    fn width(&self) -> u64 {
        self.shape.width as u64
    }

    fn period(&self) -> u64 {
        (self.shape.width + self.shape.eol.len()) as u64
    }

    /// Bytes of content in a full line.
    fn line_bytes(&self) -> u64 {
        self.width() / 4 * 3
    }

    fn last_line(&self) -> u64 {
        (self.chars - 1) / self.width()
    }

    /// Position after the last character.
    fn text_end(&self) -> u64 {
        self.last_line() * self.period() + (self.chars - self.last_line() * self.width())
    }

    /// Number of bytes that the text stands for.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the stretch of text that [`Lines::decode`] needs for a range of the content that is not empty.
    ///
    /// It takes in the line ends before the first line and after the last one, which are checked too.
    pub fn span(&self, offset: u64, len: usize) -> std::ops::Range<u64> {
        let end = offset + len as u64;
        let (first, last) = (offset / self.line_bytes(), (end - 1) / self.line_bytes());
        let eol = self.shape.eol.len() as u64;
        if self.width() <= CHECKED_WIDTH {
            let start = (first * self.period()).saturating_sub(eol);
            return start..((last + 1) * self.period()).min(self.text_end());
        }
        let place = |line: u64, quantum: u64| line * self.period() + quantum * 4;
        let start = place(first, (offset - first * self.line_bytes()) / 3);
        start..place(last, (end - last * self.line_bytes()).div_ceil(3))
    }

    /// Decodes the content from `offset` on into all of `dst`; `text` is the span of that range.
    pub fn decode(&self, text: &[u8], dst: &mut [u8], offset: u64) -> Result<(), Irregular> {
        let span = self.span(offset, dst.len());
        debug_assert_eq!(text.len() as u64, span.end - span.start);
        let bytes = self.line_bytes();
        let end = offset + dst.len() as u64;
        // Full lines, but for the last one of the text, which may be shorter or padded.
        let full = offset.div_ceil(bytes)..(end / bytes).min(self.last_line());
        let mut done = 0;
        if full.is_empty() || full.start * bytes > offset {
            done = self.partial(text, span.start, offset, dst)?;
        }
        if !full.is_empty() {
            let from = (full.start * self.period() - span.start) as usize;
            let to = (full.end * self.period() - span.start) as usize;
            let into = done + ((full.end - full.start) * bytes) as usize;
            let lines = &text[from..to.min(text.len())];
            if !kernel::decode_lines(lines, self.shape, &mut dst[done..into]) {
                return Err(Irregular);
            }
            self.check_eol_before(text, span.start, full.start)?;
            done = into;
        }
        while done < dst.len() {
            done += self.partial(text, span.start, offset + done as u64, &mut dst[done..])?;
        }
        Ok(())
    }

    /// Decodes from `offset` to the end of its line, or as far as `dst` goes; returns how far that was.
    fn partial(&self, text: &[u8], text_at: u64, offset: u64, dst: &mut [u8]) -> Result<usize, Irregular> {
        let line = offset / self.line_bytes();
        let within = offset - line * self.line_bytes();
        let n = (dst.len() as u64).min(self.line_bytes() - within);
        let at = |quantum: u64| (line * self.period() + quantum * 4 - text_at) as usize;
        let quanta = &text[at(within / 3)..at((within + n).div_ceil(3))];
        decode_quanta(quanta, (within % 3) as usize, &mut dst[..n as usize])?;
        if self.width() <= CHECKED_WIDTH {
            self.check_eol_before(text, text_at, line)?;
            if line < self.last_line() {
                self.check_eol_before(text, text_at, line + 1)?;
            }
        }
        Ok(n as usize)
    }

    fn check_eol_before(&self, text: &[u8], text_at: u64, line: u64) -> Result<(), Irregular> {
        if line == 0 || self.width() > CHECKED_WIDTH {
            return Ok(());
        }
        let to = (line * self.period() - text_at) as usize;
        if text[to - self.shape.eol.len()..to] == *self.shape.eol { Ok(()) } else { Err(Irregular) }
    }
}

/// Decodes whole quanta of 4 characters, leaving out `skip` bytes (0 to 2) at the front and what `dst` has no room for.
pub fn decode_quanta(quanta: &[u8], skip: usize, dst: &mut [u8]) -> Result<(), Irregular> {
    let (mut quanta, mut dst) = (quanta, dst);
    if skip > 0 && !dst.is_empty() {
        let (first, rest) = quanta.split_at_checked(4).ok_or(Irregular)?;
        let mut three = [0; 3];
        let got = decode_into(first, &mut three)?;
        let n = dst.len().min(3 - skip);
        dst[..n].copy_from_slice(three[..got].get(skip..skip + n).ok_or(Irregular)?);
        (quanta, dst) = (rest, &mut dst[n..]);
    }
    let bulk = dst.len() / 3;
    let (whole, last) = quanta.split_at_checked(bulk * 4).ok_or(Irregular)?;
    if decode_into(whole, &mut dst[..bulk * 3])? != bulk * 3 {
        return Err(Irregular);
    }
    let dst = &mut dst[bulk * 3..];
    if !dst.is_empty() {
        let mut three = [0; 3];
        let got = decode_into(last.get(..4).ok_or(Irregular)?, &mut three)?;
        dst.copy_from_slice(three[..got].get(..dst.len()).ok_or(Irregular)?);
    }
    Ok(())
}

fn decode_into(quanta: &[u8], dst: &mut [u8]) -> Result<usize, Irregular> {
    STANDARD.decode(quanta, Out::from_slice(dst)).map(|decoded| decoded.len()).map_err(|_| Irregular)
}

fn is_alphabet(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}

/// Returns true for text that may be base64: alphabet, padding and line ends only.
pub(crate) fn is_text(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| is_alphabet(b) || matches!(b, b'=' | b'\r' | b'\n'))
}

/// Returns true for base64 whose first byte is the tag of a SEQUENCE.
pub(crate) fn looks_like_ber(text: &[u8]) -> bool {
    matches!(text, [b'M', b'A'..=b'P', ..]) && text.iter().take(8).all(|&b| is_alphabet(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn encode(bytes: &[u8], width: usize, eol: &str) -> Vec<u8> {
        let text = STANDARD.encode_to_string(bytes);
        let lines: Vec<&str> =
            text.as_bytes().chunks(width).map(|l| std::str::from_utf8(l).unwrap()).collect();
        lines.join(eol).into_bytes()
    }

    fn read(lines: &Lines, text: &[u8], offset: u64, len: usize) -> Result<Vec<u8>, Irregular> {
        let mut dst = vec![0; len];
        let span = lines.span(offset, len);
        lines.decode(&text[span.start as usize..span.end as usize], &mut dst, offset)?;
        Ok(dst)
    }

    proptest! {
        #[test]
        fn any_range_equals_the_naive_decode(content in proptest::collection::vec(any::<u8>(), 1..2000),
                                             width in 1usize..40, crlf: bool, last_eol in 0usize..3,
                                             offset in 0usize..2000, len in 1usize..2000) {
            let eol = if crlf { "\r\n" } else { "\n" };
            let mut text = encode(&content, width * 4, eol);
            text.extend(eol.repeat(last_eol).bytes());
            let tail = &text[text.len().saturating_sub(100)..];
            let lines = Lines::learn(&text, tail, text.len() as u64).unwrap();
            prop_assert_eq!(lines.len(), content.len() as u64);
            let from = offset.min(content.len() - 1);
            let len = len.min(content.len() - from);
            prop_assert_eq!(read(&lines, &text, from as u64, len).unwrap(), &content[from..from + len]);
        }

        #[test]
        fn a_changed_line_end_is_noticed_by_every_read_that_steps_on_it(line in 0usize..20, len in 1usize..48) {
            let content = vec![7u8; 1000];
            let mut text = encode(&content, 64, "\n");
            text[line * 65 + 64] = b'A';
            let lines = Lines { shape: LineShape { width: 64, eol: b"\n" }, chars: 1336, len: 1000 };
            let first = (line * 48) as u64;
            prop_assert_eq!(read(&lines, &text, first, len), Err(Irregular));
        }
    }

    #[test]
    fn irregular_texts_are_not_learnt() {
        let regular = encode(&[1; 500], 64, "\n");
        let learn =
            |text: &[u8]| Lines::learn(text, &text[text.len().saturating_sub(100)..], text.len() as u64);
        assert!(learn(&regular).is_some());
        let mut blank = regular.clone();
        blank.insert(64, b'\n');
        let mut short = regular.clone();
        short.pop();
        for text in [&b""[..], b"\n\n", b"abc", &blank, &short] {
            assert_eq!(learn(text), None);
        }
    }

    #[test]
    fn long_lines_whose_ends_would_not_be_checked_are_not_learnt() {
        let text = encode(&[1; 10_000], 8000, "\n");
        assert_eq!(Lines::learn(&text[..8192], &text[text.len() - 100..], text.len() as u64), None);
        let line = encode(&[1; 10_000], usize::MAX, "\n");
        assert!(Lines::learn(&line[..8192], &line[line.len() - 100..], line.len() as u64).is_some());
    }
}
