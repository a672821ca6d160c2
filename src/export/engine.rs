//! Executes runs, in each process that may ([`Queue::attend`](crate::store::catalogue::Queue::attend)); the others only
//! hand in specs.
//!
//! Everything that is to be done is in the catalogue, so that the next process goes on where another has stopped,
//! however it stopped. What the catalogue says is compared with what is being done at every look, not just once: a run
//! in progress that nobody executes is started again or, if it was to stop, ended, and files that belong to no artifact
//! are deleted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use super::clock_trust::ClockTrust;
use super::disposal;
use super::jobs;
use super::run::{Execution, Outcome};
use crate::error::{Error, Result};
use crate::io::{Background, Cancel, Next, Task};
use crate::store::catalogue::{Attendance, Claim, End, Revision, Run, Status, Wanted, Why};
use crate::store::clock::Clock;
use crate::store::managed::Managed;
use crate::store::names::stem_of;

/// Without a change, the engine still looks at everything this often, since runs become due with time.
const QUIET: Duration = Duration::from_secs(1);
/// Time between attempts to delete files that could not be deleted.
const SWEEP: Duration = Duration::from_secs(10);
/// Runs at the same time: each of them uses all cores, but a small one should not have to wait for a large one.
const PARALLEL: usize = 2;
/// How often the time of day is written down while the clock is trusted.
const CONFIRM: Duration = Duration::from_secs(10 * 60);
/// How long runs that were told to stop are waited for at the end.
const PATIENCE: Duration = Duration::from_millis(800);

/// After this many deaths of its process in a row, before it has exported a row, a run rests before it is started
/// again.
const SUDDEN_DEATHS: u32 = 3;
/// How long it rests at most: one second first, and twice as long each further time.
const MAX_REST: Duration = Duration::from_secs(15);

/// Executes runs in the background until it is dropped; runs in progress then go back into the queue.
pub struct Engine {
    _thread: Background,
}

impl Engine {
    /// With `only`, no other run than that of this id is executed.
    pub fn start(store: Arc<Managed>, clock: Arc<dyn Clock>, only: Option<String>) -> Result<Engine> {
        let scheduler = Scheduler::new(store, clock, only);
        Ok(Engine { _thread: Background::start("engine", Next::NOW, scheduler)? })
    }
}

/// A run in progress.
struct Worker {
    claim: Claim,
    cancel: Cancel,
    /// Raised if the run is to stop, but to go back into the queue.
    interrupted: Arc<AtomicBool>,
    thread: JoinHandle<Outcome>,
}

/// A run that is over, which is still to be written down.
struct EndedRun {
    claim: Claim,
    outcome: Outcome,
}

/// The state of the catalogue at a look, and when that was.
#[derive(Clone, Copy)]
struct Looked {
    changes: Revision,
    /// In time that has passed.
    at: Duration,
    clock: SystemTime,
}

impl Looked {
    /// Returns true if the catalogue has changed since, enough time has passed, or the clock was set.
    fn is_out_of_date(&self, now: &Looked) -> bool {
        let passed = now.at.saturating_sub(self.at);
        let expected = self.clock + passed;
        let step = now.clock.duration_since(expected).unwrap_or_else(|behind| behind.duration());
        self.changes != now.changes || passed >= QUIET || step >= QUIET
    }
}

/// What the engine does, look by look.
pub struct Scheduler {
    store: Arc<Managed>,
    clock: Arc<dyn Clock>,
    only: Option<String>,
    attendance: Option<Attendance>,
    workers: BTreeMap<String, Worker>,
    ended: Vec<EndedRun>,
    /// Until when a run rests, in time that has passed.
    rests: BTreeMap<String, Duration>,
    clock_trust: ClockTrust,
    /// The last look at everything.
    looked: Option<Looked>,
    /// State of the catalogue when its log was moved into it last.
    checkpointed: Option<Revision>,
    /// When files that nobody needs were deleted last, in time that has passed.
    swept: Option<Duration>,
    /// When the time of day was written down last, in time that has passed.
    confirmed: Option<Duration>,
    /// The last error, which is not logged again.
    said: Option<String>,
}

impl Task for Scheduler {
    fn step(&mut self, _stop: &Cancel) -> Next {
        let looked = self.look();
        self.log_failure(looked);
        Next::After(self.store.catalogue.pace())
    }

    fn end(&mut self) {
        for worker in self.workers.values() {
            worker.interrupted.store(true, Ordering::Relaxed);
            worker.cancel.cancel();
        }
        let until = Instant::now() + PATIENCE;
        while !self.workers.values().all(|worker| worker.thread.is_finished()) && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        self.reap();
        let written = self.write_down_ends();
        self.log_failure(written);
        if !self.workers.is_empty() {
            // No other process may start these runs while their threads live, which is until this process ends.
            std::mem::forget(self.attendance.take());
        }
    }
}

impl Scheduler {
    pub fn new(store: Arc<Managed>, clock: Arc<dyn Clock>, only: Option<String>) -> Scheduler {
        Scheduler {
            clock_trust: ClockTrust::new(&*clock, store.catalogue.confirmed_clock().unwrap_or_default()),
            store,
            clock,
            only,
            attendance: None,
            workers: BTreeMap::new(),
            ended: Vec::new(),
            rests: BTreeMap::new(),
            looked: None,
            checkpointed: None,
            swept: None,
            confirmed: None,
            said: None,
        }
    }

    /// Returns true if this scheduler may execute runs.
    pub fn is_in_charge(&self) -> bool {
        self.attendance.is_some()
    }

    /// Returns true if nothing is being executed or to be written down.
    pub fn is_idle(&self) -> bool {
        self.workers.is_empty() && self.ended.is_empty()
    }

    fn log_failure(&mut self, done: Result<()>) {
        let text = done.err().map(|error| error.to_string());
        if let Some(text) = text.as_ref().filter(|text| self.said.as_ref() != Some(text)) {
            log::error!("jobs: {text}");
        }
        self.said = text;
    }

    /// Does what is to be done, if there may be anything.
    pub fn look(&mut self) -> Result<()> {
        if self.attendance.is_none() {
            self.attendance = self.store.queue.attend()?;
            if self.attendance.is_none() {
                return Ok(());
            }
        }
        self.reap();
        let changes = self.store.catalogue.changes()?;
        let now = Looked { changes, at: self.clock.passed(), clock: self.clock.now() };
        if !self.is_idle() || self.looked.is_none_or(|before| before.is_out_of_date(&now)) {
            self.tick(now.clock)?;
            // `now` was taken before: changes made since then lead to another look.
            self.looked = Some(now);
        } else if self.checkpointed != Some(now.changes) {
            // Nothing is going on.
            self.checkpoint();
            self.checkpointed = Some(now.changes);
        }
        Ok(())
    }

    /// Looks at everything. A failure does not keep the rest from being done; the first is returned.
    fn tick(&mut self, now: SystemTime) -> Result<()> {
        let is_trusted = self.clock_trust.is_trusted(&*self.clock);
        let mut failed = self.write_down_ends();
        let now = self.store.catalogue.today(now)?;
        let mut all = |done: Result<()>| {
            if failed.is_ok() {
                failed = done;
            }
        };
        all(self.reconcile(now));
        all(self.pass_on_cancels());
        all(self.queue_what_is_due(now));
        if self.only.is_none() {
            all(jobs::schedule_next(&self.store, now));
        }
        all(self.sweep(now));
        if self.clock_trust.is_confirmed() {
            all(self.confirm_clock(now));
        }
        if is_trusted && self.only.is_none() {
            all(self.expire(now));
        }
        all(self.start_queued(now));
        failed
    }

    /// Returns true for a run that is executed here, or whose end is still to be written down.
    fn holds(&self, run: &str) -> bool {
        self.workers.contains_key(run) || self.ended.iter().any(|ended| ended.claim.id() == run)
    }

    fn wants(&self, run: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == run)
    }

    /// Takes the outcomes of workers that have ended.
    fn reap(&mut self) {
        let done: Vec<String> =
            self.workers.iter().filter(|(_, w)| w.thread.is_finished()).map(|(id, _)| id.clone()).collect();
        for id in done {
            let Some(Worker { claim, thread, .. }) = self.workers.remove(&id) else { continue };
            let outcome = thread.join().unwrap_or_else(|_| {
                log::error!("{}: ended by a panic (see above)", claim.run().stem());
                let error =
                    "an internal error, which the log describes; hand the spec in again to try once more";
                Outcome::Failed(error.into())
            });
            self.ended.push(EndedRun { claim, outcome });
        }
    }

    /// Writes down how runs have ended; those for which that fails are kept for the next time.
    fn write_down_ends(&mut self) -> Result<()> {
        let mut failed = Ok(());
        for ended in std::mem::take(&mut self.ended) {
            if let Err(error) = self.write_down(&ended) {
                let place = format!("{}: its end is not written down", ended.claim.run().stem());
                failed = failed.and(Err(error.at(place)));
                self.ended.push(ended);
            }
        }
        failed
    }

    fn write_down(&self, EndedRun { claim, outcome }: &EndedRun) -> Result<()> {
        let queue = &self.store.queue;
        let end = |status, error: Option<&String>| {
            // Files go first: if the disk is full, that makes room for writing.
            let removed = disposal::remove_files(&self.store, claim);
            if let Err(error) = &removed {
                log::warn!("{}: files of it are left for later: {error}", claim.run().stem());
            }
            let (finished, error) = (self.clock.now(), error.cloned());
            queue.end(claim, &End { status, finished, error, is_clean: removed.is_ok() })
        };
        match outcome {
            Outcome::Completed | Outcome::Unknown => Ok(()),
            Outcome::Lost => disposal::remove_attempt(&self.store, claim),
            Outcome::NoData => end(Status::NoData, None),
            Outcome::Cancelled => end(Status::Cancelled, None),
            Outcome::Failed(error) => end(Status::Failed, Some(error)),
            Outcome::Interrupted => {
                disposal::remove_files(&self.store, claim)?;
                // A run that was cancelled as well is not queued again.
                if queue.give_back(claim, Why::Interrupted)? { Ok(()) } else { end(Status::Cancelled, None) }
            }
        }?;
        self.checkpoint();
        Ok(())
    }

    /// Moves the catalogue's log into its file, so that a copy of that file alone is complete.
    fn checkpoint(&self) {
        if let Err(error) = self.store.catalogue.checkpoint() {
            log::debug!("{error}");
        }
    }

    /// Takes up runs in progress that nobody executes: another process has died, or a thread could not be started.
    fn reconcile(&mut self, now: SystemTime) -> Result<()> {
        let queue = &self.store.queue;
        let mut failed = self.store.catalogue.end_cancelled(now);
        for claim in queue.orphans(&|run| self.holds(run))? {
            if let Err(error) = disposal::remove_files(&self.store, &claim) {
                failed = failed.and(Err(error));
                continue;
            }
            if claim.run().cancel {
                let status = Status::Cancelled;
                queue.end(&claim, &End { status, finished: now, error: None, is_clean: true })?;
            } else {
                log::info!("{}: was interrupted and starts again", claim.run().stem());
                queue.give_back(&claim, Why::Died)?;
                self.rests.remove(claim.id());
            }
        }
        failed
    }

    fn pass_on_cancels(&self) -> Result<()> {
        for id in self.store.queue.to_cancel()? {
            if let Some(worker) = self.workers.get(&id) {
                worker.cancel.cancel();
            }
        }
        Ok(())
    }

    fn queue_what_is_due(&self, now: SystemTime) -> Result<()> {
        for run in self.store.catalogue.runs_that_are(Status::Scheduled)? {
            if self.wants(&run.id) && run.scheduled.is_some_and(|due| due <= now) {
                self.store.catalogue.queue(&run.id, now)?;
            }
        }
        Ok(())
    }

    /// Deletes files that nobody needs: at the beginning, and from time to time those that could not be deleted before.
    fn sweep(&mut self, now: SystemTime) -> Result<()> {
        let passed = self.clock.passed();
        if self.swept.is_some_and(|at| passed.saturating_sub(at) < SWEEP) {
            return Ok(());
        }
        let is_first = self.swept.is_none();
        self.swept = Some(passed);
        if is_first || disposal::is_dirty(&self.store, now)? {
            let holds = |run: &str| self.workers.contains_key(run);
            return disposal::sweep(&self.store, now, &holds);
        }
        Ok(())
    }

    fn start_queued(&mut self, now: SystemTime) -> Result<()> {
        if self.workers.len() >= PARALLEL {
            return Ok(());
        }
        let only = self.only.clone();
        let mut wanted = Wanted { only: only.as_deref(), ..Wanted::default() };
        for run in self.store.catalogue.runs_that_are(Status::Queued)? {
            if self.wants(&run.id) && (self.holds(&run.id) || !self.has_rested(&run)) {
                wanted.not.insert(run.id);
            }
        }
        while self.workers.len() < PARALLEL
            && let Some(claim) = self.store.queue.claim(&wanted, now)?
        {
            self.rests.remove(claim.id());
            let worker = self.start_worker(&claim)?;
            self.workers.insert(claim.id().into(), worker);
        }
        Ok(())
    }

    /// Returns false while a run whose process has died again and again has to wait.
    fn has_rested(&mut self, run: &Run) -> bool {
        let Some(more) = run.deaths.checked_sub(SUDDEN_DEATHS) else { return true };
        let passed = self.clock.passed();
        let rest = Duration::from_secs(1 << more.min(10)).min(MAX_REST);
        let until = *self.rests.entry(run.id.clone()).or_insert_with(|| {
            log::warn!(
                "{}: the process that ran it has died {} times in a row; it starts again in {} s",
                run.stem(),
                run.deaths,
                rest.as_secs()
            );
            passed + rest
        });
        passed >= until
    }

    fn start_worker(&self, claim: &Claim) -> Result<Worker> {
        let (cancel, interrupted) = (Cancel::new(), Arc::new(AtomicBool::new(false)));
        let (store, clock, own) = (self.store.clone(), self.clock.clone(), claim.clone());
        let flags = (cancel.clone(), interrupted.clone());
        let started = thread::Builder::new().name("run".into()).spawn(move || {
            let (cancel, interrupted) = flags;
            Execution { store: &store, clock: &clock, cancel: &cancel, interrupted: &interrupted }
                .execute(&own)
        });
        let thread = started.map_err(|error| Error::from(error).at("a thread for a run"))?;
        Ok(Worker { claim: claim.clone(), cancel, interrupted, thread })
    }

    /// Writes the time of day down from time to time, for the next process to compare its own with.
    fn confirm_clock(&mut self, now: SystemTime) -> Result<()> {
        let passed = self.clock.passed();
        if self.confirmed.is_none_or(|at| passed.saturating_sub(at) >= CONFIRM) {
            self.store.catalogue.confirm_clock(now)?;
            self.confirmed = Some(passed);
        }
        Ok(())
    }

    /// Removes artifacts that have expired, by a clock that is trusted. They have been hidden since they expired.
    fn expire(&self, now: SystemTime) -> Result<()> {
        self.store.catalogue.forget_hashes(now)?;
        for artifact in self.store.catalogue.expired_at(now)? {
            log::info!("{}: has expired and is deleted", stem_of(&artifact.run));
            disposal::remove_artifact(&self.store, &artifact.run, now)?;
        }
        Ok(())
    }
}
