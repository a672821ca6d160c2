//! `cddsfs man [PAGE]`: manual pages, made of the same texts as --help and the manual.

use clap::{Args, Command, ValueEnum};

use super::exit::{Because, Failure, Reason};
use super::output;

mod commands;
mod roff;
mod topic;
mod topics;

#[derive(Args)]
#[command(after_help = "Examples:
  cddsfs man | man -l -
  cddsfs man cddsfs-job | man -l -
  cddsfs man cddsfs-job > ~/.local/share/man/man5/cddsfs-job.5")]
pub(crate) struct Arguments {
    /// Which of the manual pages
    #[arg(default_value = "cddsfs")]
    page: ManPage,
}

#[derive(Clone, Copy, ValueEnum)]
enum ManPage {
    /// cddsfs(1): all commands, mounting, errors
    Cddsfs,
    /// cddsfs-job(5): job specs, and what an export holds
    CddsfsJob,
    /// cddsfs-semantics(7): what programs can rely on
    CddsfsSemantics,
}

pub(crate) fn run(arguments: &Arguments, command: Command) -> Result<(), Failure> {
    let text = match arguments.page {
        ManPage::Cddsfs => commands::page(command).because(Reason::Other)?,
        ManPage::CddsfsJob => topic::page(&topics::JOB),
        ManPage::CddsfsSemantics => topic::page(&topics::SEMANTICS),
    };
    output::write(roff::portable(&text).as_bytes()).because(Reason::Other)
}
