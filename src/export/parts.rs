//! A stored set as the readers take it.

use crate::artifact::PartFile;
use crate::store::plain::{StoredPart, StoredSet};

/// Returns the parts of a set, in order; of further downloads of a part the first.
pub fn part_files(set: &StoredSet) -> Vec<PartFile> {
    let part = |part: &StoredPart| PartFile {
        ordinal: part.ordinal,
        path: part.file.path.clone(),
        name: part.file.name.clone(),
        written: part.file.written.as_ref().map(|written| (written.size, written.hashes.clone())),
    };
    set.parts.iter().map(part).collect()
}
