//! One stored part on its way to its location: S/MIME text (RFC 8551) around a segment of the zip, with its hashes.

use std::sync::Arc;

use super::{WriterSettings, WrittenPart};
use crate::crypto::{EnvelopeWriter, Sha256};
use crate::error::{At, Result};
use crate::format::base64::LineEncoder;
use crate::format::block_hashes::{self, BlockHash};
use crate::format::mime;
use crate::format::part_name::Ordinal;
use crate::store::names::Attempt;
use crate::store::parts::{Key, PartSink, Parts};

/// Bytes of the segment that are encrypted at a time.
const STEP: usize = 192 << 10;

/// Parts that are complete, which are deleted when this is dropped.
pub(crate) struct Sealed {
    location: Arc<dyn Parts>,
    parts: Vec<WrittenPart>,
}

impl Sealed {
    pub(crate) fn new(location: Arc<dyn Parts>) -> Sealed {
        Sealed { location, parts: Vec::new() }
    }

    pub(crate) fn push(&mut self, part: WrittenPart) {
        self.parts.push(part);
    }

    pub(crate) fn keep(mut self) -> Vec<WrittenPart> {
        std::mem::take(&mut self.parts)
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        let keys: Vec<Key> = self.parts.iter().map(|part| part.key.clone()).collect();
        if !keys.is_empty()
            && let Err(error) = self.location.delete(&keys)
        {
            log::debug!("parts that nobody wants are left for later: {error}");
        }
    }
}

/// A complete part that is still to be made durable.
pub(crate) struct UndurablePart {
    sink: Box<dyn PartSink>,
    part: WrittenPart,
}

impl UndurablePart {
    /// Bytes of the stored file.
    pub(crate) fn size(&self) -> u64 {
        self.part.size
    }

    pub(crate) fn finish(self) -> Result<WrittenPart> {
        self.sink.finish().at(&self.part.name)?;
        Ok(self.part)
    }
}

/// Where a part is written to, and the size and hashes of what was written.
struct PartOutput {
    sink: Box<dyn PartSink>,
    /// How errors call the part.
    label: String,
    size: u64,
    sha256: Sha256,
    blocks: Vec<BlockHash>,
}

impl PartOutput {
    /// Appends whole blocks, or the end.
    fn append(&mut self, text: &[u8]) -> Result<()> {
        self.sha256.update(text);
        self.blocks.extend(text.chunks(block_hashes::BLOCK).map(block_hashes::block));
        self.sink.write(text).at(&self.label)?;
        self.size += text.len() as u64;
        Ok(())
    }
}

/// A part that is being written.
pub(crate) struct PartWriter {
    stored: PartOutput,
    key: Key,
    envelope: EnvelopeWriter,
    lines: LineEncoder,
    octets: Vec<u8>,
    /// Text that has not been written yet.
    text: Vec<u8>,
    plain_size: u64,
}

impl PartWriter {
    /// Begins a part; `number` makes its key.
    pub(crate) fn create(
        parts: &Arc<dyn Parts>,
        attempt: &Attempt,
        number: u32,
        settings: &WriterSettings,
    ) -> Result<PartWriter> {
        let label = format!("part {} of {}", number.max(1), attempt.stem());
        let key = attempt.key(number)?;
        let sink = parts.create(&key).at(&label)?;
        let mut octets = Vec::new();
        let envelope =
            EnvelopeWriter::start(&settings.certificate, settings.transport, &mut octets).at(&label)?;
        let mut text = mime::ENVELOPED_HEADER.as_bytes().to_vec();
        let mut lines = LineEncoder::default();
        lines.update(&octets, &mut text);
        let stored = PartOutput { sink, label, size: 0, sha256: Sha256::default(), blocks: Vec::new() };
        Ok(PartWriter { stored, key, envelope, lines, octets, text, plain_size: 0 })
    }

    /// Bytes of the stored file so far.
    pub(crate) fn size(&self) -> u64 {
        self.stored.size
    }

    /// Adds some of the segment.
    pub(crate) fn write(&mut self, plain: &[u8]) -> Result<()> {
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

    /// Ends the part, which gets this ordinal in the set.
    pub(crate) fn finish(self, attempt: &Attempt, ordinal: Ordinal) -> Result<UndurablePart> {
        let PartWriter { mut stored, key, envelope, mut lines, mut octets, mut text, plain_size } = self;
        octets.clear();
        envelope.finish(&mut octets).at(&stored.label)?;
        lines.update(&octets, &mut text);
        lines.finish(&mut text);
        text.push(b'\n');
        stored.append(&text)?;
        let part = WrittenPart {
            ordinal,
            name: attempt.name(ordinal),
            key,
            size: stored.size,
            plain_size,
            sha256: stored.sha256.finish(),
            root: block_hashes::root(&stored.blocks),
            blocks: stored.blocks,
        };
        Ok(UndurablePart { sink: stored.sink, part })
    }
}
