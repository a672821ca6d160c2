//! The store at one moment, as the tree shows it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use super::inode_table::InodeTable;
use super::shown::ShownSet;
use crate::format::part_name;
use crate::store::StoreSnapshot;
use crate::store::catalogue::Run;
use crate::store::names::id_of;
use crate::store::retention::Retention;
use crate::store::sets::{StoredFile, StoredSet};

/// Everything in it is sorted by name.
pub(crate) struct View {
    /// When the store's directory last changed.
    pub(crate) mtime: SystemTime,
    /// How long artifacts are kept.
    pub(crate) retention: Retention,
    pub(crate) is_managed: bool,
    /// When the next artifact expires.
    pub(crate) next_expiry: Option<SystemTime>,
    /// Runs that the catalogue knows.
    pub(crate) runs: Arc<[Arc<Run>]>,
    pub(crate) sets: Arc<[Arc<ShownSet>]>,
    pub(crate) files: Arc<[Arc<StoredFile>]>,
    /// Files with the name of a part that are not taken, and why.
    refused: BTreeMap<String, String>,
    pub(crate) table: InodeTable,
}

impl View {
    /// Makes a view without an inode table. What is known of sets that have not changed is kept.
    pub(crate) fn new(snapshot: StoreSnapshot, before: Option<&View>) -> View {
        let known = |set: &StoredSet| before?.set(&set.stem).filter(|shown| shown.is_of(set)).cloned();
        let shown = |set: Arc<StoredSet>| known(&set).unwrap_or_else(|| Arc::new(ShownSet::new(set, false)));
        View {
            mtime: snapshot.mtime,
            retention: snapshot.retention,
            next_expiry: snapshot.next_expiry,
            is_managed: snapshot.is_managed,
            runs: snapshot.runs.into_values().collect(),
            sets: snapshot.sets.into_values().map(shown).collect(),
            files: snapshot.files.into_values().collect(),
            refused: snapshot.refused,
            table: InodeTable::default(),
        }
    }

    /// Returns true if a view of the snapshot would show nothing else.
    pub(crate) fn is_of(&self, snapshot: &StoreSnapshot) -> bool {
        self.mtime == snapshot.mtime
            && self.retention == snapshot.retention
            && self.next_expiry == snapshot.next_expiry
            && self.refused == snapshot.refused
            && self.files.iter().eq(snapshot.files.values())
            && self.sets.iter().map(|set| set.stored()).eq(snapshot.sets.values().map(|set| &**set))
            && self.runs.iter().eq(snapshot.runs.values())
    }

    /// Logs which files are not taken, unless that was so before.
    pub(crate) fn tell_refused(&self, before: Option<&View>) {
        for (name, why) in &self.refused {
            if before.is_none_or(|view| view.refused.get(name) != Some(why)) {
                log::warn!("{name}: {why}");
            }
        }
    }

    /// Returns the same view with one set that is to be read by a full index.
    pub(crate) fn with_full_index(&self, set: &ShownSet) -> View {
        let indexed = |own: &Arc<ShownSet>| match own.stem() == set.stem() && own.is_of(set.stored()) {
            true => Arc::new(ShownSet::new(Arc::new(set.stored().clone()), true)),
            false => own.clone(),
        };
        View {
            runs: self.runs.clone(),
            sets: self.sets.iter().map(indexed).collect(),
            files: self.files.clone(),
            refused: self.refused.clone(),
            table: InodeTable::default(),
            ..*self
        }
    }

    pub(crate) fn set(&self, stem: &str) -> Option<&Arc<ShownSet>> {
        self.sets.binary_search_by(|set| set.stem().cmp(stem)).ok().map(|at| &self.sets[at])
    }

    pub(crate) fn run(&self, stem: &str) -> Option<&Arc<Run>> {
        // Stems are in the order of ids.
        let found = self.runs.binary_search_by(|run| run.id.as_str().cmp(id_of(stem)));
        found.ok().map(|at| &self.runs[at]).filter(|run| run.stem() == stem)
    }

    pub(crate) fn file(&self, name: &str) -> Option<&Arc<StoredFile>> {
        self.files.binary_search_by(|file| file.name.as_str().cmp(name)).ok().map(|at| &self.files[at])
    }

    /// Returns the sets that are different or missing in the next view.
    pub(crate) fn sets_gone(&self, next: &View) -> impl Iterator<Item = &Arc<ShownSet>> {
        self.sets.iter().filter(|set| next.set(set.stem()).is_none_or(|now| !Arc::ptr_eq(now, set)))
    }

    /// Returns the set that a stored file is a part of.
    pub(crate) fn set_of(&self, file: &str) -> Option<&Arc<ShownSet>> {
        self.set(part_name::parse(file)?.stem)
    }

    /// Returns the hashes of the files of all sets.
    pub(crate) fn digests(&self) -> HashSet<[u8; 16]> {
        self.sets.iter().map(|set| set.digest()).collect()
    }
}
