//! Standard output, which whoever reads it may close early, and standard error, for talk.

use std::io::{ErrorKind, Result, Write};

use crate::format::printable::printable;

/// Says a line. What comes from outside, such as names, steers no terminal and begins no other line.
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
