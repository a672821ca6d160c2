//! One seed for everything that is left to chance: who goes on, how long a call takes, what becomes of it, what befalls hosts
//! and their clocks.
//!
//! Threads that take part are *actors*. One of them runs at a time; whenever it calls what is simulated ([`Simulator::request`],
//! [`Simulator::answer`], [`Simulator::rest`]) the one goes on whose time comes first, and it is that time then. Nothing else makes
//! time pass. A thread that executes a run becomes an actor with the claim ([`Simulator::expect`]), and nobody goes on
//! until it has come to its first call: so the same seed is the same sequence of calls.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, SystemTime};

use cddsfs::error::{Error, Kind, Result};
use cddsfs::store::clock::Clock;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Who asks gives up after this time.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than anything takes that works, in the time of the machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Faults of hosts in one simulation.
const FAULTS: u32 = 8;
/// Lines of the trace that are kept.
const TAIL: usize = 150;
/// What the threads are called that execute runs.
const WORKER: &str = "run";

/// The actor that has begun, whom nothing befalls.
const FIRST: u32 = 1;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86400);

/// What a call does, as far as it matters to what may become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    Reads,
    Writes,
    /// It writes, and may reach the store twice.
    Repeats,
    /// The same, and it may reach it when whoever asked has long given up.
    Lingers,
}

/// What becomes of a call that has reached the store, or has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Done,
    Failed,
    /// It is done, but its answer is lost.
    Lost,
    Repeated,
    /// It is going to be done, and nobody waits for it any more.
    Late,
}

/// How bad it is, in thousandths of the calls.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    failed: u64,
    lost: u64,
    repeated: u64,
    late: u64,
    /// Something befalls the host of whoever calls.
    of_hosts: u64,
}

/// A process of a host, as long as it lives.
#[derive(Clone)]
pub struct Process {
    pub host: usize,
    has_died: Arc<AtomicBool>,
}

impl Process {
    pub fn has_died(&self) -> bool {
        self.has_died.load(Ordering::SeqCst)
    }

    /// Fails once it has died.
    pub fn check(&self) -> Result<()> {
        match self.has_died() {
            true => Err(Error::new(Kind::Os(libc::EIO), "the store is out of reach")),
            false => Ok(()),
        }
    }
}

/// A thread that takes part.
struct Actor {
    process: Process,
    is_worker: bool,
    /// It does not go on before.
    ready: Duration,
    turn: Arc<Condvar>,
}

#[derive(Default)]
struct Host {
    process: Option<Process>,
    stopped_until: Duration,
    /// Nothing that it sends or is sent arrives before.
    apart_until: Duration,
    starts_at: Duration,
    is_ahead: Duration,
    is_behind: Duration,
    is_idle: bool,
}

#[derive(Default)]
struct Trace {
    hash: DefaultHasher,
    tail: VecDeque<String>,
}

struct State {
    choice: ChaCha8Rng,
    weather: Weather,
    faults: u32,
    /// How often a run may have to begin anew.
    interruptions: u32,
    actors: BTreeMap<u32, Actor>,
    next: u32,
    running: Option<u32>,
    /// Who has to come to his first call.
    expected: Option<u32>,
    hosts: Vec<Host>,
    trace: Trace,
    wrong: Option<String>,
    is_over: bool,
}

pub struct Simulator {
    state: Mutex<State>,
    seed: u64,
    /// Milliseconds.
    now: AtomicU64,
    begun: SystemTime,
    /// No upload fails.
    is_calm: AtomicBool,
}

/// The part that a thread takes; it goes when the thread has ended.
struct Taken {
    simulator: Arc<Simulator>,
    actor: u32,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.simulator.leave(self.actor);
    }
}

thread_local! {
    static TAKEN: RefCell<Option<Taken>> = const { RefCell::new(None) };
}

fn timed_out() -> Error {
    Error::new(Kind::TimedOut, "the store did not answer in time")
}

/// What a call that has failed looks like: who waits too long, and whose connection goes, knows as little.
fn failure(state: &mut State) -> Error {
    match state.below(4) {
        0 => Error::new(Kind::Os(libc::ECONNRESET), "connection reset"),
        _ => timed_out(),
    }
}

impl State {
    fn below(&mut self, end: u64) -> u64 {
        self.choice.next_u64() % end
    }

    fn happens(&mut self, thousandths: u64) -> bool {
        self.below(1000) < thousandths
    }

    fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }

    fn secs(&mut self, from: u64, to: u64) -> Duration {
        self.ms(1000 * from, 1000 * to)
    }

    fn add(&mut self, process: Process, is_worker: bool, ready: Duration) -> u32 {
        self.next += 1;
        self.actors.insert(self.next, Actor { process, is_worker, ready, turn: Arc::default() });
        self.next
    }

    fn note(&mut self, now: Duration, text: &str) {
        let line = self.hash(now, text);
        if self.trace.tail.len() == TAIL {
            self.trace.tail.pop_front();
        }
        self.trace.tail.push_back(line);
    }

    /// The same of what happens all the time, and is not shown.
    fn hash(&mut self, now: Duration, text: &str) -> String {
        let line = format!("{:>9.3} {text}", now.as_secs_f64());
        line.hash(&mut self.trace.hash);
        line
    }

    fn fate(&mut self, takes: Takes) -> Fate {
        let Weather { failed, lost, repeated, late, .. } = self.weather;
        if self.happens(failed) {
            return Fate::Failed;
        }
        match takes {
            Takes::Reads => Fate::Done,
            _ if self.happens(lost) => Fate::Lost,
            Takes::Repeats | Takes::Lingers if self.happens(repeated) => Fate::Repeated,
            Takes::Lingers if self.happens(late) => Fate::Late,
            _ => Fate::Done,
        }
    }

    /// Lets something befall a host.
    fn strike(&mut self, host: usize, now: Duration) {
        self.faults -= 1;
        let until = now + self.secs(1, 100);
        let (kind, step) = (self.below(8), [2 * HOUR, DAY, 40 * DAY][self.below(3) as usize]);
        let what = match kind {
            0..2 => {
                self.kill(host, now);
                self.hosts[host].starts_at = until;
                "dies"
            }
            2..4 => {
                self.hosts[host].stopped_until = until;
                let is_there = |(id, actor): &(&u32, &Actor)| **id != FIRST && actor.process.host == host;
                let late: Vec<u32> = self.actors.iter().filter(is_there).map(|(id, _)| *id).collect();
                for id in late {
                    let ready = until + self.ms(0, 2000);
                    self.actors.get_mut(&id).unwrap().ready = ready;
                }
                "is stopped"
            }
            4..6 => {
                self.hosts[host].apart_until = until;
                "is cut off"
            }
            6 => {
                self.hosts[host].is_ahead += step;
                "has its clock put forward"
            }
            _ => {
                self.hosts[host].is_behind += step;
                "has its clock put back"
            }
        };
        self.interruptions += u32::from(kind < 6);
        self.note(now, &format!("host {host} {what} until {:.3}", until.as_secs_f64()));
    }

    fn kill(&mut self, host: usize, now: Duration) {
        let Some(process) = self.hosts[host].process.take() else { return };
        process.has_died.store(true, Ordering::SeqCst);
        for actor in self.actors.values_mut().filter(|actor| actor.process.has_died()) {
            actor.ready = now;
        }
    }
}

impl Simulator {
    /// Begins; whoever calls is the first actor. Clocks are right or not, as the seed has it.
    pub fn begin(seed: u64, hosts: usize, begun: SystemTime) -> Arc<Simulator> {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut state = State {
            choice: ChaCha8Rng::from_seed(key),
            weather: Weather::default(),
            faults: FAULTS,
            interruptions: 0,
            actors: BTreeMap::new(),
            next: 0,
            running: None,
            expected: None,
            hosts: Vec::new(),
            trace: Trace::default(),
            wrong: None,
            is_over: false,
        };
        let (calls, of_hosts) =
            ([0, 5, 30, 80][state.below(4) as usize], [0, 10, 30][state.below(3) as usize]);
        state.weather = Weather { failed: calls, lost: calls, repeated: calls, late: calls, of_hosts };
        for _ in 0..hosts {
            let skews = [Duration::ZERO, Duration::from_secs(7), 2 * HOUR, DAY];
            let (ahead, behind) = (state.below(4) as usize, state.below(4) as usize);
            let (is_ahead, is_behind) = (skews[ahead], skews[behind]);
            state.hosts.push(Host { is_ahead, is_behind, ..Host::default() });
        }
        let id = state.add(Process { host: 0, has_died: Arc::default() }, false, Duration::ZERO);
        state.running = Some(id);
        let (state, now, is_calm) = (Mutex::new(state), AtomicU64::new(0), AtomicBool::new(calls == 0));
        let simulator = Arc::new(Simulator { state, seed, now, begun, is_calm });
        TAKEN.set(Some(Taken { simulator: simulator.clone(), actor: id }));
        simulator
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn now(&self) -> Duration {
        Duration::from_millis(self.now.load(Ordering::SeqCst))
    }

    /// The time of day by a clock that is right.
    pub fn today(&self) -> SystemTime {
        self.begun + self.now()
    }

    /// A number below `end`.
    pub fn below(&self, end: u64) -> u64 {
        self.lock().below(end)
    }

    /// A process that nothing befalls but that its host is cut off.
    pub fn bystander(&self, host: usize) -> Process {
        Process { host, has_died: Arc::default() }
    }

    /// Adds an actor whose thread is about to be started.
    pub fn add(&self, host: usize) -> u32 {
        let process = self.bystander(host);
        self.lock().add(process, false, self.now())
    }

    /// Makes this thread that actor.
    pub fn take_part(self: &Arc<Simulator>, actor: u32) {
        TAKEN.set(Some(Taken { simulator: self.clone(), actor }));
        drop(self.wait(self.lock(), actor));
    }

    /// The thread that executes a run, and that is about to be started, is an actor.
    pub fn expect(&self, process: &Process) {
        let mut state = self.lock();
        let id = state.add(process.clone(), true, self.now());
        state.expected = Some(id);
    }

    /// Returns which actor this thread is; `None` for one that helps an actor, which waits for it, or reports by the time of the machine.
    fn actor(self: &Arc<Simulator>) -> Option<u32> {
        let taken = TAKEN.with_borrow(|taken| taken.as_ref().map(|taken| taken.actor));
        if taken.is_some() || thread::current().name() != Some(WORKER) {
            return taken;
        }
        let mut state = self.lock();
        let id = state.expected.take()?;
        TAKEN.set(Some(Taken { simulator: self.clone(), actor: id }));
        self.choose(&mut state);
        drop(self.wait(state, id));
        Some(id)
    }

    pub fn is_actor(self: &Arc<Simulator>) -> bool {
        self.actor().is_some()
    }

    fn leave(&self, actor: u32) {
        let mut state = self.lock();
        state.actors.remove(&actor);
        if state.running == Some(actor) {
            state.running = None;
            self.choose(&mut state);
        }
    }

    /// Lets the next one go on, if nobody runs.
    fn choose(&self, state: &mut State) {
        if state.running.is_some() || state.expected.is_some() {
            return;
        }
        let Some((ready, id)) = state.actors.iter().map(|(id, actor)| (actor.ready, *id)).min() else {
            return;
        };
        self.now.fetch_max(ready.as_millis() as u64, Ordering::SeqCst);
        state.running = Some(id);
        state.actors[&id].turn.notify_one();
    }

    /// Waits until it is somebody's turn.
    fn wait<'a>(&'a self, mut state: MutexGuard<'a, State>, actor: u32) -> MutexGuard<'a, State> {
        let turn = state.actors[&actor].turn.clone();
        while state.running != Some(actor) {
            let (waited, late) = turn.wait_timeout(state, PATIENCE).unwrap();
            state = waited;
            assert!(!late.timed_out(), "seed {}: actor {:?} does not go on", self.seed, state.running);
        }
        state
    }

    /// Lets others go on until that time has passed, and the host is not stopped.
    fn pause<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        id: u32,
        time: Duration,
    ) -> MutexGuard<'a, State> {
        let now = self.now();
        let process = &state.actors[&id].process;
        let (has_died, stopped_until) = (process.has_died(), state.hosts[process.host].stopped_until);
        let ready = match now < stopped_until && id != FIRST {
            _ if has_died || state.is_over => now,
            true => (now + time).max(stopped_until + state.ms(0, 2000)),
            false => now + time,
        };
        state.actors.get_mut(&id).unwrap().ready = ready;
        state.running = None;
        self.choose(&mut state);
        self.wait(state, id)
    }

    /// Lets time pass.
    pub fn rest(self: &Arc<Simulator>, from: Duration, to: Duration) {
        let Some(id) = self.actor() else { return };
        let mut state = self.lock();
        let time = state.ms(from.as_millis() as u64, to.as_millis() as u64 + 1);
        drop(self.pause(state, id, time));
    }

    /// Sends a request, and returns when it has reached the store, with what becomes of it. It fails if it does not reach it.
    pub fn request(self: &Arc<Simulator>, process: &Process, name: &str, takes: Takes) -> Result<Fate> {
        // Also whoever has died meanwhile has come to his first call.
        let actor = self.actor();
        process.check()?;
        let Some(id) = actor else { return Ok(Fate::Done) };
        let mut state = self.lock();
        // What executes runs takes its time.
        let is_worker = state.actors[&id].is_worker;
        let time = if is_worker { state.ms(50, 3000) } else { state.ms(1, 40) };
        self.befall(&mut state, id);
        let mut state = self.pause(state, id, time);
        process.check()?;
        state = self.reach(state, id, process)?;
        let fate = state.fate(takes);
        if fate != Fate::Done {
            state.interruptions += u32::from(matches!(name, "claim" | "is_complete"));
        }
        let (now, text) = (self.now(), format!("host {} actor {id} {name} {fate:?}", process.host));
        match fate {
            Fate::Done => drop(state.hash(now, &text)),
            _ => state.note(now, &text),
        }
        match fate {
            Fate::Failed => Err(failure(&mut state)),
            fate => Ok(fate),
        }
    }

    /// Brings back the answer, if it comes.
    pub fn answer(self: &Arc<Simulator>, process: &Process, fate: Fate) -> Result<()> {
        let Some(id) = self.actor() else { return process.check() };
        let mut state = self.lock();
        self.befall(&mut state, id);
        let is_lost = matches!(fate, Fate::Lost | Fate::Late);
        if is_lost || state.below(4) == 0 || state.hosts[process.host].stopped_until > self.now() {
            let time = if is_lost { TIMEOUT } else { state.ms(1, 40) };
            state = self.pause(state, id, time);
        }
        process.check()?;
        let mut state = self.reach(state, id, process)?;
        if is_lost { Err(failure(&mut state)) } else { Ok(()) }
    }

    /// Lets something befall the host of an actor, or not.
    fn befall(&self, state: &mut State, id: u32) {
        let Actor { process, is_worker, .. } = &state.actors[&id];
        let (host, has_died) = (process.host, process.has_died());
        // More often than not while it executes something.
        let thousandths = state.weather.of_hosts / if *is_worker { 1 } else { 8 };
        if id != FIRST && !has_died && state.faults > 0 && state.happens(thousandths) {
            state.strike(host, self.now());
        }
    }

    /// Waits while the host is cut off, but not for ever.
    fn reach<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        id: u32,
        process: &Process,
    ) -> Result<MutexGuard<'a, State>> {
        let asked = self.now();
        loop {
            let left = state.hosts[process.host].apart_until.saturating_sub(self.now());
            if left.is_zero() {
                return Ok(state);
            }
            let patience = (asked + TIMEOUT).saturating_sub(self.now());
            if patience.is_zero() {
                return Err(timed_out());
            }
            state = self.pause(state, id, left.min(patience));
            process.check()?;
        }
    }

    /// What becomes of an upload, which goes on beside whoever waits for it: its key decides.
    pub fn upload(&self, key: &str) -> Fate {
        let mut hasher = DefaultHasher::new();
        (self.seed, key).hash(&mut hasher);
        match hasher.finish() % 50 {
            _ if self.is_calm.load(Ordering::SeqCst) => Fate::Done,
            0 => Fate::Failed,
            1 => Fate::Lost,
            _ => Fate::Done,
        }
    }

    /// A process of a host that runs jobs: it is the one that dies. Before it starts time may pass.
    pub fn start_process(self: &Arc<Simulator>, host: usize) -> Process {
        let process = self.bystander(host);
        let Some(id) = self.actor() else { return process };
        let state = self.lock();
        let time = state.hosts[host].starts_at.saturating_sub(self.now());
        let mut state = self.pause(state, id, time);
        process.has_died.store(state.is_over, Ordering::SeqCst);
        state.hosts[host].process = Some(process.clone());
        state.actors.get_mut(&id).unwrap().process = process.clone();
        process
    }

    /// Whether a host has nothing to do.
    pub fn set_idle(&self, host: usize, is_idle: bool) {
        self.lock().hosts[host].is_idle = is_idle;
    }

    pub fn all_are_idle(&self) -> bool {
        self.lock().hosts.iter().all(|host| host.is_idle)
    }

    pub fn interruptions(&self) -> u32 {
        self.lock().interruptions
    }

    pub fn note(&self, text: &str) {
        let now = self.now();
        self.lock().note(now, text);
    }

    /// Keeps the first thing that is wrong.
    pub fn accuse(&self, wrong: Vec<String>) {
        let (now, mut state) = (self.now(), self.lock());
        if let Some(first) = wrong.into_iter().next().filter(|_| state.wrong.is_none()) {
            state.note(now, &format!("WRONG: {first}"));
            state.wrong = Some(first);
        }
    }

    pub fn wrong(&self) -> Option<String> {
        self.lock().wrong.clone()
    }

    /// Nothing more befalls anybody; all clocks are right, and all hosts reach the store.
    pub fn calm_down(&self) {
        self.is_calm.store(true, Ordering::SeqCst);
        let (now, mut state) = (self.now(), self.lock());
        (state.weather, state.faults) = (Weather::default(), 0);
        for host in &mut state.hosts {
            (host.apart_until, host.is_ahead, host.is_behind) = Default::default();
            host.starts_at = host.starts_at.min(now);
        }
        state.note(now, "nothing happens any more");
    }

    /// Ends all processes. Whoever has begun it goes with this call.
    pub fn end(&self) {
        let now = self.now();
        let mut state = self.lock();
        state.is_over = true;
        (0..state.hosts.len()).for_each(|host| state.kill(host, now));
        for actor in state.actors.values_mut() {
            actor.ready = now;
        }
        drop(state);
        TAKEN.set(None);
    }

    pub fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// What has happened: a hash of all of it, and its last lines.
    pub fn trace(&self) -> (u64, Vec<String>) {
        let state = self.lock();
        (state.trace.hash.finish(), state.trace.tail.iter().cloned().collect())
    }
}

/// The clock of a host.
pub struct HostClock {
    pub simulator: Arc<Simulator>,
    pub host: usize,
}

impl Clock for HostClock {
    fn now(&self) -> SystemTime {
        let state = self.simulator.lock();
        let Host { is_ahead, is_behind, .. } = &state.hosts[self.host];
        self.simulator.begun + self.passed() + *is_ahead - *is_behind
    }

    /// No two oscillators are the same.
    fn passed(&self) -> Duration {
        let now = self.simulator.now();
        now + now * self.host as u32 / 1000
    }
}
