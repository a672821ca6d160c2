//! No request waits for ever, and a slow one does not keep others waiting.
//!
//! Requests are answered by the event loop that received them, which is fastest. The last event loop that is not busy
//! answers only what takes nothing but memory, and hands the rest over to threads: so there is always one left to
//! receive. A request that has had no answer for [`LIMIT`] (the store hangs, say) is answered with ETIMEDOUT from here.
//! Work that has begun goes on for as long as the store keeps it; work that has not begun is dropped.
//!
//! An answer is final. What changes something takes a permit ([`crate::io::Permit`]) just before the change counts;
//! once time is up there is none.

use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::error::{Error, Kind};
use crate::io::{Background, Cancel, Next, Permit, with_permit};
use crate::tree::{Needs, Place, no_answer};

mod threads;

use threads::{RequestWork, Threads};

/// How long a request may take.
const LIMIT: Duration = Duration::from_secs(30);
/// The limit for files of which an earlier request has used up its time and still hangs. The kernel asks again for what
/// it read ahead in vain, so that a program would wait twice.
const LIMIT_WHILE_HANGING: Duration = Duration::from_secs(5);
/// The limit once the mount is to end: programs that wait for the store keep it in use.
const LIMIT_AT_THE_END: Duration = Duration::from_secs(1);
/// A stand-in answers after this long.
const GRACE: Duration = Duration::from_millis(500);
/// Time between looks for overdue requests.
const TICK: Duration = Duration::from_millis(250);

/// A reply that can be an error.
pub(crate) trait Answer: Send + 'static {
    fn fail(self, error: &Error);
}

/// What is done when time is up.
type Late = Box<dyn FnOnce() + Send>;
/// Answers from memory.
type StandIn<R> = Box<dyn FnOnce(R) + Send>;

/// A reply that is sent once: by the work, or when its time is up.
pub(crate) struct Pending<R> {
    reply: Mutex<Option<R>>,
    stand_in: Mutex<Option<StandIn<R>>>,
    /// Of a request that changes something: its permit, and what is done when time is up.
    change: Option<(Arc<Permit>, Mutex<Option<Late>>)>,
}

impl<R> Pending<R> {
    fn new(reply: R) -> Pending<R> {
        Pending { reply: Mutex::new(Some(reply)), stand_in: Mutex::new(None), change: None }
    }

    /// Adds to the reply; `None` if time was up before.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut R) -> T) -> Option<T> {
        self.reply.lock().as_mut().map(change)
    }

    /// Sends the answer; false if time was up before.
    pub(crate) fn send(&self, answer: impl FnOnce(R)) -> bool {
        let reply = self.reply.lock().take();
        reply.map(answer).is_some()
    }
}

/// A request that waits for its answer, whatever its reply.
pub(crate) trait Expire: Send + Sync {
    /// Answers that time is up. A change that has begun has as much time again; `is_long` says that this is up too.
    fn expire(&self, is_long: bool);

    /// Answers from memory, if it can.
    fn stand_in(&self);

    fn is_over(&self) -> bool;
}

impl<R: Answer> Expire for Pending<R> {
    fn expire(&self, is_long: bool) {
        let mut error = no_answer();
        if let Some((permit, late)) = self.change.as_ref().filter(|_| !self.is_over()) {
            if permit.revoke() {
                // Requests that follow the answer must not take up anything of this one.
                late.lock().take().into_iter().for_each(|late| late());
            } else if is_long {
                error = Error::new(Kind::Os(libc::EINPROGRESS), "it has been begun, and is not done yet");
            } else {
                return;
            }
        }
        self.send(|reply| reply.fail(&error));
    }

    fn stand_in(&self) {
        let stand_in = self.stand_in.lock().take();
        if let Some(answer) = stand_in {
            self.send(answer);
        }
    }

    fn is_over(&self) -> bool {
        self.reply.lock().is_none()
    }
}

/// Runs the work of requests. Clones share everything.
#[derive(Clone)]
pub(crate) struct Deadline {
    requests: Arc<Requests>,
    _watch: Option<Arc<Background>>,
}

struct Running {
    since: Instant,
    place: Place,
    asker: Weak<dyn Expire>,
}

#[derive(Default)]
struct Requests {
    /// Number of event loops.
    loops: usize,
    /// Those that run work now: never all of them.
    busy: AtomicUsize,
    threads: Threads,
    next: AtomicU64,
    running: Mutex<HashMap<u64, Running>>,
    ends: AtomicBool,
}

/// A running request, until it is dropped.
struct Entered(Arc<Requests>, u64);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.running.lock().remove(&self.1);
    }
}

/// A busy event loop, until it is dropped.
struct Slot<'a>(&'a AtomicUsize);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Deadline {
    /// `loops` is the number of event loops.
    pub(crate) fn start(loops: usize) -> Deadline {
        let requests = Arc::new(Requests { loops, ..Requests::default() });
        let watched = requests.clone();
        let watch = Background::start("deadline", Next::After(TICK), move |_: &Cancel| {
            watched.check_running();
            Next::After(TICK)
        });
        let watch = watch.inspect_err(|error| log::warn!("requests have no time limit: {error}"));
        Deadline { requests, _watch: watch.ok().map(Arc::new) }
    }

    /// Says whether the mount is to end: requests then have little time.
    pub(crate) fn hurry(&self, ends: bool) {
        self.requests.ends.store(ends, Ordering::Relaxed);
    }

    /// Calls `work`, which takes nothing but memory, with a reply.
    ///
    /// A panic fails this request alone: the reply that is dropped then says EIO.
    pub(crate) fn now<R: Answer>(&self, reply: R, work: impl FnOnce(&Pending<R>)) {
        contained(|| work(&Pending::new(reply)));
    }

    /// Calls `work`, here or in another thread, with a reply that fails if it takes too long. `needs` is asked when
    /// there is only one event loop left.
    pub(crate) fn run<R: Answer>(
        &self,
        reply: R,
        needs: impl FnOnce() -> Needs,
        work: impl FnOnce(&Pending<R>) + Send + 'static,
    ) {
        match self.requests.slot() {
            Some(slot) => self.enter(Pending::new(reply), Place::Anywhere, Some(slot), work),
            None => match needs() {
                Needs::Memory => self.now(reply, work),
                Needs::Store(place) => self.enter(Pending::new(reply), place, None, work),
            },
        }
    }

    /// The same where it is known already what the work takes.
    pub(crate) fn run_at<R: Answer>(
        &self,
        reply: R,
        needs: Needs,
        work: impl FnOnce(&Pending<R>) + Send + 'static,
    ) {
        match needs {
            Needs::Memory => self.now(reply, work),
            Needs::Store(place) => self.enter(Pending::new(reply), place, self.requests.slot(), work),
        }
    }

    /// The same, but `stand_in` answers from memory if there is no answer after [`GRACE`].
    pub(crate) fn run_or<R: Answer>(
        &self,
        reply: R,
        needs: Needs,
        stand_in: impl FnOnce(R) + Send + 'static,
        work: impl FnOnce(&Pending<R>) + Send + 'static,
    ) {
        match needs {
            Needs::Memory => self.now(reply, work),
            Needs::Store(place) => {
                let pending =
                    Pending { stand_in: Mutex::new(Some(Box::new(stand_in))), ..Pending::new(reply) };
                self.enter(pending, place, self.requests.slot(), work);
            }
        }
    }

    /// The same for work that changes something: it is done, or time is up, but never both. `late` is called before
    /// whoever asked is told that time is up.
    pub(crate) fn change<R: Answer>(
        &self,
        reply: R,
        late: impl FnOnce() + Send + 'static,
        work: impl FnOnce(&Pending<R>) + Send + 'static,
    ) {
        let permit = Arc::new(Permit::default());
        let change = Some((permit.clone(), Mutex::new(Some(Box::new(late) as Late))));
        let pending = Pending { change, ..Pending::new(reply) };
        let work = |pending: &Pending<R>| with_permit(Some(permit), || work(pending));
        self.enter(pending, Place::Changes, self.requests.slot(), work);
    }

    /// Calls `work`, here or in another thread, for nobody who would wait.
    pub(crate) fn spawn(&self, needs: Needs, work: impl FnOnce() + Send + 'static) {
        match (needs, self.requests.slot()) {
            (Needs::Memory, _) | (_, Some(_)) => contained(work),
            (Needs::Store(place), None) => {
                let call = Box::new(|| contained(work));
                self.requests.threads.run(RequestWork { place, asker: None, call });
            }
        }
    }

    fn enter<R: Answer>(
        &self,
        pending: Pending<R>,
        place: Place,
        slot: Option<Slot<'_>>,
        work: impl FnOnce(&Pending<R>) + Send + 'static,
    ) {
        let pending = Arc::new(pending);
        let entered = self.requests.enter(&pending, place);
        if let Some(_slot) = slot {
            contained(|| work(&pending));
            return drop(entered);
        }
        let asker: Arc<dyn Expire> = pending.clone();
        let call = Box::new(move || {
            let _entered = entered;
            if !pending.is_over() {
                contained(|| work(&pending));
            }
        });
        self.requests.threads.run(RequestWork { place, asker: Some(asker), call });
    }
}

fn contained(work: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        log::error!("a request failed with a panic (see above); the mount goes on");
    }
}

impl Requests {
    /// Makes an event loop busy, unless it is the last one that is not.
    fn slot(&self) -> Option<Slot<'_>> {
        let before = self.busy.fetch_add(1, Ordering::Relaxed);
        let slot = Slot(&self.busy);
        (before + 1 < self.loops).then_some(slot)
    }

    fn enter<R: Answer>(self: &Arc<Self>, pending: &Arc<Pending<R>>, place: Place) -> Entered {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let asker: Weak<dyn Expire> = Arc::downgrade(&(pending.clone() as Arc<dyn Expire>));
        self.running.lock().insert(id, Running { since: Instant::now(), place, asker });
        Entered(self.clone(), id)
    }

    /// Answers for requests that take long.
    fn check_running(&self) {
        let ends = self.ends.load(Ordering::Relaxed);
        let mut slow = Vec::new();
        let mut overdue = Vec::new();
        {
            let running = self.running.lock();
            let has_had_its_time = |running: &&Running| running.since.elapsed() >= LIMIT;
            let hanging: HashSet<Place> =
                running.values().filter(has_had_its_time).map(|running| running.place).collect();
            for Running { since, place, asker } in running.values() {
                let limit = match place {
                    _ if ends => LIMIT_AT_THE_END,
                    Place::Files(_) if hanging.contains(place) => LIMIT_WHILE_HANGING,
                    _ => LIMIT,
                };
                let age = since.elapsed();
                if age >= limit {
                    overdue.push((asker.clone(), age >= 2 * limit));
                } else if age >= GRACE {
                    slow.push(asker.clone());
                }
            }
        }
        slow.iter().filter_map(Weak::upgrade).for_each(|asker| asker.stand_in());
        for (asker, is_long) in overdue {
            if let Some(asker) = asker.upgrade() {
                asker.expire(is_long);
            }
        }
        self.threads.forget_unwanted();
    }
}

#[cfg(test)]
mod tests;
