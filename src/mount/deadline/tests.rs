use std::sync::mpsc::{Receiver, Sender, channel};

use super::threads::{MAX_PER_PLACE, MAX_THREADS};
use super::*;
use crate::io::take_permit;

const LONG: Duration = Duration::from_secs(20);

struct Probe(Sender<Option<i32>>);

impl Answer for Probe {
    fn fail(self, error: &Error) {
        let _ = self.0.send(Some(error.errno()));
    }
}

fn well(reply: &Pending<Probe>) -> bool {
    reply.send(|probe| {
        let _ = probe.0.send(None);
    })
}

fn done(reply: &Pending<Probe>) {
    well(reply);
}

/// Work that hangs as long as somebody else holds the lock.
struct Hang(Arc<Mutex<()>>);

impl Hang {
    fn work(&self) -> impl FnOnce(&Pending<Probe>) + Send + 'static {
        let hang = self.0.clone();
        move |reply| {
            drop(hang.lock());
            well(reply);
        }
    }
}

fn files(number: u64) -> Needs {
    Needs::Store(Place::Files(number))
}

impl Deadline {
    /// Makes all requests of a place older.
    fn age(&self, place: Place, by: Duration) {
        let mut running = self.requests.running.lock();
        running.values_mut().filter(|running| running.place == place).for_each(|running| running.since -= by);
    }
}

/// A deadline that looks only when it is told to.
fn unwatched(loops: usize) -> Deadline {
    Deadline { requests: Arc::new(Requests { loops, ..Requests::default() }), _watch: None }
}

fn answers(receiver: &Receiver<Option<i32>>, count: usize) -> Vec<Option<i32>> {
    (0..count).map(|_| receiver.recv_timeout(LONG).unwrap()).collect()
}

#[test]
fn an_overdue_request_is_answered_once() {
    let (deadline, (sender, receiver)) = (unwatched(1), channel());
    let (begun, is_begun) = channel();
    let (go, gone) = channel();
    deadline.run_at(Probe(sender), files(1), move |reply| {
        begun.send(()).unwrap();
        go.send(well(reply)).unwrap();
    });
    is_begun.recv_timeout(LONG).unwrap();
    assert_eq!((answers(&receiver, 1), gone.recv_timeout(LONG)), (vec![None], Ok(true)));
    let (sender, receiver) = channel();
    let hang = Hang(Arc::default());
    let held = hang.0.lock();
    deadline.run_at(Probe(sender), files(1), hang.work());
    deadline.requests.check_running();
    assert!(receiver.try_recv().is_err(), "its time is not up");
    deadline.age(Place::Files(1), LIMIT);
    deadline.requests.check_running();
    assert_eq!(answers(&receiver, 1), [Some(libc::ETIMEDOUT)]);
    drop(held);
    assert!(receiver.recv_timeout(LONG).is_err(), "one answer is all there is");
}

#[test]
fn only_files_that_hang_are_given_less_time() {
    let (deadline, (sender, receiver)) = (unwatched(1), channel());
    let hang = Hang(Arc::default());
    let _held = hang.0.lock();
    deadline.run_at(Probe(sender.clone()), files(1), hang.work());
    deadline.age(Place::Files(1), LIMIT);
    for place in [1, 2] {
        deadline.run_at(Probe(sender.clone()), files(place), hang.work());
        deadline.age(Place::Files(place), LIMIT_WHILE_HANGING);
    }
    deadline.requests.check_running();
    assert_eq!(answers(&receiver, 2), [Some(libc::ETIMEDOUT); 2]);
    assert!(receiver.try_recv().is_err(), "the other ones do not hang as far as is known");
}

#[test]
fn however_many_hang_there_are_threads_for_other_places_and_memory_is_answered() {
    let (deadline, (stuck, _stuck)) = (unwatched(1), channel());
    let hang = Hang(Arc::default());
    let _held = hang.0.lock();
    for number in 0..10_000 {
        deadline.run_at(Probe(stuck.clone()), files(number % 7), hang.work());
    }
    assert_eq!(deadline.requests.threads.count(), 7 * MAX_PER_PLACE);
    let (sender, receiver) = channel();
    deadline.run_at(Probe(sender.clone()), files(7), done);
    assert_eq!(answers(&receiver, 1), [None]);
    for number in 10..10_000 {
        deadline.run_at(Probe(stuck.clone()), files(number), hang.work());
    }
    assert!(deadline.requests.threads.count() <= MAX_THREADS);
    deadline.run(Probe(sender), || Needs::Memory, done);
    assert_eq!(answers(&receiver, 1), [None]);
}

#[test]
fn what_has_not_begun_when_time_is_up_never_begins() {
    let (deadline, (sender, receiver)) = (unwatched(1), channel());
    let hang = Hang(Arc::default());
    let held = hang.0.lock();
    for _ in 0..MAX_PER_PLACE {
        deadline.run_at(Probe(sender.clone()), files(1), hang.work());
    }
    let (begun, is_begun) = channel::<()>();
    deadline.run_at(Probe(sender.clone()), files(1), move |_| begun.send(()).unwrap());
    deadline.age(Place::Files(1), LIMIT);
    deadline.requests.check_running();
    assert_eq!(answers(&receiver, MAX_PER_PLACE + 1), [Some(libc::ETIMEDOUT); MAX_PER_PLACE + 1]);
    drop(held);
    assert!(is_begun.recv_timeout(LONG).is_err(), "it is forgotten");
    deadline.run_at(Probe(sender), files(1), done);
    assert_eq!(answers(&receiver, 1), [None], "the place is worked at again");
}

#[test]
fn a_change_is_made_or_time_is_up_and_never_both() {
    let (deadline, (sender, receiver)) = (unwatched(1), channel());
    for is_taken_first in [true, false] {
        let hang = Hang(Arc::default());
        let held = hang.0.lock();
        let (told, is_told) = channel();
        let (taken, is_taken) = channel();
        let (wait, late) = (hang.0.clone(), told.clone());
        let work = move |reply: &Pending<Probe>| {
            if is_taken_first {
                take_permit().unwrap();
            }
            told.send("begun").unwrap();
            drop(wait.lock());
            taken.send(take_permit().is_ok()).unwrap();
            well(reply);
        };
        deadline.change(Probe(sender.clone()), move || late.send("late").unwrap(), work);
        assert_eq!(is_told.recv_timeout(LONG), Ok("begun"));
        deadline.age(Place::Changes, LIMIT);
        deadline.requests.check_running();
        if is_taken_first {
            assert!(receiver.try_recv().is_err(), "its answer is to come");
        } else {
            assert_eq!(is_told.try_recv(), Ok("late"), "before the answer");
            assert_eq!(answers(&receiver, 1), [Some(libc::ETIMEDOUT)]);
        }
        drop(held);
        assert_eq!(is_taken.recv_timeout(LONG), Ok(is_taken_first));
        if is_taken_first {
            assert_eq!(answers(&receiver, 1), [None]);
        }
    }
}

#[test]
fn what_has_been_begun_and_does_not_end_is_said_as_such() {
    let (deadline, (sender, receiver)) = (unwatched(1), channel());
    let hang = Hang(Arc::default());
    let _held = hang.0.lock();
    let (begun, is_begun) = channel();
    let wait = hang.0.clone();
    deadline.change(
        Probe(sender),
        || panic!("it is not late"),
        move |_| {
            take_permit().unwrap();
            begun.send(()).unwrap();
            drop(wait.lock());
        },
    );
    is_begun.recv_timeout(LONG).unwrap();
    deadline.age(Place::Changes, 2 * LIMIT);
    deadline.requests.check_running();
    assert_eq!(answers(&receiver, 1), [Some(libc::EINPROGRESS)]);
}

#[test]
fn what_is_known_stands_in_after_a_moment() {
    let (deadline, (sender, receiver)) = (Deadline::start(1), channel());
    let hang = Hang(Arc::default());
    let _held = hang.0.lock();
    let known = |probe: Probe| probe.0.send(Some(-1)).unwrap();
    deadline.run_or(Probe(sender.clone()), Needs::Store(Place::Catalogue), known, hang.work());
    assert_eq!(answers(&receiver, 1), [Some(-1)]);
    deadline.run_or(Probe(sender), Needs::Store(Place::Disk), known, done);
    assert_eq!(answers(&receiver, 1), [None], "and only then");
}

#[test]
fn slow_requests_leave_an_event_loop_free() {
    let (deadline, (sender, receiver)) = (unwatched(3), channel());
    let hang = Hang(Arc::default());
    let held = hang.0.lock();
    let here = std::thread::current().id();
    // One event loop is busy: there is one more that may be.
    deadline.requests.busy.fetch_add(1, Ordering::Relaxed);
    let (at, is_at) = channel();
    let tell = at.clone();
    deadline
        .run_at(Probe(sender.clone()), files(1), move |_| tell.send(std::thread::current().id()).unwrap());
    assert_eq!(is_at.recv_timeout(LONG), Ok(here));
    deadline.requests.busy.fetch_add(1, Ordering::Relaxed);
    let wait = hang.work();
    deadline.run(
        Probe(sender),
        || files(1),
        move |reply| {
            at.send(std::thread::current().id()).unwrap();
            wait(reply);
        },
    );
    assert_ne!(is_at.recv_timeout(LONG), Ok(here));
    drop(held);
    assert_eq!(answers(&receiver, 1), [None]);
}

#[test]
fn a_panic_fails_one_request() {
    let (deadline, (sender, receiver)) = (unwatched(1), channel());
    for needs in [files(1), Needs::Memory] {
        deadline.run_at(Probe(sender.clone()), needs, |_| panic!("deliberate"));
        deadline.run_at(Probe(sender.clone()), needs, done);
        assert_eq!(answers(&receiver, 1), [None]);
    }
}
