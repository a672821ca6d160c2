//! A decoder that goes through a member from its beginning on, in a thread of its own.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::io::Buffer;

/// Blocks that it decodes ahead of its reader.
pub(crate) const AHEAD: usize = 1;
/// How long it waits for its reader; then it ends and gives back its memory.
const IDLE: Duration = Duration::from_secs(30);

pub(crate) struct Stream {
    /// Number of the next block.
    next: u64,
    /// `None` only while it is dropped.
    blocks: Option<Receiver<Result<Buffer>>>,
    thread: Thread,
    started: Instant,
}

impl Stream {
    /// `work` passes on one block after the other, for as long as its callback returns true.
    pub(crate) fn start(
        work: impl FnOnce(&mut dyn FnMut(Buffer) -> bool) -> Result<()> + Send + 'static,
    ) -> Result<Stream> {
        let (sender, receiver) = sync_channel(AHEAD);
        let thread = thread::Builder::new().name("decoder".into()).spawn(move || {
            if let Err(error) = work(&mut |block| send(&sender, Ok(block))) {
                // The receiver may be gone.
                send(&sender, Err(error));
            }
        })?;
        Ok(Stream {
            next: 0,
            blocks: Some(receiver),
            thread: thread.thread().clone(),
            started: Instant::now(),
        })
    }

    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Returns the next block and its number; `None` if the thread has ended by itself.
    pub(crate) fn block(&mut self) -> Option<(u64, Result<Buffer>)> {
        let block = self.blocks.as_ref()?.recv().ok()?;
        // There is room for one more.
        self.thread.unpark();
        self.next += 1;
        Some((self.next - 1, block))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.blocks = None;
        self.thread.unpark();
    }
}

/// Waits until there is room for a block; returns false if it is not wanted any more.
fn send(sender: &SyncSender<Result<Buffer>>, block: Result<Buffer>) -> bool {
    let started = Instant::now();
    let mut block = block;
    loop {
        block = match sender.try_send(block) {
            Ok(()) => return true,
            Err(TrySendError::Disconnected(_)) => return false,
            Err(TrySendError::Full(block)) => block,
        };
        let Some(left) = IDLE.checked_sub(started.elapsed()) else { return false };
        thread::park_timeout(left);
    }
}
