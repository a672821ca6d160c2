//! `encrypted/`: the stored parts, byte for byte.

use std::sync::Arc;
use std::time::Duration;

use super::attr::{Caching, DirEntry, NodeKind, Shape};
use super::directory::{Directory, ino_of};
use super::handle::{BytesOf, Opened};
use super::ino::{Ino, number};
use super::listing::DirListing;
use super::needs::{Needs, Place, Question};
use super::node::{Node, missing, not_deletable};
use super::scope::Scope;
use super::view::View;
use crate::error::Result;
use crate::export::disposal::remove_part;
use crate::store::sets::StoredFile;

const NAME: &str = "encrypted";

pub(crate) struct EncryptedDirectory;

impl Directory for EncryptedDirectory {
    fn name(&self) -> &'static str {
        NAME
    }

    fn inodes(&self, view: &View, add: &mut dyn FnMut(Ino, u8, usize)) {
        view.files.iter().enumerate().for_each(|(i, file)| add(ino(file), 0, i));
    }

    fn node(&self, view: &View, _: u8, at: usize, inside: u32) -> Option<Arc<dyn Node>> {
        let file = view.files.get(at).filter(|_| inside == 0)?;
        Some(Arc::new(EncryptedFile(file.clone())))
    }

    fn find(&self, scope: &Scope, name: &str) -> Result<Option<Arc<dyn Node>>> {
        let node = |file: &Arc<StoredFile>| Arc::new(EncryptedFile(file.clone())) as Arc<dyn Node>;
        Ok(scope.view.file(name).map(node))
    }

    fn list(&self, scope: &Scope) -> Result<DirListing> {
        let entry = |file: &Arc<StoredFile>| DirEntry {
            ino: ino(file),
            kind: NodeKind::File,
            name: file.name.clone(),
        };
        Ok(DirListing::of_each(ino_of(NAME), &scope.view.files, entry, Vec::new()))
    }

    fn names_gone(&self, view: &View, next: &View) -> Vec<String> {
        let has_gone = |file: &&Arc<StoredFile>| next.file(&file.name).is_none_or(|now| now != *file);
        view.files.iter().filter(has_gone).map(|file| file.name.clone()).collect()
    }
}

fn ino(file: &StoredFile) -> Ino {
    let mut hasher = blake3::Hasher::new();
    file.version.hash_into(hasher.update(b"stored\0").update(file.name.as_bytes()));
    number(&hasher)
}

/// `encrypted/<name>`
struct EncryptedFile(Arc<StoredFile>);

impl Node for EncryptedFile {
    fn ino(&self) -> Ino {
        ino(&self.0)
    }

    fn attributes(&self, scope: &Scope) -> Result<(Shape, Duration)> {
        Ok((Shape::file(self.0.size(), self.0.mtime), scope.ttl_until(scope.view.next_expiry)))
    }

    fn needs(&self, _: &Scope, asked: Question) -> Needs {
        Needs::memory_if(asked != Question::Open, Place::of_file(&self.0.name))
    }

    fn open(&self, _: &Scope) -> Result<(Opened, Caching)> {
        let reader = self.0.open()?;
        Ok((Opened::Bytes(reader, BytesOf::File(self.0.name.clone())), Caching::Finished))
    }

    /// Deletes one part; with its last part the artifact goes.
    fn unlink(&self, scope: &Scope) -> Result<()> {
        let run = scope.view.set_of(&self.0.name).and_then(|set| set.stored().run.as_deref());
        let store = scope.context.writable()?;
        match remove_part(store, run.ok_or_else(not_deletable)?, &self.0.name, scope.now())? {
            true => Ok(()),
            false => Err(missing()),
        }
    }
}
