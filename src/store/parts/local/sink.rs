//! A file that is going to be a part.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use crate::error::Result;
use crate::store::parts::{PartSink, new_file};

/// A file that is deleted on drop, unless it is finished.
pub(crate) struct Sink {
    path: PathBuf,
    file: File,
    is_finished: bool,
}

impl Sink {
    pub(crate) fn create(path: PathBuf) -> Result<Sink> {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        Ok(Sink { file: new_file(&path)?, path, is_finished: false })
    }
}

impl PartSink for Sink {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.file.write_all(bytes)?)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.file.sync_all()?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if !self.is_finished {
            // It may have gone with its directory.
            let _ = fs::remove_file(&self.path);
        }
    }
}
