//! What the exports of a store must turn out to be, whoever looks: the library alone, or programs through the kernel.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use cddsfs::error::Error;
use cddsfs::store::Store;
use cddsfs::store::clock::SystemClock;
use cddsfs::tree::{Options, ROOT, Tree};

use super::corpus;
use super::mount::{Mount, Place, errno, names};

/// Keys that open what is not meant to stay closed.
pub const KEYS: [&str; 2] = ["k1+c1.pem", "kmail.pem"];

#[derive(Debug, Clone)]
pub enum Expected {
    /// A zip with this SHA-256.
    Sha256(String),
    /// Not to be opened, with one log line that names the last part and has this text.
    Errno(i32, String),
    /// The same, but that shows only when it is read; it has this size.
    ErrnoInside(i32, String, u64),
    /// Not whole; the text has these lines.
    Incomplete(Vec<String>),
    /// A zip, but for one member, as its CRC-32 tells.
    AllBut(String),
}

/// A set of the store. `stem` is common to the names of all its parts.
#[derive(Debug, Clone)]
pub struct Case {
    pub stem: String,
    pub expected: Expected,
}

/// Someone who looks into `artifacts/`.
pub trait Observer {
    fn names(&self) -> Vec<String>;
    fn size(&self, name: &str) -> Result<u64, i32>;
    fn read(&self, name: &str) -> Result<Vec<u8>, i32>;
    /// The log lines of all that has been read.
    fn log(self) -> Vec<String>;
}

/// Has the library and then the kernel look at the store, and fails with everything that is not as expected.
pub fn check(place: &Place, cases: &[Case]) {
    let mut wrong = differences(&place.store(), cases, InProcess::new(&place.store()));
    wrong.iter_mut().for_each(|line| line.insert_str(0, "in process: "));
    wrong.extend(differences(&place.store(), cases, place.mount(&KEYS, &[])));
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn differences(store: &Path, cases: &[Case], observer: impl Observer) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut listing = BTreeSet::new();
    for Case { stem, expected } in cases {
        let zip = format!("{stem}.zip");
        let incomplete = format!("{stem}.zip.incomplete");
        let (shown, hidden) = match expected {
            Expected::Incomplete(_) => (incomplete, zip),
            _ => (zip, incomplete),
        };
        let read = observer.read(&shown);
        let size = observer.size(&shown);
        let is_right = match (expected, &read) {
            (Expected::Sha256(sha256), Ok(bytes)) => corpus::sha256(bytes) == *sha256,
            (Expected::Errno(errno, _) | Expected::ErrnoInside(errno, ..), Err(found)) => errno == found,
            (Expected::Incomplete(lines), Ok(text)) => {
                let text = String::from_utf8_lossy(text);
                lines.iter().all(|line| text.lines().any(|l| l.trim() == line))
            }
            (Expected::AllBut(member), Ok(bytes)) => bad_members(bytes) == [member.as_str()],
            _ => false,
        };
        let true_size = match (expected, &read) {
            (Expected::ErrnoInside(_, _, size), _) => *size,
            (_, Ok(bytes)) => bytes.len() as u64,
            (_, Err(_)) => stored_size(store, stem),
        };
        if !is_right {
            wrong.push(format!("{shown}: {:?}, but {expected:?} expected", read.as_ref().map(Vec::len)));
        }
        if size != Ok(true_size) {
            wrong.push(format!("{shown}: size {size:?}, but {true_size} expected"));
        }
        if observer.size(&hidden) != Err(libc::ENOENT) {
            wrong.push(format!("{hidden} is there"));
        }
        listing.insert(shown);
    }
    let names: BTreeSet<String> = observer.names().into_iter().collect();
    for name in names.symmetric_difference(&listing) {
        wrong.push(format!("{name}: {}", if names.contains(name) { "listed" } else { "not listed" }));
    }
    wrong.extend(log_differences(observer.log(), cases));
    wrong
}

/// One line for each set that cannot be opened, and no others.
fn log_differences(log: Vec<String>, cases: &[Case]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expected_lines = 0;
    for Case { stem, expected } in cases {
        let of_this = format!("warn: {stem}: ");
        let lines: Vec<&String> = log.iter().filter(|line| line.starts_with(&of_this)).collect();
        let is_right = match (expected, &lines[..]) {
            (Expected::Errno(errno, text) | Expected::ErrnoInside(errno, text, _), [line]) => {
                let beginning = format!("{of_this}errno {errno}: {stem}.zip.smime: ");
                line.starts_with(&beginning) && line.contains(text)
            }
            (Expected::Errno(..) | Expected::ErrnoInside(..), _) => false,
            (_, lines) => lines.is_empty(),
        };
        expected_lines += lines.len();
        if !is_right {
            wrong.push(format!("{stem}: log lines {lines:#?}, but {expected:?} expected"));
        }
    }
    if log.len() != expected_lines {
        wrong.push(format!("log lines that are about no set: {log:#?}"));
    }
    wrong
}

fn stored_size(store: &Path, stem: &str) -> u64 {
    let parts = names(store).into_iter().filter(|name| name.starts_with(&format!("{stem}.")));
    parts.map(|name| fs::metadata(store.join(name)).unwrap().len()).sum()
}

/// The names of a zip's members that Python cannot read.
fn bad_members(zip: &[u8]) -> Vec<String> {
    const SCRIPT: &str = "
import io, sys, zipfile, zlib
archive = zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read()))
for name in archive.namelist():
    try:
        archive.read(name)
    except (zipfile.BadZipFile, zlib.error):
        print(name)
";
    let mut python = Command::new("python3");
    let piped = python.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    child.stdin.take().unwrap().write_all(zip).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_string).collect()
}

impl Observer for Mount {
    fn names(&self) -> Vec<String> {
        self.names("artifacts")
    }

    fn size(&self, name: &str) -> Result<u64, i32> {
        fs::metadata(self.path("artifacts").join(name))
            .map(|meta| meta.len())
            .map_err(|e| errno(Err::<(), _>(e)))
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, i32> {
        fs::read(self.path("artifacts").join(name)).map_err(|e| errno(Err::<(), _>(e)))
    }

    fn log(self) -> Vec<String> {
        self.unmount()
    }
}

/// The library, without a mount. There is one at a time, as they share a log.
struct InProcess {
    tree: Tree,
    _alone: MutexGuard<'static, ()>,
}

impl InProcess {
    fn new(store: &Path) -> InProcess {
        static ONE: Mutex<()> = Mutex::new(());
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        Capture::start();
        let options = Options { umask: 0, read_only: true, ..Options::default() };
        let (store, clock) = (Store::open(store, true).unwrap(), SystemClock::shared());
        let tree = Tree::new(store, corpus::identities(&KEYS), None, clock, options).unwrap();
        InProcess { tree, _alone: alone }
    }

    fn lookup(&self, name: &str) -> Result<cddsfs::tree::Attr, Error> {
        let (artifacts, _) = self.tree.lookup(ROOT, OsStr::new("artifacts"))?;
        Ok(self.tree.lookup(artifacts.ino, OsStr::new(name))?.0)
    }

    fn read_all(&self, name: &str) -> Result<Vec<u8>, Error> {
        let (handle, _) = self.tree.open(self.lookup(name)?.ino)?;
        let mut bytes = Vec::new();
        loop {
            let before = bytes.len();
            self.tree.read(handle, before as u64, 100_000, &mut |piece| bytes.extend_from_slice(piece))?;
            if bytes.len() == before {
                break;
            }
        }
        self.tree.release(handle);
        Ok(bytes)
    }
}

impl Observer for InProcess {
    fn names(&self) -> Vec<String> {
        let (artifacts, _) = self.tree.lookup(ROOT, OsStr::new("artifacts")).unwrap();
        let handle = self.tree.opendir(artifacts.ino).unwrap();
        let listing = self.tree.listing(handle).unwrap();
        let names = listing.entries_from(0).map(|entry| entry.name);
        names.filter(|name| ![".", "..", "index.csv"].contains(&name.as_str())).collect()
    }

    fn size(&self, name: &str) -> Result<u64, i32> {
        self.lookup(name).map(|attr| attr.size).map_err(|error| error.errno())
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, i32> {
        self.read_all(name).map_err(|error| error.errno())
    }

    fn log(self) -> Vec<String> {
        std::mem::take(&mut CAPTURED.lock().unwrap())
    }
}

static CAPTURED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps what the library logs.
struct Capture;

impl Capture {
    fn start() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            log::set_logger(&Capture).unwrap();
            log::set_max_level(log::LevelFilter::Warn);
        });
    }
}

impl log::Log for Capture {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = format!("{}: {}", record.level().as_str().to_lowercase(), record.args());
            CAPTURED.lock().unwrap().push(line);
        }
    }

    fn flush(&self) {}
}
