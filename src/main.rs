//! Arguments, command, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    cddsfs::cli::run(std::env::args_os().collect())
}
