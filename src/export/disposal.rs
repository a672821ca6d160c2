//! Deleting artifacts and files: those that have expired, that somebody deleted, or that an interrupted run has left.
//!
//! First the catalogue records that an artifact is gone, so that no half of it is ever shown; then its files are
//! deleted; then its parts are forgotten. [`sweep`] finishes what was interrupted in between.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, SystemTime};

use crate::error::Result;
use crate::store::catalogue::{Claim, Gone};
use crate::store::managed::Managed;
use crate::store::parts::{Key, Left};

/// After 1970; later than anything that is written down, and within the calendar.
const ALL: Duration = Duration::from_secs(250_000_000_000);

/// Removes a run's artifact; false if there is none.
pub fn remove_artifact(store: &Managed, run: &str, now: SystemTime) -> Result<bool> {
    let now = store.catalogue.today(now)?;
    let was_there = store.catalogue.artifact_is_gone(run, now)?;
    if store.parts.grace().is_zero() {
        finish_deletion(store, run, now)?;
    }
    Ok(was_there)
}

/// Returns the time until which what was deleted is due to go from the location.
fn due(store: &Managed, now: SystemTime) -> SystemTime {
    match store.parts.grace() {
        // By a clock that was set back nothing would go.
        Duration::ZERO => SystemTime::UNIX_EPOCH + ALL,
        grace => now.checked_sub(grace).unwrap_or(SystemTime::UNIX_EPOCH),
    }
}

/// Returns the runs whose artifact is gone, and whose parts are due to go.
pub(crate) fn leftovers(store: &Managed, now: SystemTime) -> Result<Vec<String>> {
    store.catalogue.leftovers(due(store, now))
}

/// Returns the runs whose artifact is gone, and whose parts are still kept for those who read them.
fn in_grace(store: &Managed, now: SystemTime) -> Result<Vec<String>> {
    if store.parts.grace().is_zero() {
        return Ok(Vec::new());
    }
    let due: HashSet<String> = leftovers(store, now)?.into_iter().collect();
    let mut runs = store.catalogue.leftovers(SystemTime::UNIX_EPOCH + ALL)?;
    runs.retain(|run| !due.contains(run));
    Ok(runs)
}

/// Deletes the files of an artifact that the catalogue records as gone.
pub(crate) fn finish_deletion(store: &Managed, run: &str, now: SystemTime) -> Result<()> {
    let parts = store.catalogue.parts(run)?;
    let keys: Vec<Key> = parts.iter().map(|part| part.key.clone()).collect();
    store.parts.delete(&keys)?;
    store.catalogue.forget_parts(run, parts.len(), now)
}

/// Removes one part of a run's artifact, and with the last one the artifact; false if it is not there.
pub fn remove_part(store: &Managed, run: &str, name: &str, now: SystemTime) -> Result<bool> {
    let now = store.catalogue.today(now)?;
    let gone = store.catalogue.part_is_gone(run, name, now)?;
    if !store.parts.grace().is_zero() {
        return Ok(gone != Gone::Nothing);
    }
    if let Some(part) = store.catalogue.parts(run)?.into_iter().find(|part| part.name == name) {
        store.parts.delete(&[part.key])?;
    }
    if gone == Gone::Artifact {
        finish_deletion(store, run, now)?;
    }
    Ok(gone != Gone::Nothing)
}

/// Returns the files that runs have left and that belong to no artifact: unfinished ones, and those of runs that have
/// no artifact according to the catalogue. Files of runs that it does not know stay: they may be newer than a catalogue
/// that was restored.
///
/// The caller attends the queue, and says with `holds` which runs it executes: their files look the same.
pub(crate) fn strays(store: &Managed, now: SystemTime, holds: &dyn Fn(&str) -> bool) -> Result<Vec<Left>> {
    let catalogue = &store.catalogue;
    // Files are listed first: a run that ends meanwhile is in the catalogue by the time that is asked.
    let mut left = store.parts.left(None)?;
    let executed: HashSet<String> = store.queue.executed(holds)?.into_iter().collect();
    left.retain(|left| !executed.contains(&left.run));
    let debris: HashSet<String> = catalogue.runs_with_debris()?.into_iter().collect();
    let deleted = catalogue.deleted_parts(due(store, now))?;
    let deleted: HashSet<Key> = deleted.into_iter().map(|part| part.key).collect();
    let mut known = HashSet::new();
    if left.iter().any(|left| left.is_unfinished) {
        let parts = catalogue.artifacts()?.into_iter().flat_map(|artifact| artifact.parts);
        known.extend(parts.map(|part| part.key).filter(|key| !deleted.contains(key)));
        for run in in_grace(store, now)? {
            known.extend(catalogue.parts(&run)?.into_iter().map(|part| part.key));
        }
    }
    let is_stray = |left: &Left| match left.is_unfinished {
        true => !known.contains(&left.key),
        false => debris.contains(&left.run) || deleted.contains(&left.key),
    };
    left.retain(is_stray);
    Ok(left)
}

/// Returns true if there is something for [`sweep`] to do.
pub(crate) fn is_dirty(store: &Managed, now: SystemTime) -> Result<bool> {
    let catalogue = &store.catalogue;
    if !(catalogue.runs_with_debris()?.is_empty() && leftovers(store, now)?.is_empty()) {
        return Ok(true);
    }
    // A file that cannot be looked at counts as there.
    let is_there = |key: &Key| !matches!(store.parts.find(key), Ok(None));
    Ok(catalogue.deleted_parts(due(store, now))?.iter().any(|part| is_there(&part.key)))
}

/// Deletes the files of artifacts that the catalogue records as gone, and those that runs have left. A file that cannot
/// be deleted is left for the next time, and does not keep the others.
pub fn sweep(store: &Managed, now: SystemTime, holds: &dyn Fn(&str) -> bool) -> Result<()> {
    let mut failed = Ok(());
    for run in leftovers(store, now)? {
        failed = failed.and(finish_deletion(store, &run, now));
    }
    let debris = store.catalogue.runs_with_debris()?;
    let mut strays: BTreeMap<String, Vec<Key>> = BTreeMap::new();
    for stray in self::strays(store, now, holds)? {
        strays.entry(stray.run).or_default().push(stray.key);
    }
    let mut dirty = HashSet::new();
    for (run, keys) in strays {
        if let Err(error) = store.parts.delete(&keys) {
            failed = failed.and(Err(error));
            dirty.insert(run);
        }
    }
    let clean: Vec<String> = debris.into_iter().filter(|run| !dirty.contains(run)).collect();
    if !clean.is_empty() {
        store.catalogue.set_clean(&clean)?;
    }
    failed
}

/// Removes every file of a run that has no artifact, except those of attempts later than the claim's. If there is an
/// artifact after all, another attempt has made it.
pub(crate) fn remove_files(store: &Managed, claim: &Claim) -> Result<()> {
    if store.catalogue.run(claim.id())?.is_some_and(|run| run.present) {
        return remove_attempt(store, claim);
    }
    remove_left(store, claim, |fence| fence.is_none_or(|fence| fence <= claim.fence()))
}

/// Removes the files that the attempt of a lost claim has left, and none that may be another attempt's.
pub(crate) fn remove_attempt(store: &Managed, claim: &Claim) -> Result<()> {
    remove_left(store, claim, |fence| fence == Some(claim.fence()))
}

fn remove_left(store: &Managed, claim: &Claim, is_meant: impl Fn(Option<u32>) -> bool) -> Result<()> {
    let left = store.parts.left(Some(claim.id()))?.into_iter();
    let keys: Vec<Key> = left.filter(|left| is_meant(left.fence)).map(|left| left.key).collect();
    store.parts.delete(&keys)
}
