//! The files in `history/`: what is known of a run, as JSON.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::Value;

use super::Tree;
use super::attr::TTL_CHANGING;
use super::export::{Context, Export, Made, Outcome, artifact_name};
use super::node;
use crate::error::{Error, Kind, Result};
use crate::export::json::Object;
use crate::export::record::{self, timestamp};
use crate::store::Store;
use crate::store::catalogue::Run;
use crate::store::managed::Managed;
use crate::store::retention::Retention;

/// One run. For a plain store that is what its files tell. Empty values are left out, as in the exports.
#[derive(Serialize)]
struct Record<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    complete: bool,
    artifact: String,
    parts: Vec<Part<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<String>,
    /// Length of the zip.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// Length of all stored parts.
    stored_bytes: u64,
    mtime: String,
    /// True if the export may be older, and the days that are left fewer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    estimated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_days: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct Part<'a> {
    name: &'a str,
    size: u64,
}

/// A record as it is now.
pub struct Rendered {
    pub text: String,
    pub mtime: SystemTime,
    /// True if the next moment's record may be another one.
    pub is_live: bool,
}

impl Rendered {
    /// Returns how long its attributes hold.
    pub fn ttl(&self) -> Duration {
        if self.is_live { Duration::ZERO } else { TTL_CHANGING }
    }
}

/// Renders a record, with a line end.
pub fn render(
    record: &node::Record,
    context: &Context,
    store: &Store,
    retention: Retention,
    now: SystemTime,
) -> Result<Rendered> {
    match (record, store) {
        (node::Record::OfRun(run), Store::Managed(store)) => of_run(store, &run.id, now),
        (node::Record::OfSet(export), _) => {
            let text = record::pretty(&of_set(export, context, retention, now)?);
            Ok(Rendered { text, mtime: export.made(context, now).at, is_live: false })
        }
        (node::Record::OfRun(_), Store::Plain(_)) => Err(gone()),
    }
}

fn gone() -> Error {
    Error::new(Kind::Stale, "the run has been removed")
}

impl Tree {
    /// Returns all records as they are now, the latest first.
    pub fn records(&self) -> Result<Vec<Object>> {
        let (view, now) = (self.view(), self.clock.now());
        let object = |record: &node::Record| match (record, &self.store) {
            (node::Record::OfRun(run), Store::Managed(store)) => {
                let run = current(store, &run.id)?;
                let first = run.queued.or(run.scheduled).or(run.started);
                Ok((first.unwrap_or(now), record::record(store, &run, now)?))
            }
            (node::Record::OfSet(export), _) => {
                let record = of_set(export, &self.exports, view.retention(), now)?;
                Ok((export.made(&self.exports, now).at, record))
            }
            (node::Record::OfRun(_), Store::Plain(_)) => Err(gone()),
        };
        // What has been removed since the view was made is not there any more.
        let is_there = |record: &Result<_>| !record.as_ref().is_err_and(|e| e.kind() == Kind::Stale);
        let mut records =
            view.records().map(object).filter(is_there).collect::<Result<Vec<(SystemTime, Object)>>>()?;
        records.sort_by_key(|(first, _)| std::cmp::Reverse(*first));
        Ok(records.into_iter().map(|(_, record)| record).collect())
    }
}

fn current(store: &Managed, id: &str) -> Result<Run> {
    store.catalogue.run(id)?.filter(|run| !run.hidden).ok_or_else(gone)
}

fn of_run(store: &Managed, id: &str, now: SystemTime) -> Result<Rendered> {
    let run = current(store, id)?;
    let text = record::pretty(&record::record(store, &run, now)?);
    let latest =
        [run.queued, run.started, run.progressed, run.finished, run.deleted].into_iter().flatten().max();
    Ok(Rendered {
        text,
        mtime: latest.or(run.scheduled).unwrap_or(now).min(now),
        is_live: !run.status.is_final(),
    })
}

fn of_set(export: &Export, context: &Context, retention: Retention, now: SystemTime) -> Result<Object> {
    let outcome = export.outcome(context);
    let Made { at: mtime, estimated } = export.made(context, now);
    let (bytes, missing, error) = match &outcome {
        Outcome::Zip(len) => (Some(*len), Vec::new(), None),
        Outcome::Incomplete(incomplete) => {
            let missing =
                incomplete.gaps.missing.iter().map(|o| format!("{}{o}.smime", export.stem())).collect();
            let surplus = incomplete.gaps.surplus.iter().map(|o| format!("{o} does not belong to this set"));
            let conflict =
                incomplete.conflict.iter().map(|(a, b)| format!("{a} and {b} claim to be the same part"));
            let errors: Vec<String> = surplus.chain(conflict).collect();
            (None, missing, (!errors.is_empty()).then(|| errors.join("; ")))
        }
        Outcome::Failed(error) => (None, Vec::new(), Some(error.to_string())),
    };
    let record = Record {
        id: record::id_of(export.stem()),
        // Of a run that somebody else made one only knows that there are files, so that it has ended well.
        status: (!matches!(outcome, Outcome::Failed(_))).then_some("Completed"),
        complete: matches!(outcome, Outcome::Zip(_)),
        artifact: artifact_name(export.stem(), !matches!(outcome, Outcome::Incomplete(_))),
        parts: export
            .set()
            .parts
            .iter()
            .map(|part| Part { name: &part.file.name, size: part.file.size() })
            .collect(),
        missing,
        bytes,
        stored_bytes: export.set().stored_size(),
        mtime: timestamp(mtime),
        estimated,
        expires: retention.expires(mtime).map(timestamp),
        remaining_days: retention.remaining_days(mtime, now),
        error,
    };
    let value =
        serde_json::to_value(&record).map_err(|error| Error::new(Kind::Invalid, error.to_string()))?;
    let Value::Object(map) = value else { return Err(Error::new(Kind::Invalid, "a record is an object")) };
    Ok(Object(map.into_iter().collect()))
}
