//! How sizes, times and texts are shown to people.

use std::io::{self, Write};

use crate::error::{Error, Kind, Result};
use crate::format::printable::{printable, printable_json};

/// Returns a size with one decimal and a unit: `12.3 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1 << 10 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    // 1023.96 would be shown as 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `12 s`, `3:05 min`, `2:30 h`.
pub(crate) fn time_left(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{}:{:02} h", seconds / 3600, seconds / 60 % 60),
    }
}

/// Shortens an RFC 3339 instant to what fits into a column: `2026-11-23 13:55`.
pub(crate) fn minute(instant: &str) -> String {
    instant.get(..16).unwrap_or(instant).replace('T', " ")
}

/// Returns a text without characters that control a terminal.
pub(crate) fn clean(text: &str) -> String {
    printable(text).into_owned()
}

/// Returns a bar of `width` characters.
pub(crate) fn bar(done: f64, width: usize) -> String {
    let full = ((done.clamp(0.0, 1.0) * width as f64).round() as usize).min(width);
    "█".repeat(full) + &"░".repeat(width - full)
}

/// Writes lines and flushes them; returns false if nobody reads any more, as after `| head`.
pub(crate) fn write_lines(lines: &[String]) -> Result<bool> {
    let mut out = io::stdout().lock();
    let written = lines.iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
    match written.map_err(Error::from) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == Kind::Os(libc::EPIPE) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns objects as lines of JSON that are safe to show on a terminal.
pub(crate) fn json_lines(objects: &[impl ToString]) -> Vec<String> {
    objects.iter().map(|object| printable_json(&object.to_string()).into_owned()).collect()
}

/// Ignores the error of a reader that has closed the pipe, such as `head`.
pub(crate) fn unless_closed(result: Result<()>) -> Result<()> {
    result.or_else(|error| if error.kind() == Kind::Os(libc::EPIPE) { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times() {
        let sizes = [0, 1023, 1024, 1_048_575, 1_048_576, 12_900_000, u64::MAX].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "1.0 MiB", "12.3 MiB", "16384.0 PiB"]);
        assert_eq!([5, 65, 9000].map(time_left), ["5 s", "1:05 min", "2:30 h"]);
        assert_eq!(minute("2026-11-23T13:55:07Z"), "2026-11-23 13:55");
        assert_eq!(bar(0.5, 4), "██░░");
    }
}
