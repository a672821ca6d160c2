//! Random sequences of what users and the world do to a managed store, by a clock that the test sets, against the real
//! scheduler: on a directory, in processes of their own that can be killed, on a store in memory, in hosts that can be
//! cut off from it, and on one with a catalogue in PostgreSQL, where both work at the same time. After every step the
//! invariants hold (`support/invariants.rs`), and a small model knows what was acknowledged.
//!
//! `CDDSFS_MODEL_SEQUENCES=20000` makes it longer.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use crate::support::invariants::{HOUR, Known, Moment, violations};
use crate::support::worlds::{Disk, FileClock, InMemory, SOCKET, SOURCE, Shared, World, settle};
use cddsfs::export::engine::Scheduler;
use cddsfs::export::{disposal, jobs};
use cddsfs::io::Task;
use cddsfs::store::catalogue::{Run, Status, Wanted};
use cddsfs::store::clock::Clock;
use cddsfs::store::managed::Managed;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

const SEQUENCES: u32 = 2000;
const IN_MEMORY: u32 = 400;
const SHARED: u32 = 100;

/// What users and the world do. Numbers choose among what there is.
#[derive(Debug, Clone)]
enum Op {
    Submit(usize),
    Define(usize, usize),
    RenameJob(usize, usize),
    DeleteJob(usize),
    RemoveRecord(usize),
    Cancel(usize),
    DeleteArtifact(usize),
    DeletePart(usize),
    /// A process begins to run jobs, if another one does not.
    Start(usize),
    /// It looks once at what is to be done, and may begin with it.
    Begin(usize),
    /// It looks again and again until there is nothing to do.
    Settle(usize),
    /// It ends in an orderly way.
    Stop(usize),
    /// It is killed so many milliseconds after it was told to go on.
    Kill(usize, u64),
    Pass(Duration),
    StepForward(Duration),
    StepBack(Duration),
    FillDisk,
    FreeDisk,
    /// A run was started, but nobody executes it: its thread could not be.
    Orphan,
}

const SPECS: [&str; 5] = [
    r#"{"title":"t","type":"Contact"}"#,
    r#"{"title":"t","type":"Contact","run":{"every":"hour"}}"#,
    r#"{"title":"t","type":"Interaction","split_size":"64 KiB"}"#,
    r#"{"title":"t","type":"Interaction","split_size":"64 KiB","run":{"every":"hour"}}"#,
    r#"{"title":"t","type":"Interaction","media_types":["telex"]}"#,
];
const NAMES: [&str; 3] = ["a", "b", "c"];

fn op() -> impl Strategy<Value = Op> {
    let any = 0..8usize;
    let host = || 0..2usize;
    let time = prop_oneof![
        Just(Duration::from_secs(20)),
        Just(HOUR),
        Just(5 * HOUR),
        Just(29 * 24 * HOUR),
        Just(31 * 24 * HOUR)
    ];
    let step = prop_oneof![Just(2 * HOUR), Just(5 * 24 * HOUR), Just(40 * 24 * HOUR)];
    prop_oneof![
        4 => (0..SPECS.len()).prop_map(Op::Submit),
        2 => (0..NAMES.len(), 0..SPECS.len()).prop_map(|(name, spec)| Op::Define(name, spec)),
        1 => (0..NAMES.len(), 0..NAMES.len()).prop_map(|(from, to)| Op::RenameJob(from, to)),
        1 => (0..NAMES.len()).prop_map(Op::DeleteJob),
        2 => any.clone().prop_map(Op::RemoveRecord),
        1 => any.clone().prop_map(Op::Cancel),
        1 => any.clone().prop_map(Op::DeleteArtifact),
        2 => any.prop_map(Op::DeletePart),
        3 => host().prop_map(Op::Start),
        4 => host().prop_map(Op::Begin),
        4 => host().prop_map(Op::Settle),
        2 => host().prop_map(Op::Stop),
        2 => (host(), 0..60u64).prop_map(|(host, ms)| Op::Kill(host, ms)),
        2 => time.prop_map(Op::Pass),
        1 => step.clone().prop_map(Op::StepForward),
        1 => step.prop_map(Op::StepBack),
        1 => Just(Op::FillDisk),
        2 => Just(Op::FreeDisk),
        1 => Just(Op::Orphan),
    ]
}

/// The other side of [`Host`]: a process that runs jobs as it is told. Without a socket it has nothing to do.
#[test]
fn a_process_of_the_model() {
    let Some(socket) = std::env::var_os(SOCKET) else { return };
    let stream = UnixStream::connect(socket).unwrap();
    let mut answers = stream.try_clone().unwrap();
    let mut scheduler: Option<Scheduler> = None;
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match (word, &mut scheduler) {
            ("start", _) => {
                let (dir, clock) = rest.split_once(' ').unwrap();
                match Managed::open(Path::new(dir)) {
                    Ok(store) => {
                        let clock = Arc::new(FileClock::open(Path::new(clock)));
                        scheduler = Some(Scheduler::new(Arc::new(store), clock, None));
                        "ok".to_string()
                    }
                    Err(error) => error.to_string(),
                }
            }
            ("begin", Some(scheduler)) => scheduler.look().map_or_else(|e| e.to_string(), |()| "ok".into()),
            ("settle", Some(scheduler)) => settle(scheduler),
            ("stop", Some(running)) => {
                running.end();
                scheduler = None;
                "ok".into()
            }
            _ => "nothing to do".into(),
        };
        writeln!(answers, "{}", answer.replace('\n', " ")).unwrap();
    }
}

/// One sequence.
struct Sequence<'a> {
    world: &'a mut dyn World,
    store: Arc<Managed>,
    clock: FileClock,
    known: Known,
    begun: SystemTime,
}

impl Sequence<'_> {
    fn new(world: &mut dyn World) -> Sequence<'_> {
        let begun = SystemTime::now();
        let clock = FileClock::open(&world.home().join("clock"));
        clock.set(Duration::from_secs(1000), begun);
        let store = Arc::new(world.begin());
        store.catalogue.set_certificates(&SOURCE.2).unwrap();
        store.catalogue.set_source(world.source().to_str().unwrap()).unwrap();
        store.catalogue.confirm_clock(begun).unwrap();
        let known = Known { never_stepped: true, ..Known::default() };
        Sequence { world, store, clock, known, begun }
    }

    fn now(&self) -> SystemTime {
        self.clock.now()
    }

    fn choose(&self, n: usize, is_it: impl Fn(&Run) -> bool) -> Option<Run> {
        let mut runs = self.store.catalogue.runs().ok()?;
        runs.retain(is_it);
        // Ids are random: the order that is the same in every run of a sequence is that of time.
        runs.sort_by_key(|run| (run.made, run.scheduled, run.id.clone()));
        (!runs.is_empty()).then(|| runs.swap_remove(n % runs.len()))
    }

    /// Remembers what the runs to come of a job are, which go with it.
    fn forget_what_is_to_come(&mut self, job: &str) {
        for run in self.store.catalogue.runs_that_are(Status::Scheduled).unwrap_or_default() {
            if run.job.as_deref() == Some(job) {
                self.known.removed.insert(run.id);
            }
        }
    }

    /// Does something; returns true if somebody who runs jobs has looked at everything, undisturbed.
    fn apply(&mut self, op: &Op) -> Result<bool, String> {
        let now = self.now();
        match *op {
            Op::Submit(spec) => {
                // What is refused, because the disk is full, is not acknowledged.
                if let Ok(id) = jobs::submit(&self.store, SPECS[spec].as_bytes(), now) {
                    self.known.acknowledged.insert(id);
                }
            }
            Op::Define(name, spec) => {
                self.forget_what_is_to_come(NAMES[name]);
                let _ = jobs::define(&self.store, NAMES[name], SPECS[spec].as_bytes(), now);
            }
            Op::RenameJob(from, to) => {
                if from != to && self.store.catalogue.job(NAMES[from]).is_ok_and(|job| job.is_some()) {
                    self.forget_what_is_to_come(NAMES[to]);
                }
                let _ = self.store.catalogue.rename_job(NAMES[from], NAMES[to]);
            }
            Op::DeleteJob(name) => {
                self.forget_what_is_to_come(NAMES[name]);
                let _ = self.store.catalogue.delete_job(NAMES[name]);
            }
            Op::RemoveRecord(n) => {
                if let Some(run) = self.choose(n, |_| true)
                    && self.store.catalogue.remove_run(&run.id, now).is_ok()
                    && run.status.is_final()
                {
                    self.known.removed.insert(run.id);
                }
            }
            Op::Cancel(n) => {
                if let Some(run) = self.choose(n, |run| !run.status.is_final()) {
                    let _ = self.store.catalogue.cancel(&run.id, now);
                }
            }
            Op::DeleteArtifact(n) => {
                if let Some(run) = self.choose(n, |run| run.present) {
                    self.known.deleted.insert(run.id.clone());
                    let _ = disposal::remove_artifact(&self.store, &run.id, now);
                }
            }
            Op::DeletePart(n) => {
                if let Some(run) = self.choose(n, |run| run.present) {
                    let mut parts = self.store.catalogue.parts(&run.id).unwrap_or_default();
                    parts.retain(|part| !part.is_deleted);
                    if parts.len() <= 1 {
                        self.known.deleted.insert(run.id.clone());
                    }
                    if let Some(part) = parts.get(n % parts.len().max(1)) {
                        self.known.deleted_parts.insert(part.name.clone());
                        let _ = disposal::remove_part(&self.store, &run.id, &part.name, now);
                    }
                }
            }
            Op::Start(n) => self.world.start(n),
            Op::Begin(n) => drop(self.world.tell(n, "begin")),
            Op::Settle(n) => {
                if let Some(answer) = self.world.tell(n, "settle") {
                    if answer.contains("does not come to an end") {
                        return Err(answer);
                    }
                    // On a full disk runs fail, and what cannot be written down is tried again.
                    return Ok(answer == "ok" && !self.world.is_full());
                }
            }
            Op::Stop(n) => self.known.interruptions += u32::from(self.world.tell(n, "stop").is_some()),
            Op::Kill(n, ms) => {
                self.known.interruptions += u32::from(self.world.kill(n, Duration::from_millis(ms)));
            }
            Op::Pass(time) => {
                let (passed, now) = self.clock.get();
                self.clock.set(passed + time, now + time);
            }
            Op::StepForward(time) => self.step(now + time),
            // Before this the certificate is not valid.
            Op::StepBack(time) => self.step((now - time).max(self.begun - 2 * HOUR)),
            Op::FillDisk => {
                self.world.fill();
                self.known.interruptions += 1;
            }
            Op::FreeDisk => self.world.free(),
            Op::Orphan => {
                if let Some(run) = self.choose(0, |run| run.status == Status::Queued)
                    && self.store.queue.claim(&Wanted::only(&run.id), now).is_ok()
                {
                    self.known.interruptions += 1;
                    self.world.bury();
                }
            }
        }
        Ok(false)
    }

    fn step(&mut self, to: SystemTime) {
        let (passed, _) = self.clock.get();
        self.clock.set(passed, to);
        self.known.steady_since = passed;
        self.known.never_stepped = to <= self.begun + (passed - Duration::from_secs(1000));
    }
}

fn check(world: &mut dyn World, ops: &[Op]) -> Result<(), TestCaseError> {
    let mut sequence = Sequence::new(world);
    let end = [Op::FreeDisk, Op::Stop(1), Op::Start(0), Op::Pass(Duration::from_secs(20)), Op::Settle(0)];
    for (i, op) in ops.iter().chain(&end).enumerate() {
        let is_settled = match sequence.apply(op) {
            Ok(is_settled) => is_settled,
            Err(wrong) => return Err(TestCaseError::fail(format!("after {i} {op:?}: {wrong}"))),
        };
        let (passed, now) = sequence.clock.get();
        let moment = Moment { now, passed, is_settled };
        let wrong = match violations(&sequence.store, &mut sequence.known, &moment) {
            Ok(wrong) => wrong,
            Err(_) if sequence.world.is_full() => continue,
            Err(error) => vec![error.to_string()],
        };
        if !wrong.is_empty() {
            return Err(TestCaseError::fail(format!("after {i} {op:?}: {}", wrong.join("; "))));
        }
    }
    Ok(())
}

/// Has sequences happen in as many worlds as there are cores.
fn check_all<W: World>(sequences: u32, world: fn() -> W) {
    let sequences = std::env::var("CDDSFS_MODEL_SEQUENCES").map_or(sequences, |n| n.parse().unwrap());
    let threads = thread::available_parallelism().map_or(2, usize::from).clamp(2, 8) as u32;
    thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let world = std::cell::RefCell::new(world());
                let config = Config {
                    cases: sequences.div_ceil(threads),
                    failure_persistence: None,
                    max_shrink_time: 60_000,
                    rng_seed: std::env::var("CDDSFS_MODEL_SEED").map_or(RngSeed::Random, |seed| {
                        RngSeed::Fixed(seed.parse::<u64>().unwrap() + u64::from(thread))
                    }),
                    ..Config::default()
                };
                let ops = proptest::collection::vec(op(), 1..24);
                let outcome = TestRunner::new(config).run(&ops, |ops| check(&mut *world.borrow_mut(), &ops));
                if let Err(failed) = outcome {
                    panic!("{failed}");
                }
            });
        }
    });
}

#[test]
fn nothing_is_lost_whatever_happens_in_whatever_order() {
    check_all(SEQUENCES, Disk::new);
}

#[test]
fn nothing_is_lost_in_a_store_that_is_no_directory() {
    check_all(IN_MEMORY, InMemory::new);
}

#[test]
fn nothing_is_lost_in_a_store_that_two_hosts_share() {
    check_all(SHARED, Shared::new);
}
