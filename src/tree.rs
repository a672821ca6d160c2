//! What is where in the mount: names, inodes, attributes, handles. It knows neither FUSE nor the kernel.
//!
//! A [`View`] is the tree at one moment, made from a snapshot of the store. It is replaced as a whole when the store
//! changes; an inode of an older view is stale, but a handle that is open keeps what it has opened.

use parking_lot::{Mutex, RwLock};
use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::artifact::members::{self, MemberKind};
use crate::crypto::Identity;
use crate::error::{Error, Kind, Result};
use crate::io::with_scratch;
use crate::store::Store;
use crate::store::clock::Clock;
use crate::store::sizes::Sizes;

mod change;
mod export;
mod handle;
mod history;
mod index;
mod jobs;
mod listing;
mod node;
mod recent;
mod refresh;
mod sizer;
mod view;
mod xattr;

pub use crate::artifact::member::DEFAULT_CACHE;
pub use change::{Changes, OpenMode};
pub use handle::Handle;
use handle::Handles;
use jobs::Jobs;
pub use listing::{DirEntry, Listing};
pub use node::{Attr, Caching, Ino, NodeKind, ROOT};
use node::{Dir, Node, Record, Shape};
use recent::Recent;
pub use sizer::Sizer;
use view::View;

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
    /// Log lines say which member they are about by its name, not its number.
    pub log_names: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { uid: 0, gid: 0, umask: 0o022, read_only: false, cache: DEFAULT_CACHE, log_names: false }
    }
}

/// A name that the kernel should forget, because it now means something else or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    pub parent: Ino,
    pub name: String,
}

/// The mounted tree of one store.
pub struct Tree {
    store: Store,
    clock: Arc<dyn Clock>,
    options: Options,
    exports: export::Context,
    /// Of a managed store.
    jobs: Option<Jobs>,
    indexes: index::Kept,
    view: RwLock<Arc<View>>,
    handles: Handles,
    /// Held while a new view is made, so that they follow one another.
    refreshing: Mutex<()>,
    /// State of the catalogue that the view was made from.
    seen: Mutex<Seen>,
    when_names_go: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// What tells that a view is out of date.
#[derive(Default)]
struct Seen {
    changes: (u64, i64),
    epoch: i64,
    /// Names that have gone since the kernel was told last.
    gone: Vec<Gone>,
}

impl Tree {
    /// Looks at the store. `cache_dir` is where sizes are remembered.
    pub fn new(
        store: Store,
        identities: Arc<[Identity]>,
        cache_dir: Option<&Path>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<Tree> {
        let keys: Vec<[u8; 32]> = identities.iter().map(|identity| *identity.fingerprint()).collect();
        let exports = export::Context {
            identities,
            sizes: Sizes::load(cache_dir, store.dir(), &keys),
            recent: Recent::new(options.cache),
        };
        let view = View::new(store.snapshot(clock.now())?, None);
        Ok(Tree {
            jobs: store.managed().map(|store| Jobs::new(store.clone(), clock.clone())),
            store,
            clock,
            options,
            exports,
            view: RwLock::new(Arc::new(view)),
            handles: Handles::default(),
            refreshing: Mutex::new(()),
            seen: Mutex::default(),
            indexes: index::Kept::default(),
            when_names_go: OnceLock::new(),
        })
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns true if anything in the tree can be changed.
    pub fn is_writable(&self) -> bool {
        !self.options.read_only && self.store.managed().is_some_and(|store| !store.is_read_only())
    }

    fn view(&self) -> Arc<View> {
        self.view.read().clone()
    }

    /// Writes down the sizes that have been worked out.
    pub fn save_sizes(&self) -> Result<()> {
        // The background threads come by every second, and mostly in vain.
        if !self.exports.sizes.have_changed() {
            return Ok(());
        }
        self.exports.sizes.save(&self.view().digests())
    }

    fn node(&self, ino: Ino) -> Result<Node> {
        if let Some(node) = self.view().node(ino) {
            return Ok(node);
        }
        let of_jobs = self.jobs.as_ref().map(|jobs| jobs.by_ino(ino)).transpose()?.flatten();
        of_jobs
            .map(Node::Job)
            .ok_or_else(|| Error::new(Kind::Stale, "the file has been replaced or has gone"))
    }

    /// Finds a name; may have to open an export to know what it is.
    pub fn lookup(&self, parent: Ino, name: &OsStr) -> Result<(Attr, Duration)> {
        let node = self.find(parent, name)?;
        self.attributes(node.ino(), &node)
    }

    fn find(&self, parent: Ino, name: &OsStr) -> Result<Node> {
        let missing = || Error::new(Kind::NotFound, "no such name");
        let name = name.to_str().ok_or_else(missing)?;
        let found = match self.node(parent)? {
            Node::Dir(Dir::Jobs) => self.jobs()?.find(name)?.map(Node::Job),
            Node::Dir(dir) => {
                let before = self.view();
                before.lookup(dir, name, &self.exports).or_else(|| {
                    // Somebody else may have noticed the change in the meantime.
                    self.notice();
                    let now = self.view();
                    if Arc::ptr_eq(&before, &now) { None } else { now.lookup(dir, name, &self.exports) }
                })
            }
            Node::Member { export, id } => {
                let child = export.members(&self.exports)?.child(id, name)?;
                child.map(|id| Node::Member { export, id })
            }
            _ => return Err(not_a_directory()),
        };
        found.ok_or_else(missing)
    }

    /// Returns the attributes of a node, or of what a handle of it has opened.
    pub fn getattr(&self, ino: Ino, handle: Option<Handle>) -> Result<(Attr, Duration)> {
        if let Some(attr) = handle.and_then(|handle| self.handles.live(handle)) {
            return Ok((attr, Duration::ZERO));
        }
        match self.node(ino) {
            Ok(node) => self.attributes(ino, &node),
            // What has gone is still there for whoever has it open.
            Err(stale) => self.handles.attributes(ino).map(|attr| (attr, node::TTL_FINISHED)).ok_or(stale),
        }
    }

    /// Returns the attributes of a node, and how long they hold.
    fn attributes(&self, ino: Ino, node: &Node) -> Result<(Attr, Duration)> {
        let file = |size, mtime| Shape { kind: NodeKind::File, size, mtime };
        let directory = |mtime| Shape { kind: NodeKind::Directory, size: 0, mtime };
        let (shape, ttl) = match node {
            Node::Dir(Dir::Jobs) => (directory(self.jobs()?.changed()), Duration::ZERO),
            Node::Dir(_) => (directory(self.view().mtime()), node::TTL_CHANGING),
            Node::Job(entry) => {
                let (size, mtime) = self.jobs()?.size_and_mtime(entry)?;
                (file(size, mtime.unwrap_or_else(|| self.view().mtime())), Duration::ZERO)
            }
            Node::Stored(stored) => (file(stored.size, stored.mtime), self.ttl_until_next_expiry()),
            Node::Zip(export) => (file(export.zip_size(&self.exports)?, export.mtime()), self.ttl(export)),
            Node::Incomplete(export) => {
                let text = export.gaps_text(&self.exports).unwrap_or_default();
                (file(text.len() as u64, export.mtime()), node::TTL_CHANGING)
            }
            Node::History(record) => {
                let rendered = self.rendered(record)?;
                (file(rendered.text.len() as u64, rendered.mtime), rendered.ttl())
            }
            Node::Index(dir) => (file(self.index(*dir)?.len() as u64, self.view().mtime()), Duration::ZERO),
            // The root is there before anybody knows what is in it.
            Node::Member { export, id: members::ROOT } => (directory(export.mtime()), self.ttl(export)),
            Node::Member { export, id } => {
                (export.members(&self.exports)?.attr(*id)?.into(), self.ttl(export))
            }
        };
        let attr = Attr::new(ino, node, shape, &self.options);
        let is_root = matches!(node, Node::Dir(Dir::Root));
        Ok((if is_root { attr.of_directories(self.view().top().len()) } else { attr }, ttl))
    }

    fn jobs(&self) -> Result<&Jobs> {
        self.jobs.as_ref().ok_or_else(|| self.refusal())
    }

    fn rendered(&self, record: &Record) -> Result<history::Rendered> {
        history::render(record, &self.exports, &self.store, self.view().retention(), self.clock.now())
    }

    /// Returns how long the attributes of an export hold: to its end, at most.
    fn ttl(&self, export: &export::Export) -> Duration {
        match self.view().retention().expires(export.mtime()).filter(|_| self.store.managed().is_some()) {
            Some(at) => at.duration_since(self.clock.now()).unwrap_or_default().min(node::TTL_FINISHED),
            None => node::TTL_FINISHED,
        }
    }

    fn ttl_until_next_expiry(&self) -> Duration {
        match self.view().next_expiry() {
            Some(at) => at.duration_since(self.clock.now()).unwrap_or_default().min(node::TTL_FINISHED),
            None => node::TTL_FINISHED,
        }
    }

    /// Fails if the inode stands for nothing any more.
    pub fn exists(&self, ino: Ino) -> Result<()> {
        self.node(ino).map(drop)
    }

    /// Opens a file for reading.
    pub fn open(&self, ino: Ino) -> Result<(Handle, Caching)> {
        let node = self.node(ino)?;
        if let Node::Job(entry @ jobs::Entry::Draft(_)) = &node {
            return Ok((self.open_job(entry, OpenMode::default())?.0, Caching::Live));
        }
        let (opened, caching) = self.open_node(&node)?;
        let (mut attr, _) = self.attributes(ino, &node)?;
        if let handle::Opened::Text(text) = &opened {
            attr = attr.of_size(text.len() as u64);
        }
        Ok((self.handles.insert(attr, opened, caching == Caching::Live), caching))
    }

    fn open_node(&self, node: &Node) -> Result<(handle::Opened, Caching)> {
        use Caching::{Finished, Snapshot};
        Ok(match node {
            Node::Dir(_) => return Err(Error::new(Kind::IsADirectory, "is a directory")),
            Node::Stored(file) => (handle::Opened::stored(file)?, Finished),
            Node::Zip(export) => {
                let zip = export.open(&self.exports)?;
                (handle::Opened::Zip { zip, export: export.clone() }, Finished)
            }
            Node::Incomplete(export) => {
                let text = export.gaps_text(&self.exports).unwrap_or_default();
                (handle::Opened::text(text), Snapshot)
            }
            Node::Index(dir) => (handle::Opened::text(self.index(*dir)?.to_string()), Caching::Live),
            Node::History(record) => {
                let rendered = self.rendered(record)?;
                let caching = if rendered.is_live { Caching::Live } else { Snapshot };
                (handle::Opened::text(rendered.text), caching)
            }
            Node::Job(entry) => (handle::Opened::Text(self.jobs()?.text(entry)?), Caching::Live),
            Node::Member { export, id } => {
                let reader = export.open_member(&self.exports, *id)?;
                let label = match self.options.log_names {
                    true => export.members(&self.exports)?.path(*id)?,
                    false => format!("member {id}"),
                };
                (handle::Opened::Member { reader, export: export.clone(), label }, Finished)
            }
        })
    }

    /// Returns where a symbolic link inside a zip leads. Nothing here follows it.
    pub fn readlink(&self, ino: Ino) -> Result<Vec<u8>> {
        let no_link = || Error::new(Kind::Invalid, "no symbolic link");
        let Node::Member { export, id } = self.node(ino)? else { return Err(no_link()) };
        if export.members(&self.exports)?.kind(id)? != MemberKind::Link {
            return Err(no_link());
        }
        let target = export.open_member(&self.exports, id)?;
        target.read_vec(0, target.len() as usize)
    }

    /// Reads from an open file: calls `take` once with `len` bytes, fewer only at its end, unless it fails.
    pub fn read(&self, handle: Handle, offset: u64, len: usize, take: &mut dyn FnMut(&[u8])) -> Result<()> {
        let opened = self.handles.get(handle)?;
        if let handle::Opened::Writing(writing) = &*opened {
            let jobs = self.jobs()?;
            return with_scratch(len, |buf| {
                let read = jobs.read(writing, buf, offset);
                // Whoever is told of a run can look it up.
                self.look_again_after_jobs();
                read.map(|n| take(&buf[..n]))
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
                let mut entries = self.view().list(*dir);
                if *dir == Dir::Jobs {
                    entries.extend(self.jobs()?.list()?);
                }
                Listing::Fixed(entries)
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
        Ok(self.handles.insert(attr, handle::Opened::Dir(Arc::new(listing)), false))
    }

    /// Returns what an open directory lists.
    pub fn listing(&self, handle: Handle) -> Result<Arc<Listing>> {
        match &*self.handles.get(handle)? {
            handle::Opened::Dir(listing) => Ok(listing.clone()),
            _ => Err(not_a_directory()),
        }
    }

    /// Returns the attributes of an entry as far as they are known without work, and how long they hold.
    ///
    /// A size that is still to be worked out is given as 0 for no time at all, so that `ls` need not wait for it. The kernel
    /// cuts what it has cached of a file at the size that it is given: so this is only for files that it has nothing of.
    pub fn attributes_now(&self, listing: &Listing, entry: &DirEntry) -> Result<(Attr, Duration)> {
        let node = self.node(entry.ino)?;
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
            return self.attributes(entry.ino, &node);
        }
        let mtime = node.export().map_or_else(|| self.view().mtime(), |export| export.mtime());
        let shape = Shape { kind: entry.kind, size: 0, mtime };
        Ok((Attr::new(entry.ino, &node, shape, &self.options), Duration::ZERO))
    }

    /// Fails for names of extended attributes that no node has.
    pub fn check_xattr_name(name: &OsStr) -> Result<()> {
        xattr::check_name(name)
    }

    /// Returns the value of an extended attribute.
    pub fn xattr(&self, ino: Ino, name: &OsStr) -> Result<Vec<u8>> {
        let node = self.node(ino)?;
        let asked = xattr::Asked {
            context: &self.exports,
            store: &self.store,
            retention: self.view().retention(),
            now: self.clock.now(),
        };
        xattr::get(&node, name, &asked)?
            .ok_or_else(|| Error::new(Kind::NoAttribute, "no such extended attribute"))
    }

    /// Returns the names of all extended attributes, each closed by a NUL.
    pub fn xattr_names(&self, ino: Ino) -> Result<Vec<u8>> {
        Ok(xattr::list(&self.node(ino)?, &self.exports, self.store.managed().is_some()))
    }
}

fn not_a_directory() -> Error {
    Error::new(Kind::NotADirectory, "not a directory")
}
