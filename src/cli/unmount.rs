//! `cddsfs unmount MOUNTPOINT`

use std::path::PathBuf;

use clap::Args;

use super::exit::{Because, Failure, Reason};
use crate::mount::{unmount, unmount_patiently};

#[derive(Args)]
#[command(after_help = "Examples:
  cddsfs unmount ~/exports
  cddsfs unmount --lazy ~/exports      (when something still uses it)

umount ~/exports and fusermount3 -u ~/exports do the same.")]
pub(crate) struct Arguments {
    /// Where the store is mounted
    mountpoint: PathBuf,
    /// Take it away even if programs use it; it ends when they do
    #[arg(long)]
    lazy: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let unmounted = match arguments.lazy {
        true => unmount(&arguments.mountpoint, true),
        false => unmount_patiently(&arguments.mountpoint),
    };
    unmounted.because(Reason::MountPoint)
}
