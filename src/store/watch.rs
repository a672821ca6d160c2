//! Noticing that a directory has changed.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::error::Result;

/// Changes that come in quick succession are told once. Together with a scan this has to stay below a second.
const SETTLE: Duration = Duration::from_millis(100);
/// Changes made by other machines raise no events, so a network filesystem is looked at this often.
const POLL: Duration = Duration::from_millis(800);

/// Calls back until it is dropped.
pub struct Watch {
    wake: Sender<Wake>,
    thread: Option<JoinHandle<()>>,
    _watcher: Option<RecommendedWatcher>,
}

enum Wake {
    Changed,
    Stop,
}

impl Watch {
    /// Calls `changed` soon after something in `dir` has changed.
    pub fn new(dir: &Path, changed: impl FnMut() + Send + 'static) -> Result<Watch> {
        let (wake, woken) = mpsc::channel();
        let events = wake.clone();
        let watcher = if is_remote(dir) { None } else { inotify(dir, events) };
        let poll = watcher.is_none();
        if poll {
            log::info!(
                "{}: looked at every {} ms, because changes are not announced there",
                dir.display(),
                POLL.as_millis()
            );
        }
        let thread = thread::Builder::new().name("watch".into()).spawn(move || run(&woken, poll, changed))?;
        Ok(Watch { wake, thread: Some(thread), _watcher: watcher })
    }

    /// Has the directory looked at now.
    pub fn trigger(&self) {
        // The thread may have ended already; then nobody wants to know.
        let _ = self.wake.send(Wake::Changed);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.wake.send(Wake::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn inotify(dir: &Path, events: Sender<Wake>) -> Option<RecommendedWatcher> {
    let relevant = |kind: &EventKind| match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.map_or(true, |event| relevant(&event.kind)) {
            let _ = events.send(Wake::Changed);
        }
    })
    .ok()?;
    watcher.watch(dir, RecursiveMode::NonRecursive).ok()?;
    Some(watcher)
}

/// Returns true for filesystems that other machines or programs change behind the kernel's back.
fn is_remote(dir: &Path) -> bool {
    const NFS: u64 = 0x6969;
    const SMB: u64 = 0x517B;
    const SMB2: u64 = 0xFE53_4D42;
    const CIFS: u64 = 0xFF53_4D42;
    const FUSE: u64 = 0x6573_5546;
    const NINE_P: u64 = 0x0102_1997;
    const CEPH: u64 = 0x00C3_6400;
    nix::sys::statfs::statfs(dir).is_ok_and(|fs| {
        [NFS, SMB, SMB2, CIFS, FUSE, NINE_P, CEPH].contains(&(fs.filesystem_type().0 as u64 & 0xFFFF_FFFF))
    })
}

fn run(woken: &Receiver<Wake>, poll: bool, mut changed: impl FnMut()) {
    loop {
        let wake = if poll { woken.recv_timeout(POLL) } else { woken.recv().map_err(RecvTimeoutError::from) };
        match wake {
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Wake::Changed) => {
                thread::sleep(SETTLE);
                if woken.try_iter().any(|wake| matches!(wake, Wake::Stop)) {
                    return;
                }
            }
        }
        changed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_new_file_is_noticed_within_a_second() {
        let dir = tempfile::tempdir().unwrap();
        let (sender, receiver) = mpsc::channel();
        let watch = Watch::new(dir.path(), move || sender.send(Instant::now()).unwrap()).unwrap();
        let written = Instant::now();
        std::fs::write(dir.path().join("x"), "1").unwrap();
        let noticed = receiver.recv_timeout(Duration::from_secs(5)).unwrap();
        assert!(noticed - written < Duration::from_secs(1));
        drop(watch);
    }
}
