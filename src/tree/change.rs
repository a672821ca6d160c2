//! What can be changed in the tree of a managed store: things can be deleted, and in `jobs/` also written.

use std::ffi::OsStr;
use std::time::{Duration, SystemTime};

use super::handle::Opened;
use super::jobs::Entry;
use super::node::{Dir, Node, Record};
use super::{Attr, Handle, Ino, Tree};
use crate::error::{Error, Kind, Result};
use crate::export::disposal::{remove_artifact, remove_part};

/// How a file is opened that may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenMode {
    pub writes: bool,
    pub truncates: bool,
    /// Every write goes to the end.
    pub appends: bool,
    /// It must not be there before.
    pub is_new: bool,
}

/// What is asked to be changed of a file's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changes {
    pub size: Option<u64>,
    pub mtime: Option<SystemTime>,
}

impl Tree {
    /// Deletes a file. A part goes alone, and the artifact with its last one; a zip takes all of its parts along. Its run
    /// stays in the history until it is removed there.
    pub fn unlink(&self, parent: Ino, name: &OsStr) -> Result<()> {
        let Some(store) = self.store.managed().filter(|_| self.is_writable()) else {
            return Err(read_only());
        };
        if self.is_jobs(parent)? {
            let is_new = self.jobs()?.unlink(utf8(name)?)?;
            self.look_again_if(is_new);
            return Ok(());
        }
        let now = self.clock.now();
        match &self.find(parent, name)? {
            Node::History(Record::OfRun(run)) => store.catalogue.remove_run(&run.id, now)?,
            Node::Zip(export) | Node::Incomplete(export) => {
                let run = export.set().run.as_deref().ok_or_else(not_deletable)?;
                remove_artifact(store, run, now)?;
            }
            Node::Stored(file) => {
                let view = self.view();
                let run = view.set_of(&file.name).and_then(|export| export.set().run.as_deref());
                if !remove_part(store, run.ok_or_else(not_deletable)?, &file.name, now)? {
                    return Err(Error::new(Kind::NotFound, "no such name"));
                }
            }
            Node::Dir(_) => return Err(Error::new(Kind::IsADirectory, "is a directory")),
            Node::History(Record::OfSet(_)) | Node::Member { .. } | Node::Index(_) | Node::Job(_) => {
                return Err(not_deletable());
            }
        }
        self.look_again()
    }

    fn is_jobs(&self, ino: Ino) -> Result<bool> {
        Ok(matches!(self.node(ino)?, Node::Dir(Dir::Jobs)))
    }

    /// Fails unless names can be changed in this directory.
    fn check_is_jobs(&self, ino: Ino) -> Result<()> {
        if self.is_writable() && self.is_jobs(ino)? { Ok(()) } else { Err(self.refusal()) }
    }

    /// Has new runs shown at once. They are handed in whether or not that goes well.
    pub(super) fn look_again_if(&self, is_new: bool) {
        if is_new && let Err(error) = self.look_again() {
            log::warn!("the store cannot be looked at: {error}");
        }
    }

    /// Opens a file for writing.
    pub fn open_for_writing(&self, ino: Ino, mode: OpenMode) -> Result<Handle> {
        match self.node(ino)? {
            Node::Job(entry) if self.is_writable() => Ok(self.open_job(&entry, mode)?.0),
            Node::Dir(_) => Err(Error::new(Kind::IsADirectory, "is a directory")),
            _ => Err(self.refusal()),
        }
    }

    pub(super) fn open_job(&self, entry: &Entry, mode: OpenMode) -> Result<(Handle, Attr)> {
        let writing = self.jobs()?.open(entry, mode.writes, mode.truncates, mode.appends)?;
        let (attr, _) = self.attributes(entry.ino(), &Node::Job(entry.clone()))?;
        let handle = self.handles.insert(attr.clone(), Opened::Writing(writing));
        Ok((handle, self.handles.own_attributes(handle).unwrap_or(attr)))
    }

    /// Makes and opens a file.
    pub fn create(&self, parent: Ino, name: &OsStr, mode: OpenMode) -> Result<(Handle, Attr, Duration)> {
        self.check_is_jobs(parent)?;
        let entry = self.jobs()?.create(utf8(name)?, mode.is_new)?;
        let (handle, attr) = self.open_job(&entry, mode)?;
        Ok((handle, attr, Duration::ZERO))
    }

    /// Makes a file without opening it.
    pub fn make(&self, parent: Ino, name: &OsStr) -> Result<(Attr, Duration)> {
        self.check_is_jobs(parent)?;
        let node = Node::Job(self.jobs()?.create(utf8(name)?, true)?);
        self.attributes(node.ino(), &node)
    }

    pub fn rename(&self, from: (Ino, &OsStr), to: (Ino, &OsStr), has_to_be_new: bool) -> Result<()> {
        self.check_is_jobs(from.0)?;
        self.check_is_jobs(to.0)?;
        match self.jobs()?.rename(utf8(from.1)?, utf8(to.1)?, has_to_be_new) {
            Ok(is_new) => {
                self.look_again_if(is_new);
                Ok(())
            }
            Err(error) => {
                // It may have been handed in all the same.
                self.notice();
                Err(error)
            }
        }
    }

    /// Changes attributes, of the file that the handle has opened if there is one.
    pub fn change(&self, ino: Ino, handle: Option<Handle>, changes: Changes) -> Result<(Attr, Duration)> {
        if !self.is_writable() {
            return Err(self.refusal());
        }
        if let Some(handle) = handle
            && let Opened::Writing(writing) = &*self.handles.get(handle)?
        {
            if let Some(size) = changes.size {
                writing.draft.resize(size, self.clock.now())?;
            }
            if let Some(mtime) = changes.mtime {
                writing.draft.set_mtime(mtime);
            }
            return self.getattr(ino, Some(handle));
        }
        let Node::Job(entry) = self.node(ino)? else { return Err(self.refusal()) };
        if let Some(size) = changes.size {
            self.jobs()?.truncate(&entry, size)?;
        }
        if let (Some(mtime), Entry::Draft(draft)) = (changes.mtime, &entry) {
            draft.set_mtime(mtime);
        }
        self.getattr(ino, None)
    }

    /// Returns why no extended attribute can be set. Programs that copy permissions do it in another way if there are
    /// none for the file, and give up if it is forbidden.
    pub fn xattr_refusal(&self, ino: Ino) -> Error {
        match self.node(ino) {
            Ok(Node::Job(_)) if self.is_writable() => {
                Error::unsupported("files in jobs/ have no extended attributes")
            }
            Ok(_) => self.refusal(),
            Err(error) => error,
        }
    }

    pub fn write(&self, handle: Handle, offset: u64, data: &[u8]) -> Result<()> {
        match &*self.handles.get(handle)? {
            Opened::Writing(writing) if writing.writes => {
                let is_new = self.jobs()?.write(writing, offset, data)?;
                self.look_again_if(is_new);
                Ok(())
            }
            _ => Err(Error::new(Kind::Os(libc::EBADF), "it is not open for writing")),
        }
    }

    /// Hands in what has been written, if it is complete.
    pub fn flush(&self, handle: Handle) -> Result<()> {
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
    pub fn finish(&self) {
        for handle in self.handles.writing() {
            self.release(handle);
        }
    }

    /// Returns why nothing else can be changed.
    pub fn refusal(&self) -> Error {
        if self.is_writable() {
            Error::new(Kind::NotPermitted, "this cannot be changed")
        } else {
            read_only()
        }
    }
}

fn utf8(name: &OsStr) -> Result<&str> {
    name.to_str().ok_or_else(|| Error::new(Kind::Invalid, "the name is not UTF-8"))
}

fn not_deletable() -> Error {
    Error::new(Kind::NotPermitted, "this cannot be deleted")
}

fn read_only() -> Error {
    Error::new(Kind::ReadOnly, "the tree is read-only")
}
