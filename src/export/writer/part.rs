//! One stored part on its way to disk: S/MIME text (RFC 8551) around a segment of the zip, with its hashes.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Part, Settings};
use crate::crypto::{EnvelopeWriter, Sha256};
use crate::error::{At, Result};
use crate::format::base64::LineEncoder;
use crate::format::block_hashes::{self, Hash};
use crate::format::mime;
use crate::format::part_name::{Ordinal, file_name};

/// As much of the segment is encrypted at a time.
const STEP: usize = 192 << 10;

/// A file that goes with this value.
pub struct Temporary(PathBuf);

impl Temporary {
    /// Makes a file for its owner alone. What an earlier run has left there goes.
    fn create(path: PathBuf) -> Result<(Temporary, File)> {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok((Temporary(path), file))
    }

    fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            // It may have gone with its directory.
            let _ = fs::remove_file(&self.0);
        }
    }
}

/// A part that is complete; dropped, it goes.
pub struct Sealed {
    part: Part,
    temporary: Temporary,
}

impl Sealed {
    pub fn keep(self) -> Part {
        Part { temporary: self.temporary.keep(), ..self.part }
    }
}

/// A part that has to be synced yet.
pub struct Unsynced {
    file: File,
    sealed: Sealed,
}

impl Unsynced {
    /// Bytes of the stored file.
    pub fn size(&self) -> u64 {
        self.sealed.part.size
    }

    pub fn sync(self) -> Result<Sealed> {
        self.file.sync_all().at(&self.sealed.part.name)?;
        Ok(self.sealed)
    }
}

/// The file, and what is known of its bytes.
struct Stored {
    file: File,
    /// What the part is called where something goes wrong.
    label: String,
    size: u64,
    sha256: Sha256,
    blocks: Vec<Hash>,
}

impl Stored {
    /// Appends whole blocks, or the end.
    fn append(&mut self, text: &[u8]) -> Result<()> {
        self.sha256.update(text);
        self.blocks.extend(text.chunks(block_hashes::BLOCK).map(block_hashes::block));
        self.file.write_all(text).at(&self.label)?;
        self.size += text.len() as u64;
        Ok(())
    }
}

/// A part that is being written.
pub struct PartWriter {
    stored: Stored,
    temporary: Temporary,
    envelope: EnvelopeWriter,
    lines: LineEncoder,
    octets: Vec<u8>,
    /// Text that is not in the file yet.
    text: Vec<u8>,
    plain_size: u64,
}

impl PartWriter {
    /// Begins a part; `number` makes the temporary name.
    pub fn create(dir: &Path, stem: &str, number: u32, settings: &Settings) -> Result<PartWriter> {
        let label = format!("part {} of {stem}", number.max(1));
        let (temporary, file) = Temporary::create(dir.join(format!(".{stem}.{number}.tmp"))).at(&label)?;
        let mut octets = Vec::new();
        let envelope =
            EnvelopeWriter::start(&settings.certificate, settings.transport, &mut octets).at(&label)?;
        let mut text = mime::ENVELOPED_HEADER.as_bytes().to_vec();
        let mut lines = LineEncoder::default();
        lines.update(&octets, &mut text);
        let stored = Stored { file, label, size: 0, sha256: Sha256::default(), blocks: Vec::new() };
        Ok(PartWriter { stored, temporary, envelope, lines, octets, text, plain_size: 0 })
    }

    /// Bytes of the stored file so far.
    pub fn size(&self) -> u64 {
        self.stored.size
    }

    /// Adds some of the segment.
    pub fn write(&mut self, plain: &[u8]) -> Result<()> {
        for step in plain.chunks(STEP) {
            self.octets.clear();
            self.envelope.update(step, &mut self.octets).at(&self.stored.label)?;
            self.lines.update(&self.octets, &mut self.text);
            let whole = self.text.len() / block_hashes::BLOCK * block_hashes::BLOCK;
            self.stored.append(&self.text[..whole])?;
            self.text.drain(..whole);
        }
        self.plain_size += plain.len() as u64;
        Ok(())
    }

    /// Ends the part, which is this one of the set `stem`.
    pub fn finish(self, stem: &str, ordinal: Ordinal) -> Result<Unsynced> {
        let PartWriter { mut stored, temporary, envelope, mut lines, mut octets, mut text, plain_size } =
            self;
        octets.clear();
        envelope.finish(&mut octets).at(&stored.label)?;
        lines.update(&octets, &mut text);
        lines.finish(&mut text);
        text.push(b'\n');
        stored.append(&text)?;
        let part = Part {
            ordinal,
            name: file_name(stem, ordinal),
            temporary: PathBuf::new(),
            size: stored.size,
            plain_size,
            sha256: stored.sha256.finish(),
            root: block_hashes::root(&stored.blocks),
            blocks: stored.blocks,
        };
        Ok(Unsynced { file: stored.file, sealed: Sealed { part, temporary } })
    }
}
