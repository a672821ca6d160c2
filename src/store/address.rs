//! What names a store: a directory, a folder of an object store, or the database with its catalogue.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Kind, Result};

const OBJECT_STORES: [&str; 5] = ["s3", "az", "gs", "https", "http"];
const DATABASES: [&str; 2] = ["postgres", "postgresql"];

/// What a store is named by. A directory whose name begins like a URL is named by a longer path: `./s3://x`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Directory(PathBuf),
    /// A URL; it has no secrets.
    ObjectStore(String),
    Database(String),
}

/// How an object store is reached. Credentials are no part of it: they come from the environment and the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// URL of the service, unless it is where its provider has it.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// Allows connections that are not encrypted.
    pub allow_http: bool,
    /// Certificates of authorities that are trusted beside those of the machine, in PEM.
    pub ca_file: Option<PathBuf>,
    /// Time between two listings; `None` for a store that is never listed, because it has a catalogue.
    pub poll: Option<Duration>,
    /// Bytes that all readers together may hold.
    pub readahead: usize,
}

impl Default for Reach {
    fn default() -> Reach {
        Reach {
            endpoint: None,
            region: None,
            allow_http: false,
            ca_file: None,
            poll: Some(Duration::from_secs(60)),
            readahead: 32 << 20,
        }
    }
}

impl Address {
    /// Nothing is repeated of what is refused: it may hold a password.
    pub fn parse(text: &OsStr) -> Result<Address> {
        let Some((scheme, url)) = text.to_str().and_then(|text| Some((scheme_of(text)?, text))) else {
            return Ok(Address::Directory(text.into()));
        };
        let is_one_of = |known: &[&str]| known.iter().any(|known| scheme.eq_ignore_ascii_case(known));
        if is_one_of(&OBJECT_STORES) {
            Ok(Address::ObjectStore(url.trim_end_matches('/').into()))
        } else if is_one_of(&DATABASES) {
            Ok(Address::Database(url.into()))
        } else {
            let text = format!("{scheme}://: no store is reached in this way");
            Err(Error::new(Kind::Invalid, text).with_hint(
                "give a directory, s3://BUCKET/FOLDER, az://CONTAINER/FOLDER, gs://BUCKET/FOLDER or https://HOST/FOLDER",
            ))
        }
    }

    pub(crate) fn directory(&self) -> Option<&Path> {
        match self {
            Address::Directory(dir) => Some(dir),
            Address::ObjectStore(_) | Address::Database(_) => None,
        }
    }

    /// Returns it as a path, which is what tells stores apart.
    pub(crate) fn as_path(&self) -> &Path {
        match self {
            Address::Directory(dir) => dir,
            Address::ObjectStore(url) | Address::Database(url) => Path::new(url),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_path().display().fmt(f)
    }
}

/// Returns the scheme of a URL (RFC 3986, 3.1) that has an authority.
fn scheme_of(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    is_scheme.then_some(scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_store_elsewhere_and_everything_else_a_directory() {
        let parse = |text: &str| Address::parse(OsStr::new(text));
        let url = |text: &str| Address::ObjectStore(text.into());
        assert_eq!(parse("s3://bucket/a/b/").unwrap(), url("s3://bucket/a/b"));
        assert_eq!(parse("https://host:1/x").unwrap(), url("https://host:1/x"));
        assert!(matches!(parse("postgres://u@h/d").unwrap(), Address::Database(_)));
        for path in ["store", "/a/b", "./s3://bucket", "s3:", "://x", "a/b://c", "1s://x", ""] {
            assert_eq!(parse(path).unwrap(), Address::Directory(path.into()), "{path}");
        }
        let error = parse("ftp://user:secret@host/").unwrap_err().to_string();
        assert!(error.contains("ftp://") && !error.contains("secret"), "{error}");
    }
}
