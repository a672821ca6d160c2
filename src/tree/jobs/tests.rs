use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::store::catalogue::{Completion, Ended, Status, Wanted};
use crate::store::clock::SystemClock;

const SPEC: &str = r#"{"title":"t","type":"Contact","run":{"every":"day","at":"02:00"}}"#;
const OTHER: &str = r#"{"title":"other","type":"Contact","run":{"every":"day","at":"03:00"}}"#;

fn jobs() -> (tempfile::TempDir, JobFiles) {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Managed::init(&dir.path().join("s")).unwrap());
    (dir, JobFiles::new(store, SystemClock::shared()))
}

fn names(jobs: &JobFiles) -> Vec<String> {
    let names = jobs.list().unwrap().into_iter().map(|entry| entry.name);
    names.filter(|name| name != "new" && name != "errors").collect()
}

/// Creates or overwrites a file.
fn save(jobs: &JobFiles, file: &str, text: &str) -> Result<()> {
    let entry = jobs.create(file, false)?;
    let writing = jobs.open(&entry, true, true, false)?;
    let done = jobs.write(&writing, 0, text.as_bytes()).and_then(|_| jobs.flush(&writing)).map(drop);
    jobs.close(&writing);
    done
}

fn text(jobs: &JobFiles, file: &str) -> Option<String> {
    let entry = jobs.find(file).unwrap()?;
    Some(String::from_utf8(jobs.text(&entry).unwrap()).unwrap())
}

/// Defines the job `a` with something already exported.
fn with_a_mark(jobs: &JobFiles) {
    save(jobs, "a.json", SPEC).unwrap();
    let run = jobs.store.catalogue.runs().unwrap().remove(0);
    let now = SystemTime::now();
    jobs.store.catalogue.queue(&run.id, now).unwrap();
    let claim = jobs.store.queue.claim(&Wanted::only(&run.id), now).unwrap().unwrap();
    let made = Completion { finished: now, bytes: 1, rows: 1, parts: &[], mark: Some("mark") };
    assert_eq!(jobs.store.queue.complete(&claim, &made).unwrap(), Ended::Completed);
    assert_eq!(mark(jobs, "a"), Some("mark".into()));
}

fn mark(jobs: &JobFiles, job: &str) -> Option<String> {
    jobs.store.catalogue.job(job).unwrap()?.mark
}

fn scheduled(jobs: &JobFiles) -> Vec<Timestamp> {
    let runs = jobs.store.catalogue.runs_that_are(Status::Scheduled).unwrap();
    runs.into_iter().map(|run| Timestamp::try_from(run.scheduled.unwrap()).unwrap()).collect()
}

#[test]
fn a_backup_and_a_new_file_are_an_edit() {
    let (_dir, jobs) = jobs();
    with_a_mark(&jobs);
    // The way of vim.
    save(&jobs, "4913", "").unwrap();
    jobs.unlink("4913").unwrap();
    jobs.rename("a.json", "a.json~", false).unwrap();
    assert_eq!(names(&jobs), ["a.json~"]);
    assert_eq!(text(&jobs, "a.json~").unwrap(), SPEC);
    assert!(jobs.find("a.json").unwrap().is_none());
    save(&jobs, "a.json", OTHER).unwrap();
    jobs.unlink("a.json~").unwrap();
    assert_eq!((names(&jobs), text(&jobs, "a.json").unwrap()), (vec!["a.json".into()], OTHER.into()));
    assert_eq!(mark(&jobs, "a"), Some("mark".into()));
    assert_eq!(scheduled(&jobs)[0].to_zoned(jiff::tz::TimeZone::UTC).hour(), 3);
}

#[test]
fn a_backup_is_put_back_when_the_new_text_is_refused() {
    let (_dir, jobs) = jobs();
    with_a_mark(&jobs);
    jobs.rename("a.json", "a.json~", false).unwrap();
    assert_eq!(save(&jobs, "a.json", "nonsense").unwrap_err().errno(), libc::EINVAL);
    assert_eq!(names(&jobs), ["a.json~"]);
    jobs.rename("a.json~", "a.json", false).unwrap();
    assert_eq!(names(&jobs), ["a.json"]);
    assert_eq!((text(&jobs, "a.json").unwrap(), mark(&jobs, "a")), (SPEC.into(), Some("mark".into())));
    assert_eq!(jobs.store.catalogue.refusals().unwrap()[0].target, "jobs/a.json");
}

#[test]
fn a_backup_that_is_deleted_alone_was_the_job() {
    let (_dir, jobs) = jobs();
    save(&jobs, "a.json", SPEC).unwrap();
    jobs.rename("a.json", "trash", false).unwrap();
    jobs.unlink("trash").unwrap();
    assert!(names(&jobs).is_empty() && jobs.store.catalogue.jobs().unwrap().is_empty());
    assert!(scheduled(&jobs).is_empty());
}

#[test]
fn a_job_keeps_its_mark_under_another_name_whatever_the_way() {
    let (_dir, jobs) = jobs();
    with_a_mark(&jobs);
    jobs.rename("a.json", "b.json", false).unwrap();
    assert_eq!(mark(&jobs, "b"), Some("mark".into()));
    jobs.rename("b.json", "tmp", false).unwrap();
    jobs.rename("tmp", "tmp2", false).unwrap();
    jobs.rename("tmp2", "c.json", false).unwrap();
    assert_eq!((names(&jobs), mark(&jobs, "c")), (vec!["c.json".into()], Some("mark".into())));
    assert_eq!(jobs.store.catalogue.jobs().unwrap().len(), 1);
}

#[test]
fn a_remount_forgets_backups() {
    let (_dir, jobs) = jobs();
    with_a_mark(&jobs);
    jobs.rename("a.json", "a.json~", false).unwrap();
    let again = JobFiles::new(jobs.store.clone(), SystemClock::shared());
    assert_eq!((names(&again), mark(&again, "a")), (vec!["a.json".into()], Some("mark".into())));
}

#[test]
fn a_temporary_file_becomes_a_job_by_its_name() {
    let (_dir, jobs) = jobs();
    save(&jobs, ".a.json.Xy12", SPEC).unwrap();
    save(&jobs, "sedAbCdEf", "nonsense").unwrap();
    assert!(jobs.store.catalogue.jobs().unwrap().is_empty());
    jobs.rename(".a.json.Xy12", "a.json", false).unwrap();
    assert_eq!(jobs.rename("sedAbCdEf", "a.json", false).unwrap_err().errno(), libc::EINVAL);
    assert_eq!(names(&jobs), ["a.json", "sedAbCdEf"]);
    assert_eq!(text(&jobs, "a.json").unwrap(), SPEC);
    assert_eq!(jobs.rename("sedAbCdEf", "a.json", true).unwrap_err().errno(), libc::EEXIST);
    // One that is still open goes on writing the job.
    let open = jobs.open(&jobs.create("open", true).unwrap(), true, false, false).unwrap();
    jobs.write(&open, 0, SPEC.as_bytes()).unwrap();
    jobs.rename("open", "a.json", false).unwrap();
    jobs.flush(&open).unwrap();
    assert_eq!(scheduled(&jobs).len(), 1);
    open.draft.resize(0, SystemTime::now()).unwrap();
    jobs.write(&open, 0, OTHER.as_bytes()).unwrap();
    jobs.close(&open);
    assert_eq!(text(&jobs, "a.json").unwrap(), OTHER);
}

#[test]
fn a_job_that_is_being_written_is_there_and_goes_if_it_comes_to_nothing() {
    let (_dir, jobs) = jobs();
    let entry = jobs.create("a.json", true).unwrap();
    let writing = jobs.open(&entry, true, false, false).unwrap();
    jobs.write(&writing, 0, b"{").unwrap();
    let found = jobs.find("a.json").unwrap().unwrap();
    assert_eq!((found.ino(), jobs.size_and_mtime(&found).unwrap().0), (entry.ino(), 1));
    assert!(matches!(jobs.by_ino(entry.ino()).unwrap(), Some(JobsEntry::Draft(_))));
    assert_eq!(
        (names(&jobs), jobs.create("a.json", true).err().unwrap().errno()),
        (vec!["a.json".into()], libc::EEXIST)
    );
    assert_eq!(jobs.rename("a.json", "b", false).unwrap_err().errno(), libc::EBUSY);
    jobs.close(&writing);
    assert!(names(&jobs).is_empty());
    save(&jobs, "a.json", SPEC).unwrap();
    let defined = jobs.find("a.json").unwrap().unwrap();
    assert_eq!(defined.ino(), entry.ino());
    // What was deleted while it was being written stays deleted.
    let writing = jobs.open(&jobs.create("b.json", true).unwrap(), true, false, false).unwrap();
    jobs.write(&writing, 0, SPEC.as_bytes()).unwrap();
    jobs.unlink("b.json").unwrap();
    jobs.close(&writing);
    assert_eq!(names(&jobs), ["a.json"]);
}

#[test]
fn temporary_files_have_a_limit() {
    let (_dir, jobs) = jobs();
    for i in 0..scratch::MAX_FILES {
        jobs.create(&format!("{i}"), true).unwrap();
    }
    assert_eq!(jobs.create("more", true).err().unwrap().errno(), libc::ENOSPC);
    save(&jobs, "a.json", SPEC).unwrap();
    assert_eq!(jobs.rename("a.json", "more", false).unwrap_err().errno(), libc::ENOSPC);
    jobs.unlink("7").unwrap();
    jobs.create("more", true).unwrap();
    let writing = jobs.open(&jobs.find("more").unwrap().unwrap(), true, false, false).unwrap();
    assert_eq!(jobs.write(&writing, 16 << 20, b"x").unwrap_err().errno(), libc::ENOSPC);
    jobs.write(&writing, (16 << 20) - 1, b"x").unwrap();
    jobs.unlink("more").unwrap();
    assert_eq!(save(&jobs, "8", "x").unwrap_err().errno(), libc::ENOSPC, "it is still open");
    drop(writing);
    save(&jobs, "8", "x").unwrap();
}

#[test]
fn what_is_ours_is_neither_moved_nor_replaced() {
    let (_dir, jobs) = jobs();
    save(&jobs, "a.json", SPEC).unwrap();
    save(&jobs, "x", SPEC).unwrap();
    for (from, to) in [("new", "b.json"), ("errors", "x2"), ("a.json", "new"), ("x", "new"), ("x", "errors")]
    {
        assert_eq!(jobs.rename(from, to, false).unwrap_err().errno(), libc::EPERM, "{from} {to}");
    }
    assert_eq!(["new", "errors"].map(|name| jobs.unlink(name).unwrap_err().errno()), [libc::EPERM; 2]);
    assert_eq!(jobs.unlink("missing").unwrap_err().errno(), libc::ENOENT);
    assert_eq!(jobs.store.catalogue.runs().unwrap().len(), 1);
    // Only what copies under a hidden name hands in that way.
    save(&jobs, ".goutputstream-1", r#"{"title":"t","type":"Contact"}"#).unwrap();
    jobs.rename(".goutputstream-1", "new", false).unwrap();
    assert_eq!(
        (names(&jobs), jobs.store.catalogue.runs().unwrap().len()),
        (vec!["a.json".into(), "x".into()], 2)
    );
}

#[test]
fn nobody_waits_for_a_writer() {
    let (_dir, jobs) = jobs();
    let writing = jobs.open(&jobs.create("a.json", true).unwrap(), true, false, false).unwrap();
    jobs.write(&writing, 0, &SPEC.as_bytes()[..5]).unwrap();
    let other = rusqlite::Connection::open(jobs.store.dir().join("cddsfs.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let written = scope.spawn(|| jobs.write(&writing, 5, &SPEC.as_bytes()[5..]));
        std::thread::sleep(Duration::from_millis(100));
        let started = std::time::Instant::now();
        assert_eq!(names(&jobs), ["a.json"]);
        let found = jobs.find("a.json").unwrap().unwrap();
        assert_eq!(jobs.size_and_mtime(&found).unwrap().0, 5);
        assert!(started.elapsed() < Duration::from_secs(2) && !written.is_finished());
        other.execute_batch("ROLLBACK").unwrap();
        written.join().unwrap().unwrap();
    });
}

#[test]
fn refusals_that_the_catalogue_cannot_keep_are_shown_all_the_same() {
    let (_dir, jobs) = jobs();
    assert!(save(&jobs, "a.json", "{\"titel\": 1}").is_err());
    let other = rusqlite::Connection::open(jobs.store.dir().join("cddsfs.db")).unwrap();
    other
        .execute_batch("CREATE TRIGGER full BEFORE INSERT ON refusal BEGIN SELECT RAISE(FAIL, 'full'); END")
        .unwrap();
    assert!(save(&jobs, "b.json", "nonsense").is_err());
    let errors = text(&jobs, "errors").unwrap();
    let order = ["jobs/b.json", "nonsense", "jobs/a.json", "titel"].map(|word| errors.find(word).unwrap());
    assert!(order.is_sorted(), "{errors}");
    other.execute_batch("DROP TABLE refusal").unwrap();
    assert!(text(&jobs, "errors").unwrap().contains("nonsense"), "it may be that it cannot be read either");
}

#[test]
fn what_nobody_waits_for_any_more_changes_no_names() {
    let (_dir, jobs) = jobs();
    save(&jobs, "a.json", SPEC).unwrap();
    save(&jobs, "x", "text").unwrap();
    let permit = Arc::new(crate::io::Permit::default());
    assert!(permit.revoke());
    crate::io::with_permit(Some(permit), || {
        let errors = [
            jobs.create("y", true).err().unwrap(),
            jobs.unlink("x").unwrap_err(),
            jobs.unlink("a.json").unwrap_err(),
            jobs.rename("x", "y", false).unwrap_err(),
            jobs.rename("a.json", "y", false).unwrap_err(),
            jobs.rename("a.json", "b.json", false).unwrap_err(),
            save(&jobs, "a.json", OTHER).unwrap_err(),
        ];
        assert!(errors.iter().all(|error| error.errno() == libc::ETIMEDOUT), "{errors:?}");
    });
    assert_eq!(
        (names(&jobs), text(&jobs, "a.json").unwrap()),
        (vec!["a.json".into(), "x".into()], SPEC.into())
    );
}

#[derive(Debug, Clone)]
enum Op {
    Save(&'static str, &'static str),
    Rename(&'static str, &'static str),
    Unlink(&'static str),
}

const FILES: [&str; 5] = ["a.json", "b.json", "x", ".y", "a.json~"];

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let file = || proptest::sample::select(&FILES[..]);
    let text = proptest::sample::select(vec![SPEC, OTHER, "nonsense", "{"]);
    let op = prop_oneof![
        3 => (file(), text).prop_map(|(file, text)| Op::Save(file, text)),
        4 => (file(), file()).prop_map(|(from, to)| Op::Rename(from, to)),
        1 => file().prop_map(Op::Unlink),
    ];
    proptest::collection::vec(op, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn names_behave_as_in_any_directory_but_that_jobs_are_specs(ops in ops()) {
        let (_dir, jobs) = jobs();
        let mut model: BTreeMap<String, String> = BTreeMap::new();
        let is_fit = |file: &str, text: &str| !file.ends_with(".json") || [SPEC, OTHER].contains(&text);
        for op in ops {
            match op {
                Op::Save(file, text) => {
                    prop_assert_eq!(save(&jobs, file, text).is_ok(), is_fit(file, text), "{:?}", op);
                    if is_fit(file, text) {
                        model.insert(file.into(), text.into());
                    }
                }
                // The kernel does nothing then.
                Op::Rename(from, to) if from == to => {}
                Op::Rename(from, to) => {
                    let fits = model.get(from).is_some_and(|text| is_fit(to, text));
                    prop_assert_eq!(jobs.rename(from, to, false).is_ok(), fits, "{:?}", op);
                    if fits && let Some(text) = model.remove(from) {
                        model.insert(to.into(), text);
                    }
                }
                Op::Unlink(file) => {
                    prop_assert_eq!(jobs.unlink(file).is_ok(), model.remove(file).is_some(), "{:?}", op);
                }
            }
            let shown: BTreeMap<String, String> =
                names(&jobs).into_iter().map(|name| (name.clone(), text(&jobs, &name).unwrap())).collect();
            prop_assert_eq!(&shown, &model);
            // Each job has one run to come, and what is parked has its text under another name.
            let defined = jobs.store.catalogue.jobs().unwrap();
            prop_assert_eq!(scheduled(&jobs).len(), defined.len());
            for job in defined {
                let parked = jobs.known().parked.contains_key(&job.name);
                prop_assert!(parked != model.contains_key(&names::file_of(&job.name)), "{}", job.name);
            }
        }
    }
}
