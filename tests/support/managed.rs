//! A managed store with its source, in process, and a clock that the test sets.

// Not every kind of test uses all of it.
#![allow(dead_code)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use cddsfs::export::engine::Engine;
use cddsfs::export::jobs;
use cddsfs::store::catalogue::Run;
use cddsfs::store::clock::Clock;
use cddsfs::store::managed::Managed;

pub const HOUR: Duration = Duration::from_secs(3600);
pub const DAY: Duration = Duration::from_secs(86400);
/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn at(text: &str) -> SystemTime {
    text.parse::<jiff::Timestamp>().unwrap().into()
}

/// Time that passes, or is set, when the test says so.
#[derive(Clone)]
pub struct FakeClock(Arc<Mutex<(Duration, SystemTime)>>);

impl FakeClock {
    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let mut both = self.0.lock().unwrap();
        both.0 += by;
        both.1 += by;
    }

    /// Lets time pass until then, or puts the clock back.
    pub fn set(&self, to: SystemTime) {
        let mut both = self.0.lock().unwrap();
        let passes = to.duration_since(both.1).unwrap_or_default();
        both.0 += passes;
        both.1 = to;
    }

    /// Puts the clock forward, without any time passing.
    pub fn step(&self, by: Duration) {
        self.0.lock().unwrap().1 += by;
    }

    pub fn step_back(&self, by: Duration) {
        self.0.lock().unwrap().1 -= by;
    }

    pub fn shared(&self) -> Arc<dyn Clock> {
        Arc::new(self.clone())
    }
}

impl Clock for FakeClock {
    fn now(&self) -> SystemTime {
        self.0.lock().unwrap().1
    }

    fn passed(&self) -> Duration {
        self.0.lock().unwrap().0
    }
}

/// A store with everything that an export needs.
pub struct Bench {
    dir: tempfile::TempDir,
    pub store: Arc<Managed>,
    pub clock: FakeClock,
}

impl Bench {
    /// With a source of so many interactions.
    pub fn new(interactions: u32) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let store = Managed::init(&dir.path().join("store")).unwrap();
        make_key(dir.path());
        store.catalogue.set_certificates(&fs::read(dir.path().join("cert.pem")).unwrap()).unwrap();
        let bench = Bench {
            store: Arc::new(store),
            clock: FakeClock(Arc::new(Mutex::new((Duration::ZERO, SystemTime::now())))),
            dir,
        };
        make_source(&bench.source(), interactions);
        bench.store.catalogue.set_source(bench.source().to_str().unwrap()).unwrap();
        bench
    }

    pub fn source(&self) -> PathBuf {
        self.dir.path().join("history.db")
    }

    pub fn now(&self) -> SystemTime {
        self.clock.now()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The built program with a command on this store.
    pub fn command(&self, command: &str, args: &[&str]) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_cddsfs"));
        program.arg(command).arg(self.store.dir()).args(args).env("XDG_CACHE_HOME", self.path("cache"));
        program
    }

    pub fn cddsfs(&self, command: &str, args: &[&str]) -> Output {
        self.command(command, args).output().unwrap()
    }

    /// Starts it with a spec on standard input.
    pub fn start_export(&self, spec: &str, args: &[&str]) -> Child {
        let mut program = self.command("export", &["-"]);
        program.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = program.spawn().unwrap();
        // A spec that is too long is not read to its end.
        let _ = child.stdin.take().unwrap().write_all(spec.as_bytes());
        child
    }

    /// The same, and waits for its end.
    pub fn export_by_command(&self, spec: &str, args: &[&str]) -> Output {
        self.start_export(spec, args).wait_with_output().unwrap()
    }

    /// Changes the catalogue behind everybody's back.
    pub fn sql(&self, sql: &str) {
        let catalogue = rusqlite::Connection::open(self.store.dir().join("cddsfs.db")).unwrap();
        catalogue.busy_timeout(PATIENCE).unwrap();
        catalogue.execute_batch(sql).unwrap();
    }

    pub fn engine(&self) -> Engine {
        Engine::start(self.store.clone(), self.clock.shared(), None).unwrap()
    }

    pub fn submit(&self, spec: &str) -> String {
        jobs::submit(&self.store, spec.as_bytes(), self.now()).unwrap()
    }

    pub fn run(&self, id: &str) -> Run {
        self.store.catalogue.run(id).unwrap().unwrap()
    }

    /// Runs a spec to its end.
    pub fn export(&self, spec: &str) -> Run {
        let _engine = self.engine();
        let id = self.submit(spec);
        self.until("the end of the run", || self.run(&id).status.is_final());
        self.run(&id)
    }

    /// Waits until something is so.
    pub fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let started = Instant::now();
        while !is_so() {
            assert!(started.elapsed() < PATIENCE, "{what} has not come: {:#?}", self.store.catalogue.runs());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Gives the engine time for whatever it may be about to do.
    pub fn settle(&self) {
        thread::sleep(Duration::from_millis(700));
    }

    /// Names of the files in `artifacts/` of the store.
    pub fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.store.artifacts()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub fn attachments(&self) -> u64 {
        self.count("attachment")
    }

    pub fn count(&self, table: &str) -> u64 {
        let connection = rusqlite::Connection::open(self.source()).unwrap();
        connection
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))
            .unwrap() as u64
    }

    pub fn contacts_and_attributes(&self) -> u64 {
        self.count("contact") + self.count("contactattribute")
    }

    /// Adds contacts that have no attributes.
    pub fn add_contacts(&self, count: u32) {
        let connection = rusqlite::Connection::open(self.source()).unwrap();
        let before = self.count("contact");
        for i in 0..u64::from(count) {
            let id = format!("added-{}", before + i);
            let sql = "INSERT INTO contact (contactid, tenantid, createddate) VALUES (?1, 101, '2020-01-01 00:00:00')";
            connection.execute(sql, [id]).unwrap();
        }
    }
}

/// Makes `key.pem` and `cert.pem`.
pub fn make_key(dir: &Path) {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem"]);
    command.args(["-days", "3650", "-subj", "/O=Example/CN=exports"]).current_dir(dir);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(dir.join("key.pem"), mode).unwrap();
}

/// Makes a source with a tenth as many contacts as interactions.
pub fn make_source(path: &Path, interactions: u32) {
    let contacts = (interactions / 10).max(5);
    let mut command = Command::new(env!("CARGO_BIN_EXE_cddsfs"));
    command.arg("sample").arg(path);
    command.args(["--interactions", &interactions.to_string(), "--contacts", &contacts.to_string()]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

pub fn sha256(path: &Path) -> [u8; 32] {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut hash = [0; 32];
    for (i, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap();
    }
    hash
}

/// What OpenSSL says of a message's structure.
pub fn openssl_cms_print(path: &Path) -> String {
    let output = Command::new("openssl")
        .args(["cms", "-cmsout", "-print", "-noout", "-in"])
        .arg(path)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
