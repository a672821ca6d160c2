//! Handing in specs: for a run now, for one later, or for a job that runs again and again.
//!
//! A job that is to run has one run with the status `Scheduled` that says when. Whoever runs jobs (the engine)
//! queues it when it is due, and afterwards schedules the next one.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use uuid::Uuid;

use super::refusal::Refusal;
use super::schedule::Recurrence;
use super::spec::{MAX_BYTES, Spec};
use crate::error::{At, Error, Kind, Result};
use crate::store::catalogue::{Job, RefusedSpec, Run, Status};
use crate::store::managed::Managed;

/// Characters of a job's name that is derived from a title, at most.
const MAX_SLUG: usize = 60;

/// A clock that is ahead by no more than this counts as right.
const LEEWAY: Duration = Duration::from_secs(60 * 60);

/// Why a spec is not taken.
#[derive(Debug)]
pub enum Rejected {
    /// It is wrong.
    Refused(Refusal),
    /// The spec could not be written down.
    Failed(Error),
}

impl From<Refusal> for Rejected {
    fn from(refusal: Refusal) -> Rejected {
        Rejected::Refused(refusal)
    }
}

impl From<Error> for Rejected {
    fn from(error: Error) -> Rejected {
        Rejected::Failed(error)
    }
}

impl From<Rejected> for Error {
    fn from(rejected: Rejected) -> Error {
        match rejected {
            Rejected::Refused(refusal) => Error::new(Kind::Invalid, refusal.to_string()),
            Rejected::Failed(error) => error,
        }
    }
}

/// A valid spec, with its text.
pub(crate) struct ParsedSpec {
    spec: Spec,
    text: String,
}

impl ParsedSpec {
    pub(crate) fn parse(text: &[u8]) -> std::result::Result<ParsedSpec, Refusal> {
        let spec = Spec::parse(text)?;
        // This cannot fail: a spec that was parsed is UTF-8.
        let text = String::from_utf8(text.to_vec())
            .map_err(|_| Refusal::new("", "this is not UTF-8", "write UTF-8"))?;
        Ok(ParsedSpec { spec, text })
    }

    /// Hands the spec in, and returns the id of its first run. A spec that runs more than once becomes a job, named
    /// after its title.
    pub(crate) fn submit(&self, store: &Managed, now: SystemTime) -> Result<String> {
        let run = run_of(&self.spec, None, now, now)?;
        let id = run.id.clone();
        match self.spec.run {
            Some(_) => store.catalogue.add_job(&mut names_for(&self.spec.title), &self.text, now, &run)?,
            None => store.catalogue.add_run(&run)?,
        }
        Ok(id)
    }

    /// Defines a job, or changes the one of that name. A job that runs once runs again whenever it is changed.
    pub(crate) fn define(&self, store: &Managed, name: &str, now: SystemTime) -> Result<()> {
        if let Some(job) = store.catalogue.job(name)? {
            if job.text == self.text {
                return Ok(());
            }
            // The same spec in another notation does not run again.
            if Spec::parse(job.text.as_bytes()).is_ok_and(|before| before.given == self.spec.given) {
                store.catalogue.set_job_text(name, &self.text, now)?;
                return Ok(());
            }
        }
        let run = run_of(&self.spec, Some(name), now, now)?;
        store.catalogue.define_job(name, &self.text, now, Some(&run))?;
        Ok(())
    }
}

/// [`ParsedSpec::submit`] of a text.
pub fn submit(store: &Managed, text: &[u8], now: SystemTime) -> std::result::Result<String, Rejected> {
    Ok(ParsedSpec::parse(text)?.submit(store, now)?)
}

/// [`ParsedSpec::define`] of a text.
pub fn define(
    store: &Managed,
    name: &str,
    text: &[u8],
    now: SystemTime,
) -> std::result::Result<(), Rejected> {
    Ok(ParsedSpec::parse(text)?.define(store, name, now)?)
}

/// Makes the next run of a spec, not before `from`.
fn run_of(spec: &Spec, job: Option<&str>, from: SystemTime, now: SystemTime) -> Result<Run> {
    let start = start_of(spec, from)?;
    let due = match &spec.run {
        Some(recurrence) => Some(recurrence.first_from(start).ok_or_else(never_due)?),
        None => Some(start).filter(|&start| SystemTime::from(start) > from),
    };
    let status = if due.is_some() { Status::Scheduled } else { Status::Queued };
    let mut run = Run::new(Uuid::new_v4().to_string(), spec.to_json(), status);
    run.job = job.map(str::to_string);
    run.scheduled = due.map(SystemTime::from);
    run.queued = due.is_none().then_some(now);
    run.made = Some(now);
    Ok(run)
}

/// Returns the earliest time from `from` on at which a spec may run.
fn start_of(spec: &Spec, from: SystemTime) -> Result<Timestamp> {
    let from = instant(from)?;
    Ok(spec.start.map_or(from, |start| start.max(from)))
}

/// The error of a recurring job whose next time would be after the year 9999.
fn never_due() -> Error {
    Error::new(Kind::Invalid, "it would never run: its next time is beyond the year 9999")
}

fn instant(time: SystemTime) -> Result<Timestamp> {
    Timestamp::try_from(time).map_err(|_| Error::new(Kind::Invalid, "the clock is wrong"))
}

/// Schedules the next run of every job that has none scheduled and none under way. A job for which that fails does not
/// keep the others.
pub(crate) fn schedule_next(store: &Managed, now: SystemTime) -> Result<()> {
    let mut failed = reschedule_what_a_wrong_clock_has_made(store, now);
    for job in store.catalogue.jobs_without_a_run()? {
        let scheduled = match next_run(&job, now) {
            Ok(Some(run)) => store.catalogue.schedule(&job, &run),
            Ok(None) => Ok(()),
            // Each such job is logged once; the others go on.
            Err(error) => {
                store.log_once(&format!("jobs/{}.json: {error}", job.name));
                Ok(())
            }
        };
        failed = failed.and(scheduled);
    }
    failed
}

/// Makes the next run of a job, if it has one.
fn next_run(job: &Job, now: SystemTime) -> Result<Option<Run>> {
    let spec = Spec::parse(job.text.as_bytes())
        .map_err(|_| Error::new(Kind::Invalid, "it cannot be read as a spec any more: write it anew"))?;
    let Some(recurrence) = &spec.run else { return Ok(None) };
    // All times since the last one that passed while its run was still under way are made up for by one run. A last
    // time in the future was set by a wrong clock.
    let due = job.due.filter(|due| *due <= now + LEEWAY).unwrap_or(now);
    let skipped = job.skipped.filter(|skipped| is_soon(recurrence, *skipped, now));
    let after = skipped.map_or(due, |skipped| skipped.max(due));
    let after = after + Duration::from_millis(1);
    if recurrence.first_from(start_of(&spec, after)?).is_none() {
        return Ok(None);
    }
    let mut run = run_of(&spec, Some(&job.name), after, now)?;
    while let Some(due) = run.scheduled
        && let Some(later) = recurrence.next_after(instant(due)?)
        && SystemTime::from(later) <= now
    {
        run.scheduled = Some(later.into());
    }
    Ok(Some(run))
}

/// Returns true for one of the next few times of a job. Nobody skips more of them one by one; one that is further off
/// was skipped by a clock that was ahead.
fn is_soon(recurrence: &Recurrence, time: SystemTime, now: SystemTime) -> bool {
    const TIMES: usize = 8;
    let mut last = instant(now).ok();
    for _ in 0..TIMES {
        last = last.and_then(|last| recurrence.next_after(last));
    }
    last.is_some_and(|last| time <= SystemTime::from(last))
}

/// Schedules anew the runs that were scheduled by a clock that was ahead: they would come too late.
fn reschedule_what_a_wrong_clock_has_made(store: &Managed, now: SystemTime) -> Result<()> {
    let mut failed = Ok(());
    for run in store.catalogue.runs_that_are(Status::Scheduled)? {
        let is_of_a_wrong_clock = run.made.is_some_and(|made| made > now + LEEWAY);
        if !is_of_a_wrong_clock && run.scheduled.is_some() {
            continue;
        }
        let job = run.job.as_deref().map(|name| store.catalogue.job(name)).transpose()?.flatten();
        let next = job.as_ref().map(|job| next_run(job, now).at(format_args!("jobs/{}.json", job.name)));
        let done = match next.transpose() {
            Ok(Some(Some(next))) => store.catalogue.reschedule(&run.id, next.scheduled, now),
            // Without a time, and without a job that gives it one, the run would never be due.
            Ok(_) if run.scheduled.is_none() => {
                let why = "when it is to run is no instant; hand the spec in again to have it run";
                store.catalogue.fail_scheduled(&run.id, why, now)
            }
            other => other.map(drop),
        };
        failed = failed.and(done);
    }
    failed
}

/// Writes down the refusal of a spec, with the spec as it was received.
pub(crate) fn keep_refusal(
    store: &Managed,
    target: &str,
    refusal: &Refusal,
    spec: &[u8],
    now: SystemTime,
) -> Result<()> {
    store.catalogue.add_refusal(&refused_spec(target, refusal, spec, now))
}

/// Returns what is kept of a spec that was refused.
pub(crate) fn refused_spec(target: &str, refusal: &Refusal, spec: &[u8], now: SystemTime) -> RefusedSpec {
    RefusedSpec {
        at: now,
        target: target.into(),
        field: refusal.field.clone(),
        wrong: refusal.wrong.clone(),
        remedy: refusal.right.clone(),
        spec: spec[..spec.len().min(MAX_BYTES)].to_vec(),
    }
}

/// Returns the names that a job with that title may have, the best first.
fn names_for(title: &str) -> impl Iterator<Item = String> {
    let slug = slug(title);
    std::iter::once(slug.clone()).chain((2u32..).map(move |n| format!("{slug}-{n}")))
}

/// Returns a title as a file name: letters and digits, with one `-` for whatever else is between them.
fn slug(title: &str) -> String {
    let words = title.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let joined = words.collect::<Vec<_>>().join("-").to_lowercase();
    let short: String = joined.chars().take(MAX_SLUG).collect();
    // No name is reserved: `jobs/new` and `jobs/errors` have no `.json`.
    if short.is_empty() { "job".into() } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::catalogue::{End, Wanted};

    fn store() -> (tempfile::TempDir, Managed) {
        let dir = tempfile::tempdir().unwrap();
        let store = Managed::init(&dir.path().join("s")).unwrap();
        (dir, store)
    }

    fn at(text: &str) -> SystemTime {
        text.parse::<Timestamp>().unwrap().into()
    }

    const NOON: &str = "2026-11-23T12:00:00Z";

    #[test]
    fn once_and_now_is_queued() {
        let (_dir, store) = store();
        let id = submit(&store, br#"{"title":"t","type":"Contact"}"#, at(NOON)).unwrap();
        let run = store.catalogue.run(&id).unwrap().unwrap();
        assert_eq!((run.status, run.queued, run.job), (Status::Queued, Some(at(NOON)), None));
        assert!(store.catalogue.jobs().unwrap().is_empty());
    }

    #[test]
    fn a_recurring_spec_is_a_job_with_a_run_to_come() {
        let (_dir, store) = store();
        let text = br#"{"title":"Nightly: all!","type":"Contact","run":{"every":"day","at":"02:00"}}"#;
        let first = submit(&store, text, at(NOON)).unwrap();
        submit(&store, text, at(NOON)).unwrap();
        let names: Vec<_> = store.catalogue.jobs().unwrap().into_iter().map(|job| job.name).collect();
        assert_eq!(names, ["nightly-all", "nightly-all-2"]);
        let run = store.catalogue.run(&first).unwrap().unwrap();
        assert_eq!((run.status, run.scheduled), (Status::Scheduled, Some(at("2026-11-24T02:00:00Z"))));
        schedule_next(&store, at(NOON)).unwrap();
        assert_eq!(store.catalogue.runs().unwrap().len(), 2, "there is one to come for each");
    }

    #[test]
    fn what_happens_while_the_engine_looks_leads_to_no_second_run() {
        let (_dir, store) = store();
        let (catalogue, spec) = (&store.catalogue, |title: &str| {
            format!(r#"{{"title":"{title}","type":"Contact","run":{{"every":"day","at":"02:00"}}}}"#)
        });
        let cancelled = |id: &str| catalogue.cancel(id, at(NOON)).unwrap();
        let pending = || {
            let runs = catalogue.runs_that_are(Status::Scheduled).unwrap();
            runs.into_iter().map(|run| run.id).collect::<Vec<_>>()
        };
        let first = submit(&store, spec("nightly").as_bytes(), at(NOON)).unwrap();
        cancelled(&first);
        let looked = catalogue.jobs_without_a_run().unwrap();
        assert_eq!(looked.len(), 1);
        let late = next_run(&looked[0], at(NOON)).unwrap().unwrap();

        // The job was changed meanwhile, and so has its run.
        define(&store, "nightly", spec("other").as_bytes(), at(NOON)).unwrap();
        let defined = pending();
        catalogue.schedule(&looked[0], &late).unwrap();
        assert_eq!(pending(), defined);

        // Scheduled by somebody else.
        cancelled(&defined[0]);
        let looked = catalogue.jobs_without_a_run().unwrap();
        let run = |n: u64| next_run(&looked[0], at(NOON) + Duration::from_secs(n)).unwrap().unwrap();
        catalogue.schedule(&looked[0], &run(0)).unwrap();
        let scheduled = pending();
        assert_eq!(scheduled.len(), 1);
        catalogue.schedule(&looked[0], &run(1)).unwrap();
        assert_eq!(pending(), scheduled);

        // Its scheduled run was removed: that time is skipped, and not scheduled again.
        cancelled(&scheduled[0]);
        catalogue.schedule(&looked[0], &run(2)).unwrap();
        assert!(pending().is_empty());

        // Deleted.
        let looked = catalogue.jobs_without_a_run().unwrap();
        catalogue.delete_job("nightly").unwrap();
        catalogue.schedule(&looked[0], &late).unwrap();
        assert!(pending().is_empty());
    }

    #[test]
    fn the_same_text_again_changes_nothing() {
        let (_dir, store) = store();
        let text = br#"{"title":"t","type":"Contact","start":"2027-01-01T00:00:00Z"}"#;
        define(&store, "later", text, at(NOON)).unwrap();
        let before = store.catalogue.runs().unwrap();
        define(&store, "later", text, at(NOON) + Duration::from_secs(1)).unwrap();
        assert_eq!(store.catalogue.runs().unwrap(), before);
        define(
            &store,
            "later",
            br#"{"title":"t","type":"Interaction","start":"2027-01-01T00:00:00Z"}"#,
            at(NOON),
        )
        .unwrap();
        let after = store.catalogue.runs().unwrap();
        let spaced = br#"{"title":"t","type":"Interaction",  "start":"2027-01-01T00:00:00Z"}"#;
        define(&store, "later", spaced, at(NOON)).unwrap();
        assert_eq!(store.catalogue.runs().unwrap(), after, "it means the same");
        assert_eq!(store.catalogue.job("later").unwrap().unwrap().text.as_bytes(), spaced);
        assert_eq!((after.len(), after[0].id == before[0].id), (1, false));
        assert!(store.catalogue.delete_job("later").unwrap());
        assert!(store.catalogue.runs().unwrap().is_empty());
    }

    #[test]
    fn what_recurs_beyond_the_end_of_time_is_refused_or_never_due() {
        let (_dir, store) = store();
        let spec = |start: &str, run: &str| {
            format!(r#"{{"title":"t","type":"Contact","start":"{start}","run":{run}}}"#)
        };
        let last = "9999-12-30T21:59:59Z";
        for run in [
            r#"{"every":"hour","interval":24}"#,
            r#"{"every":"day","at":"21:59"}"#,
            r#"{"every":"week","on":"Friday","at":"02:00"}"#,
            r#"{"every":"month","on":31,"at":"02:00"}"#,
        ] {
            let Err(Rejected::Refused(refusal)) = submit(&store, spec(last, run).as_bytes(), at(NOON)) else {
                panic!("{run} is taken");
            };
            assert_eq!(refusal.field, "start");
        }
        assert!(store.catalogue.runs().unwrap().is_empty() && store.catalogue.jobs().unwrap().is_empty());

        // Its first time is the last one that there is.
        let id = submit(
            &store,
            spec("9999-12-30T00:00:00Z", r#"{"every":"day","at":"21:59"}"#).as_bytes(),
            at(NOON),
        )
        .unwrap();
        let due = at("9999-12-30T21:59:00Z");
        assert_eq!(store.catalogue.run(&id).unwrap().unwrap().scheduled, Some(due));
        store.catalogue.queue(&id, due).unwrap();
        let claim = store.queue.claim(&Wanted::only(&id), due).unwrap().unwrap();
        let end = End { status: Status::NoData, finished: due, error: None, is_clean: true };
        store.queue.end(&claim, &end).unwrap();
        schedule_next(&store, due).unwrap();
        schedule_next(&store, due + Duration::from_secs(3600)).unwrap();
        assert_eq!(store.catalogue.runs().unwrap().len(), 1);
    }
}
