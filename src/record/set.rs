//! The record of a set that no catalogue knows, from what its files turn out to be.

use std::sync::Arc;
use std::time::SystemTime;

use super::{PresentPart, Record, artifact_name};
use crate::artifact::{self, Gaps};
use crate::error::Error;
use crate::export::stored_set::part_files;
use crate::format::text::Instant;
use crate::store::catalogue::Status;
use crate::store::names::id_of;
use crate::store::retention::Retention;
use crate::store::sets::StoredSet;

/// What a set of parts turned out to be.
#[derive(Clone)]
pub(crate) enum SetState {
    /// A zip of this length.
    Zip(u64),
    /// Not whole.
    Incomplete(Arc<IncompleteSet>),
    /// It cannot be read.
    Failed(Error),
}

/// When an export was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MadeAt {
    pub(crate) at: SystemTime,
    /// Nothing but the times of its files is known: it is as old as they are, or older.
    pub(crate) estimated: bool,
}

/// Why a set is not whole.
#[derive(Debug, Clone, Default)]
pub(crate) struct IncompleteSet {
    pub(crate) gaps: Gaps,
    /// Names of two files that claim to be the same part.
    pub(crate) conflict: Option<(String, String)>,
}

/// Returns true if a set is a zip as far as is known: without an outcome, by the names of its parts.
pub(crate) fn may_be_whole(set: &StoredSet, outcome: Option<&SetState>) -> bool {
    match outcome {
        Some(SetState::Incomplete(_)) => false,
        Some(SetState::Zip(_) | SetState::Failed(_)) => true,
        None => artifact::may_be_whole(&part_files(set)),
    }
}

impl Record {
    /// Returns the record of a set, as far as is known what it is.
    pub(crate) fn of_set(
        set: &StoredSet,
        outcome: Option<&SetState>,
        made: MadeAt,
        retention: Retention,
        now: SystemTime,
    ) -> Record {
        let mut record = Record {
            id: id_of(&set.stem).to_string(),
            complete: outcome.map(|outcome| matches!(outcome, SetState::Zip(_))),
            artifact: Some(artifact_name(&set.stem, may_be_whole(set, outcome))),
            parts: set
                .parts
                .iter()
                .map(|part| PresentPart {
                    name: part.file.name.clone(),
                    size: part.file.size(),
                    sha256: None,
                })
                .collect(),
            stored_bytes: Some(set.stored_size()),
            mtime: Instant::of(made.at),
            estimated: made.estimated,
            expires: retention.expires(made.at).and_then(Instant::of),
            remaining_days: retention.remaining_days(made.at, now),
            ..Record::default()
        };
        match outcome {
            // Nothing is known of somebody else's run but its files: that they are there means that it has ended well.
            Some(SetState::Zip(len)) => {
                record.status = Some(Status::Completed);
                record.bytes = Some(*len);
            }
            Some(SetState::Incomplete(incomplete)) => {
                record.status = Some(Status::Incomplete);
                let IncompleteSet { gaps, conflict } = &**incomplete;
                record.missing = gaps.missing.iter().map(|o| format!("{}{o}.smime", set.stem)).collect();
                let surplus = gaps.surplus.iter().map(|o| format!("{o} does not belong to this set"));
                let conflict = conflict.iter().map(|(a, b)| format!("{a} and {b} claim to be the same part"));
                let errors: Vec<String> = surplus.chain(conflict).collect();
                record.error = (!errors.is_empty()).then(|| errors.join("; "));
            }
            Some(SetState::Failed(error)) => {
                record.status = Some(Status::Unreadable);
                record.error = Some(error.to_string());
            }
            None => {}
        }
        record
    }
}
