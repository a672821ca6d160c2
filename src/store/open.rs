//! Opening a store by what names it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::address::{Address, Reach};
use super::managed::{DirectoryKind, Managed, probe};
use super::parts::Parts;
use super::{Plain, Store};
use crate::error::{At, Error, Kind, Result};

impl Store {
    /// Opens a store. A managed one that is not `writable` is not changed in any way.
    pub fn at(address: &Address, reach: &Reach, writable: bool) -> Result<Store> {
        match address {
            Address::Directory(dir) => Store::open(dir, writable),
            Address::ObjectStore(url) => Ok(Store::Plain(Plain::new(Path::new(url), objects(url, reach)?))),
            Address::Database(_) => Err(Error::new(Kind::Unsupported, "no store is in a database yet")),
        }
    }

    /// Opens a directory as what it is.
    pub fn open(dir: &Path, writable: bool) -> Result<Store> {
        // From now on nothing on the way to it may be a link.
        let dir = &fs::canonicalize(dir).at(dir.display())?;
        let store = match probe(dir) {
            DirectoryKind::Managed if writable => Managed::open(dir)?,
            DirectoryKind::Managed => Managed::open_read_only(dir)?,
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

#[cfg(feature = "object-store")]
fn objects(url: &str, reach: &Reach) -> Result<Arc<dyn Parts>> {
    Ok(Arc::new(super::parts::object::Object::open(url, reach)?))
}

#[cfg(not(feature = "object-store"))]
fn objects(_url: &str, _reach: &Reach) -> Result<Arc<dyn Parts>> {
    let text = "this program was built without object stores";
    Err(Error::new(Kind::Unsupported, text)
        .with_hint("build it with the feature object-store, which it has by default"))
}
