//! No request waits for ever, and a slow one does not keep others waiting.
//!
//! Requests are answered by the event loop that received them, which is fastest. The last event loop that is not busy
//! answers only what takes nothing but memory, and hands the rest over to threads: so there is always one left to receive. A
//! request that has had no answer for [`LIMIT`] (the store hangs, say) is answered with ETIMEDOUT from here; its thread ends
//! whenever the store lets it, and one that has not begun never does.
//!
//! An answer is final. What changes something takes a permit ([`crate::io::Permit`]) just before the change counts; once
//! time is up there is none.

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

use threads::{Job, Threads};

/// How long a request may take.
const LIMIT: Duration = Duration::from_secs(30);
/// The limit for files of which an earlier read has had its time and is still not done. The kernel asks again for what it read ahead in
/// vain, so that a program would wait twice.
const LIMIT_WHILE_HANGING: Duration = Duration::from_secs(5);
/// The same when the mount is to end: programs that wait for the store keep it in use.
const LIMIT_AT_THE_END: Duration = Duration::from_secs(1);
/// After this long, what is known stands in for what is asked.
const GRACE: Duration = Duration::from_millis(500);
/// Time between looks for requests that are late.
const TICK: Duration = Duration::from_millis(250);

/// A reply that can be an error.
pub(crate) trait Answer: Send + 'static {
    fn fail(self, error: &Error);
}

/// What is done when time is up.
type Late = Box<dyn FnOnce() + Send>;
/// What answers from what is known.
type StandIn<R> = Box<dyn FnOnce(R) + Send>;

/// A reply that is sent once: by the work, or when its time is up.
pub(crate) struct Pending<R> {
    reply: Mutex<Option<R>>,
    stand_in: Mutex<Option<StandIn<R>>>,
    /// Of what changes something.
    change: Option<(Arc<Permit>, Mutex<Option<Late>>)>,
}

impl<R> Pending<R> {
    fn new(reply: R) -> Pending<R> {
        Pending { reply: Mutex::new(Some(reply)), stand_in: Mutex::new(None), change: None }
    }

    /// Adds to the answer; `None` if time was up before.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut R) -> T) -> Option<T> {
        self.reply.lock().as_mut().map(change)
    }

    /// Sends the answer; false if time was up before.
    pub(crate) fn send(&self, answer: impl FnOnce(R)) -> bool {
        let reply = self.reply.lock().take();
        reply.map(answer).is_some()
    }
}

/// A request, whatever it is for.
pub(crate) trait Expire: Send + Sync {
    /// Answers that time is up. What is being done already has as much time again.
    fn expire(&self, is_long: bool);

    /// Answers from what is known, if it can.
    fn stand_in(&self);

    fn is_over(&self) -> bool;
}

impl<R: Answer> Expire for Pending<R> {
    fn expire(&self, is_long: bool) {
        let mut error = no_answer();
        if let Some((permit, late)) = self.change.as_ref().filter(|_| !self.is_over()) {
            if permit.revoke() {
                // Nothing of it may be taken up by what follows the answer.
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

/// Runs the work of requests. Its clones are the same.
#[derive(Clone)]
pub(crate) struct Deadline {
    shared: Arc<Shared>,
    _watch: Option<Arc<Background>>,
}

struct Running {
    since: Instant,
    place: Place,
    asker: Weak<dyn Expire>,
}

#[derive(Default)]
struct Shared {
    /// Event loops that may be busy at the same time.
    loops: usize,
    busy: AtomicUsize,
    threads: Threads,
    next: AtomicU64,
    running: Mutex<HashMap<u64, Running>>,
    ends: AtomicBool,
}

/// Takes a request out of those that are running.
struct Entered(Arc<Shared>, u64);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.running.lock().remove(&self.1);
    }
}

/// An event loop that is busy.
struct Slot<'a>(&'a AtomicUsize);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Deadline {
    /// `loops` is the number of event loops.
    pub(crate) fn start(loops: usize) -> Deadline {
        let shared = Arc::new(Shared { loops, ..Shared::default() });
        let watched = shared.clone();
        let watch = Background::start("deadline", Next::After(TICK), move |_: &Cancel| {
            watched.look();
            Next::After(TICK)
        });
        let watch = watch.inspect_err(|error| log::warn!("requests have no time limit: {error}"));
        Deadline { shared, _watch: watch.ok().map(Arc::new) }
    }

    /// Says whether the mount is to end: then nobody waits for long.
    pub(crate) fn hurry(&self, ends: bool) {
        self.shared.ends.store(ends, Ordering::Relaxed);
    }

    /// Calls `work`, which takes nothing but memory, with a reply.
    ///
    /// A panic fails this request alone: the reply that is dropped then says EIO.
    pub(crate) fn now<R: Answer>(&self, reply: R, work: impl FnOnce(&Pending<R>)) {
        contained(|| work(&Pending::new(reply)));
    }

    /// Calls `work`, here or in another thread, with a reply that fails if it takes too long. `needs` is asked when there
    /// is only one event loop left.
    pub(crate) fn run<R: Answer>(
        &self,
        reply: R,
        needs: impl FnOnce() -> Needs,
        work: impl FnOnce(&Pending<R>) + Send + 'static,
    ) {
        match self.shared.slot() {
            Some(slot) => self.enter(Pending::new(reply), Place::Anywhere, Some(slot), work),
            None => match needs() {
                Needs::Memory => self.now(reply, work),
                Needs::Store(place) => self.enter(Pending::new(reply), place, None, work),
            },
        }
    }

    /// The same where it is known what it takes.
    pub(crate) fn run_at<R: Answer>(
        &self,
        reply: R,
        needs: Needs,
        work: impl FnOnce(&Pending<R>) + Send + 'static,
    ) {
        match needs {
            Needs::Memory => self.now(reply, work),
            Needs::Store(place) => self.enter(Pending::new(reply), place, self.shared.slot(), work),
        }
    }

    /// The same for what is answered from what is known, by `stand_in`, should there be no answer in a moment.
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
                self.enter(pending, place, self.shared.slot(), work);
            }
        }
    }

    /// The same for work that changes something: it is done, or time is up, but never both. `late` is called before whoever
    /// asked is told that time is up.
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
        self.enter(pending, Place::Changes, self.shared.slot(), work);
    }

    /// Calls `work`, here or in another thread, for nobody who would wait.
    pub(crate) fn spawn(&self, needs: Needs, work: impl FnOnce() + Send + 'static) {
        match (needs, self.shared.slot()) {
            (Needs::Memory, _) | (_, Some(_)) => contained(work),
            (Needs::Store(place), None) => {
                let work = Box::new(|| contained(work));
                self.shared.threads.run(Job { place, asker: None, work });
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
        let entered = self.shared.enter(&pending, place);
        if let Some(_slot) = slot {
            contained(|| work(&pending));
            return drop(entered);
        }
        let asker: Arc<dyn Expire> = pending.clone();
        let work = Box::new(move || {
            let _entered = entered;
            if !pending.is_over() {
                contained(|| work(&pending));
            }
        });
        self.shared.threads.run(Job { place, asker: Some(asker), work });
    }
}

fn contained(work: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        log::error!("a request failed with a panic (see above); the mount goes on");
    }
}

impl Shared {
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

    /// Sees to what takes long.
    fn look(&self) {
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
