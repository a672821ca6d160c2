//! Exit codes, which scripts may rely on.

use std::fmt::Display;
use std::process::ExitCode;

use crate::error::Error;

/// What failed; the number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
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
    /// A job spec is wrong.
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

/// Exit code of a program that was interrupted before it was done: as shells have it for SIGINT.
pub const INTERRUPTED: u8 = 130;

/// A failure that ends the program.
#[derive(Debug)]
pub struct Failure {
    reason: Reason,
    text: String,
}

impl Failure {
    pub fn new(reason: Reason, text: impl Display) -> Failure {
        Failure { reason, text: text.to_string() }
    }

    pub fn usage(text: impl Display) -> Failure {
        Failure::new(Reason::Usage, text)
    }

    /// Says it on standard error.
    pub fn report(&self) -> ExitCode {
        if !self.text.is_empty() {
            eprintln!("cddsfs: {}", self.text);
        }
        ExitCode::from(self.reason as u8)
    }

    /// A failure that has been reported by another process.
    pub fn reported(code: u8) -> Failure {
        let reasons = [Reason::Usage, Reason::Key, Reason::Store, Reason::MountPoint];
        let reason = reasons.into_iter().find(|&r| r as u8 == code).unwrap_or(Reason::Other);
        Failure { reason, text: String::new() }
    }
}

/// Says which kind of failure an error is.
pub trait Because<T> {
    fn because(self, reason: Reason) -> Result<T, Failure>;
}

impl<T, E: Into<Error>> Because<T> for Result<T, E> {
    fn because(self, reason: Reason) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(reason, error.into()))
    }
}
