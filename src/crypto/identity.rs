//! Private keys with their certificates, from the containers that people have: PEM (plain or encrypted), DER, PKCS#12.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use openssl::hash::MessageDigest;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use zeroize::Zeroizing;

use crate::error::{At, Error, Kind, Result};
use crate::format::cms::RecipientId;

/// Asks for the passphrase of the named key file; `None` if there is none.
pub type AskPassphrase<'a> = dyn FnMut(&str) -> Result<Option<Zeroizing<Vec<u8>>>> + 'a;

/// A private key, and the names by which a message can address it.
pub struct Identity {
    key: PKey<Private>,
    certificates: Vec<X509>,
    /// SHA-1 of the public key, the usual subject key identifier (RFC 5280 section 4.2.1.2).
    key_identifier: Vec<u8>,
    fingerprint: [u8; 32],
}

impl Identity {
    /// Reads a key file. One that others can read is refused, as ssh does.
    pub fn load(path: &Path, passphrase: &mut AskPassphrase<'_>) -> Result<Identity> {
        let name = path.display().to_string();
        refuse_if_others_can_read(path).at(&name)?;
        let bytes = Zeroizing::new(fs::read(path).at(&name)?);
        Identity::parse(&bytes, &name, passphrase).at(&name)
    }

    fn parse(bytes: &[u8], name: &str, passphrase: &mut AskPassphrase<'_>) -> Result<Identity> {
        if memchr::memmem::find(bytes, b"-----BEGIN ").is_some() {
            return Identity::from_pem(bytes, name, passphrase);
        }
        if let Ok(container) = Pkcs12::from_der(bytes) {
            return Identity::from_pkcs12(&container, name, passphrase);
        }
        let key = PKey::private_key_from_der(bytes)
            .or_else(|_| PKey::private_key_from_pkcs8(bytes))
            .map_err(|_| Error::new(Kind::Invalid, "not a private key in PEM, DER or PKCS#12"))?;
        Identity::new(key, Vec::new())
    }

    fn from_pem(bytes: &[u8], name: &str, passphrase: &mut AskPassphrase<'_>) -> Result<Identity> {
        let mut asked: Option<Result<Option<Zeroizing<Vec<u8>>>>> = None;
        let key = PKey::private_key_from_pem_callback(bytes, |buffer| {
            let answer = asked.insert(passphrase(name));
            let secret: &[u8] = match answer {
                Ok(Some(secret)) => secret,
                _ => &[],
            };
            let n = secret.len().min(buffer.len());
            buffer[..n].copy_from_slice(&secret[..n]);
            Ok(n)
        });
        let key = match (key, asked) {
            (Ok(key), _) => key,
            (Err(_), Some(Err(error))) => return Err(error),
            (Err(_), Some(Ok(None))) => return Err(needs_passphrase()),
            (Err(_), Some(Ok(Some(_)))) => return Err(wrong_passphrase()),
            (Err(_), None) => {
                return Err(Error::new(Kind::Invalid, "no private key in this PEM file")
                    .with_hint("a certificate does not decrypt; give the key that belongs to it"));
            }
        };
        let certificates = X509::stack_from_pem(bytes).unwrap_or_default();
        Identity::new(key, certificates)
    }

    fn from_pkcs12(container: &Pkcs12, name: &str, passphrase: &mut AskPassphrase<'_>) -> Result<Identity> {
        let parsed = match container.parse2("") {
            Ok(parsed) => parsed,
            Err(_) => {
                let secret = passphrase(name)?.ok_or_else(needs_passphrase)?;
                let text = std::str::from_utf8(&secret).map_err(|_| wrong_passphrase())?;
                container.parse2(text).map_err(|_| wrong_passphrase())?
            }
        };
        let key =
            parsed.pkey.ok_or_else(|| Error::new(Kind::Invalid, "no private key in this PKCS#12 file"))?;
        Identity::new(key, parsed.cert.into_iter().collect())
    }

    fn new(key: PKey<Private>, certificates: Vec<X509>) -> Result<Identity> {
        let rsa =
            key.rsa().map_err(|_| Error::new(Kind::Unsupported, "the private key is not an RSA key"))?;
        let public = rsa.public_key_to_der_pkcs1().map_err(internal)?;
        let hash = |digest| openssl::hash::hash(digest, &public).map_err(internal);
        let key_identifier = hash(MessageDigest::sha1())?.to_vec();
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(&hash(MessageDigest::sha256())?);
        let certificates = certificates
            .into_iter()
            .filter(|c| c.public_key().is_ok_and(|public| public.public_eq(&key)))
            .collect();
        Ok(Identity { key, certificates, key_identifier, fingerprint })
    }

    pub(super) fn key(&self) -> &PKey<Private> {
        &self.key
    }

    /// SHA-256 of the public key.
    pub(crate) fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// Returns true if a certificate of this identity, or its public key, is what the identifier names.
    pub(super) fn is_named_by(&self, id: &RecipientId) -> bool {
        match id {
            RecipientId::KeyIdentifier(identifier) => {
                *identifier == self.key_identifier
                    || self
                        .certificates
                        .iter()
                        .any(|c| c.subject_key_id().is_some_and(|own| own.as_slice() == identifier))
            }
            RecipientId::IssuerSerial { issuer, serial } => self.certificates.iter().any(|c| {
                c.issuer_name().to_der().is_ok_and(|own| own == *issuer)
                    && c.serial_number()
                        .to_bn()
                        .is_ok_and(|own| own.to_vec() == without_leading_zeros(serial))
            }),
        }
    }
}

fn without_leading_zeros(octets: &[u8]) -> &[u8] {
    &octets[octets.iter().take_while(|&&o| o == 0).count()..]
}

fn internal(error: openssl::error::ErrorStack) -> Error {
    Error::new(Kind::Invalid, format!("OpenSSL: {error}"))
}

fn needs_passphrase() -> Error {
    Error::new(Kind::Invalid, "the key is encrypted")
        .with_hint("give --passphrase-file FILE, --passphrase-fd N or --passphrase-command COMMAND")
}

fn wrong_passphrase() -> Error {
    Error::new(Kind::Invalid, "the passphrase does not open the key")
}

fn refuse_if_others_can_read(path: &Path) -> Result<()> {
    let mode = fs::metadata(path)?.mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Error::new(Kind::Invalid, format!("others can read this private key (mode {mode:04o})"))
        .with_hint(format!("mend it with: chmod 600 '{}'", path.display())))
}
