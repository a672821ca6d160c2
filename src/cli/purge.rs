//! `cddsfs purge STORE`: deletes what has expired, and what interrupted deletions and runs have left.

use std::time::{Duration, SystemTime};

use clap::Args;

use super::exit::{Because, Failure, Reason};
use super::show;
use super::store;
use crate::error::Result;
use crate::export::disposal;
use crate::format::text::timestamp;
use crate::store::catalogue::Attendance;
use crate::store::managed::Managed;
use crate::store::names::stem_of;
use crate::store::parts::Left;

/// How far a clock may be ahead of the time that was last believed.
const BELIEVED_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

#[derive(Args)]
#[command(after_help = "Examples:
  cddsfs purge store --dry-run
  cddsfs purge store

One line for each thing that goes: its name, its size, and why. A mount does the same by itself, once it has run \
for an hour or its clock was believed an hour ago; this command believes a clock that is at most a week ahead of that, \
and any other with --yes. It may run beside a mount: files \
that are open there stay readable until they are closed.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    store: store::StoreArguments,
    /// Only list what would go
    #[arg(long)]
    dry_run: bool,
    /// Delete what has expired by a clock that nobody has confirmed
    #[arg(long)]
    yes: bool,
}

/// Something to delete.
struct Item {
    name: String,
    size: u64,
    why: String,
    what: What,
}

enum What {
    Artifact(String),
    /// The run.
    Leftover(String),
    Stray(Left),
}

pub(crate) fn run(arguments: &Arguments) -> std::result::Result<(), Failure> {
    let store = store::managed(&arguments.store)?;
    let now = SystemTime::now();
    // Whoever attends the queue knows which runs are executed. Without that, unfinished files may belong to a run, and
    // are left alone.
    let attendance = store.queue.attend().because(Reason::Store)?;
    let items = items(&store, now, attendance.as_ref()).because(Reason::Store)?;
    let expires = items.iter().any(|item| matches!(item.what, What::Artifact(_)));
    if expires && !arguments.dry_run && !arguments.yes {
        let believed = store.catalogue.confirmed_clock().because(Reason::Store)?;
        refuse_doubtful_clock(believed, now)?;
    }
    let (mut total, mut is_read) = (0, true);
    for item in &items {
        if !arguments.dry_run {
            item.delete(&store, now).because(Reason::Store)?;
        }
        total += item.size;
        let line = format!("{}  {}  {}", item.name, show::size(item.size), item.why);
        is_read = is_read && show::write_lines(&[line]).because(Reason::Store)?;
    }
    let what = if arguments.dry_run { "would be deleted" } else { "deleted" };
    eprintln!("cddsfs: {} {what}, {}", items.len(), show::size(total));
    Ok(())
}

/// Refuses a clock by which nobody has run jobs lately: that of a machine that has just started may be wrong.
fn refuse_doubtful_clock(believed: Option<SystemTime>, now: SystemTime) -> std::result::Result<(), Failure> {
    if believed.is_some_and(|then| now <= then + BELIEVED_FOR) {
        return Ok(());
    }
    let believed = believed.map_or_else(|| "never".into(), timestamp);
    let text = format!(
        "artifacts have expired by a clock that says {}, and was last believed {believed}; nothing has been deleted",
        timestamp(now)
    );
    Err(Failure::new(Reason::Refused, text).with_hint("if the clock is right give --yes"))
}

fn items(store: &Managed, now: SystemTime, attendance: Option<&Attendance>) -> Result<Vec<Item>> {
    let retention = store.catalogue.retention()?;
    let mut items = Vec::new();
    for artifact in store.catalogue.expired_at(now)? {
        let size = artifact.parts.iter().map(|part| part.size).sum();
        let when = retention.expires(artifact.made).map(timestamp).unwrap_or_default();
        let name = stem_of(&artifact.run);
        items.push(Item { name, size, why: format!("expired {when}"), what: What::Artifact(artifact.run) });
    }
    for run in disposal::leftovers(store, now)? {
        let size = store.catalogue.parts(&run)?.iter().map(|part| part.size).sum();
        let why = "its deletion was interrupted".into();
        items.push(Item { name: stem_of(&run), size, why, what: What::Leftover(run) });
    }
    // This process executes no runs.
    let strays =
        attendance.map(|_| disposal::strays(store, now, &|_| false)).transpose()?.unwrap_or_default();
    items.extend(strays.into_iter().map(|stray| Item {
        name: stray.name.clone(),
        size: stray.size,
        why: "a run that was interrupted has left it".into(),
        what: What::Stray(stray),
    }));
    Ok(items)
}

impl Item {
    fn delete(&self, store: &Managed, now: SystemTime) -> Result<()> {
        match &self.what {
            What::Artifact(run) => disposal::remove_artifact(store, run, now).map(drop),
            What::Leftover(run) => disposal::finish_deletion(store, run, now),
            What::Stray(stray) => store.parts.delete(std::slice::from_ref(&stray.key)),
        }
    }
}
