//! Taking a mount away.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};

use super::mountinfo::is_mounted;
use crate::error::{Error, Kind, Result};

/// Where fusermount3 is looked for when there is no PATH.
const SYSTEM_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// How long a mount may be in use before that is an error: what waits for new mounts (volume monitors, trash cans)
/// looks into each for a moment.
const PATIENCE: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(50);

/// Unmounts a FUSE filesystem, and waits for those who look into it for a moment.
pub(crate) fn unmount_patiently(mountpoint: &Path) -> Result<()> {
    let begun = Instant::now();
    loop {
        match unmount(mountpoint, false) {
            Err(error) if error.errno() == libc::EBUSY && begun.elapsed() < PATIENCE => thread::sleep(STEP),
            done => return done,
        }
    }
}

/// Unmounts a FUSE filesystem. With `lazy` set, one that is in use too: it goes when its last user does.
pub(crate) fn unmount(mountpoint: &Path, lazy: bool) -> Result<()> {
    // A mount whose server died cannot be looked at, so its path is taken as it is if it is absolute.
    let path = std::fs::canonicalize(mountpoint).or_else(|e| match e.raw_os_error() {
        Some(libc::ENOTCONN) => std::path::absolute(mountpoint),
        _ => Err(e),
    });
    let path = path.map_err(|e| Error::from(e).at(mountpoint.display()))?;
    if !is_mounted(&path) {
        return Err(Error::new(
            Kind::Invalid,
            format!("{}: no FUSE filesystem is mounted there", path.display()),
        )
        .with_hint("findmnt -t fuse.cddsfs shows what is mounted where"));
    }
    let flags = if lazy { MntFlags::MNT_DETACH } else { MntFlags::empty() };
    match umount2(&path, flags) {
        Ok(()) => Ok(()),
        Err(nix::errno::Errno::EPERM) => fusermount(&path, lazy),
        Err(errno) => Err(busy(&path, errno as i32)),
    }
}

/// The set-user-id helper that lets users unmount what they mounted.
fn fusermount(path: &Path, lazy: bool) -> Result<()> {
    let mut command = Command::new("fusermount3");
    if std::env::var_os("PATH").is_none() {
        command.env("PATH", SYSTEM_PATH);
    }
    command.arg(if lazy { "-uz" } else { "-u" }).arg("--").arg(path);
    let output = command.output().map_err(|e| Error::from(e).at("fusermount3"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
    let errno = if said.contains("busy") { libc::EBUSY } else { libc::EPERM };
    Err(if errno == libc::EBUSY { busy(path, errno) } else { Error::new(Kind::Os(errno), said) })
}

fn busy(path: &Path, errno: i32) -> Error {
    let reason = std::io::Error::from_raw_os_error(errno);
    let error = Error::new(Kind::Os(errno), format!("{}: {reason}", path.display()));
    match errno {
        libc::EBUSY => {
            error.with_hint("close the programs that use it (fuser -m tells which), or give --lazy")
        }
        _ => error,
    }
}
