//! Writes content as stored parts, in one pass and in bounded memory: a zip, perhaps split, each part encrypted.
//!
//! ```text
//! caller          content, cut into blocks
//!   |   \
//!   |    deflate    each block by itself, on several threads
//!   |   /
//! assemble        blocks in their order: headers, digests of members, segments of the zip
//!   |
//! seal            each segment: CMS, base64, hashes, into the store's location
//!   |
//! finish          made durable, so that nobody waits for it
//! ```
//!
//! Every stage is one or more threads, connected by channels of bounded length. A stage that fails leaves its error for
//! the caller and ends; its neighbours notice that the other end of a channel has gone, and end too.

use parking_lot::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, RecvError, SendError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use crate::crypto::{Certificate, KeyTransport};
use crate::error::{At, Error, Kind, Result};
use crate::format::part_name::Ordinal;
use crate::store::names::Attempt;
use crate::store::parts::{Key, Parts};

mod assemble;
mod deflate;
mod part_writer;
mod seal;
mod segment_cutter;

use assemble::{Assembler, Event};
pub use deflate::BLOCK;
use deflate::DeflateJob;
use part_writer::Sealed;
use seal::Sealer;
use segment_cutter::SegmentCutter;

/// A split zip has no smaller segments.
pub(crate) const MIN_SPLIT_SIZE: u64 = 64 << 10;
/// Bytes of a member name: Linux takes no longer path (PATH_MAX).
const MAX_NAME: usize = 4096;
/// Pieces of zip between assembling and sealing.
const PIECES: usize = 4;
/// Parts that may wait until they are durable, each with a file open or an upload under way.
const UNFINISHED: usize = 16;

/// How a zip is written.
pub struct WriterSettings {
    pub certificate: Arc<Certificate>,
    pub transport: KeyTransport,
    /// Bytes of zip in each part but the last, at most; `None` for one part.
    pub split_size: Option<u64>,
    /// Threads that deflate.
    pub threads: usize,
}

/// A member that has been written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenMember {
    pub(crate) name: String,
    pub size: u64,
    pub(crate) compressed: u64,
    pub(crate) crc: u32,
    /// SHA-256 of the content.
    pub(crate) sha256: [u8; 32],
}

/// A stored part, complete and durable, that the catalogue does not know yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenPart {
    pub ordinal: Ordinal,
    /// The name that it should get.
    pub name: String,
    /// The key that it has until then.
    pub key: Key,
    /// Bytes of the stored file.
    pub size: u64,
    /// Bytes of zip in it.
    pub plain_size: u64,
    /// Of the stored file.
    pub sha256: [u8; 32],
    /// See [`crate::format::block_hashes`].
    pub root: [u8; 32],
    pub blocks: Vec<[u8; 32]>,
}

/// All parts of a zip, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    pub parts: Vec<WrittenPart>,
    /// Bytes of the zip: of all its segments together.
    pub bytes: u64,
}

/// Why a stage ends before the zip does.
enum Stop {
    Failed(Error),
    /// The neighbouring stage has gone: it knows why.
    Gone,
}

type Staged<T> = std::result::Result<T, Stop>;

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Failed(error)
    }
}

impl<T> From<SendError<T>> for Stop {
    fn from(_: SendError<T>) -> Stop {
        Stop::Gone
    }
}

impl From<RecvError> for Stop {
    fn from(_: RecvError) -> Stop {
        Stop::Gone
    }
}

/// Writes one zip. Dropped before it is finished, it leaves nothing behind.
pub struct Writer {
    /// Content that has not been sent on.
    block: Vec<u8>,
    in_member: bool,
    stages: Option<Stages>,
    failure: Arc<OnceLock<Error>>,
    written: Arc<AtomicU64>,
}

/// The caller's ends of the channels, and the threads behind them.
struct Stages {
    events: SyncSender<Event>,
    undeflated: Sender<DeflateJob>,
    /// Buffers that can be used again.
    spare: Receiver<Vec<u8>>,
    threads: Vec<JoinHandle<Option<()>>>,
    finish: JoinHandle<Option<Sealed>>,
}

impl Stages {
    /// Sends a block to be deflated, and tells the assembler where it comes in the order. Waits while all stages are
    /// busy.
    fn send(&self, content: Vec<u8>, is_last: bool) -> Staged<()> {
        let (done, block) = sync_channel(1);
        self.events.send(Event::Block(block))?;
        self.undeflated.send(DeflateJob { content, is_last, done })?;
        Ok(())
    }

    /// Lets all stages end, and returns the parts if every stage has reached the end of the zip.
    fn join(self) -> Option<Sealed> {
        let Stages { events, undeflated, threads, finish, .. } = self;
        drop((events, undeflated));
        let mut complete = true;
        for thread in threads {
            complete &= thread.join().is_ok_and(|done| done.is_some());
        }
        finish.join().ok().flatten().filter(|_| complete)
    }
}

impl Writer {
    /// Begins a zip. Its parts are written under keys of the attempt, so that nothing is visible under a part's name.
    /// `modified` is the time of all members.
    pub fn create(
        parts: &Arc<dyn Parts>,
        attempt: &Attempt,
        modified: SystemTime,
        settings: &WriterSettings,
    ) -> Result<Writer> {
        if settings.split_size.is_some_and(|size| size < MIN_SPLIT_SIZE) {
            let message = format!("parts cannot be smaller than {MIN_SPLIT_SIZE} bytes");
            return Err(Error::new(Kind::Invalid, message));
        }
        let failure = Arc::new(OnceLock::new());
        let written = Arc::new(AtomicU64::new(0));
        let deflaters = settings.threads.max(1);
        let (events, assemble_from) = sync_channel(deflaters + deflaters / 2 + 2);
        let (undeflated, deflate_from) = channel();
        let (spare_to, spare) = channel();
        let (pieces, seal_from) = sync_channel(PIECES);
        let (sealed, finish_from) = sync_channel(UNFINISHED);

        // Done before there are threads, since this may fail.
        let sealer = Sealer::create(parts, attempt, settings, sealed, written.clone())?;
        let segments = SegmentCutter::new(settings.split_size, pieces);
        let assembler = Assembler::new(segments, modified, spare_to);

        let location = parts.clone();
        let finish = spawn("finish", &failure, move || seal::finish(location, finish_from))?;
        let mut threads = vec![
            spawn("seal", &failure, move || sealer.run(seal_from))?,
            spawn("assemble", &failure, move || assembler.run(assemble_from))?,
        ];
        let deflate_from = Arc::new(Mutex::new(deflate_from));
        for _ in 0..deflaters {
            let undeflated = deflate_from.clone();
            threads.push(spawn("deflate", &failure, move || deflate::run(&undeflated))?);
        }
        let stages = Some(Stages { events, undeflated, spare, threads, finish });
        Ok(Writer { block: Vec::new(), in_member: false, stages, failure, written })
    }

    pub fn start_member(&mut self, name: &str) -> Result<()> {
        if self.in_member || name.is_empty() || name.len() > MAX_NAME {
            let message = format!("a member name of {} bytes, or one within another", name.len());
            return Err(Error::new(Kind::Invalid, message));
        }
        self.with_stages(|stages, _| Ok(stages.events.send(Event::Start(name.into()))?))?;
        self.in_member = true;
        Ok(())
    }

    /// Adds to the content of the member. Waits while the stages have as much content in memory as they may.
    pub fn write(&mut self, content: &[u8]) -> Result<()> {
        self.expect_member()?;
        self.with_stages(|stages, block| {
            let mut content = content;
            while !content.is_empty() {
                // A full block is kept back until more comes: the last one is closed in another way.
                if block.len() == BLOCK {
                    let empty = stages.spare.try_recv().unwrap_or_default();
                    stages.send(std::mem::replace(block, empty), false)?;
                }
                block.reserve_exact(BLOCK - block.len());
                let (head, tail) = content.split_at(content.len().min(BLOCK - block.len()));
                block.extend_from_slice(head);
                content = tail;
            }
            Ok(())
        })
    }

    /// Ends the member; waits until all of it has gone through.
    pub fn finish_member(&mut self) -> Result<WrittenMember> {
        self.expect_member()?;
        self.in_member = false;
        self.with_stages(|stages, block| {
            let empty = stages.spare.try_recv().unwrap_or_default();
            stages.send(std::mem::replace(block, empty), true)?;
            let (reply, member) = sync_channel(1);
            stages.events.send(Event::Finish(reply))?;
            Ok(member.recv()?)
        })
    }

    /// Returns the counter of bytes in stored parts so far.
    pub(crate) fn written(&self) -> Arc<AtomicU64> {
        self.written.clone()
    }

    /// Ends the zip; every part is durable then. The parts belong to the caller from here on.
    pub fn finish(mut self) -> Result<Finished> {
        if self.in_member {
            return Err(Error::new(Kind::Invalid, "a member that is not finished"));
        }
        self.with_stages(|stages, _| Ok(stages.events.send(Event::End)?))?;
        let sealed = self.stages.take().and_then(Stages::join);
        let sealed = sealed.filter(|_| self.failure.get().is_none()).ok_or_else(|| self.failure())?;
        let parts = sealed.keep();
        let bytes = parts.iter().map(|part| part.plain_size).sum();
        Ok(Finished { parts, bytes })
    }

    fn expect_member(&self) -> Result<()> {
        let no_member = || Error::new(Kind::Invalid, "content without a member");
        self.in_member.then_some(()).ok_or_else(no_member)
    }

    /// Does something with the stages. If one of them has failed, all end, and its error is returned.
    fn with_stages<T>(&mut self, work: impl FnOnce(&Stages, &mut Vec<u8>) -> Staged<T>) -> Result<T> {
        let failed = self.failure.get().is_some();
        if let Some(stages) = self.stages.as_ref().filter(|_| !failed)
            && let Ok(done) = work(stages, &mut self.block)
        {
            return Ok(done);
        }
        // The stage that failed has left its error once its thread is joined.
        drop(self.stages.take().and_then(Stages::join));
        Err(self.failure())
    }

    fn failure(&self) -> Error {
        let lost = || Error::new(Kind::Os(libc::EIO), "a thread of the writer has ended too early");
        self.failure.get().cloned().unwrap_or_else(lost)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.stages.take().and_then(Stages::join));
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    failure: &Arc<OnceLock<Error>>,
    work: impl FnOnce() -> Staged<T> + Send + 'static,
) -> Result<JoinHandle<Option<T>>> {
    let failure = failure.clone();
    let thread = thread::Builder::new().name(format!("export-{name}")).spawn(move || match work() {
        Ok(done) => Some(done),
        Err(Stop::Gone) => None,
        Err(Stop::Failed(error)) => {
            // The first failure is the cause of the others.
            let _ = failure.set(error);
            None
        }
    });
    thread.at("a thread of the writer")
}
