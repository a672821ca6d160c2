//! What is where in the mount: names, inodes, attributes, handles. It knows neither FUSE nor the kernel.
//!
//! A [`View`] is the tree at one moment, made from a snapshot of the store. It is replaced as a whole when the store
//! changes; an inode of an older view is stale, but a handle that is open keeps what it has opened.

use parking_lot::{Mutex, RwLock};
use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use crate::artifact::members::{self, MemberKind};
use crate::crypto::Identity;
use crate::error::{Error, Kind, Result};
use crate::io::{Cancel, Lru};
use crate::store::Store;
use crate::store::clock::Clock;
use crate::store::sizes::Sizes;

mod attr;
mod change;
mod export;
mod handle;
mod history;
mod index;
mod ino;
mod jobs;
mod listing;
mod needs;
mod node;
mod read;
mod recent;
mod refresh;
mod sizer;
mod view;
mod xattr;

pub use crate::artifact::member::DEFAULT_CACHE;
pub use attr::{Attr, Caching, DirEntry, NodeKind};
use attr::{Shape, TTL_CHANGING, TTL_FINISHED};
pub use change::{Changes, OpenMode};
pub use handle::Handle;
use handle::Handles;
pub use ino::{Ino, ROOT};
use jobs::Jobs;
pub use listing::Listing;
use listing::Named;
pub use needs::{Asked, Needs, Place, no_answer};
use node::{Dir, Node, Record};
use recent::Recent;
use refresh::Seen;
pub use sizer::Sizer;
use view::View;

/// Texts that have come after one that is still open; handles know those that are open themselves.
const MAX_LATER: usize = 4096;

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
    seen: Mutex<Seen>,
    /// Names that have gone since the kernel was told last.
    gone: Mutex<Vec<Gone>>,
    /// Raised when nobody asks any more: what is still being read then fails.
    stop: Cancel,
    /// See [`Tree::now`].
    later: Lru<Ino, Node>,
    named: Arc<Named>,
    when_names_go: OnceLock<Box<dyn Fn() + Send + Sync>>,
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
            sizes: Sizes::load(cache_dir, store.place(), &keys),
            recent: Recent::new(options.cache),
        };
        let (stop, seen) = (Cancel::new(), Seen::now(&store, &*clock)?);
        let view = View::new(store.snapshot(clock.now(), &stop)?, None);
        view.tell_refused(None);
        Ok(Tree {
            jobs: store.managed().map(|store| Jobs::new(store.clone(), clock.clone())),
            store,
            clock,
            options,
            exports,
            view: RwLock::new(Arc::new(view)),
            handles: Handles::default(),
            refreshing: Mutex::new(()),
            seen: Mutex::new(seen),
            gone: Mutex::default(),
            stop,
            indexes: index::Kept::default(),
            later: Lru::new(MAX_LATER),
            named: Arc::default(),
            when_names_go: OnceLock::new(),
        })
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Has everything end soon that still reads files of the store. It is for whoever ends the mount, once it is gone.
    pub fn stop(&self) {
        self.stop.cancel();
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
        if let Some(node) = self.later.get(&ino) {
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
        self.attributes(self.now(&node)?, &node)
    }

    /// Returns the inode number of what a name means now.
    ///
    /// The kernel has one size for all handles of an inode. So while somebody has a text open that has changed since, the
    /// new one is another inode.
    fn now(&self, node: &Node) -> Result<Ino> {
        let ino = node.ino();
        if !node.is_rendered() || self.handles.agree(ino, || self.text(node))? {
            return Ok(ino);
        }
        let later = later(ino, &self.text(node)?);
        self.later.insert(later, node.clone(), 1);
        Ok(later)
    }

    fn find(&self, parent: Ino, name: &OsStr) -> Result<Node> {
        let missing = || Error::new(Kind::NotFound, "no such name");
        let name = name.to_str().ok_or_else(missing)?;
        let found = match self.node(parent)? {
            Node::Dir(Dir::Jobs) => self.jobs()?.find(name)?.map(Node::Job),
            Node::Dir(dir) => {
                let before = self.view();
                if dir == Dir::Artifacts && before.takes_work(name) {
                    self.named.has_waited();
                }
                before.lookup(dir, name, &self.exports).or_else(|| {
                    // Somebody else may have noticed the change in the meantime.
                    self.notice();
                    let now = self.view();
                    let found =
                        if Arc::ptr_eq(&before, &now) { None } else { now.lookup(dir, name, &self.exports) };
                    found.or_else(|| self.find_named(dir, name))
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

    /// Finds a set that was listed as a zip, and is none.
    fn find_named(&self, dir: Dir, name: &str) -> Option<Node> {
        let stem = name.strip_suffix(".zip").filter(|_| dir == Dir::Artifacts)?;
        self.view().export(stem).filter(|export| self.named.is_held(export)).cloned().map(Node::Incomplete)
    }

    /// Returns the attributes of a node, or of what a handle of it has opened.
    pub fn getattr(&self, ino: Ino, handle: Option<Handle>) -> Result<(Attr, Duration)> {
        let own = handle.and_then(|handle| self.handles.own_attributes(handle));
        if let Some(attr) = own.or_else(|| self.handles.text_attributes(ino)) {
            return Ok((attr, Duration::ZERO));
        }
        match self.node(ino) {
            Ok(node) => self.attributes(ino, &node),
            // What has gone is still there for whoever has it open.
            Err(stale) => self.handles.attributes(ino).map(|attr| (attr, TTL_FINISHED)).ok_or(stale),
        }
    }

    /// Returns the attributes of a node, and how long they hold.
    fn attributes(&self, ino: Ino, node: &Node) -> Result<(Attr, Duration)> {
        let file = |size, mtime| Shape { kind: NodeKind::File, size, mtime };
        let directory = |mtime| Shape { kind: NodeKind::Directory, size: 0, mtime };
        let (shape, ttl) = match node {
            Node::Dir(Dir::Jobs) => (directory(self.jobs()?.changed()), Duration::ZERO),
            Node::Dir(_) => (directory(self.view().mtime()), TTL_CHANGING),
            Node::Job(entry) => {
                let (size, mtime) = self.jobs()?.size_and_mtime(entry)?;
                (file(size, mtime.unwrap_or_else(|| self.view().mtime())), Duration::ZERO)
            }
            Node::Stored(stored) => (file(stored.size(), stored.mtime), self.ttl_until_next_expiry()),
            Node::Zip(export) => {
                let size = export.zip_size(&self.exports)?;
                (file(size, self.made(export)), self.ttl(export))
            }
            Node::Incomplete(export) => {
                let text = export.gaps_text(&self.exports).ok_or_else(decided_otherwise)?;
                (file(text.len() as u64, self.made(export)), TTL_CHANGING)
            }
            Node::History(record) => {
                let rendered = self.rendered(record)?;
                (file(rendered.text.len() as u64, rendered.mtime), rendered.ttl())
            }
            Node::Index(dir) => (file(self.index(*dir)?.len() as u64, self.view().mtime()), Duration::ZERO),
            // The root is there before anybody knows what is in it.
            Node::Member { export, id: members::ROOT } => {
                let known = export.is_known(&self.exports);
                (directory(self.made(export)), if known { self.ttl(export) } else { TTL_CHANGING })
            }
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

    /// Renders a text.
    fn text(&self, node: &Node) -> Result<Vec<u8>> {
        match node {
            Node::History(record) => Ok(self.rendered(record)?.text.into_bytes()),
            Node::Index(dir) => Ok(self.index(*dir)?.as_bytes().to_vec()),
            Node::Job(entry) => self.jobs()?.text(entry),
            _ => Err(Error::new(Kind::Invalid, "it is no text")),
        }
    }

    /// Returns when an export was made, as far as that is known.
    fn made(&self, export: &export::Export) -> SystemTime {
        export.made(&self.exports, self.clock.now()).at
    }

    /// Returns how long the attributes of an export hold: to its end, at most.
    fn ttl(&self, export: &export::Export) -> Duration {
        match self.view().retention().expires(export.set().made).filter(|_| self.store.managed().is_some()) {
            Some(at) => at.duration_since(self.clock.now()).unwrap_or_default().min(TTL_FINISHED),
            None => TTL_FINISHED,
        }
    }

    fn ttl_until_next_expiry(&self) -> Duration {
        match self.view().next_expiry() {
            Some(at) => at.duration_since(self.clock.now()).unwrap_or_default().min(TTL_FINISHED),
            None => TTL_FINISHED,
        }
    }

    /// Fails if the inode stands for nothing any more.
    pub fn exists(&self, ino: Ino) -> Result<()> {
        self.node(ino).map(drop)
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
        Ok(xattr::list(&self.node(ino)?, &self.exports, self.store.managed().is_some(), self.clock.now()))
    }
}

/// Returns the inode number of a text that came while another one of that number was open.
fn later(ino: Ino, text: &[u8]) -> Ino {
    ino::hash_number(&[b"later\0", &ino.to_le_bytes(), text])
}

/// For whoever thought that a set lacks parts.
fn decided_otherwise() -> Error {
    Error::new(Kind::Stale, "the set is not incomplete")
}

fn not_a_directory() -> Error {
    Error::new(Kind::NotADirectory, "not a directory")
}
