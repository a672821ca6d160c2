//! Looking at something from time to time.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::Result;

/// What other processes change in the catalogue shows up after this long.
const INTERVAL: Duration = Duration::from_millis(200);

enum Wake {
    Now,
    Stop,
}

/// Calls back again and again until it is dropped.
pub struct Ticker {
    wake: Sender<Wake>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub fn start(mut tick: impl FnMut() + Send + 'static) -> Result<Ticker> {
        let (wake, woken) = mpsc::channel();
        let thread = thread::Builder::new().name("ticker".into()).spawn(move || {
            while matches!(woken.recv_timeout(INTERVAL), Ok(Wake::Now) | Err(RecvTimeoutError::Timeout)) {
                tick();
            }
        })?;
        Ok(Ticker { wake, thread: Some(thread) })
    }

    /// Returns what makes it look at once.
    pub fn waker(&self) -> impl Fn() + Send + Sync + 'static {
        let wake = self.wake.clone();
        move || {
            // The thread may have ended already; then nobody wants to know.
            let _ = wake.send(Wake::Now);
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        let _ = self.wake.send(Wake::Stop);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}
