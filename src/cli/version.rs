//! The version: `-V` shows the number alone, `--version` all that a bug report needs.

use crate::{crypto, store};

/// Version of fuser in Cargo.lock; the crate itself does not tell.
const FUSER: &str = "0.18.0";

pub(crate) fn long() -> String {
    let commit = option_env!("CDDSFS_COMMIT").unwrap_or("not recorded (scripts/package records it)");
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!(
        "{}\ncommit   {commit}\nbuild    {build}, {}-{}\nfuser    {FUSER}, without libfuse\nOpenSSL  {}\nSQLite   {}, bundled",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        std::env::consts::OS,
        crypto::library_version(),
        store::library_version(),
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_of_fuser_is_that_of_the_lock_file() {
        let lock = include_str!("../../Cargo.lock");
        assert!(lock.contains(&format!("name = \"fuser\"\nversion = \"{}\"", super::FUSER)));
    }
}
