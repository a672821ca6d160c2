//! Opening stores for commands.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use nix::unistd::geteuid;

use super::exit::{Because, Failure, Reason};
use super::keys::Keys;
use super::logging;
use crate::error::{Error, Kind, Result};
use crate::store::Store;
use crate::store::address::{Address, Reach};
use crate::store::clock::SystemClock;
use crate::store::managed::Managed;
use crate::store::names::id_of;
use crate::tree::{Options, Tree};

/// Reads what a store is named by.
pub(crate) fn address() -> impl TypedValueParser<Value = Address> {
    OsStringValueParser::new().try_map(|text| Address::parse(&text))
}

/// A store of either kind, and how it is reached.
#[derive(Args)]
pub(crate) struct StoreArguments {
    /// Directory with encrypted exports, a folder of an object store (s3://BUCKET/FOLDER, az://CONTAINER/FOLDER,
    /// gs://BUCKET/FOLDER, https://HOST/FOLDER), or a store whose catalogue is in PostgreSQL (postgres://USER@HOST/DATABASE)
    #[arg(value_name = "STORE", value_parser = address())]
    pub(crate) address: Address,
    #[command(flatten)]
    reach: ReachArguments,
}

#[derive(Args)]
pub(crate) struct ReachArguments {
    /// Service that an object store is at, if not its provider's own
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Region of an object store
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// Reach an object store without TLS
    #[arg(long)]
    allow_http: bool,
    /// Certificates, PEM, of authorities that are trusted beside the machine's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl ReachArguments {
    pub(crate) fn reach(&self) -> Reach {
        Reach {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            allow_http: self.allow_http,
            ca_file: self.ca_file.clone(),
            ..Reach::default()
        }
    }
}

impl StoreArguments {
    pub(crate) fn reach(&self) -> Reach {
        self.reach.reach()
    }

    pub(crate) fn open(&self, reach: &Reach, writable: bool) -> std::result::Result<Store, Failure> {
        Store::at(&self.address, reach, writable).because(Reason::Store)
    }
}

/// Opens a managed store. Refuses anything else, and says what to do.
pub(crate) fn managed(store: &StoreArguments) -> std::result::Result<Arc<Managed>, Failure> {
    logging::start();
    let address = &store.address;
    let refuse = |what: &str| {
        let text = format!(
            "{address}: this is no store that exports are written to, but {what}, which is only ever read; \
             make a store with: cddsfs init STORE --cert CERT.pem"
        );
        Err(Failure::new(Reason::Store, text))
    };
    if address.directory().is_some_and(|dir| !dir.is_dir()) {
        let text =
            format!("{address}: no such directory; make a store with: cddsfs init STORE --cert CERT.pem");
        return Err(Failure::new(Reason::Store, text));
    }
    if let Address::ObjectStore(_) = address {
        return refuse("a folder of an object store");
    }
    if !Managed::is_at(address).because(Reason::Store)? {
        return match address.directory() {
            Some(_) => refuse("a plain directory"),
            None => {
                let text = format!(
                    "{address}: there is no store in this database; make one with: cddsfs init {address} --parts PLACE --cert CERT.pem"
                );
                Err(Failure::new(Reason::Store, text))
            }
        };
    }
    Managed::open_at(address, &store.reach()).map(Arc::new).because(Reason::Store)
}

/// Opens a store of either kind as the tree that a mount would show.
pub(crate) fn tree(store: &StoreArguments, keys: &Keys) -> std::result::Result<Tree, Failure> {
    logging::start();
    let identities = keys.load().because(Reason::Key)?;
    let options = Options { read_only: true, ..Options::default() };
    let store = store.open(&store.reach(), false)?;
    Tree::new(store, identities, cache_dir().as_deref(), SystemClock::shared(), options)
        .because(Reason::Store)
}

/// Returns where sizes are remembered (XDG Base Directory Specification), or for a system service without a home.
pub(crate) fn cache_dir() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .or_else(|| geteuid().is_root().then(|| PathBuf::from("/var/cache")))
        .map(|dir| dir.join("cddsfs"))
}

/// Finds an export by its id, by the names of its files up to the first dot, or by the beginning of either. `stems` are
/// those of all exports.
pub(crate) fn chosen<'a>(stems: impl IntoIterator<Item = &'a str>, given: &str) -> Result<&'a str> {
    // Exports that are named in an error, at most.
    const MAX_NAMED: usize = 5;
    let wanted = given.to_ascii_lowercase();
    let of = |stem: &str| stem.to_ascii_lowercase();
    let id = |stem: &str| id_of(&of(stem)).to_string();
    let mut found = Vec::new();
    for stem in stems {
        if of(stem) == wanted || id(stem) == wanted {
            return Ok(stem);
        }
        let begins = of(stem).starts_with(&wanted) || id(stem).starts_with(&wanted);
        if begins && !wanted.is_empty() {
            found.push(stem);
        }
    }
    match found[..] {
        [stem] => Ok(stem),
        [] => Err(Error::new(Kind::NotFound, format!("{given}: no such export in this store"))),
        _ => {
            let more = if found.len() > MAX_NAMED { ", ..." } else { "" };
            let names = found.iter().take(MAX_NAMED).copied().collect::<Vec<_>>().join(", ");
            let text = format!("{given}: {} exports begin like that: {names}{more}", found.len());
            Err(Error::new(Kind::Invalid, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_can_be_named_in_short() {
        let stems = ["export-1a2b", "export-1a3c", "export-1a", "other"];
        let find = |given: &str| chosen(stems, given).map_err(|error| error.to_string());
        for (given, stem) in [
            ("export-1a2b", "export-1a2b"),
            ("1A2B", "export-1a2b"),
            ("1a2", "export-1a2b"),
            ("export-1a3", "export-1a3c"),
            ("1a", "export-1a"),
            ("oth", "other"),
        ] {
            assert_eq!(find(given).as_deref(), Ok(stem), "{given}");
        }
        assert!(find("1").unwrap_err().contains("3 exports begin like that: export-1a2b, "));
        assert!(find("x").unwrap_err().contains("no such export"));
        assert!(find("").is_err());
    }
}
