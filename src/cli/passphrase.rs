//! Where a passphrase comes from: a file, a descriptor, a command or the terminal. Never from an argument.

use std::fs;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Args;
use zeroize::Zeroizing;

use crate::error::{At, Error, Kind, Result};
use crate::format::printable::printable;

type Passphrase = Zeroizing<Vec<u8>>;

#[derive(Args)]
#[group(multiple = false)]
pub(crate) struct PassphraseOptions {
    /// Read the key's passphrase from the first line of a file
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Read the key's passphrase from an open descriptor
    #[arg(long, value_name = "N")]
    passphrase_fd: Option<u32>,
    /// Read the key's passphrase from what a shell command prints
    #[arg(long, value_name = "COMMAND")]
    passphrase_command: Option<String>,
}

/// Gets passphrases: once, if one serves for all keys.
pub(crate) struct Asker<'a> {
    options: &'a PassphraseOptions,
    answer: Option<Passphrase>,
}

impl Asker<'_> {
    pub(crate) fn new(options: &PassphraseOptions) -> Asker<'_> {
        Asker { options, answer: None }
    }

    /// Returns the passphrase for a key file. One from an option serves for all keys; otherwise each is asked for.
    pub(crate) fn ask(&mut self, key_file: &str) -> Result<Option<Passphrase>> {
        if self.answer.is_none() {
            self.answer = self.options.passphrase()?;
        }
        if self.answer.is_some() {
            return Ok(self.answer.clone());
        }
        if !std::io::stdin().is_terminal() {
            return Ok(None);
        }
        let typed = rpassword::prompt_password(format!("Passphrase for {}: ", printable(key_file)))?;
        Ok(Some(Zeroizing::new(typed.into_bytes())))
    }
}

impl PassphraseOptions {
    /// Fails if others can read the passphrase, whether or not a key needs one.
    pub(crate) fn check(&self) -> Result<()> {
        let Some(file) = &self.passphrase_file else { return Ok(()) };
        let mode = fs::metadata(file).at(file.display())?.mode() & 0o777;
        if mode & 0o077 == 0 {
            return Ok(());
        }
        let text = format!("{}: others can read this passphrase (mode {mode:04o})", file.display());
        let hint = format!("mend it with: chmod 600 '{}'", file.display());
        Err(Error::new(Kind::Invalid, text).with_hint(hint))
    }

    fn passphrase(&self) -> Result<Option<Passphrase>> {
        if let Some(command) = &self.passphrase_command {
            return printed_by(command).at("--passphrase-command").map(Some);
        }
        // A descriptor that was inherited can be opened by its name.
        let inherited = self.passphrase_fd.map(|fd| PathBuf::from(format!("/proc/self/fd/{fd}")));
        let Some(path) = self.passphrase_file.clone().or(inherited) else { return Ok(None) };
        fs::File::open(&path).map_err(Error::from).and_then(first_line).at(path.display()).map(Some)
    }
}

fn printed_by(command: &str) -> Result<Passphrase> {
    let mut child = Command::new("/bin/sh").args(["-c", command]).stdout(Stdio::piped()).spawn()?;
    let printed = child.stdout.take().map(first_line).transpose()?.unwrap_or_default();
    // Only the first line is read: a command that prints more may get SIGPIPE after it.
    let status = child.wait()?;
    let broke_off = status.signal() == Some(libc::SIGPIPE) || status.code() == Some(128 + libc::SIGPIPE);
    if status.success() || (broke_off && !printed.is_empty()) {
        return Ok(printed);
    }
    Err(Error::new(Kind::Invalid, format!("it failed: {status}"))
        .with_hint("it has to print the passphrase and to end with status 0"))
}

fn first_line(from: impl Read) -> Result<Passphrase> {
    let mut line = Zeroizing::new(Vec::new());
    BufReader::new(from).read_until(b'\n', &mut line)?;
    while line.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
        line.pop();
    }
    Ok(line)
}
