//! Is this a place to mount on?

use std::fs;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statvfs::statvfs;

use super::unmount::unmount;
use crate::error::{Error, Kind, Result};

/// Checks the mount point and returns its absolute path.
///
/// `nonempty` allows a directory with something in it, which the mount hides.
pub fn check(mountpoint: &Path, store: &Path, nonempty: bool) -> Result<PathBuf> {
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
    let store = fs::canonicalize(store).map_err(|e| Error::from(e).at(store.display()))?;
    if path.starts_with(&store) {
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
pub fn is_dead(path: &Path) -> bool {
    // Where nothing is mounted, looking at it could mount it: an automount point.
    // Attributes may still be known to the kernel; this is always asked of the server.
    is_mounted(path) && matches!(statvfs(path), Err(Errno::ENOTCONN | Errno::ECONNABORTED))
}

/// Returns true if a FUSE filesystem is mounted on exactly this path.
pub fn is_mounted(path: &Path) -> bool {
    device_of(path).is_some()
}

/// Returns the device, as `MAJOR:MINOR`, of the FUSE filesystem that is mounted on exactly this path.
///
/// A server must not ask its own mount: were it killed just then, it would wait for its own answer and never end.
pub fn device_of(path: &Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts = mounts.lines().filter_map(parse_mountinfo);
    let is_fuse = |kind: &str| kind == "fuse" || kind.starts_with("fuse.");
    // The last one hides those below it.
    let device = |(device, point, kind): (&str, String, &str)| {
        (Path::new(&point) == path && is_fuse(kind)).then(|| device.to_string())
    };
    mounts.filter_map(device).next_back()
}

/// Returns device, mount point and filesystem type of a line of mountinfo (proc(5)).
fn parse_mountinfo(line: &str) -> Option<(&str, String, &str)> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(2);
    Some((before.next()?, unescape(before.nth(1)?), after.split(' ').next()?))
}

/// Blanks and backslashes stand there as three octal digits.
fn unescape(text: &str) -> String {
    ["040", "011", "012", "134"].iter().fold(text.to_string(), |text, octal| {
        let value = u8::from_str_radix(octal, 8).map_or(' ', char::from);
        text.replace(&format!("\\{octal}"), &value.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_lines() {
        let line = r"36 35 98:0 / /mnt/my\040exports rw,noatime master:1 - fuse.cddsfs /store rw";
        assert_eq!(parse_mountinfo(line), Some(("98:0", "/mnt/my exports".into(), "fuse.cddsfs")));
        assert_eq!(parse_mountinfo("nonsense"), None);
    }

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
}
