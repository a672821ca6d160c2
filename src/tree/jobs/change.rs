//! Names in `jobs/` that come, change and go.

use parking_lot::MutexGuard;
use std::sync::Arc;
use std::time::SystemTime;

use super::draft::{Draft, Role};
use super::names::{self, Name};
use super::scratch::{MAX_FILES, Share, no_space};
use super::{Entry, Jobs, ino_of};
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

/// The file is being written for the first time.
fn busy() -> Error {
    Error::new(Kind::Os(libc::EBUSY), "the job is still being written")
}

impl Jobs {
    /// Makes a file, or finds the one that is there unless it has to be new.
    pub(crate) fn create(&self, file: &str, has_to_be_new: bool) -> Result<Entry> {
        names::check(file)?;
        let _one_at_a_time = self.one_at_a_time();
        if let Some(entry) = self.find(file)? {
            return if has_to_be_new { Err(exists()) } else { Ok(entry) };
        }
        let mut state = self.state();
        let (role, ino) = match names::classify(file) {
            Name::Job(name) => (Role::Job(name.into()), ino_of(file)),
            _ if state.scratch_files() >= MAX_FILES => return Err(no_space()),
            _ => {
                state.made += 1;
                (Role::Scratch, hash_number(&[b"scratch\0", &state.made.to_le_bytes()]))
            }
        };
        take_permit()?;
        let now = self.clock.now();
        let share =
            if role == Role::Scratch { Share::of(&self.budget) } else { Share::of_spec(&self.budget) };
        let draft = Arc::new(Draft::new(ino, role, Vec::new(), share, now));
        state.see_draft(file, &draft, now);
        Ok(Entry::Draft(draft))
    }

    fn one_at_a_time(&self) -> MutexGuard<'_, ()> {
        self.changing.lock()
    }

    /// Deletes a file; returns true if there is something that the view does not have.
    pub(crate) fn unlink(&self, file: &str) -> Result<bool> {
        let _one_at_a_time = self.one_at_a_time();
        match self.find(file)?.ok_or_else(missing)? {
            Entry::New | Entry::Errors => Err(not_permitted("this cannot be deleted")),
            Entry::Job(job) => self.delete_job(&job.name),
            Entry::Draft(draft) => self.drop_draft(file, &draft),
        }
    }

    fn delete_job(&self, name: &str) -> Result<bool> {
        self.store.catalogue.delete_job(name)?;
        self.names_have_changed();
        Ok(true)
    }

    /// Deletes a temporary file, and with it the job whose only file it is.
    fn drop_draft(&self, file: &str, draft: &Arc<Draft>) -> Result<bool> {
        let parked = self.state().is_parked_in(draft);
        let mut is_deleted = false;
        if let Some(job) = parked {
            let comes_back = self.state().drafts.contains_key(&names::file_of(&job));
            if !comes_back {
                is_deleted = self.delete_job(&job)?;
            }
            self.state().parked.remove(&job);
        }
        take_permit()?;
        self.forget(file, Some(draft));
        draft.become_role(Role::Scratch);
        Ok(is_deleted)
    }

    fn names_have_changed(&self) {
        self.state().changed = self.clock.now();
    }

    /// Gives a file another name. What gets the name of a job becomes its definition. Returns true if there is something that
    /// the view does not have.
    pub(crate) fn rename(&self, from: &str, to: &str, has_to_be_new: bool) -> Result<bool> {
        names::check(to)?;
        let _one_at_a_time = self.one_at_a_time();
        let source = self.find(from)?.ok_or_else(missing)?;
        let target = self.find(to)?;
        if has_to_be_new && target.is_some() {
            return Err(exists());
        }
        if matches!(&target, Some(Entry::Draft(draft)) if draft.role() != Role::Scratch) {
            return Err(busy());
        }
        match (&source, names::classify(to)) {
            (Entry::New | Entry::Errors, _) => Err(not_permitted("this cannot be renamed")),
            (_, Name::Errors) => Err(not_permitted("this cannot be replaced")),
            (Entry::Draft(draft), Name::New) => self.hand_in_from(from, draft),
            (_, Name::New) => Err(not_permitted("a job is not moved to jobs/new: copy it")),
            (Entry::Draft(draft), _) if draft.role() != Role::Scratch => Err(busy()),
            (Entry::Draft(draft), Name::Job(name)) => self.define_from(from, draft, name),
            (Entry::Draft(draft), Name::Scratch) => {
                take_permit()?;
                let is_deleted = self.replace_scratch(to, target)?;
                let mut state = self.state();
                state.drafts.remove(from);
                state.see_draft(to, draft, self.clock.now());
                Ok(is_deleted)
            }
            (Entry::Job(job), Name::Job(name)) => {
                self.store.catalogue.rename_job(&job.name, name)?;
                self.state().parked.remove(name);
                self.names_have_changed();
                Ok(true)
            }
            (Entry::Job(job), Name::Scratch) => {
                let is_deleted = self.replace_scratch(to, target)?;
                self.park(&job.name, &job.text, job.modified, to)?;
                Ok(is_deleted)
            }
        }
    }

    /// Makes room for a temporary file of that name.
    fn replace_scratch(&self, file: &str, target: Option<Entry>) -> Result<bool> {
        match target {
            Some(Entry::Draft(draft)) => self.drop_draft(file, &draft),
            _ if self.state().scratch_files() >= MAX_FILES => Err(no_space()),
            _ => Ok(false),
        }
    }

    /// Shows a job as a temporary file.
    fn park(&self, job: &str, text: &str, modified: SystemTime, to: &str) -> Result<()> {
        let mut share = Share::of(&self.budget);
        share.resize(text.len())?;
        take_permit()?;
        let mut state = self.state();
        state.made += 1;
        let ino = hash_number(&[b"scratch\0", &state.made.to_le_bytes()]);
        let draft = Arc::new(Draft::new(ino, Role::Scratch, text.into(), share, modified));
        state.see_draft(to, &draft, self.clock.now());
        state.parked.insert(job.into(), draft);
        Ok(())
    }

    /// Copies of file managers and rsync come under a hidden name, and are renamed when they are whole.
    fn hand_in_from(&self, from: &str, draft: &Arc<Draft>) -> Result<bool> {
        if !from.starts_with('.')
            || draft.role() != Role::Scratch
            || self.state().is_parked_in(draft).is_some()
        {
            return Err(not_permitted("a spec is not moved to jobs/new: copy it"));
        }
        self.hand_in_or_keep(&Role::New, &draft.text())?;
        self.forget(from, Some(draft));
        Ok(true)
    }

    fn define_from(&self, from: &str, draft: &Arc<Draft>, name: &str) -> Result<bool> {
        let (text, role) = (draft.text(), Role::Job(name.into()));
        let parked = self.state().is_parked_in(draft);
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
        let mut state = self.state();
        parked.iter().for_each(|job| drop(state.parked.remove(job)));
        state.parked.remove(name);
        drop(state);
        self.forget(from, Some(draft));
        // Who still has it open goes on writing the job.
        draft.become_role(role);
        self.names_have_changed();
        Ok(true)
    }

    /// Changes the size of a file that is not open.
    pub(crate) fn truncate(&self, entry: &Entry, size: u64) -> Result<()> {
        match entry {
            Entry::New => Ok(()),
            Entry::Errors => Err(not_permitted("jobs/errors is only read")),
            Entry::Draft(draft) => draft.resize(size, self.clock.now()),
            // An empty text is no definition, and the one that is there stays.
            Entry::Job(job) if size == 0 || size == job.text.len() as u64 => Ok(()),
            Entry::Job(_) => Err(Error::new(Kind::Invalid, "a piece of a spec is none")),
        }
    }
}

impl super::State {
    fn see_draft(&mut self, file: &str, draft: &Arc<Draft>, now: SystemTime) {
        self.drafts.insert(file.into(), draft.clone());
        self.by_ino.insert(draft.ino, Arc::downgrade(draft));
        self.changed = now;
    }
}
