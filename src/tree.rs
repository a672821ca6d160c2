//! What is where in the mount: names, inodes, attributes, handles. Knows neither FUSE nor the kernel.
//!
//! A `view::View` is the store at one moment. It is replaced as a whole when the store changes: an inode that only an
//! older view has is stale, but an open handle keeps what it has opened. Each directory of the root is a module that
//! knows what is in it (`directory::Directory`, `node::Node`); the tree has the handles, and passes questions on.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::crypto::Identity;
use crate::error::Result;
use crate::io::{Cancel, Lru};
use crate::record::Record;
use crate::store::Store;
use crate::store::catalogue::Revision;
use crate::store::clock::Clock;
use crate::store::parts::Space;
use crate::store::sizes::SizeCache;
use crate::store::watch::Watch;

mod artifacts;
mod attr;
mod by_title;
mod change;
mod contents;
mod context;
mod directory;
mod encrypted;
mod handle;
mod history;
mod index_file;
mod ino;
mod inode_table;
mod jobs;
mod known;
mod listing;
mod needs;
mod node;
mod read;
mod recent;
mod scope;
mod shown;
mod sizer;
mod view;
mod views;
mod xattr;

pub(crate) use crate::artifact::member::DEFAULT_CACHE;
use attr::Shape;
pub use attr::{Attr, Caching, DirEntry, NodeKind};
pub(crate) use change::{Changes, OpenMode};
use context::Context;
pub use context::Options;
use directory::{Directory, Root};
pub(crate) use handle::Handle;
use handle::Handles;
pub use ino::{Ino, ROOT};
use jobs::JobFiles;
pub(crate) use listing::DirListing;
pub(crate) use needs::{Needs, Place, Question, no_answer};
use node::{Node, missing, stale};
use recent::Recent;
use scope::Scope;
pub(crate) use sizer::Sizer;
pub(crate) use views::GoneName;
use views::Views;

/// Nodes of texts that changed while an older one was open, kept by their inode numbers ([`Tree::current_ino`]).
const MAX_LATER: usize = 4096;

/// The mounted tree of one store.
pub struct Tree {
    context: Arc<Context>,
    root: Arc<Root>,
    /// Of a managed store.
    jobs: Option<Arc<JobFiles>>,
    views: Views,
    handles: Handles,
    /// See [`Tree::current_ino`].
    later_texts: Lru<Ino, Arc<dyn Node>>,
}

/// The directories of the root, in their order.
fn directories(jobs: Option<&Arc<JobFiles>>) -> Vec<Arc<dyn Directory>> {
    let all: [Option<Arc<dyn Directory>>; _] = [
        Some(Arc::new(artifacts::ArtifactsDirectory::new())),
        Some(Arc::new(by_title::ByTitleDirectory::default())),
        Some(Arc::new(contents::ContentsDirectory)),
        Some(Arc::new(encrypted::EncryptedDirectory)),
        Some(Arc::new(history::HistoryDirectory::new())),
        jobs.map(|jobs| Arc::new(jobs::directory::JobsDirectory(jobs.clone())) as Arc<dyn Directory>),
    ];
    all.into_iter().flatten().collect()
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
        let context = Arc::new(Context {
            identities,
            sizes: SizeCache::load(cache_dir, store.place(), &keys),
            recent: Recent::new(options.cache),
            stop: Cancel::new(),
            store,
            clock,
            options,
        });
        let jobs =
            context.managed().map(|store| Arc::new(JobFiles::new(store.clone(), context.clock.clone())));
        let root = Arc::new(Root(directories(jobs.as_ref())));
        Ok(Tree {
            views: Views::new(context.clone(), root.clone())?,
            context,
            root,
            jobs,
            handles: Handles::default(),
            later_texts: Lru::new(MAX_LATER),
        })
    }

    /// Calls `changed` soon after something has changed among the encrypted files.
    pub(crate) fn watch(&self, changed: Box<dyn FnMut() + Send>) -> Result<Watch> {
        self.context.store.parts().watch(changed)
    }

    /// Returns how often to ask for [`Tree::refresh_if_changed`]; `None` for a store without a catalogue, which may change
    /// what is shown.
    pub(crate) fn pace(&self) -> Option<Duration> {
        self.context.managed().map(|store| store.catalogue.pace())
    }

    /// Returns the state of the catalogue, if there is one.
    pub(crate) fn revision(&self) -> Result<Option<Revision>> {
        self.context.revision()
    }

    /// Returns how full the filesystem of the store is.
    pub(crate) fn statfs(&self) -> Result<Space> {
        self.context.store.parts().space()
    }

    /// Has everything end soon that still reads files of the store. To be called when the mount has gone.
    pub fn stop(&self) {
        self.context.stop.cancel();
    }

    /// Returns true if anything in the tree can be changed.
    pub(crate) fn is_writable(&self) -> bool {
        self.context.is_writable()
    }

    /// Writes down the sizes that have been worked out.
    pub fn save_sizes(&self) -> Result<()> {
        // Background threads call this often, mostly with nothing to save.
        if !self.context.sizes.have_changed() {
            return Ok(());
        }
        self.context.sizes.save(&self.views.now().digests())
    }

    /// Returns all records as they are now, the latest first.
    pub(crate) fn records(&self) -> Result<Vec<Record>> {
        history::records(&self.scope())
    }

    /// Returns the records of everything that has an artifact, in any order.
    pub(crate) fn artifacts(&self) -> Result<Vec<Record>> {
        artifacts::records(&self.scope())
    }

    /// Looks at the store again; returns the names that the kernel must not believe any more.
    pub(crate) fn refresh(&self) -> Result<Vec<GoneName>> {
        self.views.look_again()?;
        Ok(self.views.take_gone())
    }

    /// The same, if the catalogue or the clock has changed or something has expired since the last time; `None` if not.
    pub fn refresh_if_changed(&self) -> Result<Option<Vec<GoneName>>> {
        let looked = self.views.look_again_if_changed()?;
        Ok(Some(self.views.take_gone()).filter(|gone| looked || !gone.is_empty()))
    }

    /// Sets, once, what is called when there are names that the kernel is to be told of ([`Tree::refresh_if_changed`]).
    /// The request that deletes something cannot tell the kernel: until it is answered, the kernel locks the directory.
    pub(crate) fn when_names_go(&self, tell: impl Fn() + Send + Sync + 'static) {
        self.views.when_names_go(tell);
    }

    fn scope(&self) -> Scope {
        Scope { context: self.context.clone(), view: self.views.now() }
    }

    fn attr(&self, ino: Ino, shape: Shape) -> Attr {
        Attr::new(ino, shape, &self.context.options)
    }

    fn node(&self, scope: &Scope, ino: Ino) -> Result<Arc<dyn Node>> {
        if let Some(node) = self.root.node(&scope.view, ino).or_else(|| self.later_texts.get(&ino)) {
            return Ok(node);
        }
        self.root.by_ino(ino)?.ok_or_else(stale)
    }

    /// Finds a name; may have to open an export to know what it is.
    pub fn lookup(&self, parent: Ino, name: &OsStr) -> Result<(Attr, Duration)> {
        let (node, scope) = self.find(parent, name)?;
        self.attributes(&scope, self.current_ino(&scope, &node)?, &*node)
    }

    /// Returns the inode number of what a name means now.
    ///
    /// The kernel has one size for all handles of an inode. So if a text has changed that somebody still has open, the
    /// new one gets another inode.
    fn current_ino(&self, scope: &Scope, node: &Arc<dyn Node>) -> Result<Ino> {
        let ino = node.ino();
        if !node.is_rendered() || self.handles.agree(ino, || node.text(scope))? {
            return Ok(ino);
        }
        let later = later_ino(ino, &node.text(scope)?);
        self.later_texts.insert(later, node.clone(), 1);
        Ok(later)
    }

    fn find(&self, parent: Ino, name: &OsStr) -> Result<(Arc<dyn Node>, Scope)> {
        let name = name.to_str().ok_or_else(missing)?;
        let scope = self.scope();
        let directory = self.node(&scope, parent)?;
        if let Some(found) = directory.find(&scope, name)? {
            return Ok((found, scope));
        }
        // Another thread may have replaced the view meanwhile, so the views are compared.
        self.views.notice();
        let now = self.scope();
        if Arc::ptr_eq(&scope.view, &now.view) {
            return Err(missing());
        }
        let found = directory.find(&now, name)?.ok_or_else(missing)?;
        Ok((found, now))
    }

    /// Returns the attributes of a node, or of what a handle of it has opened.
    pub(crate) fn getattr(&self, ino: Ino, handle: Option<Handle>) -> Result<(Attr, Duration)> {
        let own = handle.and_then(|handle| self.handles.own_attributes(handle));
        if let Some(attr) = own.or_else(|| self.handles.text_attributes(ino)) {
            return Ok((attr, Duration::ZERO));
        }
        let scope = self.scope();
        match self.node(&scope, ino) {
            Ok(node) => self.attributes(&scope, ino, &*node),
            // A node that has gone is still there for those who have it open.
            Err(stale) => self.handles.attributes(ino).map(|attr| (attr, attr::TTL_FINISHED)).ok_or(stale),
        }
    }

    /// Returns the attributes of a node, and how long they hold.
    fn attributes(&self, scope: &Scope, ino: Ino, node: &dyn Node) -> Result<(Attr, Duration)> {
        let (shape, ttl) = node.attributes(scope)?;
        Ok((self.attr(ino, shape), ttl))
    }

    /// Fails if the inode stands for nothing any more.
    pub(crate) fn exists(&self, ino: Ino) -> Result<()> {
        self.node(&self.scope(), ino).map(drop)
    }

    /// Returns where a symbolic link leads.
    pub(crate) fn readlink(&self, ino: Ino) -> Result<Vec<u8>> {
        let scope = self.scope();
        self.node(&scope, ino)?.readlink(&scope)
    }

    /// Fails for names of extended attributes that no node has.
    pub(crate) fn check_xattr_name(name: &OsStr) -> Result<()> {
        xattr::check_name(name)
    }

    /// Returns the value of an extended attribute.
    pub(crate) fn getxattr(&self, ino: Ino, name: &OsStr) -> Result<Vec<u8>> {
        let scope = self.scope();
        let node = self.node(&scope, ino)?;
        let name = xattr::bare(name).ok_or_else(xattr::no_attribute)?;
        node.xattr(&scope, name)?.ok_or_else(xattr::no_attribute)
    }

    /// Returns the names of all extended attributes, each closed by a NUL.
    pub(crate) fn listxattr(&self, ino: Ino) -> Result<Vec<u8>> {
        let scope = self.scope();
        Ok(xattr::list(&self.node(&scope, ino)?.xattr_names(&scope)))
    }
}

/// Returns the inode number of a text that came while another one of that number was open.
fn later_ino(ino: Ino, text: &[u8]) -> Ino {
    ino::hash_number(&[b"later\0", &ino.to_le_bytes(), text])
}
