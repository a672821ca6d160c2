//! Going to the background: the program starts itself again and waits until that copy says that the mount answers.
//!
//! A new process rather than a fork, so that nothing has to be undone. It keeps the terminal until it is ready, for the
//! passphrase and for errors.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use super::exit::{Because, Failure, Reason};
use super::logging;
use crate::error::Error;

/// Hidden option that the copy is started with.
pub(crate) const FLAG: &str = "--in-background";
const READY: &str = "ready";

/// Starts the copy with the same arguments, which begin with the program and the command, and waits for it.
pub(crate) fn start(args: &[OsString]) -> Result<(), Failure> {
    let program = std::env::current_exe().because(Reason::Other)?;
    let mut copy = Command::new(program)
        .arg(&args[1])
        .arg(FLAG)
        .args(&args[2..])
        .stdout(Stdio::piped())
        .spawn()
        .because(Reason::Other)?;
    let mut said = String::new();
    if let Some(stdout) = copy.stdout.take() {
        BufReader::new(stdout).read_line(&mut said).because(Reason::Other)?;
    }
    if said.trim_end() == READY {
        return Ok(());
    }
    let status = copy.wait().because(Reason::Other)?;
    Err(match status.code() {
        Some(code) => Failure::reported(code as u8),
        None => Failure::new(Reason::Other, format!("the mount did not come up: {status}")),
    })
}

/// Tells the waiting program that the mount answers, and lets go of the terminal.
pub(crate) fn ready() {
    if let Err(error) = let_go() {
        log::warn!("still tied to the terminal: {error}");
    }
}

fn let_go() -> Result<(), Error> {
    let errno = |e: nix::errno::Errno| std::io::Error::from(e);
    setsid().map_err(errno)?;
    std::env::set_current_dir("/")?;
    let mut out = std::io::stdout();
    writeln!(out, "{READY}")?;
    out.flush()?;
    logging::to_system_log();
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null).map_err(errno)?;
    dup2_stdout(&null).map_err(errno)?;
    dup2_stderr(&null).map_err(errno)?;
    Ok(())
}
