//! `cddsfs export STORE SPEC|-`: hands in a spec and follows its run to the end.
//!
//! The process that holds the store's lock executes it: this program, or a mount that is there already. If that mount
//! ends, this program takes over.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use clap::Args;

use super::exit::{Because, Failure, Reason};
use super::interrupt::Interrupt;
use super::show;
use super::store;
use crate::error::{At, Result};
use crate::export::engine::Engine;
use crate::export::jobs::{self, Rejected};
use crate::export::refusal::Refusal;
use crate::export::spec::MAX_BYTES;
use crate::format::text::timestamp;
use crate::record::Record;
use crate::store::catalogue::{Run, Status};
use crate::store::clock::SystemClock;
use crate::store::managed::Managed;

mod display;

use display::RunDisplay;

/// How often the state of the run is looked at.
const TICK: Duration = Duration::from_millis(100);
/// Stands in refusals for the file that a spec was written to.
const TARGET: &str = "cddsfs export";

#[derive(Args)]
#[command(after_help = "Examples:
  cddsfs export ~/exports-store spec.json
  echo '{\"title\": \"Chats\", \"type\": \"Interaction\", \"media_types\": [\"chat\"]}' | cddsfs export ~/exports-store -

The last line on standard output is the id of the run and the name of its artifact. With --json every line there is
the record of the run, as in history/ of a mount, whenever it has changed.

A spec that is to run later, or again and again, is handed in, and its id and time are written; with --wait the next run
is awaited. Later runs take place while something runs the jobs of the store: a mount that is not read-only.

The first Ctrl-C cancels the run and waits until it has stopped; the second one does not wait.

Exit codes:
    0  Completed; or handed in, for a run that is to come
    2  the arguments make no sense
    4  the store cannot be used
    6  the spec is refused; standard error says which key is wrong, and what would be right
    7  No Data: nothing matches the spec
    8  Failed
    9  Cancelled, here or by somebody else
  130  interrupted twice: the run is cancelled by whoever runs jobs next")]
pub(crate) struct Arguments {
    #[command(flatten)]
    store: store::StoreArguments,
    /// File with a job spec (JSON), or - for standard input
    spec: PathBuf,
    /// Wait for a run that is to come, and follow it too
    #[arg(long)]
    wait: bool,
    /// Write the record of the run, one JSON object a line
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> std::result::Result<(), Failure> {
    let store = store::managed(&arguments.store)?;
    // The state of the run is shown here, so the log need not report it.
    log::set_max_level(log::LevelFilter::Error);
    let text = read(&arguments.spec).because(Reason::Usage)?;
    let interrupt = Interrupt::watch().because(Reason::Other)?;
    let id = submit(&store, &text)?;
    let handed_in = store.catalogue.run(&id).because(Reason::Store)?;
    let scheduled = handed_in.filter(|run| run.status == Status::Scheduled && !arguments.wait);
    if let Some(run) = scheduled {
        return report_scheduled(arguments, &store, &run).because(Reason::Store);
    }
    let ended = follow(&store, &id, RunDisplay::new(arguments.json), &interrupt).because(Reason::Store)?;
    report(arguments, &id, ended.as_ref())
}

fn read(spec: &Path) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    // One byte more than is allowed, to see that a spec is too long.
    let limit = MAX_BYTES as u64 + 1;
    match spec.as_os_str() == "-" {
        true => io::stdin().lock().take(limit).read_to_end(&mut text).at("standard input")?,
        false => File::open(spec).and_then(|f| f.take(limit).read_to_end(&mut text)).at(spec.display())?,
    };
    Ok(text)
}

fn submit(store: &Managed, text: &[u8]) -> std::result::Result<String, Failure> {
    let now = SystemTime::now();
    match jobs::submit(store, text, now) {
        Ok(id) => Ok(id),
        Err(Rejected::Failed(error)) => Err(Failure::new(Reason::Store, error)),
        Err(Rejected::Refused(refusal)) => {
            if let Err(error) = jobs::keep_refusal(store, TARGET, &refusal, text, now) {
                log::error!("the refusal is not written down: {error}");
            }
            Err(Failure::new(Reason::Refused, "the spec is refused").with_lines(refusal_lines(&refusal)))
        }
    }
}

fn refusal_lines(refusal: &Refusal) -> [String; 3] {
    let field = if refusal.field.is_empty() { "the whole" } else { &refusal.field };
    [
        format!("  field  {field}"),
        format!("  wrong  {}", refusal.wrong),
        format!("  right  {}", refusal.right),
    ]
}

fn report_scheduled(arguments: &Arguments, store: &Managed, run: &Run) -> Result<()> {
    let when = run.scheduled.map(timestamp).unwrap_or_default();
    let line = match arguments.json {
        true => Record::in_full(store, run, SystemTime::now())?.to_string(),
        false => format!("{} {when}", run.id),
    };
    if let Some(job) = &run.job {
        eprintln!("cddsfs: defined as job {job}");
    }
    eprintln!("cddsfs: scheduled for {when}; it runs while the store is mounted, or here with --wait");
    show::write_lines(&[line]).map(drop)
}

/// Follows a run to its end; `None` if it has been removed.
fn follow(
    store: &Arc<Managed>,
    id: &str,
    mut display: RunDisplay,
    interrupt: &Interrupt,
) -> Result<Option<Run>> {
    let mut is_cancelled = false;
    let mut engine = None;
    loop {
        if interrupt.is_raised() && !is_cancelled {
            is_cancelled = true;
            display.say("cancelling; once more to go without waiting");
            store.catalogue.cancel(id, SystemTime::now())?;
        }
        let Some(run) = store.catalogue.run(id)? else { return Ok(None) };
        display.show(store, &run)?;
        if run.status.is_final() {
            return Ok(Some(run));
        }
        // While the run is not due, another process may want to run jobs.
        let is_due =
            run.status != Status::Scheduled || run.scheduled.is_none_or(|due| due <= SystemTime::now());
        if engine.is_none() && is_due {
            engine = Some(Engine::start(store.clone(), SystemClock::shared(), Some(id.into()))?);
        }
        thread::sleep(TICK);
    }
}

fn report(arguments: &Arguments, id: &str, ended: Option<&Run>) -> std::result::Result<(), Failure> {
    let artifact =
        ended.filter(|run| run.status == Status::Completed).map(|run| format!("{}.zip", run.stem()));
    if !arguments.json {
        let line = artifact.map_or_else(|| id.to_string(), |name| format!("{id} {name}"));
        show::write_lines(&[line]).because(Reason::Other)?;
    }
    let failure = |reason, text: &str| Err(Failure::new(reason, text));
    match ended.map(|run| (run.status, run.error.as_deref())) {
        Some((Status::NoData, _)) => failure(Reason::NoData, "no data: nothing matches the spec"),
        Some((Status::Failed, error)) => {
            failure(Reason::Failed, &format!("failed: {}", error.unwrap_or("for an unknown reason")))
        }
        Some((Status::Cancelled, _)) => failure(Reason::Cancelled, "cancelled"),
        Some(_) => Ok(()),
        None => failure(Reason::Cancelled, "cancelled: the run was removed from the history"),
    }
}
