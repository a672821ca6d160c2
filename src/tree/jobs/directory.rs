//! `jobs/` as a directory of the tree. It is always shown as it is now, and is in no view.

use std::sync::Arc;
use std::time::Duration;

use super::{JobFiles, JobsEntry};
use crate::error::Result;
use crate::tree::attr::{Caching, Shape};
use crate::tree::directory::{Directory, ino_of};
use crate::tree::handle::Opened;
use crate::tree::ino::{Ino, ROOT};
use crate::tree::listing::DirListing;
use crate::tree::needs::{Needs, Place, Question};
use crate::tree::node::{Node, missing};
use crate::tree::scope::Scope;

pub(crate) const NAME: &str = "jobs";

/// Of managed stores only.
pub(crate) struct JobsDirectory(pub Arc<JobFiles>);

impl Directory for JobsDirectory {
    fn name(&self) -> &'static str {
        NAME
    }

    fn attributes(&self, _: &Scope) -> (Shape, Duration) {
        (Shape::directory(self.0.changed(), 2), Duration::ZERO)
    }

    fn by_ino(&self, ino: Ino) -> Result<Option<Arc<dyn Node>>> {
        Ok(self.0.by_ino(ino)?.map(|entry| JobFile::node(&self.0, entry)))
    }

    fn find(&self, _: &Scope, name: &str) -> Result<Option<Arc<dyn Node>>> {
        let entry = self.0.find(name)?.ok_or_else(missing)?;
        Ok(Some(JobFile::node(&self.0, entry)))
    }

    fn needs_of_name(&self, _: &Scope, _: &str) -> Needs {
        Needs::Store(Place::Catalogue)
    }

    fn list(&self, _: &Scope) -> Result<DirListing> {
        Ok(DirListing::new(ino_of(NAME), ROOT, self.0.list()?).that_needs(Needs::Store(Place::Catalogue)))
    }

    fn list_as_known(&self, _: &Scope) -> Result<DirListing> {
        let entries = self.0.list_as_known();
        Ok(DirListing::new(ino_of(NAME), ROOT, entries).that_needs(Needs::Store(Place::Catalogue)))
    }
}

/// `jobs/<name>`
pub(crate) struct JobFile {
    jobs: Arc<JobFiles>,
    entry: JobsEntry,
}

impl JobFile {
    pub(crate) fn node(jobs: &Arc<JobFiles>, entry: JobsEntry) -> Arc<dyn Node> {
        Arc::new(JobFile { jobs: jobs.clone(), entry })
    }
}

impl Node for JobFile {
    fn ino(&self) -> Ino {
        self.entry.ino()
    }

    fn attributes(&self, scope: &Scope) -> Result<(Shape, Duration)> {
        let (size, mtime) = self.jobs.size_and_mtime(&self.entry)?;
        Ok((Shape::file(size, mtime.unwrap_or(scope.view.mtime)), Duration::ZERO))
    }

    fn needs(&self, _: &Scope, _: Question) -> Needs {
        Needs::Store(Place::Catalogue)
    }

    fn open(&self, scope: &Scope) -> Result<(Opened, Caching)> {
        Ok((
            match &self.entry {
                JobsEntry::Draft(_) => Opened::Writing(self.jobs.open(&self.entry, false, false, false)?),
                _ => Opened::Text(self.text(scope)?),
            },
            Caching::Live,
        ))
    }

    fn is_rendered(&self) -> bool {
        matches!(self.entry, JobsEntry::Errors)
    }

    fn text(&self, _: &Scope) -> Result<Vec<u8>> {
        self.jobs.text(&self.entry)
    }
}
