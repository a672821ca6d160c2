//! Copying a store while it is in use: the catalogue as it is at one moment, and the parts that it knows.

use std::fs::{self, File};
use std::path::Path;
use std::time::SystemTime;

use super::Managed;
use super::layout::{ARTIFACTS, CATALOGUE, CERTIFICATE, private_dir};
use crate::error::{At, Error, Kind, Result};
use crate::store::atomic::{sync_dir, write_atomically};
use crate::store::catalogue::sqlite::Sqlite;
use crate::store::catalogue::{Catalogue, StoredPartRecord};
use crate::store::parts::Saved;

/// Name of the catalogue until everything else is there, so that an incomplete copy is no store.
const UNFINISHED: &str = "cddsfs.db.unfinished";

/// What a backup has copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    pub(crate) artifacts: usize,
    pub(crate) parts: usize,
    /// Bytes of the parts.
    pub(crate) bytes: u64,
    /// Parts that share their bytes on the disk with the store: hard links.
    pub(crate) linked: usize,
    pub(crate) jobs: usize,
    /// Why parts could not be copied; the artifacts in the copy lack them.
    pub(crate) missing: Vec<String>,
}

impl Managed {
    /// Copies the store to a new or empty directory. Parts are linked where that is possible, else copied. What is
    /// deleted meanwhile is deleted in the copy, too.
    pub fn backup(&self, to: &Path, now: SystemTime) -> Result<Copied> {
        // Checked before anything is changed: it may be a directory of somebody else.
        if fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some()) {
            let text = format!("{}: there is something already", to.display());
            return Err(
                Error::new(Kind::Os(libc::ENOTEMPTY), text).with_hint("give a new or empty directory")
            );
        }
        private_dir(to).at(to.display())?;
        let inside = || Error::new(Kind::Invalid, format!("{}: it is inside of the store", to.display()));
        let other = fs::canonicalize(to).at(to.display())?;
        // A store in a database is in no directory.
        if fs::canonicalize(&self.dir).is_ok_and(|own| other.starts_with(own)) {
            return Err(inside().with_hint("take a directory elsewhere"));
        }
        let done = self.backup_to(to, now);
        if done.is_err() {
            // Removed so that it can be tried again: everything there was made here.
            let _ = fs::remove_file(to.join(UNFINISHED));
            let _ = fs::remove_dir_all(to.join(ARTIFACTS));
        }
        done
    }

    fn backup_to(&self, to: &Path, now: SystemTime) -> Result<Copied> {
        let (unfinished, artifacts) = (to.join(UNFINISHED), to.join(ARTIFACTS));
        private_dir(&artifacts).at(artifacts.display())?;
        self.catalogue.copy_to(&unfinished)?;
        let copied = {
            let copy = Sqlite::open(&unfinished)?;
            let copied = self.copy_parts(&copy, &artifacts, now)?;
            copy.stand_alone()?;
            copy.checkpoint()?;
            copied
        };
        sync_dir(&artifacts).at(artifacts.display())?;
        match self.catalogue.certificates() {
            Ok(found) => write_atomically(&to.join(CERTIFICATE), &found.pem).at(CERTIFICATE)?,
            Err(error) if error.kind() == Kind::Os(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
        File::open(&unfinished).and_then(|file| file.sync_all()).at(unfinished.display())?;
        fs::rename(&unfinished, to.join(CATALOGUE)).at(to.display())?;
        sync_dir(to).at(to.display())?;
        Ok(copied)
    }

    fn copy_parts(&self, copy: &dyn Catalogue, into: &Path, now: SystemTime) -> Result<Copied> {
        let mut copied = Copied { jobs: copy.jobs()?.len(), ..Copied::default() };
        for artifact in copy.artifacts()? {
            for part in artifact.parts.iter().filter(|part| !part.is_deleted) {
                match self.copy_part(part, into) {
                    Ok(saved) => {
                        copied.linked += usize::from(saved == Saved::Linked);
                        copied.parts += 1;
                        copied.bytes += part.size;
                    }
                    Err(error)
                        if error.kind() == Kind::Os(libc::ENOENT) && self.is_gone(&artifact.run, part)? =>
                    {
                        copy.part_is_gone(&artifact.run, &part.name, now)?;
                    }
                    // A part that is lost does not keep the others from being copied.
                    Err(error)
                        if matches!(error.kind(), Kind::Os(libc::ENOENT) | Kind::Damaged | Kind::Stale) =>
                    {
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

    fn copy_part(&self, part: &StoredPartRecord, into: &Path) -> Result<Saved> {
        let name = &part.name;
        let missing = || Error::new(Kind::Os(libc::ENOENT), format!("{name}: it is not in the store"));
        // Something else is in its place, or a link of somebody else's.
        let refused = |error: Error| match error.kind() {
            Kind::Os(libc::EACCES) => Error::damaged(error.to_string()),
            _ => error,
        };
        let found = self.parts.find(&part.key).map_err(refused)?.ok_or_else(missing)?;
        if found.size != part.size {
            return Err(Error::damaged(format!(
                "{name}: it has {} bytes, but {} were written: see cddsfs verify",
                found.size, part.size
            )));
        }
        self.parts.save(&found, &into.join(name))
    }
}
