//! One execution of a run: from the snapshot of the source to an artifact in its place.
//!
//! Nothing is visible before the end. The stored parts are written under keys of the attempt; when all of them are
//! durable they get their names, and with the next commit of the catalogue the artifact is there. Whatever happens
//! before that commit, the next start finds a run in progress, clears away its files and starts it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::certificate::expiry_warning;
use super::manifest;
use super::progress::Estimate;
use super::source::{self, CHUNK, Mark, Selection, Snapshot, Source, SourceSpec, Timeframe};
use super::spec::{self, Spec};
use super::writer::{Finished, Writer, WriterSettings};
use crate::crypto::{Certificate, KeyTransport};
use crate::error::{At, Error, Kind, Result};
use crate::format::text::{hex, timestamp};
use crate::format::zip::SPANNING_MARKERS;
use crate::io::Cancel;
use crate::store::catalogue::{self, Claim, Ended, Note, Progress, Run, Standing, StoredPartRecord};
use crate::store::clock::Clock;
use crate::store::managed::Managed;
use crate::store::names::Attempt;

/// How often progress is written down.
const REPORT: Duration = Duration::from_millis(500);
/// Between two attempts to write something down.
const AGAIN: Duration = Duration::from_millis(20);

/// What executing a run takes.
pub(crate) struct Execution<'a> {
    pub(crate) store: &'a Managed,
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) cancel: &'a Cancel,
    /// If this is raised, `cancel` does not mean for good: the run goes back into the queue.
    pub(crate) interrupted: &'a AtomicBool,
}

/// The parts that a run has written, not yet published.
struct Exported {
    finished: Finished,
    /// Length of the zip that the parts make up.
    bytes: u64,
    rows: u64,
    /// What its job has exported so far.
    mark: Option<String>,
}

/// How a run has ended.
pub(crate) enum Outcome {
    Completed,
    NoData,
    Cancelled,
    /// It was told to stop, but not for good.
    Interrupted,
    Failed(String),
    /// The catalogue does not answer, so it is not known whether the artifact is there.
    Unknown,
    /// Another process has taken over the run.
    Lost,
}

impl Execution<'_> {
    /// Executes a run that has been claimed. Its completion is written down here. For every other outcome the caller
    /// has to remove the files and to write down the end, unless the claim is lost.
    pub(crate) fn execute(&self, claim: &Claim) -> Outcome {
        let (run, lost) = (claim.run(), AtomicBool::new(false));
        let done = self.export(claim, &lost).and_then(|made| match made {
            Some(made) => self.publish(claim, &made),
            None => Ok(Outcome::NoData),
        });
        done.unwrap_or_else(|error| match error.kind() {
            _ if lost.load(Ordering::Relaxed) => Outcome::Lost,
            Kind::Cancelled if self.interrupted.load(Ordering::Relaxed) => Outcome::Interrupted,
            Kind::Cancelled => Outcome::Cancelled,
            _ => {
                log::warn!("{}: failed: {error}", run.stem());
                Outcome::Failed(error.to_string())
            }
        })
    }

    /// Writes the parts; `None` if there are no rows.
    fn export(&self, claim: &Claim, lost: &AtomicBool) -> Result<Option<Exported>> {
        let run = claim.run();
        let spec = Spec::parse(run.spec.as_bytes())
            .map_err(|refusal| Error::new(Kind::Invalid, format!("the spec is not valid: {refusal}")))?;
        let certificate = self.certificate(claim)?;
        let mut snapshot = source_of(self.store)?.snapshot(&self.selection(run, &spec)?, self.cancel)?;
        let total: u64 = snapshot.files().iter().map(|file| file.rows).sum();
        if total == 0 {
            self.warn(claim, &*snapshot)?;
            return Ok(None);
        }
        let settings = WriterSettings {
            certificate: certificate.certificate,
            transport: if self.store.catalogue.uses_oaep()? {
                KeyTransport::Oaep
            } else {
                KeyTransport::Pkcs1
            },
            split_size: spec.split_size,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        };
        let created = self.clock.now();
        let attempt = Attempt::new(claim.id(), claim.fence());
        let mut writer = Writer::create(&self.store.parts, &attempt, created, &settings)?;
        let reporter = Reporter { execution: self, claim, total, done: AtomicU64::new(0), lost };
        let written = writer.written();
        let (members, finished) = reporter.follow(&written, || {
            let members = self.write_files(&mut *snapshot, &mut writer, &run.id, &reporter.done)?;
            self.warn(claim, &*snapshot)?;
            let description = &certificate.description;
            let manifest = manifest::render(&run.id, created, &spec.given, description, &members);
            writer.start_member(manifest::NAME)?;
            writer.write(manifest.as_bytes())?;
            writer.finish_member()?;
            Ok((members, writer.finish()?))
        })?;
        self.cancel.check()?;
        let rows = members.iter().map(|(_, rows)| rows).sum();
        // Joined to one zip, a split zip has no spanning marker in front.
        let marker = if finished.parts.len() > 1 { SPANNING_MARKERS[0].len() as u64 } else { 0 };
        let mark = snapshot.mark().map(|mark| mark.to_string());
        Ok(Some(Exported { bytes: finished.bytes - marker, finished, rows, mark }))
    }

    fn write_files(
        &self,
        snapshot: &mut dyn Snapshot,
        writer: &mut Writer,
        run: &str,
        done: &AtomicU64,
    ) -> Result<Vec<(super::writer::WrittenMember, u64)>> {
        let files = snapshot.files().to_vec();
        let mut members = Vec::with_capacity(files.len());
        let mut lines = Vec::with_capacity(2 * CHUNK);
        for (i, file) in files.iter().enumerate() {
            writer.start_member(&file.path.member(run))?;
            let mut rows = 0;
            snapshot.rows(i, &mut |row| {
                let mut full = |lines: &mut Vec<u8>| {
                    self.cancel.check()?;
                    writer.write(lines)?;
                    lines.clear();
                    Ok(())
                };
                row.write_json(&mut lines, &mut full)?;
                rows += 1;
                if lines.len() >= CHUNK {
                    full(&mut lines)?;
                }
                done.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })?;
            writer.write(&lines)?;
            lines.clear();
            members.push((writer.finish_member()?, rows));
        }
        Ok(members)
    }

    /// Writes down the warnings about the rows.
    fn warn(&self, claim: &Claim, snapshot: &dyn Snapshot) -> Result<()> {
        let warnings = snapshot.warnings()?;
        if warnings.is_empty() && claim.run().warnings.is_none() {
            return Ok(());
        }
        let text = json!(warnings).to_string();
        self.patiently(|| self.store.queue.note(claim, Note::Warnings(&text)))
    }

    /// Waits a moment before something is tried again: a catalogue that is away may say so at once.
    fn pause(&self) -> Result<()> {
        self.cancel.check()?;
        std::thread::sleep(AGAIN);
        Ok(())
    }

    /// Tries again while another process writes to the catalogue: the work done so far is worth the wait.
    fn patiently(&self, write: impl Fn() -> Result<()>) -> Result<()> {
        loop {
            match write() {
                Err(error) if error.kind() == Kind::TimedOut => self.pause()?,
                done => return done,
            }
        }
    }

    /// Loads the certificate and writes down which one the run has used.
    fn certificate(&self, claim: &Claim) -> Result<UsedCertificate> {
        let now = self.clock.now();
        let used = UsedCertificate::load(self.store)?;
        let text = used.description.to_string();
        self.patiently(|| self.store.queue.note(claim, Note::Certificate(&text)))?;
        used.certificate.check(now)?;
        if let Some(warning) = expiry_warning(&used.description, now) {
            log::warn!("{warning}");
        }
        Ok(used)
    }

    fn selection(&self, run: &Run, spec: &Spec) -> Result<Selection> {
        let timeframe = match &spec.timeframe {
            spec::SpecTimeframe::All => Timeframe::All,
            spec::SpecTimeframe::Between { start, end } => Timeframe::Between { start: *start, end: *end },
            spec::SpecTimeframe::SinceLastRun => {
                let job =
                    run.job.as_deref().map(|name| self.store.catalogue.job(name)).transpose()?.flatten();
                Timeframe::Since(job.and_then(|job| job.mark).map(Mark::from))
            }
        };
        Ok(Selection { kind: spec.export_type, media_types: spec.media_types.clone(), timeframe })
    }

    /// Puts the parts in their place and completes the run.
    fn publish(&self, claim: &Claim, made: &Exported) -> Result<Outcome> {
        // If the clock is now behind, the artifact would later seem too old.
        let believed = self.store.catalogue.confirmed_clock()?;
        let finished = believed.map_or(self.clock.now(), |believed| believed.max(self.clock.now()));
        let parts = &made.finished.parts;
        let names: Vec<_> = parts.iter().map(|part| (part.key.clone(), part.name.clone())).collect();
        let keys = self.store.parts.publish(&names, finished)?;
        let stored: Vec<_> = parts
            .iter()
            .zip(keys)
            .map(|(part, key)| {
                let record = StoredPartRecord {
                    name: part.name.clone(),
                    key,
                    size: part.size,
                    sha256: part.sha256,
                    root: part.root,
                    is_deleted: false,
                };
                (record, part.blocks.clone())
            })
            .collect();
        let (bytes, rows, mark) = (made.bytes, made.rows, made.mark.as_deref());
        let made = catalogue::Completion { finished, bytes, rows, parts: &stored, mark };
        self.commit(claim, &made)
    }

    /// Commits. If that fails, the catalogue is asked whether it has happened nevertheless; nothing is deleted before.
    fn commit(&self, claim: &Claim, made: &catalogue::Completion<'_>) -> Result<Outcome> {
        let queue = &self.store.queue;
        loop {
            let failed = match queue.complete(claim, made) {
                Ok(Ended::Completed) => return Ok(Outcome::Completed),
                Ok(Ended::Cancelled) => return Err(Error::new(Kind::Cancelled, "cancelled")),
                Ok(Ended::Lost) => return Ok(Outcome::Lost),
                Err(error) => error,
            };
            match queue.is_complete(claim) {
                Ok(true) => return Ok(Outcome::Completed),
                // Another process writes to the catalogue: the work done so far is worth the wait.
                Ok(false) if failed.kind() == Kind::TimedOut => self.pause()?,
                Ok(false) => return Err(failed),
                Err(error) => {
                    let stem = claim.run().stem();
                    log::error!("{stem}: whether it is complete is not known: {failed}; {error}");
                    return Ok(Outcome::Unknown);
                }
            }
        }
    }
}

/// The certificate of a store, and its description in records.
struct UsedCertificate {
    certificate: Arc<Certificate>,
    description: Value,
}

impl UsedCertificate {
    fn load(store: &Managed) -> Result<UsedCertificate> {
        let found = store.catalogue.certificates();
        let pem =
            found.and_then(|found| Certificate::from_pem(&found.pem).at(found.place)).map_err(|error| {
                let text = format!("{error}; give the store one with: cddsfs init STORE --cert CERT.pem");
                Error::new(error.kind(), text)
            })?;
        let description = certificate_json(&pem);
        Ok(UsedCertificate { certificate: Arc::new(pem), description })
    }
}

/// Returns the description of a certificate in records.
pub(crate) fn certificate_json(certificate: &Certificate) -> Value {
    json!({
        "subject": certificate.subject(),
        "serial": certificate.serial(),
        "not_after": timestamp(certificate.not_after()),
        "sha256": hex(&certificate.sha256()),
    })
}

fn source_of(store: &Managed) -> Result<Box<dyn Source>> {
    let source = store.catalogue.source()?.ok_or_else(|| {
        Error::new(Kind::Invalid, "the store has no source; give it one with: cddsfs init STORE --source DB")
    })?;
    source::open(&SourceSpec::parse(&source))
}

/// Writes down the progress of a run from time to time.
struct Reporter<'a> {
    execution: &'a Execution<'a>,
    claim: &'a Claim,
    total: u64,
    done: AtomicU64,
    /// Raised when another process has taken over the run.
    lost: &'a AtomicBool,
}

impl Reporter<'_> {
    /// Does the work and writes down the progress: before, after, and meanwhile from another thread.
    fn follow<T>(&self, written: &AtomicU64, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let clock = self.execution.clock;
        let estimate = Mutex::new(Estimate::new(self.total, clock.passed()));
        let report = || {
            let (done, written) = (self.done.load(Ordering::Relaxed), written.load(Ordering::Relaxed));
            let progress = estimate.lock().progress(clock.passed(), done, written);
            self.renew(&progress);
        };
        report();
        let (end, ended) = channel::<()>();
        let result = std::thread::scope(|scope| {
            let report = &report;
            scope.spawn(move || {
                while ended.recv_timeout(REPORT) == Err(RecvTimeoutError::Timeout) {
                    report();
                }
            });
            let result = work();
            drop(end);
            result
        });
        report();
        result
    }

    /// Writes the progress down. Stops the work if the run is cancelled or lost.
    fn renew(&self, progress: &Progress) {
        let Execution { store, clock, cancel, .. } = self.execution;
        match store.queue.renew(self.claim, progress, clock.now()) {
            Ok(Standing::Go) => {}
            Ok(Standing::Cancel) => cancel.cancel(),
            Ok(Standing::Lost) => {
                self.lost.store(true, Ordering::Relaxed);
                cancel.cancel();
            }
            Err(error) => log::debug!("progress is not written down: {error}"),
        }
    }
}
