//! The command line: one file per command. Data goes to standard output, talk to standard error.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

mod artifacts;
mod background;
mod backup;
mod browse;
mod cells;
mod completions;
mod exit;
mod export;
mod help;
mod helper;
mod history;
mod init;
mod interrupt;
mod keys;
mod logging;
mod man;
mod markdown;
mod mount;
mod options;
mod output;
mod passphrase;
mod purge;
mod sample;
mod show;
mod store;
mod supervisor;
mod table;
mod unmount;
mod verify;
mod version;
mod watcher;

use exit::Failure;

const EXAMPLES: &str = "\
Look into what was downloaded:
  cddsfs mount ~/Downloads ~/exports --key private.pem
  unzip -l ~/exports/artifacts/export-*.zip

Make exports, with or without a mount:
  cddsfs init store --cert cert.pem --source history.db
  cddsfs mount store ~/exports --key private.pem
  cp spec.json ~/exports/jobs/new
  cddsfs export store spec.json
  cddsfs history store
  cddsfs unmount ~/exports";

#[derive(Parser)]
#[command(
    name = "cddsfs",
    version,
    long_version = version::long(),
    about = "Mounts a store of encrypted contact-centre data exports, so that any program can read them.",
    disable_help_subcommand = true,
    after_help = help::below(EXAMPLES)
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a store that exports are written to, or change its settings
    Init(init::Arguments),
    /// Mount a store on a directory
    Mount(mount::Arguments),
    /// Take a mount away when its server dies
    #[command(name = watcher::COMMAND, hide = true)]
    WatchMount,
    /// Take a mount away
    Unmount(unmount::Arguments),
    /// Run an export and follow it to its end
    Export(export::Arguments),
    /// List the runs and how they stand
    History(history::Arguments),
    /// List what runs have produced
    Artifacts(artifacts::Arguments),
    /// Read everything and say what is damaged
    Verify(verify::Arguments),
    /// Delete what has expired
    Purge(purge::Arguments),
    /// Copy a store while it is in use
    Backup(backup::Arguments),
    /// List what is inside an export, without a mount
    Ls(browse::ListArguments),
    /// Write a file inside an export to standard output, without a mount
    Cat(browse::CatArguments),
    /// Make a contact-history database to try things on
    Sample(sample::Arguments),
    /// Write completions for a shell to standard output
    Completions(completions::Arguments),
    /// Write a manual page to standard output
    Man(man::Arguments),
    /// Say what a command does, or show a page of the manual
    Help(help::Arguments),
    /// List the exit codes
    #[command(name = "exit-codes", hide = true, long_about = exit::table())]
    ExitCodes,
}

fn is_command(word: &OsStr) -> bool {
    Arguments::command().get_subcommands().any(|command| word == command.get_name())
}

/// The whole command line, as it is parsed.
fn program() -> clap::Command {
    help::with_words(Arguments::command())
}

fn is_option_of_mount(name: &str) -> bool {
    let all = Arguments::command();
    all.find_subcommand("mount")
        .is_some_and(|mount| mount.get_opts().any(|option| option.get_long() == Some(name)))
}

/// Runs the program.
pub fn run(args: Vec<OsString>) -> ExitCode {
    let is_helper = helper::is_called_as(args.first());
    let expanded = match is_helper {
        true => helper::translate(args, is_option_of_mount),
        false => options::expand(args, is_command),
    };
    let code = expanded.and_then(start).map_or_else(|failure| failure.report(), |()| 0);
    ExitCode::from(if is_helper { helper::exit_code(code) } else { code })
}

fn start(args: Vec<OsString>) -> Result<(), Failure> {
    let given = program().try_get_matches_from(&args)?;
    match Arguments::from_arg_matches(&given)?.command {
        Command::Init(arguments) => init::run(&arguments),
        Command::Mount(arguments) => mount::run(&arguments, &args),
        Command::WatchMount => {
            watcher::run();
            Ok(())
        }
        Command::Unmount(arguments) => unmount::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::History(arguments) => history::run(&arguments),
        Command::Artifacts(arguments) => artifacts::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Purge(arguments) => purge::run(&arguments),
        Command::Backup(arguments) => backup::run(&arguments),
        Command::Ls(arguments) => browse::list(&arguments),
        Command::Cat(arguments) => browse::cat(&arguments),
        Command::Sample(arguments) => sample::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments, program()),
        Command::Man(arguments) => man::run(&arguments, Arguments::command()),
        Command::Help(arguments) => help::run(&arguments, program()),
        Command::ExitCodes => {
            println!("{}", exit::table());
            Ok(())
        }
    }
}
