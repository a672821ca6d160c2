//! `cddsfs completions SHELL`

use clap::{Args, ValueEnum};
use clap_complete::{Shell, generate};

use super::exit::{Because, Failure, Reason};
use super::output;

#[derive(Args)]
#[command(after_help = "Examples (mkdir -p the directory first):
  cddsfs completions bash > ~/.local/share/bash-completion/completions/cddsfs
  cddsfs completions zsh > ~/.zfunc/_cddsfs        (with fpath+=~/.zfunc before compinit in ~/.zshrc)
  cddsfs completions fish > ~/.config/fish/completions/cddsfs.fish")]
pub(crate) struct Arguments {
    /// Which shell completes with them
    shell: ShellName,
}

#[derive(Clone, Copy, ValueEnum)]
enum ShellName {
    Bash,
    Zsh,
    Fish,
}

pub(crate) fn run(arguments: &Arguments, mut command: clap::Command) -> Result<(), Failure> {
    let shell = match arguments.shell {
        ShellName::Bash => Shell::Bash,
        ShellName::Zsh => Shell::Zsh,
        ShellName::Fish => Shell::Fish,
    };
    let mut text = Vec::new();
    generate(shell, &mut command, "cddsfs", &mut text);
    output::write(&text).because(Reason::Other)
}
