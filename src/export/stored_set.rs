//! A stored set as the readers of artifacts take it, and when it was made.

use std::sync::Arc;
use std::time::SystemTime;

use super::manifest;
use crate::artifact::member::MemberResources;
use crate::artifact::{self, PartFile, Zip};
use crate::crypto::Identity;
use crate::error::{Error, Result};
use crate::format::part_name::Ordinal;
use crate::io::Budget;
use crate::store::sets::{StoredPart, StoredSet};

/// Returns the parts of a set in order; of several downloads of a part the first.
pub(crate) fn part_files(set: &StoredSet) -> Vec<PartFile> {
    let part = |part: &StoredPart| {
        let file = part.file.clone();
        PartFile { ordinal: part.ordinal, name: file.name.clone(), open: Arc::new(move || file.open()) }
    };
    set.parts.iter().map(part).collect()
}

/// Bytes of a manifest that are read at most; the instant is near its beginning.
const MAX_MANIFEST: usize = 1 << 20;

/// Returns when an export was made, by its manifest or else by the newest of its members; `None` if neither tells.
/// Fails only if another try may succeed.
pub(crate) fn made(zip: &Arc<Zip>, shared: &Arc<MemberResources>) -> Result<Option<SystemTime>> {
    let tell = || -> Result<Option<SystemTime>> {
        let hints = artifact::creation_hints(zip, manifest::NAME, shared)?;
        let text = hints.member.map(|member| member.read_vec(0, MAX_MANIFEST)).transpose();
        match text {
            Err(error) if error.kind().is_transient() => Err(error),
            text => Ok(text.ok().flatten().and_then(|text| manifest::created(&text)).or(hints.newest)),
        }
    };
    unless_transient(tell())
}

/// The same for a set that is not whole, from its last part, which has the central directory and our manifest.
pub(crate) fn made_by_last(
    set: &StoredSet,
    identities: &Arc<[Identity]>,
    shared: &Arc<MemberResources>,
    budget: &Arc<Budget>,
) -> Result<Option<SystemTime>> {
    let last: Vec<PartFile> = part_files(set).into_iter().filter(|p| p.ordinal == Ordinal::Last).collect();
    if last.is_empty() {
        return Ok(None);
    }
    let rest = artifact::open_rest(&last, identities, false, budget);
    unless_transient(rest.and_then(|zip| made(&Arc::new(zip), shared)))
}

fn unless_transient(told: Result<Option<SystemTime>>) -> Result<Option<SystemTime>> {
    told.or_else(|error: Error| if error.kind().is_transient() { Err(error) } else { Ok(None) })
}
