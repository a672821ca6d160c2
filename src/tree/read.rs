//! Opening files and directories, and reading from them.

use std::sync::Arc;
use std::time::Duration;

use super::attr::{Attr, Caching, DirEntry, Shape};
use super::handle::{Handle, Opened};
use super::ino::Ino;
use super::jobs;
use super::listing::Listing;
use super::node::{Dir, Node, Record};
use super::view::View;
use super::{OpenMode, Tree, decided_otherwise, export, later, not_a_directory};
use crate::artifact::members::MemberKind;
use crate::error::{Error, Kind, Result};
use crate::io::with_scratch;

impl Tree {
    /// Opens a file for reading.
    pub fn open(&self, ino: Ino) -> Result<(Handle, Caching)> {
        let node = self.node(ino)?;
        if let Node::Job(entry @ jobs::Entry::Draft(_)) = &node {
            return Ok((self.open_job(entry, OpenMode::default())?.0, Caching::Live));
        }
        let (opened, caching) = self.open_node(&node).inspect_err(|error| {
            // A file is another one than was looked at. The kernel asks once more for the name.
            if error.kind() == Kind::Stale
                && let Err(error) = self.look_again()
            {
                log::debug!("the store cannot be looked at: {error}");
            }
        })?;
        let (mut attr, _) = self.attributes(ino, &node)?;
        if let Opened::Text(text) = opened {
            attr = attr.of_size(text.len() as u64);
            if !node.is_rendered() {
                return Ok((self.handles.insert(attr, Opened::Text(text)), caching));
            }
            if ino != node.ino() && ino != later(node.ino(), &text) {
                return Err(Error::new(Kind::Stale, "it has changed"));
            }
            return Ok((self.handles.insert_text(attr, text)?, caching));
        }
        Ok((self.handles.insert(attr, opened), caching))
    }

    fn open_node(&self, node: &Node) -> Result<(Opened, Caching)> {
        use Caching::{Finished, Live};
        Ok(match node {
            Node::Dir(_) => return Err(Error::new(Kind::IsADirectory, "is a directory")),
            Node::Stored(file) => (Opened::stored(file)?, Finished),
            Node::Zip(export) => {
                let zip = export.open(&self.exports)?;
                (Opened::Zip { zip, export: export.clone() }, Finished)
            }
            Node::Incomplete(export) => {
                let text = export.gaps_text(&self.exports).ok_or_else(decided_otherwise)?;
                (Opened::Text(text.into_bytes()), Finished)
            }
            Node::Index(_) | Node::History(_) | Node::Job(_) => (Opened::Text(self.text(node)?), Live),
            Node::Member { export, id } => {
                let reader = export.open_member(&self.exports, *id)?;
                let label = match self.options.log_names {
                    true => export.members(&self.exports)?.path(*id)?,
                    false => format!("member {id}"),
                };
                (Opened::Member { reader, export: export.clone(), label }, Finished)
            }
        })
    }

    /// Reads from an open file: calls `take` once with `len` bytes, fewer only at its end, unless it fails.
    pub fn read(&self, handle: Handle, offset: u64, len: usize, take: &mut dyn FnMut(&[u8])) -> Result<()> {
        let opened = self.handles.get(handle)?;
        if let Opened::Writing(writing) = &*opened {
            let jobs = self.jobs()?;
            return with_scratch(len, |buf| {
                let (n, is_new) = jobs.read(writing, buf, offset)?;
                // Whoever is told of a run can look it up.
                self.look_again_if(is_new);
                take(&buf[..n]);
                Ok(())
            });
        }
        match opened.lend(offset, len, take) {
            Err(error) if error.kind() == Kind::Irregular => {
                // The file has another length than its beginning and end promised: it becomes another inode.
                if let Some(export) = opened.export() {
                    self.index_fully(export);
                }
                Err(Error::new(Kind::Stale, format!("{error}; it has been indexed and can be opened again")))
            }
            other => other,
        }
        .inspect_err(|error| opened.log_once(error))
    }

    fn index_fully(&self, export: &Arc<export::Export>) {
        let _one_at_a_time = self.refreshing.lock();
        let old = self.view();
        self.exports.sizes.forget(&export.digest());
        self.replace(&old, old.with_full_index(export));
    }

    pub fn release(&self, handle: Handle) {
        self.close_job(handle);
        self.handles.remove(handle);
    }

    /// Opens a directory.
    pub fn open_dir(&self, ino: Ino) -> Result<Handle> {
        let node = self.node(ino)?;
        let listing = match &node {
            Node::Dir(dir) => {
                self.notice();
                let jobs = if *dir == Dir::Jobs { self.jobs()?.list()? } else { Vec::new() };
                self.list(&self.view(), *dir, jobs)
            }
            Node::Member { export, id } => {
                let (members, id) = (export.members(&self.exports)?, *id);
                if members.kind(id)? != MemberKind::Directory {
                    return Err(not_a_directory());
                }
                Listing::of_members(export, members, id)?
            }
            _ => return Err(not_a_directory()),
        };
        let (attr, _) = self.attributes(ino, &node)?;
        Ok(self.handles.insert(attr, Opened::Dir(Arc::new(listing))))
    }

    /// Lists a directory of a view; `jobs` are what a view does not have.
    pub(super) fn list(&self, view: &View, dir: Dir, jobs: Vec<DirEntry>) -> Listing {
        let entries = view.list(dir);
        if dir == Dir::Artifacts
            && let [own, parent, table] = &entries[..]
        {
            self.named.tidy();
            let others = [own, parent, table].map(Clone::clone);
            let (exports, named) = (view.all_exports(), self.named.clone());
            return Listing::Artifacts { exports, others, named, held: Default::default() };
        }
        if jobs.is_empty() {
            return Listing::Fixed(entries);
        }
        Listing::Fixed(Arc::new(entries.iter().cloned().chain(jobs).collect()))
    }

    /// Returns what an open directory lists.
    pub fn listing(&self, handle: Handle) -> Result<Arc<Listing>> {
        match &*self.handles.get(handle)? {
            Opened::Dir(listing) => Ok(listing.clone()),
            _ => Err(not_a_directory()),
        }
    }

    /// Returns the attributes of an entry as far as they are known without work, and how long they hold.
    ///
    /// A size that is still to be worked out is given as 0 for no time at all, so that `ls` need not wait for it. The kernel
    /// cuts what it has cached of a file at the size that it is given: so this is only for files that it has nothing of.
    pub fn attributes_now(&self, listing: &Listing, entry: &DirEntry) -> Result<(Attr, Duration)> {
        let node = match listing {
            Listing::Fixed(_) => self.node(entry.ino)?,
            // It takes nothing but memory: what has gone is not looked for among the jobs.
            Listing::Artifacts { .. } | Listing::Members { .. } => {
                let gone = || Error::new(Kind::Stale, "the file has been replaced or has gone");
                self.view().node(entry.ino).ok_or_else(gone)?
            }
        };
        if let Some(attr) = listing.member_attr(entry) {
            let ttl = node.export().map_or(Duration::ZERO, |export| self.ttl(export));
            return Ok((Attr::new(entry.ino, &node, attr.into(), &self.options), ttl));
        }
        let known = match &node {
            Node::Dir(_) | Node::Stored(_) | Node::Member { .. } | Node::Job(_) => true,
            Node::Zip(export) | Node::Incomplete(export) | Node::History(Record::OfSet(export)) => {
                export.is_known(&self.exports)
            }
            Node::History(Record::OfRun(_)) => true,
            // Nothing of it is ever cached.
            Node::Index(_) => false,
        };
        if known {
            match (self.attributes(self.now(&node)?, &node), &node) {
                // It was listed before it was known not to be whole.
                (Err(error), Node::Zip(_)) if error.kind() == Kind::Stale => {}
                (found, _) => return found,
            }
        }
        let mtime = node.export().map_or_else(|| self.view().mtime(), |export| self.made(export));
        let shape = Shape { kind: entry.kind, size: 0, mtime };
        Ok((Attr::new(entry.ino, &node, shape, &self.options), Duration::ZERO))
    }
}
