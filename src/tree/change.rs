//! What can be changed in the tree of a managed store: things can be deleted.

use std::ffi::OsStr;

use super::node::{Node, Record};
use super::{Ino, Tree};
use crate::error::{Error, Kind, Result};
use crate::export::disposal::remove_artifact;

impl Tree {
    /// Deletes a file. Of an artifact everything goes with it; its run stays in the history until it is removed there.
    pub fn unlink(&self, parent: Ino, name: &OsStr) -> Result<()> {
        let Some(store) = self.store.managed().filter(|_| self.is_writable()) else {
            return Err(read_only());
        };
        let run = match &self.find(parent, name)? {
            Node::History(Record::OfRun(run)) => {
                store.catalogue.remove_run(&run.id)?;
                return self.look_again();
            }
            Node::Zip(export) | Node::Incomplete(export) => export.set().run.clone(),
            Node::Stored(file) => self.view().set_of(&file.name).and_then(|export| export.set().run.clone()),
            Node::Dir(_) => return Err(Error::new(Kind::IsADirectory, "is a directory")),
            Node::History(Record::OfSet(_)) | Node::Member { .. } => None,
        };
        let run = run.ok_or_else(|| Error::new(Kind::NotPermitted, "this cannot be deleted"))?;
        remove_artifact(store, &run, self.clock.now())?;
        self.look_again()
    }

    /// Returns why nothing else can be changed.
    pub fn refusal(&self) -> Error {
        if self.is_writable() {
            Error::new(Kind::NotPermitted, "this cannot be changed")
        } else {
            read_only()
        }
    }
}

fn read_only() -> Error {
    Error::new(Kind::ReadOnly, "the tree is read-only")
}
