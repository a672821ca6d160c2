//! Extended attributes: what is known of an export, for `getfattr` and file managers; and of its members, what their
//! names and sizes do not say.

use std::ffi::OsStr;

use super::Options;
use super::export::{Context, Export, Outcome};
use super::history::{id_of, timestamp};
use super::node::Node;
use crate::artifact::members::{NodeId, ROOT};
use crate::store::retention;

const PREFIX: &str = "user.cddsfs.";
const OF_EXPORT: [&str; 5] = ["expires", "parts", "remaining_days", "run", "status"];
/// The name in the zip, where that could not be shown; the parts that are missing to read it.
const OF_MEMBER: [&str; 2] = ["original_name", "needs"];

pub fn is_ours(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
}

/// Returns the value of an attribute; `None` where the node does not have it.
pub fn get(node: &Node, name: &OsStr, context: &Context, options: &Options) -> Option<Vec<u8>> {
    let name = name.to_str()?.strip_prefix(PREFIX)?;
    match node {
        Node::Member { export, id } if *id != ROOT => of_member(export, *id, name, context),
        node => of_export(node.export()?, name, context, options).map(String::into_bytes),
    }
}

fn of_export(export: &Export, name: &str, context: &Context, options: &Options) -> Option<String> {
    Some(match name {
        "run" => id_of(export.stem()).to_string(),
        "parts" => export.set().parts.len().to_string(),
        "expires" => timestamp(retention::expires(export.mtime(), options.retention_days)),
        "remaining_days" => {
            let now = std::time::SystemTime::now();
            retention::remaining_days(export.mtime(), options.retention_days, now).to_string()
        }
        "status" => match export.outcome(context) {
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

/// Returns all names that [`get`] knows for the node, each closed by a NUL.
pub fn list(node: &Node, context: &Context) -> Vec<u8> {
    let names: Vec<&str> = match node {
        Node::Member { export, id } if *id != ROOT => {
            OF_MEMBER.into_iter().filter(|name| of_member(export, *id, name, context).is_some()).collect()
        }
        node => OF_EXPORT.into_iter().filter(|_| node.export().is_some()).collect(),
    };
    names.iter().flat_map(|name| format!("{PREFIX}{name}\0").into_bytes()).collect()
}
