//! `cddsfs history --follow`: again and again, until it is interrupted or nobody reads any more.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use console::Term;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Arguments;
use crate::cli::interrupt::Interrupt;
use crate::cli::show;
use crate::cli::table::Output;
use crate::error::Result;
use crate::record::Record;
use crate::tree::Tree;

/// Milliseconds between looks whether something has changed.
const TICK: u16 = 250;
/// How often everything is looked at: the catalogue does not tell of files of others, nor of the days that go by.
const ANYWAY: Duration = Duration::from_secs(1);

pub(crate) fn run(arguments: &Arguments, tree: &Tree) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    let mut screen = Screen::default();
    let mut seen: HashMap<String, String> = HashMap::new();
    let mut state = None;
    let mut looked = Instant::now();
    while !interrupt.is_raised() {
        let changes = tree.revision()?;
        let output = Output::stdout();
        let now = Some((changes, output));
        if now != state || looked.elapsed() >= ANYWAY {
            (state, looked) = (now, Instant::now());
            tree.refresh()?;
            let records = arguments.records(tree)?;
            let shown = match output.is_terminal() && !arguments.json {
                true => screen.draw(arguments.lines(&records, &output), &output),
                false => show::write_lines(&changed(arguments, &mut seen, records, &output)),
            };
            if !shown? {
                return Ok(());
            }
        }
        if reader_has_gone() {
            return Ok(());
        }
    }
    Ok(())
}

/// Returns lines for the records that have changed since they were last shown.
fn changed(
    arguments: &Arguments,
    seen: &mut HashMap<String, String>,
    mut records: Vec<Record>,
    output: &Output,
) -> Vec<String> {
    let is_first = seen.is_empty();
    records.retain(|record| {
        let text = record.to_string();
        seen.insert(record.id.clone(), text.clone()) != Some(text)
    });
    // The latest comes last, since further lines follow.
    if arguments.sort.is_none() && !arguments.reverse {
        records.reverse();
    }
    if records.is_empty() && !is_first {
        return Vec::new();
    }
    let mut lines = arguments.lines(&records, output);
    if !is_first && !arguments.json {
        lines.remove(0);
    }
    lines
}

/// Waits for a moment, or until whoever reads standard output has gone.
fn reader_has_gone() -> bool {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    // A signal ends the wait; the loop sees to it.
    let told = poll(&mut fds, PollTimeout::from(TICK)).is_ok_and(|count| count > 0);
    let gone = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
    told && fds[0].revents().is_some_and(|events| events.intersects(gone))
}

/// The lines that are on the terminal.
#[derive(Default)]
struct Screen(Vec<String>);

impl Screen {
    /// Replaces the lines on the terminal. Those that do not fit are only counted.
    fn draw(&mut self, mut lines: Vec<String>, output: &Output) -> Result<bool> {
        let rows = output.terminal.map_or(usize::MAX, |(_, rows)| rows - 1);
        if lines.len() > rows {
            let left_out = lines.len() - (rows - 1);
            lines.truncate(rows - 1);
            lines.push(format!("... and {left_out} more"));
        }
        if lines != self.0 {
            let terminal = Term::buffered_stdout();
            terminal.clear_last_lines(self.0.len().min(rows))?;
            lines.iter().try_for_each(|line| terminal.write_line(line))?;
            terminal.flush()?;
            self.0 = lines;
        }
        Ok(true)
    }
}
