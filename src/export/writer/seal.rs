//! Encrypts the segments of a zip into stored parts, and has them made durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

use super::part_writer::{PartWriter, Sealed, UndurablePart};
use super::segment_cutter::SealEvent;
use super::{Staged, Stop, WriterSettings};
use crate::error::Result;
use crate::format::part_name::Ordinal;
use crate::format::zip::write::SPANNING_MARKER;
use crate::store::names::Attempt;
use crate::store::parts::Parts;

/// The number that is in the key of the one part of an unsplit zip; segments count from 1.
const WHOLE: u32 = 0;

pub(crate) struct Sealer {
    parts: Arc<dyn Parts>,
    attempt: Attempt,
    settings: WriterSettings,
    /// The zip as one part; `None` once it is known to be split.
    whole: Option<PartWriter>,
    /// The present segment of a split zip; `None` if the zip is known not to be split.
    segment: Option<PartWriter>,
    /// Number of that segment, counted from 1.
    number: u32,
    /// Bytes in the parts that are complete.
    complete: u64,
    written: Arc<AtomicU64>,
    sealed: SyncSender<UndurablePart>,
}

impl Sealer {
    pub(crate) fn create(
        parts: &Arc<dyn Parts>,
        attempt: &Attempt,
        settings: &WriterSettings,
        sealed: SyncSender<UndurablePart>,
        written: Arc<AtomicU64>,
    ) -> Result<Sealer> {
        let mut sealer = Sealer {
            parts: parts.clone(),
            attempt: attempt.clone(),
            settings: WriterSettings { certificate: settings.certificate.clone(), ..*settings },
            whole: None,
            segment: None,
            number: 1,
            complete: 0,
            written,
            sealed,
        };
        sealer.whole = Some(sealer.part(WHOLE)?);
        if settings.split_size.is_some() {
            let mut first = sealer.part(sealer.number)?;
            first.write(&SPANNING_MARKER)?;
            sealer.segment = Some(first);
        }
        Ok(sealer)
    }

    fn part(&self, number: u32) -> Result<PartWriter> {
        PartWriter::create(&self.parts, &self.attempt, number, &self.settings)
    }

    /// Works until the end of the zip, or until the other ends of the channels have gone.
    pub(crate) fn run(mut self, pieces: Receiver<SealEvent>) -> Staged<()> {
        loop {
            match pieces.recv()? {
                SealEvent::Bytes(bytes) => {
                    for part in self.whole.iter_mut().chain(&mut self.segment) {
                        part.write(&bytes)?;
                    }
                }
                SealEvent::Next => {
                    self.whole = None;
                    let full = self.segment.take();
                    self.complete(full, Ordinal::Split(self.number))?;
                    self.number += 1;
                    self.segment = Some(self.part(self.number)?);
                }
                SealEvent::Unsplit => self.segment = None,
                SealEvent::End => {
                    let last = self.whole.take().or(self.segment.take());
                    return self.complete(last, Ordinal::Last);
                }
            }
            let present = self.segment.as_ref().or(self.whole.as_ref()).map_or(0, PartWriter::size);
            self.written.store(self.complete + present, Ordering::Relaxed);
        }
    }

    fn complete(&mut self, part: Option<PartWriter>, ordinal: Ordinal) -> Staged<()> {
        let part = part.ok_or(Stop::Gone)?.finish(&self.attempt, ordinal)?;
        self.complete += part.size();
        self.written.store(self.complete, Ordering::Relaxed);
        self.sealed.send(part)?;
        Ok(())
    }
}

/// Makes parts durable as they come, and holds them until all are there.
pub(crate) fn finish(location: Arc<dyn Parts>, parts: Receiver<UndurablePart>) -> Staged<Sealed> {
    let mut sealed = Sealed::new(location);
    for part in parts {
        sealed.push(part.finish()?);
    }
    Ok(sealed)
}
