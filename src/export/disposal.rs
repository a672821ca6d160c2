//! Artifacts that go: because they have expired, or because somebody deleted them.
//!
//! First the catalogue says that an artifact is gone, so that no half of it is ever shown; then its files are
//! deleted; then its parts are forgotten. What is interrupted in between is finished by [`sweep`].

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::error::{At, Result};
use crate::store::catalogue::StoredArtifact;
use crate::store::managed::{Managed, sync_dir};

/// Removes a run's artifact; false if there is none.
pub fn remove_artifact(store: &Managed, run: &str, now: SystemTime) -> Result<bool> {
    let was_there = store.catalogue.artifact_is_gone(run, now)?;
    delete_files(store, run)?;
    Ok(was_there)
}

/// Deletes the files of artifacts that are gone by the catalogue.
pub fn sweep(store: &Managed) -> Result<()> {
    store.catalogue.leftovers()?.iter().try_for_each(|run| delete_files(store, run))
}

/// Returns the artifacts whose days are over.
pub fn expired(store: &Managed, now: SystemTime) -> Result<Vec<StoredArtifact>> {
    let retention = store.catalogue.retention()?;
    let mut artifacts = store.catalogue.artifacts()?;
    artifacts.retain(|artifact| retention.has_expired(artifact.made, now));
    Ok(artifacts)
}

/// An unfinished file that belongs to no run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    pub path: PathBuf,
    pub size: u64,
}

/// Returns the unfinished files that belong to no run. Whoever asks holds the engine's lock: those of a run that is in
/// progress look the same.
pub fn strays(store: &Managed) -> Vec<Stray> {
    let Ok(entries) = fs::read_dir(store.artifacts()) else { return Vec::new() };
    let stray = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let is_unfinished = name.to_str().is_some_and(|n| n.starts_with(".export-") && n.ends_with(".tmp"));
        is_unfinished
            .then(|| Stray { size: entry.metadata().map_or(0, |meta| meta.len()), path: entry.path() })
    };
    entries.flatten().filter_map(stray).collect()
}

pub fn remove_stray(stray: &Stray) {
    if let Err(error) = fs::remove_file(&stray.path) {
        log::warn!("{}: not removed: {error}", stray.path.display());
    }
}

fn delete_files(store: &Managed, run: &str) -> Result<()> {
    let dir = store.artifacts();
    for part in store.catalogue.parts(run)? {
        match fs::remove_file(dir.join(&part.name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).at(&part.name),
            _ => {}
        }
    }
    sync_dir(&dir).at(dir.display())?;
    store.catalogue.forget_parts(run)
}
