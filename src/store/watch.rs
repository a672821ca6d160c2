//! Noticing that a directory has changed.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, Event, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::error::Result;
use crate::format::part_name::{concerns_a_set, is_unfinished};
use crate::io::{Background, Cancel, Next, Task, Waker};

/// Changes that come in quick succession are told once. Together with a scan this has to stay below a second.
const SETTLE: Duration = Duration::from_millis(100);
/// While changes go on, as when a part is being written, they are told this often.
const AT_MOST_EVERY: Duration = Duration::from_millis(250);
/// Where it takes long to look at everything, it is looked at for a tenth of the time at most, but for changes that would be
/// told too late.
const SHARE: u32 = 10;
const RARELY: Duration = Duration::from_millis(700);
/// Changes made by other machines raise no events, so a network filesystem is looked at this often.
const POLL: Duration = Duration::from_millis(800);

/// Calls back until it is dropped.
pub struct Watch {
    thread: Background,
    woken: Arc<AtomicBool>,
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Calls `changed` soon after something in `dir` has changed that concerns a set of parts.
    pub fn new(dir: &Path, changed: impl FnMut() + Send + 'static) -> Result<Watch> {
        let woken = Arc::new(AtomicBool::new(false));
        let waker = Arc::new(OnceLock::new());
        let watcher = if is_remote(dir) { None } else { inotify(dir, woken.clone(), waker.clone()) };
        let polls = watcher.is_none();
        if polls {
            log::info!(
                "{}: looked at every {} ms, because changes are not announced there",
                dir.display(),
                POLL.as_millis()
            );
        }
        let task = Watching {
            woken: woken.clone(),
            polls,
            told: None,
            took: Duration::ZERO,
            is_telling: false,
            changed,
        };
        let thread = Background::start("watch", task.next(), task)?;
        let _ = waker.set(thread.waker());
        // What was announced before there was a thread.
        thread.waker().wake();
        Ok(Watch { thread, woken, _watcher: watcher })
    }

    /// Has the directory looked at now.
    pub fn trigger(&self) {
        self.woken.store(true, Ordering::Relaxed);
        self.thread.waker().wake();
    }
}

/// The thread that calls back.
struct Watching<F> {
    /// Something has changed that was not told.
    woken: Arc<AtomicBool>,
    polls: bool,
    told: Option<Instant>,
    /// How long whoever was told took.
    took: Duration,
    /// True after a call that ended with a panic.
    is_telling: bool,
    changed: F,
}

impl<F> Watching<F> {
    fn next(&self) -> Next {
        if self.polls { Next::After(POLL) } else { Next::WhenWoken }
    }
}

impl<F: FnMut() + Send + 'static> Task for Watching<F> {
    fn step(&mut self, stop: &Cancel) -> Next {
        if !self.polls && !self.is_telling && !self.woken.load(Ordering::Relaxed) {
            return self.next();
        }
        if self.woken.load(Ordering::Relaxed) {
            let rest = AT_MOST_EVERY.max(self.took * SHARE).min(RARELY);
            let since = self.told.map_or(rest, |told| told.elapsed());
            thread::sleep(SETTLE.max(rest.saturating_sub(since)));
        }
        if !stop.is_cancelled() {
            // What comes from now on is told by the next call.
            self.woken.store(false, Ordering::Relaxed);
            (self.is_telling, self.told) = (true, Some(Instant::now()));
            (self.changed)();
            (self.is_telling, self.took) = (false, self.told.map_or(Duration::ZERO, |told| told.elapsed()));
        }
        self.next()
    }
}

fn inotify(dir: &Path, woken: Arc<AtomicBool>, waker: Arc<OnceLock<Waker>>) -> Option<RecommendedWatcher> {
    let watched = dir.to_path_buf();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        if event.map_or(true, |event| is_relevant(&event, &watched)) {
            woken.store(true, Ordering::Relaxed);
            waker.get().inspect(|waker| waker.wake());
        }
    })
    .ok()?;
    watcher.watch(dir, RecursiveMode::NonRecursive).ok()?;
    Some(watcher)
}

/// Returns true for what may change what a scan finds.
fn is_relevant(event: &Event, watched: &Path) -> bool {
    let (written, named) = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => (true, false),
        EventKind::Access(_) => (false, false),
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => (true, false),
        _ => (true, true),
    };
    // Of unfinished downloads only the names matter.
    let concerns = |name: &str| concerns_a_set(name) && (named || !is_unfinished(name));
    let of_path = |path: &Path| {
        // The directory itself: it was moved, deleted or its permissions were changed.
        path == watched || path.file_name().and_then(|name| name.to_str()).is_some_and(concerns)
    };
    // Without a path it says that events were lost.
    written && (event.need_rescan() || event.paths.is_empty() || event.paths.iter().any(|path| of_path(path)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::Write as _;
    use std::sync::mpsc::{Receiver, channel};

    const LONG: Duration = Duration::from_secs(20);

    fn watch(dir: &Path) -> (Watch, Receiver<Instant>) {
        let (sender, receiver) = channel();
        (Watch::new(dir, move || sender.send(Instant::now()).unwrap()).unwrap(), receiver)
    }

    #[test]
    fn a_new_file_is_noticed_within_a_second() {
        let dir = tempfile::tempdir().unwrap();
        let (watch, told) = watch(dir.path());
        let written = Instant::now();
        fs::write(dir.path().join("x.zip.smime"), "1").unwrap();
        let noticed = told.recv_timeout(LONG).unwrap();
        assert!(noticed - written < Duration::from_secs(1));
        drop(watch);
    }

    #[test]
    fn only_names_that_concern_a_set_have_it_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        File::create(path("x.zip.smime.crdownload")).unwrap();
        let (_watch, told) = watch(dir.path());
        // A download that grows, and whatever else goes on in a directory.
        for i in 0..20 {
            let mut download = File::options().append(true).open(path("x.zip.smime.crdownload")).unwrap();
            download.write_all(&[0; 1000]).unwrap();
            fs::write(path(&format!("holiday-{i}.jpg")), "x").unwrap();
            thread::sleep(Duration::from_millis(10));
        }
        thread::sleep(3 * AT_MOST_EVERY);
        assert_eq!(told.try_iter().count(), 0, "nothing of that concerns us");
        let changes: [&dyn Fn(); 5] = [
            &|| fs::write(path("y.z01.smime.part"), "x").unwrap(),
            &|| fs::rename(path("x.zip.smime.crdownload"), path("x.zip.smime")).unwrap(),
            &|| fs::write(path("x.zip.smime"), "xy").unwrap(),
            &|| fs::remove_file(path("y.z01.smime.part")).unwrap(),
            &|| fs::remove_file(path("x.zip.smime")).unwrap(),
        ];
        for (i, change) in changes.iter().enumerate() {
            change();
            assert!(told.recv_timeout(LONG).is_ok(), "{i}");
            thread::sleep(3 * AT_MOST_EVERY);
            while told.try_recv().is_ok() {}
        }
    }

    #[test]
    fn a_part_that_is_being_written_is_looked_at_now_and_then_only() {
        let dir = tempfile::tempdir().unwrap();
        let (_watch, told) = watch(dir.path());
        let mut part = File::create(dir.path().join("x.zip.smime")).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(2) {
            part.write_all(&[0; 100]).unwrap();
            thread::sleep(Duration::from_millis(5));
        }
        let most = 2 + begun.elapsed().as_millis() / AT_MOST_EVERY.as_millis();
        let looks = told.try_iter().count();
        assert!(looks > 0 && looks as u128 <= most, "{looks} looks");
    }

    #[test]
    fn a_panic_of_whoever_is_told_does_not_end_the_watch_and_the_change_is_told_again() {
        let dir = tempfile::tempdir().unwrap();
        let (sender, told) = channel();
        let mut calls = 0;
        let changed = move || {
            calls += 1;
            sender.send(calls).unwrap();
            assert_ne!(calls, 1, "deliberate");
        };
        let _watch = Watch::new(dir.path(), changed).unwrap();
        fs::write(dir.path().join("x.zip.smime"), "1").unwrap();
        assert_eq!((told.recv_timeout(LONG), told.recv_timeout(LONG)), (Ok(1), Ok(2)));
    }
}
