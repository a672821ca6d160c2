//! `contents/`: the tree inside each zip.

use std::sync::Arc;
use std::time::Duration;

use super::attr::{Caching, DirEntry, NodeKind, Shape, TTL_CHANGING};
use super::directory::{Directory, ino_of};
use super::handle::{BytesOf, Opened};
use super::ino::Ino;
use super::listing::{DirEntries, DirListing};
use super::needs::{Needs, Question};
use super::node::{Node, missing, not_a_directory};
use super::scope::Scope;
use super::shown::ShownSet;
use super::view::View;
use super::xattr;
use crate::artifact::members::{MemberKind, Members, NodeId, ROOT};
use crate::error::{Error, Kind, Result};

const NAME: &str = "contents";

/// Extended attribute: the name in the zip, where that cannot be a file name.
const ORIGINAL_NAME: &str = "original_name";
/// Extended attribute: the missing parts that it takes to read the member.
const NEEDS: &str = "needs";

pub(crate) struct ContentsDirectory;

impl Directory for ContentsDirectory {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Directories in it are not counted.
    fn attributes(&self, scope: &Scope) -> (Shape, Duration) {
        (Shape::directory(scope.view.mtime, 1), TTL_CHANGING)
    }

    fn inodes(&self, view: &View, add: &mut dyn FnMut(Ino, u8, usize)) {
        view.sets.iter().enumerate().for_each(|(i, set)| add(set.contents_ino(), 0, i));
    }

    fn node(&self, view: &View, _: u8, at: usize, inside: u32) -> Option<Arc<dyn Node>> {
        Some(Arc::new(MemberNode { set: view.sets.get(at)?.clone(), id: inside }))
    }

    fn find(&self, scope: &Scope, name: &str) -> Result<Option<Arc<dyn Node>>> {
        let root = |set: &Arc<ShownSet>| Arc::new(MemberNode { set: set.clone(), id: ROOT }) as Arc<dyn Node>;
        Ok(scope.view.set(name).map(root))
    }

    fn list(&self, scope: &Scope) -> Result<DirListing> {
        let entry = |set: &Arc<ShownSet>| DirEntry {
            ino: set.contents_ino(),
            kind: NodeKind::Directory,
            name: set.stem().into(),
        };
        Ok(DirListing::of_each(ino_of(NAME), &scope.view.sets, entry, Vec::new()))
    }

    fn names_gone(&self, view: &View, next: &View) -> Vec<String> {
        view.sets_gone(next).map(|set| set.stem().to_string()).collect()
    }
}

/// `contents/<stem>` and everything in it.
struct MemberNode {
    set: Arc<ShownSet>,
    id: NodeId,
}

impl MemberNode {
    fn members(&self, scope: &Scope) -> Result<Arc<Members>> {
        self.set.members(&scope.context)
    }

    fn attribute(&self, scope: &Scope, name: &str) -> Option<Vec<u8>> {
        let members = self.members(scope).ok()?;
        match name {
            ORIGINAL_NAME => members.original_name(self.id).ok()?,
            NEEDS => {
                let needs = members.needs(self.id).ok()?;
                (!needs.is_empty()).then(|| needs.join(" ").into_bytes())
            }
            _ => None,
        }
    }
}

impl Node for MemberNode {
    fn ino(&self) -> Ino {
        self.set.contents_ino() | u64::from(self.id)
    }

    fn attributes(&self, scope: &Scope) -> Result<(Shape, Duration)> {
        if self.id != ROOT {
            return Ok((self.members(scope)?.attr(self.id)?.into(), scope.ttl(&self.set)));
        }
        // The root is there before it is known what is in it.
        let is_known = self.set.is_known(&scope.context);
        let ttl = if is_known { scope.ttl(&self.set) } else { TTL_CHANGING };
        Ok((Shape::directory(scope.made(&self.set), 1), ttl))
    }

    fn needs(&self, scope: &Scope, asked: Question) -> Needs {
        let is_known = match (self.id, asked) {
            (ROOT, Question::Attributes) => true,
            (_, Question::Open) => false,
            _ => self.set.has_members(&scope.context),
        };
        Needs::memory_if(is_known, self.set.place())
    }

    fn is_listed_with_attributes(&self, _: &Scope) -> bool {
        true
    }

    fn open(&self, scope: &Scope) -> Result<(Opened, Caching)> {
        let reader = self.set.open_member(&scope.context, self.id)?;
        let label = match scope.context.options.log_names {
            true => self.members(scope)?.path(self.id)?,
            false => format!("member {}", self.id),
        };
        Ok((Opened::Bytes(reader, BytesOf::Member(self.set.clone(), label)), Caching::Finished))
    }

    fn find(&self, scope: &Scope, name: &str) -> Result<Option<Arc<dyn Node>>> {
        let id = self.members(scope)?.child(self.id, name)?.ok_or_else(missing)?;
        Ok(Some(Arc::new(MemberNode { set: self.set.clone(), id })))
    }

    fn needs_of_name(&self, scope: &Scope, _: &str) -> Needs {
        Needs::memory_if(self.set.has_members(&scope.context), self.set.place())
    }

    fn list(&self, scope: &Scope) -> Result<DirListing> {
        let (members, id) = (self.members(scope)?, self.id);
        if members.kind(id)? != MemberKind::Directory {
            return Err(not_a_directory());
        }
        // Asked once here, so that listing cannot fail later.
        members.children(id)?;
        let base = self.set.contents_ino();
        let parent = match id {
            ROOT => ino_of(NAME),
            _ => base | u64::from(members.parent(id)?),
        };
        Ok(DirListing::new(self.ino(), parent, MemberEntries { set: self.set.clone(), members, id }))
    }

    /// The target is returned as it is in the zip; cddsfs itself follows no link.
    fn readlink(&self, scope: &Scope) -> Result<Vec<u8>> {
        if self.members(scope)?.kind(self.id)? != MemberKind::Link {
            return Err(Error::new(Kind::Invalid, "no symbolic link"));
        }
        let target = self.set.open_member(&scope.context, self.id)?;
        target.read_vec(0, target.len() as usize)
    }

    fn set(&self) -> Option<&Arc<ShownSet>> {
        Some(&self.set)
    }

    fn xattr(&self, scope: &Scope, name: &str) -> Result<Option<Vec<u8>>> {
        match self.id {
            ROOT => xattr::of_set(scope, &self.set, name),
            _ => Ok(self.attribute(scope, name)),
        }
    }

    fn xattr_names(&self, scope: &Scope) -> Vec<&'static str> {
        let has = |name: &&str| self.attribute(scope, name).is_some();
        match self.id {
            ROOT => xattr::names_of_set(scope, &self.set),
            _ => [ORIGINAL_NAME, NEEDS].into_iter().filter(has).collect(),
        }
    }
}

/// The entries of a directory inside a zip.
struct MemberEntries {
    set: Arc<ShownSet>,
    members: Arc<Members>,
    id: NodeId,
}

impl DirEntries for MemberEntries {
    fn entry(&self, i: usize) -> Option<DirEntry> {
        let child = *self.members.children(self.id).ok()?.get(i)?;
        let (kind, name) = (self.members.kind(child).ok()?.into(), self.members.name(child).ok()?.into());
        Some(DirEntry { ino: self.set.contents_ino() | u64::from(child), kind, name })
    }

    fn attributes(&self, scope: &Scope, entry: &DirEntry) -> Option<(Shape, Duration)> {
        let id = u32::try_from(entry.ino ^ self.set.contents_ino()).ok()?;
        Some((self.members.attr(id).ok()?.into(), scope.ttl(&self.set)))
    }
}
