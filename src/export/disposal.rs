//! Artifacts and files that go: because they have expired, because somebody deleted them, or because a run that was
//! interrupted has left them.
//!
//! First the catalogue says that an artifact is gone, so that no half of it is ever shown; then its files are
//! deleted; then its parts are forgotten. What is interrupted in between is finished by [`sweep`].

use std::collections::HashSet;
use std::time::SystemTime;

use crate::error::{Error, Result};
use crate::store::catalogue::Gone;
use crate::store::managed::{Files, Managed};
use crate::store::names;

/// Removes a run's artifact; false if there is none.
pub fn remove_artifact(store: &Managed, run: &str, now: SystemTime) -> Result<bool> {
    let was_there = store.catalogue.artifact_is_gone(run, now)?;
    delete_parts(store, &store.files()?, run, now)?;
    Ok(was_there)
}

/// Deletes the files of an artifact that is gone by the catalogue.
pub fn finish_deletion(store: &Managed, run: &str, now: SystemTime) -> Result<()> {
    delete_parts(store, &store.files()?, run, now)
}

/// Removes one part of a run's artifact, and with the last one the artifact; false if it is not there.
pub fn remove_part(store: &Managed, run: &str, name: &str, now: SystemTime) -> Result<bool> {
    let gone = store.catalogue.part_is_gone(run, name, now)?;
    let files = store.files()?;
    if names::part_of(run, name).is_some() {
        files.remove(name)?;
        files.sync()?;
    }
    if gone == Gone::Artifact {
        delete_parts(store, &files, run, now)?;
    }
    Ok(gone != Gone::Nothing)
}

/// A file that no record needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    pub name: String,
    pub size: u64,
    /// The run that has left it.
    pub run: String,
}

/// Returns the files that runs have left and no artifact has: unfinished ones, and those of runs whose record says that
/// there is no artifact. Files of runs without a record stay: they may be newer than a catalogue that was put back.
///
/// Whoever asks attends the queue, and says which runs are in progress: their files look the same.
pub fn strays(store: &Managed, is_in_progress: &dyn Fn(&str) -> bool) -> Result<Vec<Stray>> {
    let files = store.files()?;
    let debris: HashSet<String> = store.catalogue.runs_with_debris()?.into_iter().collect();
    let deleted: HashSet<String> =
        store.catalogue.deleted_parts()?.into_iter().map(|part| part.name).collect();
    let mut strays = Vec::new();
    for name in files.names()? {
        let Some(name) = name.to_str() else { continue };
        let Some(file) = names::parse(name).filter(|file| !is_in_progress(file.id)) else { continue };
        if file.is_unfinished || debris.contains(file.id) || deleted.contains(name) {
            let size = files.size(name)?.unwrap_or_default();
            strays.push(Stray { name: name.into(), size, run: file.id.into() });
        }
    }
    Ok(strays)
}

/// Returns true if there is something for [`sweep`] to do.
pub fn is_dirty(store: &Managed) -> Result<bool> {
    let catalogue = &store.catalogue;
    if !(catalogue.runs_with_debris()?.is_empty() && catalogue.leftovers()?.is_empty()) {
        return Ok(true);
    }
    let files = store.files()?;
    for part in catalogue.deleted_parts()? {
        if files.size(&part.name)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Deletes the files of artifacts that are gone by the catalogue, and what runs have left. What cannot be deleted now is
/// left for the next time, and does not keep the rest.
pub fn sweep(store: &Managed, now: SystemTime, is_in_progress: &dyn Fn(&str) -> bool) -> Result<()> {
    let files = store.files()?;
    let mut failed = Ok(());
    for run in store.catalogue.leftovers()? {
        failed = failed.and(delete_parts(store, &files, &run, now));
    }
    let debris = store.catalogue.runs_with_debris()?;
    let mut dirty = HashSet::new();
    for stray in strays(store, is_in_progress)? {
        if let Err(error) = files.remove(&stray.name) {
            failed = failed.and(Err(error));
            dirty.insert(stray.run);
        }
    }
    files.sync()?;
    let clean: Vec<String> = debris.into_iter().filter(|run| !dirty.contains(run)).collect();
    if !clean.is_empty() {
        store.catalogue.set_clean(&clean)?;
    }
    failed
}

/// Removes every file of a run that has no artifact.
pub fn remove_files(store: &Managed, run: &str) -> Result<()> {
    let files = store.files()?;
    let mut failed: Result<()> = Ok(());
    for name in files.names()? {
        let of_run = |name: &str| names::parse(name).is_some_and(|file| file.id == run);
        if let Some(name) = name.to_str().filter(|name| of_run(name)) {
            failed = failed.and(files.remove(name).map(drop));
        }
    }
    failed.and(files.sync())
}

fn delete_parts(store: &Managed, files: &Files, run: &str, now: SystemTime) -> Result<()> {
    let parts = store.catalogue.parts(run)?;
    parts.iter().try_for_each(|part| files.remove(&part.name).map(drop))?;
    files.sync().map_err(|error: Error| error.at(store.artifacts().display()))?;
    store.catalogue.forget_parts(run, parts.len(), now)
}
