//! Checking artifacts: everything is read, and what is wrong is named.
//!
//! ```text
//! stored     size, SHA-256, block hashes and their root of every part, against the catalogue (managed stores)
//! contents   decryption, structure of the zip, CRC-32 of every member
//! manifest   rows, bytes and SHA-256 of every file, where the manifest is one of ours
//! ```
//!
//! All cores work at it; memory is bounded by their number and by the number of members.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::SystemTime;

use super::stored_set::part_files;
use crate::artifact::{self, Gaps, MAX_OPEN, OpenedSet};
use crate::crypto::Identity;
use crate::error::{Error, Kind, Result};
use crate::io::{Budget, Cancel};
use crate::store::Store;
use crate::store::catalogue::{StoredArtifact, StoredPartRecord};
use crate::store::names::{id_of, stem_of};
use crate::store::sets::StoredSet;

mod contents;
mod stored_parts;

/// More faults of one artifact than this are only counted.
const MAX_FAULTS: usize = 20;

/// Is told how far checking has come.
pub(crate) trait ProgressListener: Sync {
    /// A stage begins that reads so many bytes.
    fn stage(&self, what: &'static str, total: u64);
    /// So many more bytes have been read.
    fn done(&self, bytes: u64);
}

/// An artifact that can be checked.
pub(crate) struct Subject {
    /// `export-<uuid>`
    pub(crate) stem: String,
    set: Option<Arc<StoredSet>>,
    /// The parts as the catalogue of a managed store has them.
    written: Vec<StoredPartRecord>,
}

/// What a fault is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FaultPlace {
    Part(String),
    Zip,
    /// Counted from 1, in the order of the central directory. Names may be personal: they are for the user alone.
    Member {
        number: usize,
        name: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) place: FaultPlace,
    pub(crate) what: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Ok,
    Bad,
    /// Nothing bad was found, but not everything could be looked at.
    Unchecked,
}

/// What checking an artifact has found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) parts: usize,
    /// Bytes of the stored parts.
    pub(crate) stored: u64,
    /// Members that were read, and their bytes.
    pub(crate) members: usize,
    pub(crate) content: u64,
    /// True if the files were compared with a manifest of ours.
    pub(crate) has_manifest: bool,
    pub(crate) faults: Vec<Fault>,
    /// Number of further faults.
    pub(crate) more: usize,
    /// What could not be looked at, and why.
    pub(crate) unchecked: Vec<String>,
    /// What was left out, because no key was given.
    pub(crate) left_out: Option<&'static str>,
}

impl Report {
    pub(crate) fn verdict(&self) -> Verdict {
        match (self.faults.is_empty(), self.unchecked.is_empty()) {
            (false, _) => Verdict::Bad,
            (true, false) => Verdict::Unchecked,
            (true, true) => Verdict::Ok,
        }
    }

    fn add(&mut self, place: FaultPlace, what: impl Into<String>) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Fault { place, what: what.into() });
        } else {
            self.more += 1;
        }
    }

    /// Adds an error as a fault or, if something only could not be read, as unchecked.
    fn add_error(&mut self, place: FaultPlace, error: &Error) {
        match error.kind() {
            Kind::NoKey | Kind::Unsupported | Kind::Encrypted => {
                if self.unchecked.len() < MAX_FAULTS {
                    self.unchecked.push(error.to_string());
                }
            }
            _ => self.add(place, error.to_string()),
        }
    }
}

/// Returns the artifacts that can be checked, in the order of their names, without those that have expired.
pub(crate) fn subjects(store: &Store, now: SystemTime) -> Result<Vec<Subject>> {
    let mut snapshot = store.snapshot(now, &Cancel::new())?;
    let Some(managed) = store.managed() else {
        let subject = |(stem, set)| Subject { stem, set: Some(set), written: Vec::new() };
        return Ok(snapshot.sets.into_iter().map(subject).collect());
    };
    let artifacts = managed.catalogue.artifacts_at(now)?;
    let subject = |artifact: StoredArtifact| {
        let stem = stem_of(&artifact.run);
        Subject { set: snapshot.sets.remove(&stem), stem, written: artifact.parts }
    };
    Ok(artifacts.into_iter().map(subject).collect())
}

/// Checks one artifact.
pub(crate) fn verify(
    store: &Store,
    subject: &Subject,
    identities: &Arc<[Identity]>,
    watch: &dyn ProgressListener,
) -> Result<Report> {
    let mut report = Report {
        parts: subject.written.len(),
        stored: subject.written.iter().map(|part| part.size).sum(),
        ..Report::default()
    };
    if let Some(managed) = store.managed() {
        for (name, what) in stored_parts::check(managed, id_of(&subject.stem), &subject.written, watch)? {
            report.add(FaultPlace::Part(name), what);
        }
        if identities.is_empty() {
            report.left_out = Some("only the stored parts: without a key nothing can be decrypted");
            return Ok(report);
        }
    }
    let Some(set) = &subject.set else { return Ok(report) };
    if store.managed().is_none() {
        (report.parts, report.stored) = (set.parts.len(), set.stored_size());
        if let Some((a, b)) = set.conflict()? {
            let what = format!("it and {} claim to be the same part, but differ", b.name);
            report.add(FaultPlace::Part(a.name.clone()), what);
            return Ok(report);
        }
    }
    check_decrypted(set, identities, watch, report)
}

/// Checks what is inside the parts. If they are less regular than they look, they are read again by a full index.
fn check_decrypted(
    set: &StoredSet,
    identities: &Arc<[Identity]>,
    watch: &dyn ProgressListener,
    mut report: Report,
) -> Result<Report> {
    let parts = part_files(set);
    set.warm();
    let budget = Budget::new(MAX_OPEN, || false);
    let parts_are_bad = !report.faults.is_empty();
    for indexed in [false, true] {
        let zip = match artifact::open(&parts, identities, indexed, &budget) {
            Ok(OpenedSet::Zip(zip)) => Arc::new(zip),
            // What is wrong with the parts has been reported.
            Ok(OpenedSet::Incomplete(_)) | Err(_) if parts_are_bad => break,
            Ok(OpenedSet::Incomplete(gaps)) => {
                add_gaps(&mut report, set, &gaps);
                break;
            }
            Err(error) => {
                report.add_error(FaultPlace::Zip, &error);
                break;
            }
        };
        match contents::check(&zip, watch, &mut report) {
            Err(error) if error.kind() == Kind::Irregular && !indexed => {}
            Err(error) => {
                report.add_error(FaultPlace::Zip, &error);
                break;
            }
            Ok(()) => break,
        }
    }
    Ok(report)
}

fn add_gaps(report: &mut Report, set: &StoredSet, gaps: &Gaps) {
    let name = |ordinal: &dyn std::fmt::Display| FaultPlace::Part(format!("{}{ordinal}.smime", set.stem));
    gaps.missing.iter().for_each(|ordinal| report.add(name(ordinal), "is missing"));
    gaps.surplus.iter().for_each(|ordinal| {
        report.add(name(ordinal), "does not belong to this set, by what the last part says")
    });
    if gaps.open_ended {
        report.add(FaultPlace::Zip, "more parts may be missing");
    }
}

/// Does work for all numbers below `count`, on all cores.
fn on_all_cores<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let one = || {
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                return done;
            }
            done.push((i, work(i)));
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(count);
    let mut done = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(one)).collect();
        let mut done = one();
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, result)| result).collect()
}
