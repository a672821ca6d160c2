//! `cddsfs sample DB` and `cddsfs sample --to postgres://...`: a contact-history database to try things on.

use std::path::PathBuf;

use clap::Args;

use super::exit::{Because, Failure, Reason};
use crate::export::sample::{Size, make_at};
use crate::export::source::SourceSpec;

#[derive(Args)]
#[command(after_help = "Example:
  cddsfs sample history.db --interactions 100000
  sqlite3 history.db 'SELECT mediatypeid, count(*) FROM interaction GROUP BY 1'
  cddsfs sample --to postgres://me@localhost/history

The same numbers and seed give the same rows everywhere. Nobody in it exists.")]
pub(crate) struct Arguments {
    /// File of SQLite to make; it must not be there yet
    #[arg(value_name = "DB", required_unless_present = "to")]
    path: Option<PathBuf>,
    /// Database of PostgreSQL to make the tables in; it must have none of them yet
    #[arg(long, value_name = "URL", conflicts_with = "path", value_parser = parse_url)]
    to: Option<SourceSpec>,
    /// How many contacts
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(..=1_000_000_000))]
    contacts: u64,
    /// How many interactions
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(..=1_000_000_000))]
    interactions: u64,
    /// What everything is drawn from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

fn parse_url(text: &str) -> Result<SourceSpec, String> {
    match SourceSpec::parse(text) {
        SourceSpec::Sqlite(_) => Err("a URL: postgres://USER@HOST:PORT/DATABASE".to_owned()),
        url => Ok(url),
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { path, to, contacts, interactions, seed } = arguments;
    let size = Size { contacts: *contacts, interactions: *interactions, seed: *seed };
    let place = path.clone().map(SourceSpec::Sqlite).or(to.clone());
    let place = place.ok_or_else(|| Failure::usage("sample needs a file, or --to with a URL"))?;
    let made = make_at(&place, size).because(Reason::Other)?;
    eprintln!(
        "{place}: {} contacts with {} attributes, {} interactions with {} attachments",
        made.contacts, made.attributes, made.interactions, made.attachments
    );
    Ok(())
}
