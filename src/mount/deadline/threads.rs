//! Threads for requests that find the event loops busy. Each place of the store has only a few of them, so that one
//! that hangs does not take those of the others.

use parking_lot::{Condvar, Mutex};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::Expire;
use crate::tree::Place;

/// Threads of all places together. A request beyond that waits, at most until its time is up.
pub(crate) const MAX_THREADS: usize = 768;
/// Threads for one place.
pub(crate) const MAX_PER_PLACE: usize = 8;
/// Much of the stack is never touched: a thread that waits takes some tens of KiB.
const STACK: usize = 1 << 20;
/// How long a thread waits for more to do.
const IDLE: Duration = Duration::from_secs(2);

/// The work of a request.
pub(crate) struct RequestWork {
    pub(crate) place: Place,
    /// The request that waits for it; once that is over, the work is dropped.
    pub(crate) asker: Option<Arc<dyn Expire>>,
    pub(crate) call: Box<dyn FnOnce() + Send>,
}

impl RequestWork {
    fn is_wanted(&self) -> bool {
        self.asker.as_ref().is_none_or(|asker| !asker.is_over())
    }
}

#[derive(Clone, Default)]
pub(crate) struct Threads(Arc<ThreadPool>);

#[derive(Default)]
struct ThreadPool {
    queues: Mutex<WorkQueues>,
    more: Condvar,
}

#[derive(Default)]
struct WorkQueues {
    /// Work that the next free thread takes.
    ready: VecDeque<RequestWork>,
    places: HashMap<Place, Busy>,
    threads: usize,
    /// Threads that wait for work, or are about to look for their first.
    idle: usize,
}

/// A place that is worked at.
#[derive(Default)]
struct Busy {
    /// Work that is under way or ready.
    active: usize,
    waiting: VecDeque<RequestWork>,
}

impl WorkQueues {
    /// Returns true if it is ready to be done.
    fn add(&mut self, work: RequestWork) -> bool {
        let busy = self.places.entry(work.place).or_default();
        if busy.active >= MAX_PER_PLACE && work.place != Place::Anywhere {
            busy.waiting.push_back(work);
            return false;
        }
        busy.active += 1;
        self.ready.push_back(work);
        true
    }

    /// Work of this place is over: the next follows.
    fn done(&mut self, place: Place) {
        let Some(busy) = self.places.get_mut(&place) else { return };
        match busy.waiting.pop_front() {
            Some(next) => self.ready.push_back(next),
            None if busy.active > 1 => busy.active -= 1,
            None => drop(self.places.remove(&place)),
        }
    }

    /// Takes out the work that nobody waits for any more.
    fn unwanted(&mut self) -> Vec<RequestWork> {
        let mut unwanted = Vec::new();
        let mut take = |all: &mut VecDeque<RequestWork>| {
            let (wanted, other): (VecDeque<_>, VecDeque<_>) = all.drain(..).partition(RequestWork::is_wanted);
            *all = wanted;
            let places: Vec<Place> = other.iter().map(|work| work.place).collect();
            unwanted.extend(other);
            places
        };
        self.places.values_mut().for_each(|busy| drop(take(&mut busy.waiting)));
        take(&mut self.ready).into_iter().for_each(|place| self.done(place));
        unwanted
    }
}

impl Threads {
    pub(crate) fn run(&self, work: RequestWork) {
        let mut queues = self.0.queues.lock();
        if queues.add(work) {
            self.provide(&mut queues);
        }
    }

    /// Has a thread take what is ready.
    fn provide(&self, queues: &mut WorkQueues) {
        if queues.ready.len() <= queues.idle {
            self.0.more.notify_one();
        } else if queues.threads < MAX_THREADS {
            let shared = self.0.clone();
            let thread = thread::Builder::new().name("request".into()).stack_size(STACK);
            match thread.spawn(move || shared.work()) {
                Ok(_) => (queues.threads, queues.idle) = (queues.threads + 1, queues.idle + 1),
                // It waits for one of the others, at most until its time is up.
                Err(error) => log::error!("no thread for a request: {error}"),
            }
        }
    }

    /// Drops the work that nobody waits for any more.
    pub(crate) fn forget_unwanted(&self) {
        let unwanted = {
            let mut queues = self.0.queues.lock();
            let unwanted = queues.unwanted();
            if !queues.ready.is_empty() {
                self.provide(&mut queues);
            }
            unwanted
        };
        drop(unwanted);
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.0.queues.lock().threads
    }
}

impl ThreadPool {
    fn work(&self) {
        let mut queues = self.queues.lock();
        loop {
            let Some(work) = queues.ready.pop_front() else {
                let timed_out = self.more.wait_for(&mut queues, IDLE).timed_out();
                if timed_out && queues.ready.is_empty() {
                    (queues.threads, queues.idle) = (queues.threads - 1, queues.idle - 1);
                    return;
                }
                continue;
            };
            queues.idle -= 1;
            let place = work.place;
            drop(queues);
            // The work contains its own panics.
            (work.call)();
            queues = self.queues.lock();
            queues.done(place);
            queues.idle += 1;
        }
    }
}
