//! A small process that unmounts when the process that serves the mount dies.
//!
//! Without it, every look at the mount point would fail with "Transport endpoint is not connected" until somebody
//! unmounts it. The two share a pipe: its other end closes when the server ends, in whatever way.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::unistd::setsid;

use crate::error::Result;
use crate::mount::{is_dead, unmount};

/// Name of the hidden command.
pub(crate) const COMMAND: &str = "watch-mount";

/// Watches until it is dropped.
pub(crate) struct Watcher(Child);

impl Watcher {
    pub(crate) fn start(mountpoint: &Path) -> Result<Watcher> {
        // In another mount namespace the program may not be where it was.
        let program = std::env::current_exe().ok().filter(|path| path.exists());
        let mut command = Command::new(program.unwrap_or_else(|| "/proc/self/exe".into()));
        command
            .arg(COMMAND)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // A signal to the terminal or process group of the server must not end this process.
        // SAFETY: setsid(2) may be called between fork and exec.
        unsafe {
            command.pre_exec(|| setsid().map(drop).map_err(Into::into));
        }
        let mut child = command.spawn()?;
        if let Some(pipe) = &mut child.stdin {
            pipe.write_all(mountpoint.as_os_str().as_bytes())?;
            // A NUL, which no path contains, marks the end: without it the path is not complete.
            pipe.write_all(b"\0")?;
        }
        Ok(Watcher(child))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // The process ends by itself; waiting keeps it from becoming a zombie.
        let _ = self.0.wait();
    }
}

/// The hidden command: waits for the end of standard input, which begins with the mount point.
pub(crate) fn run() {
    let mut said = Vec::new();
    // An error counts as the end.
    let _ = std::io::stdin().read_to_end(&mut said);
    let Some((0, path)) = said.split_last() else { return };
    let path = Path::new(OsStr::from_bytes(path));
    // Even a mount in use is taken away: nobody can read anything there any more.
    if is_dead(path) && unmount(path, false).is_err() {
        let _ = unmount(path, true);
    }
}
