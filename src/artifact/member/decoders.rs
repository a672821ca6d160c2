//! Decoders of all members that are kept for the next read. One budget covers them and those at work.
//!
//! When it is used up, idle decoders are dropped, then every other seek point of deflated members.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::stream::Stream;
use crate::io::Budget;

/// Something that holds more memory than it needs.
pub(crate) trait Yield: Send + Sync {
    /// Gives some of it back, if it is not in use; returns false if there is none.
    fn yield_some(&self) -> bool;
}

/// The unique number of an open member.
pub(crate) type MemberId = u64;

pub(crate) struct Decoders {
    pub(crate) budget: Arc<Budget>,
    reclaimable: Arc<Reclaimable>,
}

/// A decoder that its reader has left, and when.
struct IdleDecoder {
    member: MemberId,
    stream: Stream,
    at: Instant,
}

/// How long after a read a decoder is reserved for its reader.
const PAUSE: Duration = Duration::from_millis(10);
/// How long after its start a decoder is reserved for its reader, at most.
const TURN: Duration = Duration::from_millis(250);

#[derive(Default)]
struct Reclaimable {
    /// The last used at the back.
    idle: Mutex<VecDeque<IdleDecoder>>,
    yielding: Mutex<Vec<Weak<dyn Yield>>>,
}

impl Decoders {
    pub(crate) fn new(bytes: usize) -> Decoders {
        let reclaimable = Arc::<Reclaimable>::default();
        let shared = reclaimable.clone();
        Decoders { budget: Budget::new(bytes, move || shared.reclaim()), reclaimable }
    }

    pub(crate) fn member_id() -> MemberId {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds something that may be asked to yield for as long as it lives.
    pub(crate) fn add(&self, member: Weak<dyn Yield>) {
        let mut yielding = self.reclaimable.yielding.lock();
        yielding.retain(|member| member.strong_count() > 0);
        yielding.push(member);
    }

    /// Takes the decoder that was left for a member.
    pub(crate) fn take(&self, member: MemberId) -> Option<Stream> {
        let mut idle = self.reclaimable.idle.lock();
        let at = idle.iter().position(|left| left.member == member)?;
        idle.remove(at).map(|left| left.stream)
    }

    /// Leaves a decoder for the next read of a member, which takes it back by the time that it is dropped.
    pub(crate) fn leave(&self, member: MemberId, stream: Stream) {
        self.reclaimable.idle.lock().push_back(IdleDecoder { member, stream, at: Instant::now() });
    }
}

impl Reclaimable {
    fn reclaim(&self) -> bool {
        let mut idle = self.idle.lock();
        // A sequential reader keeps its decoder for a while: to begin anew at each read would take far longer.
        let is_over =
            |left: &IdleDecoder| left.at.elapsed() >= PAUSE || left.stream.started().elapsed() >= TURN;
        if let Some(at) = idle.iter().position(is_over) {
            // Dropping it ends its thread, and with that its memory is given back.
            let ended = idle.remove(at);
            drop(idle);
            return ended.is_some();
        }
        drop(idle);
        let members: Vec<_> = self.yielding.lock().iter().filter_map(Weak::upgrade).collect();
        members.iter().any(|member| member.yield_some())
    }
}
