//! The root and the directories in it. Each is one module, which alone knows what is in it.

use std::sync::Arc;
use std::time::Duration;

use super::attr::{Caching, DirEntry, NodeKind, Shape, TTL_CHANGING};
use super::handle::Opened;
use super::ino::{Ino, ROOT, hash_number};
use super::inode_table::{InodeTable, NodeKey};
use super::listing::DirListing;
use super::needs::{Needs, Question};
use super::node::{Node, is_a_directory};
use super::scope::Scope;
use super::view::View;
use crate::error::Result;

pub(crate) trait Directory: Send + Sync {
    fn name(&self) -> &'static str;

    fn attributes(&self, scope: &Scope) -> (Shape, Duration) {
        (Shape::directory(scope.view.mtime, 2), TTL_CHANGING)
    }

    /// Adds the inode numbers of what is in it, each with the kind and number by which [`Directory::node`] knows it.
    fn inodes(&self, _: &View, _add: &mut dyn FnMut(Ino, u8, usize)) {}

    /// Returns the node that the inode table of the view has at this kind and number; `inside` is the number of a node
    /// below that, or 0.
    fn node(&self, _: &View, _kind: u8, _at: usize, _inside: u32) -> Option<Arc<dyn Node>> {
        None
    }

    /// Finds a node that the inode table does not have.
    fn by_ino(&self, _: Ino) -> Result<Option<Arc<dyn Node>>> {
        Ok(None)
    }

    /// See [`Node::find`].
    fn find(&self, scope: &Scope, name: &str) -> Result<Option<Arc<dyn Node>>>;

    /// Returns what it takes to find a name. By default it is found here, which must be no work.
    fn needs_of_name(&self, scope: &Scope, name: &str) -> Needs {
        needs_by_finding(self, scope, name)
    }

    fn list(&self, scope: &Scope) -> Result<DirListing>;

    /// See [`Node::list_as_known`].
    fn list_as_known(&self, scope: &Scope) -> Result<DirListing> {
        self.list(scope)
    }

    /// Returns the names that mean something else, or nothing, in the next view.
    fn names_gone(&self, _: &View, _next: &View) -> Vec<String> {
        Vec::new()
    }
}

/// Returns what it takes to answer for a name, by finding it.
pub(crate) fn needs_by_finding(directory: &(impl Directory + ?Sized), scope: &Scope, name: &str) -> Needs {
    match directory.find(scope, name) {
        Ok(Some(node)) => node.needs(scope, Question::Attributes),
        // The name may be new.
        _ => scope.context.needs_catalogue(),
    }
}

/// Returns the inode number of a directory of the root by its name; the name of the root itself is empty.
pub(crate) fn ino_of(name: &str) -> Ino {
    if name.is_empty() { ROOT } else { hash_number(&[b"dir\0", name.as_bytes()]) }
}

/// The root, or a directory in it, as a node.
struct DirectoryNode(Arc<dyn Directory>);

impl Node for DirectoryNode {
    fn ino(&self) -> Ino {
        ino_of(self.0.name())
    }

    fn attributes(&self, scope: &Scope) -> Result<(Shape, Duration)> {
        Ok(self.0.attributes(scope))
    }

    fn needs(&self, scope: &Scope, asked: Question) -> Needs {
        if asked == Question::List { scope.context.needs_catalogue() } else { Needs::Memory }
    }

    fn open(&self, _: &Scope) -> Result<(Opened, Caching)> {
        Err(is_a_directory())
    }

    fn find(&self, scope: &Scope, name: &str) -> Result<Option<Arc<dyn Node>>> {
        self.0.find(scope, name)
    }

    fn needs_of_name(&self, scope: &Scope, name: &str) -> Needs {
        self.0.needs_of_name(scope, name)
    }

    fn list(&self, scope: &Scope) -> Result<DirListing> {
        self.0.list(scope)
    }

    fn list_as_known(&self, scope: &Scope) -> Result<DirListing> {
        self.0.list_as_known(scope)
    }

    fn unlink(&self, _: &Scope) -> Result<()> {
        Err(is_a_directory())
    }
}

/// Kind of the directories themselves in the inode table.
const TOP: u8 = u8::MAX;

pub(crate) struct Root(pub Vec<Arc<dyn Directory>>);

impl Root {
    fn top(&self, i: usize) -> Option<Arc<dyn Node>> {
        Some(Arc::new(DirectoryNode(self.0.get(i)?.clone())))
    }

    /// Returns true for the root and the directories in it.
    pub(crate) fn has(&self, ino: Ino) -> bool {
        ino == ROOT || self.0.iter().any(|directory| ino_of(directory.name()) == ino)
    }

    /// Returns the view with its inode table.
    pub(crate) fn with_table(&self, mut view: View) -> View {
        let mut keys = Vec::new();
        for (directory, i) in self.0.iter().zip(0u8..) {
            keys.push((ino_of(directory.name()), NodeKey { directory: i, kind: TOP, at: 0 }));
            directory.inodes(&view, &mut |ino, kind, at| {
                keys.push((ino, NodeKey { directory: i, kind, at: at as u32 }));
            });
        }
        view.table = InodeTable::new(keys);
        view
    }

    /// Finds what an inode number stands for in a view.
    pub(crate) fn node(self: &Arc<Root>, view: &View, ino: Ino) -> Option<Arc<dyn Node>> {
        if ino == ROOT {
            return Some(Arc::new(DirectoryNode(self.clone())));
        }
        let (NodeKey { directory, kind, at }, inside) = view.table.find(ino)?;
        match kind {
            TOP if inside > 0 => None,
            TOP => self.top(directory.into()),
            _ => self.0.get(usize::from(directory))?.node(view, kind, at as usize, inside),
        }
    }

    /// Finds a node that the inode table does not have.
    pub(crate) fn by_ino(&self, ino: Ino) -> Result<Option<Arc<dyn Node>>> {
        let mut found = self.0.iter().map(|directory| directory.by_ino(ino));
        found.find(|found| !matches!(found, Ok(None))).unwrap_or(Ok(None))
    }

    /// Returns the names that mean something else in the next view, and the directories that they are in.
    pub(crate) fn names_gone(&self, view: &View, next: &View) -> Vec<(Ino, String)> {
        let of = |directory: &Arc<dyn Directory>| {
            let parent = ino_of(directory.name());
            directory.names_gone(view, next).into_iter().map(move |name| (parent, name))
        };
        self.0.iter().flat_map(of).collect()
    }
}

impl Directory for Root {
    fn name(&self) -> &'static str {
        ""
    }

    fn attributes(&self, scope: &Scope) -> (Shape, Duration) {
        (Shape::directory(scope.view.mtime, 2 + self.0.len() as u32), TTL_CHANGING)
    }

    fn find(&self, _: &Scope, name: &str) -> Result<Option<Arc<dyn Node>>> {
        Ok(self.0.iter().position(|directory| directory.name() == name).and_then(|i| self.top(i)))
    }

    fn list(&self, _: &Scope) -> Result<DirListing> {
        let entry = |directory: &Arc<dyn Directory>| {
            let name = directory.name();
            DirEntry { ino: ino_of(name), kind: NodeKind::Directory, name: name.into() }
        };
        Ok(DirListing::new(ROOT, ROOT, self.0.iter().map(entry).collect::<Vec<_>>()))
    }
}
