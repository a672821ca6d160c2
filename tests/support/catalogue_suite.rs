//! What every catalogue and its queue do, whatever kind they are. Whoever adds a kind calls [`check`] with it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cddsfs::error::Kind;
use cddsfs::store::catalogue::*;
use cddsfs::store::parts::Key;
use cddsfs::store::retention::Retention;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A store as one process has it open.
pub struct Process {
    pub catalogue: Arc<dyn Catalogue>,
    pub queue: Arc<dyn Queue>,
}

/// An empty store, which several processes may open.
pub trait Site: Sync {
    fn open(&self) -> Process;

    /// Has nobody wait any longer for processes that have claimed something and do nothing any more.
    fn bury(&self) {}
}

/// Checks a kind. `make` makes an empty store each time.
pub fn check<S: Site>(make: impl Fn() -> S) {
    let all: [fn(&dyn Site); 17] = [
        settings_are_kept,
        changes_of_every_process_are_noticed,
        progress_is_a_change_but_none_of_what_is_where,
        a_job_is_scheduled_only_if_it_is_what_was_looked_at,
        jobs_are_defined_renamed_and_deleted_with_their_runs,
        names_of_jobs_are_given_once,
        what_is_queued_is_claimed_once_and_the_earliest_first,
        a_claim_that_is_lost_changes_nothing,
        every_claim_has_another_fence,
        completing_again_says_the_same,
        a_run_that_is_to_stop_is_not_completed_and_not_queued_again,
        deaths_count_unless_there_were_rows,
        orphans_are_those_that_nobody_holds,
        claims_of_the_dead_are_taken_up,
        those_who_attend_together_leave_each_other_theirs,
        an_artifact_goes_part_by_part_or_as_a_whole,
        the_last_refusals_are_kept,
    ];
    for one in all {
        one(&make());
    }
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_000_000)
}

fn id(n: u32) -> String {
    format!("302a38f0-b493-4921-b8e4-{n:012x}")
}

fn run(n: u32, status: Status, at: SystemTime) -> Run {
    let (queued, scheduled) = match status {
        Status::Scheduled => (None, Some(at)),
        _ => (Some(at), None),
    };
    Run { queued, scheduled, made: Some(now()), ..Run::new(id(n), "{}".into(), status) }
}

/// A run that is queued, and claimed.
fn claimed(process: &Process, n: u32) -> Claim {
    process.catalogue.add_run(&run(n, Status::Queued, now())).unwrap();
    claim(process, n).unwrap()
}

fn claim(process: &Process, n: u32) -> Option<Claim> {
    process.queue.claim(&Wanted::only(&id(n)), now()).unwrap()
}

fn status(process: &Process, n: u32) -> Status {
    process.catalogue.run(&id(n)).unwrap().unwrap().status
}

fn parts(n: u32, fence: u32, count: u32) -> Vec<(StoredPartRecord, Vec<Hash>)> {
    let ending = |i: u32| if i == count { "zip".into() } else { format!("z{i:02}") };
    let part = |i: u32| {
        let (name, key) = (format!("export-{}.{}.smime", id(n), ending(i)), format!("{}/{fence}/{i}", id(n)));
        let (key, seed) = (Key::new(key).unwrap(), i as u8);
        let record =
            StoredPartRecord { name, key, size: 7, sha256: [seed; 32], root: [1; 32], is_deleted: false };
        (record, vec![[seed; 32]; PART_BLOCK_HASHES + 1])
    };
    (1..=count).map(part).collect()
}

fn complete(process: &Process, claim: &Claim, parts: &[(StoredPartRecord, Vec<Hash>)]) -> Ended {
    let made = Completion { finished: now(), bytes: 100, rows: 10, parts, mark: Some("mark") };
    process.queue.complete(claim, &made).unwrap()
}

fn end(process: &Process, claim: &Claim, status: Status) {
    let end = End { status, finished: now(), error: Some("why".into()), is_clean: true };
    process.queue.end(claim, &end).unwrap();
}

fn settings_are_kept(site: &dyn Site) {
    let (a, b) = (site.open(), site.open());
    assert_eq!(a.catalogue.retention().unwrap(), Retention::default());
    for retention in [Retention::Days(7), Retention::Never, Retention::Days(30)] {
        a.catalogue.set_retention(retention).unwrap();
        assert_eq!(b.catalogue.retention().unwrap(), retention);
    }
    assert_eq!(a.catalogue.source().unwrap(), None);
    a.catalogue.set_source("/x/history.db").unwrap();
    a.catalogue.set_oaep(true).unwrap();
    assert_eq!(
        (b.catalogue.source().unwrap(), b.catalogue.uses_oaep().unwrap()),
        (Some("/x/history.db".into()), true)
    );
    assert_eq!(a.catalogue.certificates().unwrap_err().kind(), Kind::Os(libc::ENOENT));
    for pem in ["one", "two"] {
        a.catalogue.set_certificates(pem.as_bytes()).unwrap();
        assert_eq!(b.catalogue.certificates().unwrap().pem, pem.as_bytes());
    }
    a.catalogue.confirm_clock(now()).unwrap();
    let epoch = b.catalogue.epoch().unwrap();
    a.catalogue.confirm_clock(now() + DAY).unwrap();
    assert_eq!(b.catalogue.confirmed_clock().unwrap(), Some(now() + DAY));
    assert_eq!(b.catalogue.epoch().unwrap(), epoch, "nobody is told of that");
}

fn changes_of_every_process_are_noticed(site: &dyn Site) {
    let (a, b) = (site.open(), site.open());
    let both = || (a.catalogue.changes().unwrap(), b.catalogue.changes().unwrap());
    let before = both();
    assert_eq!(both(), before);
    a.catalogue.add_run(&run(1, Status::Queued, now())).unwrap();
    let between = both();
    assert!(between.0 != before.0 && between.1 != before.1);
    b.catalogue.cancel(&id(1), now()).unwrap();
    assert!(both().0 != between.0 && both().1 != between.1);
}

fn progress_is_a_change_but_none_of_what_is_where(site: &dyn Site) {
    let (a, b) = (site.open(), site.open());
    let claim = claimed(&a, 1);
    let (changes, epoch) = (b.catalogue.changes().unwrap(), b.catalogue.epoch().unwrap());
    let progress = Progress { rows_done: 3, rows_total: 9, bytes_written: 5, eta_seconds: Some(7) };
    assert_eq!(a.queue.renew(&claim, &progress, now()).unwrap(), Standing::Go);
    assert_eq!(b.catalogue.run(&id(1)).unwrap().unwrap().progress, Some(progress));
    assert!(b.catalogue.changes().unwrap() != changes && b.catalogue.epoch().unwrap() == epoch);
    end(&a, &claim, Status::Failed);
    assert_ne!(b.catalogue.epoch().unwrap(), epoch);
}

fn a_job_is_scheduled_only_if_it_is_what_was_looked_at(site: &dyn Site) {
    let process = site.open();
    let catalogue = &process.catalogue;
    catalogue.define_job("a", "text", now(), None).unwrap();
    let looked = catalogue.job("a").unwrap().unwrap();
    let to_come = |n| Run { job: Some("a".into()), ..run(n, Status::Scheduled, now() + DAY) };
    let scheduled = || catalogue.runs_that_are(Status::Scheduled).unwrap().len();
    catalogue.define_job("a", "other", now(), None).unwrap();
    catalogue.schedule(&looked, &to_come(1)).unwrap();
    assert_eq!(scheduled(), 0, "it was changed meanwhile");
    let looked = catalogue.job("a").unwrap().unwrap();
    assert_eq!(catalogue.jobs_without_a_run().unwrap(), std::slice::from_ref(&looked));
    catalogue.schedule(&looked, &to_come(2)).unwrap();
    catalogue.schedule(&looked, &to_come(3)).unwrap();
    assert_eq!((scheduled(), catalogue.jobs_without_a_run().unwrap().len()), (1, 0), "it has one");
    // What is left out is not made again.
    catalogue.cancel(&id(2), now()).unwrap();
    catalogue.schedule(&looked, &to_come(4)).unwrap();
    assert_eq!(scheduled(), 0);
    assert_eq!(catalogue.job("a").unwrap().unwrap().skipped, Some(now() + DAY));
}

fn jobs_are_defined_renamed_and_deleted_with_their_runs(site: &dyn Site) {
    let process = site.open();
    let catalogue = &process.catalogue;
    let of = |job: &str, n, status| Run { job: Some(job.into()), ..run(n, status, now() + DAY) };
    let job_of = |n| catalogue.run(&id(n)).unwrap().map(|run| run.job);
    catalogue.define_job("a", "1", now(), Some(&of("a", 1, Status::Scheduled))).unwrap();
    catalogue.define_job("a", "2", now(), Some(&of("a", 2, Status::Scheduled))).unwrap();
    assert_eq!((job_of(1), job_of(2)), (None, Some(Some("a".into()))), "one takes the other's place");
    catalogue.set_job_text("a", "3", now() + DAY).unwrap();
    let job = catalogue.job("a").unwrap().unwrap();
    assert_eq!((job.text.as_str(), job.modified), ("3", now() + DAY));
    catalogue.define_job("b", "1", now(), Some(&of("b", 3, Status::Queued))).unwrap();
    catalogue.rename_job("a", "b").unwrap();
    assert_eq!(catalogue.jobs().unwrap().iter().map(|job| job.name.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!((job_of(2), job_of(3)), (Some(Some("b".into())), Some(None)), "what goes on is of no job");
    assert_eq!(catalogue.rename_job("gone", "b").unwrap_err().kind(), Kind::NotFound);
    assert_eq!(catalogue.jobs().unwrap().len(), 1);
    assert!(catalogue.delete_job("b").unwrap() && !catalogue.delete_job("b").unwrap());
    assert_eq!((job_of(2), job_of(3)), (None, Some(None)));
    // When it was due, and what it has exported.
    catalogue.define_job("c", "1", now(), Some(&of("c", 4, Status::Scheduled))).unwrap();
    catalogue.queue(&id(4), now() + DAY).unwrap();
    let claim = claim(&process, 4).unwrap();
    assert_eq!(complete(&process, &claim, &parts(4, claim.fence(), 1)), Ended::Completed);
    let job = catalogue.job("c").unwrap().unwrap();
    assert_eq!((job.due, job.mark.as_deref()), (Some(now() + DAY), Some("mark")));
    catalogue.define_job("c", "2", now(), None).unwrap();
    assert_eq!(catalogue.job("c").unwrap().unwrap().mark.as_deref(), Some("mark"));
}

fn names_of_jobs_are_given_once(site: &dyn Site) {
    thread::scope(|scope| {
        for n in 0..8 {
            scope.spawn(move || {
                let mut names = (0..).map(|i| format!("job-{i}"));
                let to_come = run(n, Status::Scheduled, now());
                site.open().catalogue.add_job(&mut names, "text", now(), &to_come).unwrap();
            });
        }
    });
    let catalogue = site.open().catalogue;
    let names: BTreeSet<_> = catalogue.runs().unwrap().into_iter().filter_map(|run| run.job).collect();
    assert_eq!((names.len(), catalogue.jobs().unwrap().len()), (8, 8));
}

fn what_is_queued_is_claimed_once_and_the_earliest_first(site: &dyn Site) {
    const RUNS: u32 = 24;
    let process = site.open();
    for n in 0..RUNS {
        let at = now() + Duration::from_secs(u64::from(RUNS - n));
        process.catalogue.add_run(&run(n, Status::Queued, at)).unwrap();
    }
    let earliest = process.queue.claim(&Wanted::default(), now()).unwrap().unwrap();
    assert_eq!(earliest.id(), id(RUNS - 1));
    let not = Wanted { not: [id(RUNS - 2)].into(), ..Wanted::default() };
    assert_eq!(process.queue.claim(&not, now()).unwrap().unwrap().id(), id(RUNS - 3));
    let claimed = thread::scope(|scope| {
        let work = || {
            let (process, mut claimed) = (site.open(), Vec::new());
            while let Some(claim) = process.queue.claim(&Wanted::default(), now()).unwrap() {
                claimed.push(claim.id().to_string());
            }
            claimed
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(claimed.len() as u32, RUNS - 2);
    assert_eq!(claimed.iter().collect::<BTreeSet<_>>().len() as u32, RUNS - 2);
    assert_eq!(process.catalogue.runs_that_are(Status::InProgress).unwrap().len() as u32, RUNS);
}

fn a_claim_that_is_lost_changes_nothing(site: &dyn Site) {
    let (a, b) = (site.open(), site.open());
    let lost = claimed(&a, 1);
    assert!(b.queue.give_back(&lost, Why::Died).unwrap());
    let untouched = |with: &str| {
        let before = b.catalogue.run(&id(1)).unwrap();
        let artifacts = b.catalogue.artifacts().unwrap();
        let progress = Progress { rows_done: 1, rows_total: 2, ..Progress::default() };
        assert_eq!(a.queue.renew(&lost, &progress, now()).unwrap(), Standing::Lost, "{with}");
        a.queue.note(&lost, Note::Certificate("\"lost\"")).unwrap();
        a.queue.note(&lost, Note::Warnings("[\"lost\"]")).unwrap();
        assert_eq!(complete(&a, &lost, &parts(1, lost.fence(), 2)), Ended::Lost, "{with}");
        assert!(!a.queue.is_complete(&lost).unwrap(), "{with}");
        end(&a, &lost, Status::Failed);
        assert!(!a.queue.give_back(&lost, Why::Interrupted).unwrap(), "{with}");
        assert_eq!(b.catalogue.run(&id(1)).unwrap(), before, "{with}");
        assert_eq!(b.catalogue.artifacts().unwrap(), artifacts, "{with}");
    };
    untouched("queued");
    let held = claim(&b, 1).unwrap();
    untouched("claimed by another");
    b.queue.note(&held, Note::Certificate("\"held\"")).unwrap();
    assert_eq!(complete(&b, &held, &parts(1, held.fence(), 1)), Ended::Completed);
    assert_eq!(b.catalogue.run(&id(1)).unwrap().unwrap().certificate.as_deref(), Some("\"held\""));
    untouched("completed by another");
}

fn every_claim_has_another_fence(site: &dyn Site) {
    let process = site.open();
    let mut claim_now = claimed(&process, 1);
    for attempt in 1..5 {
        assert_eq!(claim_now.run().attempts, attempt);
        assert!(process.queue.give_back(&claim_now, Why::Interrupted).unwrap());
        let next = claim(&process, 1).unwrap();
        assert!(next.fence() > claim_now.fence());
        claim_now = next;
    }
    assert!(claim(&process, 1).is_none(), "it is claimed");
    end(&process, &claim_now, Status::Failed);
    assert!(claim(&process, 1).is_none(), "it is over");
}

fn completing_again_says_the_same(site: &dyn Site) {
    let (a, b) = (site.open(), site.open());
    let claim = claimed(&a, 1);
    let made = parts(1, claim.fence(), 3);
    assert!(!a.queue.is_complete(&claim).unwrap());
    // As after an answer that was lost.
    assert_eq!(complete(&a, &claim, &made), Ended::Completed);
    assert_eq!(complete(&a, &claim, &made), Ended::Completed);
    assert!(a.queue.is_complete(&claim).unwrap() && b.queue.is_complete(&claim).unwrap());
    let run = b.catalogue.run(&id(1)).unwrap().unwrap();
    assert_eq!(
        (run.status, run.present, run.bytes, run.finished),
        (Status::Completed, true, Some(100), Some(now()))
    );
    let artifacts = b.catalogue.artifacts().unwrap();
    let records: Vec<_> = made.into_iter().map(|(record, _)| record).collect();
    assert_eq!((artifacts.len(), &artifacts[0].run, &artifacts[0].parts), (1, &id(1), &records));
    for number in 1..=3 {
        let hashes = |piece| b.catalogue.block_hashes(&id(1), number, piece).unwrap();
        assert_eq!(
            (hashes(0).len(), hashes(1), hashes(2).len()),
            (PART_BLOCK_HASHES, vec![[number as u8; 32]], 0)
        );
    }
    end(&a, &claim, Status::Failed);
    assert_eq!(status(&b, 1), Status::Completed, "what is over stays so");
}

fn a_run_that_is_to_stop_is_not_completed_and_not_queued_again(site: &dyn Site) {
    let (a, b) = (site.open(), site.open());
    let claim = claimed(&a, 1);
    b.catalogue.cancel(&id(1), now()).unwrap();
    assert_eq!(a.queue.to_cancel().unwrap(), [id(1)]);
    assert_eq!(a.queue.renew(&claim, &Progress::default(), now()).unwrap(), Standing::Cancel);
    assert_eq!(complete(&a, &claim, &parts(1, claim.fence(), 1)), Ended::Cancelled);
    assert!(!a.queue.give_back(&claim, Why::Interrupted).unwrap());
    assert_eq!((status(&b, 1), b.catalogue.artifacts().unwrap().len()), (Status::InProgress, 0));
    end(&a, &claim, Status::Cancelled);
    assert_eq!((status(&b, 1), a.queue.to_cancel().unwrap().len()), (Status::Cancelled, 0));
    // One that has not started is over at once, and is not claimed.
    b.catalogue.add_run(&run(2, Status::Queued, now())).unwrap();
    b.catalogue.cancel(&id(2), now()).unwrap();
    assert_eq!(status(&b, 2), Status::Cancelled);
    assert!(a.queue.claim(&Wanted::default(), now()).unwrap().is_none());
    // The record of a run that is over goes; of one that is not it says that it was cancelled.
    b.catalogue.remove_run(&id(2), now()).unwrap();
    assert!(b.catalogue.run(&id(2)).unwrap().is_none());
}

fn deaths_count_unless_there_were_rows(site: &dyn Site) {
    let process = site.open();
    let deaths = || process.catalogue.run(&id(1)).unwrap().unwrap().deaths;
    let first = claimed(&process, 1);
    process.queue.give_back(&first, Why::Died).unwrap();
    let second = claim(&process, 1).unwrap();
    process.queue.give_back(&second, Why::Interrupted).unwrap();
    assert_eq!(deaths(), 1);
    let third = claim(&process, 1).unwrap();
    process.queue.give_back(&third, Why::Died).unwrap();
    assert_eq!(deaths(), 2);
    let fourth = claim(&process, 1).unwrap();
    let progress = Progress { rows_done: 1, rows_total: 2, ..Progress::default() };
    process.queue.renew(&fourth, &progress, now()).unwrap();
    process.queue.give_back(&fourth, Why::Died).unwrap();
    assert_eq!(deaths(), 0);
}

fn orphans_are_those_that_nobody_holds(site: &dyn Site) {
    let process = site.open();
    let attendance = process.queue.attend().unwrap();
    assert!(attendance.is_some());
    let (held, dropped) = (claimed(&process, 1), claimed(&process, 2));
    let holds = |run: &str| run == held.id();
    assert_eq!(process.queue.executed(&holds).unwrap(), [id(1)]);
    let orphans = process.queue.orphans(&holds).unwrap();
    assert_eq!(orphans.iter().map(Claim::id).collect::<Vec<_>>(), [dropped.id()]);
    assert!(process.queue.give_back(&orphans[0], Why::Died).unwrap());
    assert_eq!(complete(&process, &dropped, &[]), Ended::Lost);
    assert_eq!(complete(&process, &held, &parts(1, held.fence(), 1)), Ended::Completed);
    assert!(process.queue.orphans(&|_| false).unwrap().is_empty());
}

fn claims_of_the_dead_are_taken_up(site: &dyn Site) {
    let (dead, next) = (site.open(), site.open());
    let attendance = dead.queue.attend().unwrap();
    let left = claimed(&dead, 1);
    drop(attendance);
    site.bury();
    let attendance = next.queue.attend().unwrap();
    assert!(attendance.is_some());
    let taken = next.queue.orphans(&|_| false).unwrap();
    assert_eq!(taken.iter().map(Claim::id).collect::<Vec<_>>(), [id(1)]);
    assert!(next.queue.executed(&|_| false).unwrap().is_empty(), "nobody executes it");
    assert!(next.queue.give_back(&taken[0], Why::Died).unwrap());
    // It was not dead after all.
    assert_eq!(dead.queue.renew(&left, &Progress::default(), now()).unwrap(), Standing::Lost);
    assert_eq!(complete(&dead, &left, &parts(1, left.fence(), 1)), Ended::Lost);
    let again = claim(&next, 1).unwrap();
    assert!(again.fence() > left.fence() && again.fence() > taken[0].fence());
    assert_eq!(complete(&next, &again, &parts(1, again.fence(), 1)), Ended::Completed);
    assert!(!dead.queue.is_complete(&left).unwrap());
}

/// Where one process at a time attends, nothing is asked of it.
fn those_who_attend_together_leave_each_other_theirs(site: &dyn Site) {
    let (a, b) = (site.open(), site.open());
    let (of_a, of_b) = (a.queue.attend().unwrap(), b.queue.attend().unwrap());
    assert!(of_a.is_some());
    if of_b.is_none() {
        return;
    }
    let (claim_of_a, claim_of_b) = (claimed(&a, 1), claimed(&b, 2));
    let both = [id(1), id(2)];
    assert_eq!(a.queue.executed(&|run| run == claim_of_a.id()).unwrap(), both);
    assert_eq!(a.queue.executed(&|_| false).unwrap(), both[1..]);
    assert!(a.queue.orphans(&|run| run == claim_of_a.id()).unwrap().is_empty());
    // What its own process has let go it does take up.
    let orphans = b.queue.orphans(&|_| false).unwrap();
    assert_eq!(orphans.iter().map(Claim::id).collect::<Vec<_>>(), [id(2)]);
    assert_eq!(complete(&b, &claim_of_b, &parts(2, claim_of_b.fence(), 1)), Ended::Lost);
    assert!(b.queue.give_back(&orphans[0], Why::Died).unwrap());
    // And of one that has died one of them.
    site.bury();
    let taken = thread::scope(|scope| {
        let take = || site.open().queue.orphans(&|_| false).unwrap().len();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    assert_eq!(taken, 1);
    assert_eq!(complete(&a, &claim_of_a, &parts(1, claim_of_a.fence(), 1)), Ended::Lost);
}

fn an_artifact_goes_part_by_part_or_as_a_whole(site: &dyn Site) {
    let process = site.open();
    let catalogue = &process.catalogue;
    let name = |n: u32, i: usize| parts(n, 1, 2)[i].0.name.clone();
    for n in 1..=2 {
        let claim = claimed(&process, n);
        assert_eq!(complete(&process, &claim, &parts(n, claim.fence(), 2)), Ended::Completed);
    }
    assert_eq!(catalogue.oldest_artifact().unwrap(), Some(now()));
    assert_eq!(
        (catalogue.expired_at(now()).unwrap().len(), catalogue.artifacts_at(now()).unwrap().len()),
        (0, 2)
    );
    let later = now() + 30 * DAY;
    assert_eq!(
        (catalogue.expired_at(later).unwrap().len(), catalogue.artifacts_at(later).unwrap().len()),
        (2, 0)
    );
    // Part by part.
    assert_eq!(catalogue.part_is_gone(&id(1), &name(1, 0), now()).unwrap(), Gone::Part);
    assert_eq!(catalogue.part_is_gone(&id(1), &name(1, 0), now()).unwrap(), Gone::Nothing);
    assert_eq!(catalogue.part_is_gone(&id(1), "another", now()).unwrap(), Gone::Nothing);
    assert!(catalogue.run(&id(1)).unwrap().unwrap().incomplete);
    assert_eq!(catalogue.deleted_parts(now()).unwrap().len(), 1);
    assert_eq!(catalogue.part_is_gone(&id(1), &name(1, 1), now()).unwrap(), Gone::Artifact);
    // As a whole.
    assert!(
        catalogue.artifact_is_gone(&id(2), now()).unwrap()
            && !catalogue.artifact_is_gone(&id(2), now()).unwrap()
    );
    assert!(catalogue.artifacts().unwrap().is_empty());
    assert_eq!(catalogue.leftovers(now()).unwrap(), [id(1), id(2)]);
    assert!(catalogue.leftovers(now() - DAY).unwrap().is_empty());
    // Its record goes with its parts, if somebody has removed it.
    catalogue.remove_run(&id(1), now()).unwrap();
    assert!(catalogue.run(&id(1)).unwrap().unwrap().hidden);
    for n in 1..=2 {
        catalogue.forget_parts(&id(n), 2, now()).unwrap();
    }
    assert!(catalogue.leftovers(now()).unwrap().is_empty() && catalogue.parts(&id(1)).unwrap().is_empty());
    assert!(catalogue.run(&id(1)).unwrap().is_none());
    assert!(catalogue.run(&id(2)).unwrap().unwrap().deleted.is_some());
    // Whoever reads one of them has its hashes for a day.
    let hashes = || catalogue.block_hashes(&id(1), 1, 0).unwrap().len();
    catalogue.forget_hashes(now() + DAY).unwrap();
    assert_eq!(hashes(), PART_BLOCK_HASHES);
    catalogue.forget_hashes(now() + DAY + Duration::from_secs(1)).unwrap();
    assert_eq!(hashes(), 0);
    // What a run has left.
    let claim = claimed(&process, 3);
    let failed = End { status: Status::Failed, finished: now(), error: None, is_clean: false };
    process.queue.end(&claim, &failed).unwrap();
    assert_eq!(catalogue.runs_with_debris().unwrap(), [id(3)]);
    catalogue.set_clean(&[id(3)]).unwrap();
    assert!(catalogue.runs_with_debris().unwrap().is_empty());
}

fn the_last_refusals_are_kept(site: &dyn Site) {
    let process = site.open();
    for n in 0..25u8 {
        let (field, wrong) = (n.to_string(), "wrong".to_string());
        let (target, remedy) = ("jobs/new".into(), "right".into());
        let refused = RefusedSpec { at: now(), target, field, wrong, remedy, spec: vec![n, 0xff, 0] };
        process.catalogue.add_refusal(&refused).unwrap();
    }
    let kept = site.open().catalogue.refusals().unwrap();
    assert_eq!(kept.iter().map(|kept| kept.spec[0]).collect::<Vec<_>>(), (5..25).rev().collect::<Vec<_>>());
}
