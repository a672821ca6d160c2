//! `jobs/` of a managed store: handing in specs, the defined jobs, and the temporary files of whoever edits them.
//!
//! What is defined is in the catalogue, and asked for there every time, so that changes are seen at once. In memory
//! there are only texts that are not defined (yet): [`draft::Draft`]s.
//!
//! Locks, in the order in which they may be taken: `changing`, one draft's, `state`. `state` is never held while the
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
use scratch::Budget;

/// More names than this are not remembered by their inode numbers; the others are looked for.
const MAX_SEEN: usize = 4096;

/// Something in `jobs/`.
#[derive(Clone)]
pub(crate) enum Entry {
    New,
    Errors,
    Job(Arc<Job>),
    /// A temporary file, or a job that is being written for the first time.
    Draft(Arc<Draft>),
}

impl Entry {
    pub(crate) fn ino(&self) -> Ino {
        match self {
            Entry::New => ino_of(names::NEW),
            Entry::Errors => ino_of(names::ERRORS),
            Entry::Job(job) => ino_of(&names::file_of(&job.name)),
            Entry::Draft(draft) => draft.ino,
        }
    }
}

fn ino_of(file: &str) -> Ino {
    hash_number(&[b"job\0", file.as_bytes()])
}

pub(crate) struct Jobs {
    store: Arc<Managed>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Held while names change.
    changing: Mutex<()>,
    budget: Arc<Budget>,
    /// As it was rendered last, and the epoch of the catalogue then.
    errors: Mutex<Option<(Revision, Arc<Errors>)>>,
    /// Refusals that the catalogue has not taken.
    unkept: Mutex<Unkept>,
    /// It has not taken what was handed in last, for others had it for too long.
    is_busy: AtomicBool,
}

struct State {
    /// By the names of their files.
    drafts: BTreeMap<String, Arc<Draft>>,
    /// Jobs whose files have been renamed to temporary ones (so editors make backups), by the names of the jobs. They
    /// go on as they are until it is clear what is meant.
    parked: BTreeMap<String, Arc<Draft>>,
    /// Open drafts may have no name any more.
    by_ino: HashMap<Ino, Weak<Draft>>,
    /// Files of jobs that have been looked at.
    seen: HashMap<Ino, String>,
    /// Files of jobs when they were listed last.
    listed: Vec<String>,
    made: u64,
    changed: SystemTime,
}

impl State {
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

impl Jobs {
    pub(crate) fn new(store: Arc<Managed>, clock: Arc<dyn Clock>) -> Jobs {
        let state = State {
            drafts: BTreeMap::new(),
            parked: BTreeMap::new(),
            by_ino: HashMap::new(),
            seen: HashMap::new(),
            listed: Vec::new(),
            made: 0,
            changed: clock.now(),
        };
        Jobs {
            store,
            clock,
            state: Mutex::new(state),
            changing: Mutex::default(),
            budget: Arc::default(),
            errors: Mutex::default(),
            unkept: Mutex::default(),
            is_busy: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// When the names in `jobs/` were changed here last.
    pub(crate) fn changed(&self) -> SystemTime {
        self.state().changed
    }

    pub(crate) fn find(&self, file: &str) -> Result<Option<Entry>> {
        let found = match names::classify(file) {
            Name::New => Some(Entry::New),
            Name::Errors => Some(Entry::Errors),
            Name::Job(name) => self.job(name)?.map(Entry::Job),
            Name::Scratch => None,
        };
        Ok(found.or_else(|| self.state().drafts.get(file).cloned().map(Entry::Draft)))
    }

    /// Returns a job that is shown under its name.
    fn job(&self, name: &str) -> Result<Option<Arc<Job>>> {
        if self.state().parked.contains_key(name) {
            return Ok(None);
        }
        let Some(job) = self.store.catalogue.job(name)? else { return Ok(None) };
        let file = names::file_of(name);
        self.state().see(ino_of(&file), &file);
        Ok(Some(Arc::new(job)))
    }

    pub(crate) fn by_ino(&self, ino: Ino) -> Result<Option<Entry>> {
        if let Some(entry) = [Entry::New, Entry::Errors].into_iter().find(|entry| entry.ino() == ino) {
            return Ok(Some(entry));
        }
        let (seen, draft) = {
            let state = self.state();
            (state.seen.get(&ino).cloned(), state.by_ino.get(&ino).and_then(Weak::upgrade))
        };
        if let Some(file) = seen
            && let Some(entry) = self.find(&file)?
        {
            return Ok(Some(entry));
        }
        if let Some(draft) = draft {
            return Ok(Some(Entry::Draft(draft)));
        }
        let of_ino = |job: &Job| ino_of(&names::file_of(&job.name)) == ino;
        match self.store.catalogue.jobs()?.into_iter().find(of_ino) {
            Some(job) => Ok(self.job(&job.name)?.map(Entry::Job)),
            None => Ok(None),
        }
    }

    pub(crate) fn list(&self) -> Result<Vec<DirEntry>> {
        let jobs = self.store.catalogue.jobs()?;
        let mut state = self.state();
        state.listed = jobs
            .into_iter()
            .filter(|job| names::is_job(&job.name) && !state.parked.contains_key(&job.name))
            .map(|job| names::file_of(&job.name))
            .collect();
        for file in state.listed.clone() {
            state.see(ino_of(&file), &file);
        }
        Ok(state.list())
    }

    /// Lists what is here and what was defined when it was asked for last.
    pub(crate) fn list_as_known(&self) -> Vec<DirEntry> {
        self.state().list()
    }

    /// Returns size and time of change; `None` where that is not known of any moment.
    pub(crate) fn size_and_mtime(&self, entry: &Entry) -> Result<(u64, Option<SystemTime>)> {
        Ok(match entry {
            Entry::New => (EXAMPLE.len() as u64, None),
            Entry::Errors => {
                let errors = self.errors()?;
                (errors.text.len() as u64, errors.latest)
            }
            Entry::Job(job) => (job.text.len() as u64, Some(job.modified)),
            Entry::Draft(draft) => (draft.size(), Some(draft.mtime())),
        })
    }

    /// Returns what a reader of it gets.
    pub(crate) fn text(&self, entry: &Entry) -> Result<Vec<u8>> {
        Ok(match entry {
            Entry::New => EXAMPLE.into(),
            Entry::Errors => self.errors()?.text.clone(),
            Entry::Job(job) => job.text.clone().into_bytes(),
            Entry::Draft(draft) => draft.text(),
        })
    }

    fn errors(&self) -> Result<Arc<Errors>> {
        let catalogue = &self.store.catalogue;
        let unkept = self.unkept.lock().latest();
        if !unkept.is_empty() {
            // The catalogue may be what is not well.
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

    /// Removes a draft's name.
    fn forget(&self, file: &str, only: Option<&Arc<Draft>>) {
        let mut state = self.state();
        let is_it = |draft: &Arc<Draft>| only.is_none_or(|only| Arc::ptr_eq(only, draft));
        if state.drafts.get(file).is_some_and(is_it) {
            state.drafts.remove(file);
            state.changed = self.clock.now();
        }
        state.by_ino.retain(|_, draft| draft.strong_count() > 0);
    }
}

#[cfg(test)]
mod tests;
