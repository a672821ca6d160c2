//! Algorithm identifiers with their parameters: key transport (RFC 8017, RFC 3560) and content encryption
//! (RFC 3370, RFC 3565, RFC 3657, RFC 5084).

use super::CmsError;
use crate::format::ber::{self, BerError, Children, Element};
use crate::format::oid;

/// A block cipher with its key length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cipher {
    Aes128,
    Aes192,
    Aes256,
    TripleDes,
    Camellia128,
    Camellia192,
    Camellia256,
}

impl Cipher {
    /// Length of the content encryption key in bytes.
    pub(crate) fn key_len(self) -> usize {
        match self {
            Cipher::Aes128 | Cipher::Camellia128 => 16,
            Cipher::Aes192 | Cipher::Camellia192 | Cipher::TripleDes => 24,
            Cipher::Aes256 | Cipher::Camellia256 => 32,
        }
    }

    /// Length of a block in bytes.
    pub(crate) fn block_len(self) -> usize {
        if self == Cipher::TripleDes { 8 } else { 16 }
    }
}

/// Mode of operation of a cipher, with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CipherMode {
    Cbc { iv: Vec<u8> },
    Gcm { nonce: Vec<u8>, tag_len: usize },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContentEncryption {
    pub(crate) cipher: Cipher,
    pub(crate) mode: CipherMode,
}

/// A hash function of OAEP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HashFunction {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// Algorithm by which the content encryption key is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyTransportAlgorithm {
    RsaPkcs1,
    RsaOaep {
        hash: HashFunction,
        mask_hash: HashFunction,
        label: Vec<u8>,
    },
    /// Another algorithm, by its name.
    Other(String),
}

/// Splits an AlgorithmIdentifier into its dotted name and the parameters, if any.
fn identifier(bytes: &[u8], algorithm: &Element, limit: u64) -> Result<(String, Option<Element>), BerError> {
    let mut fields = Children::new(bytes, algorithm, limit);
    let name =
        fields.take()?.filter(|e| e.tag == ber::OID).ok_or(BerError::Bad("an algorithm without a name"))?;
    let name = oid::dotted(ber::content(bytes, &name)?);
    Ok((name, fields.take()?))
}

pub(crate) fn content_encryption(
    bytes: &[u8],
    algorithm: &Element,
    limit: u64,
) -> Result<ContentEncryption, CmsError> {
    // The parameters must be there before they are looked at.
    ber::skip(bytes, algorithm.start, limit)?;
    let (name, parameters) = identifier(bytes, algorithm, limit)?;
    let (cipher, gcm) = match name.as_str() {
        "2.16.840.1.101.3.4.1.2" => (Cipher::Aes128, false),
        "2.16.840.1.101.3.4.1.22" => (Cipher::Aes192, false),
        oid::AES_256_CBC => (Cipher::Aes256, false),
        "2.16.840.1.101.3.4.1.6" => (Cipher::Aes128, true),
        "2.16.840.1.101.3.4.1.26" => (Cipher::Aes192, true),
        "2.16.840.1.101.3.4.1.46" => (Cipher::Aes256, true),
        "1.2.840.113549.3.7" => (Cipher::TripleDes, false),
        "1.2.392.200011.61.1.1.1.2" => (Cipher::Camellia128, false),
        "1.2.392.200011.61.1.1.1.3" => (Cipher::Camellia192, false),
        "1.2.392.200011.61.1.1.1.4" => (Cipher::Camellia256, false),
        other => return Err(CmsError::Unsupported(format!("content cipher {}", oid::with_name(other)))),
    };
    let parameters = parameters.ok_or(CmsError::Damaged("a content cipher without parameters"))?;
    let mode =
        if gcm { gcm_parameters(bytes, &parameters, limit)? } else { cbc_iv(bytes, &parameters, cipher)? };
    Ok(ContentEncryption { cipher, mode })
}

fn cbc_iv(bytes: &[u8], parameters: &Element, cipher: Cipher) -> Result<CipherMode, CmsError> {
    let iv = ber::content(bytes, parameters)?.to_vec();
    if parameters.tag != ber::OCTET_STRING || iv.len() != cipher.block_len() {
        return Err(CmsError::Damaged("an initialisation vector of the wrong length"));
    }
    Ok(CipherMode::Cbc { iv })
}

/// GCMParameters of RFC 5084 section 3.2: nonce, and the length of the tag (12 unless given).
fn gcm_parameters(bytes: &[u8], parameters: &Element, limit: u64) -> Result<CipherMode, CmsError> {
    let mut fields = Children::new(bytes, parameters, limit);
    let nonce =
        fields.take()?.filter(|e| e.tag == ber::OCTET_STRING).ok_or(CmsError::Damaged("no GCM nonce"))?;
    let nonce = ber::content(bytes, &nonce)?.to_vec();
    if nonce.len() != 12 {
        return Err(CmsError::Unsupported(format!("a GCM nonce of {} octets (12 are usual)", nonce.len())));
    }
    let tag_len = match fields.take()? {
        None => 12,
        Some(len) => match ber::content(bytes, &len)? {
            [len @ 12..=16] => usize::from(*len),
            _ => return Err(CmsError::Damaged("a GCM tag length other than 12 to 16")),
        },
    };
    Ok(CipherMode::Gcm { nonce, tag_len })
}

pub(crate) fn key_transport(
    bytes: &[u8],
    algorithm: &Element,
    limit: u64,
) -> Result<KeyTransportAlgorithm, CmsError> {
    let (name, parameters) = identifier(bytes, algorithm, limit)?;
    match name.as_str() {
        oid::RSA_ENCRYPTION => Ok(KeyTransportAlgorithm::RsaPkcs1),
        oid::RSA_OAEP => oaep(bytes, parameters, limit),
        other => Ok(KeyTransportAlgorithm::Other(oid::with_name(other))),
    }
}

/// RSAES-OAEP-params of RFC 8017 appendix A.2.1. What is absent means SHA-1, also for the mask where only the
/// hash is given.
fn oaep(bytes: &[u8], parameters: Option<Element>, limit: u64) -> Result<KeyTransportAlgorithm, CmsError> {
    let (mut hash, mut mask_hash, mut label) = (HashFunction::Sha1, HashFunction::Sha1, Vec::new());
    if let Some(parameters) = parameters.filter(|p| p.tag == ber::SEQUENCE) {
        let mut fields = Children::new(bytes, &parameters, limit);
        while let Some(field) = fields.take()? {
            let limit = fields.position() as u64;
            let inner = ber::element(bytes, field.body, limit)?;
            let (name, parameter) = identifier(bytes, &inner, limit)?;
            match (field.tag, name.as_str()) {
                (0xA0, name) => hash = hash_function(name)?,
                (0xA1, oid::MGF1) => {
                    let of = parameter.ok_or(CmsError::Damaged("MGF1 without its hash"))?;
                    mask_hash = hash_function(&identifier(bytes, &of, limit)?.0)?;
                }
                (0xA2, oid::P_SPECIFIED) => {
                    let value = parameter.ok_or(CmsError::Damaged("an OAEP label without its value"))?;
                    label = ber::content(bytes, &value)?.to_vec();
                }
                (_, name) => return Err(CmsError::Unsupported(format!("OAEP parameter {name}"))),
            }
        }
    }
    Ok(KeyTransportAlgorithm::RsaOaep { hash, mask_hash, label })
}

fn hash_function(name: &str) -> Result<HashFunction, CmsError> {
    match name {
        oid::SHA1 => Ok(HashFunction::Sha1),
        oid::SHA224 => Ok(HashFunction::Sha224),
        oid::SHA256 => Ok(HashFunction::Sha256),
        oid::SHA384 => Ok(HashFunction::Sha384),
        oid::SHA512 => Ok(HashFunction::Sha512),
        other => Err(CmsError::Unsupported(format!("OAEP hash function {}", oid::with_name(other)))),
    }
}

/// Appends an AlgorithmIdentifier; `parameters` are whole elements.
fn write_identifier(out: &mut Vec<u8>, name: &str, parameters: &[u8]) {
    let mut content = Vec::new();
    ber::write(&mut content, ber::OID, &oid::octets(name));
    content.extend_from_slice(parameters);
    ber::write(out, ber::SEQUENCE, &content);
}

/// Appends the algorithm of the content; `None` for what is only read.
pub(crate) fn write_content_encryption(out: &mut Vec<u8>, encryption: &ContentEncryption) -> Option<()> {
    let (Cipher::Aes256, CipherMode::Cbc { iv }) = (encryption.cipher, &encryption.mode) else { return None };
    let mut parameters = Vec::new();
    ber::write(&mut parameters, ber::OCTET_STRING, iv);
    write_identifier(out, oid::AES_256_CBC, &parameters);
    Some(())
}

/// Appends the algorithm of the encrypted key; `None` for what is only read: other algorithms, and labels.
pub(crate) fn write_key_transport(out: &mut Vec<u8>, transport: &KeyTransportAlgorithm) -> Option<()> {
    const NULL: [u8; 2] = [ber::NULL, 0];
    match transport {
        KeyTransportAlgorithm::RsaPkcs1 => write_identifier(out, oid::RSA_ENCRYPTION, &NULL),
        KeyTransportAlgorithm::RsaOaep { hash, mask_hash, label } if label.is_empty() => {
            let mut fields = Vec::new();
            let mut identifier = Vec::new();
            write_identifier(&mut identifier, hash_name(*hash), &NULL);
            ber::write(&mut fields, 0xA0, &identifier);
            let (mut mask, mut generator) = (Vec::new(), Vec::new());
            write_identifier(&mut mask, hash_name(*mask_hash), &NULL);
            write_identifier(&mut generator, oid::MGF1, &mask);
            ber::write(&mut fields, 0xA1, &generator);
            let mut parameters = Vec::new();
            ber::write(&mut parameters, ber::SEQUENCE, &fields);
            write_identifier(out, oid::RSA_OAEP, &parameters);
        }
        KeyTransportAlgorithm::RsaOaep { .. } | KeyTransportAlgorithm::Other(_) => return None,
    }
    Some(())
}

fn hash_name(hash: HashFunction) -> &'static str {
    match hash {
        HashFunction::Sha1 => oid::SHA1,
        HashFunction::Sha224 => oid::SHA224,
        HashFunction::Sha256 => oid::SHA256,
        HashFunction::Sha384 => oid::SHA384,
        HashFunction::Sha512 => oid::SHA512,
    }
}
