//! Keys and certificates, key transport, decryption of byte ranges and encryption of streams; the only place that names
//! OpenSSL.

mod cbc;
mod certificate;
mod cipher;
mod content;
mod envelope;
mod gcm;
mod identity;
#[cfg(feature = "object-store")]
mod mac;
mod sha256;
mod transport;

pub use certificate::Certificate;
pub(crate) use content::open_content;
pub use envelope::{EnvelopeWriter, KeyTransport};
pub(crate) use gcm::Authentication;
pub use identity::{AskPassphrase, Identity};
#[cfg(feature = "object-store")]
pub(crate) use mac::{SigningKey, hmac_sha256};
pub(crate) use sha256::Sha256;
pub(crate) use transport::{ContentKey, unwrap_keys};

/// Returns the version of OpenSSL that is in use.
pub(crate) fn library_version() -> &'static str {
    openssl::version::version()
}
