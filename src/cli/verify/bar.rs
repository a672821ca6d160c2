//! A bar on the terminal that shows how much has been read.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::show;
use crate::export::verify::ProgressListener;

/// Characters of a name that are shown: with the bar they fit into 80 columns.
const SHORT: usize = 15;

pub(crate) struct Bar {
    bar: ProgressBar,
    stem: String,
}

impl Bar {
    /// Makes a bar; it is hidden if standard error is not a terminal.
    pub(crate) fn new(stem: &str) -> Bar {
        let bar = if io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
        // A template that is wrong is a mistake in this file, and leaves the bar as it was.
        if let Ok(style) =
            ProgressStyle::with_template("{msg} [{bar:30}] {percent}% {binary_bytes_per_sec} {eta}")
        {
            bar.set_style(style.progress_chars("██░"));
        }
        Bar { bar, stem: show::clean(stem).chars().take(SHORT).collect() }
    }

    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl ProgressListener for Bar {
    fn stage(&self, what: &'static str, total: u64) {
        self.bar.reset();
        self.bar.set_length(total);
        self.bar.set_message(format!("{}: {what}", self.stem));
    }

    fn done(&self, bytes: u64) {
        self.bar.inc(bytes);
    }
}
