//! Extended attributes: what is known of an export, for `getfattr` and file managers.

use std::ffi::OsStr;

use super::Options;
use super::export::{Context, Outcome};
use super::history::{id_of, timestamp};
use super::node::Node;
use crate::store::retention;

const PREFIX: &str = "user.cddsfs.";
const NAMES: [&str; 5] = ["expires", "parts", "remaining_days", "run", "status"];

pub fn is_ours(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
}

/// Returns the value of an attribute; `None` where the node does not have it.
pub fn get(node: &Node, name: &OsStr, context: &Context, options: &Options) -> Option<Vec<u8>> {
    let name = name.to_str()?.strip_prefix(PREFIX)?;
    let export = node.export()?;
    let value = match name {
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
    };
    Some(value.into_bytes())
}

/// Returns all names that [`get`] knows for the node, each closed by a NUL.
pub fn list(node: &Node) -> Vec<u8> {
    let names = NAMES.iter().filter(|_| node.export().is_some());
    names.flat_map(|name| format!("{PREFIX}{name}\0").into_bytes()).collect()
}
