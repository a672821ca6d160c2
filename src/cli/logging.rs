//! Where log lines go: standard error, a file or, once in the background, the system log; and how much is logged.

use parking_lot::Mutex;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use env_logger::{Builder, Target};
use log::LevelFilter;
use signal_hook::consts::{SIGHUP, SIGUSR1};
use signal_hook::iterator::Signals;
use syslog::{Facility, Formatter3164, Logger, LoggerBackend};

use crate::error::{At, Result};
use crate::format::printable::printable;
use crate::mount::OnSignals;

type SystemLog = Logger<LoggerBackend, Formatter3164>;

/// Set when the program has let go of its terminal.
static SYSTEM_LOG: OnceLock<Option<Mutex<SystemLog>>> = OnceLock::new();

/// Starts logging to standard error.
pub(crate) fn start() {
    begin(0, None);
}

/// Starts logging, to a file if there is one.
pub(crate) fn start_to(file: Option<&Path>, verbose: u8) -> Result<ProcessLog> {
    let file = file.map(LogFile::open).transpose()?;
    begin(verbose, file.clone());
    Ok(ProcessLog(file))
}

/// The log of a long-running process.
pub(crate) struct ProcessLog(Option<LogFile>);

impl ProcessLog {
    /// As long as the result lives, SIGHUP reopens the file, for logrotate(8), and SIGUSR1 raises the log level, from
    /// the highest back to the lowest.
    pub(crate) fn obey_signals(self) -> Result<OnSignals> {
        OnSignals::start("logging", Signals::new([SIGHUP, SIGUSR1])?, move |signal| match (signal, &self.0) {
            (SIGUSR1, _) => say_more(),
            (_, Some(file)) => file.reopen(),
            (_, None) => {}
        })
    }
}

fn begin(verbose: u8, file: Option<LogFile>) {
    let level = match verbose {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        _ => LevelFilter::Debug,
    };
    let mut builder = Builder::new();
    // The level that counts is log's own, which can be changed later. Of fuser only errors are shown: below them it
    // logs things such as an unmount by somebody else.
    builder.filter_level(LevelFilter::Debug).filter_module("fuser", LevelFilter::Error);
    // Replies that nobody waits for any more are normal when a busy mount ends.
    builder.filter_module("fuser::reply", LevelFilter::Off);
    // Messages contain names and texts from outside: each stays one line, and cannot control a terminal.
    match file {
        Some(file) => {
            builder.format(|out, record| {
                let (at, level, target) = (out.timestamp(), record.level(), record.target());
                writeln!(out, "[{at} {level:<5} {target}] {}", printable(&record.args().to_string()))
            });
            builder.target(Target::Pipe(Box::new(file)));
        }
        None => {
            builder.format(|out, record| {
                let level = record.level().as_str().to_lowercase();
                writeln!(out, "cddsfs: {level}: {}", printable(&record.args().to_string()))
            });
            builder.target(Target::Pipe(Box::new(StderrOrSystemLog)));
        }
    }
    // A second start would be a mistake in this program, and harmless.
    let _ = builder.try_init();
    log::set_max_level(level);
}

fn say_more() {
    let level = match log::max_level() {
        LevelFilter::Warn => LevelFilter::Info,
        LevelFilter::Info => LevelFilter::Debug,
        _ => LevelFilter::Warn,
    };
    log::set_max_level(level);
    log::log!(level.to_level().unwrap_or(log::Level::Warn), "log level: {}", level.as_str().to_lowercase());
}

/// A file that log lines are appended to.
#[derive(Clone)]
struct LogFile {
    path: PathBuf,
    file: Arc<Mutex<File>>,
}

impl LogFile {
    fn open(path: &Path) -> Result<LogFile> {
        Ok(LogFile { path: path.into(), file: Arc::new(Mutex::new(append_to(path).at(path.display())?)) })
    }

    fn reopen(&self) {
        match append_to(&self.path) {
            Ok(file) => *self.file.lock() = file,
            Err(error) => log::error!("{}: goes on in the old file: {error}", self.path.display()),
        }
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.file.lock().write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    // Readable by the mounting user alone.
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Sends further lines to the system log, if there is one.
pub(crate) fn to_system_log() {
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

struct StderrOrSystemLog;

impl Write for StderrOrSystemLog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match SYSTEM_LOG.get() {
            None => io::stderr().write_all(line)?,
            Some(Some(log)) => {
                let text = String::from_utf8_lossy(line);
                // If the system log does not take it, there is nobody else to tell.
                let _ = log.lock().warning(text.trim_end());
            }
            Some(None) => {}
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
