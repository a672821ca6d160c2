//! The record of a run, or of a set that somebody else has made: what is known of it. JSON (`history/`, `--json`),
//! tables and extended attributes are renderings of it. Empty values are left out, as in exports.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::export::json::Object;
use crate::format::text::{Instant, pretty};
use crate::store::catalogue::Status;

pub mod attributes;
pub mod csv;
mod run;
mod set;

pub(crate) use run::warnings;
pub(crate) use set::{IncompleteSet, MadeAt, SetState, may_be_whole};

/// One run or set; its fields are the keys of its JSON, in their order.
#[derive(Clone, Default, Serialize)]
pub struct Record {
    pub(crate) id: String,
    #[serde(skip_serializing_if = "is_empty")]
    pub(crate) job: Option<String>,
    /// The keys of a spec.
    #[serde(flatten)]
    pub(crate) spec: Object,
    /// `None` for a set that nobody has looked into yet.
    #[serde(skip_serializing_if = "is_empty")]
    pub(crate) status: Option<Status>,
    /// Only of a set: true if it is a zip.
    #[serde(skip_serializing_if = "is_empty")]
    pub(crate) complete: Option<bool>,
    /// When a run that has not begun is due.
    #[serde(skip_serializing_if = "is_empty")]
    pub(crate) scheduled: Option<Instant>,
    #[serde(skip_serializing_if = "is_empty")]
    pub(crate) queued: Option<Instant>,
    #[serde(skip_serializing_if = "is_empty")]
    pub(crate) started: Option<Instant>,
    #[serde(skip_serializing_if = "is_empty")]
    pub(crate) finished: Option<Instant>,
    #[serde(skip_serializing_if = "is_empty")]
    pub(crate) progress: Option<ShownProgress>,
    /// Name in `artifacts/`, while the artifact is there.
    #[serde(skip_serializing_if = "is_empty")]
    pub(crate) artifact: Option<String>,
    #[serde(skip_serializing_if = "is_empty")]
    pub(crate) parts: Vec<PresentPart>,
    /// Names of the parts that are missing.
    #[serde(skip_serializing_if = "is_empty")]
    pub(crate) missing: Vec<String>,
    #[serde(skip_serializing_if = "is_empty")]
    pub(crate) rows: Option<u64>,
    /// Length of the zip.
    #[serde(skip_serializing_if = "is_empty")]
    pub(crate) bytes: Option<u64>,
    /// Length of all stored parts of a set.
    #[serde(skip_serializing_if = "is_empty")]
    pub(crate) stored_bytes: Option<u64>,
    #[serde(skip_serializing_if = "is_empty")]
    pub(crate) certificate: Value,
    #[serde(skip_serializing_if = "is_empty")]
    pub(crate) warnings: Vec<String>,
    #[serde(skip_serializing_if = "is_empty")]
    pub(crate) mtime: Option<Instant>,
    /// True if the export may be older than `mtime`, with fewer days left.
    #[serde(skip_serializing_if = "is_empty")]
    pub(crate) estimated: bool,
    #[serde(skip_serializing_if = "is_empty")]
    pub(crate) expires: Option<Instant>,
    #[serde(skip_serializing_if = "is_empty")]
    pub(crate) remaining_days: Option<u32>,
    #[serde(skip_serializing_if = "is_empty")]
    pub(crate) error: Option<String>,
}

/// How far a run has come.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ShownProgress {
    /// Rounded down to a tenth; 100 only when everything is in place.
    pub(crate) percent: f64,
    pub rows_done: u64,
    pub rows_total: u64,
    pub bytes_written: u64,
    #[serde(skip_serializing_if = "is_empty")]
    pub eta_seconds: Option<u64>,
}

/// A part that is there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct PresentPart {
    pub name: String,
    pub size: u64,
    /// Only of a part that we wrote.
    #[serde(skip_serializing_if = "is_empty")]
    pub sha256: Option<String>,
}

fn is_empty<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Record {
    fn text_of_spec(&self, key: &str) -> Option<&str> {
        self.spec.get(key)?.as_str()
    }

    pub(crate) fn title(&self) -> Option<&str> {
        self.text_of_spec("title")
    }

    /// Interaction or Contact.
    pub(crate) fn export_type(&self) -> Option<&str> {
        self.text_of_spec("type")
    }

    /// Returns the serial number of the certificate that it was encrypted to.
    pub(crate) fn certificate(&self) -> Option<&str> {
        self.certificate.get("serial")?.as_str()
    }

    /// Renders it for people and programs: indented, with a line end.
    pub fn pretty(&self) -> String {
        pretty(self)
    }
}

/// JSON of one line.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// Returns the name in `artifacts/`.
pub(crate) fn artifact_name(stem: &str, is_whole: bool) -> String {
    if is_whole { format!("{stem}.zip") } else { format!("{stem}.zip.incomplete") }
}

#[cfg(test)]
mod tests;
