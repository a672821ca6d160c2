//! The built program, mounted for as long as a test needs it. What cannot be mounted, or a tool that is not there,
//! fails the test.

// Not every kind of test uses all of it.
#![allow(dead_code)]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};

use super::corpus;

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(30);

/// A store, a mount point and a cache in a directory of their own. Nothing stays mounted in it.
pub struct Place {
    _dir: tempfile::TempDir,
    root: PathBuf,
}

impl Place {
    pub fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { root: fs::canonicalize(dir.path()).unwrap(), _dir: dir };
        for dir in [place.store(), place.point(), place.tmp()] {
            fs::create_dir(dir).unwrap();
        }
        place
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    pub fn point(&self) -> PathBuf {
        self.root.join("mnt")
    }

    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// What the program has as TMPDIR.
    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// The program, with nothing of the user's around it and no terminal.
    pub fn cddsfs<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cddsfs"));
        command.args(args).stdin(Stdio::null());
        command.env("XDG_CACHE_HOME", self.cache()).env("HOME", &self.root).env("TMPDIR", self.tmp());
        command
    }

    /// Mounts the store with these keys of the corpus and options.
    pub fn mount(&self, keys: &[&str], options: &[&str]) -> Mount {
        let mut command = self.cddsfs(["mount", "-f"]);
        command.arg(self.store()).arg(self.point()).args(options);
        for key in keys {
            command.arg("--key").arg(corpus::private_copy(key));
        }
        Mount::start(command, &self.point())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mounts = mount_points();
        for point in mounts.iter().rev().filter(|point| point.starts_with(&self.root)) {
            take_away(point);
        }
    }
}

/// A mount in the foreground. When it is dropped the program must end as it should.
pub struct Mount {
    point: PathBuf,
    server: Option<Child>,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Mount {
    /// Runs a command that stays in the foreground, and waits until the mount point answers.
    pub fn start(mut command: Command, point: &Path) -> Mount {
        // Should the test be killed, the program ends as on any SIGTERM, and the mount with it.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            });
        }
        let mut server = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (log, said) = (Arc::<Mutex<Vec<String>>>::default(), server.stderr.take().unwrap());
        let lines = log.clone();
        let reader = thread::spawn(move || {
            for line in BufReader::new(said).lines() {
                lines.lock().unwrap().push(line.unwrap());
            }
        });
        let mut mount = Mount { point: point.into(), server: Some(server), log, reader: Some(reader) };
        let started = Instant::now();
        while !(is_mounted(point) && fs::metadata(point).is_ok()) {
            if let Some(status) = mount.server().try_wait().unwrap() {
                panic!("cddsfs mount ended with {status}: {:#?}", mount.log());
            }
            assert!(started.elapsed() < PATIENCE, "not mounted: {:#?}", mount.log());
            thread::sleep(Duration::from_millis(5));
        }
        mount
    }

    fn server(&mut self) -> &mut Child {
        self.server.as_mut().unwrap()
    }

    pub fn pid(&mut self) -> u32 {
        self.server().id()
    }

    pub fn signal(&mut self, signal: i32) {
        send(self.pid(), signal);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.point.join(name)
    }

    /// `artifacts/<stem>.zip`
    pub fn zip(&self, stem: &str) -> PathBuf {
        self.point.join("artifacts").join(format!("{stem}.zip"))
    }

    pub fn names(&self, dir: &str) -> Vec<String> {
        names(&self.path(dir))
    }

    /// The log lines so far, without the program's name.
    pub fn log(&self) -> Vec<String> {
        let log = self.log.lock().unwrap();
        log.iter().map(|line| line.strip_prefix("cddsfs: ").unwrap_or(line).to_string()).collect()
    }

    /// Unmounts with `cddsfs unmount`, and returns all log lines.
    pub fn unmount(mut self) -> Vec<String> {
        let mut unmount = Command::new(env!("CARGO_BIN_EXE_cddsfs"));
        let output = run(unmount.arg("unmount").arg(&self.point));
        assert!(output.status.success(), "{output:?}");
        self.ended()
    }

    /// Kills the program as nothing can be caught, and waits for its end. The mount point stays.
    pub fn killed(&mut self) {
        let mut server = self.server.take().unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
    }

    /// Waits until the program has ended well, and returns all log lines.
    pub fn ended(&mut self) -> Vec<String> {
        let mut server = self.server.take().unwrap();
        let status = wait(&mut server);
        self.reader.take().unwrap().join().unwrap();
        assert!(status.success(), "cddsfs mount ended with {status}: {:#?}", self.log());
        self.log()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        if thread::panicking() {
            take_away(&self.point);
            let _ = server.kill();
            let _ = server.wait();
            eprintln!("the mount's log: {:#?}", self.log());
            return;
        }
        self.server = Some(server);
        self.signal(libc::SIGTERM);
        self.ended();
        assert!(!is_mounted(&self.point));
    }
}

pub fn send(pid: u32, signal: i32) {
    assert_eq!(unsafe { libc::kill(pid as i32, signal) }, 0, "{}", io::Error::last_os_error());
}

/// Waits for a process; one that does not end fails the test.
pub fn wait(process: &mut Child) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = process.try_wait().unwrap() {
            return status;
        }
        if started.elapsed() > PATIENCE {
            let _ = process.kill();
            panic!("process {} does not end", process.id());
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Mount points, byte for byte.
fn mount_points() -> Vec<PathBuf> {
    let mounts = fs::read("/proc/self/mountinfo").unwrap();
    let points = mounts.split(|&b| b == b'\n').filter_map(|line| line.split(|&b| b == b' ').nth(4));
    points.map(|point| OsString::from_vec(without_escapes(point)).into()).collect()
}

/// What the kernel writes for some characters is a backslash and three octal digits (proc(5)).
pub fn without_escapes(text: &[u8]) -> Vec<u8> {
    let mut pieces = text.split(|&b| b == b'\\');
    let mut plain = pieces.next().unwrap().to_vec();
    for piece in pieces {
        plain.push(u8::from_str_radix(std::str::from_utf8(&piece[..3]).unwrap(), 8).unwrap());
        plain.extend(&piece[3..]);
    }
    plain
}

pub fn is_mounted(point: &Path) -> bool {
    mount_points().iter().any(|mounted| mounted == point)
}

/// Unmounts lazily, whoever may do it.
pub fn take_away(point: &Path) {
    if umount2(point, MntFlags::MNT_DETACH).is_err() {
        let _ = Command::new("fusermount3").arg("-uz").arg(point).status();
    }
}

/// How long something may take that takes `limit` on a machine with nothing else to do: the more there is to do for each
/// core, the longer.
pub fn allowed(limit: Duration) -> Duration {
    // proc_loadavg(5): an average, and how many run just now.
    let load = fs::read_to_string("/proc/loadavg").unwrap();
    let fields: Vec<&str> = load.split([' ', '/']).collect();
    let busy: f64 =
        [fields[0], fields[3]].map(|text| text.parse::<f64>().unwrap()).into_iter().fold(0.0, f64::max);
    let cores = thread::available_parallelism().map_or(1, usize::from) as f64;
    limit.mul_f64(1.0 + 2.0 * busy / cores)
}

/// Waits until something is so, at most for `limit` (see [`allowed`]); returns how long it took.
pub fn within(limit: Duration, what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < allowed(limit), "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
    started.elapsed()
}

pub fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output();
    output.unwrap_or_else(|e| panic!("{command:?}: {e} (scripts/setup --test installs what tests need)"))
}

/// Runs a program that must succeed, and returns what it wrote to standard output.
pub fn succeed<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> String {
    let mut command = Command::new(program);
    let output = run(command.args(args));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out
}

/// Runs a Python script that must succeed.
pub fn python<S: AsRef<OsStr>>(script: &str, args: impl IntoIterator<Item = S>) -> String {
    let script = ["-B", "-W", "error", "-c", script].map(|arg| OsStr::new(arg).to_owned());
    succeed("python3", script.into_iter().chain(args.into_iter().map(|arg| arg.as_ref().to_owned())))
}

/// Names in a directory in their order, without the table that `artifacts/` and `history/` have.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "index.csv");
    names.sort();
    names
}

/// The errno that a call must have failed with.
pub fn errno<T>(result: io::Result<T>) -> i32 {
    result.err().and_then(|error| error.raw_os_error()).unwrap_or(0)
}
