//! Copying a store while it is in use: the catalogue as it is at one moment, and the parts that it knows.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::linkat;

use super::{ARTIFACTS, CATALOGUE, CERTIFICATE, Files, Managed, private_dir};
use crate::error::{At, Error, Kind, Result};
use crate::store::atomic::{sync_dir, write_atomically};
use crate::store::catalogue::sqlite::Sqlite;
use crate::store::catalogue::{Catalogue, StoredPartRecord};

/// Until everything else is there the copy is no store.
const UNFINISHED: &str = "cddsfs.db.unfinished";

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    pub artifacts: usize,
    pub parts: usize,
    /// Of the parts.
    pub bytes: u64,
    /// Parts that share their bytes on the disk with the store: hard links.
    pub linked: usize,
    pub jobs: usize,
    /// Why parts could not be copied: artifacts lack them in the copy, too.
    pub missing: Vec<String>,
}

impl Managed {
    /// Copies the store to a new or empty directory. Parts are linked where that is possible, else copied. What is deleted
    /// meanwhile is deleted in the copy, too.
    pub fn backup(&self, to: &Path, now: SystemTime) -> Result<Copied> {
        // Before anything is changed: it may be a directory of others.
        if fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some()) {
            let text = format!("{}: there is something already", to.display());
            return Err(
                Error::new(Kind::Os(libc::ENOTEMPTY), text).with_hint("give a new or empty directory")
            );
        }
        private_dir(to).at(to.display())?;
        let inside = || Error::new(Kind::Invalid, format!("{}: it is inside of the store", to.display()));
        let (own, other) = (fs::canonicalize(&self.dir)?, fs::canonicalize(to).at(to.display())?);
        if other.starts_with(&own) {
            return Err(inside().with_hint("take a directory elsewhere"));
        }
        let done = self.backup_to(to, now);
        if done.is_err() {
            // So that it can be tried again; what is there was made here.
            let _ = fs::remove_file(to.join(UNFINISHED));
            let _ = fs::remove_dir_all(to.join(ARTIFACTS));
        }
        done
    }

    fn backup_to(&self, to: &Path, now: SystemTime) -> Result<Copied> {
        let (unfinished, artifacts) = (to.join(UNFINISHED), to.join(ARTIFACTS));
        private_dir(&artifacts).at(artifacts.display())?;
        self.catalogue.copy_to(&unfinished)?;
        let (from, into) = (self.files()?, Files::open(&artifacts).at(artifacts.display())?);
        let copied = {
            let copy = Sqlite::open(&unfinished)?;
            let copied = self.copy_parts(&copy, &from, &into, now)?;
            copy.checkpoint()?;
            copied
        };
        into.sync()?;
        match fs::read(self.certificate_path()) {
            Ok(pem) => write_atomically(&to.join(CERTIFICATE), &pem).at(CERTIFICATE)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).at(CERTIFICATE),
        }
        File::open(&unfinished).and_then(|file| file.sync_all()).at(unfinished.display())?;
        fs::rename(&unfinished, to.join(CATALOGUE)).at(to.display())?;
        sync_dir(to).at(to.display())?;
        Ok(copied)
    }

    fn copy_parts(
        &self,
        copy: &dyn Catalogue,
        from: &Files,
        into: &Files,
        now: SystemTime,
    ) -> Result<Copied> {
        let mut copied = Copied { jobs: copy.jobs()?.len(), ..Copied::default() };
        for artifact in copy.artifacts()? {
            for part in artifact.parts.iter().filter(|part| !part.is_deleted) {
                match copy_part(from, into, part) {
                    Ok(is_linked) => {
                        copied.linked += usize::from(is_linked);
                        copied.parts += 1;
                        copied.bytes += part.size;
                    }
                    Err(error)
                        if error.kind() == Kind::Os(libc::ENOENT) && self.is_gone(&artifact.run, part)? =>
                    {
                        copy.part_is_gone(&artifact.run, &part.name, now)?;
                    }
                    // One that is lost keeps nobody from having the others.
                    Err(error) if matches!(error.kind(), Kind::Os(libc::ENOENT) | Kind::Damaged) => {
                        copied.missing.push(error.to_string());
                    }
                    Err(error) => return Err(error),
                }
            }
            copied.artifacts += usize::from(copy.run(&artifact.run)?.is_some_and(|run| run.present));
        }
        Ok(copied)
    }

    /// Returns true if a part has been deleted since the catalogue was copied.
    fn is_gone(&self, run: &str, part: &StoredPartRecord) -> Result<bool> {
        let is_there = self.catalogue.run(run)?.is_some_and(|run| run.present)
            && self.catalogue.parts(run)?.iter().any(|now| now.name == part.name && !now.is_deleted);
        Ok(!is_there)
    }
}

/// Links a part, or copies it; true if it was linked.
fn copy_part(from: &Files, into: &Files, part: &StoredPartRecord) -> Result<bool> {
    let name = part.name.as_str();
    let wrong_size = |size: u64| {
        Error::damaged(format!(
            "{name}: it has {size} bytes, but {} were written: see cddsfs verify",
            part.size
        ))
    };
    match from.size(name)? {
        None => return Err(Error::new(Kind::Os(libc::ENOENT), format!("{name}: it is not in the store"))),
        Some(size) if size != part.size => return Err(wrong_size(size)),
        Some(_) => {}
    }
    match linkat(from, name, into, name, AtFlags::empty()) {
        Ok(()) => return Ok(true),
        // Another filesystem, one without links, or too many of them.
        Err(Errno::EXDEV | Errno::EPERM | Errno::EMLINK | Errno::EOPNOTSUPP | Errno::EACCES) => {}
        Err(errno) => return Err(io::Error::from(errno)).at(name),
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let mut source = File::from(openat(from, name, flags, Mode::empty()).map_err(io::Error::from).at(name)?);
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let mut target = File::from(openat(into, name, flags, mode).map_err(io::Error::from).at(name)?);
    let size = io::copy(&mut source, &mut target).at(name)?;
    if size != part.size {
        return Err(wrong_size(size));
    }
    let modified = source.metadata().and_then(|meta| meta.modified()).at(name)?;
    target.set_modified(modified).and_then(|()| target.sync_all()).at(name)?;
    Ok(false)
}
