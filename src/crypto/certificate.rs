//! The certificate that exports are encrypted to (X.509, RFC 5280), and whether it will do.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Public};
use openssl::x509::{X509, X509NameRef};

use crate::error::{Error, Kind, Result};
use crate::format::ber::{self, BerError};
use crate::format::cms::RecipientId;

/// A shorter RSA key can be broken.
const MIN_BITS: u32 = 2048;
/// The command that makes a certificate and key that will do.
const ADVICE: &str = "make a good one with: openssl req -x509 -newkey rsa:3072 -nodes -keyout private.pem \
    -out certificate.pem -days 365 -subj \"/O=Example/CN=exports\"";

/// A recipient's certificate.
pub struct Certificate {
    x509: X509,
    key: Option<PKey<Public>>,
    subject: String,
    /// Issuer as a DER Name, serial number as the content octets of the INTEGER: as they stand in the certificate.
    issuer: Vec<u8>,
    serial: Vec<u8>,
    not_before: SystemTime,
    not_after: SystemTime,
    sha256: [u8; 32],
}

impl Certificate {
    /// Reads the first certificate of a PEM file, or one in DER.
    pub fn from_pem(bytes: &[u8]) -> Result<Certificate> {
        let has = |label: &str| memchr::memmem::find(bytes, label.as_bytes()).is_some();
        let x509 = if has("CERTIFICATE-----") {
            X509::from_pem(bytes).map_err(|_| refused("the certificate in this PEM file cannot be read"))?
        } else {
            let is_key = || has("PRIVATE KEY-----") || PKey::private_key_from_der(bytes).is_ok();
            X509::from_der(bytes).map_err(|_| no_certificate(is_key()))?
        };
        let der = x509.to_der().map_err(internal)?;
        let (issuer, serial) = issuer_and_serial(&der)
            .map_err(|_| refused("the issuer and serial number in the certificate cannot be read"))?;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(&hash(MessageDigest::sha256(), &der).map_err(internal)?);
        Ok(Certificate {
            key: x509.public_key().ok(),
            subject: distinguished_name(x509.subject_name()),
            issuer,
            serial,
            not_before: instant(x509.not_before()).map_err(internal)?,
            not_after: instant(x509.not_after()).map_err(internal)?,
            sha256,
            x509,
        })
    }

    /// Refuses a certificate that nothing should be encrypted to at `now`.
    pub(crate) fn check(&self, now: SystemTime) -> Result<()> {
        let fault = match &self.key {
            None => Some("its public key is of a kind that is not known here".to_string()),
            Some(key) if key.id() != Id::RSA => Some(format!(
                "its key is {}, but only RSA keys can open what is exported",
                key_type(key.id())
            )),
            Some(key) if key.bits() < MIN_BITS => Some(format!(
                "its RSA key has {} bits, but {MIN_BITS} are the least that is safe",
                key.bits()
            )),
            _ if now < self.not_before => Some(format!("it is not valid before {}", shown(self.not_before))),
            _ if now > self.not_after => Some(format!("it expired at {}", shown(self.not_after))),
            _ => None,
        };
        match fault {
            None => Ok(()),
            Some(fault) => Err(refused(format!("the certificate will not do: {fault}; {ADVICE}"))),
        }
    }

    /// Returns the subject's distinguished name as text (RFC 4514).
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    /// Returns the serial number in upper case hexadecimal.
    pub(crate) fn serial(&self) -> String {
        self.serial.iter().skip_while(|&&o| o == 0).map(|o| format!("{o:02X}")).collect()
    }

    pub(crate) fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// SHA-256 of the whole certificate in DER.
    pub(crate) fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    pub(crate) fn to_pem(&self) -> Result<Vec<u8>> {
        self.x509.to_pem().map_err(internal)
    }

    /// Returns how a message names this certificate's owner as its recipient.
    pub(crate) fn recipient_id(&self) -> RecipientId {
        RecipientId::IssuerSerial { issuer: self.issuer.clone(), serial: self.serial.clone() }
    }

    pub(super) fn key(&self) -> Result<&PKey<Public>> {
        self.key.as_ref().ok_or_else(|| refused("the certificate has no public key that can be used"))
    }
}

/// Finds issuer and serial number in `Certificate SEQUENCE { tbs SEQUENCE { [0] version OPTIONAL, serial, signature,
/// issuer, .. } .. }`.
fn issuer_and_serial(der: &[u8]) -> std::result::Result<(Vec<u8>, Vec<u8>), BerError> {
    const VERSION: u8 = 0xA0;
    let limit = der.len() as u64;
    let certificate = ber::expect(der, 0, limit, ber::SEQUENCE, "no certificate")?;
    let tbs = ber::expect(der, certificate.body, limit, ber::SEQUENCE, "no TBSCertificate")?;
    let mut at = tbs.body;
    if der.get(at) == Some(&VERSION) {
        at = ber::skip(der, at, limit)?;
    }
    let serial = ber::expect(der, at, limit, ber::INTEGER, "no serial number")?;
    let serial_octets = ber::content(der, &serial)?.to_vec();
    let signature = ber::skip(der, at, limit)?;
    let issuer = ber::skip(der, signature, limit)?;
    let end = ber::skip(der, issuer, limit)?;
    Ok((der[issuer..end].to_vec(), serial_octets))
}

/// Puts the most specific part first, and escapes what would end a part or steer a terminal.
fn distinguished_name(name: &X509NameRef) -> String {
    let mut parts: Vec<String> = Vec::new();
    for entry in name.entries() {
        let key = match entry.object().nid() {
            Nid::UNDEF => entry.object().to_string(),
            nid => nid.short_name().map_or_else(|_| entry.object().to_string(), str::to_string),
        };
        let value = entry.data().to_string().unwrap_or_default();
        let mut part = format!("{key}=");
        let last = value.chars().count().saturating_sub(1);
        for (i, c) in value.chars().enumerate() {
            match c {
                c if c.is_control() => {
                    for octet in c.to_string().bytes() {
                        let _ = write!(part, "\\{octet:02X}");
                    }
                    continue;
                }
                '"' | '+' | ',' | ';' | '<' | '>' | '\\' => part.push('\\'),
                ' ' if i == 0 || i == last => part.push('\\'),
                '#' if i == 0 => part.push('\\'),
                _ => {}
            }
            part.push(c);
        }
        parts.push(part);
    }
    parts.reverse();
    parts.join(",")
}

fn instant(time: &Asn1TimeRef) -> std::result::Result<SystemTime, ErrorStack> {
    const DAY: i64 = 24 * 60 * 60;
    let since = Asn1Time::from_unix(0)?.diff(time)?;
    let seconds = i64::from(since.days) * DAY + i64::from(since.secs);
    let distance = Duration::from_secs(seconds.unsigned_abs());
    Ok(if seconds < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance })
}

fn shown(instant: SystemTime) -> String {
    Timestamp::try_from(instant).map_or_else(|_| "a time beyond the calendar".into(), |t| t.to_string())
}

fn key_type(id: Id) -> String {
    match id {
        Id::EC => "an EC key".into(),
        Id::DSA => "a DSA key".into(),
        Id::DH => "a DH key".into(),
        Id::ED25519 => "an Ed25519 key".into(),
        Id::ED448 => "an Ed448 key".into(),
        Id::X25519 => "an X25519 key".into(),
        Id::X448 => "an X448 key".into(),
        Id::RSA_PSS => "an RSA-PSS key, which is for signatures alone".into(),
        other => format!("of another type ({})", other.as_raw()),
    }
}

fn no_certificate(is_key: bool) -> Error {
    if is_key {
        refused(format!("this is a private key, where the certificate to encrypt to is wanted; {ADVICE}"))
    } else {
        refused(format!("no X.509 certificate, neither in PEM nor in DER; {ADVICE}"))
    }
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, message)
}

fn internal(error: ErrorStack) -> Error {
    Error::new(Kind::Invalid, format!("OpenSSL: {error}"))
}

#[cfg(test)]
pub(super) mod tests;
