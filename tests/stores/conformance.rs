//! Every kind of location, catalogue and queue does the same. The next kind only names itself here.

use std::sync::Arc;

#[cfg(feature = "object-store")]
use crate::support::bucket::Folder;
use crate::support::catalogue_suite::{self, Process, Site};
use crate::support::memory::Memory;
use crate::support::parts_suite;
use crate::support::postgres::Database;
use cddsfs::store::catalogue::postgres::Postgres;
use cddsfs::store::catalogue::sqlite::Sqlite;
use cddsfs::store::parts::local::Local;

impl Site for tempfile::TempDir {
    fn open(&self) -> Process {
        let catalogue = Arc::new(Sqlite::create(&self.path().join("c.db")).unwrap());
        Process { queue: catalogue.clone(), catalogue }
    }
}

impl Site for Arc<Memory> {
    fn open(&self) -> Process {
        let handle = Arc::new(Memory::open(self));
        Process { queue: handle.clone(), catalogue: handle }
    }
}

impl Site for Database {
    fn open(&self) -> Process {
        let catalogue = Arc::new(Postgres::create(&self.url()).unwrap());
        Process { queue: catalogue.clone(), catalogue }
    }

    fn bury(&self) {
        self.connect().batch_execute("UPDATE run SET lease_until = now() - interval '1 second'").unwrap();
    }
}

#[test]
fn a_directory_of_parts() {
    parts_suite::check(|| {
        let dir = tempfile::tempdir().unwrap();
        (Local::new(dir.path()), dir)
    });
}

#[cfg(feature = "object-store")]
#[test]
fn parts_in_an_object_store() {
    parts_suite::check(|| {
        let folder = Folder::new();
        (folder.open(), folder)
    });
}

#[test]
fn parts_in_memory() {
    parts_suite::check(|| (Memory::open(&Arc::default()), ()));
}

#[test]
fn a_catalogue_in_sqlite() {
    catalogue_suite::check(|| tempfile::tempdir().unwrap());
}

#[test]
fn a_catalogue_in_postgresql() {
    catalogue_suite::check(Database::new);
}

#[test]
fn a_catalogue_in_memory() {
    catalogue_suite::check(Arc::<Memory>::default);
}

/// Of a directory one process at a time executes runs.
#[test]
fn in_a_directory_and_in_memory_one_process_attends() {
    let sites: [Box<dyn Site>; 2] =
        [Box::new(tempfile::tempdir().unwrap()), Box::new(Arc::<Memory>::default())];
    for site in sites {
        let (a, b) = (site.open(), site.open());
        let attendance = a.queue.attend().unwrap();
        assert!(attendance.is_some() && b.queue.attend().unwrap().is_none());
        drop(attendance);
        assert!(b.queue.attend().unwrap().is_some());
    }
}
