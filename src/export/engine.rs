//! Runs jobs: one process for each store, whichever gets the lock; the others only hand in specs.
//!
//! Everything that is to be done stands in the catalogue, so that whoever comes next goes on where another one
//! stopped, however it stopped: runs that were in progress are started again, files of artifacts that are gone are
//! deleted.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use super::disposal;
use super::jobs;
use super::run::{Execution, remove_files};
use super::stepping::Stepping;
use crate::error::Result;
use crate::io::Cancel;
use crate::store::catalogue::{Run, RunUpdate, Status};
use crate::store::clock::Clock;
use crate::store::managed::{EngineLock, Managed};

/// How often the catalogue is looked at.
const TICK: Duration = Duration::from_millis(200);
/// Runs at the same time: each of them uses all cores, but a small one should not have to wait for a large one.
const PARALLEL: usize = 2;
/// A run that has been interrupted so often is given up.
const MAX_ATTEMPTS: u32 = 5;

/// Works in the background until it is dropped. What is in progress then goes back into the queue.
pub struct Engine {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// With `only`, nothing but the run of that id is done.
    pub fn start(store: Arc<Managed>, clock: Arc<dyn Clock>, only: Option<String>) -> Result<Engine> {
        let (stop, stopped) = mpsc::channel();
        let state = State {
            stepping: Stepping::new(&*clock),
            store,
            clock,
            only,
            lock: None,
            workers: HashMap::new(),
            said: None,
        };
        let thread = thread::Builder::new().name("engine".into()).spawn(move || state.run(&stopped))?;
        Ok(Engine { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Without a sender the thread ends.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// A run in progress.
struct Worker {
    cancel: Cancel,
    /// It is to stop, but not for good.
    interrupted: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

struct State {
    store: Arc<Managed>,
    clock: Arc<dyn Clock>,
    only: Option<String>,
    lock: Option<EngineLock>,
    workers: HashMap<String, Worker>,
    stepping: Stepping,
    /// The last error, which is not said again and again.
    said: Option<String>,
}

impl State {
    fn run(mut self, stopped: &Receiver<()>) {
        loop {
            match self.tick() {
                Ok(()) => self.said = None,
                Err(error) => {
                    let text = error.to_string();
                    if self.said.as_ref() != Some(&text) {
                        log::error!("jobs: {text}");
                        self.said = Some(text);
                    }
                }
            }
            if stopped.recv_timeout(TICK) != Err(RecvTimeoutError::Timeout) {
                break;
            }
        }
        for worker in self.workers.values() {
            worker.interrupted.store(true, Ordering::Relaxed);
            worker.cancel.cancel();
        }
        for (id, worker) in self.workers.drain() {
            finish(&self.store, &id, worker, self.clock.now());
        }
    }

    fn tick(&mut self) -> Result<()> {
        if self.lock.is_none() {
            self.lock = self.store.lock_engine()?;
            if self.lock.is_none() {
                return Ok(());
            }
            self.recover()?;
        }
        self.reap();
        for id in self.store.catalogue.runs_to_cancel()? {
            if let Some(worker) = self.workers.get(&id) {
                worker.cancel.cancel();
            }
        }
        let now = self.clock.now();
        for run in self.store.catalogue.runs_that_are(Status::Scheduled)? {
            if self.wants(&run.id) && run.scheduled.is_some_and(|due| due <= now) {
                self.store.catalogue.queue(&run.id, now)?;
            }
        }
        if self.only.is_none() {
            jobs::schedule_next(&self.store, now)?;
            self.expire(now)?;
        }
        self.start_queued(now)
    }

    fn wants(&self, run: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == run)
    }

    /// Takes up what another process has left.
    fn recover(&mut self) -> Result<()> {
        for run in self.store.catalogue.runs_that_are(Status::InProgress)? {
            if self.workers.contains_key(&run.id) {
                continue;
            }
            remove_files(&self.store, &run.id);
            let ended = |status, error: Option<&str>| {
                let end = RunUpdate { status, finished: self.clock.now(), error: error.map(str::to_string) };
                self.store.catalogue.end(&run.id, &end)
            };
            if run.cancel {
                ended(Status::Cancelled, None)?;
            } else if run.attempts >= MAX_ATTEMPTS {
                ended(
                    Status::Failed,
                    Some("interrupted too often: the process that ran it has died each time"),
                )?;
            } else {
                log::info!("{}: was interrupted and starts again", run.stem());
                self.store.catalogue.requeue(&run.id)?;
            }
        }
        disposal::strays(&self.store).iter().for_each(disposal::remove_stray);
        disposal::sweep(&self.store, self.clock.now())
    }

    fn reap(&mut self) {
        let done: Vec<String> =
            self.workers.iter().filter(|(_, w)| w.thread.is_finished()).map(|(id, _)| id.clone()).collect();
        for id in done {
            if let Some(worker) = self.workers.remove(&id) {
                finish(&self.store, &id, worker, self.clock.now());
            }
        }
    }

    fn start_queued(&mut self, now: SystemTime) -> Result<()> {
        if self.workers.len() >= PARALLEL {
            return Ok(());
        }
        for run in self.store.catalogue.runs_that_are(Status::Queued)? {
            if self.workers.len() >= PARALLEL {
                break;
            }
            if self.wants(&run.id)
                && !self.workers.contains_key(&run.id)
                && self.store.catalogue.start(&run.id, now)?
            {
                let worker = self.start_worker(&run)?;
                self.workers.insert(run.id, worker);
            }
        }
        Ok(())
    }

    fn start_worker(&self, run: &Run) -> Result<Worker> {
        let (cancel, interrupted) = (Cancel::new(), Arc::new(AtomicBool::new(false)));
        let (store, clock, run) = (self.store.clone(), self.clock.clone(), run.clone());
        let flags = (cancel.clone(), interrupted.clone());
        let thread = thread::Builder::new().name("run".into()).spawn(move || {
            let (cancel, interrupted) = flags;
            let execution =
                Execution { store: &store, clock: &clock, cancel: &cancel, interrupted: &interrupted };
            execution.execute(&run);
        })?;
        Ok(Worker { cancel, interrupted, thread })
    }

    /// Removes what has expired. After the clock has been put forward it is hidden at once, but deleted only when the
    /// clock still says so some time later.
    fn expire(&mut self, now: SystemTime) -> Result<()> {
        let is_trusted = self.stepping.is_trusted(&*self.clock);
        let retention = self.store.catalogue.retention()?;
        let oldest = self.store.catalogue.oldest_artifact()?;
        if !is_trusted || !oldest.is_some_and(|made| retention.has_expired(made, now)) {
            return Ok(());
        }
        for artifact in disposal::expired(&self.store, now)? {
            log::info!("export-{}: has expired and is deleted", artifact.run);
            disposal::remove_artifact(&self.store, &artifact.run, now)?;
        }
        Ok(())
    }
}

/// Waits for a worker; one that panicked has left its run in progress.
fn finish(store: &Managed, id: &str, worker: Worker, now: SystemTime) {
    if worker.thread.join().is_err() {
        remove_files(store, id);
        log::error!("export-{id}: ended by a panic (see above)");
        let error = Some("an internal error, which the log describes".to_string());
        let end = RunUpdate { status: Status::Failed, finished: now, error };
        if let Err(error) = store.catalogue.end(id, &end) {
            log::error!("export-{id}: {error}");
        }
    }
}
