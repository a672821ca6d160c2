//! A managed store, its source and its key, mounted by the built program, which runs the jobs.

// Not every kind of test uses all of it.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use cddsfs::export::jobs;
use cddsfs::store::catalogue::{Run, Status};
use cddsfs::store::managed::Managed;

use super::managed::{make_key, make_source, sha256};
use super::mount::{Mount, Place, names, take_away};

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(60);
/// Interactions in several parts.
pub const SPLIT: &str = r#"{"title":"split","type":"Interaction","split_size":"64 KiB"}"#;
pub const CONTACTS: &str = r#"{"title":"contacts","type":"Contact"}"#;

pub struct Site {
    pub place: Place,
    /// Where the source and the key are.
    home: PathBuf,
    pub store: Managed,
}

impl Site {
    /// With a source of so many interactions.
    pub fn new(interactions: u32) -> Site {
        Site::at(Place::new(), interactions)
    }

    pub fn at(place: Place, interactions: u32) -> Site {
        let home = place.root().to_path_buf();
        let store = Managed::init(&place.store()).unwrap();
        make_key(&home);
        store.catalogue.set_certificates(&fs::read(home.join("cert.pem")).unwrap()).unwrap();
        let site = Site { place, home, store };
        make_source(&site.source(), interactions);
        site.store.catalogue.set_source(site.source().to_str().unwrap()).unwrap();
        site
    }

    /// A copy of the store, with the same source and key.
    pub fn copy(&self) -> Site {
        let place = Place::new();
        for file in files(&self.place.store()).iter().filter(|file| !file.ends_with("cddsfs.db-shm")) {
            let to = place.store().join(file);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(self.place.store().join(file), &to).unwrap();
        }
        fs::create_dir_all(place.store().join("artifacts")).unwrap();
        let store = Managed::open(&place.store()).unwrap();
        Site { place, home: self.home.clone(), store }
    }

    pub fn source(&self) -> PathBuf {
        self.home.join("history.db")
    }

    pub fn key(&self) -> PathBuf {
        self.home.join("key.pem")
    }

    /// `cddsfs mount` of the store, to stay in the foreground.
    pub fn command(&self, point: &Path) -> Command {
        let mut command = self.place.cddsfs(["mount", "-f"]);
        command.arg(self.place.store()).arg(point).arg("--key").arg(self.key());
        command
    }

    pub fn mount(&self) -> Mount {
        Mount::start(self.command(&self.place.point()), &self.place.point())
    }

    /// Mounts the program as a child of strace, with these arguments.
    pub fn strace<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let program = self.command(&self.place.point());
        let mut command = Command::new("strace");
        command.args(["-f", "-qq"]).args(args).arg(program.get_program());
        command.args(program.get_args()).stdin(std::process::Stdio::null());
        for (name, value) in program.get_envs() {
            command.env(name, value.unwrap());
        }
        command
    }

    pub fn submit(&self, spec: &str) -> String {
        jobs::submit(&self.store, spec.as_bytes(), SystemTime::now()).unwrap()
    }

    pub fn run(&self, id: &str) -> Run {
        self.store.catalogue.run(id).unwrap().unwrap()
    }

    /// Waits for the end of a run, which some mount has to run.
    pub fn ended(&self, id: &str) -> Run {
        self.until("the end of the run", || self.run(id).status.is_final());
        self.run(id)
    }

    /// Runs a spec to its end, which must be a good one.
    pub fn export(&self, spec: &str) -> Run {
        let run = self.ended(&self.submit(spec));
        assert_eq!(run.status, Status::Completed, "{run:#?}");
        run
    }

    pub fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let started = Instant::now();
        while !is_so() {
            assert!(started.elapsed() < PATIENCE, "{what} has not come: {:#?}", self.store.catalogue.runs());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The stored file of a part.
    pub fn part(&self, name: &str) -> PathBuf {
        self.store.artifacts().join(name)
    }

    /// Names of a run's parts, in the order of the zip's bytes.
    pub fn parts(&self, id: &str) -> Vec<String> {
        self.store.catalogue.parts(id).unwrap().into_iter().map(|part| part.name).collect()
    }

    /// Names of what is in `artifacts/` of the store.
    pub fn stored(&self) -> Vec<String> {
        names(&self.store.artifacts())
    }

    pub fn rows(&self, tables: &[&str]) -> usize {
        let connection = rusqlite::Connection::open(self.source()).unwrap();
        let count = |table: &&str| -> usize {
            let sql = format!("SELECT count(*) FROM {table}");
            connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap() as usize
        };
        tables.iter().map(count).sum()
    }

    /// Looks into the catalogue as somebody who cannot mend it: every artifact that is there has all of its parts,
    /// byte for byte. Returns how many are there.
    pub fn assert_whole(&self) -> usize {
        use rusqlite::{Connection, OpenFlags};
        let path = self.place.store().join("cddsfs.db");
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let intact: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(intact, "ok");
        let ids: Vec<String> = {
            let mut query = connection.prepare("SELECT id FROM run WHERE present = 1").unwrap();
            query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        for id in &ids {
            let mut query = connection.prepare("SELECT name, sha256 FROM part WHERE run = ?1").unwrap();
            let parts = query.query_map([id], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            let parts: Vec<(String, [u8; 32])> = parts.map(Result::unwrap).collect();
            assert!(!parts.is_empty());
            for (name, hash) in parts {
                assert_eq!(sha256(&self.part(&name)), hash, "{name}");
            }
        }
        ids.len()
    }

    /// Asserts that the store has the parts of these runs and no other file.
    pub fn assert_nothing_but(&self, runs: &[&str]) {
        let mut expected: Vec<String> = runs.iter().flat_map(|id| self.parts(id)).collect();
        expected.sort();
        assert_eq!(self.stored(), expected);
    }
}

/// The process that strace has started, if it still lives.
pub fn traced(strace: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{strace}/task/{strace}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Takes away what a mount that was killed has left.
pub fn clean_up(point: &Path) {
    if super::mount::is_mounted(point) {
        take_away(point);
    }
}

/// Rows in `contents/` of a run's artifact.
pub fn rows_in(mount: &Mount, id: &str) -> usize {
    let root = mount.path("contents").join(format!("export-{id}"));
    let rows = |file: &PathBuf| fs::read(root.join(file)).unwrap().iter().filter(|&&b| b == b'\n').count();
    let members = files(&root);
    assert!(members.contains(&PathBuf::from("manifest.json")));
    members.iter().filter(|file| !file.ends_with("manifest.json")).map(rows).sum()
}

/// All files below a directory, sorted, as they are called from there.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    fn walk(root: &Path, dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => walk(root, &entry.path(), found),
                false => found.push(entry.path().strip_prefix(root).unwrap().to_path_buf()),
            }
        }
    }
    let mut found = Vec::new();
    walk(dir, dir, &mut found);
    found.sort();
    found
}
