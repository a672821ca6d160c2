//! Opening a store by what names it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::address::{Address, Reach};
use super::managed::{DirectoryKind, Managed, probe};
use super::{Plain, Store, engines};
use crate::error::{At, Result};

impl Store {
    /// Opens a store. A managed one that is not `writable` is not changed in any way.
    pub fn at(address: &Address, reach: &Reach, writable: bool) -> Result<Store> {
        match address {
            Address::Directory(dir) => Store::open_with(dir, reach, writable),
            Address::ObjectStore(url) => {
                Ok(Store::Plain(Plain::new(Path::new(url), engines::object_store(url, reach)?)))
            }
            Address::Database(url) => {
                Ok(Store::Managed(Arc::new(Managed::in_database(url, reach, writable)?)))
            }
        }
    }

    /// Opens a directory as what it is.
    pub fn open(dir: &Path, writable: bool) -> Result<Store> {
        Store::open_with(dir, &Reach::default(), writable)
    }

    fn open_with(dir: &Path, reach: &Reach, writable: bool) -> Result<Store> {
        // From now on nothing on the way to it may be a link.
        let dir = &fs::canonicalize(dir).at(dir.display())?;
        let store = match probe(dir) {
            DirectoryKind::Managed if writable => Managed::open_with(dir, reach)?,
            DirectoryKind::Managed => Managed::open_read_only_with(dir, reach)?,
            DirectoryKind::Plain => return Ok(Store::plain(dir)),
            DirectoryKind::Unfinished => {
                log::warn!(
                    "{}: the making of a store was interrupted there: cddsfs init finishes it",
                    dir.display()
                );
                return Ok(Store::plain(dir));
            }
            DirectoryKind::Refused(why) => {
                log::warn!("{why}: {}", why.hint().unwrap_or_default());
                return Ok(Store::plain(dir));
            }
        };
        Ok(Store::Managed(Arc::new(store)))
    }
}
