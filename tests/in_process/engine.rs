//! Jobs are run: in process, with a clock that the test sets.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::support::managed::{self, Bench, DAY, HOUR, at};
use cddsfs::export::disposal;
use cddsfs::export::engine::Engine;
use cddsfs::export::jobs;
use cddsfs::store::catalogue::Status;

#[test]
fn a_run_has_its_rows_and_leaves_nothing_else() {
    let bench = Bench::new(300);
    let run = bench.export(r#"{"title":"all","type":"Interaction","split_size":"64 KiB"}"#);
    assert_eq!((run.status, run.progress.unwrap().rows_done), (Status::Completed, 300 + bench.attachments()));
    let parts = bench.store.catalogue.parts(&run.id).unwrap();
    let names: Vec<String> = bench.files();
    let mut expected: Vec<String> = parts.iter().map(|part| part.name.clone()).collect();
    expected.sort();
    assert_eq!(names, expected, "no temporary files");
    for part in &parts {
        let path = bench.store.artifacts().join(&part.name);
        assert_eq!(fs::metadata(&path).unwrap().len(), part.size);
        assert_eq!(managed::sha256(&path), part.sha256);
    }
}

#[test]
fn no_rows_no_data() {
    let bench = Bench::new(10);
    let run = bench.export(r#"{"title":"t","type":"Interaction","media_types":["telex"]}"#);
    assert_eq!((run.status, run.present, bench.files().len()), (Status::NoData, false, 0));
}

#[test]
fn failures_say_why_and_leave_nothing() {
    let bench = Bench::new(10);
    let spec = r#"{"title":"t","type":"Interaction"}"#;
    let certificate = fs::read(bench.store.certificate_path()).unwrap();
    let failed = |with: &str| {
        let run = bench.export(spec);
        let error = run.error.unwrap_or_default();
        assert_eq!(run.status, Status::Failed, "{with}");
        assert!(error.contains(with), "{with}: {error}");
        assert_eq!(bench.files(), [""; 0]);
    };
    fs::remove_file(bench.store.certificate_path()).unwrap();
    failed("cddsfs init STORE --cert");
    fs::write(bench.store.certificate_path(), "nonsense").unwrap();
    failed("certificate.pem");
    fs::write(bench.store.certificate_path(), certificate).unwrap();
    bench.clock.advance(DAY * 4000);
    failed("expired");
    bench.clock.step_back(DAY * 4000);
    let (source, moved) = (bench.source(), bench.source().with_extension("away"));
    fs::rename(&source, &moved).unwrap();
    failed("history.db");
    fs::rename(&moved, &source).unwrap();
    assert_eq!(bench.export(spec).status, Status::Completed, "and then it goes on");
}

#[test]
fn a_recurring_job_runs_when_it_is_due_and_missed_times_once() {
    let bench = Bench::new(20);
    bench.clock.set(at("2027-11-23T12:30:00Z"));
    let engine = bench.engine();
    let text = br#"{"title":"t","type":"Contact","run":{"every":"hour","interval":4}}"#;
    jobs::define(&bench.store, "four", text, bench.now()).unwrap();
    bench.settle();
    let runs = |status| bench.store.catalogue.runs_that_are(status).unwrap();
    assert_eq!(runs(Status::Scheduled)[0].scheduled, Some(at("2027-11-23T16:00:00Z")));
    bench.clock.set(at("2027-11-23T15:59:59Z"));
    bench.settle();
    assert!(runs(Status::Completed).is_empty());
    bench.clock.set(at("2027-11-23T16:00:00Z"));
    bench.until("the first run", || runs(Status::Completed).len() == 1 && runs(Status::Scheduled).len() == 1);
    assert_eq!(runs(Status::Scheduled)[0].scheduled, Some(at("2027-11-23T20:00:00Z")));
    // The machine is off for two days: that was twelve times.
    drop(engine);
    bench.clock.set(at("2027-11-25T17:10:00Z"));
    let _engine = bench.engine();
    bench.until("what was missed", || {
        runs(Status::Completed).len() == 2 && runs(Status::Scheduled).len() == 1
    });
    assert_eq!(runs(Status::Scheduled)[0].scheduled, Some(at("2027-11-25T20:00:00Z")));
    bench.settle();
    assert_eq!(runs(Status::Completed).len(), 2);
    // A clock that goes back runs nothing again.
    bench.clock.set(at("2027-11-20T00:00:00Z"));
    bench.settle();
    assert_eq!((runs(Status::Completed).len(), runs(Status::Scheduled).len()), (2, 1));
}

#[test]
fn since_last_run_exports_every_row_once() {
    let bench = Bench::new(50);
    bench.clock.set(at("2027-11-23T12:30:00Z"));
    let _engine = bench.engine();
    let text = br#"{"title":"t","type":"Contact","run":{"every":"hour"},"timeframe":"since_last_run"}"#;
    jobs::define(&bench.store, "new", text, bench.now()).unwrap();
    let ended = || -> BTreeMap<_, _> {
        let runs = bench.store.catalogue.runs().unwrap();
        runs.into_iter()
            .filter(|r| r.status.is_final())
            .map(|r| (r.scheduled, (r.status, r.progress.map_or(0, |p| p.rows_done))))
            .collect()
    };
    let all = bench.contacts_and_attributes();
    let mut seen = Vec::new();
    for (hour, added) in [(13, 0), (14, 0), (15, 7), (16, 3)] {
        bench.add_contacts(added);
        bench.clock.set(at(&format!("2027-11-23T{hour}:00:00Z")));
        bench.until("a run", || ended().len() == seen.len() + 1);
        seen.push(*ended().values().last().unwrap());
    }
    assert_eq!(seen[0], (Status::Completed, all));
    assert_eq!(seen[1], (Status::NoData, 0));
    assert_eq!(seen[2], (Status::Completed, 7));
    assert_eq!(seen[3], (Status::Completed, 3));
}

#[test]
fn what_has_expired_is_deleted_and_a_stepping_clock_deletes_nothing() {
    let bench = Bench::new(20);
    let _engine = bench.engine();
    let id = bench.submit(r#"{"title":"t","type":"Contact"}"#);
    bench.until("the run", || bench.run(&id).status == Status::Completed);
    let files = bench.files();
    assert!(!files.is_empty());
    // Put forward by mistake, and back again.
    bench.clock.step(DAY * 400);
    bench.settle();
    assert_eq!(bench.files(), files);
    bench.clock.step_back(DAY * 800);
    bench.settle();
    assert_eq!(bench.files(), files);
    bench.clock.step(DAY * 400);
    bench.settle();
    bench.clock.advance(DAY * 30 - HOUR);
    bench.settle();
    assert_eq!(bench.files(), files, "one day is left");
    bench.clock.advance(HOUR);
    bench.until("the files to go", || bench.files().is_empty());
    bench.until("the parts to be forgotten", || bench.store.catalogue.parts(&id).unwrap().is_empty());
    let run = bench.run(&id);
    assert_eq!((run.status, run.present, run.deleted.is_some()), (Status::Completed, false, true));
}

#[test]
fn deletion_that_was_interrupted_is_finished() {
    let bench = Bench::new(20);
    let run = bench.export(r#"{"title":"t","type":"Contact"}"#);
    bench.store.catalogue.artifact_is_gone(&run.id, bench.now()).unwrap();
    assert_eq!(bench.files().len(), 1);
    let _engine = bench.engine();
    bench.until("the files to go", || bench.files().is_empty());
    assert_eq!(bench.store.catalogue.expired_at(bench.now()).unwrap().len(), 0);
}

#[test]
fn a_run_cancelled_at_a_random_moment_leaves_nothing() {
    let bench = Bench::new(20_000);
    let _engine = bench.engine();
    let mut cancelled = 0;
    for i in 0..50u64 {
        let id = bench.submit(r#"{"title":"t","type":"Interaction","split_size":"64 KiB"}"#);
        bench.until("the start", || bench.run(&id).status != Status::Queued);
        std::thread::sleep(Duration::from_millis(i * 37 % 400));
        bench.store.catalogue.cancel(&id, bench.now()).unwrap();
        bench.until("the end", || bench.run(&id).status.is_final());
        let run = bench.run(&id);
        match run.status {
            Status::Cancelled => {
                cancelled += 1;
                assert!(
                    !run.present && !bench.files().iter().any(|name| name.contains(&id)),
                    "{:?}",
                    bench.files()
                );
            }
            Status::Completed => assert!(run.present),
            other => panic!("{other}: {:?}", run.error),
        }
    }
    assert!(cancelled > 10, "only {cancelled} were still running");
}

#[test]
fn of_two_engines_one_runs_jobs_and_the_other_takes_over() {
    let bench = Bench::new(20);
    let first = bench.engine();
    bench.settle();
    let other = std::sync::Arc::new(cddsfs::store::managed::Managed::open(bench.store.dir()).unwrap());
    let _second = Engine::start(other, bench.clock.shared(), None).unwrap();
    let ids: Vec<String> = (0..4).map(|_| bench.submit(r#"{"title":"t","type":"Contact"}"#)).collect();
    bench.until("all", || ids.iter().all(|id| bench.run(id).status == Status::Completed));
    assert!(ids.iter().all(|id| bench.run(id).attempts == 1));
    drop(first);
    let id = bench.submit(r#"{"title":"t","type":"Contact"}"#);
    bench.until("the second engine", || bench.run(&id).status == Status::Completed);
}

#[test]
fn an_engine_that_stops_gives_its_run_back() {
    let bench = Bench::new(20_000);
    let engine = bench.engine();
    let id = bench.submit(r#"{"title":"t","type":"Interaction"}"#);
    bench.until("the start", || bench.run(&id).status == Status::InProgress);
    drop(engine);
    assert_eq!((bench.run(&id).status, bench.files().len()), (Status::Queued, 0));
    let _engine = bench.engine();
    bench.until("the end", || bench.run(&id).status == Status::Completed);
}

#[test]
fn a_removed_record_takes_its_run_along_but_not_its_artifact() {
    let bench = Bench::new(20);
    let run = bench.export(r#"{"title":"t","type":"Contact"}"#);
    bench.store.catalogue.remove_run(&run.id, bench.now()).unwrap();
    assert!(bench.store.catalogue.runs().unwrap().is_empty());
    assert_eq!(bench.store.catalogue.artifacts().unwrap().len(), 1);
    disposal::remove_artifact(&bench.store, &run.id, bench.now()).unwrap();
    assert!(bench.store.catalogue.run(&run.id).unwrap().is_none());
}

#[test]
fn a_run_to_come_that_is_removed_is_left_out() {
    let bench = Bench::new(20);
    bench.clock.set(at("2027-11-23T12:30:00Z"));
    let _engine = bench.engine();
    let text = br#"{"title":"t","type":"Contact","run":{"every":"hour"}}"#;
    jobs::define(&bench.store, "hourly", text, bench.now()).unwrap();
    let to_come = || bench.store.catalogue.runs_that_are(Status::Scheduled).unwrap();
    let first = to_come().remove(0);
    assert_eq!(first.scheduled, Some(at("2027-11-23T13:00:00Z")));
    bench.store.catalogue.remove_run(&first.id, bench.now()).unwrap();
    bench.until("the next one", || to_come().len() == 1);
    assert_eq!(to_come()[0].scheduled, Some(at("2027-11-23T14:00:00Z")));
}

#[test]
fn a_store_may_have_its_keys_encrypted_with_oaep() {
    let bench = Bench::new(20);
    bench.store.catalogue.set_oaep(true).unwrap();
    let run = bench.export(r#"{"title":"t","type":"Contact"}"#);
    let part = bench.store.artifacts().join(format!("{}.zip.smime", run.stem()));
    let described = managed::openssl_cms_print(&part);
    assert!(described.contains("rsaesOaep"), "{described}");
}
