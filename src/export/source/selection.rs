//! Which rows an export asks a source for.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{self, Error, Result};

/// What an export is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    Interaction,
    Contact,
}

/// Which rows, by the date on which an interaction started or a contact was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Timeframe {
    All,
    /// `start` is included, `end` is not.
    Between {
        start: Option<jiff::Timestamp>,
        end: Option<jiff::Timestamp>,
    },
    /// What was not exported with the mark, whatever its date; without a mark everything.
    Since(Option<Mark>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    pub kind: Kind,
    /// Exactly as they are in `mediatypeid`; `None` is all. Only for interactions.
    pub media_types: Option<Vec<String>>,
    pub timeframe: Timeframe,
}

impl Selection {
    /// Refuses what no source could give.
    pub fn check(&self) -> Result<()> {
        if self.kind == Kind::Contact && self.media_types.is_some() {
            let text = "media types are of interactions: contacts have none";
            return Err(Error::new(error::Kind::Invalid, text));
        }
        Ok(())
    }
}

/// What has been exported of a table. Its text may be stored; only the source that made it understands it.
///
/// It proves which rows were exported, whatever becomes of the database meanwhile; where it cannot, they are exported
/// again, and `Snapshot::warnings` says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mark(String);

impl Mark {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Mark {
    fn from(text: String) -> Mark {
        Mark(text)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
