//! Extended attributes: what is known of an export, for `getfattr` and file managers; and of its members, what their
//! names and sizes do not say.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::SystemTime;

use super::export::{Context, Export, Outcome};
use super::node::{Node, Record};
use crate::artifact::members::{NodeId, ROOT};
use crate::error::{Error, Kind, Result};
use crate::export::record::{self, timestamp};
use crate::store::Store;
use crate::store::managed::Managed;
use crate::store::retention::Retention;

const PREFIX: &str = "user.cddsfs.";
const OF_EXPORT: [&str; 5] = ["expires", "parts", "remaining_days", "run", "status"];
/// Of exports that may be older than they look, and have fewer days left.
const ESTIMATED: &str = "estimated";
/// Of runs that the catalogue knows.
const OF_RUN: [&str; 2] = ["sha256", "title"];
/// The name in the zip, where that could not be shown; the parts that are missing to read it.
const OF_MEMBER: [&str; 2] = ["original_name", "needs"];

/// What an answer may depend on besides the node.
pub struct Asked<'a> {
    pub context: &'a Context,
    pub store: &'a Store,
    pub retention: Retention,
    pub now: SystemTime,
}

/// Fails for names that no node has: EOPNOTSUPP for labels and ACLs, which the filesystem as a whole is without, so that
/// `ls -l` asks once and not for every file; ENODATA for the rest.
pub fn check_name(name: &OsStr) -> Result<()> {
    let name = name.as_encoded_bytes();
    if name == b"security.selinux" || name.starts_with(b"system.posix_acl_") {
        return Err(Error::unsupported("there are no labels and no ACLs"));
    }
    if !name.starts_with(PREFIX.as_bytes()) {
        return Err(Error::new(Kind::NoAttribute, "no such extended attribute"));
    }
    Ok(())
}

/// Returns the value of an attribute; `None` where the node does not have it.
pub fn get(node: &Node, name: &OsStr, asked: &Asked<'_>) -> Result<Option<Vec<u8>>> {
    let Some(name) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { return Ok(None) };
    let text = match (node, asked.store) {
        (Node::Member { export, id }, _) if *id != ROOT => {
            return Ok(of_member(export, *id, name, asked.context));
        }
        (Node::History(Record::OfRun(run)), Store::Managed(store)) => of_run(store, &run.id, name, asked)?,
        (node, store) => match (node.export(), store) {
            (Some(export), Store::Managed(store)) => match &export.set().run {
                Some(run) => of_run(store, run, name, asked)?,
                None => None,
            },
            (Some(export), Store::Plain(_)) => of_export(export, name, asked),
            (None, _) => None,
        },
    };
    Ok(text.map(String::into_bytes))
}

/// Attributes of a run, from its record.
fn of_run(store: &Managed, id: &str, name: &str, asked: &Asked<'_>) -> Result<Option<String>> {
    let Some(run) = store.catalogue.run(id)? else { return Ok(None) };
    let record = record::record(store, &run, asked.now)?;
    let text = |key: &str| {
        record.get(key).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_string))
    };
    Ok(match name {
        "run" => Some(run.id.clone()),
        "parts" => Some(store.catalogue.parts(id)?.len().to_string()),
        // One line for each part, as sha256sum writes them.
        "sha256" => {
            let parts = store.catalogue.parts(id)?;
            let lines = parts.iter().map(|part| format!("{}  {}\n", record::hex(&part.sha256), part.name));
            Some(lines.collect()).filter(|lines: &String| !lines.is_empty())
        }
        "expires" | "remaining_days" | "status" | "title" => text(name),
        _ => None,
    })
}

fn of_export(export: &Export, name: &str, asked: &Asked<'_>) -> Option<String> {
    // Working out what it is tells when it was made.
    let outcome = export.outcome(asked.context);
    let made = export.made(asked.context, asked.now);
    Some(match name {
        ESTIMATED => made.estimated.then(|| "true".into())?,
        "run" => record::id_of(export.stem()).to_string(),
        "parts" => export.set().parts.len().to_string(),
        "expires" => timestamp(asked.retention.expires(made.at)?),
        "remaining_days" => asked.retention.remaining_days(made.at, asked.now)?.to_string(),
        "status" => match outcome {
            Outcome::Zip(_) => "complete".into(),
            Outcome::Incomplete(_) => "incomplete".into(),
            Outcome::Failed(_) => "unreadable".into(),
        },
        _ => return None,
    })
}

fn of_member(export: &Export, id: NodeId, name: &str, context: &Context) -> Option<Vec<u8>> {
    let members = export.members(context).ok()?;
    match name {
        "original_name" => members.original_name(id).ok()?,
        "needs" => {
            let needs = members.needs(id).ok()?;
            (!needs.is_empty()).then(|| needs.join(" ").into_bytes())
        }
        _ => None,
    }
}

/// Returns the names that [`get`] may know for the node, each closed by a NUL.
pub fn list(node: &Node, context: &Context, is_managed: bool, now: SystemTime) -> Vec<u8> {
    let estimated = |export: &Arc<Export>| export.made(context, now).estimated;
    let names: Vec<&str> = match node {
        Node::Member { export, id } if *id != ROOT => {
            OF_MEMBER.into_iter().filter(|name| of_member(export, *id, name, context).is_some()).collect()
        }
        Node::History(Record::OfRun(_)) => [&OF_EXPORT[..], &OF_RUN].concat(),
        node if node.export().is_none() => Vec::new(),
        _ if is_managed => [&OF_EXPORT[..], &OF_RUN].concat(),
        node if node.export().is_some_and(estimated) => [&[ESTIMATED], &OF_EXPORT[..]].concat(),
        _ => OF_EXPORT.to_vec(),
    };
    names.iter().flat_map(|name| format!("{PREFIX}{name}\0").into_bytes()).collect()
}
