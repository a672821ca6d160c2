//! Decoders that are kept for the next read, of all members: one budget for them, those at work included.
//!
//! Where bytes are wanted and none are left, decoders go that nobody uses at the moment, then every other seek point of
//! deflated members.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::stream::Stream;
use crate::io::Budget;

/// Something that keeps more than it needs.
pub(crate) trait Yield: Send + Sync {
    /// Gives some of it back, if it is not in use; false if there is nothing.
    fn yield_some(&self) -> bool;
}

/// The number of a member that is open; no other one has it.
pub(crate) type MemberId = u64;

pub(crate) struct Decoders {
    pub(crate) budget: Arc<Budget>,
    kept: Arc<Kept>,
}

/// A decoder that its reader has left, and when.
struct Left {
    member: MemberId,
    stream: Stream,
    at: Instant,
}

/// A decoder is not taken from a reader who comes back this soon,
const PAUSE: Duration = Duration::from_millis(10);
/// until he has had it for so long.
const TURN: Duration = Duration::from_millis(250);

#[derive(Default)]
struct Kept {
    /// The last used at the back.
    idle: Mutex<VecDeque<Left>>,
    yielding: Mutex<Vec<Weak<dyn Yield>>>,
}

impl Decoders {
    pub(crate) fn new(bytes: usize) -> Decoders {
        let kept = Arc::<Kept>::default();
        let reclaimed = kept.clone();
        Decoders { budget: Budget::new(bytes, move || reclaimed.reclaim()), kept }
    }

    pub(crate) fn member_id() -> MemberId {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds something that may be asked to yield for as long as it lives.
    pub(crate) fn add(&self, member: Weak<dyn Yield>) {
        let mut yielding = self.kept.yielding.lock();
        yielding.retain(|member| member.strong_count() > 0);
        yielding.push(member);
    }

    /// Takes the decoder that was left for a member.
    pub(crate) fn take(&self, member: MemberId) -> Option<Stream> {
        let mut idle = self.kept.idle.lock();
        let at = idle.iter().position(|left| left.member == member)?;
        idle.remove(at).map(|left| left.stream)
    }

    /// Leaves a decoder for the next read of a member, which must take it back or drop it in the end.
    pub(crate) fn leave(&self, member: MemberId, stream: Stream) {
        self.kept.idle.lock().push_back(Left { member, stream, at: Instant::now() });
    }
}

impl Kept {
    fn reclaim(&self) -> bool {
        let mut idle = self.idle.lock();
        // Whoever reads on has a turn: to begin anew for each of his reads would take far longer.
        let is_over = |left: &Left| left.at.elapsed() >= PAUSE || left.stream.started().elapsed() >= TURN;
        if let Some(at) = idle.iter().position(is_over) {
            // Ends its thread, and with that it gives its memory back.
            let ended = idle.remove(at);
            drop(idle);
            return ended.is_some();
        }
        drop(idle);
        let members: Vec<_> = self.yielding.lock().iter().filter_map(Weak::upgrade).collect();
        members.iter().any(|member| member.yield_some())
    }
}
