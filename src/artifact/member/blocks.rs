//! Members that are decoded in blocks, and what was decoded lately: shared by the whole mount, bounded in bytes.
//!
//! The kernel asks for a sequential reader's next stretches in any order and from several threads; without a memory
//! of what was just decoded each of them would decode it again.

use parking_lot::{Condvar, Mutex, MutexGuard};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::Shared;
use crate::error::Result;
use crate::io::{Buffer, Lru, ReadAt, available, with_scratch};

/// Bytes of content in a block, unless a decoder has a reason for another size.
pub(crate) const BLOCK: u64 = 256 << 10;

/// A decoded block.
pub(crate) type Block = Arc<Buffer>;
/// Blocks by member and number.
pub(crate) type Blocks = Lru<(u64, u64), Block>;

/// Something that decodes the blocks of a member.
pub(crate) trait Decode: Send + Sync {
    /// Bytes of content in a block; the last one may be shorter.
    fn block_size(&self) -> u64 {
        BLOCK
    }

    /// Blocks that are decoded at the same time, at the most.
    fn at_once(&self) -> usize {
        1
    }

    /// Returns block number `wanted`. Blocks that are decoded on the way to it, and may be wanted soon, are passed to
    /// `keep` with their numbers.
    fn decode(&self, wanted: u64, keep: &mut dyn FnMut(u64, Block)) -> Result<Block>;

    /// Gives back memory that is of use only to a reader that reads on: there is none at the moment.
    fn rest(&self) {}
}

/// A member that is read by decoding its blocks.
///
/// For whoever reads on and on they are decoded in the background, while the last ones are on their way to the reader.
pub(crate) struct Blockwise<D>(Arc<Inner<D>>);

struct Inner<D> {
    /// No other member has it.
    id: u64,
    len: u64,
    shared: Arc<Shared>,
    decoder: D,
    state: Mutex<State>,
    /// A block is done.
    done: Condvar,
    /// The reader has moved.
    moved: Condvar,
}

#[derive(Default)]
struct State {
    /// Blocks that are being decoded.
    busy: Vec<u64>,
    /// Blocks that somebody waits for.
    wanted: Vec<u64>,
    run: Run,
}

/// Where the member is being read, and how far it has been decoded ahead of that.
#[derive(Default)]
struct Run {
    /// The block that the reader has come to.
    next: u64,
    /// Blocks that he has read one after the other.
    length: u64,
    /// The block to be decoded next ahead of him.
    ahead: u64,
    /// Threads that decode ahead.
    threads: usize,
}

/// Requests of one reader come in any order within so many bytes: the kernel has several under way.
const DISORDER: u64 = 2 << 20;
/// A reader of so many blocks in a row will read on.
const LONG: u64 = 3;
/// Members that are decoded ahead at the same time, at the most.
const MAX_AHEAD: usize = 2;
/// How long a thread that is far enough ahead waits for the reader, unless it is at the end.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long it lets others go first, at the most.
const TURN: Duration = Duration::from_millis(1);

impl<D: Decode + 'static> Blockwise<D> {
    pub(crate) fn new(len: u64, shared: Arc<Shared>, decoder: D) -> Blockwise<D> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Blockwise(Arc::new(Inner {
            id,
            len,
            shared,
            decoder,
            state: Mutex::default(),
            done: Condvar::new(),
            moved: Condvar::new(),
        }))
    }

    #[cfg(test)]
    pub(super) fn decoder(&self) -> &D {
        &self.0.decoder
    }
}

/// A block's place among those that are being decoded.
struct Turn<'a, D> {
    inner: &'a Inner<D>,
    block: u64,
}

impl<D> Turn<'_, D> {
    fn end(self, state: &mut State) {
        self.leave(state);
        mem::forget(self);
    }

    fn leave(&self, state: &mut State) {
        state.busy.retain(|&block| block != self.block);
        state.wanted.retain(|&block| block != self.block);
        self.inner.done.notify_all();
    }
}

impl<D> Drop for Turn<'_, D> {
    fn drop(&mut self) {
        self.leave(&mut self.inner.state.lock());
    }
}

impl<D: Decode + 'static> Inner<D> {
    fn kept(&self, n: u64) -> Option<Block> {
        self.shared.blocks.get(&(self.id, n))
    }

    fn keep(&self, n: u64, block: &Block) {
        self.shared.blocks.insert((self.id, n), block.clone(), block.len());
    }

    /// Returns a block that was decoded lately, or decodes it.
    fn block(&self, n: u64) -> Result<Block> {
        loop {
            if let Some(block) = self.kept(n) {
                return Ok(block);
            }
            if let Some(_turn) = self.turn(self.state.lock(), n) {
                return self.decode(n);
            }
        }
    }

    /// Waits until a block can be decoded; `None` if somebody else has done so.
    fn turn(&self, mut state: MutexGuard<'_, State>, n: u64) -> Option<Turn<'_, D>> {
        state.wanted.push(n);
        let mine = loop {
            if self.kept(n).is_some() {
                break None;
            }
            if !state.busy.contains(&n) && state.busy.len() < self.decoder.at_once() {
                break Some(self.take_turn(&mut state, n));
            }
            self.done.wait(&mut state);
        };
        if let Some(at) = state.wanted.iter().position(|&wanted| wanted == n) {
            state.wanted.swap_remove(at);
        }
        mine
    }

    fn take_turn(&self, state: &mut State, n: u64) -> Turn<'_, D> {
        state.busy.push(n);
        Turn { inner: self, block: n }
    }

    /// Says whether somebody waits for a block that nobody decodes, nor will who goes ahead from `n` on.
    fn others_want(&self, state: &State, n: u64) -> bool {
        let soon = n..n + self.blocks_ahead();
        let is_left = |n: &u64| !soon.contains(n) && !state.busy.contains(n) && self.kept(*n).is_none();
        state.wanted.iter().any(is_left)
    }

    fn decode(&self, n: u64) -> Result<Block> {
        let block = self.decoder.decode(n, &mut |n, block| self.keep(n, &block))?;
        self.keep(n, &block);
        Ok(block)
    }

    /// Returns the block that has the byte at `offset`, and where in it.
    fn read(self: &Arc<Self>, offset: u64) -> Result<(Block, usize)> {
        let size = self.decoder.block_size();
        let block = self.block(offset / size)?;
        self.go_on(offset / size);
        Ok((block, (offset % size) as usize))
    }

    /// Takes notice of a read, and has the next blocks decoded for a reader that will read on.
    fn go_on(self: &Arc<Self>, n: u64) {
        let mut state = self.state.lock();
        let run = &mut state.run;
        let is_near = n.abs_diff(run.next) <= (DISORDER / self.decoder.block_size()).max(1);
        let next = if is_near { run.next.max(n + 1) } else { n + 1 };
        run.length = if is_near { run.length + u64::from(next > run.next) } else { 1 };
        run.next = next;
        run.ahead = if is_near { run.ahead.max(next) } else { next };
        // By halves, so that threads are not woken for each block.
        let is_far_ahead = run.ahead >= next + self.blocks_ahead().div_ceil(2);
        if is_far_ahead || self.wanted_ahead(&state).is_none() {
            return;
        }
        self.moved.notify_all();
        while state.run.threads < self.decoder.at_once() && self.start_ahead(&state.run) {
            state.run.threads += 1;
        }
    }

    /// Starts a thread that decodes ahead, unless too many members are; without it the reader decodes for himself.
    fn start_ahead(self: &Arc<Self>, run: &Run) -> bool {
        let members = &self.shared.members_ahead;
        if run.threads == 0 && members.fetch_add(1, Ordering::Relaxed) >= MAX_AHEAD {
            members.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        let inner = self.clone();
        let started = thread::Builder::new().name("ahead".into()).spawn(move || Ahead(&inner).decode());
        if started.is_err() && run.threads == 0 {
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

    /// Returns the block that is to be decoded next ahead of the reader, if he will want it soon.
    fn wanted_ahead(&self, State { busy, run, .. }: &State) -> Option<u64> {
        let end = (run.next + self.blocks_ahead()).min(self.blocks());
        let mut ahead = run.ahead..if run.length >= LONG { end } else { 0 };
        ahead.find(|&n| !busy.contains(&n) && self.kept(n).is_none())
    }
}

/// A thread that decodes ahead.
struct Ahead<'a, D: Decode + 'static>(&'a Inner<D>);

impl<D: Decode + 'static> Ahead<'_, D> {
    fn decode(&self) {
        let inner = self.0;
        let mut state = inner.state.lock();
        let mut has_decoded = false;
        loop {
            let Some(n) = inner.wanted_ahead(&state) else {
                let is_at_end = state.run.next + inner.blocks_ahead() >= inner.blocks();
                let patience = if is_at_end { Duration::ZERO } else { PATIENCE };
                let waited = inner.moved.wait_for(&mut state, patience);
                if waited.timed_out() && inner.wanted_ahead(&state).is_none() {
                    drop(state);
                    inner.decoder.rest();
                    return;
                }
                continue;
            };
            // Whoever wants something else goes first, and the reader may move meanwhile: it is asked anew for what to do.
            if state.busy.len() >= inner.decoder.at_once() {
                inner.done.wait(&mut state);
                continue;
            }
            if has_decoded && inner.others_want(&state, n) {
                inner.done.wait_for(&mut state, TURN);
                has_decoded = false;
                continue;
            }
            has_decoded = true;
            state.run.ahead = n + 1;
            let turn = inner.take_turn(&mut state, n);
            drop(state);
            let is_bad = inner.decode(n).is_err();
            state = inner.state.lock();
            // Goes on before those can who wait for what comes next: to go from thread to thread takes time.
            turn.end(&mut state);
            if is_bad {
                // It is told to whoever reads the block.
                state.run.length = 0;
            }
        }
    }
}

impl<D: Decode + 'static> Drop for Ahead<'_, D> {
    fn drop(&mut self) {
        let run = &mut self.0.state.lock().run;
        run.threads -= 1;
        if run.threads == 0 {
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
