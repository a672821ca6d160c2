//! No request waits for ever, and a slow one does not keep others waiting.
//!
//! Requests are answered by the event loop that received them, which is fastest. Should nearly all event loops be
//! busy, the next request gets a thread of its own, so that there is always one left to receive. A request that has
//! had no answer for [`LIMIT`] (the store hangs, say) is answered with ETIMEDOUT from here; its thread ends whenever
//! the store lets it.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Kind};

/// How long a request may take.
const LIMIT: Duration = Duration::from_secs(30);
/// The same, while one that has had its time is still not done: the store hangs. The kernel asks again for what it
/// read ahead in vain, so that a program would wait twice.
const LIMIT_WHILE_HANGING: Duration = Duration::from_secs(5);
/// How often is looked for requests that take longer.
const TICK: Duration = Duration::from_secs(1);
/// Threads for requests that find the event loops busy; beyond that a request waits in its event loop.
const MAX_EXTRA: usize = 256;

/// A reply that can be an error.
pub trait Answer: Send + 'static {
    fn fail(self, error: &Error);
}

/// A reply that is sent once: by the work, or when its time is up.
pub struct Pending<R> {
    reply: Mutex<Option<R>>,
}

impl<R> Pending<R> {
    /// Adds to the answer; `None` if time was up before.
    pub fn with<T>(&self, change: impl FnOnce(&mut R) -> T) -> Option<T> {
        self.reply.lock().as_mut().map(change)
    }

    /// Sends the answer, unless time was up before.
    pub fn send(&self, answer: impl FnOnce(R)) {
        let reply = self.reply.lock().take();
        if let Some(reply) = reply {
            answer(reply);
        }
    }
}

trait Expire: Send + Sync {
    fn expire(&self);
}

impl<R: Answer> Expire for Pending<R> {
    fn expire(&self) {
        self.send(|reply| reply.fail(&Error::new(Kind::TimedOut, "no answer from the store")));
    }
}

/// Runs the work of requests.
pub struct Deadline {
    shared: Arc<Shared>,
    /// Event loops that may be busy at the same time.
    loops: usize,
}

type Running = (Instant, Weak<dyn Expire>);

#[derive(Default)]
struct Shared {
    next: AtomicU64,
    /// Since when each runs.
    running: Mutex<HashMap<u64, Running>>,
    inline: AtomicUsize,
    extra: AtomicUsize,
}

impl Deadline {
    /// `loops` is the number of event loops.
    pub fn start(loops: usize) -> Deadline {
        let shared = Arc::new(Shared::default());
        let watched = Arc::downgrade(&shared);
        let started = thread::Builder::new().name("deadline".into()).spawn(move || {
            while let Some(shared) = watched.upgrade() {
                shared.expire();
                drop(shared);
                thread::sleep(TICK);
            }
        });
        if let Err(error) = started {
            log::warn!("requests have no time limit: {error}");
        }
        Deadline { shared, loops }
    }

    /// Calls `work`, here or in another thread, with a reply that fails if it takes too long.
    ///
    /// A panic fails this request alone: the reply that is dropped then says EIO.
    pub fn run<R: Answer>(&self, reply: R, work: impl FnOnce(&Pending<R>) + Send + 'static) {
        let pending = Arc::new(Pending { reply: Mutex::new(Some(reply)) });
        let shared = self.shared.clone();
        let id = shared.enter(&pending);
        let task = move |shared: &Shared| {
            if catch_unwind(AssertUnwindSafe(|| work(&pending))).is_err() {
                log::error!("a request failed with a panic (see above); the mount goes on");
            }
            shared.leave(id);
        };
        let busy = shared.inline.fetch_add(1, Ordering::Relaxed);
        if busy + 1 < self.loops || shared.extra.load(Ordering::Relaxed) >= MAX_EXTRA {
            task(&shared);
            shared.inline.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        shared.inline.fetch_sub(1, Ordering::Relaxed);
        shared.extra.fetch_add(1, Ordering::Relaxed);
        let in_thread = self.shared.clone();
        let spawned = thread::Builder::new().name("request".into()).spawn(move || {
            task(&in_thread);
            in_thread.extra.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(error) = spawned {
            // The closure is gone, and with it the reply, which says EIO.
            shared.extra.fetch_sub(1, Ordering::Relaxed);
            shared.leave(id);
            log::error!("no thread for a request: {error}");
        }
    }
}

impl Shared {
    fn enter<R: Answer>(&self, pending: &Arc<Pending<R>>) -> u64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let weak: Weak<dyn Expire> = Arc::downgrade(&(pending.clone() as Arc<dyn Expire>));
        self.running.lock().insert(id, (Instant::now(), weak));
        id
    }

    fn leave(&self, id: u64) {
        self.running.lock().remove(&id);
    }

    fn expire(&self) {
        let overdue: Vec<Weak<dyn Expire>> = {
            let running = self.running.lock();
            let hangs = running.values().any(|(since, _)| since.elapsed() >= LIMIT);
            let limit = if hangs { LIMIT_WHILE_HANGING } else { LIMIT };
            let old = running.values().filter(|(since, _)| since.elapsed() >= limit);
            old.map(|(_, pending)| pending.clone()).collect()
        };
        for pending in overdue.iter().filter_map(Weak::upgrade) {
            pending.expire();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    struct Probe(Sender<Option<i32>>);

    impl Answer for Probe {
        fn fail(self, error: &Error) {
            self.0.send(Some(error.errno())).unwrap();
        }
    }

    #[test]
    fn an_overdue_request_is_answered_once() {
        let (sender, receiver) = channel();
        let shared = Shared::default();
        let pending = Arc::new(Pending { reply: Mutex::new(Some(Probe(sender))) });
        let id = shared.enter(&pending);
        shared.expire();
        assert!(receiver.try_recv().is_err(), "its time is not up");
        shared.running.lock().get_mut(&id).unwrap().0 -= LIMIT;
        shared.expire();
        assert_eq!(receiver.recv().unwrap(), Some(libc::ETIMEDOUT));
        pending.send(|probe| probe.0.send(None).unwrap());
        assert!(receiver.try_recv().is_err(), "one answer is all there is");
    }

    #[test]
    fn while_the_store_hangs_nobody_waits_as_long_again() {
        let (sender, receiver) = channel();
        let shared = Shared::default();
        let pending = [0, 1, 2].map(|_| Arc::new(Pending { reply: Mutex::new(Some(Probe(sender.clone()))) }));
        let ids = pending.each_ref().map(|pending| shared.enter(pending));
        let age = |id, by| shared.running.lock().get_mut(id).unwrap().0 -= by;
        age(&ids[0], LIMIT - TICK);
        age(&ids[1], LIMIT_WHILE_HANGING);
        shared.expire();
        assert!(receiver.try_recv().is_err(), "nothing hangs yet");
        age(&ids[0], TICK);
        shared.expire();
        assert_eq!([(); 2].map(|()| receiver.recv().unwrap()), [Some(libc::ETIMEDOUT); 2]);
        assert!(receiver.try_recv().is_err(), "the third has just begun");
        shared.leave(ids[0]);
        age(&ids[2], LIMIT_WHILE_HANGING);
        shared.expire();
        assert!(receiver.try_recv().is_err(), "it goes on");
    }

    #[test]
    fn slow_requests_leave_an_event_loop_free() {
        let deadline = Deadline::start(2);
        let (sender, receiver) = channel();
        let (hold, held) = channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let started = Instant::now();
        let first = deadline.shared.clone();
        // One event loop is busy; the next request must not run in the calling thread.
        first.inline.fetch_add(1, Ordering::Relaxed);
        let wait = held.clone();
        deadline.run(Probe(sender.clone()), move |reply| {
            let _ = wait.lock().recv();
            reply.send(|probe| probe.0.send(None).unwrap());
        });
        assert!(started.elapsed() < Duration::from_secs(5));
        hold.send(()).unwrap();
        assert_eq!(receiver.recv().unwrap(), None);
    }

    #[test]
    fn a_panic_fails_one_request() {
        let deadline = Deadline::start(4);
        let (sender, receiver) = channel();
        deadline.run(Probe(sender.clone()), |_| panic!("deliberate"));
        deadline.run(Probe(sender), |reply| reply.send(|probe| probe.0.send(None).unwrap()));
        assert_eq!(receiver.recv().unwrap(), None);
    }
}
