//! Noticing that a location has changed: as soon as that is announced, or by polling.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::io::{Background, Cancel, Next, Task, Waker};

/// Changes that come in quick succession are reported once. Together with a scan this has to stay below a second.
const SETTLE: Duration = Duration::from_millis(100);
/// While changes go on, as when a part is being written, they are reported this often at most.
const AT_MOST_EVERY: Duration = Duration::from_millis(250);
/// A call that takes long is followed by a rest of this many times as long, so that it takes about a tenth of the time.
const REST_FACTOR: u32 = 10;
/// But the rest is no longer than this, so that a change is not reported too late.
const LONGEST_REST: Duration = Duration::from_millis(700);

/// Calls back until it is dropped.
pub struct Watch {
    _thread: Background,
    announcer: Announcer,
    polls: bool,
    _announces: Option<Box<dyn Send>>,
}

/// Tells that something has changed.
#[derive(Clone, Default)]
pub struct Announcer {
    woken: Arc<AtomicBool>,
    waker: Arc<OnceLock<Waker>>,
}

impl Announcer {
    pub(crate) fn announce(&self) {
        self.woken.store(true, Ordering::Relaxed);
        self.waker.get().inspect(|waker| waker.wake());
    }
}

impl Watch {
    /// Calls `changed` soon after a change was announced. `announces` has changes announced for as long as what it
    /// returns lives; if it returns `None`, `changed` is called every `poll`.
    pub fn start(
        poll: Duration,
        announces: impl FnOnce(Announcer) -> Option<Box<dyn Send>>,
        changed: Box<dyn FnMut() + Send>,
    ) -> Result<Watch> {
        let announcer = Announcer::default();
        let announces = announces(announcer.clone());
        let polls = announces.is_none();
        let task = WatchTask {
            woken: announcer.woken.clone(),
            poll: polls.then_some(poll),
            told: None,
            took: Duration::ZERO,
            is_telling: false,
            changed,
        };
        let thread = Background::start("watch", task.next(), task)?;
        let _ = announcer.waker.set(thread.waker());
        // Something may have been announced before there was a thread.
        thread.waker().wake();
        Ok(Watch { _thread: thread, announcer, polls, _announces: announces })
    }

    /// Returns true if nothing announces changes.
    pub fn polls(&self) -> bool {
        self.polls
    }

    /// Has `changed` called as if a change had been announced.
    pub fn trigger(&self) {
        self.announcer.announce();
    }
}

/// The thread that calls back.
struct WatchTask {
    /// True if something has changed that was not reported yet.
    woken: Arc<AtomicBool>,
    /// How often `changed` is called, where nothing announces changes.
    poll: Option<Duration>,
    told: Option<Instant>,
    /// How long the last call took.
    took: Duration,
    /// True during a call, and after one that ended with a panic.
    is_telling: bool,
    changed: Box<dyn FnMut() + Send>,
}

impl WatchTask {
    fn next(&self) -> Next {
        self.poll.map_or(Next::WhenWoken, Next::After)
    }
}

impl Task for WatchTask {
    fn step(&mut self, stop: &Cancel) -> Next {
        if self.poll.is_none() && !self.is_telling && !self.woken.load(Ordering::Relaxed) {
            return self.next();
        }
        if self.woken.load(Ordering::Relaxed) {
            let rest = AT_MOST_EVERY.max(self.took * REST_FACTOR).min(LONGEST_REST);
            let since = self.told.map_or(rest, |told| told.elapsed());
            thread::sleep(SETTLE.max(rest.saturating_sub(since)));
        }
        if !stop.is_cancelled() {
            // A change that comes from now on is reported by the next call.
            self.woken.store(false, Ordering::Relaxed);
            (self.is_telling, self.told) = (true, Some(Instant::now()));
            (self.changed)();
            (self.is_telling, self.took) = (false, self.told.map_or(Duration::ZERO, |told| told.elapsed()));
        }
        self.next()
    }
}
