//! `cddsfs backup STORE DEST`: a copy of a managed store that opens, made while it is in use.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;

use super::exit::{Because, Failure, Reason};
use super::show;
use super::store;

#[derive(Args)]
#[command(after_help = "Examples:
  cddsfs backup store /backup/store-2026-11-25
  cddsfs mount /backup/store-2026-11-25 mnt -o ro --key private.pem

The copy has the catalogue as it is at one moment and all parts that it knows: as hard links on the same filesystem, \
which take no room, else as copies. To put it back, unmount the store, move it away and move the copy to its place.

A copy is a store like any other: mounted without -o ro it runs the jobs too, and deletes what has expired in it.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    store: store::StoreArguments,
    /// New or empty directory
    dest: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let store = store::managed(&arguments.store)?;
    let copied = store.backup(&arguments.dest, SystemTime::now()).because(Reason::Store)?;
    eprintln!(
        "cddsfs: {} artifacts in {} parts, {}: {} linked, {} copied",
        copied.artifacts,
        copied.parts,
        show::size(copied.bytes),
        copied.linked,
        copied.parts - copied.linked
    );
    for missing in &copied.missing {
        eprintln!("cddsfs: not copied: {}", show::clean(missing));
    }
    if copied.jobs > 0 {
        eprintln!("cddsfs: {} jobs: a mount of the copy runs them as well, unless it is -o ro", copied.jobs);
    }
    if copied.missing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Reason::Bad,
        format!("{} parts could not be copied; the copy has everything else", copied.missing.len()),
    ))
}
