//! Values as JSON (RFC 8259). Text is UTF-8, escaped only where it must be.

use base64_simd::STANDARD;

/// Bytes that are looked at together, so that the compiler uses vector instructions.
const STEP: usize = 32;

/// For each byte the character after the backslash, `u` for the long form, 0 if it needs no escape.
static ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        table[control] = b'u';
        control += 1;
    }
    table[0x08] = b'b';
    table[b'\t' as usize] = b't';
    table[b'\n' as usize] = b'n';
    table[0x0c] = b'f';
    table[b'\r' as usize] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

pub(crate) fn append_integer(out: &mut Vec<u8>, number: i64) {
    // Writing into a Vec does not fail.
    let _ = serde_json::to_writer(out, &number);
}

/// Writes a number; infinities and NaN, which JSON does not have, as texts.
pub(crate) fn append_real(out: &mut Vec<u8>, number: f64) {
    if number.is_finite() {
        let _ = serde_json::to_writer(out, &number);
    } else if number.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else {
        out.extend_from_slice(if number > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" });
    }
}

/// Writes base64 (RFC 4648, section 4), padded.
pub(crate) fn append_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(STANDARD.encoded_length(bytes.len()) + 2);
    out.push(b'"');
    append_base64_part(out, bytes);
    out.push(b'"');
}

/// The same without quotes, for a value in parts: each but the last must be a multiple of 3 bytes long.
pub(crate) fn append_base64_part(out: &mut Vec<u8>, bytes: &[u8]) {
    STANDARD.encode_append(bytes, out);
}

/// Writes a text; bytes that are not UTF-8 become U+FFFD.
pub(crate) fn append_text(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    append_text_part(out, text);
    out.push(b'"');
}

/// The same without quotes, for a text in parts: each but the last must end at [`end_of_part`].
pub(crate) fn append_text_part(out: &mut Vec<u8>, text: &[u8]) {
    // Going by chunks takes several times as long as this check.
    if std::str::from_utf8(text).is_ok() {
        return append_escaped(out, text);
    }
    for chunk in text.utf8_chunks() {
        append_escaped(out, chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Returns how much of a text can be written before the rest is known: up to a character that is cut off.
pub(crate) fn end_of_part(text: &[u8]) -> usize {
    /// A character that is cut off has at most this many bytes.
    const CUT: usize = 3;
    let is_open = |start: &usize| {
        std::str::from_utf8(&text[*start..]).is_err_and(|e| e.valid_up_to() == 0 && e.error_len().is_none())
    };
    (text.len().saturating_sub(CUT)..text.len()).find(is_open).unwrap_or(text.len())
}

fn append_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut steps = text.chunks_exact(STEP);
    // Bytes that need no escape are copied in runs as long as possible.
    let (mut run, mut at) = (0, 0);
    for step in &mut steps {
        let dirty = step.iter().fold(false, |dirty, &b| dirty | (b < 0x20) | (b == b'"') | (b == b'\\'));
        if dirty {
            run = append_dirty(out, text, run, at..at + STEP);
        }
        at += STEP;
    }
    run = append_dirty(out, text, run, at..text.len());
    out.extend_from_slice(&text[run..]);
}

/// Writes a range, with what must be escaped; the bytes from `run` on are not written yet. Returns the new `run`.
fn append_dirty(out: &mut Vec<u8>, text: &[u8], mut run: usize, range: std::ops::Range<usize>) -> usize {
    for i in range {
        let byte = text[i];
        let escape = ESCAPES[byte as usize];
        if escape == 0 {
            continue;
        }
        out.extend_from_slice(&text[run..i]);
        run = i + 1;
        if escape == b'u' {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            let digits = [HEX[(byte >> 4) as usize], HEX[(byte & 15) as usize]];
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digits[0], digits[1]]);
        } else {
            out.extend_from_slice(&[b'\\', escape]);
        }
    }
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_written_as_serde_json_writes_it() {
        let all: String = (0..=0x2100).filter_map(char::from_u32).collect();
        for text in ["", "a", "\"", "\u{7f}\u{2028}", &all, &"x\n".repeat(100), &"ü".repeat(1000)] {
            for skip in (0..40).filter(|&skip| text.is_char_boundary(skip)) {
                let mut out = b"before".to_vec();
                append_text(&mut out, &text.as_bytes()[skip..]);
                assert_eq!(&out[6..], serde_json::to_vec(&text[skip..]).unwrap());
            }
        }
    }

    #[test]
    fn a_text_in_parts_is_the_text_wherever_it_is_cut() {
        let text = b"a\xffb\xe2\x82\xe2\x82\xac\xf0\x9f\x98\xf0\x9f\x98\x80\xed\xa0\x80x\x80\"\xc0\xf0\x9f";
        let mut whole = Vec::new();
        append_text_part(&mut whole, text);
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let (mut out, mut open) = (Vec::new(), Vec::new());
                for part in [&text[..first], &text[first..second], &text[second..]] {
                    open.extend_from_slice(part);
                    let end = end_of_part(&open);
                    append_text_part(&mut out, &open[..end]);
                    open.drain(..end);
                }
                append_text_part(&mut out, &open);
                assert_eq!(out, whole, "{first} {second}");
            }
        }
    }

    #[test]
    fn what_is_not_utf_8_is_replaced() {
        for bytes in [&b"a\xffb"[..], b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80x", b"\x80\"\xc0"] {
            let mut out = Vec::new();
            append_text(&mut out, bytes);
            assert_eq!(out, serde_json::to_vec(&String::from_utf8_lossy(bytes)).unwrap());
        }
    }
}
