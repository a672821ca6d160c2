//! `manifest.json` in the root of every archive: what is in it, and how it came about.
//!
//! ```json
//! {
//!   "schema_version": 1,
//!   "generator": "cddsfs 0.1.0",
//!   "run": "<uuid>",
//!   "created": "2026-01-31T02:00:00Z",
//!   "spec": {"title": "...", "type": "Interaction"},
//!   "certificate": {"subject": "...", "serial": "...", "not_after": "...", "sha256": "..."},
//!   "rows": 2,
//!   "files": [{"name": "UCS/...", "rows": 2, "bytes": 300, "sha256": "..."}]
//! }
//! ```
//!
//! `bytes` and `sha256` (hexadecimal) are of the uncompressed file.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::json::Object;
use super::record::{hex, timestamp};
use super::writer::Member;

pub const NAME: &str = "manifest.json";
const SCHEMA_VERSION: u32 = 1;

/// Renders the manifest. `files` are the members with their numbers of rows.
pub fn render(
    run: &str,
    created: SystemTime,
    spec: &Object,
    certificate: &Value,
    files: &[(Member, u64)],
) -> String {
    let file = |(member, rows): &(Member, u64)| json!({"name": member.name, "rows": rows, "bytes": member.size, "sha256": hex(&member.sha256)});
    let entries = [
        ("schema_version", json!(SCHEMA_VERSION)),
        ("generator", json!(concat!("cddsfs ", env!("CARGO_PKG_VERSION")))),
        ("run", json!(run)),
        ("created", json!(timestamp(created))),
        ("spec", json!(spec)),
        ("certificate", certificate.clone()),
        ("rows", json!(files.iter().map(|(_, rows)| rows).sum::<u64>())),
        ("files", files.iter().map(file).collect()),
    ];
    super::record::pretty(&Object(entries.map(|(key, value)| (key.to_string(), value)).into()))
}
