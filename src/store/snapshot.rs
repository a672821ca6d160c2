//! What a store holds at one moment: the encrypted files, grouped into sets, and the runs that are known.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::catalogue::{PART_BLOCK_HASHES, Revision, Run, StoredArtifact};
use super::managed::Managed;
use super::names::stem_of;
use super::parts::local::Local;
use super::parts::{PartRef, Parts, Version};
use super::retention::Retention;
use super::sets::{Origin, StoredFile, StoredSet, Written, group};
use super::verified::BlockHashes;
use crate::error::Result;
use crate::io::Cancel;

/// A store of either kind.
#[derive(Clone)]
pub enum Store {
    /// Any location with encrypted files in it; never written to.
    Plain(Plain),
    Managed(Arc<Managed>),
}

/// A location without a catalogue.
#[derive(Clone)]
pub struct Plain {
    place: PathBuf,
    parts: Arc<dyn Parts>,
}

/// A store at one moment.
pub struct StoreSnapshot {
    pub sets: BTreeMap<String, Arc<StoredSet>>,
    /// Every encrypted file, by its name.
    pub(crate) files: BTreeMap<String, Arc<StoredFile>>,
    /// Retention of its artifacts.
    pub(crate) retention: Retention,
    /// The runs of a managed store, by the stem of their artifacts' names.
    pub(crate) runs: BTreeMap<String, Arc<Run>>,
    /// Names of encrypted files that are not taken, and why.
    pub(crate) refused: BTreeMap<String, String>,
    pub(crate) mtime: SystemTime,
    pub(crate) is_managed: bool,
    /// When the first artifact of a managed store is going to expire.
    pub(crate) next_expiry: Option<SystemTime>,
}

impl Plain {
    /// `place` is what the store is named by.
    pub(crate) fn new(place: &Path, parts: Arc<dyn Parts>) -> Plain {
        Plain { place: place.to_path_buf(), parts }
    }
}

impl Store {
    /// Returns a directory as a plain store, whatever is in it.
    pub fn plain(dir: &Path) -> Store {
        Store::Plain(Plain::new(dir, Arc::new(Local::new(dir))))
    }

    /// Returns the path that it was opened by, which tells stores apart.
    pub(crate) fn place(&self) -> &Path {
        match self {
            Store::Plain(store) => &store.place,
            Store::Managed(store) => store.dir(),
        }
    }

    /// Returns the location of its parts.
    pub(crate) fn parts(&self) -> &Arc<dyn Parts> {
        match self {
            Store::Plain(store) => &store.parts,
            Store::Managed(store) => &store.parts,
        }
    }

    pub(crate) fn managed(&self) -> Option<&Arc<Managed>> {
        match self {
            Store::Plain(_) => None,
            Store::Managed(store) => Some(store),
        }
    }

    /// Looks at the store. In a managed one, what has expired or has no completed run is left out. Reading its files
    /// fails once `stop` is raised.
    pub fn snapshot(&self, now: SystemTime, stop: &Cancel) -> Result<StoreSnapshot> {
        // An artifact's files are there before the catalogue has it, and until the catalogue has dropped it: so only
        // artifacts that it has both before and after the scan are taken.
        let before = self.managed().map(artifacts_with_epoch).transpose()?;
        let (listing, origin) = match &before {
            None => (self.parts().list(stop)?, Origin::Downloads),
            Some((_, artifacts)) => (self.parts().look(&recorded(artifacts), stop)?, Origin::Exports),
        };
        let found = group(self.parts(), &listing, origin, stop);
        let (Store::Managed(store), Some((epoch, before))) = (self, before) else {
            return Ok(StoreSnapshot {
                sets: found.sets,
                files: found.files,
                refused: listing.refused,
                mtime: listing.mtime,
                is_managed: false,
                retention: Retention::default(),
                runs: BTreeMap::new(),
                next_expiry: None,
            });
        };
        let retention = store.catalogue.retention()?;
        let mut snapshot = StoreSnapshot {
            sets: BTreeMap::new(),
            files: BTreeMap::new(),
            refused: listing.refused,
            mtime: listing.mtime,
            is_managed: true,
            retention,
            runs: BTreeMap::new(),
            next_expiry: None,
        };
        let after = match store.catalogue.epoch()? == epoch {
            true => None,
            false => {
                Some(artifacts_with_epoch(store)?.1.into_iter().map(|a| a.run).collect::<HashSet<String>>())
            }
        };
        let is_there = |run: &String| after.as_ref().is_none_or(|after| after.contains(run));
        for artifact in before.into_iter().filter(|artifact| is_there(&artifact.run)) {
            let expires = retention.expires(artifact.made);
            if expires.is_some_and(|at| at <= now) {
                continue;
            }
            snapshot.next_expiry = [snapshot.next_expiry, expires].into_iter().flatten().min();
            let stem = stem_of(&artifact.run);
            let Some(set) = found.sets.get(&stem) else {
                log::warn!("{stem}: all of its parts have vanished from the store");
                continue;
            };
            let written = |name: &str| {
                let at = artifact.parts.iter().position(|part| part.name == name && !part.is_deleted)?;
                let hashes = CatalogueHashes {
                    store: store.clone(),
                    run: artifact.run.clone(),
                    number: at as u32 + 1,
                };
                let part = &artifact.parts[at];
                Some(Written { size: part.size, root: part.root, hashes: Arc::new(hashes) })
            };
            let is_deleted =
                |name: &str| artifact.parts.iter().any(|part| part.name == name && part.is_deleted);
            let set = Arc::new(set.of_run(artifact.run.clone(), artifact.made, is_deleted, written));
            for part in &set.parts {
                snapshot.files.insert(part.file.name.clone(), part.file.clone());
            }
            snapshot.sets.insert(stem, set);
        }
        let runs = store.catalogue.runs()?;
        snapshot.runs = runs.into_iter().map(|run| (run.stem(), Arc::new(run))).collect();
        Ok(snapshot)
    }
}

/// Returns the artifacts, and the epoch from before they were read.
fn artifacts_with_epoch(store: &Arc<Managed>) -> Result<(Revision, Vec<StoredArtifact>)> {
    let epoch = store.catalogue.epoch()?;
    Ok((epoch, store.catalogue.artifacts()?))
}

/// Returns the parts of artifacts as they were written.
fn recorded(artifacts: &[StoredArtifact]) -> Vec<PartRef> {
    let mut parts = Vec::new();
    for artifact in artifacts {
        parts.extend(artifact.parts.iter().filter(|part| !part.is_deleted).map(|part| PartRef {
            key: part.key.clone(),
            name: part.name.clone(),
            size: part.size,
            version: Version::new(&part.root),
            mtime: artifact.made,
        }));
    }
    parts
}

/// The block hashes of a part that we wrote, from the catalogue.
struct CatalogueHashes {
    store: Arc<Managed>,
    run: String,
    /// Number of the part, from 1.
    number: u32,
}

impl BlockHashes for CatalogueHashes {
    fn around(&self, block: u64) -> Result<(u64, Vec<[u8; 32]>)> {
        let piece = block / PART_BLOCK_HASHES as u64;
        let hashes = self.store.catalogue.block_hashes(&self.run, self.number, piece)?;
        Ok((piece * PART_BLOCK_HASHES as u64, hashes))
    }
}
