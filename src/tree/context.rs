//! What questions about the tree are answered from, beside the view.

use std::sync::Arc;
use std::time::SystemTime;

use super::needs::{Needs, Place};
use super::recent::Recent;
use crate::artifact::member::DEFAULT_CACHE;
use crate::crypto::Identity;
use crate::error::{Error, Kind, Result};
use crate::io::Cancel;
use crate::store::Store;
use crate::store::catalogue::Revision;
use crate::store::clock::Clock;
use crate::store::managed::Managed;
use crate::store::sizes::SizeCache;

/// How the tree presents itself.
#[derive(Debug, Clone)]
pub struct Options {
    pub uid: u32,
    pub gid: u32,
    pub umask: u32,
    /// Nothing can be changed.
    pub read_only: bool,
    /// Bytes for what is kept of decompressing members.
    pub cache: usize,
    /// Log lines name the member that they are about, instead of giving its number.
    pub log_names: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { uid: 0, gid: 0, umask: 0o022, read_only: false, cache: DEFAULT_CACHE, log_names: false }
    }
}

pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Options,
    pub(crate) identities: Arc<[Identity]>,
    pub(crate) sizes: SizeCache,
    pub(crate) recent: Recent,
    /// Raised when the mount has gone: what is still being read then fails.
    pub(crate) stop: Cancel,
}

impl Context {
    pub(crate) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    pub(crate) fn managed(&self) -> Option<&Arc<Managed>> {
        self.store.managed()
    }

    /// Returns what an answer from the catalogue takes; a plain store has none.
    pub(crate) fn needs_catalogue(&self) -> Needs {
        Needs::memory_if(self.managed().is_none(), Place::Catalogue)
    }

    /// Returns the state of the catalogue; `None` in a plain store.
    pub(crate) fn revision(&self) -> Result<Option<Revision>> {
        self.managed().map(|store| store.catalogue.changes()).transpose()
    }

    /// Returns true if anything in the tree can be changed.
    pub(crate) fn is_writable(&self) -> bool {
        !self.options.read_only && self.managed().is_some_and(|store| !store.is_read_only())
    }

    /// Returns the store, if anything in it can be changed.
    pub(crate) fn writable(&self) -> Result<&Arc<Managed>> {
        self.managed().filter(|_| self.is_writable()).ok_or_else(read_only)
    }

    /// Returns why something cannot be changed.
    pub(crate) fn refusal(&self) -> Error {
        if self.is_writable() {
            Error::new(Kind::NotPermitted, "this cannot be changed")
        } else {
            read_only()
        }
    }
}

fn read_only() -> Error {
    Error::new(Kind::ReadOnly, "the tree is read-only")
}
