//! Records as tables for spreadsheets.
//!
//! RFC 4180 with a byte order mark, without which spreadsheets take UTF-8 for something else. One line for each record;
//! instants are RFC 3339, UTC.

use super::Record;
use crate::error::{Error, Kind, Result};
use crate::format::printable::printable;
use crate::format::text::Instant;
use crate::store::catalogue::Status;

/// A heading, and the text that a record has below it.
pub(crate) type CsvColumn = (&'static str, fn(&Record) -> Option<String>);

pub(crate) const HISTORY: [CsvColumn; 16] = [
    RUN,
    TITLE,
    TYPE,
    ("job", |r| r.job.clone()),
    ("status", |r| r.status.map(text)),
    ("percent", |r| r.progress.as_ref().map(|progress| text(progress.percent))),
    ("queued", |r| r.queued.map(text)),
    ("started", |r| r.started.map(text)),
    ("finished", |r| r.finished.or(made(r)).map(text)),
    ROWS,
    BYTES,
    ARTIFACT,
    ("expires", |r| r.expires.map(text)),
    REMAINING_DAYS,
    ("error", error),
    ESTIMATED,
];

pub(crate) const ARTIFACTS: [CsvColumn; 10] = [
    ARTIFACT,
    RUN,
    TITLE,
    TYPE,
    ("made", |r| made(r).map(text)),
    ROWS,
    BYTES,
    ("stored_bytes", |r| stored_bytes(r).map(text)),
    REMAINING_DAYS,
    ESTIMATED,
];

const RUN: CsvColumn = ("run", |r| Some(r.id.clone()));
const TITLE: CsvColumn = ("title", |r| r.title().map(text));
const TYPE: CsvColumn = ("type", |r| r.export_type().map(text));
const ROWS: CsvColumn = ("rows", |r| r.rows.map(text));
const BYTES: CsvColumn = ("bytes", |r| r.bytes.map(text));
const ARTIFACT: CsvColumn = ("artifact", |r| r.artifact.clone());
const REMAINING_DAYS: CsvColumn =
    ("remaining_days", |r| r.remaining_days.filter(|_| r.artifact.is_some()).map(text));
const ESTIMATED: CsvColumn = ("estimated", |r| r.estimated.then(|| text(true)));

fn text(value: impl ToString) -> String {
    value.to_string()
}

/// Returns when the artifact was made, if it is there.
fn made(record: &Record) -> Option<Instant> {
    record.mtime.filter(|_| record.artifact.is_some())
}

fn stored_bytes(record: &Record) -> Option<u64> {
    let of_run = || record.progress.as_ref().filter(|_| record.rows.is_some()).map(|p| p.bytes_written);
    record.stored_bytes.or_else(of_run)
}

fn error(record: &Record) -> Option<String> {
    match (record.complete, record.status) {
        (Some(false), Some(Status::Incomplete)) => Some("parts are missing".into()),
        _ => record.error.as_ref().map(|error| printable(error).into_owned()),
    }
}

/// Renders a table. Records are taken one by one: all together take several times the memory of the text.
pub(crate) fn render(columns: &[CsvColumn], records: impl Iterator<Item = Record>) -> Result<String> {
    let failed = |error: &dyn std::fmt::Display| Error::new(Kind::Invalid, error.to_string());
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer("\u{FEFF}".as_bytes().to_vec());
    writer.write_record(columns.iter().map(|(name, _)| name)).map_err(|e| failed(&e))?;
    for record in records {
        let cells = columns.iter().map(|(_, cell)| defused(cell(&record).unwrap_or_default()));
        writer.write_record(cells).map_err(|e| failed(&e))?;
    }
    let bytes = writer.into_inner().map_err(|e| failed(&e))?;
    String::from_utf8(bytes).map_err(|e| failed(&e))
}

/// Keeps a spreadsheet from taking a text for a formula.
fn defused(text: String) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if is_formula { format!("'{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_and_formulas_defused() {
        let error = Some("=HYPERLINK(\"x\")".to_string());
        let spec = serde_json::from_str(r#"{"title":"a \"b\", c\nd"}"#).unwrap();
        let record = Record { spec, error, ..Record::default() };
        let columns = [TITLE, RUN, HISTORY[14]];
        let text = render(&columns, [record].into_iter()).unwrap();
        assert_eq!(text, "\u{FEFF}title,run,error\r\n\"a \"\"b\"\", c\nd\",,\"'=HYPERLINK(\"\"x\"\")\"\r\n");
    }
}
