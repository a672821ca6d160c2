//! What it takes to answer a question: nothing but memory, or the store, and which part of it. Asked before others are
//! kept waiting, so it waits for nothing itself; when in doubt, the store.

use super::ino::hash_number;
use crate::error::{Error, Kind};

/// What an answer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    Memory,
    Store(Place),
}

/// A part of the store: what is asked of it hangs or does not hang together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Place {
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
pub(crate) enum Asked {
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
