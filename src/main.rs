//! Runs the command that the arguments name, and ends with its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    cddsfs::cli::run(std::env::args_os().collect())
}
