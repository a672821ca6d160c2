//! Works out the sizes of all sets in the background, several at a time.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::Tree;
use super::shown::ShownSet;
use crate::io::{Background, Cancel, Next};

/// When it is tried again to write down sizes.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// Background threads; they end when it is dropped.
pub(crate) struct Sizer {
    shared: Arc<Shared>,
    threads: Vec<Background>,
}

struct Shared {
    tree: Arc<Tree>,
    work: Mutex<Arc<Work>>,
    /// Sizes could not be written down, which was said.
    has_failed: AtomicBool,
}

#[derive(Default)]
struct Work {
    sets: Vec<Arc<ShownSet>>,
    next: AtomicUsize,
}

impl Sizer {
    pub(crate) fn start(tree: Arc<Tree>) -> Sizer {
        let shared = Arc::new(Shared { tree, work: Mutex::default(), has_failed: AtomicBool::new(false) });
        shared.look();
        let count = thread::available_parallelism().map_or(1, usize::from);
        let start = |_| {
            let shared = shared.clone();
            let started = Background::start("sizer", Next::NOW, move |_: &Cancel| shared.step());
            started.inspect_err(|error| log::warn!("no thread to work out sizes: {error}")).ok()
        };
        Sizer { threads: (0..count).filter_map(start).collect(), shared }
    }

    /// Starts over with what is unknown in the tree as it is now.
    pub(crate) fn restart(&self) {
        self.shared.look();
        self.threads.iter().for_each(|thread| thread.waker().wake());
    }
}

impl Drop for Sizer {
    fn drop(&mut self) {
        Background::end_all(self.threads.drain(..));
        self.shared.save();
    }
}

impl Shared {
    fn look(&self) {
        let (context, view) = (&self.tree.context, self.tree.views.now());
        let sets = view.sets.iter().filter(|set| !set.is_known(context)).cloned().collect();
        *self.work.lock() = Arc::new(Work { sets, next: AtomicUsize::new(0) });
    }

    /// Works out one size, or writes down those that are known when there are no more.
    fn step(&self) -> Next {
        let work = self.work.lock().clone();
        match work.sets.get(work.next.fetch_add(1, Ordering::Relaxed)) {
            Some(set) => {
                set.outcome(&self.tree.context);
                Next::NOW
            }
            None => {
                // They are not needed any more, and each holds a set.
                let mut now = self.work.lock();
                if Arc::ptr_eq(&now, &work) {
                    *now = Arc::default();
                }
                drop(now);
                self.save()
            }
        }
    }

    fn save(&self) -> Next {
        match self.tree.save_sizes() {
            Ok(()) => {
                self.has_failed.store(false, Ordering::Relaxed);
                Next::WhenWoken
            }
            Err(error) => {
                if !self.has_failed.swap(true, Ordering::Relaxed) {
                    log::warn!("sizes are not remembered: {error}");
                }
                Next::After(AFTER_FAILURE)
            }
        }
    }
}
