//! Exit codes, which scripts may rely on.

use std::fmt::Display;

use clap::error::ContextValue;

use super::output;
use crate::error::Error;
use crate::format::printable::printable;

/// What failed; the number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Something else, such as a failing system call.
    Other = 1,
    /// The arguments make no sense.
    Usage = 2,
    /// A key cannot be used: not there, readable by others, wrong passphrase.
    Key = 3,
    /// The store is not there or cannot be read.
    Store = 4,
    /// The mount point cannot be used, or nothing is mounted there.
    MountPoint = 5,
    /// A job spec is wrong, or artifacts would be deleted without --yes.
    Refused = 6,
    /// The export has found nothing.
    NoData = 7,
    /// The export has failed.
    Failed = 8,
    /// The export was cancelled.
    Cancelled = 9,
    /// Something in the store is not as it was written.
    Bad = 10,
    /// Something in the store could not be checked.
    Unchecked = 11,
}

/// Exit code of a program that was interrupted before it was done: that of shells for SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// What the exit codes mean, for --help and the manual.
pub(crate) const MEANINGS: [(u8, &str); 13] = [
    (0, "Done. For mount: the mount answers; in the foreground: it was unmounted. For export: Completed."),
    (Reason::Other as u8, "Something else failed, such as a system call."),
    (Reason::Usage as u8, "The arguments make no sense."),
    (
        Reason::Key as u8,
        "A key or certificate cannot be used: not there, readable by others, wrong passphrase, too short, expired.",
    ),
    (Reason::Store as u8, "The store, its source or what was asked of it is not there or cannot be read."),
    (Reason::MountPoint as u8, "The mount point cannot be used, or nothing is mounted there."),
    (
        Reason::Refused as u8,
        "A job spec is wrong; init, purge: artifacts would be deleted, and --yes is not given.",
    ),
    (Reason::NoData as u8, "export: it has found nothing (No Data)."),
    (Reason::Failed as u8, "export: it has failed (Failed)."),
    (Reason::Cancelled as u8, "export: it was cancelled (Cancelled)."),
    (Reason::Bad as u8, "verify: something is not as it was written; backup: something could not be copied."),
    (Reason::Unchecked as u8, "verify: something could not be checked, and nothing is bad."),
    (INTERRUPTED, "Interrupted before it was done."),
];

/// Returns the table that `cddsfs help exit-codes` shows.
pub(crate) fn table() -> String {
    let row = |(code, meaning): (u8, &str)| format!("{code:3}  {meaning}\n");
    let rows: String = MEANINGS.into_iter().map(row).collect();
    format!(
        "Exit codes, which scripts may rely on:\n\n{rows}\nAs mount.cddsfs, those of mount(8): 1 for wrong usage, 32 for a mount that failed."
    )
}

/// A failure that ends the program.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    /// One line.
    text: String,
    /// Lines below it.
    more: Vec<String>,
    hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(reason: Reason, text: impl Display) -> Failure {
        Failure { code: reason as u8, text: text.to_string(), more: Vec::new(), hint: None }
    }

    pub(crate) fn usage(text: impl Display) -> Failure {
        Failure::new(Reason::Usage, text)
    }

    /// Prints the failure on standard error, and returns the exit code.
    pub(crate) fn report(&self) -> u8 {
        if !self.text.is_empty() {
            output::say(&self.text);
        }
        for line in &self.more {
            eprintln!("{}", printable(line));
        }
        if let Some(hint) = &self.hint {
            eprintln!("  hint: {}", printable(hint));
        }
        self.code
    }

    /// Adds lines below.
    pub(crate) fn with_lines(mut self, lines: impl IntoIterator<Item = String>) -> Failure {
        self.more.extend(lines);
        self
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// Returns a failure that has been reported already, by another process or by clap.
    pub(crate) fn reported(code: u8) -> Failure {
        let is_known = MEANINGS.iter().any(|&(known, _)| known == code);
        let code = if is_known { code } else { Reason::Other as u8 };
        Failure { code, text: String::new(), more: Vec::new(), hint: None }
    }
}

/// Clap has texts and exit codes of its own: 0 for --help, 2 for a mistake.
impl From<clap::Error> for Failure {
    fn from(mut error: clap::Error) -> Failure {
        // The message quotes arguments, which a shell may have made of file names.
        let texts = error.context().filter_map(|(kind, value)| match value {
            ContextValue::String(text) => Some((kind, printable(text).into_owned())),
            _ => None,
        });
        for (kind, text) in texts.collect::<Vec<_>>() {
            error.insert(kind, ContextValue::String(text));
        }
        let _ = error.print();
        Failure::reported(error.exit_code() as u8)
    }
}

/// Makes an error a failure, with the reason that sets the exit code.
pub(crate) trait Because<T> {
    fn because(self, reason: Reason) -> Result<T, Failure>;
}

impl<T, E: Into<Error>> Because<T> for Result<T, E> {
    fn because(self, reason: Reason) -> Result<T, Failure> {
        self.map_err(|error| {
            let error = error.into();
            let failure = Failure::new(reason, &error);
            Failure { hint: error.hint().map(str::to_string), ..failure }
        })
    }
}
