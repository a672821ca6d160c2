//! From a recipient's encrypted key to the content encryption key.

use openssl::md::{Md, MdRef};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::Padding;
use openssl::x509::X509Name;
use zeroize::Zeroizing;

use super::Identity;
use crate::error::{Error, Kind, Result};
use crate::format::cms::{HashFunction, KeyTransportAlgorithm, Recipient, RecipientId};

/// A content encryption key; wiped when it is dropped.
pub(crate) type ContentKey = Zeroizing<Vec<u8>>;

/// Private key operations for one message, at most: recipients that name an identity come first.
const MAX_TRIED: usize = 512;
/// Keys that are tried on the content, at most: for AES-GCM each takes a pass over all of it.
const MAX_KEYS: usize = 8;

/// Returns the content keys of `key_len` bytes that the identities get out of the recipients, the likeliest first.
///
/// There may be several: OpenSSL can answer a failed PKCS#1 v1.5 decryption with random bytes, and a message may
/// name one recipient twice. Which of them is right shows in the content.
pub(crate) fn unwrap_keys(
    recipients: &[Recipient],
    identities: &[Identity],
    key_len: usize,
) -> Result<Vec<ContentKey>> {
    let mut pairs = Vec::new();
    for recipient in recipients {
        let Recipient::KeyTransport { id, transport, encrypted_key } = recipient else { continue };
        for identity in identities {
            let named = identity.is_named_by(id);
            // A key without its certificate is named by nothing, and a re-issued certificate by something else.
            if named || identity.key().size() == encrypted_key.len() {
                pairs.push((named, identity, transport, encrypted_key));
            }
        }
    }
    pairs.sort_by_key(|(named, ..)| !named);
    let mut refused = None;
    let mut keys = Vec::new();
    for (named, identity, transport, encrypted_key) in pairs.iter().take(MAX_TRIED) {
        // Each attempt costs a private key operation, and a message can have thousands of recipients.
        if (!named && !keys.is_empty()) || keys.len() == MAX_KEYS {
            break;
        }
        match unwrap(identity, transport, encrypted_key) {
            Ok(Some(key)) if key.len() == key_len && !keys.contains(&key) => keys.push(key),
            Ok(_) => {}
            Err(error) => refused = Some(error),
        }
    }
    if !keys.is_empty() {
        return Ok(keys);
    }
    let named = pairs.iter().any(|(named, ..)| *named);
    Err(match refused {
        Some(error) => error,
        None if named => Error::new(
            Kind::KeyRejected,
            format!("the key is for this recipient, but does not open the message: {}", names_of(recipients)),
        ),
        None => no_key(recipients),
    })
}

fn no_key(recipients: &[Recipient]) -> Error {
    let readable = recipients.iter().any(|r| matches!(r, Recipient::KeyTransport { .. }));
    if recipients.is_empty() {
        Error::damaged("the message has no recipients")
    } else if readable {
        Error::new(Kind::NoKey, format!("no key given is for it: {}", names_of(recipients)))
    } else {
        Error::unsupported(format!("only recipients that cddsfs does not read: {}", names_of(recipients)))
    }
}

/// Decrypts one encrypted key; `None` where RSA or its padding fails. The error is for what is not supported.
fn unwrap(
    identity: &Identity,
    transport: &KeyTransportAlgorithm,
    encrypted_key: &[u8],
) -> Result<Option<ContentKey>> {
    if let KeyTransportAlgorithm::Other(name) = transport {
        return Err(Error::unsupported(format!("key transport {name}")));
    }
    Ok(decrypt(identity, transport, encrypted_key).ok())
}

fn decrypt(
    identity: &Identity,
    transport: &KeyTransportAlgorithm,
    encrypted_key: &[u8],
) -> std::result::Result<ContentKey, openssl::error::ErrorStack> {
    let mut ctx = PkeyCtx::new(identity.key())?;
    ctx.decrypt_init()?;
    if let KeyTransportAlgorithm::RsaOaep { hash, mask_hash, label } = transport {
        ctx.set_rsa_padding(Padding::PKCS1_OAEP)?;
        ctx.set_rsa_oaep_md(digest(*hash))?;
        ctx.set_rsa_mgf1_md(digest(*mask_hash))?;
        if !label.is_empty() {
            ctx.set_rsa_oaep_label(label)?;
        }
    } else {
        ctx.set_rsa_padding(Padding::PKCS1)?;
    }
    let mut key = Zeroizing::new(vec![0; identity.key().size()]);
    let len = ctx.decrypt(encrypted_key, Some(&mut key))?;
    key.truncate(len);
    Ok(key)
}

fn digest(hash: HashFunction) -> &'static MdRef {
    match hash {
        HashFunction::Sha1 => Md::sha1(),
        HashFunction::Sha224 => Md::sha224(),
        HashFunction::Sha256 => Md::sha256(),
        HashFunction::Sha384 => Md::sha384(),
        HashFunction::Sha512 => Md::sha512(),
    }
}

/// Names the recipients of a message, the first few of them.
fn names_of(recipients: &[Recipient]) -> String {
    const SHOWN: usize = 3;
    let mut names: Vec<String> = recipients.iter().take(SHOWN).map(name).collect();
    if recipients.len() > SHOWN {
        names.push(format!("and {} more", recipients.len() - SHOWN));
    }
    format!("recipient {}", names.join("; "))
}

fn name(recipient: &Recipient) -> String {
    match recipient {
        Recipient::Other(kind) => format!("by {kind}"),
        Recipient::KeyTransport { id: RecipientId::KeyIdentifier(identifier), .. } => {
            format!("with key identifier {}", hex(identifier))
        }
        Recipient::KeyTransport { id: RecipientId::IssuerSerial { issuer, serial }, .. } => {
            format!("with issuer {}, serial {}", distinguished_name(issuer), hex(serial))
        }
    }
}

fn distinguished_name(der: &[u8]) -> String {
    const SHOWN: usize = 8;
    let Ok(name) = X509Name::from_der(der) else { return "(unreadable)".into() };
    let fields: Vec<String> = name
        .entries()
        .take(SHOWN)
        .map(|entry| {
            let key = entry.object().nid().short_name().unwrap_or("?");
            let value = entry.data().to_string().unwrap_or_default();
            // Names come from the file: nothing in them may steer a terminal.
            format!("{key}={}", value.chars().filter(|c| !c.is_control()).take(80).collect::<String>())
        })
        .collect();
    format!("\"{}\"", fields.join(", "))
}

fn hex(octets: &[u8]) -> String {
    octets.iter().take(32).map(|o| format!("{o:02X}")).collect()
}
