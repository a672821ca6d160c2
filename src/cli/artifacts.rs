//! `cddsfs artifacts STORE`: what runs have produced and how long it is kept.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::cells::{self, SortKey};
use super::exit::{Because, Failure, Reason};
use super::keys::Keys;
use super::show;
use super::store;
use super::table::{Align, Cell, Column, Output, Table};
use crate::record::Record;

#[derive(Args)]
#[command(after_help = "Examples:
  cddsfs artifacts ~/exports-store --sort remaining
  cddsfs artifacts ~/exports-store --json | jq -s 'map(.stored_bytes) | add'

Times are UTC. The size is that of the zip; stored is that of the encrypted parts. In a plain store sizes of zips are
known with a key only: give --key FILE.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    store: store::StoreArguments,
    /// Column to sort by (default: the latest first)
    #[arg(long, value_name = "COLUMN")]
    sort: Option<ArtifactSort>,
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
enum ArtifactSort {
    Run,
    Title,
    Created,
    Size,
    Parts,
    Stored,
    Remaining,
    Certificate,
}

impl ArtifactSort {
    fn key(self, record: &Record) -> Option<SortKey> {
        match self {
            ArtifactSort::Run => Some(SortKey::text(&record.id)),
            ArtifactSort::Title => record.title().map(SortKey::text),
            ArtifactSort::Created => record.mtime.map(SortKey::Instant),
            ArtifactSort::Size => record.bytes.map(SortKey::Number),
            ArtifactSort::Parts => Some(SortKey::Number(record.parts.len() as u64)),
            ArtifactSort::Stored => Some(SortKey::Number(stored(record))),
            ArtifactSort::Remaining => record.remaining_days.map(|days| SortKey::Number(days.into())),
            ArtifactSort::Certificate => record.certificate().map(SortKey::text),
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

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let tree = store::tree(&arguments.store, &arguments.keys)?;
    let mut artifacts = tree.artifacts().because(Reason::Store)?;
    let sort = arguments.sort.unwrap_or(ArtifactSort::Created);
    cells::sort(&mut artifacts, |record| sort.key(record));
    if arguments.reverse != arguments.sort.is_none() {
        artifacts.reverse();
    }
    let output = Output::stdout();
    let lines = match arguments.json {
        true => show::json_lines(&artifacts.iter().map(artifact).collect::<Vec<_>>()),
        false => table(&artifacts, &output).lines(&output),
    };
    tree.save_sizes().because(Reason::Store)?;
    show::write_lines(&lines).map(drop).because(Reason::Store)
}

fn stored(record: &Record) -> u64 {
    record.parts.iter().map(|part| part.size).sum()
}

/// Returns what --json says about the artifact of a record.
fn artifact(record: &Record) -> Value {
    let mut value = json!({
        "run": record.id,
        "title": record.title(),
        "artifact": record.artifact,
        "created": record.mtime,
        "bytes": record.bytes,
        "parts": record.parts.len(),
        "stored_bytes": stored(record),
        "expires": record.expires,
        "remaining_days": record.remaining_days,
        "estimated": record.estimated.then_some(true),
        "certificate": record.certificate(),
        "error": record.error,
    });
    if let Some(object) = value.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
    value
}

fn table(artifacts: &[Record], output: &Output) -> Table {
    let row = |(record, id): (&Record, Cell)| {
        vec![
            id,
            cells::text(record.title()),
            cells::instant(record.mtime, output),
            cells::size(record.bytes),
            cells::number(Some(record.parts.len() as u64)),
            cells::size(Some(stored(record))),
            cells::days(record, output),
            cells::text(record.certificate()),
        ]
    };
    Table { columns: &COLUMNS, rows: artifacts.iter().zip(cells::ids(artifacts, output)).map(row).collect() }
}
