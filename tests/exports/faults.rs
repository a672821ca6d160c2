//! What goes wrong under a run: the disk is full or fails, the source goes, the certificate goes. The run says why it
//! failed, nothing of it stays, and the mount lives.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::mount::{Mount, Place, errno, names};
use crate::support::site::{CONTACTS, SPLIT, Site, rows_in};
use cddsfs::store::catalogue::{Run, Status};
use nix::mount::{MntFlags, MsFlags, mount as mount_fs, umount2};

const INTERACTIONS: &str = r#"{"title":"all","type":"Interaction"}"#;

/// Waits until rows of a run are being read, and stops the program there while something is done.
fn in_the_middle(site: &Site, mount: &mut Mount, spec: &str, something: impl FnOnce(&str)) -> String {
    let id = site.submit(spec);
    site.until("progress", || site.run(&id).progress.is_some());
    mount.signal(libc::SIGSTOP);
    assert_eq!(site.run(&id).status, Status::InProgress, "the source of this test is too small");
    something(&id);
    mount.signal(libc::SIGCONT);
    id
}

/// Asserts that a run has failed, and that it left nothing but what was there.
fn assert_failed(site: &Site, mount: &Mount, id: &str, why: &str, others: &[&str]) -> Run {
    let run = site.ended(id);
    let error = run.error.clone().unwrap_or_default();
    assert_eq!((run.status, run.present), (Status::Failed, false), "{run:#?}");
    assert!(error.contains(why), "{why}: {error}");
    site.assert_nothing_but(others);
    let record = fs::read_to_string(mount.path("history").join(format!("export-{id}.json"))).unwrap();
    assert!(record.contains("\"status\": \"Failed\"") && record.contains("\"error\""), "{record}");
    assert!(!mount.zip(&run.stem()).exists());
    run
}

/// Asserts that older artifacts can be read, and another export be made.
fn assert_alive(site: &Site, mount: &Mount, older: &[&str]) {
    let contacts = site.rows(&["contact", "contactattribute"]);
    for id in older {
        assert_eq!(rows_in(mount, id), contacts);
    }
    let next = site.export(CONTACTS);
    assert_eq!(rows_in(mount, &next.id), contacts);
    site.assert_whole();
}

#[test]
fn a_full_disk_fails_the_run_and_nothing_else() {
    on_a_full_disk(|_, store| {
        mount_fs(Some("tmpfs"), store, Some("tmpfs"), MsFlags::empty(), Some("size=6m"))
            .expect("tests mount as root");
    });
}

#[test]
fn so_does_a_full_loop_device() {
    on_a_full_disk(|root, store| {
        let make = "truncate -s 8M disk && mkfs.ext4 -q -O ^has_journal disk && mount -o loop disk \"$0\"";
        let mut shell = Command::new("sh");
        let made = shell.args(["-ec", make]).arg(store).current_dir(root).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        // A store is made in an empty directory.
        fs::remove_dir(store.join("lost+found")).unwrap();
    });
}

/// `make` mounts a small filesystem on the store's directory.
fn on_a_full_disk(make: impl Fn(&Path, &Path)) {
    let place = Place::new();
    let store = place.store();
    make(place.root(), &store);
    let site = Site::at(place, 10_000);
    let mount = site.mount();
    let older = site.export(CONTACTS);
    for spec in [INTERACTIONS, SPLIT] {
        let id = site.submit(spec);
        assert_failed(&site, &mount, &id, "No space left", &[&older.id]);
    }
    assert_alive(&site, &mount, &[&older.id]);
    assert_eq!(names(&mount.path("history")).len(), 4);
    mount.unmount();
    drop(site.store);
    umount2(&store, MntFlags::MNT_DETACH).unwrap();
}

#[test]
fn a_source_that_is_deleted_or_replaced_meanwhile_is_exported_as_it_was() {
    let site = Site::new(10_000);
    let rows = site.rows(&["interaction", "attachment"]);
    let mut mount = site.mount();
    let (source, away) = (site.source(), site.source().with_extension("away"));
    let id = in_the_middle(&site, &mut mount, INTERACTIONS, |_| {
        fs::copy(&source, &away).unwrap();
        fs::remove_file(&source).unwrap();
    });
    assert_eq!(site.ended(&id).status, Status::Completed);
    assert_eq!(rows_in(&mount, &id), rows);
    let later = site.submit(CONTACTS);
    assert_failed(&site, &mount, &later, "history.db", &[&id]);
    fs::rename(&away, &source).unwrap();

    let second = in_the_middle(&site, &mut mount, INTERACTIONS, |_| {
        fs::rename(&source, &away).unwrap();
        fs::write(&source, vec![b'x'; 8192]).unwrap();
    });
    assert_eq!(site.ended(&second).status, Status::Completed);
    assert_eq!(rows_in(&mount, &second), rows);
    let later = site.submit(CONTACTS);
    assert_failed(&site, &mount, &later, "not an SQLite database", &[&id, &second]);
    fs::rename(&away, &source).unwrap();
    assert_alive(&site, &mount, &[]);
    mount.unmount();
}

#[test]
fn a_source_that_is_damaged_meanwhile_fails_the_run() {
    let site = Site::new(10_000);
    let mut mount = site.mount();
    let good = fs::read(site.source()).unwrap();
    let id = in_the_middle(&site, &mut mount, INTERACTIONS, |_| {
        let mut bytes = good.clone();
        let len = bytes.len();
        bytes[len / 8..].fill(0xA5);
        fs::write(site.source(), bytes).unwrap();
    });
    assert_failed(&site, &mount, &id, "damaged", &[]);
    fs::write(site.source(), good).unwrap();
    assert_alive(&site, &mount, &[]);
    mount.unmount();
}

#[test]
fn a_source_that_another_program_has_locked_fails_the_run() {
    let site = Site::new(200);
    let mount = site.mount();
    let other = rusqlite::Connection::open(site.source()).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let id = site.submit(CONTACTS);
    assert_failed(&site, &mount, &id, "another program has it locked", &[]);
    other.execute_batch("ROLLBACK").unwrap();
    assert_alive(&site, &mount, &[]);
    // One that is soon free again is waited for.
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let id = site.submit(CONTACTS);
    site.until("the run has started", || site.run(&id).status == Status::InProgress);
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(site.ended(&id).status, Status::Completed);
    mount.unmount();
}

#[test]
fn a_certificate_that_goes_meanwhile_was_loaded_before() {
    let site = Site::new(10_000);
    let rows = site.rows(&["interaction", "attachment"]);
    let mut mount = site.mount();
    let certificate = fs::read(site.store.certificate_path()).unwrap();
    let id = in_the_middle(&site, &mut mount, INTERACTIONS, |_| {
        fs::remove_file(site.store.certificate_path()).unwrap();
    });
    assert_eq!(site.ended(&id).status, Status::Completed);
    assert_eq!(rows_in(&mount, &id), rows);
    let later = site.submit(CONTACTS);
    assert_failed(&site, &mount, &later, "certificate.pem", &[&id]);
    site.store.catalogue.set_certificates(&certificate).unwrap();
    assert_alive(&site, &mount, &[]);
    mount.unmount();
}

#[test]
fn a_directory_that_nothing_can_be_written_to_fails_the_run() {
    let site = Site::new(200);
    let mount = site.mount();
    let older = site.export(CONTACTS);
    let artifacts = site.store.artifacts();
    let none: Option<&Path> = None;
    let remount = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount_fs(Some(&artifacts), &artifacts, none, MsFlags::MS_BIND, none).expect("tests mount as root");
    mount_fs(none, &artifacts, none, remount, none).unwrap();
    let id = site.submit(SPLIT);
    assert_failed(&site, &mount, &id, "Read-only file system", &[&older.id]);
    assert_eq!(rows_in(&mount, &older.id), site.rows(&["contact", "contactattribute"]));
    // Nor can anything be deleted; as long as its files are there, so is what they are.
    let removed = fs::remove_file(mount.zip(&older.stem()));
    assert_eq!(errno(removed), libc::EROFS);
    umount2(&artifacts, MntFlags::MNT_DETACH).unwrap();
    let left: &[&str] = if site.run(&older.id).present { &[&older.id] } else { &[] };
    assert_alive(&site, &mount, left);
    mount.unmount();
    // The next one finishes what was begun.
    let mount = site.mount();
    let present: Vec<Run> =
        site.store.catalogue.runs().unwrap().into_iter().filter(|run| run.present).collect();
    site.until("the rest is deleted", || {
        let parts: usize = present.iter().map(|run| site.parts(&run.id).len()).sum();
        site.stored().len() == parts
    });
    mount.unmount();
}

/// Mounts with a fault in the system calls on the `part`-th part of the run `id`; `path` may be in the store instead.
fn with_fault(site: &Site, path: &Path, fault: &str) -> Mount {
    let path = path.to_str().unwrap();
    let calls = fault.split(':').next().unwrap();
    let (trace, inject) = (format!("trace={calls}"), format!("inject={fault}"));
    let mut command = site.strace(["-o", "/dev/null", "-P", path, "-e", &trace, "-e", &inject]);
    command.stderr(Stdio::piped());
    Mount::start(command, &site.place.point())
}

#[test]
fn a_disk_that_fails_under_a_part_fails_the_run() {
    let origin = Site::new(350);
    for part in [1, 2] {
        for (fault, why) in [
            ("write:error=EIO:when=1", "Input/output error"),
            ("write:error=EIO:when=2+", "Input/output error"),
            ("write:error=ENOSPC:when=2", "No space left"),
            ("write:error=EDQUOT:when=2", "quota"),
            ("fsync,fdatasync:error=EIO", "Input/output error"),
            ("fsync,fdatasync:error=ENOSPC", "No space left"),
            ("rename,renameat,renameat2:error=EIO", "Input/output error"),
            ("openat:error=EMFILE", "Too many open files"),
            ("openat:error=EACCES", "Permission denied"),
        ] {
            let site = origin.copy();
            let id = site.submit(SPLIT);
            // Names are changed within the directory, the others reach the file.
            let (path, fault) = match fault.starts_with("rename") {
                true => (site.store.artifacts(), format!("{fault}:when={part}")),
                false => {
                    (site.store.artifacts().join(format!(".export-{id}.1.{part}.tmp")), fault.to_string())
                }
            };
            let mount = with_fault(&site, &path, &fault);
            let run = site.ended(&id);
            assert_eq!(run.status, Status::Failed, "{fault} on part {part}");
            assert_failed(&site, &mount, &id, why, &[]);
            let mount = if path == site.store.artifacts() {
                // It would fail the next run, too.
                mount.unmount();
                site.mount()
            } else {
                mount
            };
            assert_alive(&site, &mount, &[]);
            mount.unmount();
        }
    }
}

#[test]
fn an_interrupted_write_is_taken_up() {
    let site = Site::new(350);
    let id = site.submit(SPLIT);
    let path = site.store.artifacts().join(format!(".export-{id}.1.1.tmp"));
    let mount = with_fault(&site, &path, "write:error=EINTR:when=1+2");
    assert_eq!(site.ended(&id).status, Status::Completed);
    assert_eq!(rows_in(&mount, &id), site.rows(&["interaction", "attachment"]));
    mount.unmount();
}

/// The catalogue's disk fails for a while: the run may fail or come through, but it ends, and what it says is so.
#[test]
fn a_disk_that_fails_under_the_catalogue_leaves_it_true() {
    let origin = Site::new(200);
    for (file, fault) in [
        ("cddsfs.db-wal", "pwrite64:error=EIO:when=3..5"),
        ("cddsfs.db-wal", "pwrite64:error=ENOSPC:when=6..9"),
        ("cddsfs.db-wal", "fsync,fdatasync:error=EIO:when=2..3"),
        ("cddsfs.db", "pwrite64,fsync,fdatasync:error=EIO:when=1..2"),
    ] {
        let site = origin.copy();
        let id = site.submit(SPLIT);
        let mount = with_fault(&site, &site.place.store().join(file), fault);
        let run = site.ended(&id);
        assert!(matches!(run.status, Status::Failed | Status::Completed), "{fault}: {run:#?}");
        assert_eq!(run.status == Status::Failed, run.error.is_some(), "{fault}: {run:#?}");
        site.assert_whole();
        let present: Vec<&str> = if run.present { vec![&id] } else { Vec::new() };
        site.assert_nothing_but(&present);
        assert_eq!(names(&mount.path("history")), [format!("export-{id}.json")], "{fault}");
        mount.unmount();
        // strace counts for each thread anew: another run would meet the fault again.
        let mount = site.mount();
        assert_alive(&site, &mount, &[]);
        mount.unmount();
    }
}
