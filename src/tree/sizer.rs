//! Works out the sizes of all exports in the background, several at a time.

use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Tree, export::Export};

/// How long after the last change sizes are written down.
const SAVE_AFTER: Duration = Duration::from_secs(1);

/// Background threads; they end when it is dropped.
pub struct Sizer {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    tree: Arc<Tree>,
    work: Mutex<Work>,
    wake: Condvar,
    stop: AtomicBool,
}

#[derive(Default)]
struct Work {
    exports: Arc<Vec<Arc<Export>>>,
    next: Arc<AtomicUsize>,
}

impl Sizer {
    pub fn start(tree: Arc<Tree>) -> Sizer {
        let shared = Arc::new(Shared {
            tree,
            work: Mutex::default(),
            wake: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let count = thread::available_parallelism().map_or(1, usize::from);
        let threads = (0..count)
            .filter_map(|_| {
                let shared = shared.clone();
                thread::Builder::new().name("sizer".into()).spawn(move || shared.run()).ok()
            })
            .collect();
        let sizer = Sizer { shared, threads };
        sizer.restart();
        sizer
    }

    /// Starts over with what is unknown in the tree as it is now.
    pub fn restart(&self) {
        let context = &self.shared.tree.exports;
        let unknown: Vec<_> =
            self.shared.tree.view().exports().filter(|e| !e.is_known(context)).cloned().collect();
        *self.shared.work.lock() = Work { exports: Arc::new(unknown), next: Arc::default() };
        self.shared.wake.notify_all();
    }
}

impl Drop for Sizer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
        self.shared.save();
    }
}

impl Shared {
    fn run(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            match self.next() {
                Some(export) => {
                    export.outcome(&self.tree.exports);
                }
                None => {
                    self.save();
                    let mut work = self.work.lock();
                    let is_done = |work: &mut Work| {
                        !self.stop.load(Ordering::Relaxed)
                            && work.next.load(Ordering::Relaxed) >= work.exports.len()
                    };
                    // Sizes are also found by those who ask for them, so this looks again from time to time.
                    self.wake.wait_while_for(&mut work, is_done, SAVE_AFTER);
                }
            }
        }
    }

    fn next(&self) -> Option<Arc<Export>> {
        let (exports, next) = {
            let work = self.work.lock();
            (work.exports.clone(), work.next.clone())
        };
        exports.get(next.fetch_add(1, Ordering::Relaxed)).cloned()
    }

    fn save(&self) {
        if let Err(error) = self.tree.save_sizes() {
            log::warn!("sizes are not remembered: {error}");
        }
    }
}
