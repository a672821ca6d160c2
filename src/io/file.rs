//! A stored file, read with pread(2).

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::{Cancel, FileVersion, ReadAt, available, regular};
use crate::error::{At, Error, Kind, Result};

/// Bytes that are read between two checks of the cancel flag.
const STEP: usize = 256 << 10;

/// A stored file, opened once. Reads fail once its bytes have changed since then.
pub struct FileReader {
    file: File,
    version: FileVersion,
    stop: Cancel,
}

impl FileReader {
    /// Opens a regular file; `regular` says which links are followed.
    pub fn open(path: &Path) -> Result<FileReader> {
        let (file, version) = regular::open(path).at(name_of(path))?;
        Ok(FileReader { file, version, stop: Cancel::new() })
    }

    /// Opens a file that must still have this version; otherwise fails with [`Kind::Stale`]. Reads fail once `stop` is
    /// raised.
    pub(crate) fn open_version(path: &Path, version: &FileVersion, stop: &Cancel) -> Result<FileReader> {
        stop.check()?;
        let opened = FileReader { stop: stop.clone(), ..FileReader::open(path)? };
        if !opened.version.is_same(version) {
            return Err(
                Error::new(Kind::Stale, "it has been changed since it was looked at").at(name_of(path))
            );
        }
        Ok(opened)
    }

    /// Returns true if both have opened the same file.
    pub(crate) fn is_same_file(&self, other: &FileReader) -> Result<bool> {
        let identity = |file: &File| file.metadata().map(|meta| (meta.dev(), meta.ino()));
        Ok(identity(&self.file)? == identity(&other.file)?)
    }

    /// Returns the first position from `at` on that is not in a hole; holes read as zeros.
    pub(crate) fn next_data(&self, at: u64) -> Result<u64> {
        let Ok(offset) = libc::off_t::try_from(at) else { return Ok(self.len()) };
        // SAFETY: no memory is passed. Reads do not use the file position that this sets.
        let found = unsafe { libc::lseek(self.file.as_raw_fd(), offset, libc::SEEK_DATA) };
        match (u64::try_from(found), nix::errno::Errno::last()) {
            (Ok(found), _) => Ok(found.min(self.len())),
            (Err(_), nix::errno::Errno::ENXIO) => Ok(self.len()),
            // The filesystem does not report holes.
            (Err(_), _) => Ok(at),
        }
    }

    fn changed() -> Error {
        Error::new(Kind::Stale, "the file was changed while it was open")
    }
}

fn name_of(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy()
}

impl ReadAt for FileReader {
    fn len(&self) -> u64 {
        self.version.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let wanted = available(self.len(), offset, buf.len());
        let mut done = 0;
        self.stop.check()?;
        while done < wanted {
            let end = wanted.min(done + STEP);
            match self.file.read_at(&mut buf[done..end], offset + done as u64) {
                Ok(0) => return Err(FileReader::changed()),
                Ok(n) => done += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
            self.stop.check()?;
        }
        if !FileVersion::of(&self.file.metadata()?).has_same_bytes(&self.version) {
            return Err(FileReader::changed());
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn version(path: &Path) -> FileVersion {
        regular::version_of(path).unwrap()
    }

    #[test]
    fn a_file_that_is_another_one_than_was_looked_at_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("x"), dir.path().join("y"));
        fs::write(&path, "one").unwrap();
        let (before, stop) = (version(&path), Cancel::new());
        let reader = FileReader::open_version(&path, &before, &stop).unwrap();
        assert_eq!(reader.read_vec(0, 9).unwrap(), b"one");
        // The same size and the same time.
        fs::write(&other, "two").unwrap();
        let times = fs::FileTimes::new().set_modified(before.mtime());
        File::options().write(true).open(&other).unwrap().set_times(times).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::rename(&other, &path).unwrap();
        let error = FileReader::open_version(&path, &before, &stop).err().unwrap();
        assert_eq!(error.kind(), Kind::Stale, "{error}");
        assert!(FileReader::open_version(&path, &version(&path), &stop).is_ok());
    }

    #[test]
    fn reads_fail_soon_after_the_flag_is_raised() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, vec![7; 3 * STEP]).unwrap();
        let (version, stop) = (version(&path), Cancel::new());
        let reader = FileReader::open_version(&path, &version, &stop).unwrap();
        assert_eq!(reader.read_vec(0, 3 * STEP).unwrap(), vec![7; 3 * STEP]);
        stop.cancel();
        assert_eq!(reader.read_vec(0, 1).unwrap_err().kind(), Kind::Cancelled);
        let error = FileReader::open_version(&path, &version, &stop).err().unwrap();
        assert_eq!(error.kind(), Kind::Cancelled);
    }
}
