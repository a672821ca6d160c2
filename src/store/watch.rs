//! Telling that a location has changed: as soon as it says so, or by looking now and then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::io::{Background, Cancel, Next, Task, Waker};

/// Changes that come in quick succession are told once. Together with a scan this has to stay below a second.
const SETTLE: Duration = Duration::from_millis(100);
/// While changes go on, as when a part is being written, they are told this often.
const AT_MOST_EVERY: Duration = Duration::from_millis(250);
/// Where it takes long to look at everything, it is looked at for a tenth of the time at most, but for changes that would be
/// told too late.
const SHARE: u32 = 10;
const RARELY: Duration = Duration::from_millis(700);

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
    /// Calls `changed` soon after a change was announced. `announces` has something announce changes for as long as what it
    /// returns lives; where it returns `None`, `changed` is called every `poll`.
    pub fn start(
        poll: Duration,
        announces: impl FnOnce(Announcer) -> Option<Box<dyn Send>>,
        changed: Box<dyn FnMut() + Send>,
    ) -> Result<Watch> {
        let announcer = Announcer::default();
        let announces = announces(announcer.clone());
        let polls = announces.is_none();
        let task = Watching {
            woken: announcer.woken.clone(),
            poll: polls.then_some(poll),
            told: None,
            took: Duration::ZERO,
            is_telling: false,
            changed,
        };
        let thread = Background::start("watch", task.next(), task)?;
        let _ = announcer.waker.set(thread.waker());
        // What was announced before there was a thread.
        thread.waker().wake();
        Ok(Watch { _thread: thread, announcer, polls, _announces: announces })
    }

    /// Returns true if nothing announces changes.
    pub fn polls(&self) -> bool {
        self.polls
    }

    /// Has the location looked at now.
    pub fn trigger(&self) {
        self.announcer.announce();
    }
}

/// The thread that calls back.
struct Watching {
    /// Something has changed that was not told.
    woken: Arc<AtomicBool>,
    /// How often it is looked at, where nobody announces changes.
    poll: Option<Duration>,
    told: Option<Instant>,
    /// How long whoever was told took.
    took: Duration,
    /// True after a call that ended with a panic.
    is_telling: bool,
    changed: Box<dyn FnMut() + Send>,
}

impl Watching {
    fn next(&self) -> Next {
        self.poll.map_or(Next::WhenWoken, Next::After)
    }
}

impl Task for Watching {
    fn step(&mut self, stop: &Cancel) -> Next {
        if self.poll.is_none() && !self.is_telling && !self.woken.load(Ordering::Relaxed) {
            return self.next();
        }
        if self.woken.load(Ordering::Relaxed) {
            let rest = AT_MOST_EVERY.max(self.took * SHARE).min(RARELY);
            let since = self.told.map_or(rest, |told| told.elapsed());
            thread::sleep(SETTLE.max(rest.saturating_sub(since)));
        }
        if !stop.is_cancelled() {
            // What comes from now on is told by the next call.
            self.woken.store(false, Ordering::Relaxed);
            (self.is_telling, self.told) = (true, Some(Instant::now()));
            (self.changed)();
            (self.is_telling, self.took) = (false, self.told.map_or(Duration::ZERO, |told| told.elapsed()));
        }
        self.next()
    }
}
