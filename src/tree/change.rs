//! What can be changed in the tree of a managed store: names can be deleted, and in `jobs/` files can be written.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::directory::ino_of;
use super::handle::{Handle, Opened};
use super::jobs::directory::{JobFile, NAME};
use super::jobs::{JobFiles, JobsEntry};
use super::node::is_a_directory;
use super::{Attr, Ino, Tree};
use crate::error::{Error, Kind, Result};

/// How a file is opened for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct OpenMode {
    pub(crate) writes: bool,
    pub(crate) truncates: bool,
    /// Every write goes to the end.
    pub(crate) appends: bool,
    /// It must not be there before.
    pub(crate) is_new: bool,
}

/// The attributes of a file that are to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Changes {
    pub(crate) size: Option<u64>,
    pub(crate) mtime: Option<SystemTime>,
}

impl Tree {
    pub(super) fn jobs(&self) -> Result<&Arc<JobFiles>> {
        self.jobs.as_ref().ok_or_else(|| self.refusal())
    }

    /// Returns `jobs/` if names can be changed in this directory.
    fn jobs_at(&self, ino: Ino) -> Result<&Arc<JobFiles>> {
        match &self.jobs {
            Some(jobs) if self.is_writable() && ino == ino_of(NAME) => Ok(jobs),
            _ => Err(self.refusal()),
        }
    }

    /// Returns what an inode number stands for in `jobs/`, if it can be changed.
    fn entry(&self, ino: Ino) -> Result<Option<JobsEntry>> {
        let view = self.views.now();
        match &self.jobs {
            Some(jobs) if self.is_writable() && self.root.node(&view, ino).is_none() => jobs.by_ino(ino),
            _ => Ok(None),
        }
    }

    /// Deletes a file.
    pub(crate) fn unlink(&self, parent: Ino, name: &OsStr) -> Result<()> {
        self.context.writable()?;
        if let Ok(jobs) = self.jobs_at(parent) {
            let is_new = jobs.unlink(utf8(name)?)?;
            self.look_again_if(is_new);
            return Ok(());
        }
        let (node, scope) = self.find(parent, name)?;
        node.unlink(&scope)?;
        self.views.look_again()
    }

    /// Opens a file for writing.
    pub(crate) fn open_for_writing(&self, ino: Ino, mode: OpenMode) -> Result<Handle> {
        if let Some(entry) = self.entry(ino)? {
            return Ok(self.open_job(&entry, mode)?.0);
        }
        self.exists(ino)?;
        Err(if self.root.has(ino) { is_a_directory() } else { self.refusal() })
    }

    fn open_job(&self, entry: &JobsEntry, mode: OpenMode) -> Result<(Handle, Attr)> {
        let jobs = self.jobs()?;
        let writing = jobs.open(entry, mode.writes, mode.truncates, mode.appends)?;
        let (attr, _) = self.attributes_of(jobs, entry)?;
        let handle = self.handles.insert(attr.clone(), Opened::Writing(writing));
        Ok((handle, self.handles.own_attributes(handle).unwrap_or(attr)))
    }

    fn attributes_of(&self, jobs: &Arc<JobFiles>, entry: &JobsEntry) -> Result<(Attr, Duration)> {
        self.attributes(&self.scope(), entry.ino(), &*JobFile::node(jobs, entry.clone()))
    }

    /// Makes and opens a file.
    pub(crate) fn create(
        &self,
        parent: Ino,
        name: &OsStr,
        mode: OpenMode,
    ) -> Result<(Handle, Attr, Duration)> {
        let entry = self.jobs_at(parent)?.create(utf8(name)?, mode.is_new)?;
        let (handle, attr) = self.open_job(&entry, mode)?;
        Ok((handle, attr, Duration::ZERO))
    }

    /// Makes a file without opening it.
    pub(crate) fn mknod(&self, parent: Ino, name: &OsStr) -> Result<(Attr, Duration)> {
        let jobs = self.jobs_at(parent)?;
        self.attributes_of(jobs, &jobs.create(utf8(name)?, true)?)
    }

    pub(crate) fn rename(&self, from: (Ino, &OsStr), to: (Ino, &OsStr), has_to_be_new: bool) -> Result<()> {
        self.jobs_at(from.0)?;
        match self.jobs_at(to.0)?.rename(utf8(from.1)?, utf8(to.1)?, has_to_be_new) {
            Ok(is_new) => {
                self.look_again_if(is_new);
                Ok(())
            }
            Err(error) => {
                // The spec may have been handed in nevertheless.
                self.views.notice();
                Err(error)
            }
        }
    }

    /// Changes attributes, of the file that the handle has opened if there is one.
    pub(crate) fn setattr(
        &self,
        ino: Ino,
        handle: Option<Handle>,
        changes: Changes,
    ) -> Result<(Attr, Duration)> {
        if !self.is_writable() {
            return Err(self.refusal());
        }
        if let Some(handle) = handle
            && let Opened::Writing(writing) = &*self.handles.get(handle)?
        {
            if let Some(size) = changes.size {
                writing.draft.resize(size, self.context.now())?;
            }
            if let Some(mtime) = changes.mtime {
                writing.draft.set_mtime(mtime);
            }
            return self.getattr(ino, Some(handle));
        }
        let Some(entry) = self.entry(ino)? else {
            self.exists(ino)?;
            return Err(self.refusal());
        };
        if let Some(size) = changes.size {
            self.jobs()?.truncate(&entry, size)?;
        }
        if let (Some(mtime), JobsEntry::Draft(draft)) = (changes.mtime, &entry) {
            draft.set_mtime(mtime);
        }
        self.getattr(ino, None)
    }

    /// Returns why no extended attribute can be set. Programs that copy permissions go on without if a file has none,
    /// and give up if setting one is forbidden.
    pub(crate) fn xattr_refusal(&self, ino: Ino) -> Error {
        match self.entry(ino) {
            Ok(Some(_)) => Error::unsupported("files in jobs/ have no extended attributes"),
            Ok(None) => self.exists(ino).err().unwrap_or_else(|| self.refusal()),
            Err(error) => error,
        }
    }

    pub(crate) fn write(&self, handle: Handle, offset: u64, data: &[u8]) -> Result<()> {
        match &*self.handles.get(handle)? {
            Opened::Writing(writing) if writing.writes => {
                // A lookup that misses the new name looks at the store again; the write does not wait for that.
                self.jobs()?.write(writing, offset, data).map(drop)
            }
            _ => Err(Error::new(Kind::Os(libc::EBADF), "it is not open for writing")),
        }
    }

    /// Hands in what has been written, if it is complete.
    pub(crate) fn flush(&self, handle: Handle) -> Result<()> {
        let Opened::Writing(writing) = &*self.handles.get(handle)? else { return Ok(()) };
        let is_new = self.jobs()?.flush(writing)?;
        self.look_again_if(is_new);
        Ok(())
    }

    pub(super) fn close_job(&self, handle: Handle) {
        if let Some(jobs) = &self.jobs
            && let Ok(opened) = self.handles.get(handle)
            && let Opened::Writing(writing) = &*opened
        {
            self.look_again_if(jobs.close(writing));
        }
    }

    /// Ends all handles that are being written, as their last close would have.
    pub(crate) fn finish(&self) {
        for handle in self.handles.writing() {
            self.release(handle);
        }
    }

    /// Returns why something cannot be changed.
    pub(crate) fn refusal(&self) -> Error {
        self.context.refusal()
    }
}

fn utf8(name: &OsStr) -> Result<&str> {
    name.to_str().ok_or_else(|| Error::new(Kind::Invalid, "the name is not UTF-8"))
}
