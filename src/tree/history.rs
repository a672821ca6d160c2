//! The files in `history/`: what is known of a run, as JSON.

use std::time::SystemTime;

use serde::Serialize;

use super::Options;
use super::export::{Context, Export, Outcome, artifact_name};
use crate::store::retention;

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
    expires: String,
    remaining_days: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct Part<'a> {
    name: &'a str,
    size: u64,
}

/// Renders the record of an export, with a line end.
pub fn render(export: &Export, context: &Context, options: &Options) -> String {
    let outcome = export.outcome(context);
    let mtime = export.mtime();
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
        id: id_of(export.stem()),
        // Of a run that somebody else made one only knows that there are files, so that it has ended well.
        status: (!matches!(outcome, Outcome::Failed(_))).then_some("Completed"),
        complete: matches!(outcome, Outcome::Zip(_)),
        artifact: artifact_name(export.stem(), !matches!(outcome, Outcome::Incomplete(_))),
        parts: export
            .set()
            .parts
            .iter()
            .map(|part| Part { name: &part.file.name, size: part.file.size })
            .collect(),
        missing,
        bytes,
        stored_bytes: export.set().stored_size(),
        mtime: timestamp(mtime),
        expires: timestamp(retention::expires(mtime, options.retention_days)),
        remaining_days: retention::remaining_days(mtime, options.retention_days, SystemTime::now()),
        error,
    };
    let mut text = serde_json::to_string_pretty(&record).unwrap_or_default();
    text.push('\n');
    text
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
