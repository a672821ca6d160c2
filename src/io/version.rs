//! Which bytes a file holds.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Identity, size and times of a file: it differs whenever the file may hold other bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileVersion {
    inode: u64,
    size: u64,
    /// Nanoseconds since 1970. They wrap around after the year 2262, and still tell times apart.
    mtime: i64,
    ctime: i64,
}

impl FileVersion {
    pub(super) fn of(meta: &Metadata) -> FileVersion {
        let ns = |seconds: i64, ns: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(ns);
        FileVersion {
            inode: meta.ino(),
            size: meta.len(),
            mtime: ns(meta.mtime(), meta.mtime_nsec()),
            ctime: ns(meta.ctime(), meta.ctime_nsec()),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn mtime(&self) -> SystemTime {
        let since = Duration::from_nanos(self.mtime.unsigned_abs());
        if self.mtime < 0 { UNIX_EPOCH - since } else { UNIX_EPOCH + since }
    }

    /// Returns inode, size and times, each in little-endian order.
    pub(crate) fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let fields = [self.inode, self.size, self.mtime as u64, self.ctime as u64];
        for (bytes, field) in bytes.chunks_exact_mut(8).zip(fields) {
            bytes.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    /// Reads what [`FileVersion::to_bytes`] has written; `None` for anything else.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<FileVersion> {
        let (fields, rest) = bytes.as_chunks::<8>();
        let [inode, size, mtime, ctime] = *fields else { return None };
        let field = u64::from_le_bytes;
        let version = FileVersion {
            inode: field(inode),
            size: field(size),
            mtime: field(mtime) as i64,
            ctime: field(ctime) as i64,
        };
        rest.is_empty().then_some(version)
    }

    /// Returns true for the same file with the same bytes. Some filesystems make up a new inode number at every lookup,
    /// and a new hard link changes the change time: it is enough that one of them agrees.
    pub(super) fn is_same(&self, other: &FileVersion) -> bool {
        self.has_same_bytes(other) && (self.inode == other.inode || self.ctime == other.ctime)
    }

    /// Returns true if the bytes have not changed. The change time is not compared: it also changes when a file is
    /// deleted.
    pub(super) fn has_same_bytes(&self, other: &FileVersion) -> bool {
        (self.size, self.mtime) == (other.size, other.mtime)
    }
}
