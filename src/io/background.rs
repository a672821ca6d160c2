//! Background threads. A panic in one is logged and does not end it, and the process can end whatever its threads wait
//! for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::Cancel;
use crate::error::Result;

/// How long to wait for a thread that was told to end; after that it is left to itself.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a thread rests after a panic.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// When the next step is due. Waking the thread makes it due at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    After(Duration),
    WhenWoken,
}

impl Next {
    pub(crate) const NOW: Next = Next::After(Duration::ZERO);
}

/// Work that is done step by step.
pub trait Task: Send + 'static {
    /// `stop` is raised when the thread is to end; a long step looks at it.
    fn step(&mut self, stop: &Cancel) -> Next;

    /// Called once after the last step.
    fn end(&mut self) {}
}

impl<F: FnMut(&Cancel) -> Next + Send + 'static> Task for F {
    fn step(&mut self, stop: &Cancel) -> Next {
        self(stop)
    }
}

/// A thread that does a task until this is dropped.
pub struct Background {
    waker: Waker,
    stop: Cancel,
}

/// Makes the next step of a thread due at once. Its clones wake the same thread.
#[derive(Clone, Default)]
pub struct Waker(Arc<Signals>);

#[derive(Default)]
struct Signals {
    flags: Mutex<Flags>,
    changed: Condvar,
}

#[derive(Default)]
struct Flags {
    is_woken: bool,
    has_ended: bool,
}

impl Waker {
    pub(crate) fn wake(&self) {
        self.0.flags.lock().is_woken = true;
        self.0.changed.notify_all();
    }

    /// Waits until the next step is due; returns false if the thread is to end.
    fn wait(&self, next: Next, stop: &Cancel) -> bool {
        let until = match next {
            // A time that is too far away for an `Instant` never comes.
            Next::After(time) => Instant::now().checked_add(time),
            Next::WhenWoken => None,
        };
        let mut flags = self.0.flags.lock();
        while !flags.is_woken && !stop.is_cancelled() {
            match until {
                Some(until) if Instant::now() >= until => break,
                Some(until) => drop(self.0.changed.wait_until(&mut flags, until)),
                None => self.0.changed.wait(&mut flags),
            }
        }
        flags.is_woken = false;
        !stop.is_cancelled()
    }
}

impl Background {
    /// Starts a thread whose first step is due as `first` says.
    pub(crate) fn start(name: &str, first: Next, task: impl Task) -> Result<Background> {
        let (waker, stop) = (Waker::default(), Cancel::new());
        let thread = Thread { name: name.into(), waker: waker.clone(), stop: stop.clone(), task };
        thread::Builder::new().name(name.into()).spawn(move || thread.run(first))?;
        Ok(Background { waker, stop })
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Tells the thread to end, without waiting for it.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
        self.waker.wake();
    }

    /// Tells all threads to end and waits for them together, for a bounded time.
    pub(crate) fn end_all(threads: impl IntoIterator<Item = Background>) {
        let threads: Vec<Background> = threads.into_iter().collect();
        threads.iter().for_each(Background::stop);
        let until = Instant::now() + PATIENCE;
        threads.iter().for_each(|thread| thread.wait_until(until));
    }

    fn wait_until(&self, until: Instant) {
        let mut flags = self.waker.0.flags.lock();
        while !flags.has_ended && Instant::now() < until {
            self.waker.0.changed.wait_until(&mut flags, until);
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if !self.stop.is_cancelled() {
            self.stop();
            self.wait_until(Instant::now() + PATIENCE);
        }
    }
}

struct Thread<T> {
    name: String,
    waker: Waker,
    stop: Cancel,
    task: T,
}

impl<T: Task> Thread<T> {
    fn run(mut self, first: Next) {
        let mut next = first;
        while self.waker.wait(next, &self.stop) {
            let Thread { task, stop, .. } = &mut self;
            next = catch_unwind(AssertUnwindSafe(|| task.step(stop))).unwrap_or_else(|_| {
                log::error!("{}: failed with a panic (see above) and goes on", self.name);
                Next::After(AFTER_PANIC)
            });
        }
        if catch_unwind(AssertUnwindSafe(|| self.task.end())).is_err() {
            log::error!("{}: ended with a panic (see above)", self.name);
        }
        let waker = self.waker.clone();
        // The task is dropped before those who wait are told.
        drop(self);
        waker.0.flags.lock().has_ended = true;
        waker.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_panic_does_not_end_a_background_thread() {
        let (sender, receiver) = channel();
        let mut steps = 0;
        let thread = Background::start("test", Next::NOW, move |_: &Cancel| {
            steps += 1;
            sender.send(steps).unwrap();
            assert_ne!(steps, 1, "deliberate");
            Next::WhenWoken
        })
        .unwrap();
        assert_eq!([receiver.recv_timeout(LONG), receiver.recv_timeout(LONG)], [Ok(1), Ok(2)]);
        thread.waker().wake();
        assert_eq!(receiver.recv_timeout(LONG), Ok(3));
    }

    #[test]
    fn dropping_waits_for_the_step_and_for_the_end() {
        struct Slow(std::sync::mpsc::Sender<&'static str>);
        impl Task for Slow {
            fn step(&mut self, _: &Cancel) -> Next {
                self.0.send("begun").unwrap();
                thread::sleep(Duration::from_millis(50));
                Next::NOW
            }

            fn end(&mut self) {
                self.0.send("ended").unwrap();
            }
        }
        let (sender, receiver) = channel();
        let thread = Background::start("test", Next::NOW, Slow(sender)).unwrap();
        assert_eq!(receiver.recv_timeout(LONG), Ok("begun"));
        drop(thread);
        assert_eq!(receiver.into_iter().last(), Some("ended"));
    }

    #[test]
    fn threads_that_hang_do_not_keep_whoever_ends_them() {
        let (hold, held) = channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let begun = Instant::now();
        let threads = [(); 5].map(|()| {
            let held = held.clone();
            let hang = move |_: &Cancel| {
                let _ = held.lock().recv();
                Next::WhenWoken
            };
            Background::start("test", Next::NOW, hang).unwrap()
        });
        thread::sleep(Duration::from_millis(100));
        Background::end_all(threads);
        assert!(begun.elapsed() < 2 * PATIENCE, "they are waited for together");
        drop(hold);
    }
}
