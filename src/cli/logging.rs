//! Where log lines go: standard error, a file, or, once in the background, the system log.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::OnceLock;

use env_logger::{Builder, Target};
use log::LevelFilter;
use syslog::{Facility, Formatter3164, Logger, LoggerBackend};

use crate::error::{At, Result};

type SystemLog = Logger<LoggerBackend, Formatter3164>;

/// Set when the program has let go of its terminal.
static SYSTEM_LOG: OnceLock<Option<Mutex<SystemLog>>> = OnceLock::new();

/// Starts logging. Without a file lines go to standard error.
pub fn start(file: Option<&Path>, verbose: u8) -> Result<()> {
    let level = match verbose {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        _ => LevelFilter::Debug,
    };
    let mut builder = Builder::new();
    // What fuser says at lower levels is about fuser, such as that somebody else has unmounted it.
    builder.filter_level(level).filter_module("fuser", level.min(LevelFilter::Error));
    // A reply that nobody waits for any more is no news: so ends every mount that was busy.
    if verbose == 0 {
        builder.filter_module("fuser::reply", LevelFilter::Off);
    }
    match file {
        Some(path) => {
            let file = OpenOptions::new().append(true).create(true).open(path).at(path.display())?;
            builder.target(Target::Pipe(Box::new(file)));
        }
        None => {
            builder.format(|out, record| {
                writeln!(out, "cddsfs: {}: {}", record.level().as_str().to_lowercase(), record.args())
            });
            builder.target(Target::Pipe(Box::new(Talk)));
        }
    }
    // A second start would be a mistake in this program, and harmless.
    let _ = builder.try_init();
    Ok(())
}

/// From now on lines go to the system log, if there is one.
pub fn to_system_log() {
    SYSTEM_LOG.get_or_init(|| {
        let formatter = Formatter3164 {
            facility: Facility::LOG_DAEMON,
            hostname: None,
            process: "cddsfs".into(),
            pid: std::process::id(),
        };
        syslog::unix(formatter).ok().map(Mutex::new)
    });
}

struct Talk;

impl Write for Talk {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match SYSTEM_LOG.get() {
            None => io::stderr().write_all(line)?,
            Some(Some(log)) => {
                let text = String::from_utf8_lossy(line);
                // A system log that does not take it has nobody else to tell.
                let _ = log.lock().unwrap().warning(text.trim_end());
            }
            Some(None) => {}
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
