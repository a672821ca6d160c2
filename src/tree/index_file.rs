//! `index.csv`: a directory as a table for spreadsheets, the latest first.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::attr::{DirEntry, NodeKind, Shape};
use super::ino::{Ino, hash_number};
use super::needs::{Needs, Question};
use super::node::Node;
use super::scope::Scope;
use super::shown::ShownSet;
use crate::error::Result;
use crate::record::Record;
use crate::record::csv::{CsvColumn, render};
use crate::store::catalogue::Revision;

pub(crate) const NAME: &str = "index.csv";

/// What a cached table was made from: the state of the catalogue, and the minute.
type CacheKey = (Revision, u64);

pub(crate) struct IndexFile {
    ino: Ino,
    columns: &'static [CsvColumn],
    has: fn(&Record) -> bool,
    /// The last table of a managed store: directories are listed more often than they change.
    kept: Mutex<Option<(CacheKey, Arc<String>)>>,
}

impl IndexFile {
    /// Makes the table of the directory of that name; `has` tells which records are in it.
    pub(crate) fn new(directory: &str, columns: &'static [CsvColumn], has: fn(&Record) -> bool) -> IndexFile {
        let ino = hash_number(&[b"index\0", directory.as_bytes()]);
        IndexFile { ino, columns, has, kept: Mutex::default() }
    }

    pub(crate) fn entry(&self) -> DirEntry {
        DirEntry { ino: self.ino, kind: NodeKind::File, name: NAME.into() }
    }

    fn rendered(&self, scope: &Scope) -> Result<Arc<String>> {
        let now = scope.now();
        let minute = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 60);
        let stamp = scope.context.revision()?.map(|revision| (revision, minute));
        if let Some((at, text)) = &*self.kept.lock()
            && Some(*at) == stamp
        {
            return Ok(text.clone());
        }
        let text = Arc::new(self.render(scope, now)?);
        if let Some(stamp) = stamp {
            *self.kept.lock() = Some((stamp, text.clone()));
        }
        Ok(text)
    }

    fn render(&self, scope: &Scope, now: SystemTime) -> Result<String> {
        if let Some(store) = scope.context.managed() {
            // Asked of the catalogue: the view may be older than the state that the table is cached for.
            let (mut runs, retention) = (store.catalogue.runs()?, store.catalogue.retention()?);
            runs.sort_by_key(|run| std::cmp::Reverse(run.queued.or(run.scheduled)));
            let records = runs.iter().map(|run| Record::of_run(run, retention, now));
            return render(self.columns, records.filter(self.has));
        }
        let mut sets: Vec<(SystemTime, &Arc<ShownSet>)> =
            scope.view.sets.iter().map(|set| (scope.made(set), set)).collect();
        sets.sort_by_key(|(made, _)| std::cmp::Reverse(*made));
        // No private key operation is done for a table.
        let record =
            |(_, set): (_, &Arc<ShownSet>)| set.record_as_known(scope.view.retention, &scope.context);
        render(self.columns, sets.into_iter().map(record).filter(self.has))
    }
}

impl Node for IndexFile {
    fn ino(&self) -> Ino {
        self.ino
    }

    fn attributes(&self, scope: &Scope) -> Result<(Shape, Duration)> {
        Ok((Shape::file(self.rendered(scope)?.len() as u64, scope.view.mtime), Duration::ZERO))
    }

    fn needs(&self, scope: &Scope, _: Question) -> Needs {
        scope.context.needs_catalogue()
    }

    fn is_rendered(&self) -> bool {
        true
    }

    fn text(&self, scope: &Scope) -> Result<Vec<u8>> {
        Ok(self.rendered(scope)?.as_bytes().to_vec())
    }

    fn is_listed_with_attributes(&self, _: &Scope) -> bool {
        false
    }
}
