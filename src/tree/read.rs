//! Opening files and directories, and reading from them.

use std::sync::Arc;
use std::time::Duration;

use super::attr::{Attr, Caching, DirEntry, Shape};
use super::handle::{Handle, Opened};
use super::ino::Ino;
use super::listing::DirListing;
use super::needs::{Needs, Place, Question};
use super::node::{not_a_directory, stale};
use super::{Tree, later_ino};
use crate::error::{Error, Kind, Result};
use crate::io::with_scratch;

impl Tree {
    /// Opens a file for reading.
    pub fn open(&self, ino: Ino) -> Result<(Handle, Caching)> {
        let scope = self.scope();
        let node = self.node(&scope, ino)?;
        let (opened, caching) = node.open(&scope).inspect_err(|error| {
            // A file of the store was replaced since the last look. After ESTALE the kernel looks the name up again.
            if error.kind() == Kind::Stale
                && let Err(error) = self.views.look_again()
            {
                log::debug!("the store cannot be looked at: {error}");
            }
        })?;
        let (mut attr, _) = self.attributes(&scope, ino, &*node)?;
        let Opened::Text(text) = opened else { return Ok((self.handles.insert(attr, opened), caching)) };
        attr = attr.of_size(text.len() as u64);
        if !node.is_rendered() {
            return Ok((self.handles.insert(attr, Opened::Text(text)), caching));
        }
        if ino != node.ino() && ino != later_ino(node.ino(), &text) {
            return Err(Error::new(Kind::Stale, "it has changed"));
        }
        Ok((self.handles.insert_text(attr, text)?, caching))
    }

    /// Reads from an open file: calls `take` once with `len` bytes, fewer only at the end of the file, unless reading
    /// fails.
    pub fn read(&self, handle: Handle, offset: u64, len: usize, take: &mut dyn FnMut(&[u8])) -> Result<()> {
        let opened = self.handles.get(handle)?;
        if let Opened::Writing(writing) = &*opened {
            let jobs = self.jobs()?;
            return with_scratch(len, |buf| {
                let (n, is_new) = jobs.read(writing, buf, offset)?;
                // Whoever reads the id of a run can look it up at once.
                self.look_again_if(is_new);
                take(&buf[..n]);
                Ok(())
            });
        }
        match opened.lend(offset, len, take) {
            Err(error) if error.kind() == Kind::Irregular => {
                // The file is less regular than its beginning and end promised: it becomes another inode.
                if let Some(set) = opened.set() {
                    self.views.index_fully(set);
                }
                Err(Error::new(Kind::Stale, format!("{error}; it has been indexed and can be opened again")))
            }
            other => other,
        }
        .inspect_err(|error| opened.log_once(error))
    }

    pub fn release(&self, handle: Handle) {
        self.close_job(handle);
        self.handles.remove(handle);
    }

    /// Opens a directory.
    pub fn opendir(&self, ino: Ino) -> Result<Handle> {
        let mut scope = self.scope();
        let node = self.node(&scope, ino)?;
        if node.needs(&scope, Question::List) == Needs::Store(Place::Catalogue) {
            self.views.notice();
            scope = self.scope();
        }
        let listing = node.list(&scope)?;
        let (attr, _) = self.attributes(&scope, ino, &*node)?;
        Ok(self.handles.insert(attr, Opened::Dir(Arc::new(listing))))
    }

    /// Returns what an open directory lists.
    pub fn listing(&self, handle: Handle) -> Result<Arc<DirListing>> {
        match &*self.handles.get(handle)? {
            Opened::Dir(listing) => Ok(listing.clone()),
            _ => Err(not_a_directory()),
        }
    }

    /// Returns the attributes of an entry as far as they are known without work, and how long they hold.
    ///
    /// A size that is still to be worked out is given as 0 and not to be cached, so that `ls` need not wait for it. The
    /// kernel cuts off its cache of a file at the size that it is given, so this is only for files of which it has
    /// nothing.
    pub(crate) fn attributes_now(&self, listing: &DirListing, entry: &DirEntry) -> Result<(Attr, Duration)> {
        let scope = self.scope();
        if let Some((shape, ttl)) = listing.attributes(&scope, entry) {
            // An entry that has gone since is left out.
            self.root.node(&scope.view, entry.ino).ok_or_else(stale)?;
            return Ok((self.attr(entry.ino, shape), ttl));
        }
        let node = match listing.needs {
            // An entry that has gone is not looked for elsewhere.
            Needs::Memory => self.root.node(&scope.view, entry.ino).ok_or_else(stale)?,
            Needs::Store(_) => self.node(&scope, entry.ino)?,
        };
        if node.is_listed_with_attributes(&scope) {
            match self.attributes(&scope, self.current_ino(&scope, &node)?, &*node) {
                // The set was listed before it was known what it is.
                Err(error) if error.kind() == Kind::Stale && node.set().is_some() => {}
                found => return found,
            }
        }
        let mtime = node.set().map_or(scope.view.mtime, |set| scope.made(set));
        Ok((self.attr(entry.ino, Shape::new(entry.kind, 0, mtime)), Duration::ZERO))
    }

    /// Shows new runs at once. A failure is only logged: they are handed in nevertheless.
    pub(super) fn look_again_if(&self, is_new: bool) {
        if is_new && let Err(error) = self.views.look_again() {
            log::warn!("the store cannot be looked at: {error}");
        }
    }
}
