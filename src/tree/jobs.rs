//! `jobs/` of a managed store: handing in specs, the defined jobs, and the temporary files of whoever edits them.
//!
//! Jobs that are defined are in the catalogue, and asked for there every time, so that changes are seen at once. In
//! memory there are only texts that are not defined (yet): [`draft::Draft`]s.
//!
//! Locks, in the order in which they may be taken: `changing`, one draft's, `known`. `known` is never held while the
//! catalogue is written to.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use super::attr::{DirEntry, NodeKind};
use super::ino::{Ino, hash_number};
use crate::error::Result;
use crate::export::spec::EXAMPLE;
use crate::store::catalogue::{Job, Revision};
use crate::store::clock::Clock;
use crate::store::managed::Managed;

mod change;
pub mod directory;
pub mod draft;
mod errors;
mod names;
mod scratch;
mod writing;

use draft::Draft;
use errors::{Errors, Unkept};
use names::Name;
use scratch::WriteBudget;

/// Names that are remembered by their inode numbers; others are looked for in the catalogue.
const MAX_SEEN: usize = 4096;

/// A file in `jobs/`.
#[derive(Clone)]
pub(crate) enum JobsEntry {
    New,
    Errors,
    Job(Arc<Job>),
    /// A temporary file, or a job that is being written for the first time.
    Draft(Arc<Draft>),
}

impl JobsEntry {
    pub(crate) fn ino(&self) -> Ino {
        match self {
            JobsEntry::New => ino_of(names::NEW),
            JobsEntry::Errors => ino_of(names::ERRORS),
            JobsEntry::Job(job) => ino_of(&names::file_of(&job.name)),
            JobsEntry::Draft(draft) => draft.ino,
        }
    }
}

fn ino_of(file: &str) -> Ino {
    hash_number(&[b"job\0", file.as_bytes()])
}

pub(crate) struct JobFiles {
    store: Arc<Managed>,
    clock: Arc<dyn Clock>,
    known: Mutex<KnownFiles>,
    /// Held while names change.
    changing: Mutex<()>,
    budget: Arc<WriteBudget>,
    /// `jobs/errors` as it was rendered last, and the epoch of the catalogue then.
    errors: Mutex<Option<(Revision, Arc<Errors>)>>,
    /// Refusals that the catalogue has not taken.
    unkept: Mutex<Unkept>,
    /// The catalogue has not taken what was handed in last: others held it for too long.
    is_busy: AtomicBool,
}

/// The files in `jobs/`, as far as memory knows them.
struct KnownFiles {
    /// By file name.
    drafts: BTreeMap<String, Arc<Draft>>,
    /// Jobs whose files were renamed to temporary ones, as editors do for backups; by the names of the jobs. The jobs
    /// go on unchanged until it is clear what is meant.
    parked: BTreeMap<String, Arc<Draft>>,
    /// Drafts by inode number, also those that have no name any more but are open.
    by_ino: HashMap<Ino, Weak<Draft>>,
    /// Files of jobs that have been looked at.
    seen: HashMap<Ino, String>,
    /// Files of jobs, as listed last.
    listed: Vec<String>,
    /// Temporary files that were made so far, which their inode numbers count.
    made: u64,
    /// When names changed last.
    changed: SystemTime,
}

impl KnownFiles {
    fn is_parked_in(&self, draft: &Arc<Draft>) -> Option<String> {
        self.parked.iter().find(|(_, other)| Arc::ptr_eq(other, draft)).map(|(job, _)| job.clone())
    }

    fn see(&mut self, ino: Ino, file: &str) {
        if self.seen.len() >= MAX_SEEN {
            self.seen.clear();
        }
        self.seen.entry(ino).or_insert_with(|| file.into());
    }

    fn list(&self) -> Vec<DirEntry> {
        let mut files: BTreeMap<String, Ino> =
            self.listed.iter().map(|file| (file.clone(), ino_of(file))).collect();
        for (file, draft) in &self.drafts {
            files.entry(file.clone()).or_insert(draft.ino);
        }
        files.extend([names::NEW, names::ERRORS].map(|name| (name.into(), ino_of(name))));
        let entry = |(name, ino)| DirEntry { ino, kind: NodeKind::File, name };
        files.into_iter().map(entry).collect()
    }

    fn scratch_files(&self) -> usize {
        self.drafts.keys().filter(|file| names::classify(file) == Name::Scratch).count()
    }
}

impl JobFiles {
    pub(crate) fn new(store: Arc<Managed>, clock: Arc<dyn Clock>) -> JobFiles {
        let known = KnownFiles {
            drafts: BTreeMap::new(),
            parked: BTreeMap::new(),
            by_ino: HashMap::new(),
            seen: HashMap::new(),
            listed: Vec::new(),
            made: 0,
            changed: clock.now(),
        };
        JobFiles {
            store,
            clock,
            known: Mutex::new(known),
            changing: Mutex::default(),
            budget: Arc::default(),
            errors: Mutex::default(),
            unkept: Mutex::default(),
            is_busy: AtomicBool::new(false),
        }
    }

    fn known(&self) -> MutexGuard<'_, KnownFiles> {
        self.known.lock()
    }

    /// Returns when the names in `jobs/` were changed last by this mount.
    pub(crate) fn changed(&self) -> SystemTime {
        self.known().changed
    }

    pub(crate) fn find(&self, file: &str) -> Result<Option<JobsEntry>> {
        let found = match names::classify(file) {
            Name::New => Some(JobsEntry::New),
            Name::Errors => Some(JobsEntry::Errors),
            Name::Job(name) => self.job(name)?.map(JobsEntry::Job),
            Name::Scratch => None,
        };
        Ok(found.or_else(|| self.known().drafts.get(file).cloned().map(JobsEntry::Draft)))
    }

    /// Returns a job that is shown under its name.
    fn job(&self, name: &str) -> Result<Option<Arc<Job>>> {
        if self.known().parked.contains_key(name) {
            return Ok(None);
        }
        let Some(job) = self.store.catalogue.job(name)? else { return Ok(None) };
        let file = names::file_of(name);
        self.known().see(ino_of(&file), &file);
        Ok(Some(Arc::new(job)))
    }

    pub(crate) fn by_ino(&self, ino: Ino) -> Result<Option<JobsEntry>> {
        if let Some(entry) = [JobsEntry::New, JobsEntry::Errors].into_iter().find(|entry| entry.ino() == ino)
        {
            return Ok(Some(entry));
        }
        let (seen, draft) = {
            let known = self.known();
            (known.seen.get(&ino).cloned(), known.by_ino.get(&ino).and_then(Weak::upgrade))
        };
        if let Some(file) = seen
            && let Some(entry) = self.find(&file)?
        {
            return Ok(Some(entry));
        }
        if let Some(draft) = draft {
            return Ok(Some(JobsEntry::Draft(draft)));
        }
        let of_ino = |job: &Job| ino_of(&names::file_of(&job.name)) == ino;
        match self.store.catalogue.jobs()?.into_iter().find(of_ino) {
            Some(job) => Ok(self.job(&job.name)?.map(JobsEntry::Job)),
            None => Ok(None),
        }
    }

    pub(crate) fn list(&self) -> Result<Vec<DirEntry>> {
        let jobs = self.store.catalogue.jobs()?;
        let mut known = self.known();
        known.listed = jobs
            .into_iter()
            .filter(|job| names::is_job(&job.name) && !known.parked.contains_key(&job.name))
            .map(|job| names::file_of(&job.name))
            .collect();
        for file in known.listed.clone() {
            known.see(ino_of(&file), &file);
        }
        Ok(known.list())
    }

    /// Lists the drafts, and the jobs that were there when the catalogue was asked last.
    pub(crate) fn list_as_known(&self) -> Vec<DirEntry> {
        self.known().list()
    }

    /// Returns the size and the time of the last change, if there is one.
    pub(crate) fn size_and_mtime(&self, entry: &JobsEntry) -> Result<(u64, Option<SystemTime>)> {
        Ok(match entry {
            JobsEntry::New => (EXAMPLE.len() as u64, None),
            JobsEntry::Errors => {
                let errors = self.errors()?;
                (errors.text.len() as u64, errors.latest)
            }
            JobsEntry::Job(job) => (job.text.len() as u64, Some(job.modified)),
            JobsEntry::Draft(draft) => (draft.size(), Some(draft.mtime())),
        })
    }

    /// Returns the text that a reader gets.
    pub(crate) fn text(&self, entry: &JobsEntry) -> Result<Vec<u8>> {
        Ok(match entry {
            JobsEntry::New => EXAMPLE.into(),
            JobsEntry::Errors => self.errors()?.text.clone(),
            JobsEntry::Job(job) => job.text.clone().into_bytes(),
            JobsEntry::Draft(draft) => draft.text(),
        })
    }

    fn errors(&self) -> Result<Arc<Errors>> {
        let catalogue = &self.store.catalogue;
        let unkept = self.unkept.lock().latest();
        if !unkept.is_empty() {
            // It may be the catalogue that fails.
            let kept = catalogue.refusals().inspect_err(|error| log::warn!("{error}")).unwrap_or_default();
            return Ok(Arc::new(errors::render(&errors::merge(unkept, kept))));
        }
        let epoch = catalogue.epoch()?;
        let known = self.errors.lock().clone();
        if let Some((at, errors)) = known
            && at == epoch
        {
            return Ok(errors);
        }
        let errors = Arc::new(errors::render(&catalogue.refusals()?));
        *self.errors.lock() = Some((epoch, errors.clone()));
        Ok(errors)
    }

    /// Removes the name of a draft, if it is `only` or no draft is given.
    fn forget(&self, file: &str, only: Option<&Arc<Draft>>) {
        let mut known = self.known();
        let is_it = |draft: &Arc<Draft>| only.is_none_or(|only| Arc::ptr_eq(only, draft));
        if known.drafts.get(file).is_some_and(is_it) {
            known.drafts.remove(file);
            known.changed = self.clock.now();
        }
        known.by_ino.retain(|_, draft| draft.strong_count() > 0);
    }
}

#[cfg(test)]
mod tests;
