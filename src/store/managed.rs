//! A managed store: made by `cddsfs init`, written by exports.
//!
//! ```text
//! STORE/             0700
//!   cddsfs.db        the catalogue (super::catalogue)
//!   artifacts/       export-<uuid>.z01.smime ... export-<uuid>.zip.smime
//!   certificate.pem  what new exports are encrypted to
//!   engine.lock      flock(2): held by the one process that runs jobs
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};

use super::address::Reach;
use super::atomic::sync_dir;
use super::catalogue::sqlite::Sqlite;
use super::catalogue::{Catalogue, Queue};
use super::log_once::LogOnce;
use super::parts::Parts;
use super::parts::local::Local;
use crate::error::{At, Error, Kind, Result};

mod backup;
mod elsewhere;
mod layout;
mod probe;

use layout::{ARTIFACTS, CATALOGUE, CERTIFICATE, LOCK, private_dir};
pub(crate) use probe::{DirectoryKind, probe};

/// A managed store: what it knows, what is to be done in it, and where its parts are.
pub struct Managed {
    dir: PathBuf,
    pub catalogue: Arc<dyn Catalogue>,
    pub queue: Arc<dyn Queue>,
    pub parts: Arc<dyn Parts>,
    log_once: LogOnce,
}

impl Managed {
    /// Makes a store, or opens the one that is there.
    pub fn init(dir: &Path) -> Result<Managed> {
        Managed::init_with(dir, &Reach::default())
    }

    fn init_with(dir: &Path, reach: &Reach) -> Result<Managed> {
        let is_new = match probe(dir) {
            DirectoryKind::Managed => false,
            DirectoryKind::Plain | DirectoryKind::Unfinished => true,
            // A directory of somebody else must not become a store.
            DirectoryKind::Refused(why) => return Err(why),
        };
        if is_new {
            refuse_what_is_not_empty(dir)?;
            private_dir(dir).at(dir.display())?;
        }
        let artifacts = dir.join(ARTIFACTS);
        // Made before the catalogue, whose presence says that the store is complete.
        private_dir(&artifacts).at(artifacts.display())?;
        let store = Managed::with(dir, Sqlite::create(&dir.join(CATALOGUE))?, reach)?;
        sync_dir(dir).at(dir.display())?;
        if is_new {
            // Whoever makes a store is present, and sees the dates that are printed.
            store.catalogue.confirm_clock(SystemTime::now())?;
        }
        Ok(store)
    }

    /// Opens a store; on a medium that cannot be written to (a snapshot, a backup) for reading only.
    pub fn open(dir: &Path) -> Result<Managed> {
        Managed::open_with(dir, &Reach::default())
    }

    pub(crate) fn open_with(dir: &Path, reach: &Reach) -> Result<Managed> {
        let flags = AtFlags::AT_EACCESS;
        let is_writable = |path: &Path| faccessat(AT_FDCWD, path, AccessFlags::W_OK, flags).is_ok();
        if !(is_writable(dir) && is_writable(&dir.join(CATALOGUE))) {
            log::warn!("{}: it cannot be written to: it is only read, and no jobs are run", dir.display());
            return Managed::open_read_only_with(dir, reach);
        }
        Managed::with(dir, Sqlite::open(&dir.join(CATALOGUE))?, reach)
    }

    /// Opens a store that is only read.
    pub fn open_read_only(dir: &Path) -> Result<Managed> {
        Managed::open_read_only_with(dir, &Reach::default())
    }

    pub(crate) fn open_read_only_with(dir: &Path, reach: &Reach) -> Result<Managed> {
        Managed::with(dir, Sqlite::open_read_only(&dir.join(CATALOGUE))?, reach)
    }

    fn with(dir: &Path, catalogue: Sqlite, reach: &Reach) -> Result<Managed> {
        let catalogue = Arc::new(catalogue);
        let parts = elsewhere::parts(&*catalogue, reach)?;
        let parts = parts.unwrap_or_else(|| Arc::new(Local::new(&dir.join(ARTIFACTS))));
        Ok(Managed::of(dir, catalogue.clone(), catalogue, parts))
    }

    /// Puts a store together. `dir` is the path that it was opened by.
    pub fn of(
        dir: &Path,
        catalogue: Arc<dyn Catalogue>,
        queue: Arc<dyn Queue>,
        parts: Arc<dyn Parts>,
    ) -> Managed {
        Managed { dir: dir.to_path_buf(), catalogue, queue, parts, log_once: LogOnce::default() }
    }

    /// Logs what is wrong with the content of the store, once.
    pub(crate) fn log_once(&self, text: &str) {
        self.log_once.error(text);
    }

    /// Returns true if nothing of it can be changed.
    pub(crate) fn is_read_only(&self) -> bool {
        self.catalogue.is_read_only()
    }

    /// The path that it was opened by.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory with the parts, for access from outside.
    pub fn artifacts(&self) -> PathBuf {
        self.dir.join(ARTIFACTS)
    }

    /// The file with the certificate, for access from outside.
    pub fn certificate_path(&self) -> PathBuf {
        self.dir.join(CERTIFICATE)
    }
}

/// Refuses to make a store around other files, above all around a plain store.
fn refuse_what_is_not_empty(dir: &Path) -> Result<()> {
    // Files that may be left of a store whose making was interrupted.
    let ours = [CATALOGUE, "cddsfs.db-wal", "cddsfs.db-shm", ARTIFACTS, CERTIFICATE, LOCK];
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.at(dir.display())?,
    };
    for entry in entries {
        let name = entry.at(dir.display())?.file_name();
        if !ours.iter().any(|own| name == *own) {
            let text = format!(
                "{}: this directory has other files in it ({}); a new store needs an empty or new directory",
                dir.display(),
                name.to_string_lossy()
            );
            return Err(Error::new(Kind::Os(libc::ENOTEMPTY), text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn one_process_runs_jobs() {
        let dir = tempfile::tempdir().unwrap();
        let store = Managed::init(&dir.path().join("new")).unwrap();
        let lock = store.queue.attend().unwrap().unwrap();
        let other = Managed::open(store.dir()).unwrap();
        assert!(other.queue.attend().unwrap().is_none());
        drop(lock);
        assert!(other.queue.attend().unwrap().is_some());
        let mode = fs::metadata(store.artifacts()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_directory_of_others_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("holiday.jpg"), "").unwrap();
        let error = Managed::init(dir.path()).err().unwrap();
        assert!(error.to_string().contains("holiday.jpg"), "{error}");
        assert!(matches!(probe(dir.path()), DirectoryKind::Plain));
    }
}
