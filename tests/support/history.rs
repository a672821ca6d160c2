//! What holds of a store from one step to the next, whatever hosts and users do: what is over stays as it is.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use cddsfs::error::Result;
use cddsfs::store::StoreSnapshot;
use cddsfs::store::catalogue::{Run, Status, StoredPartRecord};
use cddsfs::store::managed::Managed;
use cddsfs::store::names::stem_of;
use cddsfs::store::parts::{Key, Version};

use super::invariants::{Known, Moment, violations};

/// A run that is over.
struct Over {
    status: Status,
    finished: Option<SystemTime>,
    attempts: u32,
    /// Its parts as they were when it was completed.
    parts: Vec<StoredPartRecord>,
    versions: HashMap<Key, Version>,
}

/// What a step has come to.
#[derive(Default)]
pub struct Step {
    /// What has become of runs.
    pub changes: Vec<String>,
    pub wrong: Vec<String>,
}

/// What has been seen of a store so far.
pub struct History {
    store: Arc<Managed>,
    pub known: Mutex<Known>,
    over: Mutex<HashMap<String, Over>>,
    /// How each run stood, and by which attempt.
    last: Mutex<HashMap<String, (Status, u32)>>,
}

impl History {
    /// Of a store as it is, without a host or a network in between.
    pub fn new(store: Arc<Managed>) -> History {
        // No clock is believed long enough for anything to expire, and how often a run starts is counted elsewhere.
        let never = Duration::from_secs(1 << 40);
        let known = Known { steady_since: never, interruptions: u32::MAX / 2, ..Known::default() };
        History { store, known: Mutex::new(known), over: Mutex::default(), last: Mutex::default() }
    }

    pub fn store(&self) -> &Arc<Managed> {
        &self.store
    }

    /// Returns what the last step has changed, and what is wrong with it.
    pub fn step(&self) -> Step {
        let mut step = Step::default();
        if let Err(error) = self.look(&mut step) {
            step.wrong.push(error.to_string());
        }
        step
    }

    fn look(&self, Step { changes, wrong }: &mut Step) -> Result<()> {
        let mut last = self.last.lock().unwrap();
        let (known, mut over) = (self.known.lock().unwrap(), self.over.lock().unwrap());
        let mut there = HashSet::new();
        for &status in Status::STORED {
            for run in self.store.catalogue.runs_that_are(status)? {
                let stands = (run.status, run.attempts);
                if last.insert(run.id.clone(), stands) != Some(stands) {
                    changes.push(format!("{}: {}, attempt {}", run.id, run.status, run.attempts));
                }
                match over.get(&run.id) {
                    Some(before) => unchanged(before, &run, wrong),
                    None if run.status.is_final() => {
                        over.insert(run.id.clone(), self.ended(&run, wrong)?);
                    }
                    None => {}
                }
                if let Some(over) = over.get(&run.id).filter(|_| run.status == Status::Completed) {
                    self.whole(over, &run, &known, wrong)?;
                }
                there.insert(run.id);
            }
        }
        for id in known.acknowledged.difference(&known.removed).filter(|id| !there.contains(*id)) {
            wrong.push(format!("the acknowledged run {id} is in no record"));
        }
        Ok(())
    }

    /// Remembers a run that is over since the last step.
    fn ended(&self, run: &Run, wrong: &mut Vec<String>) -> Result<Over> {
        let parts = self.store.catalogue.parts(&run.id)?;
        let mut versions = HashMap::new();
        for part in &parts {
            if part.key.as_str().split('/').nth(1) != Some(&run.attempts.to_string()) {
                wrong.push(format!("{}: completed by attempt {} with {}", run.id, run.attempts, part.key));
            }
            if let Some(found) = self.store.parts.find(&part.key)? {
                versions.insert(part.key.clone(), found.version);
            }
        }
        let (status, finished, attempts) = (run.status, run.finished, run.attempts);
        Ok(Over { status, finished, attempts, parts, versions })
    }

    /// Nothing of an artifact is gone or changed that nobody has deleted.
    fn whole(&self, over: &Over, run: &Run, known: &Known, wrong: &mut Vec<String>) -> Result<()> {
        if known.deleted.contains(&run.id) {
            return Ok(());
        }
        if !run.present {
            wrong.push(format!("{}: its artifact is gone", run.id));
        }
        for part in over.parts.iter().filter(|part| !known.deleted_parts.contains(&part.name)) {
            let found = self.store.parts.find(&part.key)?;
            let is_it = |version: &Version| over.versions.get(&part.key) == Some(version);
            if !found.is_some_and(|found| found.size == part.size && is_it(&found.version)) {
                wrong.push(format!("{}: {} is gone, or has other bytes", run.id, part.key));
            }
        }
        Ok(())
    }

    /// Returns what is wrong with what somebody has seen of the store.
    pub fn shown(&self, snapshot: &StoreSnapshot) -> Vec<String> {
        let (known, over) = (self.known.lock().unwrap(), self.over.lock().unwrap());
        let mut wrong = Vec::new();
        for (stem, set) in &snapshot.sets {
            let of = over.iter().find(|(id, over)| stem_of(id) == *stem && over.status == Status::Completed);
            let Some((_, over)) = of else {
                wrong.push(format!("{stem} is shown, and was not completed"));
                continue;
            };
            let parts = over.parts.iter().filter(|part| !known.deleted_parts.contains(&part.name));
            let is_shown = |part: &StoredPartRecord| {
                set.parts.iter().any(|shown| shown.file.name == part.name && shown.file.size() == part.size)
            };
            wrong.extend(
                parts.filter(|part| !is_shown(part)).map(|part| format!("{} is not shown", part.name)),
            );
        }
        wrong
    }

    /// Returns all that is wrong, by the bytes of whatever there is.
    pub fn all(&self, now: SystemTime, is_settled: bool) -> Vec<String> {
        let moment = Moment { now, passed: Duration::ZERO, is_settled };
        let wrong = violations(&self.store, &mut self.known.lock().unwrap(), &moment);
        wrong.unwrap_or_else(|error| vec![error.to_string()])
    }
}

fn unchanged(before: &Over, run: &Run, wrong: &mut Vec<String>) {
    let now = (run.status, run.finished, run.attempts);
    if now != (before.status, before.finished, before.attempts) {
        wrong.push(format!("{}: was {} and over, and is {} now", run.id, before.status, run.status));
    }
}
