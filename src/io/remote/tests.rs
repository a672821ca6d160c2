use super::*;
use crate::io::Reader;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;

const MIB: usize = 1 << 20;
const BLOCK: usize = 64 << 10;

/// An object that is some way off.
struct Far {
    bytes: Arc<Vec<u8>>,
    delay: Duration,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    bytes: AtomicU64,
    requests: AtomicUsize,
    fails: AtomicBool,
}

impl Fetch for Far {
    fn fetch(&self, range: Range<u64>, take: Taker) {
        self.log.requests.fetch_add(1, Ordering::Relaxed);
        self.log.bytes.fetch_add(range.end - range.start, Ordering::Relaxed);
        let (bytes, delay, fails) = (self.bytes.clone(), self.delay, self.log.fails.load(Ordering::Relaxed));
        assert!(range.start < range.end && range.end <= bytes.len() as u64, "{range:?}");
        thread::spawn(move || {
            thread::sleep(delay);
            let bytes = bytes[range.start as usize..range.end as usize].to_vec();
            take(if fails { Err(Error::new(Kind::Stale, "deliberate")) } else { Ok(bytes) });
        });
    }
}

fn content(len: usize) -> Arc<Vec<u8>> {
    Arc::new((0..len as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 37) as u8).collect())
}

fn far(bytes: &Arc<Vec<u8>>, delay_ms: u64, shared: &Arc<Readahead>) -> (Arc<Remote>, Reader, Arc<Log>) {
    let log = Arc::new(Log::default());
    let fetch = Far { bytes: bytes.clone(), delay: Duration::from_millis(delay_ms), log: log.clone() };
    let remote = Arc::new(Remote::new(fetch, bytes.len() as u64, shared));
    (remote.clone(), Arc::new(RemoteReader::new(remote, &Cancel::new())), log)
}

fn check(reader: &Reader, bytes: &[u8], at: usize, len: usize) {
    let end = bytes.len().min(at + len);
    assert!(reader.read_vec(at as u64, len).unwrap() == bytes[at.min(end)..end], "{len} bytes at {at}");
}

/// A number below `below` that looks random.
fn number(seed: &mut u64, below: usize) -> usize {
    *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*seed >> 33) as usize % below
}

/// Has threads read steps of `step` bytes, each the next that none has read.
fn read_in_order(reader: &Reader, bytes: &[u8], threads: usize, step: usize) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(step, Ordering::Relaxed);
                    if at >= bytes.len() {
                        return;
                    }
                    check(reader, bytes, at, step);
                }
            });
        }
    });
}

#[test]
fn any_bytes_are_the_right_ones_by_any_number_of_threads() {
    for len in [0, 1, BLOCK, BLOCK + 1, 5 * MIB + 77] {
        let bytes = content(len);
        let (_, reader, _) = far(&bytes, 0, &Readahead::new(2 * MIB));
        thread::scope(|scope| {
            for thread in 0..4u64 {
                let (reader, bytes) = (&reader, &bytes);
                scope.spawn(move || {
                    let mut seed = thread;
                    for _ in 0..100 {
                        let at = number(&mut seed, len + 10);
                        check(reader, bytes, at, number(&mut seed, 300_000));
                    }
                });
            }
        });
        check(&reader, &bytes, 0, len + 1);
    }
}

#[test]
fn what_threads_read_in_order_together_is_fetched_once() {
    let bytes = content(64 * MIB);
    for (threads, step, delay) in [(1, 176 << 10, 2), (4, 176 << 10, 2), (4, 128 << 10, 0), (8, 100_000, 5)] {
        let shared = Readahead::new(32 * MIB);
        let (_, reader, log) = far(&bytes, delay, &shared);
        read_in_order(&reader, &bytes, threads, step);
        let fetched = log.bytes.load(Ordering::Relaxed) as f64 / bytes.len() as f64;
        assert!(fetched <= 1.05, "{fetched} with {threads} threads");
        let requests = log.requests.load(Ordering::Relaxed);
        assert!(requests < 80, "{requests} requests with {threads} threads");
        assert!(shared.state.lock().pieces.held() <= 48 * MIB as u64);
    }
}

#[test]
fn several_places_of_one_object_are_read_in_order_at_once() {
    let bytes = content(96 * MIB);
    let (_, reader, log) = far(&bytes, 2, &Readahead::new(32 * MIB));
    thread::scope(|scope| {
        for part in 0..3 {
            let (reader, bytes) = (&reader, &bytes);
            scope.spawn(move || {
                let (start, end) = (part * 32 * MIB, part * 32 * MIB + 24 * MIB);
                for at in (start..end).step_by(128 << 10) {
                    check(reader, bytes, at, 128 << 10);
                }
            });
        }
    });
    // What is fetched beyond the end of each is what they did not stop for.
    let fetched = log.bytes.load(Ordering::Relaxed) as usize;
    assert!(fetched <= 72 * MIB + 32 * MIB, "{fetched}");
    assert!(log.requests.load(Ordering::Relaxed) < 150);
}

#[test]
fn reads_here_and_there_fetch_what_they_ask_for_and_leave_nothing() {
    let bytes = content(64 * MIB);
    let shared = Readahead::new(32 * MIB);
    let (_, reader, log) = far(&bytes, 0, &shared);
    let mut seed = 7;
    for _ in 0..200 {
        check(&reader, &bytes, number(&mut seed, 64 * MIB / BLOCK) * BLOCK, BLOCK);
    }
    assert!(log.bytes.load(Ordering::Relaxed) as usize <= 202 * BLOCK);
    assert!(shared.state.lock().pieces.held() <= 4 * BLOCK as u64);
}

#[test]
fn small_reads_in_a_row_are_answered_by_one_request() {
    let bytes = content(8 * MIB);
    let (_, reader, log) = far(&bytes, 0, &Readahead::new(32 * MIB));
    for at in (4 * MIB..4 * MIB + 128 * 1024).step_by(1000) {
        check(&reader, &bytes, at, 1000);
    }
    let requests = log.requests.load(Ordering::Relaxed);
    assert!(requests <= 4, "{requests}");
}

#[test]
fn what_many_ask_for_at_once_is_fetched_once() {
    let bytes = content(8 * MIB);
    let (_, reader, log) = far(&bytes, 100, &Readahead::new(32 * MIB));
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| check(&reader, &bytes, 5 * MIB, 100_000));
        }
    });
    assert_eq!(log.requests.load(Ordering::Relaxed), 1);
}

#[test]
fn all_objects_together_hold_no_more_than_the_budget() {
    let bytes = content(24 * MIB);
    let shared = Readahead::new(8 * MIB);
    let readers: Vec<_> = (0..20).map(|_| far(&bytes, 1, &shared)).collect();
    thread::scope(|scope| {
        for (_, reader, _) in &readers {
            let (shared, bytes) = (&shared, &bytes);
            scope.spawn(move || {
                for at in (0..6 * MIB).step_by(128 << 10) {
                    check(reader, bytes, at, 128 << 10);
                    let held = shared.state.lock().pieces.held();
                    // Half as much again is kept; what is waited for at the moment comes on top.
                    assert!(held <= (12 * MIB + 20 * 256 * 1024) as u64, "{held}");
                }
            });
        }
    });
    drop(readers);
    assert_eq!(shared.state.lock().pieces.held(), 0);
}

#[test]
fn an_error_is_for_all_that_wait_and_is_not_kept() {
    let bytes = content(MIB);
    let (_, reader, log) = far(&bytes, 50, &Readahead::new(32 * MIB));
    log.fails.store(true, Ordering::Relaxed);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(reader.read_vec(5, 5).unwrap_err().kind(), Kind::Stale));
        }
    });
    log.fails.store(false, Ordering::Relaxed);
    check(&reader, &bytes, 5, 5);
}

#[test]
fn a_raised_flag_ends_who_waits() {
    let bytes = content(MIB);
    let (remote, _, _) = far(&bytes, 20_000, &Readahead::new(32 * MIB));
    let stop = Cancel::new();
    let reader = RemoteReader::new(remote, &stop);
    let begun = Instant::now();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| reader.read_vec(0, 10).unwrap_err().kind());
        thread::sleep(Duration::from_millis(100));
        stop.cancel();
        assert_eq!(waiting.join().unwrap(), Kind::Cancelled);
    });
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn warm_ends_are_there_when_they_are_read() {
    let bytes = content(5 * MIB + 100);
    let (remote, reader, log) = far(&bytes, 0, &Readahead::new(32 * MIB));
    remote.warm();
    remote.warm();
    check(&reader, &bytes, 0, BLOCK);
    check(&reader, &bytes, 5 * MIB + 100 - BLOCK, BLOCK);
    assert_eq!(log.requests.load(Ordering::Relaxed), 2);
}
