//! The view that is shown: notices what has changed in the store, and makes a new view of it.

use parking_lot::{Mutex, MutexGuard, RwLock};
use std::mem;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use super::context::Context;
use super::directory::Root;
use super::ino::Ino;
use super::shown::ShownSet;
use super::view::View;
use crate::error::Result;
use crate::store::catalogue::Revision;
use crate::store::clock::Clock;

/// A name that the kernel should forget, because it now means something else or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoneName {
    pub(crate) parent: Ino,
    pub(crate) name: String,
}

/// If the time of day and the time that has passed differ by more than this, the clock was set.
const STEP: Duration = Duration::from_secs(1);

/// What a view was made from. This is asked for before the store is looked at: a change in between is then noticed the
/// next time.
#[derive(Clone, Copy)]
struct MadeFrom {
    /// Of the catalogue of a managed store.
    changes: Option<Revision>,
    epoch: Option<Revision>,
    now: SystemTime,
    passed: Duration,
}

impl MadeFrom {
    fn now(context: &Context) -> Result<MadeFrom> {
        let (changes, clock) = (context.revision()?, &context.clock);
        let epoch = context.managed().map(|store| store.catalogue.epoch()).transpose()?;
        Ok(MadeFrom { changes, epoch, now: clock.now(), passed: clock.passed() })
    }

    /// Returns true if the clock was set since then, in either direction.
    fn clock_has_stepped(&self, clock: &dyn Clock) -> bool {
        let expected = self.now + clock.passed().saturating_sub(self.passed);
        let now = clock.now();
        let off = now.duration_since(expected).or_else(|_| expected.duration_since(now));
        off.is_ok_and(|off| off > STEP)
    }
}

/// The views, one after the other.
pub(crate) struct Views {
    context: Arc<Context>,
    root: Arc<Root>,
    view: RwLock<Arc<View>>,
    /// Held while a new view is made, so that they follow one another.
    refreshing: Mutex<()>,
    seen: Mutex<MadeFrom>,
    /// Names that have gone and that the kernel has not been told of.
    gone: Mutex<Vec<GoneName>>,
    when_names_go: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Views {
    /// Looks at the store.
    pub(crate) fn new(context: Arc<Context>, root: Arc<Root>) -> Result<Views> {
        let seen = MadeFrom::now(&context)?;
        let view = root.with_table(View::new(context.store.snapshot(context.now(), &context.stop)?, None));
        view.tell_refused(None);
        Ok(Views {
            context,
            root,
            view: RwLock::new(Arc::new(view)),
            refreshing: Mutex::new(()),
            seen: Mutex::new(seen),
            gone: Mutex::default(),
            when_names_go: OnceLock::new(),
        })
    }

    pub(crate) fn now(&self) -> Arc<View> {
        self.view.read().clone()
    }

    /// Returns the names that the kernel must not believe any more, and has not been told of.
    pub(crate) fn take_gone(&self) -> Vec<GoneName> {
        mem::take(&mut self.gone.lock())
    }

    /// Looks again when a name is missed or a directory listed, so that what a record in `history/` says is there can
    /// be found.
    pub(crate) fn notice(&self) {
        if let Err(error) = self.look_again_if_changed() {
            log::debug!("the store cannot be looked at: {error}");
        }
    }

    /// Looks at the store, if the catalogue or the clock has changed or something has expired; false if not.
    pub(crate) fn look_again_if_changed(&self) -> Result<bool> {
        let Some(store) = self.context.managed() else { return Ok(false) };
        let one_at_a_time = self.refreshing.lock();
        let seen = *self.seen.lock();
        let expired = self.now().next_expiry.is_some_and(|at| at <= self.context.now());
        if !expired && !seen.clock_has_stepped(&*self.context.clock) {
            let changes = self.context.revision()?;
            if changes == seen.changes {
                return Ok(false);
            }
            // Progress is a change too, but moves nothing.
            if Some(store.catalogue.epoch()?) == seen.epoch {
                self.seen.lock().changes = changes;
                return Ok(false);
            }
        }
        self.replace_view(&one_at_a_time)?;
        Ok(true)
    }

    pub(crate) fn look_again(&self) -> Result<()> {
        self.replace_view(&self.refreshing.lock())
    }

    fn replace_view(&self, one_at_a_time: &MutexGuard<'_, ()>) -> Result<()> {
        let (old, seen) = (self.now(), MadeFrom::now(&self.context)?);
        let snapshot = self.context.store.snapshot(seen.now, &self.context.stop)?;
        if !old.is_of(&snapshot) {
            let new = View::new(snapshot, Some(&old));
            new.tell_refused(Some(&old));
            let gone = self.replace(&old, new, one_at_a_time);
            let has_gone = !gone.is_empty();
            self.gone.lock().extend(gone);
            if let Some(tell) = self.when_names_go.get().filter(|_| has_gone) {
                tell();
            }
        }
        *self.seen.lock() = seen;
        Ok(())
    }

    /// See [`super::Tree::when_names_go`].
    pub(crate) fn when_names_go(&self, tell: impl Fn() + Send + Sync + 'static) {
        let _ = self.when_names_go.set(Box::new(tell));
    }

    /// Has a set read by a full index from now on, under other inode numbers.
    pub(crate) fn index_fully(&self, set: &ShownSet) {
        let one_at_a_time = self.refreshing.lock();
        let old = self.now();
        self.context.sizes.forget(&set.digest());
        self.replace(&old, old.with_full_index(set), &one_at_a_time);
    }

    fn replace(&self, old: &View, new: View, _one_at_a_time: &MutexGuard<'_, ()>) -> Vec<GoneName> {
        let new = self.root.with_table(new);
        let gone = self.root.names_gone(old, &new);
        let present = new.digests();
        self.context.recent.retain(|digest| present.contains(digest));
        *self.view.write() = Arc::new(new);
        gone.into_iter().map(|(parent, name)| GoneName { parent, name }).collect()
    }
}
