//! Keys, key transport and the decryption of byte ranges; the only place that names OpenSSL.

mod cbc;
mod content;
mod gcm;
mod identity;
mod transport;

pub use content::{Authentication, open_content};
pub use identity::{Identity, Passphrase};
pub use transport::{ContentKey, unwrap_keys};
