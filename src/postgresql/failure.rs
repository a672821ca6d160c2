//! What a server or the way to it has failed with, and what of it a user reads.
//!
//! A message of the server may quote rows. Those of classes that speak of names, rights, resources and connections are
//! shown; of all others only the code is.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::error::{Error, Kind};

/// Why a statement has come to nothing.
#[derive(Debug)]
pub enum Failure {
    /// The server has refused it, or the connection is gone.
    Said(tokio_postgres::Error),
    /// The server has not answered for so long.
    TimedOut(Duration),
    Cancelled,
}

/// The first two characters of codes whose messages are shown (appendix A of PostgreSQL's manual).
const SHOWN: [&str; 16] =
    ["08", "0A", "25", "26", "28", "34", "3D", "3F", "40", "42", "53", "54", "55", "57", "58", "XX"];
/// Characters of a message.
const LONGEST: usize = 300;

impl Failure {
    pub fn code(&self) -> Option<&SqlState> {
        match self {
            Failure::Said(error) => error.code(),
            _ => None,
        }
    }

    /// Returns true if the connection cannot be used any more.
    pub fn is_final(&self) -> bool {
        match self {
            Failure::Said(error) => match error.as_db_error() {
                Some(said) => matches!(said.parsed_severity(), Some(Severity::Fatal | Severity::Panic)),
                None => error.is_closed() || io_error(error).is_some(),
            },
            Failure::TimedOut(_) | Failure::Cancelled => true,
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::Cancelled => Error::new(Kind::Cancelled, "cancelled"),
            Failure::TimedOut(time) => {
                let text = format!("the server has not answered for {} seconds", time.as_secs());
                Error::new(Kind::TimedOut, text)
            }
            Failure::Said(error) => match error.as_db_error() {
                Some(said) => said_by_server(said),
                None => on_the_way(&error),
            },
        }
    }
}

fn said_by_server(said: &DbError) -> Error {
    let code = said.code().code();
    let class = code.get(..2).unwrap_or_default();
    let kind = match class {
        "28" => Kind::Os(libc::EACCES),
        "3D" => Kind::Os(libc::ENOENT),
        "08" => Kind::Os(libc::ECONNRESET),
        "40" | "53" | "55" => Kind::Os(libc::EAGAIN),
        "57" if *said.code() == SqlState::QUERY_CANCELED => Kind::TimedOut,
        "57" => Kind::Os(libc::ECONNRESET),
        "58" => Kind::Os(libc::EIO),
        "XX" => Kind::Damaged,
        _ if *said.code() == SqlState::INSUFFICIENT_PRIVILEGE => Kind::Os(libc::EACCES),
        _ => Kind::Invalid,
    };
    if !SHOWN.contains(&class) {
        let text = format!("the database refuses it with SQLSTATE {}", short(code));
        return Error::new(kind, text);
    }
    let error = Error::new(kind, format!("{} (SQLSTATE {})", short(said.message()), short(code)));
    match class {
        "28" => error.with_hint("passwords come from PGPASSWORD, PGPASSFILE or ~/.pgpass"),
        _ => error,
    }
}

/// What the library says, from the general to the cause.
fn on_the_way(error: &tokio_postgres::Error) -> Error {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    let text = short(&text);
    if text.contains("password missing") {
        let text = "the server asks for a password, and there is none in PGPASSWORD, PGPASSFILE or ~/.pgpass";
        return Error::new(Kind::Os(libc::EACCES), text);
    }
    let kind = match io_error(error) {
        Some(cause) if cause.kind() == io::ErrorKind::TimedOut => Kind::TimedOut,
        Some(cause) => Kind::Os(cause.raw_os_error().unwrap_or(libc::ECONNRESET)),
        None if error.is_closed() => Kind::Os(libc::ECONNRESET),
        None => Kind::Invalid,
    };
    Error::new(kind, text)
}

fn io_error(error: &tokio_postgres::Error) -> Option<&io::Error> {
    error.source()?.downcast_ref()
}

fn short(text: &str) -> String {
    text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_short_line() {
        assert_eq!(short("a\nb\u{1b}[0m"), "a b [0m");
        assert_eq!(short(&"x".repeat(1000)).len(), LONGEST);
    }

    #[test]
    fn what_has_been_given_up_is_said_so() {
        let error = Error::from(Failure::TimedOut(Duration::from_secs(7)));
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (Kind::TimedOut, "the server has not answered for 7 seconds")
        );
        assert_eq!(Error::from(Failure::Cancelled).kind(), Kind::Cancelled);
        assert!(Failure::Cancelled.is_final());
    }
}
