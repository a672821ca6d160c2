//! Keys and certificates, key transport, decryption of byte ranges and encryption of streams; the only place that names OpenSSL.

mod cbc;
mod certificate;
mod cipher;
mod content;
mod digest;
mod envelope;
mod gcm;
mod identity;
mod mac;
mod transport;

pub use certificate::Certificate;
pub use content::open_content;
pub use digest::Sha256;
pub use envelope::{EnvelopeWriter, KeyTransport};
pub use gcm::Authentication;
pub use identity::{Identity, Passphrase};
pub use mac::{SigningKey, hmac_sha256};
pub use transport::{ContentKey, unwrap_keys};

/// Returns the version of OpenSSL that is in use.
pub fn library_version() -> &'static str {
    openssl::version::version()
}
