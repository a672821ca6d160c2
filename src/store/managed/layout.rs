//! Names of the files in the directory of a managed store.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

pub(crate) use crate::store::catalogue::sqlite::{CERTIFICATE, LOCK};

pub(crate) const CATALOGUE: &str = "cddsfs.db";
pub(crate) const ARTIFACTS: &str = "artifacts";

/// Makes a directory for its owner alone.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(0o700))
}
