//! `history/`: what is known of each run, or of each set of a plain store, as JSON; and a table of them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::attr::{DirEntry, NodeKind, Shape, TTL_CHANGING};
use super::directory::{Directory, ino_of};
use super::index_file::{self, IndexFile};
use super::ino::{Ino, hash_number};
use super::listing::DirListing;
use super::needs::{Needs, Place, Question};
use super::node::{Node, stale};
use super::scope::Scope;
use super::shown::ShownSet;
use super::view::View;
use super::xattr;
use crate::error::{Error, Kind, Result};
use crate::record::{Record, attributes, csv};
use crate::store::catalogue::Run;
use crate::store::managed::Managed;

const NAME: &str = "history";
const SUFFIX: &str = ".json";

/// Kinds in the inode table.
const KIND_RUN: u8 = 0;
const KIND_SET: u8 = 1;
const KIND_INDEX: u8 = 2;

pub(crate) struct HistoryDirectory {
    index: Arc<IndexFile>,
}

impl HistoryDirectory {
    pub(crate) fn new() -> HistoryDirectory {
        HistoryDirectory { index: Arc::new(IndexFile::new(NAME, &csv::HISTORY, |_| true)) }
    }
}

/// Returns all records as they are now, the latest first.
pub(crate) fn records(scope: &Scope) -> Result<Vec<Record>> {
    let now = scope.now();
    let mut records = Vec::new();
    match scope.context.managed() {
        Some(store) => {
            for run in scope.view.runs.iter() {
                match current(store, &run.id) {
                    Ok(run) => {
                        let first = run.queued.or(run.scheduled).or(run.started).unwrap_or(now);
                        records.push((first, Record::in_full(store, &run, now)?));
                    }
                    // The run was removed after the view was made.
                    Err(error) if error.kind() == Kind::Stale => {}
                    Err(error) => return Err(error),
                }
            }
        }
        None => {
            records.extend(scope.view.sets.iter().map(|set| {
                let record = set.record(scope.view.retention, &scope.context);
                (scope.made(set), record)
            }));
        }
    }
    records.sort_by_key(|(first, _)| std::cmp::Reverse(*first));
    Ok(records.into_iter().map(|(_, record)| record).collect())
}

fn current(store: &Managed, id: &str) -> Result<Run> {
    let gone = || Error::new(Kind::Stale, "the run has been removed");
    store.catalogue.run(id)?.filter(|run| !run.hidden).ok_or_else(gone)
}

fn ino(stem: &str) -> Ino {
    hash_number(&[b"history\0", stem.as_bytes()])
}

fn entry(stem: &str) -> DirEntry {
    DirEntry { ino: ino(stem), kind: NodeKind::File, name: format!("{stem}{SUFFIX}") }
}

impl Directory for HistoryDirectory {
    fn name(&self) -> &'static str {
        NAME
    }

    fn inodes(&self, view: &View, add: &mut dyn FnMut(Ino, u8, usize)) {
        add(self.index.ino(), KIND_INDEX, 0);
        match view.is_managed {
            true => view.runs.iter().enumerate().for_each(|(i, run)| add(ino(&run.stem()), KIND_RUN, i)),
            false => view.sets.iter().enumerate().for_each(|(i, set)| add(ino(set.stem()), KIND_SET, i)),
        }
    }

    fn node(&self, view: &View, kind: u8, at: usize, inside: u32) -> Option<Arc<dyn Node>> {
        match kind {
            _ if inside > 0 => None,
            KIND_RUN => Some(Arc::new(OfRun(view.runs.get(at)?.clone()))),
            KIND_SET => Some(Arc::new(OfSet(view.sets.get(at)?.clone()))),
            _ => Some(self.index.clone()),
        }
    }

    fn find(&self, scope: &Scope, name: &str) -> Result<Option<Arc<dyn Node>>> {
        if name == index_file::NAME {
            return Ok(Some(self.index.clone()));
        }
        let Some(stem) = name.strip_suffix(SUFFIX) else { return Ok(None) };
        let run = |run: &Arc<Run>| Arc::new(OfRun(run.clone())) as Arc<dyn Node>;
        let set = |set: &Arc<ShownSet>| Arc::new(OfSet(set.clone())) as Arc<dyn Node>;
        Ok(match scope.view.is_managed {
            true => scope.view.run(stem).map(run),
            false => scope.view.set(stem).map(set),
        })
    }

    fn list(&self, scope: &Scope) -> Result<DirListing> {
        let (own, others) = (ino_of(NAME), vec![self.index.entry()]);
        let listing = match scope.view.is_managed {
            true => DirListing::of_each(own, &scope.view.runs, |run: &Arc<Run>| entry(&run.stem()), others),
            false => {
                DirListing::of_each(own, &scope.view.sets, |set: &Arc<ShownSet>| entry(set.stem()), others)
            }
        };
        Ok(listing.that_needs(scope.context.needs_catalogue()))
    }

    fn names_gone(&self, view: &View, next: &View) -> Vec<String> {
        let file = |stem: &str| format!("{stem}{SUFFIX}");
        if !view.is_managed {
            return view.sets_gone(next).map(|set| file(set.stem())).collect();
        }
        let has_gone = |run: &&Arc<Run>| next.run(&run.stem()).is_none_or(|now| now != *run);
        view.runs.iter().filter(has_gone).map(|run| file(&run.stem())).collect()
    }
}

/// `history/<stem>.json` of a run that the catalogue knows: as it is now, whatever the view has.
struct OfRun(Arc<Run>);

impl OfRun {
    fn now(&self, scope: &Scope) -> Result<(Run, String)> {
        let store = scope.context.managed().ok_or_else(stale)?;
        let run = current(store, &self.0.id)?;
        let text = Record::in_full(store, &run, scope.now())?.pretty();
        Ok((run, text))
    }
}

impl Node for OfRun {
    fn ino(&self) -> Ino {
        ino(&self.0.stem())
    }

    fn attributes(&self, scope: &Scope) -> Result<(Shape, Duration)> {
        let (run, text) = self.now(scope)?;
        let times = [run.queued, run.started, run.progressed, run.finished, run.deleted];
        let latest: Option<SystemTime> = times.into_iter().flatten().max().or(run.scheduled);
        let now = scope.now();
        // The record may change at any moment.
        let ttl = if run.status.is_final() { TTL_CHANGING } else { Duration::ZERO };
        Ok((Shape::file(text.len() as u64, latest.unwrap_or(now).min(now)), ttl))
    }

    fn needs(&self, _: &Scope, _: Question) -> Needs {
        Needs::Store(Place::Catalogue)
    }

    fn is_rendered(&self) -> bool {
        true
    }

    fn text(&self, scope: &Scope) -> Result<Vec<u8>> {
        Ok(self.now(scope)?.1.into_bytes())
    }

    fn unlink(&self, scope: &Scope) -> Result<()> {
        scope.context.writable()?.catalogue.remove_run(&self.0.id, scope.now())
    }

    fn xattr(&self, scope: &Scope, name: &str) -> Result<Option<Vec<u8>>> {
        xattr::of_run(scope, &self.0.id, name)
    }

    fn xattr_names(&self, _: &Scope) -> Vec<&'static str> {
        attributes::OF_RUN.to_vec()
    }
}

/// `history/<stem>.json` of a set of a plain store.
struct OfSet(Arc<ShownSet>);

impl Node for OfSet {
    fn ino(&self) -> Ino {
        ino(self.0.stem())
    }

    fn attributes(&self, scope: &Scope) -> Result<(Shape, Duration)> {
        let len = self.text(scope)?.len() as u64;
        Ok((Shape::file(len, scope.made(&self.0)), TTL_CHANGING))
    }

    fn needs(&self, scope: &Scope, _: Question) -> Needs {
        Needs::memory_if(self.0.is_known(&scope.context), self.0.place())
    }

    fn is_rendered(&self) -> bool {
        true
    }

    fn text(&self, scope: &Scope) -> Result<Vec<u8>> {
        Ok(self.0.record(scope.view.retention, &scope.context).pretty().into_bytes())
    }

    fn set(&self) -> Option<&Arc<ShownSet>> {
        Some(&self.0)
    }
}
