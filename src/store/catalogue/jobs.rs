//! The defined jobs.

use std::time::SystemTime;

use super::runs::Run;
use crate::error::{Error, Kind, Result};
use crate::store::clock::from_ms;

/// A defined job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// `jobs/<name>.json`
    pub name: String,
    /// The spec as it was written.
    pub text: String,
    pub modified: SystemTime,
    /// When it was due last.
    pub due: Option<SystemTime>,
    /// The time of the last run to come that somebody removed.
    pub skipped: Option<SystemTime>,
    /// The mark of what has been exported, in the words of the source.
    pub mark: Option<String>,
}

/// Returns an instant of a job as a catalogue has it. One outside of the calendar counts as missing, and is reported. For
/// implementations of a catalogue.
pub(super) fn job_instant(
    name: &str,
    column: &str,
    ms: Option<i64>,
    report: &dyn Fn(&str),
) -> Option<SystemTime> {
    let ms = ms?;
    let instant = from_ms(ms);
    if instant.is_none() {
        report(&format!(
            "jobs/{name}.json: its {column:?} in the catalogue, {ms}, is no instant: it is taken as missing"
        ));
    }
    instant
}

/// Returns the error of [`Jobs::rename_job`] for a job that is not there. For implementations of a catalogue.
pub(super) fn job_is_gone() -> Error {
    Error::new(Kind::NotFound, "the job has been deleted meanwhile")
}

pub trait Jobs: Send + Sync {
    /// Returns the jobs in the order of their names.
    fn jobs(&self) -> Result<Vec<Job>>;

    fn job(&self, name: &str) -> Result<Option<Job>>;

    /// Gives a job its run to come. Nothing happens if the job has been changed or deleted since it was read, or has a
    /// run by now, which is checked in the same transaction.
    fn schedule(&self, job: &Job, run: &Run) -> Result<()>;

    /// Defines a job, or changes the one of that name, and replaces its run that is still to come by `run`.
    fn define_job(&self, name: &str, text: &str, modified: SystemTime, run: Option<&Run>) -> Result<()>;

    /// Adds a job under the first of the names that no other one has, with its run to come.
    fn add_job(
        &self,
        names: &mut dyn Iterator<Item = String>,
        text: &str,
        modified: SystemTime,
        run: &Run,
    ) -> Result<()>;

    /// Changes how a job's spec is written, but not what it means.
    fn set_job_text(&self, name: &str, text: &str, modified: SystemTime) -> Result<()>;

    /// Gives a job another name, and so its runs to come and under way; a job that has the name is replaced. If there
    /// is no job `from`, it fails with [`crate::error::Kind::NotFound`] and nothing is changed.
    fn rename_job(&self, from: &str, to: &str) -> Result<()>;

    /// Deletes a job and its schedule; returns false if there is none. A run that is under way goes on, but does not
    /// belong to the job any more.
    fn delete_job(&self, name: &str) -> Result<bool>;
}
