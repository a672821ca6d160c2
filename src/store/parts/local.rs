//! Parts in a directory.
//!
//! A key is a file's name. A key with a `/`, which no file name has, is that of a part that is being made: its file is
//! called `.export-<run>.<fence>.<n>.tmp` until all parts of the run are durable.
//!
//! The version of a file is what stat(2) says about it.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, FileTimes};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::statvfs::statvfs;
use nix::unistd::linkat;

use super::{Key, Left, Listing, PartRef, PartSink, Parts, Saved, Space, Version, copy};
use crate::error::{At, Error, Kind, Result};
use crate::format::part_name;
use crate::io::{Cancel, FileReader, FileVersion, Reader, directory_as_named, version_of};
use crate::store::names;
use crate::store::watch::Watch;

mod files;
mod inotify;
mod same;
mod sink;

use files::Files;

/// Refused files that are listed, at most.
const MAX_REFUSED: usize = 100;
/// Changes made by other machines raise no events, so a network filesystem is looked at this often.
const POLL: Duration = Duration::from_millis(800);

/// A directory with parts.
pub struct Local {
    dir: PathBuf,
    /// Several hosts write there.
    is_shared: bool,
}

impl Local {
    /// Nothing is opened yet: the directory may come and go.
    pub fn new(dir: &Path) -> Local {
        Local { dir: dir.to_path_buf(), is_shared: false }
    }

    /// A directory that several hosts share: files keep the fence of their attempt in their names.
    pub(crate) fn shared(dir: &Path) -> Local {
        Local { dir: dir.to_path_buf(), is_shared: true }
    }

    /// Returns the name that the file of an attempt gets.
    fn published(&self, key: &Key, name: &str) -> Result<String> {
        let fence = || key.as_str().split('/').nth(1)?.parse().ok();
        match self.is_shared {
            false => Ok(name.into()),
            true => fence()
                .and_then(|fence| names::fenced(name, fence))
                .ok_or_else(|| Error::new(Kind::Invalid, "this is no key of an attempt")),
        }
    }

    fn files(&self) -> Result<Files> {
        Files::open(&self.dir).map_err(|error| error.at(self.dir.display()))
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.dir.join(file_name(key))
    }

    fn part(&self, name: &str, version: &FileVersion) -> Result<PartRef> {
        let (size, mtime) = (version.size(), version.mtime());
        let version = Version::new(&version.to_bytes());
        Ok(PartRef { key: Key::new(name)?, name: name.into(), size, version, mtime })
    }

    fn reader(&self, part: &PartRef, stop: &Cancel) -> Result<FileReader> {
        let other = || Error::new(Kind::Stale, "its version is none of a file").at(&part.name);
        let version = FileVersion::from_bytes(part.version.bytes()).ok_or_else(other)?;
        FileReader::open_version(&self.path(&part.key), &version, stop)
    }
}

/// Returns the name of the file of a key.
fn file_name(key: &Key) -> String {
    let key = key.as_str();
    if key.contains('/') { names::unfinished(&key.replace('/', ".")) } else { key.into() }
}

impl Parts for Local {
    /// What cannot be looked at (it may just have vanished) is left out.
    fn list(&self, stop: &Cancel) -> Result<Listing> {
        let place = self.dir.display();
        let opened = directory_as_named(&self.dir).at(&place)?;
        let mtime = opened.metadata().and_then(|meta| meta.modified()).at(&place)?;
        // The directory that was opened, whatever is at its path by now.
        let entries = fs::read_dir(format!("/proc/self/fd/{}", opened.as_raw_fd()));
        let (mut parts, mut unfinished, mut refused) = (Vec::new(), Vec::new(), BTreeMap::new());
        for entry in entries.at(&place)? {
            stop.check()?;
            let Ok(name) = entry.at(&place)?.file_name().into_string() else { continue };
            if !part_name::is_encrypted(&name) && part_name::parse(&name).is_none() {
                unfinished.extend(Some(name).filter(|name| part_name::unfinished(name).next().is_some()));
                continue;
            }
            match version_of(&self.dir.join(&name)) {
                Ok(version) => parts.push(self.part(&name, &version)?),
                Err(error) if error.kind() == Kind::Os(libc::EACCES) && refused.len() < MAX_REFUSED => {
                    refused.insert(name, error.to_string());
                }
                Err(_) => {}
            }
        }
        Ok(Listing { parts, unfinished, refused, mtime })
    }

    fn look(&self, recorded: &[PartRef], stop: &Cancel) -> Result<Listing> {
        let mut listing = self.list(stop)?;
        if self.is_shared {
            let names: HashMap<&Key, &str> =
                recorded.iter().map(|part| (&part.key, part.name.as_str())).collect();
            listing
                .parts
                .retain_mut(|part| names.get(&part.key).map(|name| part.name = (*name).into()).is_some());
        }
        Ok(listing)
    }

    fn find(&self, key: &Key) -> Result<Option<PartRef>> {
        let name = file_name(key);
        match version_of(&self.dir.join(&name)) {
            Ok(version) => Ok(Some(PartRef { key: key.clone(), ..self.part(&name, &version)? })),
            Err(error) if error.kind() == Kind::Os(libc::ENOENT) => Ok(None),
            Err(error) => Err(error.at(name)),
        }
    }

    fn open(&self, part: &PartRef, stop: &Cancel) -> Result<Reader> {
        Ok(Arc::new(self.reader(part, stop)?))
    }

    fn same(&self, a: &PartRef, b: &PartRef, stop: &Cancel) -> Result<bool> {
        same::same_content(&self.reader(a, stop)?, &self.reader(b, stop)?)
    }

    fn create(&self, key: &Key) -> Result<Box<dyn PartSink>> {
        Ok(Box::new(sink::Sink::create(self.path(key))?))
    }

    fn publish(&self, parts: &[(Key, String)], made: SystemTime) -> Result<Vec<Key>> {
        let files = self.files()?;
        let mut keys = Vec::with_capacity(parts.len());
        for (key, name) in parts {
            let (unfinished, name) = (file_name(key), self.published(key, name)?);
            files.open_file(&unfinished)?.set_times(FileTimes::new().set_modified(made))?;
            files.rename(&unfinished, &name)?;
            keys.push(Key::new(name)?);
        }
        files.sync().at(self.dir.display())?;
        Ok(keys)
    }

    fn delete(&self, keys: &[Key]) -> Result<()> {
        let files = self.files()?;
        let mut failed = Ok(());
        for key in keys {
            failed = failed.and(files.remove(&file_name(key)).map(drop));
        }
        failed.and(files.sync().at(self.dir.display()))
    }

    fn left(&self, run: Option<&str>) -> Result<Vec<Left>> {
        let files = self.files()?;
        let mut left = Vec::new();
        for name in files.names()? {
            let Some(name) = name.to_str() else { continue };
            let Some(file) = names::parse(name).filter(|file| run.is_none_or(|run| run == file.id)) else {
                continue;
            };
            left.push(Left {
                key: Key::new(name)?,
                name: name.into(),
                // Only shown: a file that cannot be looked at is there all the same.
                size: files.size(name).ok().flatten().unwrap_or_default(),
                run: file.id.into(),
                fence: file.fence,
                is_unfinished: file.is_unfinished,
            });
        }
        Ok(left)
    }

    fn watch(&self, changed: Box<dyn FnMut() + Send>) -> Result<Watch> {
        let watch = Watch::start(POLL, |announcer| inotify::announce(&self.dir, announcer), changed)?;
        if watch.polls() {
            log::info!(
                "{}: looked at every {} ms, because changes are not announced there",
                self.dir.display(),
                POLL.as_millis()
            );
        }
        Ok(watch)
    }

    fn space(&self) -> Result<Space> {
        // If the directory is missing, its parent tells how much room there is.
        let place = self.dir.parent().filter(|_| !self.dir.exists()).unwrap_or(&self.dir);
        let fs = statvfs(place).map_err(io::Error::from).at(place.display())?;
        Ok(Space {
            block_size: fs.block_size(),
            fragment_size: fs.fragment_size(),
            blocks: fs.blocks(),
            blocks_free: fs.blocks_free(),
            blocks_available: fs.blocks_available(),
            files: fs.files(),
            files_free: fs.files_free(),
            name_max: fs.name_max(),
        })
    }

    fn save(&self, part: &PartRef, to: &Path) -> Result<Saved> {
        let (files, name) = (self.files()?, file_name(&part.key));
        // A symbolic link has another size.
        if files.size(&name)? == Some(part.size) {
            match linkat(&files, name.as_str(), AT_FDCWD, to, AtFlags::empty()) {
                Ok(()) => return Ok(Saved::Linked),
                // Another filesystem, one without links, or too many of them.
                Err(Errno::EXDEV | Errno::EPERM | Errno::EMLINK | Errno::EOPNOTSUPP | Errno::EACCES) => {}
                Err(errno) => return Err(io::Error::from(errno)).at(name),
            }
        }
        copy(&self.open(part, &Cancel::new())?, part, to).map(|()| Saved::Copied)
    }

    fn dir(&self) -> Option<PathBuf> {
        Some(self.dir.clone())
    }
}
