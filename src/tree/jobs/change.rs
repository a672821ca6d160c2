//! How names in `jobs/` come, change and go.

use parking_lot::MutexGuard;
use std::sync::Arc;
use std::time::SystemTime;

use super::draft::{Draft, Role};
use super::names::{self, Name};
use super::scratch::{MAX_FILES, WriteShare, no_space};
use super::{JobFiles, JobsEntry, ino_of};
use crate::error::{Error, Kind, Result};
use crate::io::take_permit;
use crate::tree::ino::hash_number;

fn not_permitted(what: &str) -> Error {
    Error::new(Kind::NotPermitted, what)
}

fn missing() -> Error {
    Error::new(Kind::NotFound, "no such name")
}

fn exists() -> Error {
    Error::new(Kind::Os(libc::EEXIST), "the name is taken")
}

/// The error for a job that is being written for the first time.
fn busy() -> Error {
    Error::new(Kind::Os(libc::EBUSY), "the job is still being written")
}

impl JobFiles {
    /// Makes a file, or finds the one that is there unless it has to be new.
    pub(crate) fn create(&self, file: &str, has_to_be_new: bool) -> Result<JobsEntry> {
        names::check(file)?;
        let _one_at_a_time = self.one_at_a_time();
        if let Some(entry) = self.find(file)? {
            return if has_to_be_new { Err(exists()) } else { Ok(entry) };
        }
        let mut known = self.known();
        let (role, ino) = match names::classify(file) {
            Name::Job(name) => (Role::Job(name.into()), ino_of(file)),
            _ if known.scratch_files() >= MAX_FILES => return Err(no_space()),
            _ => {
                known.made += 1;
                (Role::Scratch, hash_number(&[b"scratch\0", &known.made.to_le_bytes()]))
            }
        };
        take_permit()?;
        let now = self.clock.now();
        let share = if role == Role::Scratch {
            WriteShare::of(&self.budget)
        } else {
            WriteShare::of_spec(&self.budget)
        };
        let draft = Arc::new(Draft::new(ino, role, Vec::new(), share, now));
        known.see_draft(file, &draft, now);
        Ok(JobsEntry::Draft(draft))
    }

    fn one_at_a_time(&self) -> MutexGuard<'_, ()> {
        self.changing.lock()
    }

    /// Deletes a file; returns true if the view is out of date then.
    pub(crate) fn unlink(&self, file: &str) -> Result<bool> {
        let _one_at_a_time = self.one_at_a_time();
        match self.find(file)?.ok_or_else(missing)? {
            JobsEntry::New | JobsEntry::Errors => Err(not_permitted("this cannot be deleted")),
            JobsEntry::Job(job) => self.delete_job(&job.name),
            JobsEntry::Draft(draft) => self.drop_draft(file, &draft),
        }
    }

    fn delete_job(&self, name: &str) -> Result<bool> {
        self.store.catalogue.delete_job(name)?;
        self.names_have_changed();
        Ok(true)
    }

    /// Deletes a temporary file, and with it the job, if this is the only file of one.
    fn drop_draft(&self, file: &str, draft: &Arc<Draft>) -> Result<bool> {
        let parked = self.known().is_parked_in(draft);
        let mut is_deleted = false;
        if let Some(job) = parked {
            let comes_back = self.known().drafts.contains_key(&names::file_of(&job));
            if !comes_back {
                is_deleted = self.delete_job(&job)?;
            }
            self.known().parked.remove(&job);
        }
        take_permit()?;
        self.forget(file, Some(draft));
        draft.become_role(Role::Scratch);
        Ok(is_deleted)
    }

    fn names_have_changed(&self) {
        self.known().changed = self.clock.now();
    }

    /// Gives a file another name. A file that gets the name of a job becomes its definition. Returns true if the view
    /// is out of date then.
    pub(crate) fn rename(&self, from: &str, to: &str, has_to_be_new: bool) -> Result<bool> {
        names::check(to)?;
        let _one_at_a_time = self.one_at_a_time();
        let source = self.find(from)?.ok_or_else(missing)?;
        let target = self.find(to)?;
        if has_to_be_new && target.is_some() {
            return Err(exists());
        }
        if matches!(&target, Some(JobsEntry::Draft(draft)) if draft.role() != Role::Scratch) {
            return Err(busy());
        }
        match (&source, names::classify(to)) {
            (JobsEntry::New | JobsEntry::Errors, _) => Err(not_permitted("this cannot be renamed")),
            (_, Name::Errors) => Err(not_permitted("this cannot be replaced")),
            (JobsEntry::Draft(draft), Name::New) => self.hand_in_from(from, draft),
            (_, Name::New) => Err(not_permitted("a job is not moved to jobs/new: copy it")),
            (JobsEntry::Draft(draft), _) if draft.role() != Role::Scratch => Err(busy()),
            (JobsEntry::Draft(draft), Name::Job(name)) => self.define_from(from, draft, name),
            (JobsEntry::Draft(draft), Name::Scratch) => {
                take_permit()?;
                let is_deleted = self.replace_scratch(to, target)?;
                let mut known = self.known();
                known.drafts.remove(from);
                known.see_draft(to, draft, self.clock.now());
                Ok(is_deleted)
            }
            (JobsEntry::Job(job), Name::Job(name)) => {
                self.store.catalogue.rename_job(&job.name, name)?;
                self.known().parked.remove(name);
                self.names_have_changed();
                Ok(true)
            }
            (JobsEntry::Job(job), Name::Scratch) => {
                let is_deleted = self.replace_scratch(to, target)?;
                self.park(&job.name, &job.text, job.modified, to)?;
                Ok(is_deleted)
            }
        }
    }

    /// Makes room for a temporary file of that name.
    fn replace_scratch(&self, file: &str, target: Option<JobsEntry>) -> Result<bool> {
        match target {
            Some(JobsEntry::Draft(draft)) => self.drop_draft(file, &draft),
            _ if self.known().scratch_files() >= MAX_FILES => Err(no_space()),
            _ => Ok(false),
        }
    }

    /// Shows a job as a temporary file.
    fn park(&self, job: &str, text: &str, modified: SystemTime, to: &str) -> Result<()> {
        let mut share = WriteShare::of(&self.budget);
        share.resize(text.len())?;
        take_permit()?;
        let mut known = self.known();
        known.made += 1;
        let ino = hash_number(&[b"scratch\0", &known.made.to_le_bytes()]);
        let draft = Arc::new(Draft::new(ino, Role::Scratch, text.into(), share, modified));
        known.see_draft(to, &draft, self.clock.now());
        known.parked.insert(job.into(), draft);
        Ok(())
    }

    /// Hands in a copy that a file manager or rsync made under a hidden name and renames when it is whole.
    fn hand_in_from(&self, from: &str, draft: &Arc<Draft>) -> Result<bool> {
        if !from.starts_with('.')
            || draft.role() != Role::Scratch
            || self.known().is_parked_in(draft).is_some()
        {
            return Err(not_permitted("a spec is not moved to jobs/new: copy it"));
        }
        self.hand_in_or_keep(&Role::New, &draft.text())?;
        self.forget(from, Some(draft));
        Ok(true)
    }

    fn define_from(&self, from: &str, draft: &Arc<Draft>, name: &str) -> Result<bool> {
        let (text, role) = (draft.text(), Role::Job(name.into()));
        let parked = self.known().is_parked_in(draft);
        if let Some(job) = &parked {
            let same = self.store.catalogue.job(job)?.is_some_and(|job| job.text.as_bytes() == text);
            if !same {
                self.hand_in_or_keep(&Role::Job(job.clone()), &text)?;
            }
            if job != name {
                self.store.catalogue.rename_job(job, name)?;
            }
        } else {
            self.hand_in_or_keep(&role, &text)?;
        }
        let mut known = self.known();
        parked.iter().for_each(|job| drop(known.parked.remove(job)));
        known.parked.remove(name);
        drop(known);
        self.forget(from, Some(draft));
        // Whoever still has it open goes on writing the job.
        draft.become_role(role);
        self.names_have_changed();
        Ok(true)
    }

    /// Changes the size of a file that is not open.
    pub(crate) fn truncate(&self, entry: &JobsEntry, size: u64) -> Result<()> {
        match entry {
            JobsEntry::New => Ok(()),
            JobsEntry::Errors => Err(not_permitted("jobs/errors is only read")),
            JobsEntry::Draft(draft) => draft.resize(size, self.clock.now()),
            // An empty text defines nothing, and the present definition stays.
            JobsEntry::Job(job) if size == 0 || size == job.text.len() as u64 => Ok(()),
            JobsEntry::Job(_) => Err(Error::new(Kind::Invalid, "a piece of a spec is none")),
        }
    }
}

impl super::KnownFiles {
    fn see_draft(&mut self, file: &str, draft: &Arc<Draft>, now: SystemTime) {
        self.drafts.insert(file.into(), draft.clone());
        self.by_ino.insert(draft.ino, Arc::downgrade(draft));
        self.changed = now;
    }
}
