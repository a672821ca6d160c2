//! What is to be done, and who does it.
//!
//! A queued run is claimed by one worker. The claim has a *fence*: a number that grows with each claim. Every change of
//! the run states the fence; nothing is changed by a fence that is not the latest, or once the run is not in progress
//! any more. So a worker that was taken for dead can do no harm when it turns out to be alive.
//!
//! Instants that are shown come from the caller. What decides who may work (a lock, or a lease and the clock that it
//! goes by) is up to the queue.

use std::collections::HashSet;
use std::time::SystemTime;

use super::artifacts::{Hash, StoredPartRecord};
use super::runs::{Progress, Run};
use super::status::Status;
use crate::error::Result;

/// Held by a process that executes runs; it ends when it is dropped, or when the process ends in whatever way.
pub struct Attendance {
    _held: Box<dyn Send>,
}

impl Attendance {
    /// Attends until `held` is dropped.
    pub fn new(held: impl Send + 'static) -> Attendance {
        Attendance { _held: Box::new(held) }
    }
}

/// The right of one worker to execute one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    run: Run,
    fence: u32,
}

impl Claim {
    /// Makes the claim of a run, which is given as it is once it is claimed. For implementations of a queue.
    pub fn new(run: Run, fence: u32) -> Claim {
        Claim { run, fence }
    }

    pub fn run(&self) -> &Run {
        &self.run
    }

    pub fn id(&self) -> &str {
        &self.run.id
    }

    pub fn fence(&self) -> u32 {
        self.fence
    }
}

/// Which runs are claimed.
#[derive(Default)]
pub struct Wanted<'a> {
    /// Nothing but the run of that id.
    pub only: Option<&'a str>,
    /// Runs that have to wait, or that the worker is still busy with.
    pub not: HashSet<String>,
}

impl<'a> Wanted<'a> {
    pub fn only(id: &'a str) -> Wanted<'a> {
        Wanted { only: Some(id), not: HashSet::new() }
    }

    pub fn takes(&self, id: &str) -> bool {
        self.only.is_none_or(|only| only == id) && !self.not.contains(id)
    }
}

/// The state of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Go,
    /// The run is to stop.
    Cancel,
    /// The run is another worker's by now, or over: this claim changes nothing any more.
    Lost,
}

/// What is written down about a run while it is executed.
#[derive(Debug, Clone, Copy)]
pub enum Note<'a> {
    /// JSON: what it is encrypted to.
    Certificate(&'a str),
    /// JSON: a list of texts.
    Warnings(&'a str),
}

/// The result of a run.
pub struct Completion<'a> {
    pub finished: SystemTime,
    /// Length of the zip.
    pub bytes: u64,
    pub rows: u64,
    /// In the order of the zip's bytes, with the hashes of their blocks.
    pub parts: &'a [(StoredPartRecord, Vec<Hash>)],
    /// The mark of what its job has exported by now.
    pub mark: Option<&'a str>,
}

/// The outcome for a run that was to be completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Its artifact is there.
    Completed,
    /// The run was to stop: there is no artifact, and it is still in progress.
    Cancelled,
    /// See [`Standing::Lost`]: by this claim there is no artifact.
    Lost,
}

/// The end of a run that has no artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub status: Status,
    pub finished: SystemTime,
    pub error: Option<String>,
    /// True if no files of it are left.
    pub is_clean: bool,
}

/// Why a run goes back into the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its worker was told to stop, but not for good.
    Interrupted,
    /// Its worker has died. That counts as a death, unless rows had been written.
    Died,
}

pub trait Queue: Send + Sync {
    /// Begins to execute runs. `None` while this process may not: where only one process at a time does so, another one
    /// does.
    fn attend(&self) -> Result<Option<Attendance>>;

    /// Claims the earliest queued run that is wanted and that nobody else has: it is in progress then, with a fence
    /// that no claim of it had before. `None` if there is none. It does not wait for others who claim.
    fn claim(&self, wanted: &Wanted<'_>, now: SystemTime) -> Result<Option<Claim>>;

    /// Writes down how far a run has come, and that its worker is alive. This has to be called more often than twice in
    /// ten seconds.
    fn renew(&self, claim: &Claim, progress: &Progress, now: SystemTime) -> Result<Standing>;

    /// Writes something down about a run; nothing if the claim is lost.
    fn note(&self, claim: &Claim, note: Note<'_>) -> Result<()>;

    /// Completes a run: from now on its artifact, whose files are in place, is there. Called again with the same claim
    /// it changes nothing, and returns the same.
    fn complete(&self, claim: &Claim, made: &Completion<'_>) -> Result<Ended>;

    /// Returns true if the run was completed by this claim: for a caller that has lost the answer of
    /// [`Queue::complete`]. It waits for a commit that is still under way, so that false stays false.
    fn is_complete(&self, claim: &Claim) -> Result<bool>;

    /// Ends a run in progress; nothing if the claim is lost.
    fn end(&self, claim: &Claim, end: &End) -> Result<()>;

    /// Puts a run back into the queue. Returns false if the claim is lost, or if the run was to stop and is not queued
    /// again.
    fn give_back(&self, claim: &Claim, why: Why) -> Result<bool>;

    /// Takes over the claims of other workers that have died, and those of this process that it does not hold any more.
    /// From then on they belong to the caller, which ends them or gives them back, and are lost to those that had them.
    /// A run may be one that is to stop. What the caller holds is known to be executed, so it has to ask every few
    /// seconds.
    fn orphans(&self, holds: &dyn Fn(&str) -> bool) -> Result<Vec<Claim>>;

    /// Returns the ids of the runs that are being executed: by other workers that are alive, and by this process, as
    /// `holds` tells. Where it takes time to know that a worker has died, its runs are among them until they are taken
    /// over.
    fn executed(&self, holds: &dyn Fn(&str) -> bool) -> Result<Vec<String>>;

    /// Returns the ids of runs in progress that are to stop.
    fn to_cancel(&self) -> Result<Vec<String>>;
}
