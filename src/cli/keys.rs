//! The options that say which keys to use, and loading them.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, setrlimit};

use super::passphrase::{self, Asker};
use crate::crypto::Identity;
use crate::error::Result;

#[derive(Args)]
pub struct Keys {
    /// Private key: PEM, DER or PKCS#12, readable by you alone; may be given several times
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    #[command(flatten)]
    passphrase: passphrase::Options,
}

impl Keys {
    pub fn load(&self) -> Result<Arc<[Identity]>> {
        protect();
        self.passphrase.check()?;
        let mut asker = Asker::new(&self.passphrase);
        self.key.iter().map(|path| Identity::load(path, &mut |name| asker.ask(name))).collect()
    }
}

/// Keeps keys, and with them what they decrypt, out of core dumps, other processes' reach, and swap.
fn protect() {
    if let Err(error) = setrlimit(Resource::RLIMIT_CORE, 0, 0).and(set_dumpable(false)) {
        log::warn!("core dumps could not be turned off: {error}");
    }
    // Only what is touched is locked: the stacks of threads are large and nearly empty. Without CAP_IPC_LOCK the limit
    // (ulimit -l) would have to hold the whole address space, so that it fails at once rather than later.
    let on_fault = MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    if let Err(error) = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault) {
        log::info!("memory may be swapped out, keys with it: {error}");
    }
}
