//! Status of runs and artifacts.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Status of runs and artifacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    Scheduled,
    Queued,
    InProgress,
    Completed,
    NoData,
    Failed,
    Cancelled,
    /// Completed, but parts are missing.
    Incomplete,
    /// Made by somebody else; it is damaged, or no key opens it.
    Unreadable,
}

impl Status {
    pub const ALL: [Status; 9] = [
        Status::Scheduled,
        Status::Queued,
        Status::InProgress,
        Status::Completed,
        Status::NoData,
        Status::Failed,
        Status::Cancelled,
        Status::Incomplete,
        Status::Unreadable,
    ];
    /// Those that the catalogue has; the others are concluded from the parts.
    pub const STORED: &[Status] = Status::ALL.split_at(7).0;

    pub fn name(self) -> &'static str {
        match self {
            Status::Scheduled => "Scheduled",
            Status::Queued => "Queued",
            Status::InProgress => "In Progress",
            Status::Completed => "Completed",
            Status::NoData => "No Data",
            Status::Failed => "Failed",
            Status::Cancelled => "Cancelled",
            Status::Incomplete => "Incomplete",
            Status::Unreadable => "Unreadable",
        }
    }

    /// Returns true if nothing will change it any more.
    pub fn is_final(self) -> bool {
        !matches!(self, Status::Scheduled | Status::Queued | Status::InProgress)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Status, String> {
        let found = Status::ALL.into_iter().find(|status| status.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| format!("the statuses are {}", Status::ALL.map(Status::name).join(", ")))
    }
}
