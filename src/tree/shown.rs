//! A set of the store as the tree shows it: what its parts turn out to be.

use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use super::context::Context;
use super::ino::{Ino, base};
use super::needs::Place;
use super::recent::SetKey;
use crate::artifact::members::{Members, NodeId};
use crate::artifact::{self, Gaps, OpenedSet, Zip};
use crate::error::{Error, Kind, Result};
use crate::export::stored_set::{self, part_files};
use crate::io::{ReadAt, Reader};
use crate::record::{IncompleteSet, MadeAt, Record, SetState, artifact_name, may_be_whole};
use crate::store::retention::Retention;
use crate::store::sets::StoredSet;
use crate::store::sizes::Known;

/// Times without a zone, and clocks that are a little wrong, may be ahead by this much.
const AHEAD: Duration = Duration::from_secs(26 * 60 * 60);
/// Different errors of one set that are logged.
const MAX_LOGGED: usize = 8;

/// A set and what is known of it.
pub(crate) struct ShownSet {
    stored: Arc<StoredSet>,
    /// Inode number of the root of its contents.
    contents: Ino,
    /// True if its parts turned out to be less regular than they looked: they are read by a full index.
    indexed: bool,
    /// Held for a moment only, never while the outcome is worked out.
    outcome: Mutex<Option<SetState>>,
    /// When it was made, according to what is inside; set once somebody has looked.
    made: OnceLock<Option<SystemTime>>,
    /// Held while the outcome is worked out, so that it is once: whoever asks later waits.
    working: Mutex<()>,
    /// Held while the tree of its members is built, so that it is once. Keeps the reason if there can be none.
    building: Mutex<Option<Error>>,
    logged: Mutex<HashSet<String>>,
}

impl ShownSet {
    pub(crate) fn new(stored: Arc<StoredSet>, indexed: bool) -> ShownSet {
        let contents = base(&[b"contents\0", &stored.digest, &[u8::from(indexed)], stored.stem.as_bytes()]);
        ShownSet {
            stored,
            contents,
            indexed,
            outcome: Mutex::default(),
            made: OnceLock::new(),
            working: Mutex::default(),
            building: Mutex::default(),
            logged: Mutex::default(),
        }
    }

    pub(crate) fn stem(&self) -> &str {
        &self.stored.stem
    }

    /// Returns the inode number of the root of its contents; those of its members differ in the lower bits only.
    pub(crate) fn contents_ino(&self) -> Ino {
        self.contents
    }

    pub(crate) fn stored(&self) -> &StoredSet {
        &self.stored
    }

    pub(crate) fn place(&self) -> Place {
        Place::Files(self.contents)
    }

    /// Returns when it was made, as far as that is known without work.
    ///
    /// A time in the future counts as now: clocks differ, and times in zips have no zone. One that is further off than
    /// [`AHEAD`] is ignored.
    pub(crate) fn made(&self, context: &Context, now: SystemTime) -> MadeAt {
        if self.stored.run.is_some() {
            return MadeAt { at: self.stored.made.min(now), estimated: false };
        }
        let remembered = || context.sizes.get(&self.digest()).filter(|_| !self.indexed)?.made();
        match self.made.get().copied().unwrap_or_else(remembered).filter(|at| *at <= now + AHEAD) {
            Some(at) => MadeAt { at: at.min(now), estimated: false },
            None => MadeAt { at: self.stored.made.min(now), estimated: true },
        }
    }

    /// Returns the hash of its files.
    pub(crate) fn digest(&self) -> [u8; 16] {
        self.stored.digest
    }

    pub(crate) fn hash_into<'a>(&self, hasher: &'a mut blake3::Hasher) -> &'a mut blake3::Hasher {
        hasher.update(&self.stored.digest).update(&[u8::from(self.indexed)]).update(self.stem().as_bytes())
    }

    /// Returns true if this stands for the same files.
    pub(crate) fn is_of(&self, set: &StoredSet) -> bool {
        self.stored.digest == set.digest
    }

    /// Returns the name of its zip, or of the text that stands in for it, as far as that is known without work.
    pub(crate) fn artifact_name(&self) -> String {
        artifact_name(self.stem(), may_be_whole(&self.stored, self.known().as_ref()))
    }

    /// Returns its record, working out what it is if need be.
    pub(crate) fn record(&self, retention: Retention, context: &Context) -> Record {
        let (outcome, now) = (self.outcome(context), context.now());
        Record::of_set(&self.stored, Some(&outcome), self.made(context, now), retention, now)
    }

    /// Returns its record as far as is known what it is.
    pub(crate) fn record_as_known(&self, retention: Retention, context: &Context) -> Record {
        if self.is_known(context) {
            return self.record(retention, context);
        }
        let now = context.now();
        Record::of_set(&self.stored, None, self.made(context, now), retention, now)
    }

    /// Returns true once it has been worked out what the set is.
    pub(crate) fn is_decided(&self) -> bool {
        self.outcome.lock().is_some()
    }

    /// Returns true if [`ShownSet::outcome`] would answer at once.
    pub(crate) fn is_known(&self, context: &Context) -> bool {
        self.known().is_some() || (!self.indexed && context.sizes.get(&self.digest()).is_some())
    }

    /// Returns true if [`ShownSet::open`] would answer at once.
    pub(crate) fn is_open(&self, context: &Context) -> bool {
        context.recent.zip(&self.key()).is_some()
    }

    /// Returns true if [`ShownSet::members`] would answer at once.
    pub(crate) fn has_members(&self, context: &Context) -> bool {
        context.recent.tree(&self.key()).is_some()
    }

    /// Returns what the set is, working it out if need be.
    pub(crate) fn outcome(&self, context: &Context) -> SetState {
        if let Some(known) = self.known() {
            return known;
        }
        let _working = self.working.lock();
        if let Some(known) = self.known() {
            return known;
        }
        if !self.indexed
            && let Some(known) = context.sizes.get(&self.digest())
        {
            self.made.get_or_init(|| known.made());
            return self.keep(SetState::Zip(known.0));
        }
        let found = match self.work_out(context) {
            Ok(zip) => SetState::Zip(zip.len()),
            Err(other) => other,
        };
        if let SetState::Failed(error) = &found {
            self.log_once(error);
            // A file that was replaced meanwhile makes it another set at the next look at the store.
            if error.kind().is_transient() || error.kind() == Kind::Stale {
                return found;
            }
        }
        self.keep(found)
    }

    fn known(&self) -> Option<SetState> {
        self.outcome.lock().clone()
    }

    fn keep(&self, outcome: SetState) -> SetState {
        self.outcome.lock().insert(outcome).clone()
    }

    /// Opens the set and remembers its size; the error is an outcome other than a zip.
    fn work_out(&self, context: &Context) -> std::result::Result<Arc<Zip>, SetState> {
        let conflict = self.stored.conflict().map_err(SetState::Failed)?;
        if let Some((a, b)) = conflict {
            let conflict = Some((a.name.clone(), b.name.clone()));
            return Err(SetState::Incomplete(Arc::new(IncompleteSet { gaps: Gaps::default(), conflict })));
        }
        let (parts, budget) = (part_files(&self.stored), &context.recent.budget);
        self.stored.warm();
        match artifact::open(&parts, &context.identities, self.indexed, budget) {
            Ok(OpenedSet::Zip(zip)) => {
                let zip = Arc::new(zip);
                let made = self.find_made(|| stored_set::made(&zip, &context.recent.shared))?;
                context.sizes.put(&self.digest(), Known::new(zip.len(), made));
                context.recent.keep_zip(self.key(), &zip);
                Ok(zip)
            }
            Ok(OpenedSet::Incomplete(gaps)) => {
                let by_last = || {
                    stored_set::made_by_last(
                        &self.stored,
                        &context.identities,
                        &context.recent.shared,
                        &context.recent.budget,
                    )
                };
                self.find_made(by_last)?;
                Err(SetState::Incomplete(Arc::new(IncompleteSet { gaps, conflict: None })))
            }
            Err(error) => Err(SetState::Failed(error)),
        }
    }

    /// Finds out when it was made, unless that is known.
    fn find_made(
        &self,
        find: impl FnOnce() -> Result<Option<SystemTime>>,
    ) -> std::result::Result<Option<SystemTime>, SetState> {
        if let Some(made) = self.made.get() {
            return Ok(*made);
        }
        let found = if self.stored.run.is_some() { None } else { find().map_err(SetState::Failed)? };
        Ok(*self.made.get_or_init(|| found))
    }

    fn key(&self) -> SetKey {
        (self.stored.digest, self.indexed)
    }

    /// Returns the length of the zip. For a set that cannot be read, that is the length of its stored parts.
    pub(crate) fn zip_size(&self, context: &Context) -> Result<u64> {
        match self.outcome(context) {
            SetState::Zip(len) => Ok(len),
            SetState::Failed(_) => Ok(self.stored.stored_size()),
            SetState::Incomplete(_) => Err(Error::new(Kind::Stale, "the set is not whole any more")),
        }
    }

    /// Opens the zip.
    pub(crate) fn open(&self, context: &Context) -> Result<Arc<Zip>> {
        if let Some(zip) = context.recent.zip(&self.key()) {
            return Ok(zip);
        }
        let expected = match self.outcome(context) {
            SetState::Zip(len) => len,
            SetState::Failed(error) => return Err(error),
            SetState::Incomplete(_) => return Err(Error::new(Kind::Stale, "the set is not whole any more")),
        };
        if let Some(zip) = context.recent.zip(&self.key()) {
            return Ok(zip);
        }
        let opened = self.work_out(context);
        let found = match &opened {
            Ok(zip) if zip.len() == expected => return Ok(zip.clone()),
            Ok(zip) => SetState::Zip(zip.len()),
            Err(outcome) => outcome.clone(),
        };
        // The remembered size was wrong: the right one is shown from now on.
        match &found {
            SetState::Failed(error) => {
                self.log_once(error);
                if !error.kind().is_transient() {
                    context.sizes.forget(&self.digest());
                    self.keep(found.clone());
                }
                Err(error.clone())
            }
            _ => {
                self.keep(found);
                Err(Error::new(Kind::Stale, "its size was remembered wrongly; it can be opened again"))
            }
        }
    }

    /// Returns the tree inside: of the zip or, where that is not whole, of the members that its last part lists.
    pub(crate) fn members(&self, context: &Context) -> Result<Arc<Members>> {
        if let Some(members) = context.recent.tree(&self.key()) {
            return Ok(members);
        }
        let mut building = self.building.lock();
        if let Some(members) = context.recent.tree(&self.key()) {
            return Ok(members);
        }
        if let Some(error) = &*building {
            return Err(error.clone());
        }
        let built = self.build_tree(context);
        match &built {
            Ok(members) => context.recent.keep_tree(self.key(), members),
            Err(error) if matches!(error.kind(), Kind::Unsupported | Kind::Damaged) => {
                *building = Some(error.clone());
            }
            // The next attempt may succeed.
            Err(_) => {}
        }
        built
    }

    fn build_tree(&self, context: &Context) -> Result<Arc<Members>> {
        let budget = &context.recent.budget;
        let zip = match self.outcome(context) {
            SetState::Zip(_) => self.open(context)?,
            SetState::Incomplete(_) | SetState::Failed(_) => {
                let parts = part_files(&self.stored);
                self.stored.warm();
                let rest = artifact::open_rest(&parts, &context.identities, self.indexed, budget);
                Arc::new(rest.inspect_err(|error| self.log_once(error))?)
            }
        };
        let members = Members::open(zip, self.made(context, SystemTime::now()).at, budget);
        Ok(Arc::new(members.inspect_err(|error| self.log_once(error))?))
    }

    /// Opens a member; one that was open lately still has its seek points.
    pub(crate) fn open_member(&self, context: &Context, id: NodeId) -> Result<Reader> {
        let key = (self.key(), id);
        if let Some(reader) = context.recent.member(&key) {
            return Ok(reader);
        }
        let members = self.members(context)?;
        // Names of members may be personal, so the log has only their numbers.
        let reader = members
            .open_member(id, &context.recent.shared)
            .map_err(|error| error.at(format_args!("member {id}")))
            .inspect_err(|error| self.log_once(error))?;
        context.recent.keep_member(key, &reader);
        Ok(reader)
    }

    /// Logs an error of this set, unless it has been logged before.
    pub(crate) fn log_once(&self, error: &Error) {
        if !error.is_a_fault() {
            return;
        }
        let text = error.to_string();
        let mut logged = self.logged.lock();
        if logged.len() < MAX_LOGGED && !logged.contains(&text) {
            log::warn!("{}: errno {}: {text}", self.stem(), error.errno());
            logged.insert(text);
        }
    }
}
