//! What a zip says about when it was made.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::directory::entry_at;
use super::member::{self, MemberResources};
use super::set::Zip;
use crate::error::{Error, Result};
use crate::format::zip_time;
use crate::io::Reader;

/// Times before this (1990) are what writers put in when they have none.
const FIRST: Duration = Duration::from_secs(631_152_000);

/// Hints at when a zip was made.
pub(crate) struct CreationHints {
    /// When the newest of its members was last changed, as far as they have times.
    pub(crate) newest: Option<SystemTime>,
    /// The member that was asked for, if it can be read.
    pub(crate) member: Option<Reader>,
}

/// Reads the central directory once. `name` is a member at the top of the tree.
pub(crate) fn creation_hints(
    zip: &Arc<Zip>,
    name: &str,
    shared: &Arc<MemberResources>,
) -> Result<CreationHints> {
    let (mut newest, mut named) = (UNIX_EPOCH + FIRST, None);
    zip.each_entry(|entry, at| {
        newest = newest.max(zip_time::modified(entry));
        if entry.name == name.as_bytes() {
            named = Some(at);
        }
        Ok(())
    })?;
    let open = |at| {
        entry_at(&**zip, at, |entry| {
            let archive: Reader = zip.clone();
            let header = entry.offset.checked_add(zip.directory().shift);
            let header = header.ok_or_else(|| Error::damaged("an offset beyond 2^64"))?;
            member::open(&archive, entry, header, shared)
        })
    };
    // A member that cannot be read is no hint.
    let member = match named.map(open).transpose() {
        Err(error) if error.kind().is_transient() => return Err(error),
        opened => opened.unwrap_or_default(),
    };
    Ok(CreationHints { newest: Some(newest).filter(|newest| *newest > UNIX_EPOCH + FIRST), member })
}
