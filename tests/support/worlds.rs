//! Where the sequences of the model happen: a directory with processes of their own, and stores in memory and in PostgreSQL with
//! hosts that are threads.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cddsfs::export::engine::Scheduler;
use cddsfs::io::Task;
use cddsfs::store::catalogue::postgres::Postgres;
use cddsfs::store::catalogue::{Queue, Run, Runs, Status, Wanted};
use cddsfs::store::clock::Clock;
use cddsfs::store::managed::Managed;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::statvfs;

use crate::support::managed::{make_key, make_source};
use crate::support::memory::{Handle, Memory};
use crate::support::postgres::Database;
use crate::support::way::{Proxy, Way};

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where a process is told to be one of the model's.
pub const SOCKET: &str = "CDDSFS_MODEL_SOCKET";
/// Bytes of the disk that a store is on.
const DISK: u64 = 24 << 20;

/// A clock in a file, which other processes read.
#[derive(Clone)]
pub struct FileClock(Arc<File>);

impl FileClock {
    pub fn open(path: &Path) -> FileClock {
        FileClock(Arc::new(
            File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap(),
        ))
    }

    pub fn get(&self) -> (Duration, SystemTime) {
        let mut bytes = [0; 16];
        self.0.read_exact_at(&mut bytes, 0).unwrap();
        let (passed, now) = bytes.split_at(8);
        let ms = |bytes: &[u8]| Duration::from_millis(u64::from_le_bytes(bytes.try_into().unwrap()));
        (ms(passed), UNIX_EPOCH + ms(now))
    }

    pub fn set(&self, passed: Duration, now: SystemTime) {
        let ms = |time: Duration| (time.as_millis() as u64).to_le_bytes();
        let bytes = [ms(passed), ms(now.duration_since(UNIX_EPOCH).unwrap())].concat();
        self.0.write_all_at(&bytes, 0).unwrap();
    }
}

impl Clock for FileClock {
    fn now(&self) -> SystemTime {
        self.get().1
    }

    fn passed(&self) -> Duration {
        self.get().0
    }
}

/// Looks until three looks in a row have succeeded and found nothing to do.
pub fn settle(scheduler: &mut Scheduler) -> String {
    let (started, mut quiet, mut failures) = (Instant::now(), 0, 0);
    while quiet < 3 {
        let looked = scheduler.look();
        quiet = if looked.is_ok() && scheduler.is_idle() { quiet + 1 } else { 0 };
        if !scheduler.is_in_charge() {
            return "another one is in charge".into();
        }
        match looked {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                if failures > 20 {
                    return error.to_string();
                }
            }
        }
        if started.elapsed() > PATIENCE {
            return "it does not come to an end".into();
        }
        if quiet == 0 || failures > 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    "ok".into()
}

/// A process that can be told to run jobs, and be killed.
struct Host {
    child: Child,
    stream: BufReader<UnixStream>,
    has_started: bool,
}

impl Host {
    fn new(dir: &Path) -> Host {
        let socket = dir.join("socket");
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "model::a_process_of_the_model", "--nocapture"]).env(SOCKET, &socket);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(2 * PATIENCE)).unwrap();
        Host { child, stream: BufReader::new(stream), has_started: false }
    }

    fn send(&mut self, line: &str) {
        writeln!(self.stream.get_mut(), "{line}").unwrap();
    }

    fn tell(&mut self, line: &str) -> String {
        self.send(line);
        let mut answer = String::new();
        self.stream.read_line(&mut answer).unwrap();
        answer.trim().into()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where sequences happen: a place for stores, and two hosts that may run jobs.
pub trait World {
    /// Returns an empty store; nobody runs jobs.
    fn begin(&mut self) -> Managed;

    fn home(&self) -> &Path;

    /// What new exports come from.
    fn source(&self) -> &Path {
        SOURCE.1.as_path()
    }

    /// Has a host begin to run jobs, if it does not.
    fn start(&mut self, host: usize);

    /// Tells a host that runs jobs something; `None` if it does not.
    fn tell(&mut self, host: usize, what: &str) -> Option<String>;

    /// Returns false if it did not run jobs.
    fn kill(&mut self, host: usize, after: Duration) -> bool;

    fn fill(&mut self);

    fn free(&mut self);

    fn is_full(&self) -> bool;

    /// Has nobody wait for whoever claims something and is no host.
    fn bury(&mut self) {}
}

/// A key pair and a source that all sequences share.
pub static SOURCE: LazyLock<(tempfile::TempDir, PathBuf, Vec<u8>)> = LazyLock::new(|| {
    let home = tempfile::tempdir().unwrap();
    make_key(home.path());
    let source = home.path().join("history.db");
    make_source(&source, 600);
    let certificate = fs::read(home.path().join("cert.pem")).unwrap();
    (home, source, certificate)
});

/// A small disk, and processes as long as they live.
pub struct Disk {
    disk: PathBuf,
    hosts: [Option<Host>; 2],
    home: tempfile::TempDir,
}

impl Disk {
    pub fn new() -> Disk {
        let home = tempfile::tempdir().unwrap();
        let disk = home.path().join("disk");
        fs::create_dir(&disk).unwrap();
        let size = format!("size={DISK}");
        mount(Some("model"), &disk, Some("tmpfs"), MsFlags::empty(), Some(size.as_str()))
            .expect("a tmpfs, for which it takes root");
        Disk { disk, hosts: [None, None], home }
    }

    /// Waits until what has been deleted is gone: it may still be open in a process that has just been made by another thread.
    fn wait_for_room(&self) {
        let since = Instant::now();
        let is_free = |fs: nix::sys::statvfs::Statvfs| fs.blocks_available() > fs.blocks() / 2;
        while !statvfs(&self.disk).is_ok_and(is_free) && since.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn running(&mut self, n: usize) -> Option<&mut Host> {
        self.hosts[n].as_mut().filter(|host| host.has_started)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.hosts = [None, None];
        let _ = umount2(&self.disk, MntFlags::MNT_DETACH);
    }
}

impl World for Disk {
    fn begin(&mut self) -> Managed {
        for host in self.hosts.iter_mut().flatten().filter(|host| host.has_started) {
            host.tell("stop");
            host.has_started = false;
        }
        for entry in fs::read_dir(&self.disk).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
        self.wait_for_room();
        Managed::init(&self.disk.join("store")).unwrap()
    }

    fn home(&self) -> &Path {
        self.home.path()
    }

    fn start(&mut self, n: usize) {
        let (dir, home) = (self.disk.join("store"), self.home.path().to_path_buf());
        let host = self.hosts[n].get_or_insert_with(|| Host::new(&home));
        if !host.has_started {
            let clock = home.join("clock");
            host.has_started = host.tell(&format!("start {} {}", dir.display(), clock.display())) == "ok";
        }
    }

    fn tell(&mut self, n: usize, what: &str) -> Option<String> {
        let host = self.running(n)?;
        host.has_started = what != "stop";
        Some(host.tell(what))
    }

    fn kill(&mut self, n: usize, after: Duration) -> bool {
        let Some(mut host) = self.hosts[n].take_if(|host| host.has_started) else { return false };
        host.send("settle");
        thread::sleep(after);
        drop(host);
        true
    }

    fn fill(&mut self) {
        let fill = File::create(self.disk.join("fill")).unwrap();
        let mut bytes = 1 << 20;
        let mut at = 0;
        while bytes >= 4096 {
            match fill.write_all_at(&vec![1; bytes as usize], at) {
                Ok(()) => at += bytes,
                Err(_) => bytes /= 4,
            }
        }
    }

    fn free(&mut self) {
        if fs::remove_file(self.disk.join("fill")).is_ok() {
            self.wait_for_room();
        }
    }

    fn is_full(&self) -> bool {
        self.disk.join("fill").exists()
    }
}

/// A store in memory, and hosts that are threads of this process.
pub struct InMemory {
    memory: Arc<Memory>,
    hosts: [Option<(Handle, Scheduler)>; 2],
    home: tempfile::TempDir,
}

impl InMemory {
    pub fn new() -> InMemory {
        InMemory { memory: Arc::default(), hosts: [None, None], home: tempfile::tempdir().unwrap() }
    }
}

impl World for InMemory {
    fn begin(&mut self) -> Managed {
        // Whoever still works there does so on another store.
        self.hosts.iter_mut().filter_map(Option::take).for_each(|(handle, _)| handle.cut_off());
        self.memory = Arc::default();
        self.memory.open().managed()
    }

    fn home(&self) -> &Path {
        self.home.path()
    }

    fn start(&mut self, n: usize) {
        let (memory, clock) = (&self.memory, self.home.path().join("clock"));
        self.hosts[n].get_or_insert_with(|| {
            let handle = memory.open();
            let store = Arc::new(handle.managed());
            (handle, Scheduler::new(store, Arc::new(FileClock::open(&clock)), None))
        });
    }

    fn tell(&mut self, n: usize, what: &str) -> Option<String> {
        let (_, scheduler) = self.hosts[n].as_mut()?;
        Some(match what {
            "begin" => scheduler.look().map_or_else(|e| e.to_string(), |()| "ok".into()),
            "settle" => settle(scheduler),
            _ => {
                scheduler.end();
                self.hosts[n] = None;
                "ok".into()
            }
        })
    }

    fn kill(&mut self, n: usize, after: Duration) -> bool {
        let Some((handle, mut scheduler)) = self.hosts[n].take() else { return false };
        let _ = scheduler.look();
        thread::sleep(after);
        handle.cut_off();
        true
    }

    fn fill(&mut self) {
        self.memory.is_full.store(true, Ordering::Relaxed);
    }

    fn free(&mut self) {
        self.memory.is_full.store(false, Ordering::Relaxed);
    }

    fn is_full(&self) -> bool {
        self.memory.is_full.load(Ordering::Relaxed)
    }
}

/// A host of a store that several share at the same time.
struct Sharing {
    parts: Handle,
    way: Proxy,
    /// What its claims say.
    owner: String,
    scheduler: Scheduler,
}

/// A catalogue in PostgreSQL and parts in memory, which two hosts share.
pub struct Shared {
    database: Database,
    memory: Arc<Memory>,
    hosts: [Option<Sharing>; 2],
    home: tempfile::TempDir,
}

impl Shared {
    pub fn new() -> Shared {
        let (database, home) = (Database::new(), tempfile::tempdir().unwrap());
        Postgres::create(&database.url()).unwrap();
        Shared { database, memory: Arc::default(), hosts: [None, None], home }
    }

    fn managed(parts: &Handle, catalogue: &Arc<Postgres>) -> Managed {
        Managed::of(Path::new("shared"), catalogue.clone(), catalogue.clone(), Arc::new(parts.clone()))
    }

    /// Returns what the claims of a process say.
    fn owner(&self, queue: &Postgres) -> String {
        const ID: &str = "00000000-0000-0000-0000-000000000000";
        queue.add_run(&Run::new(ID.into(), "{}".into(), Status::Queued)).unwrap();
        queue.claim(&Wanted::only(ID), SystemTime::now()).unwrap().unwrap();
        let sql = "DELETE FROM run WHERE id = $1 RETURNING owner";
        self.database.connect().query_one(sql, &[&ID]).unwrap().get(0)
    }

    /// Lets a host be out of reach, and everybody know it.
    fn lose(&mut self, n: usize) {
        let Some(host) = self.hosts[n].take() else { return };
        host.parts.cut_off();
        host.way.set(Way::Closed);
        self.bury();
    }
}

impl World for Shared {
    fn begin(&mut self) -> Managed {
        (0..2).for_each(|n| self.lose(n));
        let tables = "setting, job, run, part, block_hashes, discarded, refusal";
        self.database.connect().batch_execute(&format!("TRUNCATE {tables}")).unwrap();
        self.memory = Arc::default();
        let catalogue = Arc::new(Postgres::open(&self.database.url()).unwrap().by_own_time());
        Shared::managed(&self.memory.open(), &catalogue)
    }

    fn home(&self) -> &Path {
        self.home.path()
    }

    fn start(&mut self, n: usize) {
        if self.hosts[n].is_some() {
            return;
        }
        let (parts, clock) = (self.memory.open(), FileClock::open(&self.home.path().join("clock")));
        let way = Proxy::to(&self.database.server());
        let catalogue = Arc::new(Postgres::open(&self.database.url_by(way.address)).unwrap().by_own_time());
        let owner = self.owner(&catalogue);
        let store = Arc::new(Shared::managed(&parts, &catalogue));
        self.hosts[n] =
            Some(Sharing { parts, way, owner, scheduler: Scheduler::new(store, Arc::new(clock), None) });
    }

    fn tell(&mut self, n: usize, what: &str) -> Option<String> {
        self.hosts[n].as_ref()?;
        if what == "settle" {
            // What the other one has begun is its own to end.
            self.hosts[1 - n].as_mut().map(|other| settle(&mut other.scheduler));
        }
        let scheduler = &mut self.hosts[n].as_mut()?.scheduler;
        Some(match what {
            "begin" => scheduler.look().map_or_else(|e| e.to_string(), |()| "ok".into()),
            "settle" => settle(scheduler),
            _ => {
                scheduler.end();
                self.lose(n);
                "ok".into()
            }
        })
    }

    fn kill(&mut self, n: usize, after: Duration) -> bool {
        let Some(host) = &mut self.hosts[n] else { return false };
        let _ = host.scheduler.look();
        thread::sleep(after);
        self.lose(n);
        true
    }

    fn fill(&mut self) {
        self.memory.is_full.store(true, Ordering::Relaxed);
    }

    fn free(&mut self) {
        self.memory.is_full.store(false, Ordering::Relaxed);
    }

    fn is_full(&self) -> bool {
        self.memory.is_full.load(Ordering::Relaxed)
    }

    fn bury(&mut self) {
        let owners: Vec<_> = self.hosts.iter().flatten().map(|host| host.owner.clone()).collect();
        let sql = "UPDATE run SET lease_until = now() - interval '1 second' WHERE owner <> ALL ($1)";
        self.database.connect().execute(sql, &[&owners]).unwrap();
    }
}
