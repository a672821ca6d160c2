//! `cddsfs history STORE`: the runs and how they stand.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use console::Color;
use serde_json::Value;

use super::cells;
use super::exit::{Because, Failure, Reason};
use super::keys::Keys;
use super::show;
use super::store;
use super::table::{Align, Cell, Column, Output, Table};
use crate::error::Result;
use crate::export::json::Object;
use crate::store::catalogue::{INCOMPLETE, Status};
use crate::tree::Tree;

mod follow;

#[derive(Args)]
#[command(after_help = "Examples:
  cddsfs history ~/exports-store --status 'In Progress' --status Queued
  cddsfs history ~/exports-store --follow
  cddsfs history ~/exports-store --json | jq -r 'select(.remaining_days < 5) | .id'

--json writes one object a line, as in history/ of a mount. Times are UTC. With --follow the table is drawn again on a
terminal whenever something changes; elsewhere each record that has changed is one more line.")]
pub struct Arguments {
    /// Store, or directory with encrypted exports
    store: PathBuf,
    /// Only runs of this status (may be given several times)
    #[arg(long, value_name = "STATUS", value_parser = parse_status)]
    status: Vec<&'static str>,
    /// Only runs of this type: Interaction or Contact
    #[arg(long = "type", value_name = "TYPE", value_parser = ["Interaction", "Contact"], ignore_case = true)]
    kind: Option<String>,
    /// Column to sort by (default: the latest first)
    #[arg(long, value_name = "COLUMN")]
    sort: Option<Sort>,
    /// The other way round
    #[arg(long)]
    reverse: bool,
    /// Go on, and show what changes
    #[arg(long)]
    follow: bool,
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
    Type,
    Status,
    Queued,
    Started,
    Rows,
    Size,
    Remaining,
}

const COLUMNS: [Column; 9] = [
    Column { header: "RUN", align: Align::Left, shortens: false, rank: 0 },
    Column { header: "TITLE", align: Align::Left, shortens: true, rank: 0 },
    Column { header: "TYPE", align: Align::Left, shortens: false, rank: 4 },
    Column { header: "STATUS", align: Align::Left, shortens: false, rank: 0 },
    Column { header: "QUEUED", align: Align::Left, shortens: false, rank: 5 },
    Column { header: "STARTED", align: Align::Left, shortens: false, rank: 3 },
    Column { header: "ROWS", align: Align::Right, shortens: false, rank: 2 },
    Column { header: "SIZE", align: Align::Right, shortens: false, rank: 1 },
    Column { header: "DAYS LEFT", align: Align::Left, shortens: false, rank: 0 },
];

/// Width of the bar of a run in progress.
const BAR: usize = 8;

/// Returns the name of a status.
fn parse_status(text: &str) -> std::result::Result<&'static str, String> {
    let text = text.replace(['-', '_'], " ");
    if text.eq_ignore_ascii_case(INCOMPLETE) {
        return Ok(INCOMPLETE);
    }
    text.parse().map(Status::name).map_err(|names: String| format!("{names}, {INCOMPLETE}"))
}

pub fn run(arguments: &Arguments) -> std::result::Result<(), Failure> {
    let tree = store::tree(&arguments.store, &arguments.keys)?;
    if arguments.follow {
        return follow::run(arguments, &tree).because(Reason::Store);
    }
    let output = Output::stdout();
    let lines = arguments.records(&tree).map(|records| arguments.lines(&records, &output));
    let written = lines.and_then(|lines| show::write_lines(&lines));
    tree.save_sizes().because(Reason::Store)?;
    written.map(drop).because(Reason::Store)
}

impl Arguments {
    /// Returns the records that are asked for, in the order that is asked for.
    fn records(&self, tree: &Tree) -> Result<Vec<Object>> {
        let mut records = tree.records()?;
        let is = |record: &Object, key: &str, wanted: &str| {
            record.get(key).and_then(Value::as_str).is_some_and(|value| value.eq_ignore_ascii_case(wanted))
        };
        records.retain(|record| {
            (self.status.is_empty() || self.status.iter().any(|status| is(record, "status", status)))
                && self.kind.as_ref().is_none_or(|kind| is(record, "type", kind))
        });
        if let Some(sort) = self.sort {
            records.sort_by(|a, b| cells::compare(sort.key(a).as_ref(), sort.key(b).as_ref()));
        }
        if self.reverse {
            records.reverse();
        }
        Ok(records)
    }

    fn lines(&self, records: &[Object], output: &Output) -> Vec<String> {
        match self.json {
            true => show::json_lines(records),
            false => table(records, output).lines(output),
        }
    }
}

impl Sort {
    fn key(self, record: &Object) -> Option<Value> {
        let own = |key: &str| record.get(key).cloned();
        match self {
            Sort::Run => own("id"),
            Sort::Title => own("title"),
            Sort::Type => own("type"),
            Sort::Status => own("status"),
            Sort::Queued => own("queued").or(own("scheduled")),
            Sort::Started => own("started"),
            Sort::Rows => rows(record).map(Value::from),
            Sort::Size => size(record).map(Value::from),
            Sort::Remaining => own("remaining_days"),
        }
    }
}

/// Of a run that has come to nothing there is nothing.
fn progress(record: &Object, key: &str) -> Option<u64> {
    let is_in_progress = record.get("status").and_then(Value::as_str) == Some(Status::InProgress.name());
    record.get("progress").filter(|_| is_in_progress)?.get(key)?.as_u64()
}

fn rows(record: &Object) -> Option<u64> {
    record.get("rows").and_then(Value::as_u64).or_else(|| progress(record, "rows_done"))
}

fn size(record: &Object) -> Option<u64> {
    record.get("bytes").and_then(Value::as_u64).or_else(|| progress(record, "bytes_written"))
}

fn table(records: &[Object], output: &Output) -> Table {
    let row = |(record, id): (&Object, Cell)| {
        let planned = record.get("status").and_then(Value::as_str) == Some(Status::Scheduled.name());
        vec![
            id,
            cells::text(record, "title"),
            cells::text(record, "type"),
            status(record, output),
            cells::instant(record, "queued", output),
            cells::instant(record, if planned { "scheduled" } else { "started" }, output),
            cells::number(rows(record)),
            cells::size(size(record)),
            cells::days(record, output),
        ]
    };
    Table { columns: &COLUMNS, rows: records.iter().zip(cells::ids(records, output)).map(row).collect() }
}

fn status(record: &Object, output: &Output) -> Cell {
    let name = record.get("status").and_then(Value::as_str);
    // A set that somebody else made has its own ways not to be well.
    if record.get("complete") == Some(&Value::Bool(false)) {
        let text = if name.is_some() { INCOMPLETE } else { "Unreadable" };
        return Cell::colored(text.into(), Color::Red);
    }
    if name == Some(INCOMPLETE) {
        return Cell::colored(INCOMPLETE.into(), Color::Red);
    }
    let Some(status) = name.and_then(|name| name.parse::<Status>().ok()) else { return cells::nothing() };
    let color = match status {
        Status::Completed => Color::Green,
        Status::Failed => Color::Red,
        Status::Cancelled | Status::NoData => Color::Yellow,
        Status::InProgress => Color::Cyan,
        Status::Scheduled | Status::Queued => return Cell::from(status.name().to_string()),
    };
    let mut text = status.name().to_string();
    if status == Status::InProgress
        && let Some(percent) = record.get("progress").and_then(|p| p.get("percent")).and_then(Value::as_f64)
    {
        text += &format!(" {percent:.1}%");
        if output.is_terminal() {
            text += &format!(" {}", show::bar(percent / 100.0, BAR));
        }
        if let Some(seconds) = progress(record, "eta_seconds") {
            text += &format!(" {} left", show::time_left(seconds));
        }
    }
    Cell::colored(text, color)
}
