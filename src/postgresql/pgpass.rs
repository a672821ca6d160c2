//! Where a password comes from: `PGPASSWORD`, else the file that `PGPASSFILE` names, else `~/.pgpass` (libpq-pgpass, 34.16).
//!
//! ```text
//! host:port:database:user:password    `*` stands for any; `\` before `:` and `\`; the first line that fits counts
//! ```

use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{At, Error, Kind, Result};
use crate::io::{FileReader, ReadAt};

/// Bytes of the longest file.
const LONGEST: u64 = 1 << 20;

/// Whom a password is of. One is for all hosts: that of the first for which there is one.
#[derive(Debug)]
pub struct Account {
    pub hosts: Vec<String>,
    /// One for each host, or one for all.
    pub ports: Vec<u16>,
    pub database: String,
    pub user: String,
}

pub fn password(account: &Account) -> Result<Option<Vec<u8>>> {
    if let Some(password) = std::env::var_os("PGPASSWORD").filter(|password| !password.is_empty()) {
        return Ok(Some(password.into_vec()));
    }
    let named = std::env::var_os("PGPASSFILE").filter(|path| !path.is_empty()).map(PathBuf::from);
    let usual = || std::env::home_dir().map(|home| home.join(".pgpass"));
    match named.or_else(usual) {
        Some(path) => from_file(&path, account).at(path.display()),
        None => Ok(None),
    }
}

/// A file that is not there has no password.
fn from_file(path: &Path, account: &Account) -> Result<Option<Vec<u8>>> {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if meta.permissions().mode() & 0o077 != 0 {
        return Err(Error::new(Kind::Os(libc::EACCES), "others may read the passwords in it: chmod 0600"));
    }
    let file = FileReader::open(path)?;
    if file.len() > LONGEST {
        return Err(Error::new(Kind::Invalid, "a file of passwords has at most 1 MiB"));
    }
    let mut text = vec![0; usize::try_from(file.len()).unwrap_or(0)];
    file.read_exact_at(&mut text, 0)?;
    Ok(account.find(&text))
}

impl Account {
    fn find(&self, text: &[u8]) -> Option<Vec<u8>> {
        let hosts = self.hosts.iter().enumerate();
        hosts.flat_map(|(i, host)| Some((host, self.ports.get(i).or(self.ports.first())?))).find_map(
            |(host, port)| {
                let port = port.to_string();
                // The directory in which PostgreSQL has its socket by default stands for this machine.
                let host = if host == "/var/run/postgresql" { "localhost" } else { host };
                let wanted = [host, port.as_str(), &self.database, &self.user];
                text.split(|&b| b == b'\n').find_map(|line| fits(line, wanted))
            },
        )
    }
}

/// Returns the password of a line that is for this.
fn fits(line: &[u8], wanted: [&str; 4]) -> Option<Vec<u8>> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.starts_with(b"#") {
        return None;
    }
    let mut fields = Fields(line);
    for wanted in wanted {
        let (raw, field) = fields.next()?;
        if raw != b"*" && field != wanted.as_bytes() {
            return None;
        }
    }
    let (_, password) = fields.next()?;
    (!password.is_empty()).then_some(password)
}

/// What stands between colons: as it is, and what it means.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let (mut field, mut at) = (Vec::new(), 0);
        while let Some(&byte) = self.0.get(at).filter(|&&byte| byte != b':') {
            let escaped = self.0.get(at + 1).filter(|_| byte == b'\\');
            field.push(*escaped.unwrap_or(&byte));
            at += 1 + usize::from(escaped.is_some());
        }
        let (raw, rest) = self.0.split_at(at);
        self.0 = rest.get(1..).unwrap_or_default();
        Some((raw, field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account {
            hosts: vec!["a".to_owned(), "b:c".to_owned()],
            ports: vec![5432],
            database: "db".to_owned(),
            user: "me".to_owned(),
        }
    }

    #[test]
    fn the_first_line_that_fits_counts() {
        for (text, expected) in [
            ("a:5432:db:me:secret\n", Some("secret")),
            ("#a:5432:db:me:no\nx:*:*:*:no\n*:*:*:me:one\na:5432:db:me:two", Some("one")),
            ("b\\:c:5432:db:me:s\\:e\\\\t\r\n", Some("s:e\\t")),
            ("b\\:c:*:*:*:second\na:*:*:*:first", Some("first")),
            ("a:5432:db:me:", None),
            ("a:5433:db:me:x\na:5432:other:me:x\na:5432:db:you:x\n\na:5432", None),
            ("a:5432:db:me:secret:and more", Some("secret")),
            ("\\*:5432:db:me:x", None),
        ] {
            let expected = expected.map(|text| text.as_bytes().to_vec());
            assert_eq!(account().find(text.as_bytes()), expected, "{text}");
        }
        let socket = Account { hosts: vec!["/var/run/postgresql".to_owned()], ..account() };
        assert_eq!(socket.find(b"localhost:5432:db:me:x"), Some(b"x".to_vec()));
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgpass");
        assert_eq!(from_file(&path, &account()).unwrap(), None);
        fs::write(&path, "*:*:*:*:secret\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = from_file(&path, &account()).unwrap_err();
        assert_eq!(error.to_string(), "others may read the passwords in it: chmod 0600");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(from_file(&path, &account()).unwrap(), Some(b"secret".to_vec()));
    }
}
