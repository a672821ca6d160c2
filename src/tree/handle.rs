//! Open files and directories.

use parking_lot::RwLock;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::attr::Attr;
use super::ino::Ino;
use super::jobs::draft::Writing;
use super::listing::DirListing;
use super::needs::{Needs, Place};
use super::shown::ShownSet;
use crate::error::{Error, Kind, Result};
use crate::io::{ReadAt, Reader};

/// The number of an open file or directory.
pub(crate) type Handle = u64;

/// What the bytes are of.
pub(crate) enum BytesOf {
    /// The zip of a set.
    Set(Arc<ShownSet>),
    /// A member of a zip, and how log lines call it: names of members may be personal.
    Member(Arc<ShownSet>, String),
    /// A stored file of that name.
    File(String),
}

/// What is behind a handle.
pub(crate) enum Opened {
    Bytes(Reader, BytesOf),
    Text(Vec<u8>),
    Dir(Arc<DirListing>),
    /// A file in `jobs/` that may be written.
    Writing(Writing),
}

impl Opened {
    /// Calls `take` once with the bytes, unless reading fails.
    pub(crate) fn lend(&self, offset: u64, len: usize, take: &mut dyn FnMut(&[u8])) -> Result<()> {
        match self {
            Opened::Bytes(reader, _) => reader.lend(offset, len, take),
            Opened::Text(text) => text.lend(offset, len, take),
            Opened::Dir(_) => Err(Error::new(Kind::IsADirectory, "is a directory")),
            Opened::Writing(_) => Err(Error::new(Kind::Invalid, "it is read in another way")),
        }
    }

    fn is_text(&self, text: &[u8]) -> bool {
        matches!(self, Opened::Text(own) if own == text)
    }

    /// Returns the set that the bytes are of.
    pub(crate) fn set(&self) -> Option<&Arc<ShownSet>> {
        match self {
            Opened::Bytes(_, BytesOf::Set(set) | BytesOf::Member(set, _)) => Some(set),
            _ => None,
        }
    }

    /// Returns what it takes to read from it, or to close it.
    pub(crate) fn needs(&self) -> Needs {
        match self {
            Opened::Text(_) | Opened::Dir(_) => Needs::Memory,
            Opened::Bytes(_, BytesOf::File(name)) => Needs::Store(Place::of_file(name)),
            Opened::Bytes(_, BytesOf::Set(set) | BytesOf::Member(set, _)) => Needs::Store(set.place()),
            Opened::Writing(_) => Needs::Store(Place::Changes),
        }
    }

    /// Logs why a read failed; a set logs each error once.
    pub(crate) fn log_once(&self, error: &Error) {
        match self {
            _ if !error.is_a_fault() => {}
            Opened::Bytes(_, BytesOf::Set(set)) => set.log_once(error),
            Opened::Bytes(_, BytesOf::Member(set, label)) => set.log_once(&error.clone().at(label)),
            Opened::Bytes(_, BytesOf::File(name)) => log::warn!("{name}: errno {}: {error}", error.errno()),
            Opened::Text(_) | Opened::Dir(_) | Opened::Writing(_) => {}
        }
    }
}

struct OpenHandle {
    attr: Attr,
    opened: Arc<Opened>,
}

/// A rendered text that is open. The kernel has one size for all handles of an inode, so they share one text.
struct OpenText {
    attr: Attr,
    opened: Arc<Opened>,
    readers: usize,
}

/// All open handles. A number is never used again.
#[derive(Default)]
pub(crate) struct Handles {
    next: AtomicU64,
    open: RwLock<HashMap<Handle, OpenHandle>>,
    /// Rendered texts that are open, by their inode numbers. This lock is taken first.
    texts: RwLock<HashMap<Ino, OpenText>>,
}

impl Handles {
    /// Adds a handle. `attr` are the attributes of the node when it is opened.
    pub(crate) fn insert(&self, attr: Attr, opened: Opened) -> Handle {
        self.insert_shared(attr, Arc::new(opened))
    }

    fn insert_shared(&self, attr: Attr, opened: Arc<Opened>) -> Handle {
        let handle = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.open.write().insert(handle, OpenHandle { attr, opened });
        handle
    }

    /// The same for a rendered text. Fails with [`Kind::Stale`] while its inode is open with another text.
    pub(crate) fn insert_text(&self, attr: Attr, text: Vec<u8>) -> Result<Handle> {
        let mut texts = self.texts.write();
        let (attr, opened) = match texts.entry(attr.ino) {
            Slot::Occupied(mut held) => {
                let held = held.get_mut();
                if !held.opened.is_text(&text) {
                    return Err(Error::new(
                        Kind::Stale,
                        "it has changed; whoever has it open reads the old one",
                    ));
                }
                held.readers += 1;
                (held.attr.clone(), held.opened.clone())
            }
            Slot::Vacant(free) => {
                let opened = Arc::new(Opened::Text(text));
                free.insert(OpenText { attr: attr.clone(), opened: opened.clone(), readers: 1 });
                (attr, opened)
            }
        };
        Ok(self.insert_shared(attr, opened))
    }

    /// Returns the attributes of a rendered text that is open.
    pub(crate) fn text_attributes(&self, ino: Ino) -> Option<Attr> {
        self.texts.read().get(&ino).map(|held| held.attr.clone())
    }

    /// Returns true unless another text is open for this inode. `text` is called only if one is open.
    pub(crate) fn agree(&self, ino: Ino, text: impl FnOnce() -> Result<Vec<u8>>) -> Result<bool> {
        let held = self.texts.read().get(&ino).map(|held| held.opened.clone());
        held.map_or(Ok(true), |held| Ok(held.is_text(&text()?)))
    }

    pub(crate) fn get(&self, handle: Handle) -> Result<Arc<Opened>> {
        let found = self.open.read().get(&handle).map(|entry| entry.opened.clone());
        found.ok_or_else(|| Error::new(Kind::Os(libc::EBADF), "no such handle"))
    }

    /// Returns the attributes of something that is open.
    pub(crate) fn attributes(&self, ino: Ino) -> Option<Attr> {
        let open = self.open.read();
        open.values().map(|entry| &entry.attr).find(|attr| attr.ino == ino).cloned()
    }

    /// Returns the attributes of what a handle has opened, if they are its own and not those of its node.
    pub(crate) fn own_attributes(&self, handle: Handle) -> Option<Attr> {
        let open = self.open.read();
        let entry = open.get(&handle)?;
        let attr = entry.attr.clone();
        match &*entry.opened {
            Opened::Writing(writing) => {
                Some(Attr { mtime: writing.draft.mtime(), ..attr.of_size(writing.draft.size()) })
            }
            Opened::Text(_) => Some(attr),
            _ => None,
        }
    }

    /// Returns the handles that are being written.
    pub(crate) fn writing(&self) -> Vec<Handle> {
        let open = self.open.read();
        let is_writing = |entry: &OpenHandle| matches!(*entry.opened, Opened::Writing(_));
        open.iter().filter(|(_, entry)| is_writing(entry)).map(|(handle, _)| *handle).collect()
    }

    pub(crate) fn remove(&self, handle: Handle) {
        // Dropped outside the lock: closing files takes time.
        let mut texts = self.texts.write();
        let removed = self.open.write().remove(&handle);
        let mut last = None;
        if let Some(OpenHandle { attr, opened }) = &removed
            && let Slot::Occupied(mut held) = texts.entry(attr.ino)
            && Arc::ptr_eq(&held.get().opened, opened)
        {
            held.get_mut().readers -= 1;
            last = (held.get().readers == 0).then(|| held.remove());
        }
        drop(texts);
        drop((removed, last));
    }
}
