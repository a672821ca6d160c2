//! A record as extended attributes, named without their prefix.

use std::time::SystemTime;

use super::{PresentPart, Record};
use crate::error::Result;
use crate::store::catalogue::Run;
use crate::store::managed::Managed;

/// Only exports that may be older than they look, with fewer days left, have this one.
pub(crate) const ESTIMATED: &str = "estimated";
const SHA256: &str = "sha256";
const PARTS: &str = "parts";
const TITLE: &str = "title";

/// Attributes of a set.
pub(crate) const OF_SET: [&str; 5] = ["expires", PARTS, "remaining_days", "run", "status"];
/// Attributes of a run that the catalogue knows.
pub(crate) const OF_RUN: [&str; 7] = ["expires", PARTS, "remaining_days", "run", "status", SHA256, TITLE];

impl Record {
    /// Returns the value of an attribute, if it has one.
    pub(crate) fn attribute(&self, name: &str) -> Option<String> {
        match name {
            "expires" => self.expires.map(|at| at.to_string()),
            PARTS => Some(self.parts.len().to_string()),
            "remaining_days" => self.remaining_days.map(|days| days.to_string()),
            "run" => Some(self.id.clone()),
            "status" => self.status.map(|status| status.to_string()),
            ESTIMATED => self.estimated.then(|| "true".into()),
            // One line for each part, as sha256sum writes them.
            SHA256 => {
                let line = |part: &PresentPart| Some(format!("{}  {}\n", part.sha256.as_ref()?, part.name));
                Some(self.parts.iter().filter_map(line).collect()).filter(|lines: &String| !lines.is_empty())
            }
            TITLE => self.title().map(str::to_string),
            _ => None,
        }
    }

    /// Returns an attribute of a run. The catalogue is asked for its parts only if the attribute takes them.
    pub(crate) fn attribute_of_run(
        store: &Managed,
        run: &Run,
        name: &str,
        now: SystemTime,
    ) -> Result<Option<String>> {
        let record = match name {
            PARTS | SHA256 => Record::in_full(store, run, now)?,
            _ => Record::of_run(run, store.catalogue.retention()?, now),
        };
        Ok(record.attribute(name))
    }
}
