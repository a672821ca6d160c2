//! `cddsfs history STORE`: the runs and how they stand.

use clap::{Args, ValueEnum};
use console::Color;

use super::cells::{self, SortKey};
use super::exit::{Because, Failure, Reason};
use super::keys::Keys;
use super::show;
use super::store;
use super::table::{Align, Cell, Column, Output, Table};
use crate::error::Result;
use crate::record::{Record, ShownProgress};
use crate::store::catalogue::Status;
use crate::tree::Tree;

mod follow;

#[derive(Args)]
#[command(after_help = "Examples:
  cddsfs history ~/exports-store --status 'In Progress' --status Queued
  cddsfs history ~/exports-store --follow
  cddsfs history ~/exports-store --json | jq -r 'select(.remaining_days < 5) | .id'

--json writes one object a line, as in history/ of a mount. Times are UTC. With --follow the table is drawn again on a
terminal whenever something changes; elsewhere each record that has changed is one more line.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    store: store::StoreArguments,
    /// Only runs of this status (may be given several times)
    #[arg(long, value_name = "STATUS", value_parser = parse_status)]
    status: Vec<Status>,
    /// Only runs of this type: Interaction or Contact
    #[arg(long = "type", value_name = "TYPE", value_parser = ["Interaction", "Contact"], ignore_case = true)]
    kind: Option<String>,
    /// Column to sort by (default: the latest first)
    #[arg(long, value_name = "COLUMN")]
    sort: Option<HistorySort>,
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
enum HistorySort {
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

fn parse_status(text: &str) -> std::result::Result<Status, String> {
    text.replace(['-', '_'], " ").parse()
}

pub(crate) fn run(arguments: &Arguments) -> std::result::Result<(), Failure> {
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
    fn records(&self, tree: &Tree) -> Result<Vec<Record>> {
        let mut records = tree.records()?;
        let is_of = |record: &Record, kind: &str| {
            record.export_type().is_some_and(|own| own.eq_ignore_ascii_case(kind))
        };
        records.retain(|record| {
            (self.status.is_empty() || record.status.is_some_and(|status| self.status.contains(&status)))
                && self.kind.as_ref().is_none_or(|kind| is_of(record, kind))
        });
        if let Some(sort) = self.sort {
            cells::sort(&mut records, |record| sort.key(record));
        }
        if self.reverse {
            records.reverse();
        }
        Ok(records)
    }

    fn lines(&self, records: &[Record], output: &Output) -> Vec<String> {
        match self.json {
            true => show::json_lines(records),
            false => table(records, output).lines(output),
        }
    }
}

impl HistorySort {
    fn key(self, record: &Record) -> Option<SortKey> {
        match self {
            HistorySort::Run => Some(SortKey::text(&record.id)),
            HistorySort::Title => record.title().map(SortKey::text),
            HistorySort::Type => record.export_type().map(SortKey::text),
            HistorySort::Status => record.status.map(|status| SortKey::text(status.name())),
            HistorySort::Queued => record.queued.or(record.scheduled).map(SortKey::Instant),
            HistorySort::Started => record.started.map(SortKey::Instant),
            HistorySort::Rows => rows(record).map(SortKey::Number),
            HistorySort::Size => size(record).map(SortKey::Number),
            HistorySort::Remaining => record.remaining_days.map(|days| SortKey::Number(days.into())),
        }
    }
}

/// Returns the progress of a run in progress; that of one that has failed means nothing any more.
fn progress(record: &Record) -> Option<&ShownProgress> {
    record.progress.as_ref().filter(|_| record.status == Some(Status::InProgress))
}

fn rows(record: &Record) -> Option<u64> {
    record.rows.or_else(|| progress(record).map(|progress| progress.rows_done))
}

fn size(record: &Record) -> Option<u64> {
    record.bytes.or_else(|| progress(record).map(|progress| progress.bytes_written))
}

fn table(records: &[Record], output: &Output) -> Table {
    let row = |(record, id): (&Record, Cell)| {
        let is_planned = record.status == Some(Status::Scheduled);
        vec![
            id,
            cells::text(record.title()),
            cells::text(record.export_type()),
            status(record, output),
            cells::instant(record.queued, output),
            cells::instant(if is_planned { record.scheduled } else { record.started }, output),
            cells::number(rows(record)),
            cells::size(size(record)),
            cells::days(record, output),
        ]
    };
    Table { columns: &COLUMNS, rows: records.iter().zip(cells::ids(records, output)).map(row).collect() }
}

fn status(record: &Record, output: &Output) -> Cell {
    let Some(status) = record.status else { return cells::nothing() };
    let mut text = status.to_string();
    let color = match status {
        Status::Completed => Color::Green,
        Status::Failed | Status::Incomplete | Status::Unreadable => Color::Red,
        Status::Cancelled | Status::NoData => Color::Yellow,
        Status::InProgress => Color::Cyan,
        Status::Scheduled | Status::Queued => return Cell::from(text),
    };
    if let Some(progress) = progress(record) {
        text += &format!(" {:.1}%", progress.percent);
        if output.is_terminal() {
            text += &format!(" {}", show::bar(progress.percent / 100.0, BAR));
        }
        if let Some(seconds) = progress.eta_seconds {
            text += &format!(" {} left", show::time_left(seconds));
        }
    }
    Cell::colored(text, color)
}
