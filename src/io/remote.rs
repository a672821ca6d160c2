//! Bytes that are far away: every request takes a while, however few bytes it asks for.
//!
//! Reads here and there fetch what they ask for, in blocks of 64 KiB. What is read in order is fetched ahead, in chunks that become
//! larger and more for as long as somebody has to wait for them ([`cursor`]). Nothing is fetched twice at the same time, and what
//! somebody waits for stays until he has it. All objects together hold no more than one budget ([`pieces`]).

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{Cancel, ReadAt, available};
use crate::error::{Error, Kind, Result};

mod ahead;
mod cursor;
mod pieces;
#[cfg(test)]
mod tests;

use ahead::{Begun, State};
use pieces::Content;

/// How long a read waits. What fetches gives up earlier.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often who waits looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// Takes the bytes of a range, or why there are none. It takes no time.
pub(crate) type Taker = Box<dyn FnOnce(Result<Vec<u8>>) + Send>;

/// Where bytes come from.
pub(crate) trait Fetch: Send + Sync {
    /// Begins to fetch a range, which the object has, and returns at once. `take` is called once, by whatever thread and in bounded time,
    /// with exactly the bytes of that range, of the one version that is meant: fails with [`Kind::Stale`] when there is another.
    fn fetch(&self, range: Range<u64>, take: Taker);
}

/// What is held of all objects of a mount.
pub(crate) struct Readahead {
    state: Mutex<State>,
    landed: Condvar,
    numbers: AtomicU64,
}

impl Readahead {
    /// So many bytes may be held ahead of who reads in order; what else is kept has half as much.
    pub(crate) fn new(limit: usize) -> Arc<Readahead> {
        let state = Mutex::new(State::new(limit as u64));
        Arc::new(Readahead { state, landed: Condvar::new(), numbers: AtomicU64::new(0) })
    }
}

/// One version of an object.
pub(crate) struct Remote {
    fetch: Box<dyn Fetch>,
    len: u64,
    number: u64,
    shared: Arc<Readahead>,
}

impl Remote {
    pub(crate) fn new(fetch: impl Fetch + 'static, len: u64, shared: &Arc<Readahead>) -> Remote {
        let number = shared.numbers.fetch_add(1, Ordering::Relaxed);
        Remote { fetch: Box::new(fetch), len, number, shared: shared.clone() }
    }

    /// Begins to fetch its beginning and its end, as far as there is room to keep them.
    pub(crate) fn warm(&self) {
        let begun = self.shared.state.lock().begin_ends(self.number, self.len, Instant::now());
        self.fetch_all(begun);
    }

    fn fetch_all(&self, begun: Vec<Begun>) {
        for begun in begun {
            let (shared, number) = (self.shared.clone(), self.number);
            let take = {
                let begun = begun.clone();
                move |bytes: Result<Vec<u8>>| {
                    let content = match bytes {
                        Ok(bytes) => Content::Here(Arc::new(bytes)),
                        Err(error) => Content::Failed(error),
                    };
                    shared.state.lock().land(number, &begun, content, Instant::now());
                    shared.landed.notify_all();
                }
            };
            self.fetch.fetch(begun.range, Box::new(take));
        }
    }

    fn read(&self, buf: &mut [u8], offset: u64, stop: &Cancel) -> Result<usize> {
        stop.check()?;
        let wanted = available(self.len, offset, buf.len());
        if wanted == 0 {
            return Ok(0);
        }
        let end = offset + wanted as u64;
        let until = Instant::now() + PATIENCE;
        let begun = self.shared.state.lock().begin(self.number, self.len, &(offset..end), Instant::now());
        self.fetch_all(begun);
        let mut done = 0;
        while done < wanted {
            let at = offset + done as u64;
            let (start, piece) = self.piece(at..end, until, stop)?;
            let n = piece.read_at(&mut buf[done..wanted], at - start)?;
            if n == 0 {
                return Err(Error::damaged("fewer bytes have come than were asked for"));
            }
            done += n;
        }
        Ok(wanted)
    }

    /// Waits for the piece that has the first byte of a range, and returns it and where it begins.
    fn piece(&self, range: Range<u64>, until: Instant, stop: &Cancel) -> Result<(u64, Arc<Vec<u8>>)> {
        let (object, at) = (self.number, range.start);
        let mut state = self.shared.state.lock();
        loop {
            stop.check()?;
            let now = Instant::now();
            match state.pieces.around(object, at).map(|(start, piece)| (start, piece.end, &piece.content)) {
                Some((start, end, Content::Here(bytes))) => {
                    let bytes = bytes.clone();
                    state.pieces.consume(object, start, range.end.min(end) - at, now);
                    return Ok((start, bytes));
                }
                Some((_, _, Content::Failed(error))) => return Err(error.clone()),
                Some((_, _, Content::OnItsWay)) if now >= until => {
                    return Err(Error::new(Kind::TimedOut, "the store did not answer in time"));
                }
                Some((_, _, Content::OnItsWay)) => {
                    state.pieces.pin(object, at);
                    self.shared.landed.wait_until(&mut state, until.min(now + LOOK));
                    let failed = state.pieces.unpin(object, at);
                    failed.map_or(Ok(()), Err)?;
                }
                // It has had to go for others meanwhile.
                None => {
                    let begun = state.begin_exact(object, self.len, &range, now);
                    drop(state);
                    self.fetch_all(begun);
                    state = self.shared.state.lock();
                }
            }
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.shared.state.lock().forget(self.number);
    }
}

/// Reads an object. Reads fail once `stop` is raised.
pub(crate) struct RemoteReader {
    remote: Arc<Remote>,
    stop: Cancel,
}

impl RemoteReader {
    pub(crate) fn new(remote: Arc<Remote>, stop: &Cancel) -> RemoteReader {
        RemoteReader { remote, stop: stop.clone() }
    }
}

impl ReadAt for RemoteReader {
    fn len(&self) -> u64 {
        self.remote.len
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.remote.read(buf, offset, &self.stop)
    }
}
