//! `artifacts/`: each set as one zip, or a text that says what it lacks; and a table of them.

use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attr::{Caching, DirEntry, NodeKind, Shape, TTL_CHANGING};
use super::directory::{Directory, ino_of, needs_by_finding};
use super::handle::{BytesOf, Opened};
use super::index_file::{self, IndexFile};
use super::ino::{Ino, ROOT, number};
use super::listing::{DirEntries, DirListing};
use super::needs::{Needs, Question};
use super::node::{Node, not_deletable};
use super::scope::Scope;
use super::shown::ShownSet;
use super::view::View;
use crate::error::{Error, Kind, Result};
use crate::export::disposal::remove_artifact;
use crate::format::part_name::Ordinal;
use crate::record::{IncompleteSet, Record, SetState, artifact_name, csv};

pub(crate) const NAME: &str = "artifacts";
const ZIP: &str = ".zip";
const INCOMPLETE: &str = ".zip.incomplete";

/// Kinds in the inode table.
const KIND_ZIP: u8 = 0;
const KIND_INCOMPLETE: u8 = 1;
const KIND_INDEX: u8 = 2;

pub(crate) struct ArtifactsDirectory {
    named: Arc<EarlyNames>,
    index: Arc<IndexFile>,
}

impl ArtifactsDirectory {
    pub(crate) fn new() -> ArtifactsDirectory {
        let index = IndexFile::new(NAME, &csv::ARTIFACTS, |record| record.artifact.is_some());
        ArtifactsDirectory { named: Arc::default(), index: Arc::new(index) }
    }
}

/// Returns the records of everything that has an artifact, the earliest first, runs that were removed from the history
/// included.
pub(crate) fn records(scope: &Scope) -> Result<Vec<Record>> {
    let Some(store) = scope.context.managed() else { return super::history::records(scope) };
    let now = scope.now();
    let mut records = Vec::new();
    let mut artifacts = store.catalogue.artifacts_at(now)?;
    // Sorted here: instants in records are whole seconds.
    artifacts.sort_by_key(|artifact| artifact.made);
    for artifact in artifacts {
        if let Some(run) = store.catalogue.run(&artifact.run)? {
            records.push(Record::in_full(store, &run, now)?);
        }
    }
    Ok(records)
}

fn stem_of(name: &str) -> Option<&str> {
    name.strip_suffix(INCOMPLETE).or_else(|| name.strip_suffix(ZIP))
}

impl Directory for ArtifactsDirectory {
    fn name(&self) -> &'static str {
        NAME
    }

    fn inodes(&self, view: &View, add: &mut dyn FnMut(Ino, u8, usize)) {
        add(self.index.ino(), KIND_INDEX, 0);
        for (i, set) in view.sets.iter().enumerate() {
            add(zip_ino(set), KIND_ZIP, i);
            add(incomplete_ino(set), KIND_INCOMPLETE, i);
        }
    }

    fn node(&self, view: &View, kind: u8, at: usize, inside: u32) -> Option<Arc<dyn Node>> {
        let set = || view.sets.get(at).filter(|_| inside == 0).cloned();
        match kind {
            KIND_ZIP => Some(Arc::new(ZipFile(set()?))),
            KIND_INCOMPLETE => Some(Arc::new(IncompleteFile(set()?))),
            _ => (inside == 0).then(|| self.index.clone() as Arc<dyn Node>),
        }
    }

    /// Finding may have to open the set, to know what it is.
    fn find(&self, scope: &Scope, name: &str) -> Result<Option<Arc<dyn Node>>> {
        if name == index_file::NAME {
            return Ok(Some(self.index.clone()));
        }
        let Some(set) = stem_of(name).and_then(|stem| scope.view.set(stem)) else { return Ok(None) };
        let is_undecided = !set.is_decided();
        if is_undecided {
            self.named.has_waited();
        }
        let is_incomplete = matches!(set.outcome(&scope.context), SetState::Incomplete(_));
        Ok(match (is_incomplete, name.ends_with(INCOMPLETE)) {
            (true, true) => Some(Arc::new(IncompleteFile(set.clone()))),
            (false, false) => Some(Arc::new(ZipFile(set.clone()))),
            // It was listed as a zip, or a link says so, but it is not one.
            (true, false) if is_undecided || self.named.is_held(set) => {
                Some(Arc::new(IncompleteFile(set.clone())))
            }
            _ => None,
        })
    }

    fn needs_of_name(&self, scope: &Scope, name: &str) -> Needs {
        // Which of its two names a set has is known only once it is known what the set is.
        match stem_of(name).and_then(|stem| scope.view.set(stem)) {
            Some(set) if !set.is_known(&scope.context) => Needs::Store(set.place()),
            _ => needs_by_finding(self, scope, name),
        }
    }

    fn list(&self, scope: &Scope) -> Result<DirListing> {
        self.named.tidy();
        let (sets, named) = (scope.view.sets.clone(), self.named.clone());
        let entries = Sets { sets, index: self.index.entry(), named, held: Mutex::default() };
        Ok(DirListing::new(ino_of(NAME), ROOT, entries))
    }

    fn names_gone(&self, view: &View, next: &View) -> Vec<String> {
        let both = |stem: &str| [true, false].map(|is_whole| artifact_name(stem, is_whole));
        view.sets_gone(next).flat_map(|set| both(set.stem())).collect()
    }
}

fn set_ino(word: &[u8], set: &ShownSet) -> Ino {
    let mut hasher = blake3::Hasher::new();
    number(set.hash_into(hasher.update(word)))
}

fn zip_ino(set: &ShownSet) -> Ino {
    set_ino(b"zip\0", set)
}

fn incomplete_ino(set: &ShownSet) -> Ino {
    set_ino(b"incomplete\0", set)
}

/// Deletes a set with all its parts. Its run stays in the history until it is removed there.
fn unlink(scope: &Scope, set: &ShownSet) -> Result<()> {
    let run = set.stored().run.as_deref().ok_or_else(not_deletable)?;
    remove_artifact(scope.context.writable()?, run, scope.now()).map(drop)
}

/// `artifacts/<stem>.zip`
struct ZipFile(Arc<ShownSet>);

impl Node for ZipFile {
    fn ino(&self) -> Ino {
        zip_ino(&self.0)
    }

    fn attributes(&self, scope: &Scope) -> Result<(Shape, Duration)> {
        let size = self.0.zip_size(&scope.context)?;
        Ok((Shape::file(size, scope.made(&self.0)), scope.ttl(&self.0)))
    }

    fn needs(&self, scope: &Scope, asked: Question) -> Needs {
        let is_open = asked != Question::Open || self.0.is_open(&scope.context);
        Needs::memory_if(self.0.is_known(&scope.context) && is_open, self.0.place())
    }

    fn open(&self, scope: &Scope) -> Result<(Opened, Caching)> {
        let zip = self.0.open(&scope.context)?;
        Ok((Opened::Bytes(zip, BytesOf::Set(self.0.clone())), Caching::Finished))
    }

    fn unlink(&self, scope: &Scope) -> Result<()> {
        unlink(scope, &self.0)
    }

    fn set(&self) -> Option<&Arc<ShownSet>> {
        Some(&self.0)
    }
}

/// `artifacts/<stem>.zip.incomplete`
struct IncompleteFile(Arc<ShownSet>);

impl IncompleteFile {
    fn gaps(&self, scope: &Scope) -> Result<String> {
        match self.0.outcome(&scope.context) {
            SetState::Incomplete(incomplete) => Ok(incomplete_text(&self.0, &incomplete)),
            // It was incomplete when it was listed.
            _ => Err(Error::new(Kind::Stale, "the set is not incomplete")),
        }
    }
}

impl Node for IncompleteFile {
    fn ino(&self) -> Ino {
        incomplete_ino(&self.0)
    }

    fn attributes(&self, scope: &Scope) -> Result<(Shape, Duration)> {
        let size = self.gaps(scope)?.len() as u64;
        Ok((Shape::file(size, scope.made(&self.0)), TTL_CHANGING))
    }

    fn needs(&self, scope: &Scope, _: Question) -> Needs {
        Needs::memory_if(self.0.is_known(&scope.context), self.0.place())
    }

    fn open(&self, scope: &Scope) -> Result<(Opened, Caching)> {
        Ok((Opened::Text(self.gaps(scope)?.into_bytes()), Caching::Finished))
    }

    fn unlink(&self, scope: &Scope) -> Result<()> {
        unlink(scope, &self.0)
    }

    fn set(&self) -> Option<&Arc<ShownSet>> {
        Some(&self.0)
    }
}

/// Returns the text that stands in for a zip that is not whole.
fn incomplete_text(set: &ShownSet, incomplete: &IncompleteSet) -> String {
    let mut text = format!("{} is not complete.\n", set.stem());
    let mut list = |title: &str, names: &[String]| {
        if !names.is_empty() {
            let _ = write!(text, "\n{title}\n");
            names.iter().for_each(|name| {
                let _ = writeln!(text, "  {name}");
            });
        }
    };
    let stored = |ordinal: &Ordinal| format!("{}{ordinal}.smime", set.stem());
    let IncompleteSet { gaps, conflict } = incomplete;
    let here: Vec<String> = set.stored().parts.iter().map(|part| part.file.name.clone()).collect();
    let lacks = |ordinal| match set.stored().downloading.contains(ordinal) {
        true => format!("{} (it is being downloaded)", stored(ordinal)),
        false => stored(ordinal),
    };
    let mut missing: Vec<String> = gaps.missing.iter().map(lacks).collect();
    if gaps.open_ended {
        missing.push("and there may be more".into());
    }
    list("Parts that are missing:", &missing);
    list(
        "Parts that do not belong to it, by what the last part says:",
        &gaps.surplus.iter().map(stored).collect::<Vec<_>>(),
    );
    if let Some((a, b)) = conflict {
        list(
            "Two files claim to be the same part, but differ (keep the right one):",
            &[a.clone(), b.clone()],
        );
    }
    list("Parts that are here:", &here);
    text
}

/// The entries of `artifacts/`. What a set is may become known while it is listed: each entry has the name that is
/// right when it is read.
struct Sets {
    sets: Arc<[Arc<ShownSet>]>,
    index: DirEntry,
    named: Arc<EarlyNames>,
    /// Sets that this listing has named too early, see [`EarlyNames`].
    held: Mutex<HashSet<Ino>>,
}

impl DirEntries for Sets {
    fn entry(&self, i: usize) -> Option<DirEntry> {
        match self.sets.get(i) {
            Some(set) => Some(self.named.entry(set, &self.held)),
            None => (i == self.sets.len()).then(|| self.index.clone()),
        }
    }
}

impl Drop for Sets {
    fn drop(&mut self) {
        self.named.release(self.held.get_mut());
    }
}

/// How long the names of a closed listing are held, for programs that look them up one by one; whenever one of them has
/// to wait for a set, the time starts again.
const HELD: Duration = Duration::from_secs(60);

/// Sets that were listed as a zip before it was known what they are. A name that was listed resolves, if only to the
/// text that says what the set lacks: as long as the listing is open, and then for a while.
#[derive(Default)]
struct EarlyNames(Mutex<EarlySets>);

#[derive(Default)]
struct EarlySets {
    sets: HashMap<Ino, TooEarly>,
    /// When a lookup last waited for a set to be worked out.
    waited: Option<Instant>,
}

/// A set that was listed as a zip too early.
struct TooEarly {
    listed: Instant,
    /// Listings that are open.
    open: usize,
}

impl EarlySets {
    fn is_held(&self, set: &TooEarly) -> bool {
        let last = self.waited.unwrap_or(set.listed).max(set.listed);
        set.open > 0 || last.elapsed() < HELD
    }
}

impl EarlyNames {
    /// Returns the entry of a set by what is known now. `held` are the sets that this listing has named too early.
    fn entry(&self, set: &Arc<ShownSet>, held: &Mutex<HashSet<Ino>>) -> DirEntry {
        // Asked before the name: it does no harm if the outcome becomes known in between.
        let is_undecided = !set.is_decided();
        let name = set.artifact_name();
        let is_whole = name.ends_with(ZIP);
        let ino = if is_whole { zip_ino(set) } else { incomplete_ino(set) };
        let mut names = self.0.lock();
        if is_undecided && is_whole {
            let listed = Instant::now();
            let fresh = TooEarly { listed, open: 0 };
            let early = names.sets.entry(set.contents_ino()).or_insert(fresh);
            early.listed = listed;
            early.open += usize::from(held.lock().insert(set.contents_ino()));
        }
        DirEntry { ino, kind: NodeKind::File, name }
    }

    fn release(&self, held: &mut HashSet<Ino>) {
        let mut names = self.0.lock();
        for set in held.drain() {
            if let Some(set) = names.sets.get_mut(&set) {
                set.open -= 1;
            }
        }
    }

    /// Returns true for a set that somebody may still look up as a zip.
    fn is_held(&self, set: &ShownSet) -> bool {
        let names = self.0.lock();
        names.sets.get(&set.contents_ino()).is_some_and(|early| names.is_held(early))
    }

    /// Says that a lookup has to wait for a set: its listing may be looked at for longer.
    fn has_waited(&self) {
        self.0.lock().waited = Some(Instant::now());
    }

    /// Forgets the sets that are not held any more.
    fn tidy(&self) {
        let mut names = self.0.lock();
        let mut sets = mem::take(&mut names.sets);
        sets.retain(|_, set| names.is_held(set));
        names.sets = sets;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_held_as_long_as_somebody_may_be_at_it() {
        let long_ago = Instant::now().checked_sub(2 * HELD).unwrap();
        let set = |listed, open| TooEarly { listed, open };
        let mut names = EarlySets::default();
        assert!(names.is_held(&set(Instant::now(), 0)) && !names.is_held(&set(long_ago, 0)));
        assert!(names.is_held(&set(long_ago, 1)), "a listing that is open");
        names.waited = Some(Instant::now());
        assert!(names.is_held(&set(long_ago, 0)), "sets are still being worked out for somebody");
        names.waited = Some(long_ago);
        assert!(!names.is_held(&set(long_ago, 0)));
    }
}
