//! Noticing what has changed in the store, and making a new view of it.

use parking_lot::MutexGuard;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::view::View;
use super::{Gone, Tree};
use crate::error::Result;
use crate::store::Store;
use crate::store::catalogue::Revision;
use crate::store::clock::Clock;

/// When the time of day and the time that has passed differ by more, the clock has been set.
const STEP: Duration = Duration::from_secs(1);

/// What a view was made from. It is asked for before the store is looked at, and counts as seen when that is done: what
/// comes in between is seen the next time.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    /// Of the catalogue of a managed store.
    changes: Revision,
    epoch: Revision,
    now: SystemTime,
    passed: Duration,
}

impl Seen {
    pub fn now(store: &Store, clock: &dyn Clock) -> Result<Seen> {
        let (changes, epoch) = match store.managed() {
            Some(store) => (store.catalogue.changes()?, store.catalogue.epoch()?),
            None => Default::default(),
        };
        Ok(Seen { changes, epoch, now: clock.now(), passed: clock.passed() })
    }

    /// Returns true if the clock was set since then, in either direction.
    fn clock_has_stepped(&self, clock: &dyn Clock) -> bool {
        let expected = self.now + clock.passed().saturating_sub(self.passed);
        let now = clock.now();
        let off = now.duration_since(expected).or_else(|_| expected.duration_since(now));
        off.is_ok_and(|off| off > STEP)
    }
}

impl Tree {
    /// Looks at the store again; returns the names that the kernel must not believe any more.
    pub fn refresh(&self) -> Result<Vec<Gone>> {
        self.look_again()?;
        Ok(mem::take(&mut self.gone.lock()))
    }

    /// The same, if the catalogue or the clock has changed or something has expired since the last time; `None` if not.
    pub fn refresh_if_changed(&self) -> Result<Option<Vec<Gone>>> {
        let looked = self.look_again_if_changed()?;
        let gone = mem::take(&mut *self.gone.lock());
        Ok(Some(gone).filter(|gone| looked || !gone.is_empty()))
    }

    /// The same for whoever misses a name or lists a directory: what a record in `history/` says is there, is there.
    pub(super) fn notice(&self) {
        if let Err(error) = self.look_again_if_changed() {
            log::debug!("the store cannot be looked at: {error}");
        }
    }

    /// Looks at the store, if the catalogue or the clock has changed or something has expired; false if not.
    fn look_again_if_changed(&self) -> Result<bool> {
        let Some(store) = self.store.managed() else { return Ok(false) };
        let one_at_a_time = self.refreshing.lock();
        let seen = *self.seen.lock();
        let expired = self.view().next_expiry().is_some_and(|at| at <= self.clock.now());
        if !expired && !seen.clock_has_stepped(&*self.clock) {
            let changes = store.catalogue.changes()?;
            if changes == seen.changes {
                return Ok(false);
            }
            // Progress is a change too, but not one of what is where.
            if store.catalogue.epoch()? == seen.epoch {
                self.seen.lock().changes = changes;
                return Ok(false);
            }
        }
        self.replace_view(&one_at_a_time)?;
        Ok(true)
    }

    pub(super) fn look_again(&self) -> Result<()> {
        self.replace_view(&self.refreshing.lock())
    }

    fn replace_view(&self, _one_at_a_time: &MutexGuard<'_, ()>) -> Result<()> {
        let (old, seen) = (self.view(), Seen::now(&self.store, &*self.clock)?);
        let snapshot = self.store.snapshot(seen.now, &self.stop)?;
        if !old.is_of(&snapshot) {
            let new = View::new(snapshot, Some(&old));
            new.tell_refused(Some(&old));
            let gone = self.replace(&old, new);
            let has_gone = !gone.is_empty();
            self.gone.lock().extend(gone);
            if let Some(tell) = self.when_names_go.get().filter(|_| has_gone) {
                tell();
            }
        }
        *self.seen.lock() = seen;
        Ok(())
    }

    /// Sets what is called, once, when there are names that the kernel is to be told of ([`Tree::refresh_if_changed`]).
    /// Whoever deletes something cannot do that himself: until he has his answer, the kernel holds the directory.
    pub fn when_names_go(&self, tell: impl Fn() + Send + Sync + 'static) {
        let _ = self.when_names_go.set(Box::new(tell));
    }

    pub(super) fn replace(&self, old: &View, new: View) -> Vec<Gone> {
        let gone = old.names_gone_in(&new);
        let present = new.digests();
        self.exports.recent.retain(|digest| present.contains(digest));
        *self.view.write() = Arc::new(new);
        gone
    }
}
