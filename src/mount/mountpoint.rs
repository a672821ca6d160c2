//! Whether a directory can be mounted on.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statvfs::statvfs;

use super::mountinfo::{DevicePath, is_mounted};
use super::unmount::unmount;
use crate::error::{Error, Kind, Result};

/// Checks the mount point and returns its absolute path.
///
/// `nonempty` allows a directory with something in it, which the mount hides.
pub(crate) fn check(mountpoint: &Path, store: &Path, nonempty: bool) -> Result<PathBuf> {
    let shown = mountpoint.display();
    let refuse =
        |why: &str, hint: String| Err(Error::new(Kind::Invalid, format!("{shown}: {why}")).with_hint(hint));
    let path = fs::canonicalize(mountpoint).map_err(|e| match e.raw_os_error() {
        Some(libc::ENOENT) => Error::from(e).at(&shown).with_hint("make it with mkdir"),
        _ => Error::from(e).at(&shown),
    })?;
    // What is left of a mount whose server died is of no use to anybody.
    if is_dead(&path) {
        log::warn!("{shown}: the server of the mount there has died; it is replaced");
        unmount(&path, false).or_else(|error| {
            log::warn!("{error}: programs that use it go on to fail until they are closed");
            unmount(&path, true)
        })?;
    }
    if !fs::metadata(&path).map_err(|e| Error::from(e).at(&shown))?.is_dir() {
        return refuse("not a directory", "make one with mkdir".into());
    }
    if leads_through(&path, store) {
        return refuse("inside the store that would be mounted on it", "take a directory elsewhere".into());
    }
    if is_mounted(&path) {
        return refuse(
            "something is mounted there already",
            format!("unmount it first: cddsfs unmount {shown}"),
        );
    }
    if !nonempty && fs::read_dir(&path).map_err(Error::from)?.next().is_some() {
        return refuse(
            "not empty",
            "take an empty directory, or give -o nonempty to hide what is in it".into(),
        );
    }
    Ok(path)
}

/// Returns true if a FUSE filesystem is mounted there that nobody serves any more.
pub(crate) fn is_dead(path: &Path) -> bool {
    // A look at a path where nothing is mounted could have something mounted there (autofs). Attributes may still be
    // cached by the kernel; statvfs always asks the server.
    is_mounted(path) && matches!(statvfs(path), Err(Errno::ENOTCONN | Errno::ECONNABORTED))
}

/// A path that the server goes on to use.
pub(crate) struct Needed {
    pub(crate) what: &'static str,
    pub(crate) path: PathBuf,
}

/// Fails if the mount would hide something from its own server, which would then wait for itself for ever. `mountpoint`
/// is as [`check`] has returned it.
pub(crate) fn check_hides_nothing(mountpoint: &Path, needed: &[Needed]) -> Result<()> {
    for Needed { what, path } in needed {
        if leads_through(path, mountpoint) {
            let text = format!(
                "{}: the {what}, {}, is below it, and the mount would hide that from itself",
                mountpoint.display(),
                path.display()
            );
            return Err(Error::new(Kind::Invalid, text).with_hint("take a directory elsewhere"));
        }
    }
    Ok(())
}

/// Returns true if a path leads through a directory, by whatever names: links and bind mounts are other names.
fn leads_through(path: &Path, dir: &Path) -> bool {
    let Some(identity) = identity(dir) else { return false };
    // A path that is not there yet will be made below the nearest ancestor that is.
    let there = path.ancestors().find_map(|path| fs::canonicalize(path).ok());
    let is_inside =
        |path: &Path| DevicePath::of(path).zip(DevicePath::of(dir)).is_some_and(|(a, b)| a.is_in(&b));
    let mut ways = path.ancestors().chain(there.iter().flat_map(|there| there.ancestors()));
    there.as_deref().is_some_and(is_inside) || ways.any(|way| self::identity(way) == Some(identity))
}

/// Device and inode number.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_places_are_refused_with_what_would_be_right() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        let inside = store.join("inside");
        fs::create_dir_all(&inside).unwrap();
        let text = |path: &Path| check(path, &store, false).unwrap_err().to_string();
        assert!(text(&dir.path().join("nowhere")).contains("No such file"));
        assert!(text(&inside).contains("inside the store"));
        assert!(text(dir.path()).contains("not empty"));
        let empty = dir.path().join("empty");
        fs::create_dir(&empty).unwrap();
        assert_eq!(check(&empty, &store, false).unwrap(), fs::canonicalize(&empty).unwrap());
    }

    #[test]
    fn a_mount_hides_nothing_from_its_own_server() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("outer/store")).unwrap();
        fs::create_dir(at("other")).unwrap();
        std::os::unix::fs::symlink(at("outer/store"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("other"), at("outer/out")).unwrap();
        let is_refused = |path: &str| {
            let needed = [Needed { what: "store", path: at(path) }];
            check_hides_nothing(&at("outer"), &needed).is_err()
        };
        for path in
            ["outer", "outer/store", "link", "outer/not/yet/there", "other/../outer/store", "outer/out/x"]
        {
            assert!(is_refused(path), "{path}");
        }
        for path in ["", "other", "other/log", "outer2"] {
            assert!(!is_refused(path), "{path}");
        }
    }
}
