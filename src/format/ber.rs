//! Tag and length octets of BER (X.690 section 8.1), and stepping over elements without recursion.
//!
//! ```text
//! [tag: 1][length: 1]                     0 .. 127: the length itself
//! [tag: 1][0x80 | n: 1][length: n]        n = 1 .. 8, big endian, leading zeros allowed
//! [tag: 1][0x80: 1] elements.. [00 00]    indefinite: constructed only, closed by end-of-contents octets
//! ```

/// Why an element cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BerError {
    /// The bytes given end before the element does; more of them may help.
    Short,
    /// The bytes are not BER, or not what belongs in this place.
    Bad(&'static str),
}

pub(crate) type Parsed<T> = std::result::Result<T, BerError>;

/// Deeper nesting comes from no real producer.
const MAX_DEPTH: usize = 16;

/// The octets that close an indefinite form.
pub(crate) const END_OF_CONTENTS: [u8; 2] = [0, 0];

pub(crate) const CONSTRUCTED: u8 = 0x20;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const NULL: u8 = 0x05;
pub(crate) const OID: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// Tag and length of one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub(crate) tag: u8,
    /// Size of the tag and length octets.
    pub size: usize,
    /// Number of content octets; `None` is the indefinite form.
    pub len: Option<u64>,
}

impl Header {
    /// Returns true for the two octets that close an indefinite form.
    pub fn is_end_of_contents(&self) -> bool {
        self.tag == 0 && self.len == Some(0) && self.size == 2
    }
}

/// Reads the header at the beginning of `bytes`.
pub fn header(bytes: &[u8]) -> Parsed<Header> {
    let [tag, first, ..] = *bytes else { return Err(BerError::Short) };
    if tag & 0x1F == 0x1F {
        return Err(BerError::Bad("a tag number above 30"));
    }
    let (size, len) = match first {
        0..=0x7F => (2, Some(u64::from(first))),
        0x80 if tag & CONSTRUCTED == 0 => {
            return Err(BerError::Bad("indefinite length on a primitive element"));
        }
        0x80 => (2, None),
        0x81..=0x88 => {
            let n = usize::from(first & 0x7F);
            let octets = bytes.get(2..2 + n).ok_or(BerError::Short)?;
            (2 + n, Some(octets.iter().fold(0, |len, &octet| len << 8 | u64::from(octet))))
        }
        _ => return Err(BerError::Bad("a length of more than 8 octets")),
    };
    Ok(Header { tag, size, len })
}

/// An element within a buffer; positions count from the beginning of the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element {
    pub(crate) tag: u8,
    pub start: usize,
    /// Position of the first content octet.
    pub body: usize,
    /// Position after the last content octet; `None` for the indefinite form, which end-of-contents octets close.
    pub end: Option<u64>,
}

impl Element {
    /// Returns true for the two octets that close an indefinite form; a longer header with length 0 is something else.
    fn is_end_of_contents(&self) -> bool {
        self.tag == 0 && self.body == self.start + 2 && self.end == Some(self.body as u64)
    }
}

/// Reads the header of the element at `at`, which must not reach beyond `limit`.
pub fn element(bytes: &[u8], at: usize, limit: u64) -> Parsed<Element> {
    let header = header(bytes.get(at..).ok_or(BerError::Short)?)?;
    let body = at + header.size;
    let end = match header.len {
        None => None,
        Some(len) => {
            let end = (body as u64).checked_add(len).ok_or(BerError::Bad("a length beyond 2^64"))?;
            if end > limit {
                return Err(BerError::Bad("an element that is longer than what holds it"));
            }
            Some(end)
        }
    };
    Ok(Element { tag: header.tag, start: at, body, end })
}

/// Reads the header of the element at `at` and checks its tag.
pub(crate) fn expect(bytes: &[u8], at: usize, limit: u64, tag: u8, what: &'static str) -> Parsed<Element> {
    let found = element(bytes, at, limit)?;
    if found.tag == tag { Ok(found) } else { Err(BerError::Bad(what)) }
}

/// Returns the position after the element at `at`, whatever it is.
pub fn skip(bytes: &[u8], at: usize, limit: u64) -> Parsed<usize> {
    let mut at = at;
    let mut depth = 0;
    loop {
        let found = element(bytes, at, limit)?;
        let closing = found.is_end_of_contents();
        match found.end {
            _ if closing && depth == 0 => return Err(BerError::Bad("end-of-contents octets out of place")),
            _ if closing => {
                depth -= 1;
                at = found.body;
            }
            Some(end) => at = usize::try_from(end).map_err(|_| BerError::Short)?,
            None if depth == MAX_DEPTH => return Err(BerError::Bad("elements nested too deeply")),
            None => {
                depth += 1;
                at = found.body;
            }
        }
        if depth == 0 {
            return if at <= bytes.len() { Ok(at) } else { Err(BerError::Short) };
        }
    }
}

/// Returns the content octets of a primitive element that lies wholly in `bytes`.
pub fn content<'a>(bytes: &'a [u8], element: &Element) -> Parsed<&'a [u8]> {
    let end = element.end.ok_or(BerError::Bad("an indefinite length where a value belongs"))?;
    bytes.get(element.body..usize::try_from(end).map_err(|_| BerError::Short)?).ok_or(BerError::Short)
}

/// Appends tag and length in the shortest definite form.
pub(crate) fn write_header(out: &mut Vec<u8>, tag: u8, len: usize) {
    out.push(tag);
    if len < 0x80 {
        out.push(len as u8);
    } else {
        let octets = (len as u64).to_be_bytes();
        let used = &octets[octets.iter().take_while(|&&o| o == 0).count()..];
        out.push(0x80 | used.len() as u8);
        out.extend_from_slice(used);
    }
}

/// Appends an element.
pub(crate) fn write(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    write_header(out, tag, content.len());
    out.extend_from_slice(content);
}

/// Appends the beginning of an element that [`END_OF_CONTENTS`] closes.
pub(crate) fn write_indefinite(out: &mut Vec<u8>, tag: u8) {
    out.extend_from_slice(&[tag | CONSTRUCTED, 0x80]);
}

/// Iterates over the elements inside a constructed one.
pub struct Children<'a> {
    bytes: &'a [u8],
    at: usize,
    end: Option<u64>,
    limit: u64,
}

impl<'a> Children<'a> {
    pub fn new(bytes: &'a [u8], parent: &Element, limit: u64) -> Children<'a> {
        Children { bytes, at: parent.body, end: parent.end, limit: parent.end.unwrap_or(limit) }
    }

    /// Returns the next child without stepping over it, or `None` at the end of the parent.
    pub fn peek(&self) -> Parsed<Option<Element>> {
        if self.end == Some(self.at as u64) {
            return Ok(None);
        }
        let found = element(self.bytes, self.at, self.limit)?;
        match (found.is_end_of_contents(), self.end) {
            (true, None) => Ok(None),
            (true, Some(_)) => Err(BerError::Bad("end-of-contents octets in a definite length")),
            (false, _) => Ok(Some(found)),
        }
    }

    /// Returns the next child, which lies wholly in the buffer, and steps over it.
    pub fn take(&mut self) -> Parsed<Option<Element>> {
        let Some(found) = self.peek()? else { return Ok(None) };
        self.at = skip(self.bytes, self.at, self.limit)?;
        Ok(Some(found))
    }

    /// Returns the position after the parent; all its children have been taken.
    pub fn finish(self) -> usize {
        if self.end.is_none() { self.at + 2 } else { self.at }
    }

    /// Position of the next child.
    pub fn position(&self) -> usize {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers() {
        assert_eq!(header(&[4, 5]), Ok(Header { tag: 4, size: 2, len: Some(5) }));
        assert_eq!(header(&[4, 0x82, 3, 0xE8]), Ok(Header { tag: 4, size: 4, len: Some(1000) }));
        assert_eq!(header(&[0x30, 0x80]), Ok(Header { tag: 0x30, size: 2, len: None }));
        assert_eq!(header(&[4, 0x88, 0, 0, 0, 0, 0, 0, 0, 9]), Ok(Header { tag: 4, size: 10, len: Some(9) }));
        assert_eq!(header(&[4]), Err(BerError::Short));
        assert_eq!(header(&[4, 0x82, 3]), Err(BerError::Short));
        for bad in [&[0x80u8, 0x80][..], &[4, 0x89], &[4, 0xFF], &[0x1F, 1]] {
            assert!(matches!(header(bad), Err(BerError::Bad(_))), "{bad:x?}");
        }
    }

    #[test]
    fn lengths_do_not_reach_beyond_their_parent() {
        assert!(matches!(element(&[4, 5, 0], 0, 6), Err(BerError::Bad(_))));
        let huge = [4, 0x88, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
        assert!(matches!(element(&huge, 0, u64::MAX), Err(BerError::Bad(_))));
    }

    #[test]
    fn only_two_octets_are_end_of_contents() {
        assert_eq!(skip(&[0x30, 0x80, 0, 0], 0, 4), Ok(4));
        assert_eq!(skip(&[0x30, 0x80, 0, 0x81, 0], 0, 5), Err(BerError::Short));
    }

    #[test]
    fn deep_nesting_is_refused_not_followed() {
        let deep: Vec<u8> = [0x30, 0x80].repeat(20_000);
        assert!(matches!(skip(&deep, 0, deep.len() as u64), Err(BerError::Bad(_))));
    }

    proptest! {
        #[test]
        fn skip_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(end) = skip(&bytes, 0, bytes.len() as u64) {
                prop_assert!(end > 0 && end <= bytes.len());
            }
        }
    }
}
