//! What a managed store knows: its settings, the jobs, the runs, what they have made and the hashes of its blocks.
//!
//! ```text
//! Catalogue  = settings, Jobs, Runs, Artifacts, Refusals    what there is, for whoever asks
//! Queue                                                     what is to be done, for whoever executes runs
//! sqlite     both, in one file of the store's directory
//! postgres   both, in a database that several hosts reach
//! ```
//!
//! Nothing above [`crate::store`] knows which kind it has. Several processes may have a store open; what one of them
//! commits, the others see at their next query ([`Catalogue::changes`] tells that something has changed). What was
//! committed survives a loss of power.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::clock::{from_ms, to_ms};
use super::retention::Retention;
use crate::error::{Error, Kind, Result};

mod artifacts;
mod jobs;
#[cfg(feature = "postgres")]
pub mod postgres;
mod queue;
mod refusals;
mod runs;
pub mod sqlite;
mod status;

pub use artifacts::{Artifacts, Gone, Hash, PART_BLOCK_HASHES, StoredArtifact, StoredPartRecord};
pub use jobs::{Job, Jobs};
use jobs::{job_instant, job_is_gone};
pub use queue::{Attendance, Claim, Completion, End, Ended, Note, Queue, Standing, Wanted, Why};
pub use refusals::{Refusals, RefusedSpec};
pub use runs::{Progress, Run, Runs};
pub use status::Status;

/// State of a catalogue, for comparison: only that two of them differ means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Revision(u64);

impl Revision {
    /// Makes a revision of a number that differs after each change. For implementations of a catalogue.
    pub fn of(number: i64) -> Revision {
        Revision(number as u64)
    }
}

/// A setting of a store, which is one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Setting {
    Retention,
    Source,
    KeyTransport,
    /// The time of day that was believed last, in milliseconds since 1970.
    ConfirmedClock,
    Certificates,
    /// Where the parts are, in JSON, if not beside the catalogue.
    Parts,
}

impl Setting {
    /// Returns its name in the catalogue.
    pub fn name(self) -> &'static str {
        match self {
            Setting::Retention => "retention_days",
            Setting::Source => "source",
            Setting::KeyTransport => "key_transport",
            Setting::ConfirmedClock => "confirmed_clock",
            Setting::Certificates => "certificates",
            Setting::Parts => "parts",
        }
    }

    /// Returns false for a setting that changes all the time and is shown nowhere: it does not change
    /// [`Catalogue::epoch`].
    pub fn is_shown(self) -> bool {
        self != Setting::ConfirmedClock
    }
}

/// What new exports are encrypted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificates {
    pub pem: Vec<u8>,
    /// The name of the place where they are kept, for errors.
    pub place: String,
}

/// Returns the error of a catalogue that a later cddsfs has made. For implementations of a catalogue.
fn newer_schema(version: i64, known: i64) -> Error {
    let text = format!(
        "its schema is of version {version}; this cddsfs knows versions up to {known}: a newer one is needed"
    );
    Error::new(Kind::Unsupported, text)
}

/// What a managed store knows. All methods may wait for other writers. A method that fails has changed nothing, unless
/// the answer to its commit was lost.
pub trait Catalogue: Jobs + Runs + Artifacts + Refusals {
    /// Returns true if nothing of it can be changed.
    fn is_read_only(&self) -> bool;

    /// Returns a value that differs after every change, whoever has made it.
    fn changes(&self) -> Result<Revision>;

    /// Returns how often [`Catalogue::changes`] is to be asked: what other processes change is noticed after this long.
    fn pace(&self) -> Duration {
        Duration::from_millis(200)
    }

    /// Returns a value that differs after every change of jobs, runs, artifacts and settings, except progress.
    fn epoch(&self) -> Result<Revision>;

    fn setting(&self, setting: Setting) -> Result<Option<String>>;

    fn set(&self, setting: Setting, value: &str) -> Result<()>;

    /// Returns what new exports are encrypted to; the error says where it should be.
    fn certificates(&self) -> Result<Certificates>;

    /// Replaces the certificates, as PEM, in one step.
    fn set_certificates(&self, pem: &[u8]) -> Result<()>;

    /// Returns the time of day that jobs are due and artifacts expire by, which is the same for all that have the store
    /// open: hosts whose own clocks differ would do again and again what another one takes back. `own` is the caller's,
    /// which is returned where all of them are on one machine.
    fn today(&self, own: SystemTime) -> Result<SystemTime> {
        Ok(own)
    }

    /// Makes sure that a plain copy of the catalogue's storage is complete.
    fn checkpoint(&self) -> Result<()>;

    /// Copies the catalogue as it is at one moment to a new SQLite database, whatever kind it is.
    fn copy_to(&self, path: &Path) -> Result<()>;
}

impl dyn Catalogue {
    pub fn retention(&self) -> Result<Retention> {
        match self.setting(Setting::Retention)?.as_deref() {
            None => Ok(Retention::default()),
            Some("never") => Ok(Retention::Never),
            Some(days) => days
                .parse()
                .map(Retention::Days)
                .map_err(|_| Error::damaged("the store's retention is no number of days")),
        }
    }

    pub fn set_retention(&self, retention: Retention) -> Result<()> {
        let text = match retention {
            Retention::Days(days) => days.to_string(),
            Retention::Never => "never".into(),
        };
        self.set(Setting::Retention, &text)
    }

    /// Returns the contact-history database that exports come from: an absolute path, or a URL.
    pub fn source(&self) -> Result<Option<String>> {
        self.setting(Setting::Source)
    }

    pub fn set_source(&self, source: &str) -> Result<()> {
        self.set(Setting::Source, source)
    }

    /// Returns true if content keys are encrypted with RSAES-OAEP instead of PKCS#1 v1.5.
    pub fn uses_oaep(&self) -> Result<bool> {
        Ok(self.setting(Setting::KeyTransport)?.as_deref() == Some("oaep"))
    }

    pub fn set_oaep(&self, oaep: bool) -> Result<()> {
        self.set(Setting::KeyTransport, if oaep { "oaep" } else { "pkcs1" })
    }

    /// Returns the time of day that was believed last.
    pub fn confirmed_clock(&self) -> Result<Option<SystemTime>> {
        Ok(self.setting(Setting::ConfirmedClock)?.and_then(|ms| from_ms(ms.parse().ok()?)))
    }

    /// Records a time of day that is believed.
    pub fn confirm_clock(&self, now: SystemTime) -> Result<()> {
        self.set(Setting::ConfirmedClock, &to_ms(now).to_string())
    }

    /// Returns the jobs that have no run to come and none under way. A run that cannot be read does not count.
    pub fn jobs_without_a_run(&self) -> Result<Vec<Job>> {
        let mut jobs = self.jobs()?;
        let mut busy = HashSet::new();
        for status in [Status::Scheduled, Status::Queued, Status::InProgress] {
            busy.extend(self.runs_that_are(status)?.into_iter().filter_map(|run| run.job));
        }
        jobs.retain(|job| !busy.contains(&job.name));
        Ok(jobs)
    }

    /// Returns the artifacts that have not expired.
    pub fn artifacts_at(&self, now: SystemTime) -> Result<Vec<StoredArtifact>> {
        let retention = self.retention()?;
        let mut artifacts = self.artifacts()?;
        artifacts.retain(|artifact| !retention.has_expired(artifact.made, now));
        Ok(artifacts)
    }

    /// Returns the artifacts that have expired but are still there.
    pub fn expired_at(&self, now: SystemTime) -> Result<Vec<StoredArtifact>> {
        let retention = self.retention()?;
        let is_over = |made: SystemTime| retention.has_expired(made, now);
        // Mostly nothing has expired, which the oldest one shows.
        if !self.oldest_artifact()?.is_some_and(is_over) {
            return Ok(Vec::new());
        }
        let mut artifacts = self.artifacts()?;
        artifacts.retain(|artifact| is_over(artifact.made));
        Ok(artifacts)
    }
}
