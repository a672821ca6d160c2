//! `cddsfs artifacts STORE`: what runs have produced and how long it is kept.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::cells;
use super::exit::{Because, Failure, Reason};
use super::keys::Keys;
use super::show;
use super::store;
use super::table::{Align, Cell, Column, Output, Table};
use crate::error;
use crate::export::json::Object;
use crate::export::record::record;
use crate::tree::Tree;

#[derive(Args)]
#[command(after_help = "Examples:
  cddsfs artifacts ~/exports-store --sort remaining
  cddsfs artifacts ~/exports-store --json | jq -s 'map(.stored_bytes) | add'

Times are UTC. The size is that of the zip; stored is that of the encrypted parts. In a plain store sizes of zips are
known with a key only: give --key FILE.")]
pub struct Arguments {
    /// Store, or directory with encrypted exports
    store: PathBuf,
    /// Column to sort by (default: the latest first)
    #[arg(long, value_name = "COLUMN")]
    sort: Option<Sort>,
    /// The other way round
    #[arg(long)]
    reverse: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    keys: Keys,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    Run,
    Title,
    Created,
    Size,
    Parts,
    Stored,
    Remaining,
    Certificate,
}

impl Sort {
    fn key(self) -> &'static str {
        match self {
            Sort::Run => "run",
            Sort::Title => "title",
            Sort::Created => "created",
            Sort::Size => "bytes",
            Sort::Parts => "parts",
            Sort::Stored => "stored_bytes",
            Sort::Remaining => "remaining_days",
            Sort::Certificate => "certificate",
        }
    }
}

const COLUMNS: [Column; 8] = [
    Column { header: "RUN", align: Align::Left, shortens: false, rank: 0 },
    Column { header: "TITLE", align: Align::Left, shortens: true, rank: 0 },
    Column { header: "CREATED", align: Align::Left, shortens: false, rank: 2 },
    Column { header: "SIZE", align: Align::Right, shortens: false, rank: 0 },
    Column { header: "PARTS", align: Align::Right, shortens: false, rank: 3 },
    Column { header: "STORED", align: Align::Right, shortens: false, rank: 1 },
    Column { header: "DAYS LEFT", align: Align::Left, shortens: false, rank: 0 },
    Column { header: "CERTIFICATE", align: Align::Left, shortens: true, rank: 4 },
];

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let tree = store::tree(&arguments.store, &arguments.keys)?;
    let records = records(&tree).because(Reason::Store)?;
    let mut artifacts: Vec<Object> = records.iter().filter_map(artifact).collect();
    let key = arguments.sort.map_or("created", Sort::key);
    artifacts.sort_by(|a, b| cells::compare(a.get(key), b.get(key)));
    if arguments.reverse != arguments.sort.is_none() {
        artifacts.reverse();
    }
    let output = Output::stdout();
    let lines = match arguments.json {
        true => show::json_lines(&artifacts),
        false => table(&artifacts, &output).lines(&output),
    };
    tree.save_sizes().because(Reason::Store)?;
    show::write_lines(&lines).map(drop).because(Reason::Store)
}

/// Returns the records of the runs that have an artifact: also of those that were removed from the history.
fn records(tree: &Tree) -> error::Result<Vec<Object>> {
    let Some(store) = tree.store().managed() else { return tree.records() };
    let now = SystemTime::now();
    let mut records = Vec::new();
    let mut artifacts = store.catalogue.artifacts_at(now)?;
    // Instants in records are whole seconds.
    artifacts.sort_by_key(|artifact| artifact.made);
    for artifact in artifacts {
        if let Some(run) = store.catalogue.run(&artifact.run)? {
            records.push(record(store, &run, now)?);
        }
    }
    Ok(records)
}

/// Picks from the record of a run what is to be said of its artifact, if it has one.
fn artifact(record: &Object) -> Option<Object> {
    let name = record.get("artifact")?;
    let own = |key: &str| record.get(key).cloned().unwrap_or_default();
    let parts = record.get("parts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let stored: u64 = parts.iter().filter_map(|part| part["size"].as_u64()).sum();
    let entries = [
        ("run", own("id")),
        ("title", own("title")),
        ("artifact", name.clone()),
        ("created", own("mtime")),
        ("bytes", own("bytes")),
        ("parts", json!(parts.len())),
        ("stored_bytes", json!(stored)),
        ("expires", own("expires")),
        ("remaining_days", own("remaining_days")),
        ("estimated", own("estimated")),
        ("certificate", own("certificate")["serial"].clone()),
        ("error", own("error")),
    ];
    let there = entries.into_iter().filter(|(_, value)| !value.is_null());
    Some(Object(there.map(|(key, value)| (key.to_string(), value)).collect()))
}

fn table(artifacts: &[Object], output: &Output) -> Table {
    let number = |artifact: &Object, key: &str| artifact.get(key).and_then(Value::as_u64);
    let row = |(artifact, id): (&Object, Cell)| {
        vec![
            id,
            cells::text(artifact, "title"),
            cells::instant(artifact, "created", output),
            cells::size(number(artifact, "bytes")),
            cells::number(number(artifact, "parts")),
            cells::size(number(artifact, "stored_bytes")),
            cells::days(artifact, output),
            cells::text(artifact, "certificate"),
        ]
    };
    Table { columns: &COLUMNS, rows: artifacts.iter().zip(cells::ids(artifacts, output)).map(row).collect() }
}
