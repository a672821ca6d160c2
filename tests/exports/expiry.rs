//! The last day of an artifact, in a mount that is running; and clocks that are wrong.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::mount::{Mount, errno, within};
use crate::support::site::{CONTACTS, SPLIT, Site, files, rows_in};

const DAY: u64 = 86400;
/// Looked for where Debian and its descendants have it.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// Makes an artifact so old that it has only that much time left.
fn leave(site: &Site, id: &str, left: Duration) {
    let made = SystemTime::now() - Duration::from_secs(30 * DAY) + left;
    let ms = made.duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let catalogue = rusqlite::Connection::open(site.place.store().join("cddsfs.db")).unwrap();
    assert_eq!(
        catalogue.execute("UPDATE run SET finished = ?2 WHERE id = ?1", rusqlite::params![id, ms]).unwrap(),
        1
    );
}

/// What is shown of an export: its zip, a member, a part.
fn paths(site: &Site, mount: &Mount, id: &str) -> Vec<PathBuf> {
    let stem = format!("export-{id}");
    let root = mount.path("contents").join(&stem);
    let member = root.join(files(&root).last().unwrap());
    vec![mount.zip(&stem), member, mount.path("encrypted").join(&site.parts(id)[0])]
}

fn is_listed(mount: &Mount, id: &str) -> [bool; 3] {
    ["artifacts", "contents", "encrypted"].map(|dir| mount.names(dir).iter().any(|name| name.contains(id)))
}

fn record(mount: &Mount, id: &str) -> serde_json::Value {
    serde_json::from_slice(&fs::read(mount.path("history").join(format!("export-{id}.json"))).unwrap())
        .unwrap()
}

#[test]
fn on_its_last_day_an_artifact_goes_but_for_who_reads_it() {
    let site = Site::new(500);
    let mount = site.mount();
    let (kept, old) = (site.export(CONTACTS).id, site.export(SPLIT).id);
    mount.unmount();
    let left = Duration::from_secs(4);
    let end = SystemTime::now() + left;
    leave(&site, &old, left);
    let mount = site.mount();
    assert_eq!(record(&mount, &old)["remaining_days"], 1);
    let paths = paths(&site, &mount, &old);
    let good: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    let mut open: Vec<File> = paths.iter().map(|path| File::open(path).unwrap()).collect();
    // Known by its inode alone, without being open.
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    let by_inode: Vec<File> = paths.iter().map(|path| with_flags(path, flags)).collect();
    for file in &open {
        assert_eq!(unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) }, 0);
    }
    assert_eq!(is_listed(&mount, &old), [true; 3]);
    assert!(SystemTime::now() < end, "this machine is too slow for so short a time");
    within(left + Duration::from_secs(1), "it is gone", || is_listed(&mount, &old) == [false; 3]);
    assert!(SystemTime::now() >= end, "not before its time");
    for path in &paths {
        // The kernel may know a name for as long as it takes to be told.
        within(Duration::from_millis(200), "a name that is gone", || {
            errno(fs::metadata(path)) == libc::ENOENT
        });
    }
    for file in &by_inode {
        let again = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()));
        assert_eq!(errno(again), libc::ESTALE);
    }
    within(Duration::from_secs(1), "its parts are deleted", || site.parts(&old).is_empty());
    site.assert_nothing_but(&[&kept]);
    for (file, good) in open.iter_mut().zip(&good) {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert!(bytes == *good);
    }
    let record = record(&mount, &old);
    assert_eq!(
        (&record["remaining_days"], &record["status"]),
        (&0.into(), &"Completed".into()),
        "{record:#}"
    );
    assert!(record.get("parts").is_none() && record.get("artifact").is_none(), "{record:#}");
    assert!(rows_in(&mount, &kept) > 0);
    drop((open, by_inode));
    mount.unmount();
}

fn with_flags(path: &Path, flags: i32) -> File {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().read(true).custom_flags(flags).open(path).unwrap()
}

/// A mount whose time of day is set by what is written to a file. The time that passes is not.
struct Wrong {
    site: Site,
    clock: PathBuf,
}

impl Wrong {
    fn new() -> Wrong {
        let site = Site::new(100);
        assert!(Path::new(FAKETIME).exists(), "{FAKETIME}: scripts/setup --test installs it");
        let clock = site.place.root().join("clock");
        let wrong = Wrong { site, clock };
        wrong.set(0);
        wrong
    }

    fn set(&self, days: i64) {
        fs::write(&self.clock, format!("{:+}d\n", days)).unwrap();
    }

    fn mount(&self) -> Mount {
        let mut command = self.site.command(&self.site.place.point());
        command.env("LD_PRELOAD", FAKETIME).env("FAKETIME_TIMESTAMP_FILE", &self.clock);
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        command.env("FAKETIME_DONT_RESET", "1").env("FAKETIME_FORCE_MONOTONIC_FIX", "0");
        Mount::start(command, &self.site.place.point())
    }
}

#[test]
fn a_clock_that_jumps_hides_but_does_not_delete() {
    let wrong = Wrong::new();
    let site = &wrong.site;
    let mount = wrong.mount();
    let id = site.export(CONTACTS).id;
    let paths = paths(site, &mount, &id);
    assert_eq!(record(&mount, &id)["remaining_days"], 30);
    let mut open = File::open(&paths[0]).unwrap();
    wrong.set(31);
    within(Duration::from_secs(2), "it is hidden", || is_listed(&mount, &id) == [false; 3]);
    for path in &paths {
        within(Duration::from_secs(1), "its name is gone", || errno(fs::metadata(path)) == libc::ENOENT);
    }
    assert_eq!(record(&mount, &id)["remaining_days"], 0);
    let mut bytes = Vec::new();
    open.read_to_end(&mut bytes).unwrap();
    assert_eq!(&bytes[..4], b"PK\x03\x04");
    drop(open);
    // Several looks at the catalogue later it is still there.
    let later = site.export(CONTACTS).id;
    assert_eq!(site.assert_whole(), 2);
    wrong.set(0);
    within(Duration::from_secs(2), "it is back", || is_listed(&mount, &id) == [true; 3]);
    assert!(rows_in(&mount, &id) > 0);
    // One made while the clock was ahead is from the future, and has all its days.
    assert_eq!(record(&mount, &later)["remaining_days"], 30);
    assert!(rows_in(&mount, &later) > 0);
    wrong.set(-400);
    within(Duration::from_secs(2), "a clock that is behind", || record(&mount, &id)["remaining_days"] == 30);
    assert_eq!(is_listed(&mount, &id), [true; 3]);
    assert_eq!(site.assert_whole(), 2);
    mount.unmount();
}

/// The program has just started, and nothing tells whether the clock is right: it may be that of a machine that has not
/// asked a time server yet.
#[test]
fn a_mount_long_after_hides_what_has_expired_and_purge_deletes_it() {
    let wrong = Wrong::new();
    let site = &wrong.site;
    let mount = wrong.mount();
    let id = site.export(SPLIT).id;
    mount.unmount();
    wrong.set(29);
    let mount = wrong.mount();
    assert_eq!(
        (is_listed(&mount, &id), record(&mount, &id)["remaining_days"].clone()),
        ([true; 3], 1.into())
    );
    let later = site.export(CONTACTS).id;
    mount.unmount();
    wrong.set(31);
    let mount = wrong.mount();
    assert_eq!(is_listed(&mount, &id), [false; 3]);
    assert_eq!(record(&mount, &id)["remaining_days"], 0);
    // Several looks at the catalogue later it is still there.
    std::thread::sleep(Duration::from_secs(3));
    assert!(!site.parts(&id).is_empty());
    assert_eq!(site.assert_whole(), 2);
    let mut purge = site.place.cddsfs(["purge"]);
    purge
        .arg(site.place.store())
        .arg("--yes")
        .env("LD_PRELOAD", FAKETIME)
        .env("FAKETIME_TIMESTAMP_FILE", &wrong.clock);
    assert!(purge.status().unwrap().success());
    site.assert_nothing_but(&[&later]);
    assert_eq!(record(&mount, &later)["remaining_days"], 28);
    assert!(rows_in(&mount, &later) > 0);
    mount.unmount();
}
