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

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::{Value, json};

use super::json::Object;
use super::writer::WrittenMember;
use crate::error::{Error, Result};
use crate::format::text::{hex, pretty, timestamp};

pub(crate) const NAME: &str = "manifest.json";
const SCHEMA_VERSION: u32 = 1;

/// Renders the manifest. `files` are the members with their numbers of rows.
pub(crate) fn render(
    run: &str,
    created: SystemTime,
    spec: &Object,
    certificate: &Value,
    files: &[(WrittenMember, u64)],
) -> String {
    let file = |(member, rows): &(WrittenMember, u64)| json!({"name": member.name, "rows": rows, "bytes": member.size, "sha256": hex(&member.sha256)});
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
    pretty(&Object(entries.map(|(key, value)| (key.to_string(), value)).into()))
}

/// Returns when an archive was made, according to its manifest, whoever wrote it. The text may be cut off behind the
/// key.
pub(crate) fn created(text: &[u8]) -> Option<SystemTime> {
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    let mut created = None;
    // Reading stops behind the key, which is an error to the parser, as is a text that is cut off.
    let _ = serde_json::Deserializer::from_slice(text).deserialize_map(CreatedVisitor(&mut created));
    created?.parse::<jiff::Timestamp>().ok().map(SystemTime::from)
}

struct CreatedVisitor<'a>(&'a mut Option<String>);

impl<'de> Visitor<'de> for CreatedVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a manifest")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "created" {
                *self.0 = Some(map.next_value()?);
                break;
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// What a manifest says about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ManifestFile {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// Hexadecimal.
    pub(crate) sha256: String,
}

/// Reads the files of a manifest, by their names; `None` if cddsfs did not write it.
pub(crate) fn parse(text: &[u8]) -> Option<Result<BTreeMap<String, ManifestFile>>> {
    let manifest: Value = serde_json::from_slice(text).ok()?;
    let ours = manifest["generator"].as_str().is_some_and(|name| name.starts_with("cddsfs "));
    if !ours || manifest["schema_version"] != SCHEMA_VERSION {
        return None;
    }
    let file = |file: &Value| {
        let listed = ManifestFile {
            rows: file["rows"].as_u64()?,
            bytes: file["bytes"].as_u64()?,
            sha256: file["sha256"].as_str()?.to_ascii_lowercase(),
        };
        Some((file["name"].as_str()?.to_string(), listed))
    };
    let files = manifest["files"].as_array().and_then(|files| files.iter().map(file).collect());
    Some(files.ok_or_else(|| Error::damaged("the manifest does not list files with rows, bytes and sha256")))
}

/// Returns how the files found differ from those that a manifest lists, each difference with the file's name. The
/// manifest itself is not among the files.
pub(crate) fn differences(
    listed: &BTreeMap<String, ManifestFile>,
    found: &BTreeMap<String, ManifestFile>,
) -> Vec<(String, String)> {
    let mut differences = Vec::new();
    let mut tell = |name: &String, text: String| differences.push((name.clone(), text));
    for (name, listed) in listed {
        let Some(found) = found.get(name) else {
            tell(name, "the manifest lists it, but it is not there".into());
            continue;
        };
        if found.bytes != listed.bytes {
            tell(name, format!("the manifest says {} bytes, it has {}", listed.bytes, found.bytes));
        } else if found.rows != listed.rows {
            tell(name, format!("the manifest says {} rows, it has {}", listed.rows, found.rows));
        } else if found.sha256 != listed.sha256 {
            tell(name, "its SHA-256 is not that of the manifest".into());
        }
    }
    let unlisted = found.keys().filter(|name| !listed.contains_key(*name));
    unlisted.for_each(|name| tell(name, "the manifest does not list it".into()));
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(rows: u64, bytes: u64, sha256: &str) -> ManifestFile {
        ManifestFile { rows, bytes, sha256: sha256.into() }
    }

    #[test]
    fn what_is_rendered_is_read_back() {
        let member =
            WrittenMember { name: "UCS/a.json".into(), size: 30, compressed: 9, crc: 1, sha256: [0xAB; 32] };
        let text = render("id", SystemTime::UNIX_EPOCH, &Object::default(), &json!({}), &[(member, 2)]);
        let files = parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(files, BTreeMap::from([("UCS/a.json".into(), listed(2, 30, &"ab".repeat(32)))]));
        assert!(parse(b"{}").is_none() && parse(b"no").is_none());
        let newer = text.replace("\"schema_version\": 1", "\"schema_version\": 2");
        assert!(parse(newer.as_bytes()).is_none());
        assert!(parse(text.replace("\"rows\"", "\"lines\"").as_bytes()).unwrap().is_err());
    }

    #[test]
    fn when_it_was_made_is_found_in_anybodys_manifest() {
        let instant = |text: &[u8]| created(text).map(timestamp);
        let table: [(&[u8], Option<&str>); 9] = [
            (br#"{"created":"2026-01-31T02:00:00Z"}"#, Some("2026-01-31T02:00:00Z")),
            (
                b"\xEF\xBB\xBF{\"a\":{\"created\":1},\"created\":\"2026-01-31T02:00:00+02:00\"}",
                Some("2026-01-31T00:00:00Z"),
            ),
            (br#"{"files":[1,2],"created":"2026-01-31T02:00:00Z","cut":["of"#, Some("2026-01-31T02:00:00Z")),
            (br#"{"a":{"created":"2026-01-31T02:00:00Z"}}"#, None),
            (br#"{"created":1769824800}"#, None),
            (br#"{"created":"yesterday"}"#, None),
            (br#"["created"]"#, None),
            (b"no json", None),
            (b"", None),
        ];
        for (text, expected) in table {
            assert_eq!(instant(text).as_deref(), expected, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn every_wrong_entry_is_told() {
        let files = |entries: &[(&str, ManifestFile)]| -> BTreeMap<String, ManifestFile> {
            entries.iter().map(|(name, file)| (name.to_string(), file.clone())).collect()
        };
        let right = files(&[("a", listed(2, 30, "00")), ("b", listed(1, 10, "11"))]);
        assert_eq!(differences(&right, &right), []);
        for (wrong, text) in [
            (files(&[("a", listed(2, 30, "00"))]), "not list"),
            (files(&[("a", listed(2, 31, "00")), ("b", listed(1, 10, "11"))]), "says 31 bytes, it has 30"),
            (files(&[("a", listed(3, 30, "00")), ("b", listed(1, 10, "11"))]), "says 3 rows, it has 2"),
            (files(&[("a", listed(2, 30, "01")), ("b", listed(1, 10, "11"))]), "SHA-256"),
        ] {
            let told = differences(&wrong, &right);
            assert!(told.len() == 1 && told[0].1.contains(text), "{told:?}");
        }
        assert!(differences(&right, &files(&[("a", listed(2, 30, "00"))]))[0].1.contains("not there"));
    }
}
