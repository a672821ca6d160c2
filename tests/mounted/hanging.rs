//! A store that hangs, under many requests: what is in memory is answered, what does not hang is served, what hangs fails
//! after its time, and the program ends when it is unmounted. The store is another mount, whose program is stopped.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::corpus;
use crate::support::mount::{self, Mount, Place, errno, run, within};
use cddsfs::store::managed::Managed;

const SECOND: Duration = Duration::from_secs(1);
/// What needs no store is answered at once, but this machine may be busy. What waits for the store waits for 30 s.
const SOON: Duration = Duration::from_secs(5);
const STUCK: usize = 500;

/// A store of symbolic links: `hangs-<n>` and `large` lead into another mount, `good` does not.
struct Stack {
    upper: Mount,
    /// Ended last, and not stopped any more then.
    lower: Mount,
    place: Place,
}

impl Stack {
    fn new(count: usize) -> Stack {
        let place = Place::new();
        let [files, below] = ["files", "below"].map(|name| place.root().join(name));
        [&files, &below].iter().for_each(|dir| fs::create_dir(dir).unwrap());
        let plain = place.root().join("plain");
        let message = |member: &str, size: usize, to: &Path| {
            let make = "import os, sys, zipfile
zipfile.ZipFile(sys.argv[1], 'w').writestr(sys.argv[2], os.urandom(int(sys.argv[3])))";
            mount::python(make, [plain.to_str().unwrap(), member, &size.to_string()]);
            corpus::encrypt(&plain, to);
        };
        message("member", 999, &place.store().join("good.zip.smime"));
        message("member", 8 << 20, &files.join("large.zip.smime"));
        fs::remove_file(&plain).unwrap();
        let name = |n: usize| format!("hangs-{n}.zip.smime");
        (0..count).for_each(|n| drop(fs::copy(place.store().join("good.zip.smime"), files.join(name(n)))));
        let key = corpus::private_copy("k1.pem");
        let mount = |from: &Path, to: &Path| {
            let mut command = place.cddsfs(["mount", "-f", "--key"]);
            Mount::start(
                {
                    command.arg(&key).arg(from).arg(to);
                    command
                },
                to,
            )
        };
        let lower = mount(&files, &below);
        for name in (0..count).map(name).chain(["large.zip.smime".into()]) {
            symlink(below.join("encrypted").join(&name), place.store().join(&name)).unwrap();
        }
        let upper = mount(&place.store(), &place.point());
        let stack = Stack { upper, lower, place };
        // Everything has been looked at once.
        assert_eq!(stack.upper.names("artifacts").len(), count + 2);
        for stem in stack.upper.names("contents") {
            assert!(fs::metadata(stack.upper.zip(&stem)).unwrap().len() > 999, "{stem}");
        }
        stack
    }

    /// Stops the lower mount. What it has been handed before that nobody can be killed out of, so all of it has to stand.
    fn stop(&mut self) {
        let tasks = format!("/proc/{}/task", self.lower.pid());
        self.lower.signal(libc::SIGSTOP);
        within(SOON, "all threads are stopped", || {
            let mut stats = fs::read_dir(&tasks).unwrap().map(|task| {
                let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
                stat.rsplit_once(") ").unwrap().1.to_string()
            });
            stats.all(|stat| stat.starts_with('T'))
        });
    }

    fn hangs(&self, n: usize) -> PathBuf {
        self.upper.path(&format!("encrypted/hangs-{n}.zip.smime"))
    }

    /// What is in memory, and what does not hang.
    fn answers_soon(&self) {
        let begun = Instant::now();
        for dir in ["", "artifacts", "contents", "encrypted", "history"] {
            assert!(self.upper.names(dir).len() >= 4, "{dir}");
        }
        assert!(fs::metadata(self.hangs(3)).unwrap().len() > 999);
        assert!(fs::metadata(self.upper.zip("hangs-4")).unwrap().len() > 999);
        let record = fs::read_to_string(self.upper.path("history/hangs-5.json")).unwrap();
        assert!(record.contains("hangs-5.zip.smime"), "{record}");
        assert!(fs::read(self.upper.zip("good")).unwrap().starts_with(b"PK"));
        assert_eq!(fs::read(self.upper.path("contents/good/member")).unwrap().len(), 999);
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.lower.signal(libc::SIGCONT);
        mount::take_away(&self.place.point());
    }
}

/// Waits for the end of a program that is not in use, which comes soon.
fn ends_soon(mount: &mut Mount) -> Vec<String> {
    let begun = Instant::now();
    let log = mount.ended();
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    log
}

#[test]
fn however_many_requests_hang_everything_else_is_answered() {
    let mut stack = Stack::new(STUCK);
    let large = File::open(stack.upper.zip("large")).unwrap();
    stack.stop();
    let (stack_ref, large_ref) = (&stack, &large);
    let answers: Vec<(i32, Duration)> = thread::scope(|scope| {
        let timed = |work: Box<dyn FnOnce() -> i32 + Send>| {
            move || {
                let begun = Instant::now();
                (work(), begun.elapsed())
            }
        };
        let mut waiting = Vec::new();
        for n in 0..STUCK {
            let path = stack_ref.hangs(n);
            waiting.push(scope.spawn(timed(Box::new(move || errno(File::open(path))))));
        }
        for n in 0..40 {
            let file = large_ref.try_clone().unwrap();
            let read = move || errno(file.read_at(&mut [0; 4096], 200_000 * n));
            waiting.push(scope.spawn(timed(Box::new(read))));
        }
        thread::sleep(2 * SECOND);
        let begun = Instant::now();
        while begun.elapsed() < 20 * SECOND {
            stack_ref.answers_soon();
            thread::sleep(SECOND);
        }
        waiting.into_iter().map(|waiting| waiting.join().unwrap()).collect()
    });
    for (i, (errno, waited)) in answers.iter().enumerate() {
        // What the kernel had read ahead is there.
        let may_be_there = i >= STUCK && *errno == 0;
        let is_right = *errno == libc::ETIMEDOUT && (25 * SECOND..50 * SECOND).contains(waited);
        assert!(may_be_there || is_right, "{i}: errno {errno} after {waited:?}");
    }
    assert!(answers.iter().skip(STUCK).any(|(errno, _)| *errno != 0), "the test would see nothing");
    stack.answers_soon();
    drop(large);
    let mut unmount = stack.place.cddsfs(["unmount"]);
    let output = run(unmount.arg(stack.place.point()));
    assert!(output.status.success(), "{output:?}");
    ends_soon(&mut stack.upper);
}

#[test]
fn a_signal_ends_a_mount_whose_store_hangs() {
    let mut stack = Stack::new(40);
    stack.stop();
    let waiting: Vec<_> = (0..40)
        .map(|n| {
            let path = stack.hangs(n);
            thread::spawn(move || errno(File::open(path)))
        })
        .collect();
    thread::sleep(2 * SECOND);
    stack.upper.signal(libc::SIGTERM);
    ends_soon(&mut stack.upper);
    waiting.into_iter().for_each(|waiting| assert_eq!(waiting.join().unwrap(), libc::ETIMEDOUT));
}

#[test]
fn a_catalogue_that_hangs_keeps_no_listing_waiting() {
    let place = Place::new();
    let store = place.root().join("managed");
    drop(Managed::init(&store).unwrap());
    let hanging = place.root().join("hanging");
    fs::create_dir(&hanging).unwrap();
    let mut bindfs = Command::new("bindfs");
    bindfs.args(["-f", "--no-allow-other"]).arg(&store).arg(&hanging);
    let mut bindfs = bindfs.spawn().expect("bindfs (scripts/setup --test installs it)");
    within(SOON, "bindfs is there", || hanging.join("cddsfs.db").exists());
    let mut command = place.cddsfs(["mount", "-f"]);
    command.arg(&hanging).arg(place.point());
    let mount = Mount::start(command, &place.point());
    let spec = "{\"title\":\"t\",\"type\":\"Contact\",\"run\":{\"every\":\"day\",\"at\":\"02:00\"}}";
    fs::write(mount.path("jobs/a.json"), spec).unwrap();
    let before = ["", "artifacts", "history", "jobs"].map(|dir| mount.names(dir));
    assert_eq!((before[2].len(), before[3].len()), (1, 3));
    mount::send(bindfs.id(), libc::SIGSTOP);
    thread::sleep(SECOND);
    let waiting: Vec<_> = (0..40)
        .map(|_| {
            let path = mount.path("history").join(&before[2][0]);
            thread::spawn(move || errno(fs::read(path)))
        })
        .collect();
    thread::sleep(SECOND);
    let begun = Instant::now();
    let during = ["", "artifacts", "history", "jobs"].map(|dir| mount.names(dir));
    let took = begun.elapsed();
    mount::send(bindfs.id(), libc::SIGCONT);
    waiting.into_iter().for_each(|waiting| drop(waiting.join()));
    assert_eq!(during, before);
    assert!(took < 2 * SOON, "{took:?}");
    mount.unmount();
    mount::take_away(&hanging);
    bindfs.kill().unwrap();
    bindfs.wait().unwrap();
}
