//! What holds of a managed store whatever users and the world have done to it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cddsfs::error::Result;
use cddsfs::export::spec::Spec;
use cddsfs::io::Cancel;
use cddsfs::record::Record;
use cddsfs::store::Store;
use cddsfs::store::catalogue::{Run, Status};
use cddsfs::store::managed::Managed;
use cddsfs::store::names;

pub const HOUR: Duration = Duration::from_secs(3600);
pub const RETENTION: Duration = Duration::from_secs(30 * 86400);

/// What somebody outside knows of a store: what was acknowledged, and what was asked to go.
#[derive(Debug, Default)]
pub struct Known {
    /// Runs that were handed in and acknowledged.
    pub acknowledged: HashSet<String>,
    /// Runs whose record, or whose job with what was to come of it, was removed by somebody.
    pub removed: HashSet<String>,
    /// Artifacts, and parts of them, that somebody has deleted.
    pub deleted: HashSet<String>,
    pub deleted_parts: HashSet<String>,
    /// Artifacts that have been seen complete: when they were made, by the time of day.
    pub made: HashMap<String, SystemTime>,
    /// How often processes were ended, or a disk was full, so that runs had to begin anew.
    pub interruptions: u32,
    /// Since when the time of day has run without a step forward, or was put back, in time that has passed.
    pub steady_since: Duration,
    /// True if there never was a step forward that was not taken back.
    pub never_stepped: bool,
}

/// The moment of a check.
pub struct Moment {
    pub now: SystemTime,
    pub passed: Duration,
    /// Somebody who runs jobs has looked at everything, undisturbed, and nothing is under way.
    pub is_settled: bool,
}

/// Returns the store as another process sees it, where it can be opened again.
fn opened(store: &Arc<Managed>) -> Result<Store> {
    match store.parts.dir() {
        Some(_) => Store::open(store.dir(), false),
        None => Ok(Store::Managed(store.clone())),
    }
}

/// Returns the names, or the keys, of everything that is where the parts are.
fn stored(store: &Managed) -> Result<HashSet<String>> {
    let Some(dir) = store.parts.dir() else {
        return Ok(store
            .parts
            .list(&Cancel::new())?
            .parts
            .into_iter()
            .map(|part| part.key.to_string())
            .collect());
    };
    let entries = fs::read_dir(dir)?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Returns what does not hold. Fails if the catalogue cannot be read (a full disk has no room for SQLite's index of its log).
pub fn violations(store: &Arc<Managed>, known: &mut Known, moment: &Moment) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    whole(store, known, moment, &mut wrong)?;
    // What completes meanwhile is there then.
    let runs = runs(store)?;
    accounted(&runs, known, &mut wrong);
    executed_once(store, &runs, known, moment, &mut wrong)?;
    not_before_its_time(store, &runs, known, moment, &mut wrong)?;
    if moment.is_settled {
        scheduled(store, &runs, moment, &mut wrong)?;
        owned(&runs, &mut wrong);
        explained(store, &runs, &mut wrong)?;
    }
    Ok(wrong)
}

/// All runs, those that are hidden too.
fn runs(store: &Managed) -> Result<HashMap<String, Run>> {
    let mut runs = HashMap::new();
    for status in Status::ALL {
        runs.extend(store.catalogue.runs_that_are(status)?.into_iter().map(|run| (run.id.clone(), run)));
    }
    Ok(runs)
}

/// No acknowledged run is unaccounted for.
fn accounted(runs: &HashMap<String, Run>, known: &Known, wrong: &mut Vec<String>) {
    for id in known.acknowledged.difference(&known.removed) {
        if !runs.contains_key(id) {
            wrong.push(format!("the acknowledged run {id} is in no record"));
        }
    }
    for run in runs.values().filter(|run| run.status == Status::Failed) {
        let error = run.error.clone().unwrap_or_default();
        // What a full disk or the source has done is said.
        if error.contains("interrupted") || error.contains("died") || error.is_empty() {
            wrong.push(format!("{}: failed, but only its process has died: {error:?}", run.id));
        }
    }
}

/// None was executed twice without a reason in its record.
fn executed_once(
    store: &Managed,
    runs: &HashMap<String, Run>,
    known: &Known,
    moment: &Moment,
    wrong: &mut Vec<String>,
) -> Result<()> {
    for run in runs.values().filter(|run| run.attempts > 1) {
        if run.attempts > 1 + known.interruptions {
            wrong.push(format!("{}: started {} times without a reason", run.id, run.attempts));
        }
        let record = Record::in_full(store, run, moment.now)?.pretty();
        if run.status == Status::Completed && !record.contains("started ") {
            wrong
                .push(format!("{}: started {} times, and its record does not say why", run.id, run.attempts));
        }
    }
    Ok(())
}

/// No artifact is visible that is not whole.
fn whole(store: &Arc<Managed>, known: &mut Known, moment: &Moment, wrong: &mut Vec<String>) -> Result<()> {
    let managed = opened(store)?;
    let snapshot = managed.snapshot(moment.now, &Cancel::new())?;
    for artifact in store.catalogue.artifacts()? {
        let stem = names::stem_of(&artifact.run);
        let Some(set) = snapshot.sets.get(&stem) else { continue };
        for part in artifact.parts.iter().filter(|part| !part.is_deleted) {
            let Some(shown) = set.parts.iter().find(|shown| shown.file.name == part.name) else {
                wrong.push(format!("{stem}: {} is not shown", part.name));
                continue;
            };
            let found = store.parts.find(&part.key)?;
            let reader = found.and_then(|found| store.parts.open(&found, &Cancel::new()).ok());
            let bytes =
                reader.and_then(|reader| reader.read_vec(0, reader.len() as usize).ok()).unwrap_or_default();
            if openssl::sha::sha256(&bytes) != part.sha256 || shown.file.size() != part.size {
                wrong.push(format!("{}: other bytes than were written", part.name));
            }
        }
        if set.parts.len() != artifact.parts.iter().filter(|part| !part.is_deleted).count() {
            wrong.push(format!("{stem}: {} parts are shown", set.parts.len()));
        }
        known.made.entry(artifact.run).or_insert(artifact.made);
    }
    for (stem, set) in &snapshot.sets {
        if set.run.is_none() {
            wrong.push(format!("{stem} is shown, and no run has made it"));
        }
    }
    Ok(())
}

/// None is gone before its time.
fn not_before_its_time(
    store: &Managed,
    runs: &HashMap<String, Run>,
    known: &mut Known,
    moment: &Moment,
    wrong: &mut Vec<String>,
) -> Result<()> {
    let is_believed = known.never_stepped || moment.passed >= known.steady_since + HOUR;
    let mut over = Vec::new();
    for (run, made) in &known.made {
        if known.deleted.contains(run) {
            continue;
        }
        let has_expired = *made + RETENTION <= moment.now;
        let parts = store.catalogue.parts(run)?;
        let is_there = runs.get(run).is_some_and(|run| run.present)
            && parts
                .iter()
                .filter(|part| !known.deleted_parts.contains(&part.name))
                .all(|part| !part.is_deleted && matches!(store.parts.find(&part.key), Ok(Some(_))));
        if !(is_there || has_expired && is_believed) {
            wrong.push(format!("the artifact of {run} is gone, and its time has not come"));
        }
        if !is_there {
            over.push(run.clone());
        }
    }
    // What has gone in its time is gone whatever the clock says later.
    known.deleted.extend(over);
    Ok(())
}

/// No job stops being scheduled.
fn scheduled(
    store: &Managed,
    runs: &HashMap<String, Run>,
    moment: &Moment,
    wrong: &mut Vec<String>,
) -> Result<()> {
    for job in store.catalogue.jobs()? {
        let recurs = Spec::parse(job.text.as_bytes()).is_ok_and(|spec| spec.run.is_some());
        if !recurs {
            continue;
        }
        let to_come: Vec<&Run> = runs
            .values()
            .filter(|run| run.job.as_ref() == Some(&job.name) && !run.status.is_final())
            .collect();
        // All recurring specs of the model run every hour, after what somebody has left out; a clock may be an hour off.
        let from = job.skipped.map_or(moment.now, |skipped| skipped.max(moment.now));
        let is_soon = |run: &&&Run| run.scheduled.is_none_or(|at| at <= from + 2 * HOUR);
        if to_come.iter().filter(is_soon).count() != 1 {
            wrong.push(format!("jobs/{}.json: its runs to come are {to_come:?}", job.name));
        }
    }
    Ok(())
}

/// What is under way has somebody who does it.
fn owned(runs: &HashMap<String, Run>, wrong: &mut Vec<String>) {
    for run in runs.values() {
        let rests = run.status == Status::Queued && run.deaths > 0;
        if matches!(run.status, Status::InProgress | Status::Queued) && !rests {
            wrong.push(format!("{}: is {}, and nobody does it", run.id, run.status));
        }
    }
}

/// Nothing is on disk that no record explains.
fn explained(store: &Managed, runs: &HashMap<String, Run>, wrong: &mut Vec<String>) -> Result<()> {
    let mut explained = HashSet::new();
    for run in runs.values().filter(|run| run.present) {
        let parts = store.catalogue.parts(&run.id)?;
        explained.extend(parts.into_iter().filter(|part| !part.is_deleted).map(|part| part.key.to_string()));
    }
    for name in stored(store)?.difference(&explained) {
        wrong.push(format!("artifacts/{name}: no record explains it"));
    }
    Ok(())
}
