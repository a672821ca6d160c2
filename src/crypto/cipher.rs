//! Ciphers as OpenSSL knows them.

use openssl::cipher::{Cipher as Evp, CipherRef};

use crate::error::{Error, Result};
use crate::format::cms::Cipher;

/// A mode of operation.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation {
    Cbc,
    Ctr,
    Gcm,
}

pub(crate) fn evp(cipher: Cipher, operation: Operation) -> Result<&'static CipherRef> {
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

pub(crate) fn failed(error: openssl::error::ErrorStack) -> Error {
    Error::damaged(format!("decryption failed: {error}"))
}
