//! A store that several use at once: mounts, readers of what somebody deletes, and whoever waits for a run.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::support::mount::{Mount, errno, names, within};
use crate::support::site::{CONTACTS, SPLIT, Site, files, rows_in};
use cddsfs::store::catalogue::Status;

const SECOND: Duration = Duration::from_secs(1);
const INTERACTIONS: &str = r#"{"title":"all","type":"Interaction"}"#;

fn record(mount: &Mount, id: &str) -> String {
    fs::read_to_string(mount.path("history").join(format!("export-{id}.json"))).unwrap_or_default()
}

/// An artifact is there as soon as its record says so: whoever waits for the one need not wait for the other.
#[test]
fn what_history_calls_completed_is_there() {
    let site = Site::new(100);
    let mount = site.mount();
    for n in 0..20 {
        let id = site.submit(CONTACTS);
        let stem = format!("export-{id}");
        within(Duration::from_secs(30), "the record says so", || {
            record(&mount, &id).contains("\"Completed\"")
        });
        match n % 4 {
            0 => assert!(fs::read(mount.zip(&stem)).is_ok()),
            1 => assert!(!files(&mount.path("contents").join(&stem)).is_empty()),
            2 => assert!(fs::read(mount.path("encrypted").join(format!("{stem}.zip.smime"))).is_ok()),
            _ => assert!(mount.names("artifacts").contains(&format!("{stem}.zip"))),
        }
    }
    mount.unmount();
}

/// A listing brings attributes, and a size that is wrong in it would cut what a reader has in the kernel's cache.
#[test]
fn whoever_lists_does_not_cut_what_others_read() {
    let site = Site::new(200);
    let mount = site.mount();
    let ids: Vec<String> = (0..3).map(|_| site.export(CONTACTS).id).collect();
    let stems: Vec<String> = ids.iter().map(|id| format!("export-{id}")).collect();
    let paths: Vec<PathBuf> = stems
        .iter()
        .flat_map(|stem| [mount.path("history").join(format!("{stem}.json")), mount.zip(stem)])
        .chain(stems.iter().map(|stem| mount.path("contents").join(stem).join("manifest.json")))
        .collect();
    let whole: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    let open: Vec<File> = paths.iter().map(|path| File::open(path).unwrap()).collect();
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        for dir in ["history", "artifacts", "contents"].map(|dir| mount.path(dir)) {
            let ended = &ended;
            scope.spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    names(&dir);
                }
            });
        }
        let until = Instant::now() + 3 * SECOND;
        while Instant::now() < until {
            for ((path, whole), open) in paths.iter().zip(&whole).zip(&open) {
                let mut held = vec![0; whole.len()];
                let is_whole = open.read_exact_at(&mut held, 0).is_ok() && held == *whole;
                if !is_whole || fs::read(path).unwrap() != *whole {
                    ended.store(true, Ordering::Relaxed);
                    panic!("{} was cut", path.display());
                }
            }
        }
        ended.store(true, Ordering::Relaxed);
    });
    drop(open);
    mount.unmount();
}

#[test]
fn two_mounts_of_one_store_show_the_same() {
    let site = Site::new(200);
    let other_point = site.place.root().join("mnt2");
    fs::create_dir(&other_point).unwrap();
    let first = site.mount();
    let second = Mount::start(site.command(&other_point), &other_point);
    let mut ids = Vec::new();
    for spec in [CONTACTS, SPLIT, CONTACTS] {
        let id = site.submit(spec);
        let name = format!("export-{id}.json");
        for mount in [&first, &second] {
            within(SECOND, "the run is in the history", || mount.names("history").contains(&name));
        }
        site.ended(&id);
        for mount in [&first, &second] {
            within(SECOND, "it is completed", || record(mount, &id).contains("\"Completed\""));
            within(SECOND, "its artifact", || mount.names("artifacts").contains(&format!("export-{id}.zip")));
        }
        assert_eq!(rows_in(&first, &id), rows_in(&second, &id));
        assert_eq!(record(&first, &id), record(&second, &id));
        assert_eq!(site.run(&id).attempts, 1);
        ids.push(id);
    }
    // What is deleted in one is gone from the other.
    fs::remove_file(second.zip(&format!("export-{}", ids[0]))).unwrap();
    within(SECOND, "it is gone from the first", || {
        !first.names("artifacts").contains(&format!("export-{}.zip", ids[0]))
    });
    within(SECOND, "its name as well", || !first.zip(&format!("export-{}", ids[0])).exists());
    fs::remove_file(first.path("history").join(format!("export-{}.json", ids[1]))).unwrap();
    within(SECOND, "the record is gone", || {
        !second.names("history").contains(&format!("export-{}.json", ids[1]))
    });
    // The one that ran the jobs goes, and the other one takes over.
    first.unmount();
    let id = site.export(SPLIT).id;
    assert_eq!(rows_in(&second, &id), site.rows(&["interaction", "attachment"]));
    second.unmount();
    site.assert_whole();
}

#[test]
fn what_is_deleted_is_gone_at_once_but_for_who_reads_it() {
    let site = Site::new(1000);
    let mount = site.mount();
    let kept = site.export(CONTACTS).id;
    for by_part in [false, true] {
        let id = site.export(SPLIT).id;
        let stem = format!("export-{id}");
        let (zip, parts) = (mount.zip(&stem), site.parts(&id));
        let members = files(&mount.path("contents").join(&stem));
        let member = mount.path("contents").join(&stem).join(&members[members.len() / 2]);
        let encrypted = mount.path("encrypted").join(&parts[1]);
        let all = [&zip, &member, &encrypted];
        let good: Vec<Vec<u8>> = all.iter().map(|path| fs::read(path).unwrap()).collect();
        let mut open: Vec<File> = all.iter().map(|path| File::open(path).unwrap()).collect();
        for file in &mut open {
            let mut some = [0; 100];
            file.read_exact(&mut some).unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
            // Nothing is read from the kernel's cache below.
            drop_cached(file);
        }
        if by_part {
            // As whoever moves them out does: each name goes alone, and the artifact with the last.
            for part in &parts {
                fs::remove_file(mount.path("encrypted").join(part)).unwrap();
            }
        } else {
            fs::remove_file(&zip).unwrap();
        }
        assert_eq!(mount.names("artifacts"), [format!("export-{kept}.zip")]);
        assert_eq!(mount.names("contents"), [format!("export-{kept}")]);
        assert_eq!(mount.names("encrypted"), site.parts(&kept));
        for path in all {
            // The kernel is told of other names than the one that was deleted as soon as that has its answer.
            let at_once = Duration::from_millis(100);
            within(at_once, "the name is gone", || errno(fs::metadata(path)) == libc::ENOENT);
        }
        site.assert_nothing_but(&[&kept]);
        for (file, good) in open.iter_mut().zip(&good) {
            assert_eq!(file.metadata().unwrap().len(), good.len() as u64);
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            assert!(bytes == *good);
        }
        let run = site.run(&id);
        assert!(!run.present && run.deleted.is_some() && run.status == Status::Completed);
        let text = record(&mount, &id);
        assert!(
            text.contains("\"Completed\"")
                && text.contains("\"remaining_days\": 0")
                && !text.contains("\"parts\""),
            "{text}"
        );
        assert_eq!(errno(fs::remove_file(&zip)), libc::ENOENT);
    }
    assert!(rows_in(&mount, &kept) > 0);
    mount.unmount();
}

fn drop_cached(file: &File) {
    use std::os::fd::AsRawFd;
    let done = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    assert_eq!(done, 0);
}

#[test]
fn a_part_that_is_deleted_goes_alone() {
    let site = Site::new(1000);
    let mount = site.mount();
    let id = site.export(SPLIT).id;
    let stem = format!("export-{id}");
    let parts = site.parts(&id);
    let encrypted = |name: &str| mount.path("encrypted").join(name);
    let good: Vec<Vec<u8>> = parts.iter().map(|part| fs::read(encrypted(part)).unwrap()).collect();
    fs::remove_file(encrypted(&parts[1])).unwrap();
    let check = |mount: &Mount| {
        assert_eq!(mount.names("artifacts"), [format!("{stem}.zip.incomplete")]);
        let text =
            fs::read_to_string(mount.path("artifacts").join(format!("{stem}.zip.incomplete"))).unwrap();
        assert!(text.contains("missing") && text.contains(&parts[1]), "{text}");
        assert_eq!(errno(fs::metadata(mount.path("encrypted").join(&parts[1]))), libc::ENOENT);
        for (part, good) in parts.iter().zip(&good).filter(|(part, _)| **part != parts[1]) {
            assert!(fs::read(mount.path("encrypted").join(part)).unwrap() == *good, "{part}");
        }
        // What lies wholly in the others is still there.
        assert!(mount.path("contents").join(&stem).join("manifest.json").exists());
        let record = record(mount, &id);
        assert!(record.contains("\"Incomplete\"") && record.contains("\"missing\""), "{record}");
        assert_eq!(site.stored().len(), parts.len() - 1, "nothing else has gone");
    };
    check(&mount);
    mount.unmount();
    let mount = site.mount();
    check(&mount);
    mount.unmount();
}

#[test]
fn removing_a_record_cancels_its_run() {
    let site = Site::new(10_000);
    let mut mount = site.mount();
    let id = site.submit(INTERACTIONS);
    site.until("progress", || site.run(&id).progress.is_some());
    let path = mount.path("history").join(format!("export-{id}.json"));
    within(SECOND, "the record", || path.exists());
    fs::remove_file(&path).unwrap();
    site.until("the run is over", || site.run(&id).status == Status::Cancelled);
    within(SECOND, "its record says so", || {
        fs::read_to_string(&path).is_ok_and(|record| record.contains("\"Cancelled\""))
    });
    site.assert_nothing_but(&[]);
    // Now it is the record that is removed.
    fs::remove_file(&path).unwrap();
    assert_eq!(errno(fs::metadata(&path)), libc::ENOENT);
    assert!(mount.names("history").is_empty());
    assert!(site.store.catalogue.run(&id).unwrap().is_none());
    assert!(mount.names("artifacts").is_empty());
    // One that waits for its turn goes without ever having started.
    mount.signal(libc::SIGSTOP);
    let waiting = site.submit(INTERACTIONS);
    site.store.catalogue.remove_run(&waiting, SystemTime::now()).unwrap();
    mount.signal(libc::SIGCONT);
    let next = site.export(CONTACTS);
    let run = site.run(&waiting);
    assert_eq!((run.status, run.attempts), (Status::Cancelled, 0));
    site.store.catalogue.remove_run(&waiting, SystemTime::now()).unwrap();
    assert!(site.store.catalogue.run(&waiting).unwrap().is_none());
    within(SECOND, "the records", || mount.names("history") == [format!("export-{}.json", next.id)]);
    // That of a run with an artifact goes alone.
    fs::remove_file(mount.path("history").join(format!("export-{}.json", next.id))).unwrap();
    assert!(names(&mount.path("history")).is_empty());
    assert!(fs::metadata(mount.zip(&next.stem())).unwrap().size() > 0);
    fs::remove_file(mount.zip(&next.stem())).unwrap();
    assert!(site.store.catalogue.run(&next.id).unwrap().is_none());
    site.assert_nothing_but(&[]);
    mount.unmount();
}

/// A snapshot or a backup that is mounted: nothing can be written there, by nobody.
#[test]
fn a_store_on_a_medium_that_cannot_be_written_to_is_read() {
    let site = Site::new(300);
    let mount = site.mount();
    let id = site.export(SPLIT).id;
    let good = fs::read(mount.zip(&format!("export-{id}"))).unwrap();
    mount.unmount();
    let medium = site.place.root().join("medium");
    fs::create_dir(&medium).unwrap();
    let bind = |args: &[&str]| {
        let status = std::process::Command::new("mount").args(args).arg(&medium).status().unwrap();
        assert!(status.success(), "mount {args:?}");
    };
    bind(&["--bind", site.place.store().to_str().unwrap()]);
    bind(&["-o", "remount,bind,ro"]);
    let _taken_away = TakenAway(medium.clone());
    let command = |args: &[&str]| {
        let mut program = site.place.cddsfs([args[0]]);
        program.arg(&medium).args(&args[1..]);
        program
    };
    for options in [&["-f"][..], &["-f", "--ro"]] {
        let point = site.place.point();
        let mut program = command(&[&["mount"], options].concat());
        program.arg(&point).arg("--key").arg(site.key());
        let mount = Mount::start(program, &point);
        assert!(fs::read(mount.zip(&format!("export-{id}"))).unwrap() == good);
        assert!(record(&mount, &id).contains("\"Completed\""));
        assert_eq!(errno(fs::remove_file(mount.zip(&format!("export-{id}")))), libc::EROFS);
        assert_eq!(errno(fs::write(mount.path("jobs").join("new"), CONTACTS)), libc::EROFS);
        mount.unmount();
    }
    let key = site.key();
    let key = ["--key", key.to_str().unwrap()];
    for args in [
        &["history"][..],
        &["artifacts"],
        &[&["verify"], &key[..]].concat(),
        &[&["ls", &id], &key[..]].concat(),
    ] {
        let output = command(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(
            String::from_utf8_lossy(&output.stdout).contains(if args[0] == "ls" {
                "manifest"
            } else {
                &id[..8]
            }),
            "{args:?}"
        );
    }
    // What is changed by another way is seen.
    let live = site.mount();
    let later = site.export(CONTACTS).id;
    let history = || String::from_utf8_lossy(&command(&["history"]).output().unwrap().stdout).into_owned();
    within(5 * SECOND, "the later run", || history().contains(&later[..8]));
    live.unmount();
}

struct TakenAway(PathBuf);

impl Drop for TakenAway {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A backup makes links to the parts, which changes their change time: that is no other file.
#[test]
fn a_backup_keeps_nobody_from_reading() {
    let site = Site::new(500);
    let mount = site.mount();
    let id = site.export(SPLIT).id;
    let stem = format!("export-{id}");
    let zip = mount.zip(&stem);
    let part = mount.path("encrypted").join(&site.parts(&id)[0]);
    within(5 * SECOND, "the artifact", || zip.exists());
    let good = fs::read(&part).unwrap();
    let mut backup = site.place.cddsfs(["backup"]);
    backup.arg(site.place.store()).arg(site.place.root().join("backup"));
    assert!(backup.status().unwrap().success());
    // Neither for whoever looks now nor for the next mount.
    let manifest = |mount: &Mount| fs::read(mount.path("contents").join(&stem).join("manifest.json"));
    assert!(!manifest(&mount).unwrap().is_empty());
    assert!(fs::read(&part).unwrap() == good && fs::read(&zip).is_ok());
    mount.unmount();
    let mount = site.mount();
    within(5 * SECOND, "the artifact", || zip.exists());
    assert!(fs::read(&part).unwrap() == good && fs::read(&zip).is_ok());
    assert!(!manifest(&mount).unwrap().is_empty());
    mount.unmount();
}
