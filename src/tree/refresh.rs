//! Noticing what has changed in the store, and making a new view of it.

use parking_lot::MutexGuard;
use std::sync::Arc;

use super::view::View;
use super::{Gone, Tree};
use crate::error::Result;

impl Tree {
    /// Looks at the store again; returns the names that the kernel must not believe any more.
    pub fn refresh(&self) -> Result<Vec<Gone>> {
        self.look_again()?;
        Ok(std::mem::take(&mut self.seen.lock().gone))
    }

    /// The same, if the catalogue has changed or something has expired since the last time; `None` if not.
    pub fn refresh_if_changed(&self) -> Result<Option<Vec<Gone>>> {
        let looked = self.look_again_if_changed()?;
        let gone = std::mem::take(&mut self.seen.lock().gone);
        Ok(Some(gone).filter(|gone| looked || !gone.is_empty()))
    }

    /// The same for whoever misses a name or lists a directory: what a record in `history/` says is there, is there.
    pub(super) fn notice(&self) {
        if let Err(error) = self.look_again_if_changed() {
            log::debug!("the store cannot be looked at: {error}");
        }
    }

    /// Looks at the store, if the catalogue has changed or something has expired since the last time; false if not.
    fn look_again_if_changed(&self) -> Result<bool> {
        if self.store.managed().is_none() {
            return Ok(false);
        }
        let one_at_a_time = self.refreshing.lock();
        let expired = self.view().next_expiry().is_some_and(|at| at <= self.clock.now());
        let changed = expired || self.catalogue_has_changed()?;
        if changed {
            self.replace_view(&one_at_a_time)?;
        }
        Ok(changed)
    }

    fn catalogue_has_changed(&self) -> Result<bool> {
        let Some(store) = self.store.managed() else { return Ok(false) };
        let changes = store.catalogue.changes()?;
        if self.seen.lock().changes == changes {
            return Ok(false);
        }
        // Progress is a change too, but not one of what is where.
        let epoch = store.catalogue.epoch()?;
        let mut seen = self.seen.lock();
        seen.changes = changes;
        Ok(std::mem::replace(&mut seen.epoch, epoch) != epoch)
    }

    pub(super) fn look_again(&self) -> Result<()> {
        self.replace_view(&self.refreshing.lock())
    }

    fn replace_view(&self, _one_at_a_time: &MutexGuard<'_, ()>) -> Result<()> {
        let old = self.view();
        let snapshot = self.store.snapshot(self.clock.now())?;
        let gone = self.replace(&old, View::new(snapshot, Some(&old)));
        let has_gone = !gone.is_empty();
        self.seen.lock().gone.extend(gone);
        if let Some(tell) = self.when_names_go.get().filter(|_| has_gone) {
            tell();
        }
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
