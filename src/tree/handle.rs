//! Open files and directories.

use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::export::Export;
use super::jobs::Writing;
use super::listing::Listing;
use super::node::{Attr, Ino};
use crate::artifact::{Verified, Zip};
use crate::error::{At, Error, Kind, Result};
use crate::io::{FileReader, ReadAt, Reader};
use crate::store::plain::StoredFile;

/// The number of an open file or directory.
pub type Handle = u64;

/// What is behind a handle.
pub enum Opened {
    Zip {
        zip: Arc<Zip>,
        export: Arc<Export>,
    },
    Stored {
        file: Reader,
        name: String,
    },
    Text(Vec<u8>),
    Member {
        reader: Reader,
        export: Arc<Export>,
        /// What log lines call it: names of members may be personal.
        label: String,
    },
    Dir(Arc<Listing>),
    /// Something in `jobs/` that may be written.
    Writing(Writing),
}

impl Opened {
    pub fn stored(file: &StoredFile) -> Result<Opened> {
        let mut reader: Reader = Arc::new(FileReader::open(&file.path)?);
        if let Some(written) = &file.written {
            reader = Arc::new(Verified::open(reader, written.hashes.clone(), written.size).at(&file.name)?);
        }
        Ok(Opened::Stored { file: reader, name: file.name.clone() })
    }

    pub fn text(text: String) -> Opened {
        Opened::Text(text.into_bytes())
    }

    /// Calls `take` once with what is there, unless it fails.
    pub fn lend(&self, offset: u64, len: usize, take: &mut dyn FnMut(&[u8])) -> Result<()> {
        match self {
            Opened::Zip { zip, .. } => zip.lend(offset, len, take),
            Opened::Member { reader, .. } => reader.lend(offset, len, take),
            Opened::Stored { file, .. } => file.lend(offset, len, take),
            Opened::Text(text) => text.lend(offset, len, take),
            Opened::Dir(_) => Err(Error::new(Kind::IsADirectory, "is a directory")),
            Opened::Writing(_) => Err(Error::new(Kind::Invalid, "it is read in another way")),
        }
    }

    /// Returns the export that it is part of.
    pub fn export(&self) -> Option<&Arc<Export>> {
        match self {
            Opened::Zip { export, .. } | Opened::Member { export, .. } => Some(export),
            Opened::Stored { .. } | Opened::Text(_) | Opened::Dir(_) | Opened::Writing(_) => None,
        }
    }

    /// Logs a failed read: what it was, and why.
    pub fn log_once(&self, error: &Error) {
        match self {
            Opened::Zip { export, .. } => export.log_once(error),
            Opened::Member { export, label, .. } => export.log_once(&error.clone().at(label)),
            Opened::Stored { name, .. } => log::warn!("{name}: errno {}: {error}", error.errno()),
            Opened::Text(_) | Opened::Dir(_) | Opened::Writing(_) => {}
        }
    }
}

struct Entry {
    attr: Attr,
    opened: Arc<Opened>,
    /// Its attributes are those of the handle, for the node's are others already.
    live: bool,
}

/// All open handles. Numbers are not used twice.
#[derive(Default)]
pub struct Handles {
    next: AtomicU64,
    open: RwLock<HashMap<Handle, Entry>>,
}

impl Handles {
    /// `attr` is what the node looks like as it is opened.
    pub fn insert(&self, attr: Attr, opened: Opened, live: bool) -> Handle {
        let handle = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.open.write().insert(handle, Entry { attr, opened: Arc::new(opened), live });
        handle
    }

    pub fn get(&self, handle: Handle) -> Result<Arc<Opened>> {
        let found = self.open.read().get(&handle).map(|entry| entry.opened.clone());
        found.ok_or_else(|| Error::new(Kind::Os(libc::EBADF), "no such handle"))
    }

    /// Returns the attributes of something that is open.
    pub fn attributes(&self, ino: Ino) -> Option<Attr> {
        let open = self.open.read();
        open.values().map(|entry| &entry.attr).find(|attr| attr.ino == ino).cloned()
    }

    /// Returns the attributes of what a handle has opened, if they are its own.
    pub fn live(&self, handle: Handle) -> Option<Attr> {
        let open = self.open.read();
        let entry = open.get(&handle).filter(|entry| entry.live)?;
        let attr = entry.attr.clone();
        Some(match &*entry.opened {
            Opened::Writing(writing) => {
                Attr { mtime: writing.draft.mtime(), ..attr.of_size(writing.draft.size()) }
            }
            _ => attr,
        })
    }

    /// Returns the handles that are being written.
    pub fn writing(&self) -> Vec<Handle> {
        let open = self.open.read();
        let is_writing = |entry: &Entry| matches!(*entry.opened, Opened::Writing(_));
        open.iter().filter(|(_, entry)| is_writing(entry)).map(|(handle, _)| *handle).collect()
    }

    pub fn remove(&self, handle: Handle) {
        // What it held is dropped outside the lock: closing files takes time.
        let removed = self.open.write().remove(&handle);
        drop(removed);
    }
}
