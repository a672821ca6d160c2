//! The options that say which keys to use, and loading them.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, setrlimit};

use super::passphrase::Source;
use crate::crypto::Identity;
use crate::error::Result;

#[derive(Args)]
pub struct Keys {
    /// Private key: PEM, DER or PKCS#12, readable by you alone; may be given several times
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// Read the key's passphrase from the first line of a file
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_fd")]
    passphrase_file: Option<PathBuf>,
    /// Read the key's passphrase from an open descriptor
    #[arg(long, value_name = "N")]
    passphrase_fd: Option<u32>,
}

impl Keys {
    pub fn load(&self) -> Result<Arc<[Identity]>> {
        protect();
        let mut source = Source::new(self.passphrase_file.as_deref(), self.passphrase_fd)?;
        self.key.iter().map(|path| Identity::load(path, &mut |name| source.get(name))).collect()
    }
}

/// Keeps keys out of core dumps and other processes' reach.
fn protect() {
    if let Err(error) = setrlimit(Resource::RLIMIT_CORE, 0, 0).and(set_dumpable(false)) {
        log::warn!("core dumps could not be turned off: {error}");
    }
}
