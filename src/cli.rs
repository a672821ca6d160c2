//! The command line: one file per command. Data goes to standard output, talk to standard error.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

mod artifacts;
mod background;
mod browse;
mod cells;
mod exit;
mod export;
mod history;
mod init;
mod interrupt;
mod keys;
mod logging;
mod mount;
mod options;
mod passphrase;
mod purge;
mod sample;
mod show;
mod store;
mod table;
mod unmount;
mod verify;
mod watcher;

use exit::Failure;

#[derive(Parser)]
#[command(
    name = "cddsfs",
    version,
    about = "Mounts a store of encrypted contact-centre data exports, so that any program can read them.",
    after_help = "Examples:
  cddsfs mount ~/Downloads ~/exports --key private.pem
  unzip -l ~/exports/artifacts/export-<uuid>.zip
  jq . ~/exports/history/export-<uuid>.json
  cddsfs unmount ~/exports"
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
    /// List what is inside an export, without a mount
    Ls(browse::ListArguments),
    /// Write a file inside an export to standard output, without a mount
    Cat(browse::CatArguments),
    /// Make a contact-history database to try things on
    Sample(sample::Arguments),
}

fn is_command(word: &OsStr) -> bool {
    word == "help" || Arguments::command().get_subcommands().any(|command| word == command.get_name())
}

/// Runs the program.
pub fn run(args: Vec<OsString>) -> ExitCode {
    let outcome = match options::expand(args.clone(), is_command) {
        Ok(expanded) => match Arguments::try_parse_from(expanded) {
            Ok(arguments) => match arguments.command {
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
                Command::Ls(arguments) => browse::list(&arguments),
                Command::Cat(arguments) => browse::cat(&arguments),
                Command::Sample(arguments) => sample::run(&arguments),
            },
            Err(error) => {
                // Clap's own texts and exit codes: 0 for --help, 2 for a mistake.
                let _ = error.print();
                return ExitCode::from(error.exit_code() as u8);
            }
        },
        Err(text) => Err(Failure::usage(text)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
