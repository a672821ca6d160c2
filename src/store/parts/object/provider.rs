//! The OpenSSL that is linked already, as object_store wants its cryptography.

use object_store::client::{
    CryptoProvider, DigestAlgorithm, DigestContext, HmacContext, Signer, SigningAlgorithm,
};
use object_store::{Error, Result};

use crate::crypto::{Sha256, SigningKey, hmac_sha256};

#[derive(Debug)]
pub(crate) struct Provider;

impl CryptoProvider for Provider {
    fn digest(&self, algorithm: DigestAlgorithm) -> Result<Box<dyn DigestContext>> {
        match algorithm {
            DigestAlgorithm::Sha256 => Ok(Box::new(Digest::default())),
            other => Err(unknown(format!("{other:?}"))),
        }
    }

    fn hmac(&self, algorithm: DigestAlgorithm, secret: &[u8]) -> Result<Box<dyn HmacContext>> {
        match algorithm {
            DigestAlgorithm::Sha256 => Ok(Box::new(Hmac { secret: secret.to_vec(), ..Hmac::default() })),
            other => Err(unknown(format!("{other:?}"))),
        }
    }

    fn sign(&self, algorithm: SigningAlgorithm, pem: &[u8]) -> Result<Box<dyn Signer>> {
        match algorithm {
            SigningAlgorithm::RS256 => Ok(Box::new(Key(SigningKey::from_pem(pem).map_err(failed)?))),
            other => Err(unknown(format!("{other:?}"))),
        }
    }
}

#[derive(Default)]
struct Digest {
    sha256: Sha256,
    value: [u8; 32],
}

impl DigestContext for Digest {
    fn update(&mut self, data: &[u8]) {
        self.sha256.update(data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        self.value = self.sha256.clone().finish();
        Ok(&self.value)
    }
}

/// What is signed of a request is short.
#[derive(Default)]
struct Hmac {
    secret: Vec<u8>,
    bytes: Vec<u8>,
    value: Vec<u8>,
}

impl HmacContext for Hmac {
    fn update(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        self.value = hmac_sha256(&self.secret, &self.bytes).map_err(failed)?;
        Ok(&self.value)
    }
}

struct Key(SigningKey);

impl Signer for Key {
    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        self.0.sign(bytes).map_err(failed)
    }
}

fn failed(error: crate::error::Error) -> Error {
    Error::Generic { store: "OpenSSL", source: Box::new(error) }
}

fn unknown(algorithm: String) -> Error {
    Error::NotSupported { source: algorithm.into() }
}
