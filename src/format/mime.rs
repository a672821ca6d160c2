//! Header blocks (RFC 5322 section 2.2, RFC 2045), the armour around a message (S/MIME text as in RFC 8551
//! section 3, PEM as in RFC 7468, bare base64, or none), and the MIME entity that may stand inside it.

use super::base64;

/// Longest header block of an outer message, in octets.
pub const MAX_OUTER_HEADER: usize = 64 << 10;
/// The same for the entity inside the encryption.
pub const MAX_INNER_HEADER: usize = 16 << 10;
/// Body parts of a multipart entity that are looked at, at most.
const MAX_BODY_PARTS: usize = 64;
/// Octets at the end that [`armour`] and [`entity`] are given.
pub const TAIL: usize = 4 << 10;

/// The header block of a part as `openssl smime -encrypt` writes it; base64 lines follow, then an empty line.
pub(crate) const ENVELOPED_HEADER: &str = "MIME-Version: 1.0\n\
    Content-Disposition: attachment; filename=\"smime.p7m\"\n\
    Content-Type: application/x-pkcs7-mime; smime-type=enveloped-data; name=\"smime.p7m\"\n\
    Content-Transfer-Encoding: base64\n\
    \n";

/// A header block that was read to its blank line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers {
    /// Names in lower case, values unfolded and trimmed.
    fields: Vec<(String, String)>,
    /// Position of the first octet after the blank line.
    pub body: usize,
}

impl Headers {
    /// Reads a header block; `None` where a line is not printable `Name: value` or no blank line comes within `max`.
    ///
    /// Random bytes begin with `X:` once in a while, so every line has to fit.
    pub fn parse(bytes: &[u8], max: usize) -> Option<Headers> {
        let bytes = &bytes[..bytes.len().min(max)];
        let mut fields: Vec<(String, String)> = Vec::new();
        let mut at = 0;
        loop {
            let line_len = memchr::memchr(b'\n', &bytes[at..])?;
            let line = &bytes[at..at + line_len];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            at += line_len + 1;
            if line.is_empty() {
                return (!fields.is_empty()).then_some(Headers { fields, body: at });
            }
            if !line.iter().all(|&b| b == b'\t' || (b' '..=b'~').contains(&b)) {
                return None;
            }
            let text = std::str::from_utf8(line).ok()?;
            if text.starts_with([' ', '\t']) {
                let (_, value) = fields.last_mut()?;
                value.push(' ');
                value.push_str(text.trim());
            } else {
                let (name, value) = text.split_once(':')?;
                if name.is_empty() || name.contains([' ', '\t']) {
                    return None;
                }
                fields.push((name.to_ascii_lowercase(), value.trim().to_string()));
            }
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Returns the content transfer encoding in lower case; an absent one is empty.
    fn transfer_encoding(&self) -> String {
        self.get("content-transfer-encoding").unwrap_or_default().to_ascii_lowercase()
    }

    /// Returns the boundary of a multipart content type.
    fn boundary(&self) -> Option<String> {
        let value = self.get("content-type")?;
        if !value.to_ascii_lowercase().starts_with("multipart/") {
            return None;
        }
        let at = value.to_ascii_lowercase().find("boundary=")? + "boundary=".len();
        let rest = &value[at..];
        match rest.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next().map(str::to_string),
            None => rest.split([';', ' ']).next().map(str::to_string),
        }
    }
}

/// How the octets of a body are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Binary,
    Base64,
    /// As uuencode(1) writes it (POSIX.1); the body begins with its `begin` line.
    Uuencode,
}

/// The octets `start .. end` of a file, and how they are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body {
    pub start: u64,
    pub end: u64,
    pub coding: Coding,
}

/// Why no message is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoBody {
    /// What the file looks like instead.
    NotAMessage(&'static str),
    Unsupported(String),
}

/// Finds the encrypted message in a file of `len` octets, from the first [`MAX_OUTER_HEADER`] and the last [`TAIL`] of
/// it.
pub fn armour(head: &[u8], tail: &[u8], len: u64) -> Result<Body, NoBody> {
    let skipped = leading(head);
    let text = &head[skipped..];
    let start = skipped as u64;
    if text.first() == Some(&0x30) {
        return Ok(Body { start, end: len, coding: Coding::Binary });
    }
    if let Some(after) = text.strip_prefix(b"-----BEGIN ") {
        return pem(after, start + 11, tail, len);
    }
    if let Some(headers) = Headers::parse(text, MAX_OUTER_HEADER) {
        return smime(text, &headers, start, len);
    }
    if base64::looks_like_ber(text) {
        return Ok(Body { start, end: len, coding: Coding::Base64 });
    }
    Err(NoBody::NotAMessage(looks_like(text)))
}

/// Length of a byte order mark and blank lines, which some tools put first.
fn leading(head: &[u8]) -> usize {
    let mark = if head.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    let blank = head[mark..].iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    mark + blank
}

fn smime(text: &[u8], headers: &Headers, start: u64, len: u64) -> Result<Body, NoBody> {
    let body = &text[headers.body..];
    let coding = match headers.transfer_encoding().as_str() {
        _ if body.first() == Some(&0x30) && !base64::looks_like_ber(body) => Coding::Binary,
        "quoted-printable" => return Err(NoBody::Unsupported("quoted-printable around the message".into())),
        _ if base64::looks_like_ber(body) => Coding::Base64,
        _ if body.is_empty() => return Err(NoBody::NotAMessage("a mail header without a body")),
        _ => return Err(NoBody::NotAMessage("a mail that holds no encrypted message")),
    };
    Ok(Body { start: start + headers.body as u64, end: len, coding })
}

/// `after` follows `-----BEGIN `, which ends at position `at` of the file.
fn pem(after: &[u8], at: u64, tail: &[u8], len: u64) -> Result<Body, NoBody> {
    let line = after.split(|&b| b == b'\n').next().unwrap_or_default();
    let label = line.strip_suffix(b"\r").unwrap_or(line).strip_suffix(b"-----").unwrap_or_default();
    if !matches!(label, b"PKCS7" | b"CMS" | b"ENCRYPTED MESSAGE") {
        return Err(NoBody::NotAMessage("a PEM file of something else"));
    }
    let end = memchr::memmem::rfind(tail, b"-----END ").map(|i| len - (tail.len() - i) as u64);
    let start = at + line.len() as u64 + 1;
    match end {
        Some(end) if end >= start => Ok(Body { start, end, coding: Coding::Base64 }),
        _ => Err(NoBody::NotAMessage("a PEM message without its END line (cut off?)")),
    }
}

/// Says what a file that is no encrypted message looks like, for people.
fn looks_like(text: &[u8]) -> &'static str {
    let start = &text[..text.len().min(512)];
    let lower = start.to_ascii_lowercase();
    let contains = |needle: &[u8]| memchr::memmem::find(&lower, needle).is_some();
    if text.is_empty() {
        "an empty file"
    } else if text.starts_with(b"PK") {
        "a zip that is not encrypted"
    } else if contains(b"<error>") {
        "an XML error page of the download server"
    } else if contains(b"<!doctype html") || contains(b"<html") {
        "an HTML page (a login or error page of the download server)"
    } else if start.iter().all(|&b| matches!(b, b'\t' | b'\r' | b'\n' | b' '..=b'~')) {
        "some other text"
    } else {
        "some other binary file"
    }
}

/// Returns false if `head`, the beginning of a decrypted part, cannot be that of a MIME entity.
pub fn may_be_entity(head: &[u8]) -> bool {
    let line = head.split(|&b| b == b'\n').next().unwrap_or_default();
    !is_zip(head) && line.contains(&b':') && line.iter().all(|&b| matches!(b, b'\t' | b'\r' | b' '..=b'~'))
}

/// Finds the zip octets inside a decrypted part of `len` octets, from the first [`MAX_INNER_HEADER`] and the last
/// [`TAIL`] of it.
///
/// The header may lie about the encoding, so the body is looked at first. A middle part of a split zip begins with
/// arbitrary octets: only a whole, printable header block with a content type counts as one.
pub fn entity(head: &[u8], tail: &[u8], len: u64) -> Result<Body, NoBody> {
    let raw = Body { start: 0, end: len, coding: Coding::Binary };
    if is_zip(head) {
        return Ok(raw);
    }
    let Some(headers) = Headers::parse(head, MAX_INNER_HEADER).filter(|h| h.get("content-type").is_some())
    else {
        return Ok(raw);
    };
    let Some(boundary) = headers.boundary() else {
        let body = &head[headers.body..];
        return body_of(&headers, body, headers.body as u64, len);
    };
    let (part, start) = first_attachment(head, headers.body, &boundary)?;
    let end = memchr::memmem::rfind(tail, format!("\r\n--{boundary}--").as_bytes())
        .map_or(len, |i| len - (tail.len() - i) as u64);
    body_of(&part, &head[start..], start as u64, end)
}

/// Finds the first body part that is no text, and where its body begins. That part is taken to be the last one, too.
fn first_attachment(head: &[u8], from: usize, boundary: &str) -> Result<(Headers, usize), NoBody> {
    let delimiter = format!("--{boundary}");
    for at in memchr::memmem::find_iter(&head[from..], delimiter.as_bytes()).take(MAX_BODY_PARTS) {
        let line = from + at + delimiter.len();
        let blank = head[line..].iter().take_while(|b| matches!(b, b' ' | b'\r' | b'\n')).count();
        let Some(part) = Headers::parse(&head[line + blank..], MAX_INNER_HEADER) else { continue };
        let kind = part.get("content-type").unwrap_or("text/plain").to_ascii_lowercase();
        if !kind.starts_with("text/") {
            let start = line + blank + part.body;
            return Ok((part, start));
        }
    }
    Err(NoBody::NotAMessage("a multipart entity without an attachment"))
}

fn body_of(headers: &Headers, body: &[u8], start: u64, end: u64) -> Result<Body, NoBody> {
    let coding = match headers.transfer_encoding().as_str() {
        _ if is_zip(body) => Coding::Binary,
        "base64" if base64::is_text(&body[..body.len().min(TAIL)]) => Coding::Base64,
        "quoted-printable" => {
            return Err(NoBody::Unsupported(
                "quoted-printable inside the encryption (it does not keep binary data)".into(),
            ));
        }
        "x-uuencode" | "uuencode" | "x-uue" => Coding::Uuencode,
        _ => Coding::Binary,
    };
    Ok(Body { start, end: end.max(start), coding })
}

/// Returns true for what a zip or the first part of a split one begins with.
pub(crate) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
        || bytes.starts_with(b"PK\x07\x08")
        || bytes.starts_with(b"PK00")
        || bytes.starts_with(b"PK\x05\x06")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_are_strict() {
        let h = Headers::parse(b"Content-Type: a/b;\r\n\tname=x\r\nX: 1\r\n\r\nbody", 1000).unwrap();
        assert_eq!(h.get("content-type"), Some("a/b; name=x"));
        assert_eq!(h.body, 37);
        for bad in [&b"1:\x00\n\n"[..], b"no colon\n\n", b": x\n\n", b"A: 1\nB: 2", b"\n", b" folded: 1\n\n"]
        {
            assert_eq!(Headers::parse(bad, 1000), None, "{bad:?}");
        }
        assert_eq!(Headers::parse(&[b"X: ".to_vec(), vec![b'a'; 2000]].concat(), 1000), None);
    }

    #[test]
    fn what_is_not_a_message_is_called_by_its_name() {
        let name = |bytes: &[u8]| match armour(bytes, bytes, bytes.len() as u64) {
            Err(NoBody::NotAMessage(what)) => what,
            other => panic!("{other:?}"),
        };
        assert_eq!(name(b""), "an empty file");
        assert_eq!(name(b"PK\x03\x04rest"), "a zip that is not encrypted");
        assert!(
            name(b"<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code></Error>").contains("XML error")
        );
        assert!(name(b"<!DOCTYPE html><html>").contains("HTML"));
        assert_eq!(name(b"hello\n"), "some other text");
        let certificate = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        assert_eq!(name(certificate), "a PEM file of something else");
        assert!(name(b"-----BEGIN CMS-----\nMIIB\n").contains("END line"));
    }

    #[test]
    fn a_middle_part_is_not_mistaken_for_mail() {
        for bytes in [&b"1:X\x14\n\nrest"[..], b"X: 1\n\nbinary"] {
            assert_eq!(entity(bytes, bytes, 99).unwrap(), Body { start: 0, end: 99, coding: Coding::Binary });
        }
    }

    #[test]
    fn a_multipart_of_boundaries_is_not_searched_without_end() {
        let with_texts = |n: usize| {
            let mut bytes = b"Content-Type: multipart/mixed; boundary=b\n\n".to_vec();
            bytes.extend(b"--b\nContent-Type: text/plain\n\nhello\n".repeat(n));
            bytes.extend(b"--b\nContent-Type: application/zip\n\nPK\x03\x04");
            entity(&bytes, &bytes, bytes.len() as u64)
        };
        assert!(with_texts(MAX_BODY_PARTS - 1).is_ok());
        assert!(with_texts(MAX_BODY_PARTS).is_err());
    }

    #[test]
    fn a_lying_header_does_not_matter() {
        let bytes = b"Content-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\nPK\x03\x04";
        let body = entity(bytes, bytes, bytes.len() as u64).unwrap();
        assert_eq!((body.coding, body.start), (Coding::Binary, bytes.len() as u64 - 4));
    }

    proptest! {
        #[test]
        fn nothing_panics(head in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = armour(&head, &head, head.len() as u64);
            let _ = entity(&head, &head, head.len() as u64);
        }
    }
}
