//! `jobs/` of a managed store: handing in specs, the defined jobs, and the temporary files of whoever edits them.
//!
//! What is defined is in the catalogue, and asked for there every time, so that changes are seen at once. In memory
//! there are only texts that are not defined (yet): [`draft::Draft`]s.
//!
//! Locks, in the order in which they may be taken: `changing`, one draft's, `state`. `state` is never held while the
//! catalogue is written to.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use super::attr::{DirEntry, NodeKind};
use super::ino::{Ino, hash_number};
use crate::error::{Error, Kind, Result};
use crate::export::jobs::{self, Rejected};
use crate::export::refusal::Refusal;
use crate::export::spec::EXAMPLE;
use crate::io::with_permit;
use crate::store::catalogue::{Job, Revision};
use crate::store::clock::Clock;
use crate::store::managed::Managed;

mod change;
mod draft;
mod errors;
mod names;
mod scratch;

pub use draft::Writing;
use draft::{Desk, Draft, Role};
use errors::{Errors, Unkept};
use names::Name;
use scratch::{Budget, Share};

/// More names than this are not remembered by their inode numbers; the others are looked for.
const MAX_SEEN: usize = 4096;

/// Something in `jobs/`.
#[derive(Clone)]
pub enum Entry {
    New,
    Errors,
    Job(Arc<Job>),
    /// A temporary file, or a job that is being written for the first time.
    Draft(Arc<Draft>),
}

impl Entry {
    pub fn ino(&self) -> Ino {
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

pub struct Jobs {
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
    /// True if there are runs that the view does not have.
    handed_in: AtomicBool,
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
    pub fn new(store: Arc<Managed>, clock: Arc<dyn Clock>) -> Jobs {
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
            handed_in: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Returns true once after something has been handed in.
    pub fn take_handed_in(&self) -> bool {
        self.handed_in.swap(false, Ordering::Relaxed)
    }

    /// When the names in `jobs/` were changed here last.
    pub fn changed(&self) -> SystemTime {
        self.state().changed
    }

    pub fn find(&self, file: &str) -> Result<Option<Entry>> {
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

    pub fn by_ino(&self, ino: Ino) -> Result<Option<Entry>> {
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

    pub fn list(&self) -> Result<Vec<DirEntry>> {
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
    pub fn list_as_known(&self) -> Vec<DirEntry> {
        self.state().list()
    }

    /// Returns size and time of change; `None` where that is not known of any moment.
    pub fn size_and_mtime(&self, entry: &Entry) -> Result<(u64, Option<SystemTime>)> {
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
    pub fn text(&self, entry: &Entry) -> Result<Vec<u8>> {
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

    /// Opens what can be written. A defined job is only changed by what is written to the end and right.
    pub fn open(&self, entry: &Entry, writes: bool, truncates: bool, appends: bool) -> Result<Writing> {
        let draft = match entry {
            Entry::Errors => return Err(Error::new(Kind::NotPermitted, "jobs/errors is only read")),
            Entry::New => self.unnamed(entry, Role::New, Vec::new())?,
            Entry::Job(job) => {
                let text = if truncates { Vec::new() } else { job.text.clone().into_bytes() };
                self.unnamed(entry, Role::Job(job.name.clone()), text)?
            }
            Entry::Draft(draft) => {
                if truncates {
                    draft.resize(0, self.clock.now())?;
                }
                draft.clone()
            }
        };
        if writes {
            draft.add_writer();
        }
        Ok(Writing { draft, writes, appends })
    }

    /// Makes a text that only its handle knows: what is defined stays until there is something better.
    fn unnamed(&self, entry: &Entry, role: Role, text: Vec<u8>) -> Result<Arc<Draft>> {
        let mut share = Share::of_spec(&self.budget);
        share.resize(text.len())?;
        Ok(Arc::new(Draft::new(entry.ino(), role, text, share, self.clock.now())))
    }

    pub fn write(&self, writing: &Writing, offset: u64, data: &[u8]) -> Result<()> {
        let offset = Some(offset).filter(|_| !writing.appends);
        writing.draft.write(self, offset, data, self.clock.now())
    }

    pub fn flush(&self, writing: &Writing) -> Result<()> {
        if writing.writes { writing.draft.flush(self) } else { Ok(()) }
    }

    pub fn read(&self, writing: &Writing, buf: &mut [u8], offset: u64) -> Result<usize> {
        writing.draft.read_at(self, buf, offset)
    }

    /// Ends a handle. A job that has come to nothing is not there any more.
    pub fn close(&self, writing: &Writing) {
        if writing.writes
            && writing.draft.close(self)
            && let Role::Job(name) = writing.draft.role()
        {
            self.forget(&names::file_of(&name), Some(&writing.draft));
        }
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

impl Jobs {
    fn take_in(&self, role: &Role, text: &[u8]) -> std::result::Result<String, Rejected> {
        let now = self.clock.now();
        match role {
            Role::New => jobs::submit(&self.store, text, now),
            Role::Scratch => Ok(String::new()),
            Role::Job(name) => {
                jobs::define(&self.store, name, text, now)?;
                // It is in the catalogue now, and no backup takes its place.
                self.state().parked.remove(name);
                self.forget(&names::file_of(name), None);
                Ok(String::new())
            }
        }
    }

    /// Writes down what could not be written down before.
    fn keep_unkept(&self) {
        let mut unkept = self.unkept.lock();
        while let Some(refused) = unkept.earliest() {
            if with_permit(None, || self.store.catalogue.add_refusal(refused)).is_err() {
                return;
            }
            unkept.is_kept();
        }
    }
}

impl Desk for Jobs {
    fn hand_in(&self, role: &Role, text: &[u8]) -> std::result::Result<String, Rejected> {
        let taken = self.take_in(role, text);
        let is_busy = matches!(&taken, Err(Rejected::Failed(error)) if error.kind() == Kind::TimedOut);
        self.is_busy.store(is_busy, Ordering::Relaxed);
        if taken.is_ok() {
            self.handed_in.store(true, Ordering::Relaxed);
            self.keep_unkept();
        }
        taken
    }

    fn keep(&self, role: &Role, refusal: &Refusal, text: &[u8]) {
        let target = role.target();
        let refused = jobs::refused(&target, refusal, text, self.clock.now());
        // It would be waited for once more, in vain.
        if self.is_busy.swap(false, Ordering::Relaxed) {
            return self.unkept.lock().add(refused);
        }
        // Also of what took too long, so that nothing is lost.
        if let Err(error) = with_permit(None, || self.store.catalogue.add_refusal(&refused)) {
            log::warn!("a spec written to {target} was refused, and is kept in memory only: {error}");
            self.unkept.lock().add(refused);
        }
    }
}

#[cfg(test)]
mod tests;
