//! What requests to a service are authenticated by: keyed digests, and signatures of a service's account.

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;

use crate::error::{Error, Kind, Result};

/// Returns the HMAC with SHA-256.
pub(crate) fn hmac_sha256(secret: &[u8], bytes: &[u8]) -> Result<Vec<u8>> {
    // A key is filled up with zeros, so that this one is as good as none, which OpenSSL does not take.
    let secret = if secret.is_empty() { &[0] } else { secret };
    sign(&PKey::hmac(secret).map_err(failed)?, bytes)
}

/// A private RSA key that signs with SHA-256 (RS256).
pub(crate) struct SigningKey(PKey<Private>);

impl SigningKey {
    pub(crate) fn from_pem(pem: &[u8]) -> Result<SigningKey> {
        // No passphrase: nobody is there to be asked.
        let key = PKey::private_key_from_pem_passphrase(pem, b"").ok().filter(|key| key.rsa().is_ok());
        key.map(SigningKey).ok_or_else(|| Error::new(Kind::Invalid, "this is no private RSA key in PEM"))
    }

    pub(crate) fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        sign(&self.0, bytes)
    }
}

fn sign(key: &PKey<Private>, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut signer = Signer::new(MessageDigest::sha256(), key).map_err(failed)?;
    signer.sign_oneshot_to_vec(bytes).map_err(failed)
}

fn failed(error: ErrorStack) -> Error {
    Error::new(Kind::Invalid, format!("OpenSSL: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::rsa::Rsa;
    use openssl::sign::Verifier;

    /// The second test case of RFC 4231.
    #[test]
    fn hmac_of_the_rfc() {
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let hmac = |secret: &[u8], bytes: &[u8]| {
            let mac = hmac_sha256(secret, bytes).unwrap();
            mac.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        assert_eq!(hmac(b"Jefe", b"what do ya want for nothing?"), expected);
        assert_eq!(hmac(b"", b""), "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
    }

    #[test]
    fn signatures_verify() {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let signature =
            SigningKey::from_pem(&key.private_key_to_pem_pkcs8().unwrap()).unwrap().sign(b"x").unwrap();
        let mut verifier = Verifier::new(MessageDigest::sha256(), &key).unwrap();
        assert!(verifier.verify_oneshot(&signature, b"x").unwrap());
        assert_eq!(SigningKey::from_pem(b"x").err().unwrap().kind(), Kind::Invalid);
    }
}
