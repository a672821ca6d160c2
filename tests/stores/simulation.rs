//! Three hosts run the jobs of one store, and users do things on each of them: over a simulated network, by clocks that are
//! not right, with processes that die, are stopped or cut off (`support/simulator.rs`, `support/link.rs`). After every step
//! the invariants hold (`support/history.rs`, `support/invariants.rs`), and in the end everything is done.
//!
//! One seed decides everything. `CDDSFS_SIMULATION_SEEDS=10000` takes more of them, `CDDSFS_SIMULATION_SEED=7` repeats one.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::support::history::History;
use crate::support::invariants::Known;
use crate::support::link::{Link, Site};
use crate::support::managed::{at, make_source};
use crate::support::memory::{Broken, Memory};
use crate::support::simulator::{HostClock, Simulator};
use cddsfs::export::engine::Scheduler;
use cddsfs::export::{disposal, jobs};
use cddsfs::io::Cancel;
use cddsfs::store::Store;
use cddsfs::store::catalogue::{Run, Status};
use cddsfs::store::clock::Clock;
use cddsfs::store::managed::Managed;
use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::x509::{X509, X509Name};

const SEEDS: u64 = 500;
/// Within so many of them something that is broken is found.
const TEETH: u64 = 200;
const HOSTS: usize = 3;
/// Things that users do.
const STEPS: (u64, u64) = (8, 20);
/// The longest time between two of them.
const PAUSE: Duration = Duration::from_secs(25);
/// Looks of an engine are so far apart.
const LOOKS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(4));
/// How long is waited for everything to be done, and in what steps.
const SETTLES: u32 = 40;
const SETTLING: Duration = Duration::from_secs(30);

const SPECS: [&str; 5] = [
    r#"{"title":"t","type":"Contact"}"#,
    r#"{"title":"t","type":"Contact"}"#,
    r#"{"title":"t","type":"Contact"}"#,
    r#"{"title":"t","type":"Interaction","split_size":"64 KiB"}"#,
    r#"{"title":"t","type":"Interaction","media_types":["telex"]}"#,
];
const JOB: &str = r#"{"title":"t","type":"Contact","run":{"every":"hour"}}"#;
const NAMES: [&str; 2] = ["a", "b"];

/// What users do.
#[derive(Debug, Clone, Copy)]
enum Act {
    Submit,
    Define,
    DeleteJob,
    Cancel,
    DeleteArtifact,
    DeletePart,
    RemoveRecord,
    /// Somebody looks at what there is, as a mount does.
    Look,
}

/// As often as they do it.
const ACTS: [Act; 14] = [
    Act::Submit,
    Act::Submit,
    Act::Submit,
    Act::Submit,
    Act::Submit,
    Act::Submit,
    Act::Define,
    Act::DeleteJob,
    Act::Cancel,
    Act::Cancel,
    Act::DeleteArtifact,
    Act::DeletePart,
    Act::RemoveRecord,
    Act::Look,
];

/// A source and a certificate that all simulations share.
static SOURCE: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let home = tempfile::tempdir().unwrap();
    let source = home.path().join("history.db");
    make_source(&source, 200);
    (home, source)
});
static CERTIFICATE: LazyLock<Vec<u8>> = LazyLock::new(certificate);

/// One that is valid whatever the hosts' clocks say.
fn certificate() -> Vec<u8> {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", "simulation").unwrap();
    let name = name.build();
    let mut x509 = X509::builder().unwrap();
    x509.set_version(2).unwrap();
    x509.set_serial_number(&Asn1Integer::from_bn(&BigNum::from_u32(1).unwrap()).unwrap()).unwrap();
    x509.set_subject_name(&name).unwrap();
    x509.set_issuer_name(&name).unwrap();
    x509.set_pubkey(&key).unwrap();
    x509.set_not_before(&Asn1Time::from_str("20200101000000Z").unwrap()).unwrap();
    x509.set_not_after(&Asn1Time::from_str("20400101000000Z").unwrap()).unwrap();
    x509.sign(&key, MessageDigest::sha256()).unwrap();
    x509.build().to_pem().unwrap()
}

/// What is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Defect {
    Queue(Broken),
    /// Whoever has lost the answer to his commit is told that it has not happened.
    DeniedCompletion,
}

/// What a seed has come to.
struct Outcome {
    wrong: Option<String>,
    hash: u64,
    tail: Vec<String>,
    figures: Figures,
}

/// How much has happened.
#[derive(Default, Clone, Copy)]
struct Figures {
    runs: u64,
    completed: u64,
    claims: u64,
    losses: u64,
    interruptions: u64,
}

impl Figures {
    fn add(&mut self, other: Figures) {
        self.runs += other.runs;
        self.completed += other.completed;
        self.claims += other.claims;
        self.losses += other.losses;
        self.interruptions += other.interruptions;
    }
}

/// The end of an hour, so that jobs are due soon.
fn beginning() -> SystemTime {
    at("2027-03-01T12:57:00Z")
}

struct Simulation {
    simulator: Arc<Simulator>,
    history: Arc<History>,
    site: Arc<Site>,
    /// What users have on each host.
    stores: Vec<Arc<Managed>>,
    clocks: Vec<HostClock>,
    /// How often a job was defined.
    defined: AtomicU64,
}

impl Simulation {
    fn begin(seed: u64, defect: Option<Defect>) -> Simulation {
        let broken = match defect {
            Some(Defect::Queue(broken)) => Some(broken),
            _ => None,
        };
        let memory = Arc::new(Memory::shared(beginning(), broken));
        let store = Arc::new(memory.open().managed());
        store.catalogue.set_certificates(&CERTIFICATE).unwrap();
        store.catalogue.set_source(SOURCE.1.to_str().unwrap()).unwrap();
        store.catalogue.confirm_clock(beginning()).unwrap();
        let simulator = Simulator::begin(seed, HOSTS, beginning());
        let history = Arc::new(History::new(store));
        let check = {
            let history = history.clone();
            Box::new(move || history.step())
        };
        let mut site = Site::new(memory, simulator.clone(), check);
        site.denies_completion = defect == Some(Defect::DeniedCompletion);
        let site = Arc::new(site);
        let store = |host| Arc::new(Link::new(&site, simulator.bystander(host)).managed());
        let clock = |host| HostClock { simulator: simulator.clone(), host };
        let (stores, clocks) = ((0..HOSTS).map(store).collect(), (0..HOSTS).map(clock).collect());
        Simulation { simulator, history, site, stores, clocks, defined: AtomicU64::new(0) }
    }

    fn below(&self, end: usize) -> usize {
        self.simulator.below(end as u64) as usize
    }

    fn choose(&self, is_it: impl Fn(&Run) -> bool) -> Option<Run> {
        let mut runs = self.history.store().catalogue.runs().unwrap();
        runs.retain(is_it);
        (!runs.is_empty()).then(|| runs.swap_remove(self.below(runs.len())))
    }

    fn known<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.history.known.lock().unwrap())
    }

    /// Has a user do something on one of the hosts. What he is told to have failed may have happened all the same.
    fn act(&self) {
        let host = self.below(HOSTS);
        let (store, now) = (&self.stores[host], self.clocks[host].now());
        let act = ACTS[self.below(ACTS.len())];
        self.simulator.note(&format!("a user of host {host}: {act:?}"));
        match act {
            Act::Submit => {
                let spec = SPECS[self.below(SPECS.len())];
                if let Ok(id) = jobs::submit(store, spec.as_bytes(), now) {
                    let id = self.site.id_of(&id);
                    self.known(|known| known.acknowledged.insert(id));
                }
            }
            Act::Define => {
                self.defined.fetch_add(1, Ordering::SeqCst);
                let _ = jobs::define(store, NAMES[self.below(NAMES.len())], JOB.as_bytes(), now);
            }
            Act::DeleteJob => drop(store.catalogue.delete_job(NAMES[self.below(NAMES.len())])),
            Act::Cancel => {
                if let Some(run) = self.choose(|run| !run.status.is_final()) {
                    let _ = store.catalogue.cancel(&run.id, now);
                }
            }
            Act::DeleteArtifact => {
                if let Some(run) = self.choose(|run| run.present) {
                    self.known(|known| known.deleted.insert(run.id.clone()));
                    let _ = disposal::remove_artifact(store, &run.id, now);
                }
            }
            Act::DeletePart => self.delete_part(store, now),
            Act::RemoveRecord => {
                if let Some(run) = self.choose(|_| true) {
                    self.known(|known| known.removed.insert(run.id.clone()));
                    let _ = store.catalogue.remove_run(&run.id, now);
                }
            }
            Act::Look => {
                let seen = Store::Managed(store.clone()).snapshot(self.simulator.today(), &Cancel::new());
                if let Ok(seen) = seen {
                    self.simulator.accuse(self.history.shown(&seen));
                }
            }
        }
    }

    fn delete_part(&self, store: &Managed, now: SystemTime) {
        let Some(run) = self.choose(|run| run.present) else { return };
        let mut parts = self.history.store().catalogue.parts(&run.id).unwrap();
        parts.retain(|part| !part.is_deleted);
        let part = parts.swap_remove(self.below(parts.len()));
        self.known(|known| {
            known.deleted_parts.insert(part.name.clone());
            // With the last one the artifact goes.
            if parts.iter().all(|part| known.deleted_parts.contains(&part.name)) {
                known.deleted.insert(run.id.clone());
            }
        });
        let _ = disposal::remove_part(store, &run.id, &part.name, now);
    }

    /// A host, as long as it is there: it runs jobs, and when its process has died another one does.
    fn host(simulator: &Arc<Simulator>, site: &Arc<Site>, host: usize, actor: u32) {
        simulator.take_part(actor);
        while !simulator.is_over() {
            let process = simulator.start_process(host);
            let store = Arc::new(Link::new(site, process.clone()).managed());
            let clock = Arc::new(HostClock { simulator: simulator.clone(), host });
            let mut scheduler = Scheduler::new(store, clock, None);
            while !process.has_died() {
                let looked = scheduler.look();
                simulator.set_idle(host, looked.is_ok() && scheduler.is_idle());
                simulator.rest(LOOKS.0, LOOKS.1);
            }
        }
    }

    /// Waits until everything is done.
    fn settle(&self) {
        let mut quiet = 0;
        for _ in 0..SETTLES {
            self.simulator.rest(SETTLING, SETTLING);
            let is_over = |run: &Run| run.status.is_final() || run.status == Status::Scheduled;
            let runs = self.history.store().catalogue.runs().unwrap();
            let is_quiet = self.simulator.all_are_idle() && runs.iter().all(is_over);
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if quiet == 3 || self.simulator.wrong().is_some() {
                return;
            }
        }
        self.simulator.accuse(vec!["it does not come to an end".into()]);
    }

    /// No run was started without a reason.
    fn started_for_a_reason(&self) -> Vec<String> {
        let claims = self.site.claims().into_iter().filter(|(_, claims)| claims.times > claims.explained());
        claims
            .map(|(id, claims)| {
                format!("{id}: started {} times, and {} are explained", claims.times, claims.explained())
            })
            .collect()
    }

    /// Jobs have run when their hour came, and when a user whose clock is behind has defined them.
    fn due(&self) -> Vec<String> {
        let hours = self.simulator.now().as_secs() / 3600 + 1;
        let most = self.defined.load(Ordering::SeqCst) + hours * NAMES.len() as u64;
        let runs = self.history.store().catalogue.runs().unwrap();
        let started = runs.iter().filter(|run| run.attempts > 0 && run.spec.contains("every")).count();
        let wrong =
            (started as u64 > most).then(|| format!("{started} runs of jobs, and {most} are explained"));
        wrong.into_iter().collect()
    }

    fn figures(&self) -> Figures {
        let runs = self.history.store().catalogue.runs().unwrap();
        let is_completed = |run: &&Run| run.status == Status::Completed;
        Figures {
            runs: runs.len() as u64,
            completed: runs.iter().filter(is_completed).count() as u64,
            claims: self.site.claims().values().map(|claims| u64::from(claims.times)).sum(),
            losses: self.site.losses.load(Ordering::SeqCst),
            interruptions: self.simulator.interruptions().into(),
        }
    }

    fn run(&self) {
        for _ in 0..STEPS.0 + self.simulator.below(STEPS.1 - STEPS.0) {
            self.simulator.rest(Duration::ZERO, PAUSE);
            self.act();
            self.simulator.accuse(self.history.all(self.simulator.today(), false));
            if self.simulator.wrong().is_some() {
                return;
            }
        }
        self.simulator.calm_down();
        self.settle();
        self.simulator.accuse(self.history.all(self.simulator.today(), true));
        self.simulator.accuse(self.started_for_a_reason());
        self.simulator.accuse(self.due());
    }
}

fn simulate(seed: u64, defect: Option<Defect>) -> Outcome {
    let simulation = Simulation::begin(seed, defect);
    let hosts: Vec<_> = (0..HOSTS)
        .map(|host| {
            let (simulator, site) = (simulation.simulator.clone(), simulation.site.clone());
            let actor = simulator.add(host);
            thread::spawn(move || Simulation::host(&simulator, &site, host, actor))
        })
        .collect();
    simulation.run();
    let ((hash, tail), figures) = (simulation.simulator.trace(), simulation.figures());
    simulation.simulator.end();
    hosts.into_iter().for_each(|host| host.join().unwrap());
    Outcome { wrong: simulation.simulator.wrong(), hash, tail, figures }
}

fn report(seed: u64, outcome: &Outcome) -> String {
    let mut text =
        format!("CDDSFS_SIMULATION_SEED={seed}: {}\n", outcome.wrong.as_deref().unwrap_or("right"));
    outcome.tail.iter().for_each(|line| writeln!(text, "{line}").unwrap());
    text
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn whatever_befalls_hosts_nothing_is_lost_and_nothing_is_done_twice() {
    let seeds = match number("CDDSFS_SIMULATION_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("CDDSFS_SIMULATION_SEEDS").unwrap_or(SEEDS),
    };
    let (next, threads) = (AtomicU64::new(*seeds.start()), thread::available_parallelism().unwrap().get());
    let all = Mutex::new(Figures::default());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    let outcome = simulate(seed, None);
                    if outcome.wrong.is_some() {
                        // No more of them are begun.
                        next.store(seeds.end() + 1, Ordering::SeqCst);
                        panic!("{}", report(seed, &outcome));
                    }
                    all.lock().unwrap().add(outcome.figures);
                }
            });
        }
    });
    let Figures { runs, completed, claims, losses, interruptions } = all.into_inner().unwrap();
    println!(
        "{} seeds: {runs} runs, {completed} completed, {claims} claims, {losses} of them lost, {interruptions} interruptions",
        seeds.end() + 1 - seeds.start()
    );
}

#[test]
fn a_seed_is_the_same_sequence_of_calls_every_time() {
    for seed in 1..=20 {
        let (one, other) = (simulate(seed, None), simulate(seed, None));
        assert_eq!(one.tail, other.tail, "seed {seed}");
        assert_eq!(one.hash, other.hash, "seed {seed}");
    }
}

fn is_found(defect: Defect) -> bool {
    (1..=TEETH).any(|seed| simulate(seed, Some(defect)).wrong.is_some())
}

#[test]
fn it_is_found_when_fences_are_not_looked_at() {
    assert!(is_found(Defect::Queue(Broken::Fences)));
}

#[test]
fn it_is_found_when_claims_are_taken_up_too_early() {
    assert!(is_found(Defect::Queue(Broken::Leases)));
}

#[test]
fn it_is_found_when_hosts_go_by_their_own_clocks() {
    assert!(is_found(Defect::Queue(Broken::Clocks)));
}

#[test]
fn it_is_found_when_a_lost_answer_is_taken_for_a_failure() {
    assert!(is_found(Defect::DeniedCompletion));
}
