//! The record of a run, from what the catalogue has of it.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::{PresentPart, Record, ShownProgress, artifact_name};
use crate::error::Result;
use crate::export::certificate::expiry_warning;
use crate::export::json::Object;
use crate::export::spec::{KEYS, SOURCE};
use crate::format::text::{Instant, hex};
use crate::store::catalogue::{Run, Status, StoredPartRecord};
use crate::store::managed::Managed;
use crate::store::retention::Retention;

impl Record {
    /// Returns the whole record of a run as it is now.
    pub fn in_full(store: &Managed, run: &Run, now: SystemTime) -> Result<Record> {
        let parts = if run.present { store.catalogue.parts(&run.id)? } else { Vec::new() };
        let (missing, here): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| part.is_deleted);
        let part = |part: StoredPartRecord| {
            let sha256 = Some(hex(&part.sha256));
            PresentPart { name: part.name, size: part.size, sha256 }
        };
        Ok(Record {
            parts: here.into_iter().map(part).collect(),
            missing: missing.into_iter().map(|part| part.name).collect(),
            certificate: certificate(run).unwrap_or_default(),
            warnings: warnings(run, now),
            ..Record::of_run(run, store.catalogue.retention()?, now)
        })
    }

    /// Returns the record without parts, certificate and warnings: tables need no more.
    pub(crate) fn of_run(run: &Run, retention: Retention, now: SystemTime) -> Record {
        let instant = |time: Option<SystemTime>| time.and_then(Instant::of);
        let expires = |made| retention.expires(made).and_then(Instant::of);
        let mut record = Record {
            id: run.id.clone(),
            job: run.job.clone(),
            spec: spec(run),
            status: Some(if run.incomplete { Status::Incomplete } else { run.status }),
            scheduled: instant(run.scheduled.filter(|_| run.status == Status::Scheduled)),
            queued: instant(run.queued),
            started: instant(run.started),
            finished: instant(run.finished),
            progress: progress(run),
            artifact: run.present.then(|| artifact_name(&run.stem(), !run.incomplete)),
            rows: run
                .progress
                .filter(|_| run.status == Status::Completed)
                .map(|progress| progress.rows_total),
            bytes: run.bytes,
            error: run.error.clone().filter(|error| !error.is_empty()),
            ..Record::default()
        };
        match (run.finished, retention, run.deleted) {
            (Some(made), ..) if run.present => {
                record.mtime = Instant::of(made);
                record.expires = expires(made);
                record.remaining_days = retention.remaining_days(made, now);
            }
            (Some(made), Retention::Days(_), Some(_)) => {
                record.mtime = Instant::of(made);
                record.remaining_days = Some(0);
            }
            _ => {}
        }
        record
    }
}

/// Returns the keys of the spec as they were given.
fn spec(run: &Run) -> Object {
    let mut spec: Object = serde_json::from_str(&run.spec).unwrap_or_default();
    if spec.get("source").is_none() {
        spec.0.push(("source".into(), json!(SOURCE)));
    }
    spec.0.retain(|(_, value)| !is_nothing(value));
    spec.picked(&KEYS)
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    }
}

fn progress(run: &Run) -> Option<ShownProgress> {
    let progress = run.progress?;
    Some(ShownProgress {
        percent: match (run.status, progress.rows_total) {
            (Status::Completed, _) => 100.0,
            (_, 0) => 0.0,
            (_, total) => ((progress.rows_done as f64 / total as f64 * 1000.0).floor() / 10.0).min(99.9),
        },
        rows_done: progress.rows_done,
        rows_total: progress.rows_total,
        bytes_written: progress.bytes_written,
        eta_seconds: progress.eta_seconds,
    })
}

fn certificate(run: &Run) -> Option<Value> {
    serde_json::from_str(run.certificate.as_deref()?).ok().filter(|value| !is_nothing(value))
}

/// Returns the warnings about a run: those it was given, and those that follow from its state.
pub(crate) fn warnings(run: &Run, now: SystemTime) -> Vec<String> {
    let own = run.warnings.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let mut warnings: Vec<String> = own.unwrap_or_default();
    if run.attempts > 1 {
        warnings.push(format!("started {} times: the process that ran it ended meanwhile", run.attempts));
    }
    let certificate = certificate(run).filter(|_| run.finished.is_none() || run.present);
    warnings.extend(certificate.and_then(|certificate| expiry_warning(&certificate, now)));
    warnings
}
