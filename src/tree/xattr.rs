//! Extended attributes: what is known of an export, for `getfattr` and file managers.

use std::ffi::OsStr;

use super::scope::Scope;
use super::shown::ShownSet;
use crate::error::{Error, Kind, Result};
use crate::record::{Record, attributes};

const PREFIX: &str = "user.cddsfs.";

/// Fails for names that no node has: EOPNOTSUPP for labels and ACLs, which the filesystem as a whole is without, so
/// that `ls -l` asks once and not for every file; ENODATA for the rest.
pub(crate) fn check_name(name: &OsStr) -> Result<()> {
    let name = name.as_encoded_bytes();
    if name == b"security.selinux" || name.starts_with(b"system.posix_acl_") {
        return Err(Error::unsupported("there are no labels and no ACLs"));
    }
    if !name.starts_with(PREFIX.as_bytes()) {
        return Err(no_attribute());
    }
    Ok(())
}

pub(crate) fn no_attribute() -> Error {
    Error::new(Kind::NoAttribute, "no such extended attribute")
}

/// Returns the name without its prefix.
pub(crate) fn bare(name: &OsStr) -> Option<&str> {
    name.to_str()?.strip_prefix(PREFIX)
}

/// Returns names as listxattr(2) gives them, each closed by a NUL.
pub(crate) fn list(names: &[&str]) -> Vec<u8> {
    names.iter().flat_map(|name| format!("{PREFIX}{name}\0").into_bytes()).collect()
}

/// Returns an attribute of a run.
pub(crate) fn of_run(scope: &Scope, id: &str, name: &str) -> Result<Option<Vec<u8>>> {
    let Some(store) = scope.context.managed() else { return Ok(None) };
    let Some(run) = store.catalogue.run(id)? else { return Ok(None) };
    let value = Record::attribute_of_run(store, &run, name, scope.now())?;
    Ok(value.map(String::into_bytes))
}

/// Returns an attribute of a set: of its run, or else of what its files tell.
pub(crate) fn of_set(scope: &Scope, set: &ShownSet, name: &str) -> Result<Option<Vec<u8>>> {
    match (&set.stored().run, scope.context.managed()) {
        (Some(run), Some(_)) => of_run(scope, run, name),
        (None, Some(_)) => Ok(None),
        _ => {
            let record = set.record(scope.view.retention, &scope.context);
            Ok(record.attribute(name).map(String::into_bytes))
        }
    }
}

pub(crate) fn names_of_set(scope: &Scope, set: &ShownSet) -> Vec<&'static str> {
    match scope.context.managed() {
        Some(_) => attributes::OF_RUN.to_vec(),
        None if set.made(&scope.context, scope.now()).estimated => {
            [&[attributes::ESTIMATED], &attributes::OF_SET[..]].concat()
        }
        None => attributes::OF_SET.to_vec(),
    }
}
