//! Noticing that a directory has changed.

use std::path::Path;

use notify::event::{AccessKind, AccessMode, Event, EventKind, ModifyKind};
use notify::{RecursiveMode, Watcher as _};

use crate::format::part_name::{concerns_a_set, is_unfinished};
use crate::store::watch::Announcer;

/// Has changes of a directory announced for as long as the returned value lives; `None` where the kernel does not
/// report all of them.
pub(crate) fn announce(dir: &Path, announcer: Announcer) -> Option<Box<dyn Send>> {
    if is_remote(dir) {
        return None;
    }
    let watched = dir.to_path_buf();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        if event.map_or(true, |event| is_relevant(&event, &watched)) {
            announcer.announce();
        }
    })
    .ok()?;
    watcher.watch(dir, RecursiveMode::NonRecursive).ok()?;
    Some(Box::new(watcher))
}

/// Returns true for an event that may change what a scan finds.
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
    // An event without a path says that events were lost.
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
    use crate::store::parts::Parts;
    use crate::store::parts::local::Local;
    use crate::store::watch::Watch;
    use std::fs::{self, File};
    use std::io::Write as _;
    use std::sync::mpsc::{Receiver, channel};
    use std::thread;
    use std::time::{Duration, Instant};

    /// See [`Watch`].
    const AT_MOST_EVERY: Duration = Duration::from_millis(250);
    const LONG: Duration = Duration::from_secs(20);

    fn watch(dir: &Path) -> (Watch, Receiver<Instant>) {
        let (sender, receiver) = channel();
        (Local::new(dir).watch(Box::new(move || sender.send(Instant::now()).unwrap())).unwrap(), receiver)
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
        let _watch = Local::new(dir.path()).watch(Box::new(changed)).unwrap();
        fs::write(dir.path().join("x.zip.smime"), "1").unwrap();
        assert_eq!((told.recv_timeout(LONG), told.recv_timeout(LONG)), (Ok(1), Ok(2)));
    }
}
