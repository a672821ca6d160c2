//! One stored part: from its file to the octets of the zip segment inside.

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;

use super::addressing::Addressing;
use super::{ber_segments, transfer};
use crate::crypto::{Authentication, Identity, open_content, unwrap_keys};
use crate::error::{Error, Kind, Result};
use crate::format::ber::BerError;
use crate::format::cms::{self, CipherMode, CmsError, Envelope};
use crate::format::mime::{self, Body, Coding, NoBody};
use crate::io::{Budget, ReadAt, Reader, Slice};

/// A message whose beginning (recipients above all) is longer than this is refused.
const MAX_ENVELOPE: usize = 4 << 20;
/// Longer beginnings are held in memory one at a time.
const SMALL_ENVELOPE: usize = 64 << 10;
static LARGE: Mutex<()> = Mutex::new(());
/// What follows the content is at most this long: attributes and an authentication tag.
const MAX_CLOSING: usize = 64 << 10;

/// The plaintext of a part.
///
/// It is read the quick way until something turns out to be less regular than it looked; from then on by a full
/// index. Should that give another length, reads fail with [`Kind::Irregular`], and the part has to be opened anew.
pub struct PartReader {
    file: Reader,
    identities: Arc<[Identity]>,
    budget: Arc<Budget>,
    quick: Reader,
    /// Made once, by whoever needs it first; others wait.
    indexed: Mutex<Option<Result<Reader>>>,
}

impl PartReader {
    /// Opens a part, with memory for an index out of a budget.
    pub fn open(
        file: Reader,
        identities: Arc<[Identity]>,
        addressing: Addressing,
        budget: &Arc<Budget>,
    ) -> Result<PartReader> {
        let quick = match open_stack(&file, &identities, addressing, budget) {
            Err(error) if error.kind() == Kind::Irregular => {
                open_stack(&file, &identities, Addressing::Indexed, budget)?
            }
            other => other?,
        };
        Ok(PartReader { file, identities, budget: budget.clone(), quick, indexed: Mutex::default() })
    }

    fn indexed(&self, why: Error) -> Result<Reader> {
        let mut indexed = self.indexed.lock();
        let opened = match &*indexed {
            Some(opened) => opened.clone(),
            None => {
                let opened = open_stack(&self.file, &self.identities, Addressing::Indexed, &self.budget);
                // An interruption says nothing about the part.
                if !opened.as_ref().is_err_and(|error| error.kind().is_transient()) {
                    *indexed = Some(opened.clone());
                }
                opened
            }
        }?;
        if opened.len() == self.quick.len() { Ok(opened) } else { Err(why) }
    }
}

impl ReadAt for PartReader {
    fn len(&self) -> u64 {
        self.quick.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        match self.quick.read_at(buf, offset) {
            Err(error) if error.kind() == Kind::Irregular => self.indexed(error)?.read_at(buf, offset),
            other => other,
        }
    }
}

fn open_stack(
    file: &Reader,
    identities: &[Identity],
    addressing: Addressing,
    budget: &Arc<Budget>,
) -> Result<Reader> {
    let body = find_message(file)?;
    let message = transfer::open(file, body, addressing, budget)?;
    let (envelope, _alone) = parse_envelope(&message)?;
    let (mut ciphertext, content_end) = ber_segments::open(&message, envelope.content, addressing, budget)?;
    let closing = parse_closing(&envelope, &message, content_end)?;
    let end = content_end + closing.len as u64;
    if addressing == Addressing::Regular && body.coding == Coding::Base64 && end != message.len() {
        // Something stands behind the message, or the lines were not as they seemed.
        return Err(Error::new(Kind::Irregular, "the message ends before its text does"));
    }

    let authentication = match (&envelope.encryption.mode, closing.mac) {
        (CipherMode::Gcm { .. }, Some(tag)) => {
            Some(Authentication { tag, attributes: closing.auth_attrs.unwrap_or_default() })
        }
        (CipherMode::Gcm { tag_len, .. }, None) => Some(split_tag(&mut ciphertext, *tag_len)?),
        (CipherMode::Cbc { .. }, None) => None,
        (CipherMode::Cbc { .. }, Some(_)) => {
            return Err(Error::unsupported("an authentication tag with a CBC cipher"));
        }
    };
    let keys = unwrap_keys(&envelope.recipients, identities, envelope.encryption.cipher.key_len())?;
    let plaintext = open_content(&envelope.encryption, keys, ciphertext, authentication)?;
    open_entity(plaintext, addressing, budget)
}

fn find_message(file: &Reader) -> Result<Body> {
    let len = file.len();
    let tail = file.read_vec(len.saturating_sub(mime::TAIL as u64), mime::TAIL)?;
    let mut found = Err(NoBody::NotAMessage(""));
    for head in [4 << 10, mime::MAX_OUTER_HEADER] {
        found = mime::armour(&file.read_vec(0, head)?, &tail, len);
        if found.is_ok() {
            break;
        }
    }
    found.map_err(|why| match why {
        NoBody::NotAMessage(what) => Error::damaged(format!("not an encrypted message, but {what}")),
        NoBody::Unsupported(what) => Error::unsupported(what),
    })
}

fn parse_envelope(message: &Reader) -> Result<(Envelope, Option<MutexGuard<'static, ()>>)> {
    let total = message.len();
    let mut size = 1 << 10;
    let mut alone = None;
    loop {
        if size > SMALL_ENVELOPE && alone.is_none() {
            alone = Some(LARGE.lock());
        }
        match cms::parse(&message.read_vec(0, size)?, total) {
            Ok(envelope) => return Ok((envelope, alone)),
            Err(CmsError::Short) if size as u64 >= total => {
                return Err(Error::damaged("the message breaks off before its content (cut off?)"));
            }
            Err(CmsError::Short) if size >= MAX_ENVELOPE => {
                return Err(Error::damaged(format!(
                    "no content within the first {} MiB",
                    MAX_ENVELOPE >> 20
                )));
            }
            Err(CmsError::Short) => size *= 4,
            Err(CmsError::Damaged(what)) => return Err(Error::damaged(what)),
            Err(CmsError::Unsupported(what)) => return Err(Error::unsupported(what)),
        }
    }
}

fn parse_closing(envelope: &Envelope, message: &Reader, from: u64) -> Result<cms::Closing> {
    let total = message.len();
    if from > total {
        return Err(Error::damaged(format!(
            "cut off: the content should end at octet {from}, the file has {total}"
        )));
    }
    for size in [256, MAX_CLOSING] {
        match cms::parse_closing(envelope, &message.read_vec(from, size)?, from, total) {
            Ok(closing) => return Ok(closing),
            Err(BerError::Short) => {}
            Err(BerError::Bad(what)) => return Err(Error::damaged(what)),
        }
    }
    Err(Error::damaged("the message breaks off behind its content (cut off?)"))
}

/// Splits the tag from the end of the ciphertext. That is not standard, but what BouncyCastle writes for a GCM cipher
/// in EnvelopedData.
fn split_tag(ciphertext: &mut Reader, tag_len: usize) -> Result<Authentication> {
    let Some(len) = ciphertext.len().checked_sub(tag_len as u64) else {
        return Err(Error::damaged("no authentication tag"));
    };
    let tag = ciphertext.read_vec(len, tag_len)?;
    *ciphertext = Arc::new(Slice::new(ciphertext.clone(), 0, len));
    Ok(Authentication { tag, attributes: Vec::new() })
}

fn open_entity(plaintext: Reader, addressing: Addressing, budget: &Arc<Budget>) -> Result<Reader> {
    // Nearly always this is enough to see that there is no header.
    let head = plaintext.read_vec(0, 512)?;
    if !mime::may_be_entity(&head) {
        return Ok(plaintext);
    }
    let len = plaintext.len();
    let head = plaintext.read_vec(0, mime::MAX_INNER_HEADER)?;
    let tail = plaintext.read_vec(len.saturating_sub(mime::TAIL as u64), mime::TAIL)?;
    match mime::entity(&head, &tail, len) {
        Ok(Body { start: 0, coding: Coding::Binary, end }) if end == len => Ok(plaintext),
        Ok(body) => transfer::open(&plaintext, body, addressing, budget),
        Err(NoBody::NotAMessage(what)) => Err(Error::damaged(format!("inside the encryption is {what}"))),
        Err(NoBody::Unsupported(what)) => Err(Error::unsupported(what)),
    }
}
