//! Writes base64 text in lines of 64 characters and LF, as OpenSSL does, from content that comes piece by piece.

use base64_simd::{Out, STANDARD};

/// Characters in a line, without its end.
const WIDTH: usize = 64;
/// Bytes of content in a line.
const LINE: usize = WIDTH / 4 * 3;

/// Content of a line that is not full yet.
#[derive(Default)]
pub(crate) struct LineEncoder {
    rest: Vec<u8>,
}

impl LineEncoder {
    /// Appends the lines that `content` fills.
    pub(crate) fn update(&mut self, content: &[u8], out: &mut Vec<u8>) {
        let mut content = content;
        if !self.rest.is_empty() {
            let (head, tail) = content.split_at(content.len().min(LINE - self.rest.len()));
            self.rest.extend_from_slice(head);
            content = tail;
            if self.rest.len() < LINE {
                return;
            }
            write_line(&self.rest, out);
            self.rest.clear();
        }
        let lines = content.chunks_exact(LINE);
        self.rest.extend_from_slice(lines.remainder());
        let mut at = out.len();
        out.resize(at + lines.len() * (WIDTH + 1), b'\n');
        for line in lines {
            let _ = STANDARD.encode(line, Out::from_slice(&mut out[at..at + WIDTH]));
            at += WIDTH + 1;
        }
    }

    /// Appends the last line, if anything is left for one.
    pub(crate) fn finish(self, out: &mut Vec<u8>) {
        if !self.rest.is_empty() {
            write_line(&self.rest, out);
        }
    }
}

fn write_line(content: &[u8], out: &mut Vec<u8>) {
    let at = out.len();
    out.resize(at + STANDARD.encoded_length(content.len()), 0);
    let _ = STANDARD.encode(content, Out::from_slice(&mut out[at..]));
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_do_not_show(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..150), 0..6)) {
            let mut encoder = LineEncoder::default();
            let mut out = Vec::new();
            pieces.iter().for_each(|piece| encoder.update(piece, &mut out));
            encoder.finish(&mut out);
            let whole = STANDARD.encode_to_string(pieces.concat());
            let lines: Vec<&[u8]> = whole.as_bytes().chunks(64).collect();
            let expected: Vec<u8> = lines.iter().flat_map(|line| [*line, &b"\n"[..]].concat()).collect();
            prop_assert_eq!(out, expected);
        }
    }
}
