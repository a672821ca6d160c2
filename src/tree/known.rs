//! What it takes to answer, asked before a request may keep others waiting; and answers from memory for when the store
//! gives none.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use super::Tree;
use super::attr::{Attr, DirEntry, Shape};
use super::handle::{Handle, Opened};
use super::ino::Ino;
use super::needs::{Needs, Question, no_answer};
use crate::error::Result;

impl Tree {
    /// Returns what it takes to answer a question about a node.
    pub(crate) fn needs(&self, ino: Ino, asked: Question) -> Needs {
        let scope = self.scope();
        match self.root.node(&scope.view, ino) {
            Some(node) => node.needs(&scope, asked),
            // It may be a job.
            None => self.context.needs_catalogue(),
        }
    }

    /// Returns what it takes to tell extended attributes of a node.
    pub(crate) fn needs_of_xattr(&self, ino: Ino) -> Needs {
        match self.needs(ino, Question::Attributes) {
            // Those of a run come from its record.
            Needs::Memory => self.context.needs_catalogue(),
            other => other,
        }
    }

    /// Returns what it takes to find a name.
    pub(crate) fn needs_of_name(&self, parent: Ino, name: &OsStr) -> Needs {
        let scope = self.scope();
        match self.root.node(&scope.view, parent) {
            Some(node) => node.needs_of_name(&scope, name.to_str().unwrap_or_default()),
            None => self.context.needs_catalogue(),
        }
    }

    /// Returns what it takes to read from a handle, or to close it.
    pub(crate) fn needs_of_handle(&self, handle: Handle) -> Needs {
        self.handles.get(handle).map_or(Needs::Memory, |opened| opened.needs())
    }

    /// Returns what it takes to list an open directory with attributes.
    pub(crate) fn needs_of_listing(&self, handle: Handle) -> Needs {
        self.listing(handle).map_or(Needs::Memory, |listing| listing.needs)
    }

    /// Opens a directory as it was when it was last looked at.
    pub(crate) fn opendir_as_known(&self, ino: Ino) -> Result<Handle> {
        let scope = self.scope();
        let node = self.root.node(&scope.view, ino).ok_or_else(no_answer)?;
        let listing = node.list_as_known(&scope)?;
        let (attr, _) = self.attributes(&scope, ino, &*node)?;
        Ok(self.handles.insert(attr, Opened::Dir(Arc::new(listing))))
    }

    /// Returns the few attributes of an entry that are known without asking anybody, not to be cached.
    pub(crate) fn attributes_as_known(&self, entry: &DirEntry) -> (Attr, Duration) {
        let shape = Shape::new(entry.kind, 0, self.views.now().mtime);
        (self.attr(entry.ino, shape), Duration::ZERO)
    }

    /// Returns true for a handle that was given up ([`Tree::give_up`]): every further write fails.
    pub(crate) fn is_given_up(&self, handle: Handle) -> bool {
        let is_given_up = |opened: &Opened| matches!(opened, Opened::Writing(w) if w.draft.is_given_up());
        self.handles.get(handle).is_ok_and(|opened| is_given_up(&opened))
    }

    /// Gives up a handle whose writer has been told that it took too long: nothing of it is handed in any more.
    pub(crate) fn give_up(&self, handle: Handle) {
        if let Ok(opened) = self.handles.get(handle)
            && let Opened::Writing(writing) = &*opened
        {
            writing.draft.give_up();
        }
    }
}
