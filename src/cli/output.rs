//! Standard output, which its reader may close early, and standard error, for messages.

use std::io::{ErrorKind, Result, Write};

use crate::format::printable::printable;

/// Prints a line. Names and other texts from outside cannot control the terminal or begin another line.
pub(crate) fn say(text: &str) {
    eprintln!("cddsfs: {}", printable(text));
}

pub(crate) fn write(text: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
