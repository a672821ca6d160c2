//! Stores that are not one directory: the parts in an object store or another directory, the catalogue in a database.
//!
//! Where the parts are is a setting of the catalogue, so that the catalogue's name is all that a host needs to know.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::Managed;
use super::layout::private_dir;
use crate::error::{At, Error, Kind, Result};
use crate::store::address::{Address, Reach};
use crate::store::catalogue::{Catalogue, Setting};
use crate::store::engines::{self, Mode};
use crate::store::parts::Parts;
use crate::store::parts::local::Local;

/// Where the parts of a store are, and how every host reaches them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct PartsPlace {
    address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    #[serde(default)]
    allow_http: bool,
}

impl PartsPlace {
    fn of(address: &Address, reach: &Reach) -> Result<PartsPlace> {
        let invalid = |text: &str| Error::new(Kind::Invalid, format!("{address}: {text}"));
        if let Address::Database(_) = address {
            return Err(invalid("parts are in a directory or in an object store"));
        }
        let path = match address.directory() {
            Some(dir) => std::path::absolute(dir)?,
            None => address.as_path().to_path_buf(),
        };
        let address = path.into_os_string().into_string().map_err(|_| invalid("the path is not UTF-8"))?;
        let Reach { endpoint, region, allow_http, .. } = reach.clone();
        Ok(PartsPlace { address, endpoint, region, allow_http })
    }

    /// Returns the setting, if the store has it.
    fn in_catalogue(catalogue: &dyn Catalogue) -> Result<Option<PartsPlace>> {
        let damaged = |_| Error::damaged("the catalogue's setting of where the parts are cannot be read");
        let text = catalogue.setting(Setting::Parts)?;
        text.map(|text| serde_json::from_str(&text).map_err(damaged)).transpose()
    }

    fn write_to(&self, catalogue: &dyn Catalogue) -> Result<()> {
        let text = serde_json::to_string(self).map_err(|error| Error::damaged(error.to_string()))?;
        catalogue.set(Setting::Parts, &text)
    }

    /// Makes the directory, and asks the location for what is there: credentials and names may be wrong.
    fn prepare(&self, reach: &Reach) -> Result<()> {
        if let Address::Directory(dir) = Address::parse(OsStr::new(&self.address))? {
            private_dir(&dir).at(dir.display())?;
        }
        self.open(reach, false)?.left(None).map(drop)
    }

    /// Opens the location. Several hosts share that of a catalogue that they share.
    fn open(&self, reach: &Reach, is_shared: bool) -> Result<Arc<dyn Parts>> {
        match Address::parse(OsStr::new(&self.address))? {
            Address::Directory(dir) if is_shared => Ok(Arc::new(Local::shared(&dir))),
            Address::Directory(dir) => Ok(Arc::new(Local::new(&dir))),
            Address::ObjectStore(url) => {
                let reach = Reach {
                    endpoint: reach.endpoint.clone().or_else(|| self.endpoint.clone()),
                    region: reach.region.clone().or_else(|| self.region.clone()),
                    allow_http: reach.allow_http || self.allow_http,
                    // The catalogue tells what is there.
                    poll: None,
                    ..reach.clone()
                };
                engines::object_store(&url, &reach)
            }
            Address::Database(_) => Err(Error::damaged("the store's parts cannot be in a database")),
        }
    }
}

/// Returns where the parts are if that is not beside the catalogue.
pub(super) fn parts(catalogue: &dyn Catalogue, reach: &Reach) -> Result<Option<Arc<dyn Parts>>> {
    PartsPlace::in_catalogue(catalogue)?.map(|place| place.open(reach, false)).transpose()
}

impl Managed {
    /// Returns true if there is a managed store.
    pub(crate) fn is_at(address: &Address) -> Result<bool> {
        match address {
            Address::Directory(dir) => match super::probe(dir) {
                super::DirectoryKind::Managed => Ok(true),
                super::DirectoryKind::Plain | super::DirectoryKind::Unfinished => Ok(false),
                super::DirectoryKind::Refused(why) => Err(why),
            },
            Address::Database(url) => engines::is_in_database(url),
            Address::ObjectStore(_) => Ok(false),
        }
    }

    /// Makes a store if it is new ([`Managed::is_at`]), or opens the one that is there. `parts` is where its parts shall
    /// be, if not beside its catalogue.
    pub(crate) fn init_at(
        address: &Address,
        parts: Option<&Address>,
        reach: &Reach,
        is_new: bool,
    ) -> Result<Managed> {
        let wanted = parts.map(|parts| PartsPlace::of(parts, reach)).transpose()?;
        match address {
            Address::Directory(dir) => {
                let store = Managed::init_with(dir, reach)?;
                let Some(wanted) = wanted else { return Ok(store) };
                if may_settle(&*store.catalogue, &wanted, is_new)? {
                    wanted.prepare(reach)?;
                    wanted.write_to(&*store.catalogue)?;
                }
                Managed::open_with(dir, reach)
            }
            Address::Database(url) => {
                let hint =
                    "give --parts s3://BUCKET/FOLDER, or --parts DIR for a directory that all hosts share";
                let missing = || {
                    Error::new(Kind::Invalid, "the parts of a store in a database need a place")
                        .with_hint(hint)
                };
                if is_new {
                    // Before there is a catalogue: without its parts it would be no store.
                    wanted.as_ref().ok_or_else(missing)?.prepare(reach)?;
                }
                let (catalogue, _) = engines::database(url, Mode::Create)?;
                if let Some(wanted) = wanted
                    && may_settle(&*catalogue, &wanted, true)?
                {
                    if !is_new {
                        wanted.prepare(reach)?;
                    }
                    wanted.write_to(&*catalogue)?;
                }
                let store = Managed::in_database(url, reach, true)?;
                if is_new {
                    let now = store.catalogue.today(SystemTime::now())?;
                    store.catalogue.confirm_clock(now)?;
                }
                Ok(store)
            }
            Address::ObjectStore(_) => {
                let text = format!("{address}: a store that exports are written to needs a catalogue");
                Err(Error::new(Kind::Invalid, text).with_hint(
                    "cddsfs init DIR --parts URL, or cddsfs init postgres://USER@HOST/DB --parts URL",
                ))
            }
        }
    }

    /// Opens a store for writing.
    pub(crate) fn open_at(address: &Address, reach: &Reach) -> Result<Managed> {
        match address {
            Address::Directory(dir) => Managed::open_with(dir, reach),
            Address::Database(url) => Managed::in_database(url, reach, true),
            Address::ObjectStore(_) => {
                Err(Error::new(Kind::Invalid, format!("{address}: there is no catalogue in an object store")))
            }
        }
    }

    /// Opens a store whose catalogue is in a database.
    pub(crate) fn in_database(url: &str, reach: &Reach, writable: bool) -> Result<Managed> {
        let mode = if writable { Mode::Write } else { Mode::Read };
        let (catalogue, queue) = engines::database(url, mode)?;
        let missing = || Error::damaged("the catalogue does not say where the parts are; cddsfs init does");
        let place = PartsPlace::in_catalogue(&*catalogue)?.ok_or_else(missing)?;
        let parts = place.open(reach, true)?;
        Ok(Managed::of(Path::new(url), catalogue, queue, parts))
    }
}

/// Returns false if the parts are there already. A store with artifacts keeps the place that it has; `is_open` says that a
/// catalogue without a place has none, rather than parts beside it.
fn may_settle(catalogue: &dyn Catalogue, wanted: &PartsPlace, is_open: bool) -> Result<bool> {
    match PartsPlace::in_catalogue(catalogue)? {
        Some(there) if there == *wanted => Ok(false),
        None if is_open => Ok(true),
        _ if catalogue.artifacts()?.is_empty() && catalogue.leftovers(SystemTime::now())?.is_empty() => {
            Ok(true)
        }
        _ => {
            let text =
                "the store has artifacts where its parts are now; they cannot be put elsewhere by init";
            Err(Error::new(Kind::Invalid, text))
        }
    }
}
