//! The plaintext of an encrypted content, as a reader over its ciphertext.

use std::sync::Arc;

use super::ContentKey;
use super::cbc::CbcReader;
use super::gcm::{Authentication, GcmReader};
use crate::error::{Error, Kind, Result};
use crate::format::cms::{CipherMode, ContentEncryption};
use crate::io::Reader;

/// Opens the content under the first of `keys` that fits it.
pub(crate) fn open_content(
    encryption: &ContentEncryption,
    keys: Vec<ContentKey>,
    ciphertext: Reader,
    authentication: Option<Authentication>,
) -> Result<Reader> {
    let cipher = encryption.cipher;
    match &encryption.mode {
        CipherMode::Gcm { nonce, tag_len } => {
            let authentication = authentication
                .filter(|a| a.tag.len() == *tag_len)
                .ok_or_else(|| Error::damaged(format!("no authentication tag of {tag_len} octets")))?;
            Ok(Arc::new(GcmReader::new(cipher, keys, nonce, ciphertext, authentication)?))
        }
        CipherMode::Cbc { iv } => {
            let mut last = Error::new(Kind::KeyRejected, "no content key");
            for key in keys {
                match CbcReader::open(cipher, key, iv.clone(), ciphertext.clone()) {
                    Ok(reader) => return Ok(Arc::new(reader)),
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
    }
}
