//! The process that runs jobs is killed, at every step that changes the store: what is visible is whole, and the next
//! one goes on.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::mount::{self, Mount, is_mounted, names, within};
use crate::support::site::{self, Site, clean_up, rows_in, traced};
use cddsfs::store::catalogue::Status;

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(30);
/// Steps of one kind that are tried at most.
const MAX_STEPS: u32 = 40;
/// What is tried at a time.
const AT_ONCE: usize = 3;

/// Looked for where Debian and its descendants have it.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// The system calls that change a store, by what they are for. strace counts the calls of each thread by itself, and
/// the thread that comes to the number first is where everything ends; so kinds that are rare are not mixed with
/// those that are frequent.
const EXPORT: [(&str, u32); 5] = [
    ("rename,renameat,renameat2", 1),
    ("fsync,fdatasync", 1),
    ("pwrite64", 1),
    ("unlink,unlinkat,ftruncate", 1),
    ("write", 1),
];

/// Starts the program as a child of strace, which kills it at the `step`-th call of a kind.
fn killed_at(site: &Site, calls: &str, step: u32) -> Child {
    killed_at_with(site, calls, step, &[])
}

/// The same, with settings in the program's environment.
fn killed_at_with(site: &Site, calls: &str, step: u32, settings: &[String]) -> Child {
    let inject = format!("inject={calls}:signal=KILL:when={step}");
    let trace = format!("trace={calls}");
    let arguments = ["-o", "/dev/null", "-e", &trace, "-e", &inject].map(str::to_string);
    let settings = settings.iter().flat_map(|setting| ["-E".into(), setting.clone()]);
    site.strace(arguments.into_iter().chain(settings))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("scripts/setup --test")
}

/// Waits until the program has been killed; false, if what is waited for came first. Then it is killed now.
fn was_killed(site: &Site, program: &mut Child, is_over: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    loop {
        if let Some(status) = program.try_wait().unwrap() {
            // strace ends in the way of what it has traced.
            assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
            clean_up(&site.place.point());
            return true;
        }
        if is_over() {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "neither killed nor done: {:#?}", site.store.catalogue.runs());
        thread::sleep(Duration::from_millis(3));
    }
    if let Some(pid) = traced(program.id()) {
        mount::send(pid, libc::SIGKILL);
    }
    mount::wait(program);
    clean_up(&site.place.point());
    false
}

/// Goes through the steps of every kind until one is not reached any more; returns how many kills there were.
fn every_step(kinds: &[(&'static str, u32)], try_step: impl Fn(&str, u32) -> bool + Sync) -> usize {
    let kills = AtomicUsize::new(0);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(&(calls, stride)) = kinds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let steps = (0..MAX_STEPS).map(|i| 1 + i * stride);
                    let count = steps.take_while(|&step| try_step(calls, step)).count();
                    eprintln!("{calls}: killed at {count} steps");
                    kills.fetch_add(count, Ordering::Relaxed);
                }
            });
        }
    });
    kills.into_inner()
}

#[test]
fn a_kill_at_any_step_of_an_export_leaves_nothing_half() {
    let origin = Site::new(700);
    let rows = origin.rows(&["interaction", "attachment"]);
    let id = origin.submit(site::SPLIT);
    let complete = AtomicUsize::new(0);
    let kills = every_step(&EXPORT, |calls, step| {
        let site = origin.copy();
        let mut program = killed_at(&site, calls, step);
        let killed = was_killed(&site, &mut program, || site.run(&id).status.is_final());
        complete.fetch_add(site.assert_whole(), Ordering::Relaxed);
        let before = site.run(&id);
        assert!(before.present == (before.status == Status::Completed), "{before:#?}");
        let mount = site.mount();
        let run = site.ended(&id);
        assert_eq!((run.status, run.present), (Status::Completed, true), "{calls} {step}: {run:#?}");
        assert_eq!(run.progress.unwrap().rows_done as usize, rows);
        assert!(site.parts(&id).len() >= 2);
        within(PATIENCE, "the artifact", || names(&mount.path("artifacts")) == [format!("export-{id}.zip")]);
        assert_eq!(rows_in(&mount, &id), rows, "{calls} {step}");
        site.assert_nothing_but(&[&id]);
        site.assert_whole();
        mount.unmount();
        killed
    });
    eprintln!("{kills} kills; after {complete:?} of them the export was complete");
    assert!(kills >= 50, "{kills}");
}

/// What deletes an artifact is killed: it is there with all its parts, or gone, and then nothing of it stays.
#[test]
fn a_kill_at_any_step_of_a_deletion_leaves_nothing_half() {
    let origin = Site::new(200);
    let mount = origin.mount();
    let (kept, deleted) = (origin.export(site::CONTACTS).id, origin.export(site::SPLIT).id);
    mount.unmount();
    let kinds = [("unlink,unlinkat", 1), ("fsync,fdatasync", 1), ("pwrite64", 1)];
    let kills = every_step(&kinds, |calls, step| {
        let site = origin.copy();
        let mut program = killed_at(&site, calls, step);
        let zip = site.place.point().join("artifacts").join(format!("export-{deleted}.zip"));
        let mut rm = None;
        let is_over = || !site.run(&deleted).present && site.stored().len() == site.parts(&kept).len();
        let started = Instant::now();
        // It may be killed before there is anything to delete.
        while rm.is_none() && program.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < PATIENCE);
            if is_mounted(&site.place.point()) && zip.exists() {
                rm = Some(Command::new("rm").arg("-f").arg(&zip).stderr(Stdio::null()).spawn().unwrap());
            }
        }
        let killed = was_killed(&site, &mut program, is_over);
        if let Some(mut rm) = rm {
            mount::wait(&mut rm);
        }
        let whole = site.assert_whole();
        let present = site.run(&deleted).present;
        assert_eq!(whole, 1 + usize::from(present));
        let mount = site.mount();
        let expected = if present { vec![&*kept, &*deleted] } else { vec![&*kept] };
        let parts: usize = expected.iter().map(|id| site.parts(id).len()).sum();
        within(PATIENCE, "the leftovers are gone", || site.stored().len() == parts);
        site.assert_nothing_but(&expected);
        assert_eq!(site.run(&deleted).status, Status::Completed);
        for id in expected {
            assert!(rows_in(&mount, id) > 0);
        }
        mount.unmount();
        killed
    });
    eprintln!("{kills} kills");
    assert!(kills >= 8, "{kills}");
}

/// What has expired goes although its deletion is interrupted, and nothing else does.
#[test]
fn a_kill_at_any_step_of_an_expiry_leaves_nothing_half() {
    let origin = Site::new(200);
    let mount = origin.mount();
    let (kept, expired) = (origin.export(site::CONTACTS).id, origin.export(site::SPLIT).id);
    mount.unmount();
    let catalogue = rusqlite::Connection::open(origin.place.store().join("cddsfs.db")).unwrap();
    let sql = "UPDATE run SET finished = finished - 31 * 86400000 WHERE id = ?1";
    assert_eq!(catalogue.execute(sql, [&expired]).unwrap(), 1);
    drop(catalogue);
    let kinds = [("unlink,unlinkat", 1), ("fsync,fdatasync", 1), ("pwrite64", 1)];
    let kills = every_step(&kinds, |calls, step| {
        let site = origin.copy();
        let mut program = killed_at(&site, calls, step);
        let kept_parts = site.parts(&kept).len();
        let is_over =
            || site.store.catalogue.parts(&expired).unwrap().is_empty() && site.stored().len() == kept_parts;
        let killed = was_killed(&site, &mut program, is_over);
        assert_eq!(site.assert_whole(), 1 + usize::from(site.run(&expired).present));
        let mount = site.mount();
        within(PATIENCE, "what has expired is gone", || site.stored().len() == kept_parts);
        site.assert_nothing_but(&[&kept]);
        assert!(rows_in(&mount, &kept) > 0);
        mount.unmount();
        killed
    });
    eprintln!("{kills} kills");
    assert!(kills >= 8, "{kills}");
}

/// The same as above for an export, while somebody sets the clock to and fro; never so far ahead that anything expires, nor to before
/// the certificate is valid.
#[test]
fn a_kill_while_the_clock_is_stepped_loses_nothing() {
    let origin = Site::new(700);
    let rows = origin.rows(&["interaction", "attachment"]);
    let (kept, id) = {
        let mount = origin.mount();
        let kept = origin.export(site::CONTACTS).id;
        mount.unmount();
        (kept, origin.submit(site::SPLIT))
    };
    let clock = origin.place.root().join("clock");
    let file = clock.clone();
    let set = move |hours: i64| {
        let clock = &file;
        fs::write(clock.with_extension("new"), format!("{hours:+}h\n")).unwrap();
        fs::rename(clock.with_extension("new"), clock).unwrap();
    };
    set(0);
    let settings = [
        format!("LD_PRELOAD={FAKETIME}"),
        format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()),
        "FAKETIME_NO_CACHE=1".into(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".into(),
    ];
    let kinds = [("rename,renameat,renameat2", 2), ("fsync,fdatasync", 3), ("pwrite64", 7)];
    let kills = thread::scope(|scope| {
        // Dropped, also by a panic, it ends the thread.
        let (going_on, goes_on) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            for hours in [20 * 24, 0, 5, 3, 10 * 24, 0].into_iter().cycle() {
                set(hours);
                let waited = goes_on.recv_timeout(Duration::from_millis(70));
                if waited != Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                    break;
                }
            }
        });
        let kills = every_step(&kinds, |calls, step| {
            let site = origin.copy();
            let mut program = killed_at_with(&site, calls, step, &settings);
            let killed = was_killed(&site, &mut program, || site.run(&id).status.is_final());
            site.assert_whole();
            let mount = site.mount();
            let run = site.ended(&id);
            assert_eq!((run.status, run.present), (Status::Completed, true), "{calls} {step}: {run:#?}");
            within(PATIENCE, "both artifacts", || names(&mount.path("artifacts")).len() == 2);
            assert_eq!(rows_in(&mount, &id), rows, "{calls} {step}");
            site.assert_nothing_but(&[&kept, &id]);
            mount.unmount();
            killed
        });
        drop(going_on);
        kills
    });
    eprintln!("{kills} kills");
    assert!(kills >= 10, "{kills}");
}

#[test]
fn a_job_that_was_handed_in_is_not_lost() {
    let site = Site::new(100);
    for n in 1..=4 {
        let id = site.submit(site::CONTACTS);
        let mut program = killed_at(&site, "fsync,fdatasync", n);
        was_killed(&site, &mut program, || site.run(&id).status.is_final());
    }
    let mount = site.mount();
    site.until("all four", || {
        site.store.catalogue.runs().unwrap().iter().all(|run| run.status == Status::Completed)
    });
    assert_eq!(site.store.catalogue.runs().unwrap().len(), 4);
    mount.unmount();
}

/// A reader notices that the mount has gone, and nothing in the store is another than before.
#[test]
fn a_kill_while_somebody_reads_harms_nothing() {
    let site = Site::new(2000);
    let mount = site.mount();
    let id = site.export(site::SPLIT).id;
    let zip = mount.zip(&format!("export-{id}"));
    let good = fs::read(&zip).unwrap();
    mount.unmount();
    let point = site.place.point();
    for round in 0..20u64 {
        let mut mount = Mount::start(site.command(&point), &point);
        let script = "while :; do cat \"$0\"/artifacts/* \"$0\"/encrypted/* || exit 7; find \"$0\"/contents -type f -exec cat {} + || exit 8; done";
        let mut reader = Command::new("sh");
        reader.args(["-c", script]).arg(&point).stdout(Stdio::null()).stderr(Stdio::null());
        let mut reader = reader.spawn().unwrap();
        // Any moment is as good as another: that is what this waits for.
        thread::sleep(Duration::from_millis(5 + round * 37 % 110));
        assert!(reader.try_wait().unwrap().is_none(), "it reads");
        mount.killed();
        let status = mount::wait(&mut reader);
        assert!([Some(7), Some(8)].contains(&status.code()), "{status}");
        clean_up(&point);
        assert_eq!(site.assert_whole(), 1);
    }
    let mount = site.mount();
    assert!(fs::read(&zip).unwrap() == good);
    site.assert_nothing_but(&[&id]);
    mount.unmount();
}
