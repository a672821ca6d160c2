//! Shows a run that is followed: as a bar on a terminal, as lines elsewhere, or as JSON.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::{output, show};
use crate::error::Result;
use crate::format::text::timestamp;
use crate::record::{Record, warnings};
use crate::store::catalogue::{Progress, Run, Status};
use crate::store::managed::Managed;

/// Time between two lines at least, unless the status changes.
const PAUSE: Duration = Duration::from_millis(900);

pub(crate) struct RunDisplay {
    form: DisplayForm,
    status: Option<Status>,
    last: String,
    shown: Option<Instant>,
    warned: Vec<String>,
}

enum DisplayForm {
    Bar(ProgressBar),
    Lines,
    Json,
}

impl RunDisplay {
    pub(crate) fn new(json: bool) -> RunDisplay {
        let form = match (json, io::stderr().is_terminal()) {
            (true, _) => DisplayForm::Json,
            (false, true) => DisplayForm::Bar(ProgressBar::new_spinner()),
            (false, false) => DisplayForm::Lines,
        };
        RunDisplay { form, status: None, last: String::new(), shown: None, warned: Vec::new() }
    }

    /// Prints a line beside the state of the run.
    pub(crate) fn say(&self, text: &str) {
        match &self.form {
            DisplayForm::Bar(bar) => bar.suspend(|| output::say(text)),
            DisplayForm::Lines | DisplayForm::Json => output::say(text),
        }
    }

    /// Shows the state of the run, if it has changed.
    pub(crate) fn show(&mut self, store: &Managed, run: &Run) -> Result<()> {
        let is_new = self.status.replace(run.status) != Some(run.status);
        if !is_new
            && self.shown.is_some_and(|shown| shown.elapsed() < PAUSE)
            && !matches!(self.form, DisplayForm::Bar(_))
        {
            return Ok(());
        }
        self.warn(run);
        let line = match self.form {
            DisplayForm::Json => Record::in_full(store, run, SystemTime::now())?.to_string(),
            DisplayForm::Bar(_) | DisplayForm::Lines => status_line(store, run)?,
        };
        if let DisplayForm::Bar(bar) = &self.form {
            draw(bar, run, is_new, line);
            return Ok(());
        }
        if line != self.last {
            match self.form {
                // If nobody reads any more, the exit code is still of use.
                DisplayForm::Json => drop(show::write_lines(std::slice::from_ref(&line))?),
                _ => eprintln!("{line}"),
            }
            self.last = line;
            self.shown = Some(Instant::now());
        }
        Ok(())
    }

    /// Prints each warning once.
    fn warn(&mut self, run: &Run) {
        for warning in warnings(run, SystemTime::now()) {
            if !self.warned.contains(&warning) {
                self.say(&show::clean(&warning));
                self.warned.push(warning);
            }
        }
    }
}

fn draw(bar: &ProgressBar, run: &Run, is_new: bool, line: String) {
    if is_new {
        let template = match run.status {
            Status::InProgress => "[{bar:20}] {wide_msg}",
            _ => "{spinner} {wide_msg}",
        };
        // A template that is wrong is a mistake in this file, and leaves the bar as it was.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("██░"));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    if let Some(Progress { rows_done, rows_total, .. }) = run.progress {
        bar.set_length(rows_total);
        bar.set_position(rows_done);
    }
    let message = run.progress.filter(|_| run.status == Status::InProgress);
    bar.set_message(message.map_or_else(|| line.clone(), |progress| in_progress(&progress)));
    if run.status.is_final() {
        bar.finish_and_clear();
        eprintln!("{line}");
    }
}

/// Returns a line about the state of a run.
fn status_line(store: &Managed, run: &Run) -> Result<String> {
    let name = run.status.name();
    Ok(match run.status {
        Status::Scheduled => format!("{name} for {}", run.scheduled.map(timestamp).unwrap_or_default()),
        Status::Queued => {
            let queue = store.catalogue.runs_that_are(Status::Queued)?;
            match queue.iter().position(|other| other.id == run.id) {
                None | Some(0) => format!("{name}: next"),
                Some(1) => format!("{name}: 1 run before it"),
                Some(before) => format!("{name}: {before} runs before it"),
            }
        }
        Status::InProgress => match run.progress {
            None => format!("{name}: counting rows"),
            Some(progress) => format!("{name}: {}", in_progress(&progress)),
        },
        Status::Completed => {
            let progress = run.progress.unwrap_or_default();
            let (rows, written) = (progress.rows_total, show::size(progress.bytes_written));
            format!("{name}: {rows} rows, {} zipped, {written} stored", show::size(run.bytes.unwrap_or(0)))
        }
        _ => name.to_string(),
    })
}

fn in_progress(progress: &Progress) -> String {
    let Progress { rows_done, rows_total, bytes_written, eta_seconds } = *progress;
    // 100 only when everything is in place.
    let percent = (rows_done * 100).checked_div(rows_total).unwrap_or(0).min(99);
    let left = eta_seconds.map(|seconds| format!(", {} left", show::time_left(seconds))).unwrap_or_default();
    format!("{percent}%, {rows_done} of {rows_total} rows, {} written{left}", show::size(bytes_written))
}
