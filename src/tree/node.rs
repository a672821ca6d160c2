//! A file, link or directory: whatever has an inode. Each directory of the root has its own kinds of nodes.

use std::sync::Arc;
use std::time::Duration;

use super::attr::{Caching, Shape};
use super::handle::Opened;
use super::ino::Ino;
use super::listing::DirListing;
use super::needs::{Needs, Question, no_answer};
use super::scope::Scope;
use super::shown::ShownSet;
use super::xattr;
use crate::error::{Error, Kind, Result};

pub(crate) trait Node: Send + Sync {
    /// The inode number: a hash of what the node is and of the version of its bytes.
    fn ino(&self) -> Ino;

    /// Returns the attributes, and how long they hold.
    fn attributes(&self, scope: &Scope) -> Result<(Shape, Duration)>;

    /// Returns what it takes to answer a question about it.
    fn needs(&self, scope: &Scope, asked: Question) -> Needs;

    /// Opens it for reading.
    fn open(&self, scope: &Scope) -> Result<(Opened, Caching)> {
        Ok((Opened::Text(self.text(scope)?), Caching::Live))
    }

    /// Returns true for a text that is rendered anew for every open.
    fn is_rendered(&self) -> bool {
        false
    }

    /// Renders a text.
    fn text(&self, _: &Scope) -> Result<Vec<u8>> {
        Err(Error::new(Kind::Invalid, "it is no text"))
    }

    /// Returns false if getting the attributes is work that a listing does not wait for, or if they must not be cached.
    fn is_listed_with_attributes(&self, scope: &Scope) -> bool {
        self.set().is_none_or(|set| set.is_known(&scope.context))
    }

    /// Finds a name in a directory; `None` where a newer view may have it.
    fn find(&self, _: &Scope, _name: &str) -> Result<Option<Arc<dyn Node>>> {
        Err(not_a_directory())
    }

    /// Returns what it takes to find a name.
    fn needs_of_name(&self, _: &Scope, _name: &str) -> Needs {
        Needs::Memory
    }

    fn list(&self, _: &Scope) -> Result<DirListing> {
        Err(not_a_directory())
    }

    /// The same, as the directory was when it was last looked at.
    fn list_as_known(&self, _: &Scope) -> Result<DirListing> {
        Err(no_answer())
    }

    fn readlink(&self, _: &Scope) -> Result<Vec<u8>> {
        Err(Error::new(Kind::Invalid, "no symbolic link"))
    }

    fn unlink(&self, _: &Scope) -> Result<()> {
        Err(not_deletable())
    }

    /// Returns the set that it belongs to.
    fn set(&self) -> Option<&Arc<ShownSet>> {
        None
    }

    /// Returns the value of an extended attribute, named without its prefix.
    fn xattr(&self, scope: &Scope, name: &str) -> Result<Option<Vec<u8>>> {
        self.set().map_or(Ok(None), |set| xattr::of_set(scope, set, name))
    }

    /// Returns the names that [`Node::xattr`] may know.
    fn xattr_names(&self, scope: &Scope) -> Vec<&'static str> {
        self.set().map_or(Vec::new(), |set| xattr::names_of_set(scope, set))
    }
}

pub(crate) fn not_a_directory() -> Error {
    Error::new(Kind::NotADirectory, "not a directory")
}

pub(crate) fn is_a_directory() -> Error {
    Error::new(Kind::IsADirectory, "is a directory")
}

pub(crate) fn not_deletable() -> Error {
    Error::new(Kind::NotPermitted, "this cannot be deleted")
}

/// The error for an inode number that stands for nothing any more.
pub(crate) fn stale() -> Error {
    Error::new(Kind::Stale, "the file has been replaced or has gone")
}

pub(crate) fn missing() -> Error {
    Error::new(Kind::NotFound, "no such name")
}
