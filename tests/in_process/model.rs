//! Random sequences of what users and the world do to a managed store, against the real catalogue and scheduler, which
//! run in processes of their own that can be killed, by a clock that the test sets. After every step the invariants hold
//! (`support/invariants.rs`), and a small model knows what was acknowledged.
//!
//! `CDDSFS_MODEL_SEQUENCES=20000` makes it longer.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::invariants::{HOUR, Known, Moment, violations};
use crate::support::managed;
use cddsfs::export::engine::Scheduler;
use cddsfs::export::{disposal, jobs};
use cddsfs::io::Task;
use cddsfs::store::catalogue::{Run, Status, Wanted};
use cddsfs::store::clock::Clock;
use cddsfs::store::managed::Managed;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

const SEQUENCES: u32 = 2000;
/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where a process is told to be one of the model's.
const SOCKET: &str = "CDDSFS_MODEL_SOCKET";
/// Bytes of the disk that a store is on.
const DISK: u64 = 24 << 20;

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

/// A clock in a file, which other processes read.
#[derive(Clone)]
struct FileClock(Arc<File>);

impl FileClock {
    fn open(path: &Path) -> FileClock {
        FileClock(Arc::new(
            File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap(),
        ))
    }

    fn get(&self) -> (Duration, SystemTime) {
        let mut bytes = [0; 16];
        self.0.read_exact_at(&mut bytes, 0).unwrap();
        let (passed, now) = bytes.split_at(8);
        let ms = |bytes: &[u8]| Duration::from_millis(u64::from_le_bytes(bytes.try_into().unwrap()));
        (ms(passed), UNIX_EPOCH + ms(now))
    }

    fn set(&self, passed: Duration, now: SystemTime) {
        let ms = |time: Duration| (time.as_millis() as u64).to_le_bytes();
        let bytes = [ms(passed), ms(now.duration_since(UNIX_EPOCH).unwrap())].concat();
        self.0.write_all_at(&bytes, 0).unwrap();
    }
}

impl Clock for FileClock {
    fn now(&self) -> SystemTime {
        self.get().1
    }

    fn passed(&self) -> Duration {
        self.get().0
    }
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

/// Looks until two looks in a row have found nothing to do.
fn settle(scheduler: &mut Scheduler) -> String {
    let (started, mut quiet, mut failures) = (Instant::now(), 0, 0);
    while quiet < 3 {
        let looked = scheduler.look();
        quiet = if scheduler.is_idle() { quiet + 1 } else { 0 };
        if !scheduler.is_in_charge() {
            return "another one is in charge".into();
        }
        match looked {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                if failures > 20 {
                    return error.to_string();
                }
            }
        }
        if started.elapsed() > PATIENCE {
            return "it does not come to an end".into();
        }
        if quiet == 0 || failures > 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    "ok".into()
}

/// A process that can be told to run jobs, and be killed.
struct Host {
    child: Child,
    stream: BufReader<UnixStream>,
    has_started: bool,
}

impl Host {
    fn new(dir: &Path) -> Host {
        let socket = dir.join("socket");
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "model::a_process_of_the_model", "--nocapture"]).env(SOCKET, &socket);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(2 * PATIENCE)).unwrap();
        Host { child, stream: BufReader::new(stream), has_started: false }
    }

    fn send(&mut self, line: &str) {
        writeln!(self.stream.get_mut(), "{line}").unwrap();
    }

    fn tell(&mut self, line: &str) -> String {
        self.send(line);
        let mut answer = String::new();
        self.stream.read_line(&mut answer).unwrap();
        answer.trim().into()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What all sequences of a thread share: a small disk, and processes as long as they live.
struct World {
    disk: PathBuf,
    source: PathBuf,
    certificate: Vec<u8>,
    hosts: [Option<Host>; 2],
    home: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let home = tempfile::tempdir().unwrap();
        let disk = home.path().join("disk");
        fs::create_dir(&disk).unwrap();
        let size = format!("size={DISK}");
        mount(Some("model"), &disk, Some("tmpfs"), MsFlags::empty(), Some(size.as_str()))
            .expect("a tmpfs, for which it takes root");
        managed::make_key(home.path());
        let source = home.path().join("history.db");
        managed::make_source(&source, 600);
        let certificate = fs::read(home.path().join("cert.pem")).unwrap();
        World { disk, source, certificate, hosts: [None, None], home }
    }

    fn host(&mut self, n: usize) -> &mut Host {
        let dir = self.home.path().to_path_buf();
        self.hosts[n].get_or_insert_with(|| Host::new(&dir))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.hosts = [None, None];
        let _ = umount2(&self.disk, MntFlags::MNT_DETACH);
    }
}

/// One sequence.
struct Sequence<'a> {
    world: &'a mut World,
    store: Managed,
    clock: FileClock,
    known: Known,
    begun: SystemTime,
}

impl Sequence<'_> {
    fn new(world: &mut World) -> Sequence<'_> {
        for host in world.hosts.iter_mut().flatten().filter(|host| host.has_started) {
            host.tell("stop");
            host.has_started = false;
        }
        for entry in fs::read_dir(&world.disk).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
        let begun = SystemTime::now();
        let clock = FileClock::open(&world.home.path().join("clock"));
        clock.set(Duration::from_secs(1000), begun);
        let store = Managed::init(&world.disk.join("store")).unwrap();
        store.set_certificate(&world.certificate).unwrap();
        store.catalogue.set_source(world.source.to_str().unwrap()).unwrap();
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
            Op::Start(n) => {
                let (dir, clock) = (self.store.dir().to_path_buf(), self.world.home.path().join("clock"));
                let host = self.world.host(n);
                if !host.has_started {
                    host.has_started =
                        host.tell(&format!("start {} {}", dir.display(), clock.display())) == "ok";
                }
            }
            Op::Begin(n) => {
                if self.world.hosts[n].as_ref().is_some_and(|host| host.has_started) {
                    self.world.host(n).tell("begin");
                }
            }
            Op::Settle(n) => {
                if self.world.hosts[n].as_ref().is_some_and(|host| host.has_started) {
                    let answer = self.world.host(n).tell("settle");
                    if answer.contains("does not come to an end") {
                        return Err(answer);
                    }
                    // On a full disk runs fail, and what cannot be written down is tried again.
                    return Ok(answer == "ok" && !self.is_disk_full());
                }
            }
            Op::Stop(n) => {
                if let Some(host) = self.world.hosts[n].as_mut().filter(|host| host.has_started) {
                    host.tell("stop");
                    host.has_started = false;
                    self.known.interruptions += 1;
                }
            }
            Op::Kill(n, ms) => {
                if let Some(mut host) = self.world.hosts[n].take_if(|host| host.has_started) {
                    host.send("settle");
                    thread::sleep(Duration::from_millis(ms));
                    drop(host);
                    self.known.interruptions += 1;
                }
            }
            Op::Pass(time) => {
                let (passed, now) = self.clock.get();
                self.clock.set(passed + time, now + time);
            }
            Op::StepForward(time) => self.step(now + time),
            // Before this the certificate is not valid.
            Op::StepBack(time) => self.step((now - time).max(self.begun - 2 * HOUR)),
            Op::FillDisk => {
                let fill = File::create(self.world.disk.join("fill")).unwrap();
                let mut bytes = 1 << 20;
                let mut at = 0;
                while bytes >= 4096 {
                    match fill.write_all_at(&vec![1; bytes as usize], at) {
                        Ok(()) => at += bytes,
                        Err(_) => bytes /= 4,
                    }
                }
                self.known.interruptions += 1;
            }
            Op::FreeDisk => drop(fs::remove_file(self.world.disk.join("fill"))),
            Op::Orphan => {
                if let Some(run) = self.choose(0, |run| run.status == Status::Queued)
                    && self.store.queue.claim(&Wanted::only(&run.id), now).is_ok()
                {
                    self.known.interruptions += 1;
                }
            }
        }
        Ok(false)
    }

    fn is_disk_full(&self) -> bool {
        self.world.disk.join("fill").exists()
    }

    fn step(&mut self, to: SystemTime) {
        let (passed, _) = self.clock.get();
        self.clock.set(passed, to);
        self.known.steady_since = passed;
        self.known.never_stepped = to <= self.begun + (passed - Duration::from_secs(1000));
    }
}

fn check(world: &mut World, ops: &[Op]) -> Result<(), TestCaseError> {
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
            Err(_) if sequence.is_disk_full() => continue,
            Err(error) => vec![error.to_string()],
        };
        if !wrong.is_empty() {
            return Err(TestCaseError::fail(format!("after {i} {op:?}: {}", wrong.join("; "))));
        }
    }
    Ok(())
}

#[test]
fn nothing_is_lost_whatever_happens_in_whatever_order() {
    let sequences = std::env::var("CDDSFS_MODEL_SEQUENCES").map_or(SEQUENCES, |n| n.parse().unwrap());
    let threads = thread::available_parallelism().map_or(2, usize::from).clamp(2, 8) as u32;
    thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let mut world = World::new();
                let world = std::cell::RefCell::new(&mut world);
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
                let outcome = TestRunner::new(config).run(&ops, |ops| check(&mut world.borrow_mut(), &ops));
                if let Err(failed) = outcome {
                    panic!("{failed}");
                }
            });
        }
    });
}
