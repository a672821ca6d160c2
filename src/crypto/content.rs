//! The plaintext of an encrypted content, as a reader over its ciphertext.

use std::sync::Arc;

use openssl::cipher::{Cipher as Evp, CipherRef};

use super::ContentKey;
use super::cbc::CbcReader;
use super::gcm::GcmReader;
use crate::error::{Error, Kind, Result};
use crate::format::cms::{Cipher, ContentEncryption, Mode};
use crate::io::Reader;

/// What AES-GCM is verified against (RFC 5083).
#[derive(Debug, Clone, Default)]
pub struct Authentication {
    pub tag: Vec<u8>,
    /// DER of the authenticated attributes; empty where there are none.
    pub attributes: Vec<u8>,
}

/// Opens the content under the first of `keys` that fits it.
pub fn open_content(
    encryption: &ContentEncryption,
    keys: Vec<ContentKey>,
    ciphertext: Reader,
    authentication: Option<Authentication>,
) -> Result<Reader> {
    let cipher = encryption.cipher;
    match &encryption.mode {
        Mode::Gcm { nonce, tag_len } => {
            let authentication = authentication
                .filter(|a| a.tag.len() == *tag_len)
                .ok_or_else(|| Error::damaged(format!("no authentication tag of {tag_len} octets")))?;
            Ok(Arc::new(GcmReader::new(cipher, keys, nonce, ciphertext, authentication)?))
        }
        Mode::Cbc { iv } => {
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

/// The same cipher in another mode of operation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    Cbc,
    Ctr,
    Gcm,
}

pub(super) fn evp(cipher: Cipher, operation: Operation) -> Result<&'static CipherRef> {
    Ok(match (cipher, operation) {
        (Cipher::Aes128, Operation::Cbc) => Evp::aes_128_cbc(),
        (Cipher::Aes192, Operation::Cbc) => Evp::aes_192_cbc(),
        (Cipher::Aes256, Operation::Cbc) => Evp::aes_256_cbc(),
        (Cipher::Aes128, Operation::Ctr) => Evp::aes_128_ctr(),
        (Cipher::Aes192, Operation::Ctr) => Evp::aes_192_ctr(),
        (Cipher::Aes256, Operation::Ctr) => Evp::aes_256_ctr(),
        (Cipher::Aes128, Operation::Gcm) => Evp::aes_128_gcm(),
        (Cipher::Aes192, Operation::Gcm) => Evp::aes_192_gcm(),
        (Cipher::Aes256, Operation::Gcm) => Evp::aes_256_gcm(),
        (Cipher::TripleDes, Operation::Cbc) => Evp::des_ede3_cbc(),
        (Cipher::Camellia128, Operation::Cbc) => Evp::camellia128_cbc(),
        (Cipher::Camellia192, Operation::Cbc) => Evp::camellia192_cbc(),
        (Cipher::Camellia256, Operation::Cbc) => Evp::camellia256_cbc(),
        (cipher, operation) => return Err(Error::unsupported(format!("{cipher:?} as {operation:?}"))),
    })
}

pub(super) fn failed(error: openssl::error::ErrorStack) -> Error {
    Error::damaged(format!("decryption failed: {error}"))
}
