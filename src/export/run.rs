//! One execution of a job: from the snapshot of the source to an artifact in its place.
//!
//! Nothing is visible before the end. The stored parts are written under keys of the attempt; when all of them are durable
//! they get their names, and with the next commit of the catalogue the artifact is there. Whatever happens
//! before that commit, the next start finds a run in progress, clears away its files and starts it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::certificate::expiry_warning;
use super::manifest;
use super::progress::Estimate;
use super::source::{self, CHUNK, Mark, Selection, Snapshot, Source, SourceSpec, Timeframe};
use super::spec::{self, Spec};
use super::writer::{Finished, Settings, Writer};
use crate::crypto::{Certificate, KeyTransport};
use crate::error::{At, Error, Kind, Result};
use crate::format::text::{hex, timestamp};
use crate::format::zip::SPANNING_MARKERS;
use crate::io::Cancel;
use crate::store::catalogue::{self, Claim, Ended, Note, Progress, Run, Standing, StoredPartRecord};
use crate::store::clock::Clock;
use crate::store::managed::Managed;
use crate::store::names::Attempt;

/// Progress is written down this often.
const REPORT: Duration = Duration::from_millis(500);

/// What a run needs.
pub struct Execution<'a> {
    pub store: &'a Managed,
    pub clock: &'a Arc<dyn Clock>,
    pub cancel: &'a Cancel,
    /// It is cancelled, but not for good: the run goes back into the queue.
    pub interrupted: &'a AtomicBool,
}

/// What a run has come to.
struct Exported {
    finished: Finished,
    /// Of the zip that the parts are together.
    bytes: u64,
    rows: u64,
    /// What its job has exported now.
    mark: Option<String>,
}

/// How a run has ended.
pub enum Outcome {
    Completed,
    NoData,
    Cancelled,
    /// It was told to stop, but not for good.
    Interrupted,
    Failed(String),
    /// The catalogue does not answer, so that nobody knows whether the artifact is there.
    Unknown,
    /// The run is another's by now.
    Lost,
}

impl Execution<'_> {
    /// Executes a run that has been claimed. A completed one is written down; for all others the files have to be
    /// removed and the end has to be written down by whoever called, unless the claim is lost.
    pub fn execute(&self, claim: &Claim) -> Outcome {
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
        let settings = Settings {
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
        let members = reporter
            .follow(&written, || self.write_files(&mut *snapshot, &mut writer, &run.id, &reporter.done))?;
        self.warn(claim, &*snapshot)?;
        let manifest = manifest::render(&run.id, created, &spec.given, &certificate.description, &members);
        writer.start_member(manifest::NAME)?;
        writer.write(manifest.as_bytes())?;
        writer.finish_member()?;
        let finished = writer.finish()?;
        self.cancel.check()?;
        let rows = members.iter().map(|(_, rows)| rows).sum();
        // Joined to one zip, a split one has no marker in front.
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
    ) -> Result<Vec<(super::writer::Member, u64)>> {
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

    /// Writes down what is to be said of the rows.
    fn warn(&self, claim: &Claim, snapshot: &dyn Snapshot) -> Result<()> {
        let warnings = snapshot.warnings()?;
        if warnings.is_empty() && claim.run().warnings.is_none() {
            return Ok(());
        }
        let text = json!(warnings).to_string();
        self.patiently(|| self.store.queue.note(claim, Note::Warnings(&text)))
    }

    /// Tries again while another process writes to the catalogue: what has been done is worth waiting for.
    fn patiently(&self, write: impl Fn() -> Result<()>) -> Result<()> {
        loop {
            match write() {
                Err(error) if error.kind() == Kind::TimedOut => self.cancel.check()?,
                done => return done,
            }
        }
    }

    /// Loads the certificate and writes down which one the run has used.
    fn certificate(&self, claim: &Claim) -> Result<Used> {
        let now = self.clock.now();
        let used = Used::load(self.store)?;
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
            spec::Timeframe::All => Timeframe::All,
            spec::Timeframe::Between { start, end } => Timeframe::Between { start: *start, end: *end },
            spec::Timeframe::SinceLastRun => {
                let job =
                    run.job.as_deref().map(|name| self.store.catalogue.job(name)).transpose()?.flatten();
                Timeframe::Since(job.and_then(|job| job.mark).map(Mark::from))
            }
        };
        Ok(Selection { kind: spec.export_type, media_types: spec.media_types.clone(), timeframe })
    }

    /// Puts the parts in their place and completes the run.
    fn publish(&self, claim: &Claim, made: &Exported) -> Result<Outcome> {
        // By a clock that is behind the artifact would soon seem old.
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

    /// Commits. Where the answer is lost, the catalogue is asked whether it has happened: nothing is deleted before.
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
                // Another process writes: all that has been done is worth waiting for.
                Ok(false) if failed.kind() == Kind::TimedOut => self.cancel.check()?,
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

/// The certificate of a store, with what records say of it.
struct Used {
    certificate: Arc<Certificate>,
    description: Value,
}

impl Used {
    fn load(store: &Managed) -> Result<Used> {
        let found = store.catalogue.certificates();
        let pem =
            found.and_then(|found| Certificate::from_pem(&found.pem).at(found.place)).map_err(|error| {
                let text = format!("{error}; give the store one with: cddsfs init STORE --cert CERT.pem");
                Error::new(error.kind(), text)
            })?;
        let description = describe(&pem);
        Ok(Used { certificate: Arc::new(pem), description })
    }
}

/// Returns what records say of a certificate.
pub fn describe(certificate: &Certificate) -> Value {
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
    /// Raised when the run is another's.
    lost: &'a AtomicBool,
}

impl Reporter<'_> {
    /// Does the work while another thread reports on it.
    fn follow<T>(&self, written: &AtomicU64, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let clock = self.execution.clock;
                let mut estimate = Estimate::new(self.total, clock.passed());
                loop {
                    let done = self.done.load(Ordering::Relaxed);
                    let progress = estimate.progress(clock.passed(), done, written.load(Ordering::Relaxed));
                    self.renew(&progress);
                    if ended.recv_timeout(REPORT) != Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                        return;
                    }
                }
            });
            let result = work();
            drop(end);
            result
        })
    }

    /// Writes the progress down. The work is stopped if it is in vain.
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
