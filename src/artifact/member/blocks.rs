//! Members that are decoded in blocks, and the cache of decoded blocks: shared by the whole mount, bounded in bytes.
//!
//! The kernel asks for a sequential reader's next stretches in any order and from several threads; without the cache
//! each of them would decode the same blocks again.

use parking_lot::{Condvar, Mutex, MutexGuard};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::MemberResources;
use crate::error::Result;
use crate::io::{Buffer, Lru, ReadAt, available, with_scratch};

/// Bytes of content in a block, unless a decoder has a reason for another size.
pub(crate) const BLOCK: u64 = 256 << 10;

/// A decoded block.
pub(crate) type DecodedBlock = Arc<Buffer>;
/// Decoded blocks by member and number.
pub(crate) type BlockCache = Lru<(u64, u64), DecodedBlock>;

/// Something that decodes the blocks of a member.
pub(crate) trait Decode: Send + Sync {
    /// Bytes of content in a block; the last one may be shorter.
    fn block_size(&self) -> u64 {
        BLOCK
    }

    /// Blocks that are decoded at the same time, at most.
    fn at_once(&self) -> usize {
        1
    }

    /// Returns block number `wanted`. Blocks that are decoded on the way to it, and may be wanted soon, are passed to
    /// `keep` with their numbers.
    fn decode(&self, wanted: u64, keep: &mut dyn FnMut(u64, DecodedBlock)) -> Result<DecodedBlock>;

    /// Gives back memory that only a sequential reader needs, because there is none at the moment.
    fn release_idle(&self) {}
}

/// A member that is read by decoding its blocks.
///
/// For a sequential reader they are decoded in the background, while the last ones are on their way to it.
pub(crate) struct Blockwise<D>(Arc<Inner<D>>);

struct Inner<D> {
    /// Unique among the members.
    id: u64,
    len: u64,
    shared: Arc<MemberResources>,
    decoder: D,
    decoding: Mutex<Decoding>,
    /// Signalled when a block is done.
    done: Condvar,
    /// Signalled when the reader has moved.
    moved: Condvar,
}

#[derive(Default)]
struct Decoding {
    /// Blocks that are being decoded.
    busy: Vec<u64>,
    /// Blocks that somebody waits for.
    wanted: Vec<u64>,
    read_ahead: ReadAhead,
}

/// Position of the reader, and of the decoding ahead of it.
#[derive(Default)]
struct ReadAhead {
    /// The block that the reader has come to.
    next: u64,
    /// Blocks that it has read one after the other.
    length: u64,
    /// The block to be decoded next ahead of it.
    ahead: u64,
    /// Threads that decode ahead.
    threads: usize,
}

/// Requests of one reader come in any order within this many bytes: the kernel has several under way.
const DISORDER: u64 = 2 << 20;
/// A reader that has read this many blocks in a row will read on.
const LONG: u64 = 3;
/// Members that are decoded ahead at the same time, at most.
const MAX_AHEAD: usize = 2;
/// How long a thread that is far enough ahead waits for the reader, unless it is at the end.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long it lets others go first, at most.
const TURN: Duration = Duration::from_millis(1);

impl<D: Decode + 'static> Blockwise<D> {
    pub(crate) fn new(len: u64, shared: Arc<MemberResources>, decoder: D) -> Blockwise<D> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Blockwise(Arc::new(Inner {
            id,
            len,
            shared,
            decoder,
            decoding: Mutex::default(),
            done: Condvar::new(),
            moved: Condvar::new(),
        }))
    }

    #[cfg(test)]
    pub(super) fn decoder(&self) -> &D {
        &self.0.decoder
    }
}

/// The right to decode a block, which is busy until this is dropped.
struct Turn<'a, D> {
    inner: &'a Inner<D>,
    block: u64,
}

impl<D> Turn<'_, D> {
    fn end(self, decoding: &mut Decoding) {
        self.leave(decoding);
        mem::forget(self);
    }

    fn leave(&self, decoding: &mut Decoding) {
        decoding.busy.retain(|&block| block != self.block);
        decoding.wanted.retain(|&block| block != self.block);
        self.inner.done.notify_all();
    }
}

impl<D> Drop for Turn<'_, D> {
    fn drop(&mut self) {
        self.leave(&mut self.inner.decoding.lock());
    }
}

impl<D: Decode + 'static> Inner<D> {
    fn cached(&self, n: u64) -> Option<DecodedBlock> {
        self.shared.blocks.get(&(self.id, n))
    }

    fn cache(&self, n: u64, block: &DecodedBlock) {
        self.shared.blocks.insert((self.id, n), block.clone(), block.len());
    }

    /// Returns a block that was decoded lately, or decodes it.
    fn block(&self, n: u64) -> Result<DecodedBlock> {
        loop {
            if let Some(block) = self.cached(n) {
                return Ok(block);
            }
            if let Some(_turn) = self.turn(self.decoding.lock(), n) {
                return self.decode(n);
            }
        }
    }

    /// Waits until a block can be decoded; `None` if somebody else has done so.
    fn turn(&self, mut decoding: MutexGuard<'_, Decoding>, n: u64) -> Option<Turn<'_, D>> {
        decoding.wanted.push(n);
        let mine = loop {
            if self.cached(n).is_some() {
                break None;
            }
            if !decoding.busy.contains(&n) && decoding.busy.len() < self.decoder.at_once() {
                break Some(self.take_turn(&mut decoding, n));
            }
            self.done.wait(&mut decoding);
        };
        if let Some(at) = decoding.wanted.iter().position(|&wanted| wanted == n) {
            decoding.wanted.swap_remove(at);
        }
        mine
    }

    fn take_turn(&self, decoding: &mut Decoding, n: u64) -> Turn<'_, D> {
        decoding.busy.push(n);
        Turn { inner: self, block: n }
    }

    /// Returns true if somebody waits for a block that nobody decodes and that decoding ahead from `n` on will not
    /// reach soon.
    fn others_want(&self, decoding: &Decoding, n: u64) -> bool {
        let soon = n..n + self.blocks_ahead();
        let is_left = |n: &u64| !soon.contains(n) && !decoding.busy.contains(n) && self.cached(*n).is_none();
        decoding.wanted.iter().any(is_left)
    }

    fn decode(&self, n: u64) -> Result<DecodedBlock> {
        let block = self.decoder.decode(n, &mut |n, block| self.cache(n, &block))?;
        self.cache(n, &block);
        Ok(block)
    }

    /// Returns the block that has the byte at `offset`, and where in it.
    fn read(self: &Arc<Self>, offset: u64) -> Result<(DecodedBlock, usize)> {
        let size = self.decoder.block_size();
        let block = self.block(offset / size)?;
        self.after_read(offset / size);
        Ok((block, (offset % size) as usize))
    }

    /// Records a read, and has the next blocks decoded if the reader will read on.
    fn after_read(self: &Arc<Self>, n: u64) {
        let mut decoding = self.decoding.lock();
        let read_ahead = &mut decoding.read_ahead;
        let is_near = n.abs_diff(read_ahead.next) <= (DISORDER / self.decoder.block_size()).max(1);
        let next = if is_near { read_ahead.next.max(n + 1) } else { n + 1 };
        read_ahead.length = if is_near { read_ahead.length + u64::from(next > read_ahead.next) } else { 1 };
        read_ahead.next = next;
        read_ahead.ahead = if is_near { read_ahead.ahead.max(next) } else { next };
        // Threads are woken only when they are less than half as far ahead as they may be, not for each block.
        let is_far_ahead = read_ahead.ahead >= next + self.blocks_ahead().div_ceil(2);
        if is_far_ahead || self.wanted_ahead(&decoding).is_none() {
            return;
        }
        self.moved.notify_all();
        while decoding.read_ahead.threads < self.decoder.at_once() && self.start_ahead(&decoding.read_ahead) {
            decoding.read_ahead.threads += 1;
        }
    }

    /// Starts a thread that decodes ahead, unless that is done for too many members; without it the reader decodes for
    /// itself.
    fn start_ahead(self: &Arc<Self>, read_ahead: &ReadAhead) -> bool {
        let members = &self.shared.members_ahead;
        if read_ahead.threads == 0 && members.fetch_add(1, Ordering::Relaxed) >= MAX_AHEAD {
            members.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        let inner = self.clone();
        let started = thread::Builder::new().name("ahead".into()).spawn(move || Ahead(&inner).decode());
        if started.is_err() && read_ahead.threads == 0 {
            members.fetch_sub(1, Ordering::Relaxed);
        }
        started.is_ok()
    }

    fn blocks(&self) -> u64 {
        self.len.div_ceil(self.decoder.block_size())
    }

    fn blocks_ahead(&self) -> u64 {
        (self.shared.bytes_ahead / self.decoder.block_size()).max(1)
    }

    /// Returns the block to be decoded next ahead of the reader, if it will be wanted soon.
    fn wanted_ahead(&self, Decoding { busy, read_ahead, .. }: &Decoding) -> Option<u64> {
        let end = (read_ahead.next + self.blocks_ahead()).min(self.blocks());
        let mut ahead = read_ahead.ahead..if read_ahead.length >= LONG { end } else { 0 };
        ahead.find(|&n| !busy.contains(&n) && self.cached(n).is_none())
    }
}

/// A thread that decodes ahead.
struct Ahead<'a, D: Decode + 'static>(&'a Inner<D>);

impl<D: Decode + 'static> Ahead<'_, D> {
    fn decode(&self) {
        let inner = self.0;
        let mut decoding = inner.decoding.lock();
        let mut has_decoded = false;
        loop {
            let Some(n) = inner.wanted_ahead(&decoding) else {
                let is_at_end = decoding.read_ahead.next + inner.blocks_ahead() >= inner.blocks();
                let patience = if is_at_end { Duration::ZERO } else { PATIENCE };
                let waited = inner.moved.wait_for(&mut decoding, patience);
                if waited.timed_out() && inner.wanted_ahead(&decoding).is_none() {
                    drop(decoding);
                    inner.decoder.release_idle();
                    return;
                }
                continue;
            };
            // Requests for other blocks go first, and the reader may move meanwhile: so the next block is chosen anew.
            if decoding.busy.len() >= inner.decoder.at_once() {
                inner.done.wait(&mut decoding);
                continue;
            }
            if has_decoded && inner.others_want(&decoding, n) {
                inner.done.wait_for(&mut decoding, TURN);
                has_decoded = false;
                continue;
            }
            has_decoded = true;
            decoding.read_ahead.ahead = n + 1;
            let turn = inner.take_turn(&mut decoding, n);
            drop(decoding);
            let is_bad = inner.decode(n).is_err();
            decoding = inner.decoding.lock();
            // This thread goes on before one that waits for the next block can start: switching threads takes time.
            turn.end(&mut decoding);
            if is_bad {
                // Whoever reads the block gets the error.
                decoding.read_ahead.length = 0;
            }
        }
    }
}

impl<D: Decode + 'static> Drop for Ahead<'_, D> {
    fn drop(&mut self) {
        let read_ahead = &mut self.0.decoding.lock().read_ahead;
        read_ahead.threads -= 1;
        if read_ahead.threads == 0 {
            self.0.shared.members_ahead.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl<D: Decode + 'static> ReadAt for Blockwise<D> {
    fn len(&self) -> u64 {
        self.0.len
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let wanted = available(self.0.len, offset, buf.len());
        let mut done = 0;
        while done < wanted {
            let (block, at) = self.0.read(offset + done as u64)?;
            let n = (block.len() - at).min(wanted - done);
            buf[done..done + n].copy_from_slice(&block[at..at + n]);
            done += n;
        }
        Ok(done)
    }

    fn lend(&self, offset: u64, len: usize, take: &mut dyn FnMut(&[u8])) -> Result<()> {
        let len = available(self.0.len, offset, len);
        let size = self.0.decoder.block_size();
        if len == 0 || offset % size + len as u64 > size {
            return with_scratch(len, |buf| self.read_at(buf, offset).map(|n| take(&buf[..n])));
        }
        let (block, at) = self.0.read(offset)?;
        take(&block[at..at + len]);
        Ok(())
    }
}
