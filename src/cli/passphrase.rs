//! Where a passphrase comes from: a file, a descriptor or the terminal. Never from an argument.

use std::fs;
use std::io::{BufRead, BufReader, IsTerminal};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::error::{At, Error, Kind, Result};

/// The source that was given, if one was.
pub struct Source {
    path: Option<PathBuf>,
    read: Option<Zeroizing<Vec<u8>>>,
}

impl Source {
    pub fn new(file: Option<&Path>, fd: Option<u32>) -> Result<Source> {
        if let Some(file) = file {
            let mode = fs::metadata(file).at(file.display())?.mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(Error::new(
                    Kind::Invalid,
                    format!("{}: others can read this passphrase (mode {mode:04o})", file.display()),
                )
                .with_hint(format!("mend it with: chmod 600 '{}'", file.display())));
            }
        }
        // A descriptor that was inherited can be opened by its name.
        let path =
            file.map(Path::to_path_buf).or_else(|| fd.map(|fd| PathBuf::from(format!("/proc/self/fd/{fd}"))));
        Ok(Source { path, read: None })
    }

    /// Returns the passphrase for a key file. The same one serves for all keys, but for those typed in.
    pub fn get(&mut self, key_file: &str) -> Result<Option<Zeroizing<Vec<u8>>>> {
        if let Some(path) = &self.path {
            if self.read.is_none() {
                self.read = Some(first_line(path).at(path.display())?);
            }
            return Ok(self.read.clone());
        }
        if !std::io::stdin().is_terminal() {
            return Ok(None);
        }
        let typed = rpassword::prompt_password(format!("Passphrase for {key_file}: "))?;
        Ok(Some(Zeroizing::new(typed.into_bytes())))
    }
}

fn first_line(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::new());
    BufReader::new(fs::File::open(path)?).read_until(b'\n', &mut line)?;
    while line.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
        line.pop();
    }
    Ok(line)
}
