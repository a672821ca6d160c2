//! Looking at something from time to time.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::Result;

/// What other processes change in the catalogue shows up after this long.
const INTERVAL: Duration = Duration::from_millis(200);

/// Calls back again and again until it is dropped.
pub struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub fn start(mut tick: impl FnMut() + Send + 'static) -> Result<Ticker> {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new().name("ticker".into()).spawn(move || {
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                tick();
            }
        })?;
        Ok(Ticker { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        // Without a sender the thread ends.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}
