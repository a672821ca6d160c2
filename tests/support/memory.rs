//! A catalogue with its queue, and a location, in memory. Processes are handles that can be cut off: whatever such a handle
//! is asked fails from then on, and what it held goes to others, as when a host has died or has lost its network.
//!
//! One process at a time executes runs, or any number of them does, by claims that run out ([`Memory::shared`]).
//!
//! The location behaves as an object store does: nothing is renamed, and what a catalogue has recorded is not looked at.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use cddsfs::error::{Error, Kind, Result};
use cddsfs::io::{Cancel, ReadAt, Reader};
use cddsfs::store::catalogue::*;
use cddsfs::store::managed::Managed;
use cddsfs::store::parts::{Key, Left, Listing, PartRef, PartSink, Parts, Space, Version};
use cddsfs::store::watch::Watch;

const KEPT_REFUSALS: usize = 20;
const KEPT_HASHES: Duration = Duration::from_secs(24 * 60 * 60);

/// A claim is its owner's for so long after he was last heard of.
pub const LEASE: Duration = Duration::from_secs(30);

/// What a queue of several processes may get wrong, for those who are to find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// Whoever once had a claim ends and completes the run all the same.
    Fences,
    /// Claims are taken up whether or not their time is over.
    Leases,
    /// Everybody goes by his own time of day.
    Clocks,
}

/// What all handles share.
#[derive(Default)]
pub struct Memory {
    state: Mutex<State>,
    stored: Mutex<BTreeMap<Key, Stored>>,
    versions: AtomicU64,
    /// There is no room for parts.
    pub is_full: AtomicBool,
}

#[derive(Default)]
struct State {
    changes: i64,
    epoch: i64,
    settings: HashMap<&'static str, String>,
    jobs: BTreeMap<String, Job>,
    runs: BTreeMap<String, Entry>,
    parts: BTreeMap<String, Vec<StoredPartRecord>>,
    hashes: HashMap<(String, u32), Vec<Hash>>,
    /// When parts were forgotten.
    discarded: HashMap<String, SystemTime>,
    refusals: Vec<RefusedSpec>,
    /// The handle that executes runs, where one at a time does.
    attending: Option<u64>,
    /// The clock, where any number of processes executes runs: the time of day when it began, and what has passed since.
    clock: Option<(SystemTime, Duration)>,
    broken: Option<Broken>,
}

struct Entry {
    run: Run,
    debris: bool,
    /// The handle that has claimed it.
    owner: u64,
    /// Until when it has.
    until: Duration,
}

#[derive(Clone)]
struct Stored {
    bytes: Arc<Vec<u8>>,
    version: Version,
    mtime: SystemTime,
}

/// A process that has the store open.
#[derive(Clone)]
pub struct Handle {
    memory: Arc<Memory>,
    id: u64,
    is_cut_off: Arc<AtomicBool>,
}

impl Memory {
    pub fn open(self: &Arc<Memory>) -> Handle {
        let id = self.versions.fetch_add(1, Ordering::Relaxed);
        Handle { memory: self.clone(), id, is_cut_off: Arc::default() }
    }

    /// A store in which any number of processes executes runs.
    pub fn shared(begun: SystemTime, broken: Option<Broken>) -> Memory {
        let state = State { clock: Some((begun, Duration::ZERO)), broken, ..State::default() };
        Memory { state: Mutex::new(state), ..Memory::default() }
    }

    /// Says how much time has passed there.
    pub fn set_time(&self, passed: Duration) {
        self.state.lock().unwrap().clock.iter_mut().for_each(|(_, time)| *time = passed);
    }
}

impl Handle {
    pub fn managed(&self) -> Managed {
        let handle = Arc::new(self.clone());
        Managed::of(Path::new("memory"), handle.clone(), handle.clone(), handle)
    }

    /// Lets everything fail from now on.
    pub fn cut_off(&self) {
        let mut state = self.memory.state.lock().unwrap();
        self.is_cut_off.store(true, Ordering::SeqCst);
        if state.attending == Some(self.id) {
            state.attending = None;
        }
    }

    fn check(&self) -> Result<()> {
        let gone = || Error::new(Kind::Os(libc::EIO), "the store is out of reach");
        (!self.is_cut_off.load(Ordering::SeqCst)).then_some(()).ok_or_else(gone)
    }

    fn read(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.memory.state.lock().unwrap();
        self.check().map(|()| state)
    }

    fn write<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T> {
        let mut state = self.read()?;
        (state.changes, state.epoch) = (state.changes + 1, state.epoch + 1);
        Ok(change(&mut state))
    }

    /// What is no change for whoever shows the store.
    fn write_quietly<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T> {
        let mut state = self.read()?;
        state.changes += 1;
        Ok(change(&mut state))
    }

    fn stored(&self) -> Result<MutexGuard<'_, BTreeMap<Key, Stored>>> {
        let stored = self.memory.stored.lock().unwrap();
        self.check().map(|()| stored)
    }
}

impl State {
    /// The run that is executed by that claim, and by no other.
    fn held(&mut self, claim: &Claim) -> Option<&mut Entry> {
        let is_latest = self.is_latest(claim);
        let entry = self.runs.get_mut(claim.id())?;
        (entry.run.status == Status::InProgress && is_latest).then_some(entry)
    }

    fn is_latest(&self, claim: &Claim) -> bool {
        let is_latest = |entry: &Entry| entry.run.attempts == claim.fence();
        self.runs.get(claim.id()).is_some_and(is_latest) || self.broken == Some(Broken::Fences)
    }

    /// Until when a claim lasts that is made or renewed now.
    fn lease(&self) -> Duration {
        self.clock.map_or(LEASE, |(_, passed)| passed + LEASE)
    }

    fn of_job(&self, job: &str, statuses: &[Status]) -> Vec<String> {
        let is_of = |run: &Run| run.job.as_deref() == Some(job) && statuses.contains(&run.status);
        self.runs.values().filter(|entry| is_of(&entry.run)).map(|entry| entry.run.id.clone()).collect()
    }

    fn insert(&mut self, run: &Run) {
        let entry = Entry { run: run.clone(), debris: false, owner: 0, until: Duration::ZERO };
        self.runs.insert(run.id.clone(), entry);
    }

    fn delete_scheduled(&mut self, job: &str) {
        for id in self.of_job(job, &[Status::Scheduled]) {
            self.runs.remove(&id);
        }
    }

    fn orphan(&mut self, job: &str) {
        for id in self.of_job(job, &[Status::Queued, Status::InProgress]) {
            self.runs.get_mut(&id).unwrap().run.job = None;
        }
    }

    fn cancel(&mut self, id: &str, now: SystemTime) {
        let Some(Entry { run, .. }) = self.runs.get_mut(id) else { return };
        match run.status {
            Status::InProgress => run.cancel = true,
            Status::Scheduled | Status::Queued => {
                let job = run.job.as_deref().filter(|_| run.status == Status::Scheduled);
                if let Some(job) = job.and_then(|job| self.jobs.get_mut(job)) {
                    job.skipped = run.scheduled;
                }
                (run.status, run.finished) = (Status::Cancelled, Some(now));
            }
            _ => {}
        }
    }

    fn forget_hidden(&mut self) {
        let State { runs, parts, .. } = self;
        let is_needed = |run: &Run| !run.hidden || run.present || !run.status.is_final();
        runs.retain(|id, entry| is_needed(&entry.run) || entry.debris || parts.contains_key(id));
    }

    fn shown(&self, entry: &Entry) -> Run {
        let parts = self.parts.get(&entry.run.id).into_iter().flatten();
        let incomplete = entry.run.present && parts.into_iter().any(|part| part.is_deleted);
        Run { incomplete, ..entry.run.clone() }
    }
}

impl Jobs for Handle {
    fn jobs(&self) -> Result<Vec<Job>> {
        Ok(self.read()?.jobs.values().cloned().collect())
    }

    fn job(&self, name: &str) -> Result<Option<Job>> {
        Ok(self.read()?.jobs.get(name).cloned())
    }

    fn schedule(&self, job: &Job, run: &Run) -> Result<()> {
        self.write(|state| {
            let pending = [Status::Scheduled, Status::Queued, Status::InProgress];
            if state.jobs.get(&job.name) == Some(job) && state.of_job(&job.name, &pending).is_empty() {
                state.insert(run);
            }
        })
    }

    fn define_job(&self, name: &str, text: &str, modified: SystemTime, run: Option<&Run>) -> Result<()> {
        self.write(|state| {
            let before = state.jobs.get(name).cloned();
            let job = Job { text: text.into(), modified, ..before.unwrap_or_else(|| job(name)) };
            state.jobs.insert(name.into(), job);
            state.delete_scheduled(name);
            run.inspect(|run| state.insert(run));
        })
    }

    fn add_job(
        &self,
        names: &mut dyn Iterator<Item = String>,
        text: &str,
        modified: SystemTime,
        run: &Run,
    ) -> Result<()> {
        self.write(|state| {
            let is_free = |name: &String| !state.jobs.contains_key(name);
            let name = Iterator::find(&mut { names }, is_free).unwrap();
            state.jobs.insert(name.clone(), Job { text: text.into(), modified, ..job(&name) });
            state.insert(&Run { job: Some(name), ..run.clone() });
        })
    }

    fn set_job_text(&self, name: &str, text: &str, modified: SystemTime) -> Result<()> {
        self.write(|state| {
            if let Some(job) = state.jobs.get_mut(name) {
                (job.text, job.modified) = (text.into(), modified);
            }
        })
    }

    fn rename_job(&self, from: &str, to: &str) -> Result<()> {
        let is_renamed = self.write(|state| {
            if from == to || !state.jobs.contains_key(from) {
                return state.jobs.contains_key(from);
            }
            state.delete_scheduled(to);
            state.orphan(to);
            let job = state.jobs.remove(from).unwrap();
            state.jobs.insert(to.into(), Job { name: to.into(), ..job });
            for id in state.of_job(from, &[Status::Scheduled, Status::Queued, Status::InProgress]) {
                state.runs.get_mut(&id).unwrap().run.job = Some(to.into());
            }
            true
        })?;
        is_renamed.then_some(()).ok_or_else(|| Error::new(Kind::NotFound, "no such job"))
    }

    fn delete_job(&self, name: &str) -> Result<bool> {
        self.write(|state| {
            state.delete_scheduled(name);
            state.orphan(name);
            state.jobs.remove(name).is_some()
        })
    }
}

fn job(name: &str) -> Job {
    let epoch = SystemTime::UNIX_EPOCH;
    Job { name: name.into(), text: String::new(), modified: epoch, due: None, skipped: None, mark: None }
}

impl Runs for Handle {
    fn runs(&self) -> Result<Vec<Run>> {
        let state = self.read()?;
        Ok(state.runs.values().filter(|entry| !entry.run.hidden).map(|entry| state.shown(entry)).collect())
    }

    fn runs_that_are(&self, status: Status) -> Result<Vec<Run>> {
        let state = self.read()?;
        let entries = state.runs.values().filter(|entry| entry.run.status == status);
        let mut runs: Vec<Run> = entries.map(|entry| state.shown(entry)).collect();
        runs.sort_by_key(|run| (run.queued.or(run.scheduled), run.id.clone()));
        Ok(runs)
    }

    fn run(&self, id: &str) -> Result<Option<Run>> {
        let state = self.read()?;
        Ok(state.runs.get(id).map(|entry| state.shown(entry)))
    }

    fn add_run(&self, run: &Run) -> Result<()> {
        self.write(|state| state.insert(run))
    }

    fn queue(&self, id: &str, now: SystemTime) -> Result<()> {
        self.write(|state| {
            let State { runs, jobs, .. } = state;
            let entry = runs.get_mut(id).filter(|entry| entry.run.status == Status::Scheduled);
            if let Some(Entry { run, .. }) = entry {
                (run.status, run.queued) = (Status::Queued, Some(now));
                if let Some(job) = run.job.as_ref().and_then(|job| jobs.get_mut(job)) {
                    job.due = Some(now);
                }
            }
        })
    }

    fn reschedule(&self, id: &str, at: Option<SystemTime>, now: SystemTime) -> Result<()> {
        self.write(|state| {
            if let Some(Entry { run, .. }) = state.runs.get_mut(id)
                && run.status == Status::Scheduled
            {
                (run.scheduled, run.made) = (at, Some(now));
            }
        })
    }

    fn fail_scheduled(&self, id: &str, error: &str, now: SystemTime) -> Result<()> {
        self.write(|state| {
            if let Some(Entry { run, .. }) = state.runs.get_mut(id)
                && run.status == Status::Scheduled
            {
                (run.status, run.error, run.finished) = (Status::Failed, Some(error.into()), Some(now));
            }
        })
    }

    fn cancel(&self, id: &str, now: SystemTime) -> Result<()> {
        self.write(|state| state.cancel(id, now))
    }

    fn end_cancelled(&self, now: SystemTime) -> Result<()> {
        let is_left = |run: &Run| run.cancel && matches!(run.status, Status::Scheduled | Status::Queued);
        if !self.read()?.runs.values().any(|entry| is_left(&entry.run)) {
            return Ok(());
        }
        self.write(|state| {
            for entry in state.runs.values_mut().filter(|entry| is_left(&entry.run)) {
                (entry.run.status, entry.run.finished) = (Status::Cancelled, Some(now));
            }
            state.forget_hidden();
        })
    }

    fn remove_run(&self, id: &str, now: SystemTime) -> Result<()> {
        self.write(|state| match state.runs.get_mut(id) {
            Some(entry) if entry.run.status.is_final() => {
                entry.run.hidden = true;
                state.forget_hidden();
            }
            _ => state.cancel(id, now),
        })
    }

    fn runs_with_debris(&self) -> Result<Vec<String>> {
        let state = self.read()?;
        let has = |e: &&Entry| e.debris && !e.run.present && e.run.status != Status::InProgress;
        Ok(state.runs.values().filter(has).map(|entry| entry.run.id.clone()).collect())
    }

    fn set_clean(&self, runs: &[String]) -> Result<()> {
        self.write(|state| {
            for id in runs {
                let entry = state.runs.get_mut(id).filter(|e| e.run.status != Status::InProgress);
                entry.into_iter().for_each(|entry| entry.debris = false);
            }
            state.forget_hidden();
        })
    }
}

impl Artifacts for Handle {
    fn artifacts(&self) -> Result<Vec<StoredArtifact>> {
        let state = self.read()?;
        let present = state.runs.values().map(|entry| &entry.run).filter(|run| run.present);
        Ok(present
            .map(|run| StoredArtifact {
                run: run.id.clone(),
                made: run.finished.unwrap(),
                bytes: run.bytes.unwrap(),
                parts: state.parts.get(&run.id).cloned().unwrap_or_default(),
            })
            .collect())
    }

    fn oldest_artifact(&self) -> Result<Option<SystemTime>> {
        Ok(self.artifacts()?.iter().map(|artifact| artifact.made).min())
    }

    fn parts(&self, run: &str) -> Result<Vec<StoredPartRecord>> {
        Ok(self.read()?.parts.get(run).cloned().unwrap_or_default())
    }

    fn block_hashes(&self, run: &str, number: u32, piece: u64) -> Result<Vec<Hash>> {
        let state = self.read()?;
        let hashes = state.hashes.get(&(run.to_string(), number)).into_iter().flatten();
        Ok(hashes.skip(piece as usize * PART_BLOCK_HASHES).take(PART_BLOCK_HASHES).copied().collect())
    }

    fn artifact_is_gone(&self, run: &str, now: SystemTime) -> Result<bool> {
        self.write(|state| {
            let entry = state.runs.get_mut(run).filter(|entry| entry.run.present);
            let is_there = entry.is_some();
            if let Some(Entry { run, .. }) = entry {
                (run.present, run.deleted) = (false, Some(now));
            }
            is_there
        })
    }

    fn part_is_gone(&self, run: &str, name: &str, now: SystemTime) -> Result<Gone> {
        self.write(|state| {
            let parts = state.parts.get_mut(run);
            let mut parts = parts.into_iter().flatten();
            let Some(part) = parts.find(|part| part.name == name && !part.is_deleted) else {
                return Gone::Nothing;
            };
            part.is_deleted = true;
            let all = state.parts[run].iter().all(|part| part.is_deleted);
            match state.runs.get_mut(run).filter(|entry| all && entry.run.present) {
                None => Gone::Part,
                Some(Entry { run, .. }) => {
                    (run.present, run.deleted) = (false, Some(now));
                    Gone::Artifact
                }
            }
        })
    }

    fn leftovers(&self, until: SystemTime) -> Result<Vec<String>> {
        let state = self.read()?;
        let was_gone = |run: &Run| !run.present && run.deleted.is_none_or(|at| at <= until);
        let is_gone = |id: &&String| state.runs.get(*id).is_some_and(|entry| was_gone(&entry.run));
        Ok(state.parts.keys().filter(is_gone).cloned().collect())
    }

    fn deleted_parts(&self, _until: SystemTime) -> Result<Vec<StoredPartRecord>> {
        let state = self.read()?;
        Ok(state.parts.values().flatten().filter(|part| part.is_deleted).cloned().collect())
    }

    fn forget_parts(&self, run: &str, known: usize, now: SystemTime) -> Result<()> {
        let believed = (self as &dyn Catalogue).confirmed_clock()?.unwrap_or(now);
        self.write(|state| {
            let parts = state.parts.remove(run).unwrap_or_default();
            if let Some(entry) = state.runs.get_mut(run).filter(|_| parts.len() != known) {
                entry.debris = true;
            }
            state.discarded.insert(run.into(), now.max(believed));
            state.forget_hidden();
        })
    }

    fn forget_hashes(&self, now: SystemTime) -> Result<()> {
        if self.read()?.discarded.is_empty() {
            return Ok(());
        }
        self.write_quietly(|state| {
            let is_old = |at: &SystemTime| *at + KEPT_HASHES < now;
            let old: HashSet<String> =
                state.discarded.iter().filter(|(_, at)| is_old(at)).map(|(run, _)| run.clone()).collect();
            state.hashes.retain(|(run, _), _| !old.contains(run));
            state.discarded.retain(|run, _| !old.contains(run));
        })
    }
}

impl Refusals for Handle {
    fn add_refusal(&self, refused: &RefusedSpec) -> Result<()> {
        self.write(|state| {
            state.refusals.insert(0, refused.clone());
            state.refusals.truncate(KEPT_REFUSALS);
        })
    }

    fn refusals(&self) -> Result<Vec<RefusedSpec>> {
        Ok(self.read()?.refusals.clone())
    }
}

impl Catalogue for Handle {
    fn is_read_only(&self) -> bool {
        false
    }

    fn changes(&self) -> Result<Revision> {
        Ok(Revision::of(self.read()?.changes))
    }

    fn epoch(&self) -> Result<Revision> {
        Ok(Revision::of(self.read()?.epoch))
    }

    fn setting(&self, setting: Setting) -> Result<Option<String>> {
        Ok(self.read()?.settings.get(setting.name()).cloned())
    }

    fn set(&self, setting: Setting, value: &str) -> Result<()> {
        let insert = |state: &mut State| drop(state.settings.insert(setting.name(), value.into()));
        if setting.is_shown() { self.write(insert) } else { self.write_quietly(insert) }
    }

    fn certificates(&self) -> Result<Certificates> {
        let none = || Error::new(Kind::Os(libc::ENOENT), "certificates: there are none");
        let pem = self.setting(Setting::Certificates)?.ok_or_else(none)?.into_bytes();
        Ok(Certificates { pem, place: "certificates".into() })
    }

    fn set_certificates(&self, pem: &[u8]) -> Result<()> {
        self.set(Setting::Certificates, std::str::from_utf8(pem).unwrap())
    }

    fn today(&self, own: SystemTime) -> Result<SystemTime> {
        let state = self.read()?;
        let clock = state.clock.filter(|_| state.broken != Some(Broken::Clocks));
        Ok(clock.map_or(own, |(begun, passed)| begun + passed))
    }

    fn checkpoint(&self) -> Result<()> {
        Ok(())
    }

    fn copy_to(&self, _path: &Path) -> Result<()> {
        Err(Error::unsupported("a copy of what is in memory"))
    }
}

/// Gives up what it stands for.
struct Attending(Handle);

impl Drop for Attending {
    fn drop(&mut self) {
        let mut state = self.0.memory.state.lock().unwrap();
        if state.attending == Some(self.0.id) {
            state.attending = None;
        }
    }
}

impl Queue for Handle {
    fn attend(&self) -> Result<Option<Attendance>> {
        let mut state = self.read()?;
        if state.clock.is_some() {
            return Ok(Some(Attendance::new(())));
        }
        let is_free = state.attending.is_none();
        Ok(is_free.then(|| {
            state.attending = Some(self.id);
            Attendance::new(Attending(self.clone()))
        }))
    }

    fn claim(&self, wanted: &Wanted<'_>, now: SystemTime) -> Result<Option<Claim>> {
        if self.runs_that_are(Status::Queued)?.is_empty() {
            return Ok(None);
        }
        self.write(|state| {
            let until = state.lease();
            let is_free = |run: &Run| run.status == Status::Queued && !run.cancel && wanted.takes(&run.id);
            let free = state.runs.values_mut().filter(|entry| is_free(&entry.run));
            let entry = free.min_by_key(|entry| (entry.run.queued, entry.run.id.clone()))?;
            (entry.debris, entry.owner, entry.until) = (true, self.id, until);
            let run = &mut entry.run;
            (run.status, run.started, run.progress) = (Status::InProgress, Some(now), None);
            run.attempts += 1;
            Some(Claim::new(run.clone(), run.attempts))
        })
    }

    fn renew(&self, claim: &Claim, progress: &Progress, now: SystemTime) -> Result<Standing> {
        self.write_quietly(|state| {
            let lease = state.lease();
            let Some(Entry { run, until, .. }) = state.held(claim) else { return Standing::Lost };
            *until = lease;
            (run.progress, run.progressed) = (Some(*progress), Some(now));
            if run.cancel { Standing::Cancel } else { Standing::Go }
        })
    }

    fn note(&self, claim: &Claim, note: Note<'_>) -> Result<()> {
        self.write_quietly(|state| {
            let lease = state.lease();
            let Some(Entry { run, until, .. }) = state.held(claim) else { return };
            *until = lease;
            match note {
                Note::Certificate(text) => run.certificate = Some(text.into()),
                Note::Warnings(text) => run.warnings = Some(text.into()),
            }
        })
    }

    fn complete(&self, claim: &Claim, made: &Completion<'_>) -> Result<Ended> {
        self.write(|state| {
            let is_latest = state.is_latest(claim);
            let Some(entry) = state.runs.get_mut(claim.id()).filter(|_| is_latest) else {
                return Ended::Lost;
            };
            match entry.run.status {
                Status::Completed => return Ended::Completed,
                Status::InProgress if entry.run.cancel => return Ended::Cancelled,
                Status::InProgress => {}
                _ => return Ended::Lost,
            }
            entry.debris = false;
            let (rows, run) = (made.rows, &mut entry.run);
            (run.status, run.finished, run.present) = (Status::Completed, Some(made.finished), true);
            (run.bytes, run.error) = (Some(made.bytes), None);
            let bytes_written = made.parts.iter().map(|(part, _)| part.size).sum();
            let done = Progress { rows_done: rows, rows_total: rows, bytes_written, eta_seconds: None };
            run.progress = Some(done);
            if let Some(job) = run.job.as_ref().and_then(|job| state.jobs.get_mut(job)) {
                job.mark = made.mark.map(str::to_string).or(job.mark.take());
            }
            for (number, (_, hashes)) in (1..).zip(made.parts) {
                state.hashes.insert((claim.id().into(), number), hashes.clone());
            }
            let parts: Vec<_> = made.parts.iter().map(|(part, _)| part.clone()).collect();
            if !parts.is_empty() {
                state.parts.insert(claim.id().into(), parts);
            }
            Ended::Completed
        })
    }

    fn is_complete(&self, claim: &Claim) -> Result<bool> {
        let state = self.read()?;
        let is_it = |e: &Entry| e.run.attempts == claim.fence() && e.run.status == Status::Completed;
        Ok(state.runs.get(claim.id()).is_some_and(is_it))
    }

    fn end(&self, claim: &Claim, end: &End) -> Result<()> {
        self.write(|state| {
            if let Some(entry) = state.held(claim) {
                entry.debris = !end.is_clean;
                let run = &mut entry.run;
                (run.status, run.finished) = (end.status, Some(end.finished));
                run.error = end.error.clone();
                run.progress.as_mut().into_iter().for_each(|progress| progress.eta_seconds = None);
            }
            state.forget_hidden();
        })
    }

    fn give_back(&self, claim: &Claim, why: Why) -> Result<bool> {
        self.write(|state| {
            let Some(entry) = state.held(claim).filter(|entry| !entry.run.cancel) else { return false };
            let run = &mut entry.run;
            run.status = Status::Queued;
            let has_rows = run.progress.is_some_and(|progress| progress.rows_done > 0);
            run.deaths = match why {
                Why::Interrupted => run.deaths,
                Why::Died if has_rows => 0,
                Why::Died => run.deaths + 1,
            };
            true
        })
    }

    fn orphans(&self, holds: &dyn Fn(&str) -> bool) -> Result<Vec<Claim>> {
        let runs = self.runs_that_are(Status::InProgress)?;
        let clock = self.read()?.clock.filter(|_| !runs.is_empty());
        let Some((_, time)) = clock else {
            let runs = runs.into_iter().filter(|run| !holds(&run.id));
            return Ok(runs.map(|run| Claim::new(run.clone(), run.attempts)).collect());
        };
        self.write_quietly(|state| {
            let (lease, broken) = (state.lease(), state.broken);
            let mut orphans = Vec::new();
            for entry in state.runs.values_mut().filter(|entry| entry.run.status == Status::InProgress) {
                let is_own = entry.owner == self.id;
                if is_own && holds(&entry.run.id) {
                    entry.until = lease;
                } else if is_own || entry.until < time || broken == Some(Broken::Leases) {
                    (entry.owner, entry.until) = (self.id, lease);
                    entry.run.attempts += 1;
                    orphans.push(Claim::new(entry.run.clone(), entry.run.attempts));
                }
            }
            orphans
        })
    }

    fn executed(&self, holds: &dyn Fn(&str) -> bool) -> Result<Vec<String>> {
        let state = self.read()?;
        // Whoever has let a claim run out may live all the same, until it is taken up.
        let is_executed = |entry: &Entry| {
            let may_be_anothers = state.clock.is_some() && entry.owner != self.id;
            entry.run.status == Status::InProgress && (may_be_anothers || holds(&entry.run.id))
        };
        Ok(state.runs.values().filter(|e| is_executed(e)).map(|entry| entry.run.id.clone()).collect())
    }

    fn to_cancel(&self) -> Result<Vec<String>> {
        let runs = self.runs_that_are(Status::InProgress)?.into_iter();
        Ok(runs.filter(|run| run.cancel).map(|run| run.id).collect())
    }
}

/// A part that is being written.
struct Sink {
    handle: Handle,
    key: Key,
    bytes: Vec<u8>,
}

impl PartSink for Sink {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.handle.check()?;
        if self.handle.memory.is_full.load(Ordering::Relaxed) {
            return Err(Error::new(Kind::Os(libc::ENOSPC), "No space left on device (os error 28)"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let number = self.handle.memory.versions.fetch_add(1, Ordering::Relaxed);
        let version = Version::new(&[b"memory:", &number.to_le_bytes()[..]].concat());
        let stored = Stored { bytes: Arc::new(self.bytes), version, mtime: SystemTime::now() };
        self.handle.stored()?.insert(self.key, stored);
        Ok(())
    }
}

/// Bytes that fail once they are not those of their key any more, or nobody wants them.
struct Pinned {
    handle: Handle,
    part: PartRef,
    bytes: Arc<Vec<u8>>,
    stop: Cancel,
}

impl ReadAt for Pinned {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.stop.check()?;
        let stored = self.handle.stored()?.get(&self.part.key).cloned();
        if stored.is_some_and(|stored| !Arc::ptr_eq(&stored.bytes, &self.bytes)) {
            return Err(Error::new(Kind::Stale, "the part was replaced while it was open"));
        }
        self.bytes.as_ref().read_at(buf, offset)
    }
}

fn part_of(key: &Key, stored: &Stored) -> PartRef {
    let (name, size) = (key.as_str().to_string(), stored.bytes.len() as u64);
    PartRef { key: key.clone(), name, size, version: stored.version.clone(), mtime: stored.mtime }
}

impl Parts for Handle {
    fn list(&self, stop: &Cancel) -> Result<Listing> {
        stop.check()?;
        let stored = self.stored()?;
        let parts: Vec<PartRef> = stored.iter().map(|(key, stored)| part_of(key, stored)).collect();
        let mtime = parts.iter().map(|part| part.mtime).max().unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(Listing { parts, unfinished: Vec::new(), refused: BTreeMap::new(), mtime })
    }

    fn look(&self, recorded: &[PartRef], stop: &Cancel) -> Result<Listing> {
        stop.check()?;
        self.check()?;
        let mtime = recorded.iter().map(|part| part.mtime).max().unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(Listing { parts: recorded.to_vec(), unfinished: Vec::new(), refused: BTreeMap::new(), mtime })
    }

    fn find(&self, key: &Key) -> Result<Option<PartRef>> {
        Ok(self.stored()?.get(key).map(|stored| part_of(key, stored)))
    }

    fn open(&self, part: &PartRef, stop: &Cancel) -> Result<Reader> {
        stop.check()?;
        let stored = self.stored()?.get(&part.key).cloned();
        let missing = || Error::new(Kind::Os(libc::ENOENT), format!("{}: no such part", part.name));
        let stored = stored.ok_or_else(missing)?;
        let is_own = part.version.bytes().starts_with(b"memory:");
        if is_own && stored.version != part.version {
            return Err(Error::new(Kind::Stale, format!("{}: it has been replaced", part.name)));
        }
        let (handle, part, stop) = (self.clone(), part.clone(), stop.clone());
        Ok(Arc::new(Pinned { handle, part, bytes: stored.bytes, stop }))
    }

    fn create(&self, key: &Key) -> Result<Box<dyn PartSink>> {
        self.stored()?.remove(key);
        Ok(Box::new(Sink { handle: self.clone(), key: key.clone(), bytes: Vec::new() }))
    }

    fn publish(&self, parts: &[(Key, String)], _made: SystemTime) -> Result<Vec<Key>> {
        self.check()?;
        Ok(parts.iter().map(|(key, _)| key.clone()).collect())
    }

    fn delete(&self, keys: &[Key]) -> Result<()> {
        let mut stored = self.stored()?;
        keys.iter().for_each(|key| drop(stored.remove(key)));
        Ok(())
    }

    fn left(&self, run: Option<&str>) -> Result<Vec<Left>> {
        let left = |(key, stored): (&Key, &Stored)| {
            let name = key.as_str().to_string();
            let (run, fence) = name.split_once('/')?;
            let (run, fence) = (run.to_string(), fence.split('/').next()?.parse().ok());
            let size = stored.bytes.len() as u64;
            Some(Left { key: key.clone(), name, size, run, fence, is_unfinished: true })
        };
        let left = self.stored()?.iter().filter_map(left).collect::<Vec<_>>();
        Ok(left.into_iter().filter(|left| run.is_none_or(|run| run == left.run)).collect())
    }

    fn watch(&self, changed: Box<dyn FnMut() + Send>) -> Result<Watch> {
        Watch::start(Duration::from_millis(50), |_| None, changed)
    }

    fn space(&self) -> Result<Space> {
        Ok(Space::default())
    }
}
