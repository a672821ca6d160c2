//! What is mounted where (proc(5), /proc/pid/mountinfo), byte for byte.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountInfo {
    /// `MAJOR:MINOR`
    pub(crate) device: String,
    /// What of the filesystem is mounted: `/`, or less for a bind mount.
    pub(crate) root: PathBuf,
    pub(crate) point: PathBuf,
    pub(crate) kind: String,
}

impl MountInfo {
    fn parse(line: &[u8]) -> Option<MountInfo> {
        let mut fields = line.split(|&byte| byte == b' ').skip(2);
        let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
        let (device, root, point) = (text(fields.next()?), path(fields.next()?), path(fields.next()?));
        // Options, and any number of fields up to one that is a hyphen.
        let kind = text(fields.skip_while(|field| *field != b"-").nth(1)?);
        Some(MountInfo { device, root, point, kind })
    }

    pub(crate) fn is_fuse(&self) -> bool {
        self.kind == "fuse" || self.kind.starts_with("fuse.")
    }
}

fn path(field: &[u8]) -> PathBuf {
    OsString::from_vec(unescape(field)).into()
}

/// A blank, a tab, a line end and a backslash stand there as a backslash and three octal digits; nothing else does.
fn unescape(text: &[u8]) -> Vec<u8> {
    const ESCAPES: [(&[u8], u8); 4] =
        [(b"\\040", b' '), (b"\\011", b'\t'), (b"\\012", b'\n'), (b"\\134", b'\\')];
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((&first, others)) = rest.split_first() {
        let escape = ESCAPES.iter().find(|(escape, _)| rest.starts_with(escape));
        out.push(escape.map_or(first, |(_, byte)| *byte));
        rest = escape.map_or(others, |(escape, _)| &rest[escape.len()..]);
    }
    out
}

/// Returns all mounts that this process sees. Those that hide others come later.
fn mounts() -> Vec<MountInfo> {
    // If it cannot be read, nothing counts as mounted.
    let text = fs::read("/proc/self/mountinfo").unwrap_or_default();
    text.split(|&byte| byte == b'\n').filter_map(MountInfo::parse).collect()
}

/// Returns true if a FUSE filesystem is mounted on exactly this path.
pub(crate) fn is_mounted(path: &Path) -> bool {
    device_of(path).is_some()
}

/// Returns the device, as `MAJOR:MINOR`, of the FUSE filesystem that is mounted on exactly this path.
///
/// A server must not ask its own mount: were it killed just then, it would wait for its own answer and never end.
pub(crate) fn device_of(path: &Path) -> Option<String> {
    let of_path = |mount: &MountInfo| mount.point == path && mount.is_fuse();
    mounts().into_iter().rfind(of_path).map(|mount| mount.device)
}

/// Where something is, whatever it is mounted on: a filesystem, and the path in that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DevicePath {
    device: String,
    path: PathBuf,
}

impl DevicePath {
    /// Of a path without symbolic links.
    pub(crate) fn of(path: &Path) -> Option<DevicePath> {
        let mount =
            mounts().into_iter().filter(|mount| path.starts_with(&mount.point)).reduce(|best, mount| {
                // The later of two on one path hides the earlier.
                if mount.point.as_os_str().len() >= best.point.as_os_str().len() { mount } else { best }
            })?;
        let inside = path.strip_prefix(&mount.point).ok()?;
        // An empty path would add a slash.
        let path = if inside == Path::new("") { mount.root } else { mount.root.join(inside) };
        Some(DevicePath { device: mount.device, path })
    }

    pub(crate) fn is_in(&self, other: &DevicePath) -> bool {
        self.device == other.device && self.path.starts_with(&other.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_mountinfo() {
        let line = br"36 35 98:0 /a\040b /mnt/my\040exports rw,noatime master:1 propagate_from:2 - fuse.cddsfs /store rw";
        let found = MountInfo::parse(line).unwrap();
        assert_eq!((&*found.device, &*found.kind, found.is_fuse()), ("98:0", "fuse.cddsfs", true));
        assert_eq!((found.root, found.point), ("/a b".into(), "/mnt/my exports".into()));
        let none = MountInfo::parse(b"25 1 0:23 / /sys rw - sysfs sysfs rw").unwrap();
        assert_eq!((none.point, none.kind.as_str()), ("/sys".into(), "sysfs"));
        assert_eq!(MountInfo::parse(b"nonsense"), None);
    }

    #[test]
    fn names_of_mount_points_are_exact() {
        for (escaped, name) in [
            (&br"a\040"[..], &b"a "[..]),
            (br"a\134040", br"a\040"),
            (br"\134\134\012\011", b"\\\\\n\t"),
            (br"\043\1", br"\043\1"),
            (b"\xff\xfe", b"\xff\xfe"),
        ] {
            assert_eq!(unescape(escaped), name, "{}", escaped.escape_ascii());
        }
    }
}
