//! The options that say which keys to use, and loading them.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

use super::passphrase::{self, Asker};
use crate::crypto::Identity;
use crate::error::Result;

#[derive(Args)]
pub(crate) struct Keys {
    /// Private key: PEM, DER or PKCS#12, readable by you alone; may be given several times
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    #[command(flatten)]
    passphrase: passphrase::PassphraseOptions,
}

impl Keys {
    pub(crate) fn load(&self) -> Result<Arc<[Identity]>> {
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
    if let Err(error) = lock_memory() {
        log::info!("memory may be swapped out, keys with it: {error}");
    }
}

/// Keeps memory from being swapped out, for ever or not at all: under a limit (`ulimit -l`) that is not infinite some
/// later allocation would fail. With a limit of 0 the kernel asks for CAP_IPC_LOCK, which knows no limit (mlock(2)).
fn lock_memory() -> nix::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    let is_limited = soft != RLIM_INFINITY;
    if is_limited {
        setrlimit(Resource::RLIMIT_MEMLOCK, 0, hard)?;
    }
    // Only what is touched is locked: the stacks of threads are large and nearly empty.
    let on_fault = MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    let locked = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault);
    if is_limited {
        setrlimit(Resource::RLIMIT_MEMLOCK, soft, hard)?;
    }
    locked
}
