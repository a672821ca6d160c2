//! What is in the catalogue has an owner or is taken up again, whatever ended the process that had it; what cannot be
//! read or deleted there does not keep the rest.

use std::fs;
use std::time::Duration;

use crate::support::managed::{Bench, DAY, HOUR, at};
use cddsfs::export::{disposal, jobs};
use cddsfs::store::catalogue::sqlite::Sqlite;
use cddsfs::store::catalogue::{
    Claim, Completion, End, Ended, Progress, Run, Runs, Standing, Status, Wanted, Why,
};

const CONTACTS: &str = r#"{"title":"t","type":"Contact"}"#;
const SPLIT: &str = r#"{"title":"t","type":"Interaction","split_size":"64 KiB"}"#;
const HOURLY: &[u8] = br#"{"title":"t","type":"Contact","run":{"every":"hour"}}"#;

fn runs(bench: &Bench, status: Status) -> Vec<Run> {
    bench.store.catalogue.runs_that_are(status).unwrap()
}

/// Has a run started by a process that dies.
fn start(bench: &Bench, id: &str) -> Claim {
    bench.store.queue.claim(&Wanted::only(id), bench.now()).unwrap().unwrap()
}

#[test]
fn a_run_that_nobody_executes_is_started_again_also_while_the_engine_runs() {
    let bench = Bench::new(20);
    let _engine = bench.engine();
    bench.settle();
    // As if a thread could not be started, or an end not be written down.
    let run = Run::new("302a38f0-b493-4921-b8e4-61c1e18a0655".into(), CONTACTS.into(), Status::Scheduled);
    bench.store.catalogue.add_run(&run).unwrap();
    bench.sql("UPDATE run SET status = 'In Progress', attempts = 1, debris = 1");
    bench.until("the run", || bench.run(&run.id).status == Status::Completed);
    assert_eq!(bench.run(&run.id).attempts, 2);
}

#[test]
fn a_run_that_was_cancelled_and_interrupted_is_over_and_its_job_goes_on() {
    let bench = Bench::new(20_000);
    bench.clock.set(at("2027-11-23T12:30:00Z"));
    let engine = bench.engine();
    let text = br#"{"title":"t","type":"Interaction","run":{"every":"hour"}}"#;
    jobs::define(&bench.store, "hourly", text, bench.now()).unwrap();
    bench.clock.set(at("2027-11-23T13:00:00Z"));
    bench.until("the start", || runs(&bench, Status::InProgress).len() == 1);
    let run = runs(&bench, Status::InProgress).remove(0);
    bench.store.catalogue.remove_run(&run.id, bench.now()).unwrap();
    drop(engine);
    let _engine = bench.engine();
    bench.until("the next run", || runs(&bench, Status::Scheduled).len() == 1);
    assert_eq!(bench.run(&run.id).status, Status::Cancelled);
}

/// So a store of 0.1.0 may be left: the job would never be scheduled again.
#[test]
fn a_run_that_is_queued_and_cancelled_and_hidden_keeps_no_job() {
    let bench = Bench::new(20);
    jobs::define(&bench.store, "hourly", HOURLY, bench.now()).unwrap();
    let run = runs(&bench, Status::Scheduled).remove(0);
    bench.sql("UPDATE run SET status = 'Queued', cancel = 1, hidden = 1");
    let _engine = bench.engine();
    bench.until("the next run", || runs(&bench, Status::Scheduled).len() == 1);
    assert!(bench.store.catalogue.run(&run.id).unwrap().is_none());
}

#[test]
fn files_that_could_not_be_deleted_are_deleted_later() {
    let bench = Bench::new(20);
    let id = bench.submit(CONTACTS);
    let run = start(&bench, &id);
    // A directory cannot be unlinked; it stands for whatever else keeps a file.
    let stem = run.run().stem();
    let (part, unfinished) = (format!("{stem}.z01.smime"), format!(".{stem}.1.tmp"));
    fs::create_dir(bench.store.artifacts().join(&part)).unwrap();
    fs::write(bench.store.artifacts().join(&unfinished), "x").unwrap();
    bench.store.catalogue.cancel(&id, bench.now()).unwrap();
    let end = End { status: Status::Failed, finished: bench.now(), error: None, is_clean: false };
    bench.store.queue.end(&run, &end).unwrap();
    // Its record is kept until they are gone, also when somebody removes it.
    bench.store.catalogue.remove_run(&id, bench.now()).unwrap();
    let in_progress = |_: &str| false;
    assert!(disposal::sweep(&bench.store, bench.now(), &in_progress).is_err());
    assert_eq!(bench.files(), [part.as_str()]);
    assert!(bench.store.catalogue.runs().unwrap().is_empty());
    assert_eq!(bench.store.catalogue.runs_with_debris().unwrap(), [id.as_str()]);
    fs::remove_dir(bench.store.artifacts().join(&part)).unwrap();
    fs::write(bench.store.artifacts().join(&part), "x").unwrap();
    disposal::sweep(&bench.store, bench.now(), &in_progress).unwrap();
    assert!(bench.files().is_empty());
    assert!(bench.store.catalogue.run(&id).unwrap().is_none());
}

#[test]
fn a_run_whose_process_has_died_is_never_given_up_but_rests() {
    let bench = Bench::new(20);
    let id = bench.submit(CONTACTS);
    for deaths in 1..=12 {
        let run = start(&bench, &id);
        assert!(bench.store.queue.give_back(&run, Why::Died).unwrap());
        assert_eq!((bench.run(&id).status, bench.run(&id).deaths), (Status::Queued, deaths));
    }
    let _engine = bench.engine();
    bench.settle();
    assert_eq!(bench.run(&id).attempts, 12, "it rests");
    bench.clock.advance(Duration::from_secs(16));
    bench.until("the end", || bench.run(&id).status == Status::Completed);
    // One that has come as far as to rows did not die of itself.
    let id = bench.submit(CONTACTS);
    let _lock = bench.engine();
    bench.until("the end", || bench.run(&id).status == Status::Completed);
}

#[test]
fn a_death_after_progress_does_not_count() {
    let bench = Bench::new(20);
    let id = bench.submit(CONTACTS);
    for _ in 0..10 {
        let run = start(&bench, &id);
        let progress = Progress { rows_done: 1, rows_total: 9, ..Progress::default() };
        assert_eq!(bench.store.queue.renew(&run, &progress, bench.now()).unwrap(), Standing::Go);
        assert!(bench.store.queue.give_back(&run, Why::Died).unwrap());
        assert_eq!(bench.run(&id).deaths, 0);
    }
}

#[test]
fn a_worker_that_has_lost_its_run_cannot_change_it() {
    let bench = Bench::new(20);
    let id = bench.submit(CONTACTS);
    let first = start(&bench, &id);
    assert!(bench.store.queue.give_back(&first, Why::Died).unwrap());
    let second = start(&bench, &id);
    let made = Completion { finished: bench.now(), bytes: 1, rows: 1, parts: &[], mark: None };
    assert_eq!(bench.store.queue.complete(&first, &made).unwrap(), Ended::Lost);
    assert!(!bench.store.queue.give_back(&first, Why::Interrupted).unwrap());
    let end = End { status: Status::Failed, finished: bench.now(), error: None, is_clean: true };
    bench.store.queue.end(&first, &end).unwrap();
    assert_eq!(bench.run(&id).status, Status::InProgress);
    assert_eq!(bench.store.queue.complete(&second, &made).unwrap(), Ended::Completed);
}

#[test]
fn one_job_that_cannot_be_read_does_not_keep_the_others() {
    let bench = Bench::new(20);
    bench.sql(
        r#"INSERT INTO job (name, text, modified, due) VALUES
           ('j', '{"title":"t","type":"Contact","run":{"every":"hour"}}', 0, -9223372036854775808),
           ('k', '{"title":"t"', 9223372036854775807, NULL),
           ('l', CAST(x'ff00' AS TEXT), 0, 9223372036854775807);
           INSERT INTO run (id, spec, status) VALUES
           ('../../etc', '{}', 'Queued'), ('302a38f0-b493-4921-b8e4-61c1e18a0655', '{}', 'Nonsense');"#,
    );
    let good = bench.submit(CONTACTS);
    jobs::define(&bench.store, "hourly", HOURLY, bench.now()).unwrap();
    let _engine = bench.engine();
    bench.until("the good run", || bench.run(&good).status == Status::Completed);
    let scheduled = || {
        let mut jobs: Vec<_> =
            runs(&bench, Status::Scheduled).into_iter().filter_map(|run| run.job).collect();
        jobs.sort();
        jobs
    };
    bench.until("the schedules", || scheduled() == ["hourly", "j"]);
}

#[test]
fn a_job_is_scheduled_again_after_a_clock_that_was_ahead() {
    let bench = Bench::new(20);
    bench.clock.set(at("2027-11-23T12:30:00Z"));
    let _engine = bench.engine();
    jobs::define(&bench.store, "hourly", HOURLY, bench.now()).unwrap();
    bench.clock.step(DAY * 400);
    bench.until("a run of the wrong time", || runs(&bench, Status::Completed).len() == 1);
    bench.until("the next", || runs(&bench, Status::Scheduled).len() == 1);
    bench.clock.step_back(DAY * 400);
    bench.until("the right time", || {
        let scheduled = runs(&bench, Status::Scheduled);
        scheduled.len() == 1 && scheduled[0].scheduled == Some(at("2027-11-23T13:00:00Z"))
    });
    bench.clock.advance(HOUR);
    bench.until("a run of the right time", || runs(&bench, Status::Completed).len() == 2);
}

#[test]
fn nothing_is_deleted_by_a_clock_that_nobody_has_confirmed() {
    let bench = Bench::new(20);
    let run = bench.export(CONTACTS);
    // The machine was off, and its clock is 40 days ahead now.
    bench.clock.step(DAY * 40);
    let _engine = bench.engine();
    bench.settle();
    let is_there = || bench.files().len() == 1 && bench.run(&run.id).present;
    assert!(is_there());
    bench.clock.advance(HOUR - Duration::from_secs(1));
    bench.settle();
    assert!(is_there());
    bench.clock.advance(Duration::from_secs(1));
    bench.until("the artifact to go", || bench.files().is_empty());
}

#[test]
fn names_in_the_catalogue_lead_nowhere_else() {
    let bench = Bench::new(500);
    let victims = [bench.path("victim1"), bench.path("victim2"), bench.store.artifacts().join("keep.txt")];
    victims.iter().for_each(|victim| fs::write(victim, "x").unwrap());
    let (gone, kept) = (bench.export(SPLIT).id, bench.export(SPLIT).id);
    let count = bench.store.catalogue.parts(&gone).unwrap().len();
    let outside = victims[0].display();
    bench.sql(&format!(
        "UPDATE part SET name = '{outside}' WHERE number = 1;
         UPDATE part SET name = '../../victim2' WHERE number = 2;
         UPDATE part SET name = 'keep.txt' WHERE number = 3;
         UPDATE part SET key = 'keep.txt' WHERE number = 4;
         UPDATE run SET present = 0 WHERE id = '{gone}';"
    ));
    let engine = bench.engine();
    // The files that are really its own go all the same.
    let left = || bench.files().iter().filter(|name| name.contains(&gone)).count();
    bench.until("its files to go", || left() == 0);
    assert!(count > 4);
    drop(engine);
    // Neither expiry nor a hand deletes others.
    disposal::remove_artifact(&bench.store, &kept, bench.now()).unwrap();
    for name in ["../victim2", "keep.txt", &victims[0].to_string_lossy()] {
        let _ = disposal::remove_part(&bench.store, &kept, name, bench.now());
    }
    assert!(victims.iter().all(|victim| victim.exists()));
}

#[test]
fn a_rename_of_a_job_that_has_gone_changes_nothing() {
    let bench = Bench::new(20);
    jobs::define(&bench.store, "target", HOURLY, bench.now()).unwrap();
    let before = (bench.store.catalogue.jobs().unwrap(), bench.store.catalogue.runs().unwrap());
    assert!(bench.store.catalogue.rename_job("gone", "target").is_err());
    bench.store.catalogue.rename_job("target", "target").unwrap();
    assert_eq!((bench.store.catalogue.jobs().unwrap(), bench.store.catalogue.runs().unwrap()), before);
}

#[test]
fn block_hashes_outlive_their_part_by_a_day_whatever_else_happens() {
    let bench = Bench::new(20);
    let (read, other) = (bench.export(CONTACTS).id, bench.export(CONTACTS).id);
    let remove = |id: &str| {
        disposal::remove_artifact(&bench.store, id, bench.now()).unwrap();
        bench.store.catalogue.remove_run(id, bench.now()).unwrap();
    };
    let hashes = |id: &str| bench.store.catalogue.block_hashes(id, 1, 0).unwrap().len();
    remove(&read);
    assert!(bench.store.catalogue.run(&read).unwrap().is_none());
    bench.clock.advance(HOUR);
    remove(&other);
    bench.store.catalogue.forget_hashes(bench.now()).unwrap();
    assert!(hashes(&read) > 0 && hashes(&other) > 0);
    bench.clock.advance(DAY - HOUR + Duration::from_secs(1));
    bench.store.catalogue.forget_hashes(bench.now()).unwrap();
    assert!(hashes(&read) == 0 && hashes(&other) > 0);
}

#[test]
fn a_copy_of_the_catalogue_alone_has_what_has_happened() {
    let bench = Bench::new(20);
    let _engine = bench.engine();
    let ids: Vec<String> = (0..3).map(|_| bench.submit(CONTACTS)).collect();
    bench.until("all", || ids.iter().all(|id| bench.run(id).status == Status::Completed));
    let copy = bench.path("copy.db");
    bench.until("the log to be moved into it", || {
        fs::copy(bench.store.dir().join("cddsfs.db"), &copy).unwrap();
        let copy = Sqlite::open_read_only(&copy).unwrap();
        copy.runs().unwrap().iter().filter(|run| run.status == Status::Completed).count() == 3
    });
}

/// A store as cddsfs 0.1.0 has left it: an artifact, a job, a refusal, and a run that nobody would ever take up.
fn store_of_0_1_0() -> (tempfile::TempDir, std::path::PathBuf) {
    let fixture = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store-0.1.0");
    let dir = tempfile::tempdir().unwrap();
    let (store, artifacts) = (dir.path().join("store"), dir.path().join("store/artifacts"));
    fs::create_dir_all(&artifacts).unwrap();
    for entry in fs::read_dir(&fixture).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "smime") {
            fs::copy(&path, artifacts.join(path.file_name().unwrap())).unwrap();
        }
    }
    let sql = fs::read_to_string(fixture.join("catalogue.sql")).unwrap();
    let catalogue = rusqlite::Connection::open(store.join("cddsfs.db")).unwrap();
    catalogue.execute_batch(&format!("PRAGMA journal_mode = WAL; {sql}")).unwrap();
    (dir, store)
}

fn version(store: &std::path::Path) -> u32 {
    let catalogue = rusqlite::Connection::open(store.join("cddsfs.db")).unwrap();
    catalogue.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

#[test]
fn a_store_of_0_1_0_is_taken_over() {
    let (dir, path) = store_of_0_1_0();
    let key = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store-0.1.0/key.pem");
    let private = dir.path().join("key.pem");
    fs::copy(key, &private).unwrap();
    fs::set_permissions(&private, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let verify = || {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_cddsfs"));
        program.arg("verify").arg(&path).arg("--key").arg(&private).env("XDG_CACHE_HOME", dir.path());
        program.output().unwrap()
    };
    // Made in 2026; what has expired is not looked at.
    rusqlite::Connection::open(path.join("cddsfs.db"))
        .unwrap()
        .execute(
            "UPDATE run SET finished = ?1 WHERE present = 1",
            [std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64],
        )
        .unwrap();
    // Whoever only reads changes nothing, and sees it all.
    let output = verify();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = cddsfs::store::managed::Managed::open_read_only(&path).unwrap();
    assert_eq!((read.catalogue.jobs().unwrap().len(), read.catalogue.refusals().unwrap().len()), (1, 1));
    let artifacts = read.catalogue.artifacts().unwrap();
    assert_eq!((artifacts.len(), artifacts[0].parts.len(), version(&path)), (1, 1, 1));
    assert!(read.catalogue.set_retention(cddsfs::store::retention::Retention::Never).is_err());
    drop(read);

    let store = std::sync::Arc::new(cddsfs::store::managed::Managed::open(&path).unwrap());
    assert_eq!(version(&path), 3);
    assert_eq!(store.catalogue.artifacts().unwrap(), artifacts);
    let before = store.catalogue.runs_that_are(Status::Scheduled).unwrap();
    assert!(store.catalogue.run("302a38f0-b493-4921-b8e4-61c1e18a0655").unwrap().is_some());
    let mut scheduler = cddsfs::export::engine::Scheduler::new(
        store.clone(),
        cddsfs::store::clock::SystemClock::shared(),
        None,
    );
    for _ in 0..3 {
        scheduler.look().unwrap();
    }
    assert!(store.catalogue.run("302a38f0-b493-4921-b8e4-61c1e18a0655").unwrap().is_none());
    let due = store.catalogue.runs_that_are(Status::Scheduled).unwrap();
    assert_eq!(before.len().max(1), due.len().max(1), "the job goes on");
    assert!(verify().status.success());
}

#[test]
fn jobs_of_one_title_that_come_at_once_are_all_kept() {
    let bench = Bench::new(5);
    let text = r#"{"title":"nightly","type":"Contact","run":{"every":"day","at":"02:00"}}"#;
    let ids = std::thread::scope(|scope| {
        let submit = || {
            let store = cddsfs::store::managed::Managed::open(bench.store.dir()).unwrap();
            jobs::submit(&store, text.as_bytes(), bench.now()).unwrap()
        };
        let threads: Vec<_> = (0..12).map(|_| scope.spawn(submit)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect::<std::collections::BTreeSet<String>>()
    });
    let names: Vec<String> = bench.store.catalogue.jobs().unwrap().into_iter().map(|job| job.name).collect();
    assert_eq!((ids.len(), names.len()), (12, 12), "{names:?}");
    assert!(ids.iter().all(|id| bench.run(id).status == Status::Scheduled && bench.run(id).job.is_some()));
}

#[test]
fn a_directory_that_is_refused_is_not_touched() {
    let bench = Bench::new(5);
    let others = bench.path("others");
    fs::create_dir(&others).unwrap();
    fs::write(others.join("holiday.jpg"), "").unwrap();
    fs::set_permissions(&others, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert!(bench.store.backup(&others, bench.now()).is_err());
    assert!(cddsfs::store::managed::Managed::init(&others).is_err());
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&others).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o755);
}
