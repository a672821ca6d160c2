//! Works out the sizes of all sets in the background, several at a time.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::Tree;
use super::shown::ShownSet;
use crate::io::{Background, Cancel, Next};

/// Time until saving the sizes is tried again.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// Background threads; they end when it is dropped.
pub(crate) struct Sizer {
    sizing: Arc<Sizing>,
    threads: Vec<Background>,
}

struct Sizing {
    tree: Arc<Tree>,
    work: Mutex<Arc<UnsizedSets>>,
    /// Saving the sizes failed, and this was logged.
    has_failed: AtomicBool,
}

#[derive(Default)]
struct UnsizedSets {
    sets: Vec<Arc<ShownSet>>,
    next: AtomicUsize,
}

impl Sizer {
    pub(crate) fn start(tree: Arc<Tree>) -> Sizer {
        let sizing = Arc::new(Sizing { tree, work: Mutex::default(), has_failed: AtomicBool::new(false) });
        sizing.find_unsized();
        let count = thread::available_parallelism().map_or(1, usize::from);
        let start = |_| {
            let sizing = sizing.clone();
            let started = Background::start("sizer", Next::NOW, move |_: &Cancel| sizing.step());
            started.inspect_err(|error| log::warn!("no thread to work out sizes: {error}")).ok()
        };
        Sizer { threads: (0..count).filter_map(start).collect(), sizing }
    }

    /// Starts over with the sets of the present view whose size is unknown.
    pub(crate) fn restart(&self) {
        self.sizing.find_unsized();
        self.threads.iter().for_each(|thread| thread.waker().wake());
    }
}

impl Drop for Sizer {
    fn drop(&mut self) {
        Background::end_all(self.threads.drain(..));
        self.sizing.save();
    }
}

impl Sizing {
    fn find_unsized(&self) {
        let (context, view) = (&self.tree.context, self.tree.views.now());
        let sets = view.sets.iter().filter(|set| !set.is_known(context)).cloned().collect();
        *self.work.lock() = Arc::new(UnsizedSets { sets, next: AtomicUsize::new(0) });
    }

    /// Works out one size, or saves the sizes when there are no more to work out.
    fn step(&self) -> Next {
        let work = self.work.lock().clone();
        match work.sets.get(work.next.fetch_add(1, Ordering::Relaxed)) {
            Some(set) => {
                set.outcome(&self.tree.context);
                Next::NOW
            }
            None => {
                // Dropped: each holds a set.
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
