//! What it takes to answer a question: nothing but memory, or the store, and which part of it. Asked before others are
//! kept waiting, so it waits for nothing itself; when in doubt, the store.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use super::Tree;
use super::attr::{Attr, DirEntry, Shape};
use super::export::Export;
use super::handle::{Handle, Opened};
use super::ino::{Ino, hash_number};
use super::listing::Listing;
use super::node::{Dir, Node, Record};
use crate::artifact::members;
use crate::error::{Error, Kind, Result};

/// What an answer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    Memory,
    Store(Place),
}

/// A part of the store: what is asked of it hangs or does not hang together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Not known.
    Anywhere,
    /// The files of one set, or one file.
    Files(u64),
    Catalogue,
    /// What is waited for by those who change the catalogue.
    Changes,
    /// The filesystem as a whole.
    Disk,
}

/// What of a node is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Attributes,
    /// To read a file.
    Open,
    /// To list a directory.
    List,
}

impl Needs {
    fn memory_if(known: bool, else_place: Place) -> Needs {
        if known { Needs::Memory } else { Needs::Store(else_place) }
    }
}

fn place_of(export: &Export) -> Place {
    Place::Files(export.contents_ino())
}

fn place_of_file(name: &str) -> Place {
    Place::Files(hash_number(&[b"file\0", name.as_bytes()]))
}

impl Tree {
    /// Returns what it takes to answer a question about a node.
    pub fn needs(&self, ino: Ino, asked: Asked) -> Needs {
        match self.view().node(ino) {
            Some(node) => self.needs_of(&node, asked),
            // It may be a job.
            None => Needs::memory_if(self.jobs.is_none(), Place::Catalogue),
        }
    }

    fn needs_of(&self, node: &Node, asked: Asked) -> Needs {
        let is_open = asked == Asked::Open;
        match node {
            Node::Dir(_) => Needs::memory_if(asked != Asked::List || self.jobs.is_none(), Place::Catalogue),
            Node::Stored(file) => Needs::memory_if(!is_open, place_of_file(&file.name)),
            Node::Zip(export) => {
                let is_there = export.is_known(&self.exports) && (!is_open || export.is_open(&self.exports));
                Needs::memory_if(is_there, place_of(export))
            }
            Node::Incomplete(export) | Node::History(Record::OfSet(export)) => {
                Needs::memory_if(export.is_known(&self.exports), place_of(export))
            }
            Node::Index(_) => Needs::memory_if(self.jobs.is_none(), Place::Catalogue),
            Node::History(Record::OfRun(_)) | Node::Job(_) => Needs::Store(Place::Catalogue),
            Node::Member { id: members::ROOT, .. } if asked == Asked::Attributes => Needs::Memory,
            Node::Member { export, .. } => {
                Needs::memory_if(!is_open && export.has_members(&self.exports), place_of(export))
            }
        }
    }

    /// Returns what it takes to tell extended attributes of a node.
    pub fn needs_of_xattr(&self, ino: Ino) -> Needs {
        match self.needs(ino, Asked::Attributes) {
            // Those of a run are in its record.
            Needs::Memory if self.jobs.is_some() => Needs::Store(Place::Catalogue),
            other => other,
        }
    }

    /// Returns what it takes to find a name.
    pub fn needs_of_name(&self, parent: Ino, name: &OsStr) -> Needs {
        let view = self.view();
        match view.node(parent) {
            Some(Node::Dir(Dir::Jobs)) | None => Needs::memory_if(self.jobs.is_none(), Place::Catalogue),
            Some(Node::Member { export, .. }) => {
                Needs::memory_if(export.has_members(&self.exports), place_of(&export))
            }
            Some(Node::Dir(dir)) => {
                let name = name.to_str().unwrap_or_default();
                // Which of its two names a set has is only known when it is known.
                let stem = name.strip_suffix(".incomplete").unwrap_or(name).strip_suffix(".zip");
                if let Some(stem) = stem.filter(|_| dir == Dir::Artifacts)
                    && let Some(set) = view.lookup(Dir::Contents, stem, &self.exports)
                    && let Some(export) = set.export().filter(|export| !export.is_known(&self.exports))
                {
                    return Needs::Store(place_of(export));
                }
                match view.lookup(dir, name, &self.exports) {
                    Some(node) => self.needs_of(&node, Asked::Attributes),
                    // It may be new.
                    None => Needs::memory_if(self.jobs.is_none(), Place::Catalogue),
                }
            }
            Some(_) => Needs::Memory,
        }
    }

    /// Returns what it takes to read from a handle, or to close it.
    pub fn needs_of_handle(&self, handle: Handle) -> Needs {
        match self.handles.get(handle).as_deref() {
            Err(_) | Ok(Opened::Text(_) | Opened::Dir(_)) => Needs::Memory,
            Ok(Opened::Stored { name, .. }) => Needs::Store(place_of_file(name)),
            Ok(Opened::Zip { export, .. } | Opened::Member { export, .. }) => Needs::Store(place_of(export)),
            Ok(Opened::Writing(_)) => Needs::Store(Place::Changes),
        }
    }

    /// Returns what it takes to list an open directory with attributes.
    pub fn needs_of_listing(&self, handle: Handle) -> Needs {
        let asks_the_catalogue =
            |ino| [Dir::History, Dir::Jobs].iter().any(|dir| Node::Dir(*dir).ino() == ino);
        match self.handles.get(handle).as_deref() {
            Ok(Opened::Dir(listing)) if self.jobs.is_some() => match &**listing {
                // The first entry is the directory itself.
                Listing::Fixed(entries) => {
                    let is_memory = !entries.first().is_some_and(|entry| asks_the_catalogue(entry.ino));
                    Needs::memory_if(is_memory, Place::Catalogue)
                }
                Listing::Members { .. } | Listing::Artifacts { .. } => Needs::Memory,
            },
            _ => Needs::Memory,
        }
    }

    /// Opens a directory as it was when it was looked at last.
    pub fn open_dir_as_known(&self, ino: Ino) -> Result<Handle> {
        let view = self.view();
        let Some(node @ Node::Dir(dir)) = view.node(ino) else { return Err(no_answer()) };
        let jobs = self.jobs.as_ref().filter(|_| dir == Dir::Jobs);
        let listing = self.list(&view, dir, jobs.map(|jobs| jobs.list_as_known()).unwrap_or_default());
        let (attr, _) = self.attributes(ino, &node)?;
        Ok(self.handles.insert(attr, Opened::Dir(Arc::new(listing))))
    }

    /// Returns what little is known of an entry without asking anybody, for no time at all.
    pub fn attributes_as_known(&self, entry: &DirEntry) -> (Attr, Duration) {
        let view = self.view();
        let node = view.node(entry.ino).unwrap_or(Node::Index(Dir::History));
        let shape = Shape { kind: entry.kind, size: 0, mtime: view.mtime() };
        (Attr::new(entry.ino, &node, shape, &self.options), Duration::ZERO)
    }

    /// Returns true after that: there is only one answer any more.
    pub fn is_given_up(&self, handle: Handle) -> bool {
        let is_given_up = |opened: &Opened| matches!(opened, Opened::Writing(w) if w.draft.is_given_up());
        self.handles.get(handle).is_ok_and(|opened| is_given_up(&opened))
    }

    /// Says that whoever writes has been told that it took too long: nothing of that is handed in any more.
    pub fn give_up(&self, handle: Handle) {
        if let Ok(opened) = self.handles.get(handle)
            && let Opened::Writing(writing) = &*opened
        {
            writing.draft.give_up();
        }
    }
}

pub fn no_answer() -> Error {
    Error::new(Kind::TimedOut, "no answer from the store")
}
