//! The tree at one moment.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use std::time::SystemTime;

use super::attr::{DirEntry, NodeKind};
use super::export::{Context, Export, Outcome, artifact_name};
use super::ino::{Ino, member_base_of};
use super::node::{Dir, Node, Record};
use super::{Gone, index};
use crate::format::part_name;
use crate::store::Snapshot;
use crate::store::catalogue::Run;
use crate::store::plain::{StoredFile, StoredSet};
use crate::store::retention::Retention;

const INCOMPLETE: &str = ".zip.incomplete";

pub struct View {
    mtime: SystemTime,
    retention: Retention,
    is_managed: bool,
    next_expiry: Option<SystemTime>,
    /// By their stems: of the runs that the catalogue knows, or else of the sets.
    records: BTreeMap<String, Record>,
    exports: BTreeMap<String, Arc<Export>>,
    files: BTreeMap<String, Arc<StoredFile>>,
    /// Names that are those of encrypted files, and why they are not taken.
    refused: BTreeMap<String, String>,
    /// All but members, by their inode numbers. A table with room to grow would be twice as large.
    nodes: Vec<(Ino, Node)>,
    /// By the inode number of the root of their contents.
    contents: HashMap<Ino, Arc<Export>>,
    /// What has been listed, for the next who lists it.
    lists: Mutex<HashMap<Dir, Arc<Vec<DirEntry>>>>,
    all: OnceLock<Arc<Vec<Arc<Export>>>>,
}

impl View {
    /// Makes a view; what is known of sets that have not changed is kept.
    pub fn new(snapshot: Snapshot, before: Option<&View>) -> View {
        let known = |stem: &String| before.and_then(|view| view.exports.get(stem));
        let exports = snapshot
            .sets
            .into_iter()
            .map(|(stem, set)| {
                let export = known(&stem).filter(|export| export.is_of(&set)).cloned();
                let export = export.unwrap_or_else(|| Arc::new(Export::new(set, false)));
                (stem, export)
            })
            .collect();
        let records = match snapshot.is_managed {
            true => snapshot.runs.into_iter().map(|(stem, run)| (stem, Record::OfRun(run))).collect(),
            false => BTreeMap::new(),
        };
        let mut view = View {
            mtime: snapshot.mtime,
            retention: snapshot.retention,
            next_expiry: snapshot.next_expiry,
            is_managed: snapshot.is_managed,
            records,
            exports,
            files: snapshot.files,
            refused: snapshot.refused,
            nodes: Vec::new(),
            contents: HashMap::new(),
            lists: Mutex::default(),
            all: OnceLock::new(),
        };
        view.index();
        view
    }

    /// Returns true if a view of the snapshot would show nothing else.
    pub fn is_of(&self, snapshot: &Snapshot) -> bool {
        let same_run = |(stem, run): (&String, &Arc<Run>)| matches!(self.records.get(stem), Some(Record::OfRun(own)) if own == run);
        let same_set = |(stem, set): (&String, &Arc<StoredSet>)| {
            self.exports.get(stem).is_some_and(|export| export.set() == &**set)
        };
        self.mtime == snapshot.mtime
            && self.retention == snapshot.retention
            && self.next_expiry == snapshot.next_expiry
            && self.refused == snapshot.refused
            && self.files == snapshot.files
            && self.exports.len() == snapshot.sets.len()
            && snapshot.sets.iter().all(same_set)
            && (!self.is_managed || self.records.len() == snapshot.runs.len())
            && snapshot.runs.iter().all(same_run)
    }

    /// Says in the log which files are not taken, unless that is no news.
    pub fn tell_refused(&self, before: Option<&View>) {
        for (name, why) in &self.refused {
            if before.is_none_or(|view| view.refused.get(name) != Some(why)) {
                log::warn!("{name}: {why}");
            }
        }
    }

    /// Returns the same view, but for one export that is to be read by a full index.
    pub fn with_full_index(&self, export: &Export) -> View {
        let mut view = View {
            exports: self.exports.clone(),
            files: self.files.clone(),
            records: self.records.clone(),
            refused: self.refused.clone(),
            nodes: Vec::new(),
            contents: HashMap::new(),
            lists: Mutex::default(),
            all: OnceLock::new(),
            ..*self
        };
        if let Some(slot) = view.exports.get_mut(export.stem()).filter(|current| current.is_of(export.set()))
        {
            *slot = Arc::new(Export::new(Arc::new(export.set().clone()), true));
        }
        view.index();
        view
    }

    /// Makes the tables by inode numbers.
    fn index(&mut self) {
        if !self.is_managed {
            let of_set =
                |(stem, export): (&String, &Arc<Export>)| (stem.clone(), Record::OfSet(export.clone()));
            self.records = self.exports.iter().map(of_set).collect();
        }
        let (sets, records) = (self.exports.len(), self.records.len());
        let mut nodes = Vec::with_capacity(2 * sets + records + self.files.len() + 1 + self.top().len() + 2);
        let mut add = |node: Node| nodes.push((node.ino(), node));
        add(Node::Dir(Dir::Root));
        for dir in self.top() {
            add(Node::Dir(*dir));
        }
        add(Node::Index(Dir::History));
        add(Node::Index(Dir::Artifacts));
        for export in self.exports.values() {
            add(Node::Zip(export.clone()));
            add(Node::Incomplete(export.clone()));
        }
        for record in self.records.values() {
            add(Node::History(record.clone()));
        }
        for file in self.files.values() {
            add(Node::Stored(file.clone()));
        }
        nodes.sort_unstable_by_key(|(ino, _)| *ino);
        self.nodes = nodes;
        self.contents = self.exports.values().map(|export| (export.contents_ino(), export.clone())).collect();
    }

    /// Returns the directories in the root.
    pub fn top(&self) -> &'static [Dir] {
        Dir::top(self.is_managed)
    }

    /// How long artifacts are kept.
    pub fn retention(&self) -> Retention {
        self.retention
    }

    /// When the first artifact is going to be gone.
    pub fn next_expiry(&self) -> Option<SystemTime> {
        self.next_expiry
    }

    /// When the store's directory last changed.
    pub fn mtime(&self) -> SystemTime {
        self.mtime
    }

    pub fn export(&self, stem: &str) -> Option<&Arc<Export>> {
        self.exports.get(stem)
    }

    pub fn exports(&self) -> impl Iterator<Item = &Arc<Export>> {
        self.exports.values()
    }

    /// Returns the records of the history, in the order of their names.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// Returns the export that a stored file is a part of.
    pub fn set_of(&self, file: &str) -> Option<&Arc<Export>> {
        self.exports.get(part_name::parse(file)?.stem)
    }

    /// Returns the hashes of the files of all sets.
    pub fn digests(&self) -> HashSet<[u8; 16]> {
        self.exports.values().map(|export| export.digest()).collect()
    }

    pub fn node(&self, ino: Ino) -> Option<Node> {
        let member = || {
            let export = self.contents.get(&member_base_of(ino))?.clone();
            Some(Node::Member { export, id: (ino - member_base_of(ino)) as u32 })
        };
        let found = self.nodes.binary_search_by_key(&ino, |(ino, _)| *ino);
        found.ok().map(|at| self.nodes[at].1.clone()).or_else(member)
    }

    /// Returns true if nobody knows yet what the artifact of that name is.
    pub fn takes_work(&self, name: &str) -> bool {
        let stem = name.strip_suffix(INCOMPLETE).or_else(|| name.strip_suffix(".zip"));
        stem.and_then(|stem| self.exports.get(stem)).is_some_and(|export| !export.is_decided())
    }

    /// Finds a name in a directory. That of an artifact may need the export to be opened, to know what it is.
    pub fn lookup(&self, dir: Dir, name: &str, context: &Context) -> Option<Node> {
        match dir {
            Dir::Root => self.top().iter().find(|dir| dir.name() == name).map(|dir| Node::Dir(*dir)),
            Dir::Contents => self.exports.get(name).map(Node::contents_of),
            Dir::Encrypted => self.files.get(name).cloned().map(Node::Stored),
            // Not part of a view: it is as it is now.
            Dir::Jobs => None,
            Dir::History | Dir::Artifacts if name == index::NAME => Some(Node::Index(dir)),
            Dir::History => self.records.get(name.strip_suffix(".json")?).cloned().map(Node::History),
            Dir::Artifacts => {
                let stem = name.strip_suffix(INCOMPLETE).or_else(|| name.strip_suffix(".zip"))?;
                let export = self.exports.get(stem)?;
                let incomplete = matches!(export.outcome(context), Outcome::Incomplete(_));
                match (incomplete, name.ends_with(INCOMPLETE)) {
                    (true, true) => Some(Node::Incomplete(export.clone())),
                    (false, false) => Some(Node::Zip(export.clone())),
                    _ => None,
                }
            }
        }
    }

    /// Lists a directory from what is known without work: all who have it open share one listing.
    pub fn list(&self, dir: Dir) -> Arc<Vec<DirEntry>> {
        self.lists.lock().entry(dir).or_insert_with(|| Arc::new(self.entries(dir))).clone()
    }

    /// Returns all exports, in the order of their names.
    pub fn all_exports(&self) -> Arc<Vec<Arc<Export>>> {
        self.all.get_or_init(|| Arc::new(self.exports.values().cloned().collect())).clone()
    }

    fn entries(&self, dir: Dir) -> Vec<DirEntry> {
        let file = |node: Node, name: String| DirEntry { ino: node.ino(), kind: NodeKind::File, name };
        let directory = |node: Node, name: &str| DirEntry {
            ino: node.ino(),
            kind: NodeKind::Directory,
            name: name.into(),
        };
        let mut entries = vec![directory(Node::Dir(dir), "."), directory(Node::Dir(Dir::Root), "..")];
        match dir {
            Dir::Root => entries.extend(self.top().iter().map(|dir| directory(Node::Dir(*dir), dir.name()))),
            Dir::Jobs => {}
            Dir::Contents => {
                entries.extend(self.exports.iter().map(|(stem, e)| directory(Node::contents_of(e), stem)));
            }
            Dir::Encrypted => {
                entries.extend(
                    self.files.iter().map(|(name, stored)| file(Node::Stored(stored.clone()), name.clone())),
                );
            }
            Dir::History => entries.extend(
                self.records.iter().map(|(stem, r)| file(Node::History(r.clone()), format!("{stem}.json"))),
            ),
            // See `Listing::Artifacts`.
            Dir::Artifacts => {}
        }
        if matches!(dir, Dir::History | Dir::Artifacts) {
            entries.push(file(Node::Index(dir), index::NAME.into()));
        }
        entries
    }

    /// Returns the names of this view that mean something else, or nothing, in the next one.
    pub fn names_gone_in(&self, next: &View) -> Vec<Gone> {
        let mut gone = Vec::new();
        for (stem, export) in &self.exports {
            let now = next.exports.get(stem);
            if now.is_some_and(|now| Arc::ptr_eq(now, export)) {
                continue;
            }
            let artifacts = Node::Dir(Dir::Artifacts).ino();
            gone.extend(
                [true, false].map(|whole| Gone { parent: artifacts, name: artifact_name(stem, whole) }),
            );
            gone.push(Gone { parent: Node::Dir(Dir::Contents).ino(), name: stem.clone() });
        }
        for (stem, record) in &self.records {
            let unchanged = match (record, next.records.get(stem)) {
                (Record::OfSet(before), Some(Record::OfSet(now))) => Arc::ptr_eq(before, now),
                (Record::OfRun(before), Some(Record::OfRun(now))) => before == now,
                _ => false,
            };
            if !unchanged {
                gone.push(Gone { parent: Node::Dir(Dir::History).ino(), name: format!("{stem}.json") });
            }
        }
        for (name, file) in &self.files {
            if next.files.get(name).is_none_or(|now| now != file) {
                gone.push(Gone { parent: Node::Dir(Dir::Encrypted).ino(), name: name.clone() });
            }
        }
        gone
    }
}
