//! An error that whoever changes something sees is final: what was refused is not done later. And nothing that is refused is
//! lost, nor does it take more memory than there is to be had.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::mount::{Mount, Place, allowed, errno, run, succeed, take_away};
use cddsfs::store::managed::Managed;

const SECOND: Duration = Duration::from_secs(1);

fn mounted(place: &Place) -> Mount {
    drop(Managed::init(&place.store()).unwrap());
    place.mount(&[], &[])
}

fn later(title: &str) -> String {
    format!("{{\"title\":\"{title}\",\"type\":\"Contact\",\"start\":\"2099-01-01T00:00:00Z\"}}\n")
}

/// Keeps everybody from writing to the catalogue until it is dropped.
fn lock(place: &Place) -> rusqlite::Connection {
    let other = rusqlite::Connection::open(place.store().join("cddsfs.db")).unwrap();
    other.busy_timeout(20 * SECOND).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; UPDATE epoch SET number = number").unwrap();
    other
}

fn write(path: &Path, text: &str) -> i32 {
    let written = OpenOptions::new().write(true).create(true).truncate(true).open(path);
    errno(written.and_then(|mut file| file.write_all(text.as_bytes())))
}

#[test]
fn what_timed_out_is_never_done() {
    let place = Place::new();
    let mount = mounted(&place);
    for name in ["moved", "removed", "edited"] {
        assert_eq!(write(&mount.path(&format!("jobs/{name}.json")), &later(name)), 0);
    }
    let store = Managed::open(&place.store()).unwrap();
    let before = (store.catalogue.jobs().unwrap(), store.catalogue.runs().unwrap());
    let job = |name: &str| mount.path("jobs").join(name);
    let open =
        |name: &str| OpenOptions::new().write(true).create(true).truncate(true).open(job(name)).unwrap();
    let mut files: Vec<(File, String)> = (0..6).map(|n| (open("new"), later(&format!("new {n}")))).collect();
    files.extend(["edited.json", "made.json"].map(|name| (open(name), later("other"))));
    let locked = lock(&place);
    let errors: Vec<i32> = thread::scope(|scope| {
        let mut waiting = Vec::new();
        for (mut file, text) in files {
            waiting.push(scope.spawn(move || errno(file.write_all(text.as_bytes()))));
        }
        waiting.push(scope.spawn(move || errno(fs::rename(job("moved.json"), job("to.json")))));
        waiting.push(scope.spawn(move || errno(fs::remove_file(job("removed.json")))));
        waiting.into_iter().map(|waiting| waiting.join().unwrap()).collect()
    });
    assert_eq!(errors, [libc::ETIMEDOUT; 10]);
    drop(locked);
    // What was still waiting would get its turn now.
    thread::sleep(5 * SECOND);
    assert_eq!((store.catalogue.jobs().unwrap(), store.catalogue.runs().unwrap()), before);
    assert_eq!(write(&job("new"), &later("again")), 0);
    assert_eq!(store.catalogue.runs().unwrap().len(), before.1.len() + 1);
    let shown = fs::read_to_string(job("errors")).unwrap();
    assert!(shown.contains("new 5") && shown.contains("other"), "nothing is lost: {shown}");
    mount.unmount();
}

#[test]
fn a_catalogue_that_is_locked_does_not_keep_the_program_alive() {
    let place = Place::new();
    let mut mount = mounted(&place);
    let _locked = lock(&place);
    let path = mount.path("jobs/new");
    let waiting = thread::spawn(move || write(&path, &later("t")));
    thread::sleep(SECOND);
    take_away(&place.point());
    mount.signal(libc::SIGTERM);
    let begun = Instant::now();
    let error = waiting.join().unwrap();
    // It cannot be unmounted a second time, which is said.
    mount.ended();
    assert!([libc::ETIMEDOUT, libc::ECONNABORTED].contains(&error), "{error}");
    assert!(begun.elapsed() < allowed(12 * SECOND), "{:?}", begun.elapsed());
}

/// A tmpfs, until it is dropped.
struct Small(std::path::PathBuf);

impl Drop for Small {
    fn drop(&mut self) {
        take_away(&self.0);
    }
}

#[test]
fn a_disk_that_is_full_is_said_by_write() {
    let place = Place::new();
    let small = Small(place.root().join("small"));
    fs::create_dir(&small.0).unwrap();
    succeed("mount", ["-t", "tmpfs", "-o", "size=2m", "small", small.0.to_str().unwrap()]);
    let store = small.0.join("store");
    drop(Managed::init(&store).unwrap());
    let mut command = place.cddsfs(["mount", "-f"]);
    command.arg(&store).arg(place.point());
    let mount = Mount::start(command, &place.point());
    let fill = File::create(small.0.join("fill")).unwrap();
    let mut at = 0;
    while fill.write_all_at(&[1; 4096], at).is_ok() {
        at += 4096;
    }
    for target in ["new", "a.json"] {
        let mut bash = Command::new("bash");
        bash.args(["-c", "echo \"$1\" > \"$0\""]).arg(mount.path("jobs").join(target)).arg(later("lost"));
        let output = run(&mut bash);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("No space left on device"), "{target}: {output:?}");
        let shown = fs::read_to_string(mount.path("jobs/errors")).unwrap();
        assert!(shown.contains(&format!("jobs/{target}")) && shown.contains("lost"), "{target}: {shown}");
    }
    drop(fill);
    fs::remove_file(small.0.join("fill")).unwrap();
    let catalogue = Managed::open(&store).unwrap().catalogue;
    assert!(catalogue.runs().unwrap().is_empty() && catalogue.jobs().unwrap().is_empty());
    assert_eq!(write(&mount.path("jobs/new"), &later("t")), 0);
    assert_eq!(catalogue.runs().unwrap().len(), 1);
    drop(catalogue);
    mount.unmount();
}

#[test]
fn specs_that_are_being_written_take_a_bounded_amount_of_memory() {
    let place = Place::new();
    let mut mount = mounted(&place);
    let open = || OpenOptions::new().write(true).open(mount.path("jobs/new")).unwrap();
    let piece = [b' '; 1 << 17];
    let (mut files, mut errors) = (Vec::new(), Vec::new());
    for _ in 0..400 {
        let file = open();
        errors.push((0..8).map(|n| errno(file.write_at(&piece, n << 17))).max().unwrap());
        files.push(file);
    }
    assert_eq!(errors.iter().filter(|&&error| error == 0).count(), 16);
    assert!(errors.iter().all(|error| [0, libc::ENOSPC].contains(error)), "{errors:?}");
    assert_eq!(write(&mount.path("jobs/new"), &later("small")), 0, "others still get in");
    drop(files);
    let again = open();
    assert!((0..8).all(|n| again.write_at(&piece, n << 17).is_ok()), "what was given back is there again");
    drop(again);
    let status = fs::read_to_string(format!("/proc/{}/status", mount.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 128 << 10, "{peak} KiB");
}
