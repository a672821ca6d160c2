//! The runs of jobs: what is known about each.

use std::time::SystemTime;

use super::status::Status;
use crate::error::Result;
use crate::store::names::stem_of;

/// Progress of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    pub rows_done: u64,
    pub rows_total: u64,
    /// Bytes of stored parts.
    pub bytes_written: u64,
    pub eta_seconds: Option<u64>,
}

/// One execution of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// UUID.
    pub id: String,
    pub job: Option<String>,
    /// JSON.
    pub spec: String,
    pub status: Status,
    pub scheduled: Option<SystemTime>,
    pub queued: Option<SystemTime>,
    pub started: Option<SystemTime>,
    pub finished: Option<SystemTime>,
    /// When it was written down that it is to come.
    pub made: Option<SystemTime>,
    /// Number of its starts.
    pub attempts: u32,
    /// Attempts in a row that ended with their process before a row was written.
    pub deaths: u32,
    /// True if it is to stop.
    pub cancel: bool,
    /// True if it has been removed from the history and is only kept for its artifact.
    pub hidden: bool,
    pub progress: Option<Progress>,
    /// When the progress was written down.
    pub progressed: Option<SystemTime>,
    /// Length of the zip.
    pub bytes: Option<u64>,
    /// JSON.
    pub certificate: Option<String>,
    pub error: Option<String>,
    /// JSON: a list of texts.
    pub warnings: Option<String>,
    /// True if the artifact is there.
    pub present: bool,
    /// True if the artifact is there, but lacks parts that were deleted alone.
    pub incomplete: bool,
    /// When the artifact was removed or had expired.
    pub deleted: Option<SystemTime>,
}

impl Run {
    pub fn new(id: String, spec: String, status: Status) -> Run {
        Run {
            id,
            job: None,
            spec,
            status,
            scheduled: None,
            queued: None,
            started: None,
            finished: None,
            made: None,
            attempts: 0,
            deaths: 0,
            cancel: false,
            hidden: false,
            progress: None,
            progressed: None,
            bytes: None,
            certificate: None,
            error: None,
            warnings: None,
            present: false,
            incomplete: false,
            deleted: None,
        }
    }

    /// Returns what the names of its artifact and of its record begin with.
    pub fn stem(&self) -> String {
        stem_of(&self.id)
    }
}

/// The runs, to be shown, added and ended. [`Queue`](super::Queue) changes those that are executed.
pub trait Runs: Send + Sync {
    /// Returns the runs of the history, in the order of their ids.
    fn runs(&self) -> Result<Vec<Run>>;

    /// Returns all runs of that status, the earliest first; hidden ones too. One that cannot be read is left out.
    fn runs_that_are(&self, status: Status) -> Result<Vec<Run>>;

    fn run(&self, id: &str) -> Result<Option<Run>>;

    fn add_run(&self, run: &Run) -> Result<()>;

    /// Queues a scheduled run that is due.
    fn queue(&self, id: &str, now: SystemTime) -> Result<()>;

    /// Gives a run to come another time.
    fn reschedule(&self, id: &str, at: Option<SystemTime>, now: SystemTime) -> Result<()>;

    /// Fails a run to come for which there is no time at which it could come.
    fn fail_scheduled(&self, id: &str, error: &str, now: SystemTime) -> Result<()>;

    /// Asks for a run to stop. One that has not started is over at once; a job skips one that is still to come.
    fn cancel(&self, id: &str, now: SystemTime) -> Result<()>;

    /// Ends the runs that were asked to stop while they were in progress, and are not in progress any more.
    fn end_cancelled(&self, now: SystemTime) -> Result<()>;

    /// Removes the record of a run that is over; its artifact stays. One that is not over is cancelled, and its record
    /// says so.
    fn remove_run(&self, id: &str, now: SystemTime) -> Result<()>;

    /// Returns the runs not in progress that may have left files which do not belong to an artifact.
    fn runs_with_debris(&self) -> Result<Vec<String>>;

    /// Records that nothing is left of runs but what belongs to their artifacts.
    fn set_clean(&self, runs: &[String]) -> Result<()>;
}
