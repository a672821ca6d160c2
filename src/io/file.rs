//! A stored file, read with pread(2).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{ReadAt, available};
use crate::error::{At, Error, Result};

/// A file of the store, opened once; its length is that of the moment it was opened.
pub struct FileReader {
    file: File,
    len: u64,
}

impl FileReader {
    pub fn open(path: &Path) -> Result<FileReader> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let file = File::open(path).at(&name)?;
        let len = file.metadata().at(&name)?.len();
        Ok(FileReader { file, len })
    }
}

impl ReadAt for FileReader {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let wanted = available(self.len, offset, buf.len());
        let mut done = 0;
        while done < wanted {
            match self.file.read_at(&mut buf[done..wanted], offset + done as u64) {
                Ok(0) => return Err(Error::damaged("the file has become shorter while it was read")),
                Ok(n) => done += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(done)
    }
}
