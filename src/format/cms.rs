//! Encrypted messages: EnvelopedData (RFC 5652 section 6) and AuthEnvelopedData (RFC 5083), up to the first octet of
//! the encrypted content and from the last one on. The content itself is never touched here. [`mod@write`] is the other
//! direction.
//!
//! ```text
//! ContentInfo  SEQUENCE { contentType OID, [0] {
//!   EnvelopedData  SEQUENCE { version INTEGER, [0] originatorInfo OPTIONAL,
//!     recipientInfos  SET OF { ktri SEQUENCE | kari [1] | kekri [2] | pwri [3] | ori [4] },
//!     encryptedContentInfo  SEQUENCE { contentType OID, cipher SEQUENCE { OID, parameters },
//!       encryptedContent  [0] primitive, or constructed: OCTET STRING segments }
//!     -- EnvelopedData:     unprotectedAttrs [1] OPTIONAL
//!     -- AuthEnvelopedData: authAttrs [1] OPTIONAL, mac OCTET STRING, unauthAttrs [2] OPTIONAL
//!   } } }
//! ```

use super::ber::{self, BerError, Children, Element, Parsed};
use super::oid;

mod algorithm;
pub mod write;

pub(crate) use algorithm::{Cipher, CipherMode, ContentEncryption, HashFunction, KeyTransportAlgorithm};

/// How a recipient's certificate is named (RFC 5652 section 6.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RecipientId {
    /// Issuer as a DER Name, serial number as the content octets of the INTEGER.
    IssuerSerial {
        issuer: Vec<u8>,
        serial: Vec<u8>,
    },
    KeyIdentifier(Vec<u8>),
}

/// One RecipientInfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Recipient {
    KeyTransport {
        id: RecipientId,
        transport: KeyTransportAlgorithm,
        encrypted_key: Vec<u8>,
    },
    /// A kind that cddsfs does not read, by its name.
    Other(&'static str),
}

/// Position and form of the encrypted content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncryptedContent {
    /// Position of the first octet after the header of `[0]`.
    pub start: u64,
    /// Number of octets from there, segment headers included; `None` for the indefinite form.
    pub len: Option<u64>,
    /// False: the octets are the ciphertext. True: they are OCTET STRING segments.
    pub(crate) constructed: bool,
}

/// A message up to its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) encryption: ContentEncryption,
    pub content: EncryptedContent,
    /// True for AuthEnvelopedData.
    pub authenticated: bool,
    /// Ends of what holds the content, innermost first: EncryptedContentInfo, the data, `[0]`, ContentInfo.
    holders: [Option<u64>; 4],
}

/// Why a message is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CmsError {
    /// More of the beginning is needed.
    Short,
    Damaged(&'static str),
    Unsupported(String),
}

impl From<BerError> for CmsError {
    fn from(error: BerError) -> CmsError {
        match error {
            BerError::Short => CmsError::Short,
            BerError::Bad(what) => CmsError::Damaged(what),
        }
    }
}

/// More recipients come from no real producer; each may cost memory and a private key operation.
const MAX_RECIPIENTS: usize = 4096;

const CONTEXT_0: u8 = 0x80;
const CONTEXT_1: u8 = 0x81;
const CONTEXT_2: u8 = 0x82;

/// Reads the beginning of a message of `total` octets, of which `bytes` are the first.
pub fn parse(bytes: &[u8], total: u64) -> Result<Envelope, CmsError> {
    let info = ber::expect(bytes, 0, u64::MAX, ber::SEQUENCE, "no ContentInfo")?;
    if info.end.is_some_and(|end| end > total) {
        return Err(CmsError::Damaged("shorter than its own length says (cut off?)"));
    }
    let info_limit = info.end.unwrap_or(total);
    let (content_type, at) = object_identifier(bytes, info.body, info_limit)?;
    let authenticated = match content_type.as_str() {
        oid::ENVELOPED_DATA => false,
        oid::AUTH_ENVELOPED_DATA => true,
        other => return Err(CmsError::Unsupported(format!("content type {}", oid::with_name(other)))),
    };
    let explicit =
        ber::expect(bytes, at, info_limit, CONTEXT_0 | ber::CONSTRUCTED, "no content in the ContentInfo")?;
    let explicit_limit = explicit.end.unwrap_or(info_limit);
    let data = ber::expect(bytes, explicit.body, explicit_limit, ber::SEQUENCE, "no EnvelopedData")?;
    let data_limit = data.end.unwrap_or(explicit_limit);

    let version = ber::expect(bytes, data.body, data_limit, ber::INTEGER, "no version in the EnvelopedData")?;
    let mut at = ber::skip(bytes, version.start, data_limit)?;
    if bytes.get(at) == Some(&(CONTEXT_0 | ber::CONSTRUCTED)) {
        at = ber::skip(bytes, at, data_limit)?;
    }
    let set = ber::expect(bytes, at, data_limit, ber::SET, "no RecipientInfos")?;
    let (recipients, at) = parse_recipients(bytes, &set, data_limit)?;

    let info_tag = "no EncryptedContentInfo";
    let encrypted = ber::expect(bytes, at, data_limit, ber::SEQUENCE, info_tag)?;
    let encrypted_limit = encrypted.end.unwrap_or(data_limit);
    // The inner content type is not looked at: some senders say signedData and mean data.
    let (_, at) = object_identifier(bytes, encrypted.body, encrypted_limit)?;
    let algorithm =
        ber::expect(bytes, at, encrypted_limit, ber::SEQUENCE, "no content encryption algorithm")?;
    let encryption = algorithm::content_encryption(bytes, &algorithm, encrypted_limit)?;
    let at = ber::skip(bytes, algorithm.start, encrypted_limit)?;
    if encrypted.end == Some(at as u64) {
        return Err(CmsError::Damaged("the encrypted content is detached (absent)"));
    }
    let content = ber::element(bytes, at, encrypted_limit)?;
    if content.tag & !ber::CONSTRUCTED != CONTEXT_0 {
        return Err(CmsError::Damaged("no encrypted content"));
    }
    Ok(Envelope {
        recipients,
        encryption,
        content: EncryptedContent {
            start: content.body as u64,
            len: content.end.map(|end| end - content.body as u64),
            constructed: content.tag & ber::CONSTRUCTED != 0,
        },
        authenticated,
        holders: [encrypted.end, data.end, explicit.end, info.end],
    })
}

/// What follows the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// Number of octets from the end of the content to the end of the message.
    pub len: usize,
    /// The authentication tag of AuthEnvelopedData.
    pub mac: Option<Vec<u8>>,
    /// The authenticated attributes as they enter the tag (RFC 5083 section 2.2): with the tag of a SET OF.
    pub(crate) auth_attrs: Option<Vec<u8>>,
}

/// Reads what follows the content: `bytes` begin at the end of the content, which is position `from` in the message.
///
/// The end-of-contents octets of the content itself come first where it has the indefinite form.
pub fn parse_closing(envelope: &Envelope, bytes: &[u8], from: u64, total: u64) -> Parsed<Closing> {
    let limit = total.saturating_sub(from);
    let mut at = 0;
    if envelope.content.len.is_none() {
        at = close(bytes, at)?;
    }
    let [encrypted, data, explicit, info] = envelope.holders;
    at = leave(bytes, at, from, encrypted)?;

    let (mut mac, mut auth_attrs) = (None, None);
    while !at_end(bytes, at, from, data)? {
        let next = ber::element(bytes, at, limit)?;
        let end = ber::skip(bytes, at, limit)?;
        match next.tag {
            ber::OCTET_STRING if envelope.authenticated && mac.is_none() => {
                mac = Some(ber::content(bytes, &next)?.to_vec());
            }
            tag if tag == CONTEXT_1 | ber::CONSTRUCTED => {
                let mut attrs = bytes[at..end].to_vec();
                attrs[0] = ber::SET;
                auth_attrs = Some(attrs);
            }
            tag if tag == CONTEXT_2 | ber::CONSTRUCTED => {}
            _ => return Err(BerError::Bad("something unknown after the encrypted content")),
        }
        at = end;
    }
    for end in [data, explicit, info] {
        at = leave(bytes, at, from, end)?;
    }
    if envelope.authenticated && mac.is_none() {
        return Err(BerError::Bad("no authentication tag"));
    }
    Ok(Closing { len: at, mac, auth_attrs: auth_attrs.filter(|_| envelope.authenticated) })
}

fn close(bytes: &[u8], at: usize) -> Parsed<usize> {
    match bytes.get(at..at + 2) {
        None => Err(BerError::Short),
        Some([0, 0]) => Ok(at + 2),
        Some(_) => Err(BerError::Bad("no end-of-contents octets after the encrypted content")),
    }
}

fn at_end(bytes: &[u8], at: usize, from: u64, end: Option<u64>) -> Parsed<bool> {
    match end {
        Some(end) if from + at as u64 > end => {
            Err(BerError::Bad("an element that is longer than what holds it"))
        }
        Some(end) => Ok(from + at as u64 == end),
        None => Ok(bytes.get(at..at + 2).ok_or(BerError::Short)? == [0, 0]),
    }
}

fn leave(bytes: &[u8], at: usize, from: u64, end: Option<u64>) -> Parsed<usize> {
    match end {
        None => close(bytes, at),
        Some(end) if end == from + at as u64 => Ok(at),
        Some(_) => Err(BerError::Bad("a length that does not agree with what it holds")),
    }
}

/// Returns the dotted form of the OBJECT IDENTIFIER at `at` and the position after it.
fn object_identifier(bytes: &[u8], at: usize, limit: u64) -> Parsed<(String, usize)> {
    let element = ber::expect(bytes, at, limit, ber::OID, "no object identifier where one belongs")?;
    let content = ber::content(bytes, &element)?;
    Ok((oid::dotted(content), element.body + content.len()))
}

fn parse_recipients(bytes: &[u8], set: &Element, limit: u64) -> Result<(Vec<Recipient>, usize), CmsError> {
    let mut recipients = Vec::new();
    let mut infos = Children::new(bytes, set, limit);
    while let Some(info) = infos.take()? {
        if recipients.len() == MAX_RECIPIENTS {
            return Err(CmsError::Unsupported(format!("more than {MAX_RECIPIENTS} recipients")));
        }
        recipients.push(match info.tag {
            ber::SEQUENCE => key_transport(bytes, &info, infos.position() as u64)?,
            0xA1 => Recipient::Other("key agreement"),
            0xA2 => Recipient::Other("key encryption key"),
            0xA3 => Recipient::Other("password"),
            _ => Recipient::Other("a type unknown here"),
        });
    }
    Ok((recipients, infos.finish()))
}

/// Reads one KeyTransRecipientInfo, which ends before `limit`.
fn key_transport(bytes: &[u8], info: &Element, limit: u64) -> Result<Recipient, CmsError> {
    const INCOMPLETE: BerError = BerError::Bad("an incomplete RecipientInfo");
    let mut fields = Children::new(bytes, info, limit);
    fields.take()?.ok_or(INCOMPLETE)?;
    let id = fields.take()?.ok_or(INCOMPLETE)?;
    let id = match id.tag {
        ber::SEQUENCE => {
            let mut names = Children::new(bytes, &id, fields.position() as u64);
            let issuer = names.take()?.ok_or(INCOMPLETE)?;
            let issuer = bytes[issuer.start..names.position()].to_vec();
            let serial = names.take()?.ok_or(INCOMPLETE)?;
            RecipientId::IssuerSerial { issuer, serial: ber::content(bytes, &serial)?.to_vec() }
        }
        CONTEXT_0 => RecipientId::KeyIdentifier(ber::content(bytes, &id)?.to_vec()),
        _ => return Err(CmsError::Damaged("an unknown kind of recipient identifier")),
    };
    let algorithm = fields.take()?.ok_or(INCOMPLETE)?;
    let transport = algorithm::key_transport(bytes, &algorithm, fields.position() as u64)?;
    let key = fields.take()?.ok_or(INCOMPLETE)?;
    if key.tag != ber::OCTET_STRING {
        return Err(CmsError::Damaged("no encrypted key in a RecipientInfo"));
    }
    let encrypted_key = ber::content(bytes, &key)?.to_vec();
    Ok(Recipient::KeyTransport { id, transport, encrypted_key })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tlv(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![tag, 0x82];
        out.extend_from_slice(&(body.len() as u16).to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    const ENVELOPED: [u8; 11] = [6, 9, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 7, 3];
    const DATA: [u8; 11] = [6, 9, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 7, 1];
    const AES256: [u8; 11] = [6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 0x2A];

    fn message(content: &[u8]) -> Vec<u8> {
        let algorithm = tlv(0x30, &[&AES256[..], &tlv(4, &[7; 16])].concat());
        let encrypted = tlv(0x30, &[&DATA[..], &algorithm, content].concat());
        let data = tlv(0x30, &[&[2, 1, 0][..], &tlv(0x31, &[]), &encrypted].concat());
        tlv(0x30, &[&ENVELOPED[..], &tlv(0xA0, &data)].concat())
    }

    #[test]
    fn finds_the_content_and_its_end() {
        let whole = message(&tlv(0x80, &[9; 32]));
        let envelope = parse(&whole, whole.len() as u64).unwrap();
        assert_eq!(envelope.content.len, Some(32));
        assert!(!envelope.content.constructed && !envelope.authenticated);
        let end = envelope.content.start + 32;
        let closing = parse_closing(&envelope, &whole[end as usize..], end, whole.len() as u64).unwrap();
        assert_eq!((closing.len, closing.mac), (0, None));
    }

    #[test]
    fn every_beginning_is_short_never_wrong() {
        let whole = message(&tlv(0x80, &[9; 32]));
        let start = parse(&whole, whole.len() as u64).unwrap().content.start as usize;
        for n in 0..start {
            assert_eq!(parse(&whole[..n], whole.len() as u64), Err(CmsError::Short), "{n} octets");
        }
    }

    #[test]
    fn recipients_without_end_are_refused_before_they_fill_memory() {
        let recipients = tlv(0x31, &[0xA1, 0].repeat(MAX_RECIPIENTS + 1));
        let data = tlv(0x30, &[&[2, 1, 0][..], &recipients].concat());
        let whole = tlv(0x30, &[&ENVELOPED[..], &tlv(0xA0, &data)].concat());
        assert!(matches!(parse(&whole, whole.len() as u64), Err(CmsError::Unsupported(_))));
    }

    #[test]
    fn absent_content_is_refused() {
        let whole = message(&[]);
        assert!(matches!(parse(&whole, whole.len() as u64), Err(CmsError::Damaged(_))));
    }
}
