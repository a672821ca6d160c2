//! A stored file, read with pread(2).

use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::{ReadAt, available};
use crate::error::{At, Error, Kind, Result};

/// A file of the store, opened once. Reads fail once it holds other bytes than at that moment.
pub struct FileReader {
    file: File,
    version: Version,
}

/// Size and modification time in seconds and nanoseconds. (The change time also changes when a file is deleted.)
#[derive(PartialEq, Eq)]
struct Version(u64, i64, i64);

impl Version {
    fn of(meta: &Metadata) -> Version {
        Version(meta.len(), meta.mtime(), meta.mtime_nsec())
    }
}

impl FileReader {
    pub fn open(path: &Path) -> Result<FileReader> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let file = File::open(path).at(&name)?;
        let version = Version::of(&file.metadata().at(&name)?);
        Ok(FileReader { file, version })
    }

    fn changed() -> Error {
        Error::new(Kind::Stale, "the file was changed while it was open")
    }
}

impl ReadAt for FileReader {
    fn len(&self) -> u64 {
        self.version.0
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let wanted = available(self.len(), offset, buf.len());
        let mut done = 0;
        while done < wanted {
            match self.file.read_at(&mut buf[done..wanted], offset + done as u64) {
                Ok(0) => return Err(FileReader::changed()),
                Ok(n) => done += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        if Version::of(&self.file.metadata()?) != self.version {
            return Err(FileReader::changed());
        }
        Ok(done)
    }
}
