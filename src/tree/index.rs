//! `history/index.csv` and `artifacts/index.csv`: the directory as a table for spreadsheets.
//!
//! RFC 4180 with a byte order mark, without which spreadsheets take UTF-8 for something else. One line for each run or
//! artifact, the latest first; instants are RFC 3339, UTC.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Tree;
use super::export::{Context, Export, Made, Outcome, artifact_name};
use super::node::Dir;
use crate::error::{Error, Kind, Result};
use crate::export::json::Object;
use crate::export::record::{id_of, percent, timestamp};
use crate::format::printable::printable;
use crate::store::catalogue::{Revision, Run, Status};
use crate::store::retention::Retention;

pub const NAME: &str = "index.csv";

const HISTORY: [&str; 16] = [
    "run",
    "title",
    "type",
    "job",
    "status",
    "percent",
    "queued",
    "started",
    "finished",
    "rows",
    "bytes",
    "artifact",
    "expires",
    "remaining_days",
    "error",
    "estimated",
];
const ARTIFACTS: [&str; 10] = [
    "artifact",
    "run",
    "title",
    "type",
    "made",
    "rows",
    "bytes",
    "stored_bytes",
    "remaining_days",
    "estimated",
];

/// What a table that is kept was made from: state of the catalogue, and the minute.
type Stamp = (Revision, u64);

/// The tables of a managed store as they were made last: directories are listed more often than they change.
#[derive(Default)]
pub struct Kept(Mutex<Vec<(Dir, Stamp, Arc<String>)>>);

/// One run or set, as far as it is known without work.
#[derive(Default)]
struct Line(Vec<(&'static str, String)>);

impl Line {
    fn put(&mut self, name: &'static str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.0.push((name, value.to_string()));
        }
    }

    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(own, _)| *own == name).map_or("", |(_, value)| value)
    }
}

impl Tree {
    /// Renders the table of a directory.
    pub(super) fn index(&self, dir: Dir) -> Result<Arc<String>> {
        let now = self.clock.now();
        let minute = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 60);
        let stamp = self.store.managed().map(|store| store.catalogue.changes()).transpose()?;
        let stamp = stamp.map(|changes| (changes, minute));
        let kept = |kept: &(Dir, Stamp, Arc<String>)| kept.0 == dir && Some(kept.1) == stamp;
        if let Some((.., text)) = self.indexes.0.lock().iter().find(|k| kept(k)) {
            return Ok(text.clone());
        }
        let text = Arc::new(self.render_index(dir, now)?);
        if let Some(stamp) = stamp {
            let mut all = self.indexes.0.lock();
            all.retain(|(other, ..)| *other != dir);
            all.push((dir, stamp, text.clone()));
        }
        Ok(text)
    }

    fn render_index(&self, dir: Dir, now: SystemTime) -> Result<String> {
        // Lines are made one by one: together they take several times as much as the table.
        if let Some(store) = self.store.managed() {
            // As new as the state of the catalogue that the table is kept for, which the view need not be.
            let (mut runs, retention) = (store.catalogue.runs()?, store.catalogue.retention()?);
            runs.sort_by_key(|run| std::cmp::Reverse(run.queued.or(run.scheduled)));
            return table(dir, runs.iter().map(|run| of_run(run, retention, now)));
        }
        let view = self.view();
        let made = |export: &Export| export.made(&self.exports, now);
        let mut exports: Vec<(Made, &Arc<Export>)> = view.exports().map(|e| (made(e), e)).collect();
        exports.sort_by_key(|(made, _)| std::cmp::Reverse(made.at));
        let line =
            |(made, export): (Made, &Arc<Export>)| of_set(export, made, &self.exports, view.retention(), now);
        table(dir, exports.into_iter().map(line))
    }
}

fn of_run(run: &Run, retention: Retention, now: SystemTime) -> Line {
    let spec: Object = serde_json::from_str(&run.spec).unwrap_or_default();
    let text = |key: &str| spec.get(key).and_then(|value| value.as_str()).map(str::to_string);
    let made = run.finished.filter(|_| run.present);
    let progress = run.progress.filter(|_| run.status == Status::Completed);
    let mut line = Line::default();
    line.put("run", Some(&run.id));
    line.put("title", text("title"));
    line.put("type", text("type"));
    line.put("job", run.job.as_ref());
    line.put("status", Some(run.shown_status()));
    line.put("percent", percent(run));
    line.put("queued", run.queued.map(timestamp));
    line.put("started", run.started.map(timestamp));
    line.put("finished", run.finished.map(timestamp));
    line.put("rows", progress.map(|progress| progress.rows_total));
    line.put("bytes", run.bytes);
    line.put("stored_bytes", progress.map(|progress| progress.bytes_written));
    line.put("artifact", made.map(|_| artifact_name(&run.stem(), !run.incomplete)));
    line.put("made", made.map(timestamp));
    line.put("expires", made.and_then(|made| retention.expires(made)).map(timestamp));
    line.put("remaining_days", made.and_then(|made| retention.remaining_days(made, now)));
    line.put("error", run.error.as_ref().map(|error| printable(error)));
    line
}

fn of_set(export: &Export, made: Made, context: &Context, retention: Retention, now: SystemTime) -> Line {
    let Made { at: made, estimated } = made;
    let mut line = Line::default();
    line.put("run", Some(id_of(export.stem())));
    // What takes a private key is not done for a table.
    if export.is_known(context) {
        match export.outcome(context) {
            Outcome::Zip(bytes) => {
                line.put("status", Some(Status::Completed));
                line.put("bytes", Some(bytes));
            }
            Outcome::Incomplete(_) => line.put("error", Some("parts are missing")),
            Outcome::Failed(error) => line.put("error", Some(printable(&error.to_string()))),
        }
    }
    line.put("finished", Some(timestamp(made)));
    line.put("made", Some(timestamp(made)));
    line.put("stored_bytes", Some(export.set().stored_size()));
    line.put("artifact", Some(export.artifact_name()));
    line.put("expires", retention.expires(made).map(timestamp));
    line.put("remaining_days", retention.remaining_days(made, now));
    line.put("estimated", Some(true).filter(|_| estimated));
    line
}

fn table(dir: Dir, lines: impl Iterator<Item = Line>) -> Result<String> {
    match dir {
        Dir::Artifacts => render(&ARTIFACTS, lines.filter(|line| !line.get("artifact").is_empty())),
        _ => render(&HISTORY, lines),
    }
}

fn render(columns: &[&str], lines: impl Iterator<Item = Line>) -> Result<String> {
    let failed = |error: &dyn std::fmt::Display| Error::new(Kind::Invalid, error.to_string());
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer("\u{FEFF}".as_bytes().to_vec());
    writer.write_record(columns).map_err(|e| failed(&e))?;
    for line in lines {
        let cells = columns.iter().map(|column| defused(line.get(column)));
        writer.write_record(cells).map_err(|e| failed(&e))?;
    }
    let bytes = writer.into_inner().map_err(|e| failed(&e))?;
    String::from_utf8(bytes).map_err(|e| failed(&e))
}

/// Keeps a spreadsheet from taking a text for a formula.
fn defused(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if is_formula { format!("'{text}") } else { text.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_and_formulas_are_none() {
        let mut line = Line::default();
        line.put("title", Some("a \"b\", c\nd"));
        line.put("error", Some("=HYPERLINK(\"x\")"));
        let text = render(&["title", "run", "error"], [line].into_iter()).unwrap();
        assert_eq!(text, "\u{FEFF}title,run,error\r\n\"a \"\"b\"\", c\nd\",,\"'=HYPERLINK(\"\"x\"\")\"\r\n");
    }
}
