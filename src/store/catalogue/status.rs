//! Where a run stands.

use std::fmt;
use std::str::FromStr;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    Scheduled,
    Queued,
    InProgress,
    Completed,
    NoData,
    Failed,
    Cancelled,
}

impl Status {
    pub const ALL: [Status; 7] = [
        Status::Scheduled,
        Status::Queued,
        Status::InProgress,
        Status::Completed,
        Status::NoData,
        Status::Failed,
        Status::Cancelled,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Status::Scheduled => "Scheduled",
            Status::Queued => "Queued",
            Status::InProgress => "In Progress",
            Status::Completed => "Completed",
            Status::NoData => "No Data",
            Status::Failed => "Failed",
            Status::Cancelled => "Cancelled",
        }
    }

    /// Returns true if nothing will change it any more.
    pub fn is_final(self) -> bool {
        matches!(self, Status::Completed | Status::NoData | Status::Failed | Status::Cancelled)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Status, String> {
        let found = Status::ALL.into_iter().find(|status| status.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| format!("the statuses are {}", Status::ALL.map(Status::name).join(", ")))
    }
}

/// What is shown of a completed run whose artifact lacks parts.
pub const INCOMPLETE: &str = "Incomplete";
