//! What it takes to answer a question: nothing but memory, or the store, and which part of it. This is asked before a
//! request may keep others waiting, so asking waits for nothing; when in doubt, the answer is the store.

use super::ino::hash_number;
use crate::error::{Error, Kind};

/// What an answer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    Memory,
    Store(Place),
}

/// A part of the store whose requests hang together, if they hang.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// It is not known which part.
    Anywhere,
    /// The files of one set, or one file.
    Files(u64),
    Catalogue,
    /// Changes of the catalogue, which wait for one another.
    Changes,
    /// The filesystem as a whole.
    Disk,
}

/// What is asked about a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    Attributes,
    /// To read a file.
    Open,
    /// To list a directory.
    List,
}

impl Needs {
    pub(crate) fn memory_if(known: bool, else_place: Place) -> Needs {
        if known { Needs::Memory } else { Needs::Store(else_place) }
    }
}

impl Place {
    pub(crate) fn of_file(name: &str) -> Place {
        Place::Files(hash_number(&[b"file\0", name.as_bytes()]))
    }
}

pub(crate) fn no_answer() -> Error {
    Error::new(Kind::TimedOut, "no answer from the store")
}
