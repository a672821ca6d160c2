//! The record of a run, as `history/` and `cddsfs history --json` show it. Empty values are left out, as in exports.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::json::Object;
use super::spec::{KEYS, SOURCE};
use crate::error::Result;
use crate::store::catalogue::{Run, Status, StoredPartRecord};
use crate::store::managed::Managed;
use crate::store::retention::Retention;

/// A certificate that a new export was encrypted to is warned of from so many days before it expires.
pub const WARN_DAYS: i64 = 30;

/// Returns the record of a run as it is now.
pub fn record(store: &Managed, run: &Run, now: SystemTime) -> Result<Object> {
    let spec: Object = serde_json::from_str(&run.spec).unwrap_or_default();
    let mut record = Object::default();
    let mut put = |key: &str, value: Value| {
        let empty = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Object(object) => object.is_empty(),
            _ => false,
        };
        if !empty {
            record.0.push((key.into(), value));
        }
    };
    put("id", json!(run.id));
    put("job", json!(run.job));
    for key in KEYS {
        let default = if key == "source" { json!(SOURCE) } else { Value::Null };
        put(key, spec.get(key).cloned().unwrap_or(default));
    }
    let parts = if run.present { store.catalogue.parts(&run.id)? } else { Vec::new() };
    let (missing, here): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| part.is_deleted);
    put("status", json!(run.shown_status()));
    for (key, instant) in [
        ("scheduled", run.scheduled.filter(|_| run.status == Status::Scheduled)),
        ("queued", run.queued),
        ("started", run.started),
        ("finished", run.finished),
    ] {
        put(key, json!(instant.map(timestamp)));
    }
    put("progress", progress(run));
    if run.present {
        let suffix = if run.incomplete { ".incomplete" } else { "" };
        put("artifact", json!(format!("{}.zip{suffix}", run.stem())));
        let part = |p: &StoredPartRecord| json!({"name": p.name, "size": p.size, "sha256": hex(&p.sha256)});
        put("parts", here.iter().map(part).collect());
        put("missing", missing.iter().map(|part| part.name.as_str()).collect());
    }
    put("rows", json!(run.progress.filter(|_| run.status == Status::Completed).map(|p| p.rows_total)));
    put("bytes", json!(run.bytes));
    let certificate: Value =
        run.certificate.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    put("certificate", certificate);
    put("warnings", json!(warnings(run, now)));
    if run.present
        && let Some(made) = run.finished
    {
        let retention = store.catalogue.retention()?;
        put("mtime", json!(timestamp(made)));
        put("expires", json!(retention.expires(made).map(timestamp)));
        put("remaining_days", json!(retention.remaining_days(made, now)));
    } else if let (Some(made), Retention::Days(_), Some(_)) =
        (run.finished, store.catalogue.retention()?, run.deleted)
    {
        put("mtime", json!(timestamp(made)));
        put("remaining_days", json!(0));
    }
    put("error", json!(run.error));
    Ok(record)
}

/// Returns how far a run has come, with one digit: 100 only when everything is in place.
pub fn percent(run: &Run) -> Option<f64> {
    let progress = run.progress?;
    Some(match (run.status, progress.rows_total) {
        (Status::Completed, _) => 100.0,
        (_, 0) => 0.0,
        (_, total) => ((progress.rows_done as f64 / total as f64 * 1000.0).floor() / 10.0).min(99.9),
    })
}

fn progress(run: &Run) -> Value {
    let Some(progress) = run.progress else { return Value::Null };
    let mut value = json!({
        "percent": percent(run),
        "rows_done": progress.rows_done,
        "rows_total": progress.rows_total,
        "bytes_written": progress.bytes_written,
    });
    if let (Some(seconds), Some(object)) = (progress.eta_seconds, value.as_object_mut()) {
        object.insert("eta_seconds".into(), json!(seconds));
    }
    value
}

/// Returns what is to be said of a run beside how it stands.
pub fn warnings(run: &Run, now: SystemTime) -> Vec<String> {
    let read = |text: &Option<String>| serde_json::from_str(text.as_deref()?).ok();
    let mut warnings: Vec<String> =
        read(&run.warnings).and_then(|list| serde_json::from_value(list).ok()).unwrap_or_default();
    if run.attempts > 1 {
        warnings.push(format!("started {} times: the process that ran it ended meanwhile", run.attempts));
    }
    let certificate = read(&run.certificate).filter(|_| run.finished.is_none() || run.present);
    warnings.extend(certificate.and_then(|certificate| expiry_warning(&certificate, now)));
    warnings
}

/// Returns what is to be said of a certificate that has expired or soon will.
pub fn expiry_warning(certificate: &Value, now: SystemTime) -> Option<String> {
    let not_after: jiff::Timestamp = certificate.get("not_after")?.as_str()?.parse().ok()?;
    let left = not_after.duration_since(jiff::Timestamp::try_from(now).ok()?);
    let days = left.as_hours().div_euclid(24);
    (days < WARN_DAYS).then(|| match left.is_negative() {
        true => "the certificate has expired: give the store a new one with cddsfs init STORE --cert CERT.pem".into(),
        false => format!(
            "the certificate expires in {days} days: give the store a new one with cddsfs init STORE --cert CERT.pem"
        ),
    })
}

/// Returns the run's id: the stem without the word that CDDS puts before it.
pub fn id_of(stem: &str) -> &str {
    stem.strip_prefix("export-").unwrap_or(stem)
}

/// RFC 3339, UTC, whole seconds: those that stat(1) shows.
pub fn timestamp(instant: SystemTime) -> String {
    let whole = jiff::TimestampRound::new().smallest(jiff::Unit::Second).mode(jiff::RoundMode::Floor);
    jiff::Timestamp::try_from(instant)
        .and_then(|t| t.round(whole))
        .map_or_else(|_| String::new(), |t| t.to_string())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Renders a record for people and programs: indented, with a line end.
pub fn pretty(record: &Object) -> String {
    let mut text = serde_json::to_string_pretty(record).unwrap_or_default();
    text.push('\n');
    text
}
