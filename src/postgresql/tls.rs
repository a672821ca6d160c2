//! TLS as libpq means it (libpq-ssl, 34.19).
//!
//! | sslmode | encrypted | the certificate |
//! |---|---|---|
//! | `disable` | no | |
//! | `prefer`, the default | if the server offers it | not looked at |
//! | `require` | yes | not looked at |
//! | `verify-ca` | yes | signed by what is trusted |
//! | `verify-full` | yes | and of the host that was asked for |
//!
//! What is trusted is `sslrootcert`, by default `~/.postgresql/root.crt`; `system` is what the machine trusts. Where there
//! is such a file, `require` is `verify-ca`, and so is `prefer` where the URL names it.

use std::path::{Path, PathBuf};

use openssl::error::ErrorStack;
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod, SslVerifyMode};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use postgres_openssl::MakeTlsConnector;
use tokio_postgres::config::SslMode;

use crate::error::{At, Error, Kind, Result};
use crate::io::{FileReader, ReadAt};

/// Bytes of the longest file of certificates.
const LONGEST: u64 = 16 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    Disable,
    #[default]
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// What certificates are to be signed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    File(PathBuf),
    System,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub mode: Mode,
    pub root: Option<Root>,
}

impl Mode {
    pub fn parse(text: &str) -> Result<Mode> {
        Ok(match text {
            "disable" => Mode::Disable,
            "prefer" => Mode::Prefer,
            "require" => Mode::Require,
            "verify-ca" => Mode::VerifyCa,
            "verify-full" => Mode::VerifyFull,
            _ => {
                let text = "sslmode is disable, prefer, require, verify-ca or verify-full";
                return Err(Error::new(Kind::Invalid, text));
            }
        })
    }

    /// Returns what is asked of the server.
    pub fn asked(self) -> SslMode {
        match self {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
        }
    }
}

impl Root {
    pub fn parse(text: &str) -> Result<Root> {
        match text {
            "system" => Ok(Root::System),
            path if path.starts_with('/') => Ok(Root::File(path.into())),
            _ => Err(Error::new(Kind::Invalid, "sslrootcert is the absolute path of a file, or system")),
        }
    }
}

impl Settings {
    /// Returns what makes connections secure, as far as these settings ask for it.
    pub fn connector(&self) -> Result<MakeTlsConnector> {
        let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(failed)?;
        let is_verified = match self.trusted() {
            None => false,
            Some(Root::System) => true,
            Some(Root::File(path)) => {
                trust(&mut builder, &path).at(path.display())?;
                true
            }
        };
        builder.set_verify(if is_verified { SslVerifyMode::PEER } else { SslVerifyMode::NONE });
        let mut connector = MakeTlsConnector::new(builder.build());
        let is_named = self.mode == Mode::VerifyFull;
        connector.set_callback(move |tls, _| {
            tls.set_verify_hostname(is_named);
            Ok(())
        });
        Ok(connector)
    }

    /// Returns what a certificate has to be signed by, if it is looked at.
    fn trusted(&self) -> Option<Root> {
        let usual = || std::env::home_dir().map(|home| home.join(".postgresql/root.crt"));
        match (self.mode, &self.root) {
            (Mode::Disable, _) => None,
            (_, Some(root)) => Some(root.clone()),
            (Mode::Prefer, None) => None,
            (Mode::Require, None) => usual().filter(|path| path.exists()).map(Root::File),
            (Mode::VerifyCa | Mode::VerifyFull, None) => usual().map(Root::File),
        }
    }
}

/// Trusts the certificates of a file, and no others.
fn trust(builder: &mut SslConnectorBuilder, path: &Path) -> Result<()> {
    let file = FileReader::open(path)?;
    let len = usize::try_from(file.len().min(LONGEST)).unwrap_or(0);
    let mut pem = vec![0; len];
    file.read_exact_at(&mut pem, 0)?;
    let mut store = X509StoreBuilder::new().map_err(failed)?;
    let certificates = X509::stack_from_pem(&pem).map_err(failed)?;
    if certificates.is_empty() {
        return Err(Error::new(Kind::Invalid, "no certificate in PEM is in it"));
    }
    for certificate in certificates {
        store.add_cert(certificate).map_err(failed)?;
    }
    builder.set_cert_store(store.build());
    Ok(())
}

fn failed(error: ErrorStack) -> Error {
    Error::new(Kind::Invalid, format!("TLS: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_trusted_follows_from_the_mode() {
        let file = Some(Root::File("/ca.pem".into()));
        let trusted = |mode, root: &Option<Root>| Settings { mode, root: root.clone() }.trusted();
        assert_eq!(trusted(Mode::Disable, &file), None);
        assert_eq!(trusted(Mode::Prefer, &None), None);
        for mode in [Mode::Prefer, Mode::Require, Mode::VerifyCa, Mode::VerifyFull] {
            assert_eq!(trusted(mode, &file), file);
        }
        assert!(trusted(Mode::VerifyFull, &None).is_some());
    }

    #[test]
    fn a_file_of_no_certificates_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let settings = Settings { mode: Mode::VerifyCa, root: Some(Root::File(path.clone())) };
        assert_eq!(settings.connector().map(|_| ()).unwrap_err().kind(), Kind::Os(libc::ENOENT));
        std::fs::write(&path, "nothing").unwrap();
        let error = settings.connector().map(|_| ()).unwrap_err().to_string();
        assert!(error.ends_with("no certificate in PEM is in it"), "{error}");
    }
}
