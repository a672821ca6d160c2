//! Threads for requests that find the event loops busy. What hangs in one place of the store holds a few of them, so that
//! other places have theirs.

use parking_lot::{Condvar, Mutex};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::Expire;
use crate::tree::Place;

/// All threads. What is beyond that waits, at most until its time is up.
pub(crate) const MAX_THREADS: usize = 768;
/// Threads for one place.
pub(crate) const MAX_PER_PLACE: usize = 8;
/// Much of the stack is never touched: a thread that waits takes some tens of KiB.
const STACK: usize = 1 << 20;
/// How long a thread waits for more to do.
const IDLE: Duration = Duration::from_secs(2);

/// Something to be done.
pub(crate) struct Job {
    pub(crate) place: Place,
    /// Whoever waits for it; it is left out once that is over.
    pub(crate) asker: Option<Arc<dyn Expire>>,
    pub(crate) work: Box<dyn FnOnce() + Send>,
}

impl Job {
    fn is_wanted(&self) -> bool {
        self.asker.as_ref().is_none_or(|asker| !asker.is_over())
    }
}

#[derive(Clone, Default)]
pub(crate) struct Threads(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    /// What the next thread does.
    ready: VecDeque<Job>,
    places: HashMap<Place, Busy>,
    threads: usize,
    /// Threads that wait for a job, or are about to look for their first one.
    idle: usize,
}

/// A place that is worked at.
#[derive(Default)]
struct Busy {
    /// Jobs that are under way or ready.
    jobs: usize,
    waiting: VecDeque<Job>,
}

impl State {
    /// Returns true if it is ready to be done.
    fn add(&mut self, job: Job) -> bool {
        let busy = self.places.entry(job.place).or_default();
        if busy.jobs >= MAX_PER_PLACE && job.place != Place::Anywhere {
            busy.waiting.push_back(job);
            return false;
        }
        busy.jobs += 1;
        self.ready.push_back(job);
        true
    }

    /// A job of this place is over: the next one follows.
    fn done(&mut self, place: Place) {
        let Some(busy) = self.places.get_mut(&place) else { return };
        match busy.waiting.pop_front() {
            Some(next) => self.ready.push_back(next),
            None if busy.jobs > 1 => busy.jobs -= 1,
            None => drop(self.places.remove(&place)),
        }
    }

    /// Takes out what nobody wants any more.
    fn unwanted(&mut self) -> Vec<Job> {
        let mut unwanted = Vec::new();
        let mut take = |jobs: &mut VecDeque<Job>| {
            let (wanted, other): (VecDeque<_>, VecDeque<_>) = jobs.drain(..).partition(Job::is_wanted);
            *jobs = wanted;
            let places: Vec<Place> = other.iter().map(|job| job.place).collect();
            unwanted.extend(other);
            places
        };
        self.places.values_mut().for_each(|busy| drop(take(&mut busy.waiting)));
        take(&mut self.ready).into_iter().for_each(|place| self.done(place));
        unwanted
    }
}

impl Threads {
    pub(crate) fn run(&self, job: Job) {
        let mut state = self.0.state.lock();
        if state.add(job) {
            self.provide(&mut state);
        }
    }

    /// Has somebody see to what is ready.
    fn provide(&self, state: &mut State) {
        if state.ready.len() <= state.idle {
            self.0.more.notify_one();
        } else if state.threads < MAX_THREADS {
            let shared = self.0.clone();
            let thread = thread::Builder::new().name("request".into()).stack_size(STACK);
            match thread.spawn(move || shared.work()) {
                Ok(_) => (state.threads, state.idle) = (state.threads + 1, state.idle + 1),
                // It waits for one of the others, at most until its time is up.
                Err(error) => log::error!("no thread for a request: {error}"),
            }
        }
    }

    /// Forgets what nobody waits for any more.
    pub(crate) fn forget_unwanted(&self) {
        let unwanted = {
            let mut state = self.0.state.lock();
            let unwanted = state.unwanted();
            if !state.ready.is_empty() {
                self.provide(&mut state);
            }
            unwanted
        };
        drop(unwanted);
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.0.state.lock().threads
    }
}

impl Shared {
    fn work(&self) {
        let mut state = self.state.lock();
        loop {
            let Some(job) = state.ready.pop_front() else {
                let timed_out = self.more.wait_for(&mut state, IDLE).timed_out();
                if timed_out && state.ready.is_empty() {
                    (state.threads, state.idle) = (state.threads - 1, state.idle - 1);
                    return;
                }
                continue;
            };
            state.idle -= 1;
            let place = job.place;
            drop(state);
            // It contains its panics.
            (job.work)();
            state = self.state.lock();
            state.done(place);
            state.idle += 1;
        }
    }
}
