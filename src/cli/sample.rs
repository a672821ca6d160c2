//! `cddsfs sample DB`: a contact-history database to try things on.

use std::path::PathBuf;

use clap::Args;

use super::exit::{Because, Failure, Reason};
use crate::error::At;
use crate::export::sample::{Size, make};

#[derive(Args)]
#[command(after_help = "Example:
  cddsfs sample history.db --interactions 100000
  sqlite3 history.db 'SELECT mediatypeid, count(*) FROM interaction GROUP BY 1'

The same numbers and seed give the same rows everywhere. Nobody in it exists.")]
pub(crate) struct Arguments {
    /// File to make; it must not be there yet
    #[arg(value_name = "DB")]
    path: PathBuf,
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

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { path, contacts, interactions, seed } = arguments;
    let size = Size { contacts: *contacts, interactions: *interactions, seed: *seed };
    let made = make(path, size).at(path.display()).because(Reason::Other)?;
    eprintln!(
        "{}: {} contacts with {} attributes, {} interactions with {} attachments",
        path.display(),
        made.contacts,
        made.attributes,
        made.interactions,
        made.attachments
    );
    Ok(())
}
