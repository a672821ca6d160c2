//! `cddsfs help [COMMAND | TOPIC]`: what --help says, and the pages of the manual on the terminal.

use clap::builder::PossibleValuesParser;
use clap::{Args, Command};

use super::exit::{Because, Failure, Reason};
use super::output;
use super::table::Output;
use crate::manual::{self, PAGES};

mod terminal;

use terminal::Look;

/// The name of this command.
pub(crate) const COMMAND: &str = "help";
/// The word that lists the topics.
const TOPICS: &str = "topics";

#[derive(Args)]
#[command(after_help = "Examples:
  cddsfs help mount
  cddsfs help topics
  cddsfs help troubleshooting | less")]
pub(crate) struct Arguments {
    /// A command; a topic, which cddsfs help topics lists; or exit-codes
    #[arg(value_name = "COMMAND|TOPIC", hide_possible_values = true)]
    word: Option<String>,
}

/// Adds the words that `help` takes to the command line, for completions and for suggestions.
pub(crate) fn with_words(command: Command) -> Command {
    let commands = command.get_subcommands().map(|sub| sub.get_name().to_string());
    let commands = commands.filter(|name| name != super::watcher::COMMAND);
    let topics = PAGES.iter().map(|page| page.topic.to_string());
    let words: Vec<String> = commands.chain([TOPICS.to_string()]).chain(topics).collect();
    command.mut_subcommand(COMMAND, |help| {
        help.mut_arg("word", |word| word.value_parser(PossibleValuesParser::new(words)))
    })
}

pub(crate) fn run(arguments: &Arguments, command: Command) -> Result<(), Failure> {
    let text = match arguments.word.as_deref() {
        Some(TOPICS) => topics(),
        Some(word) => match manual::page(word) {
            Some(page) => terminal::render(page.text, &Look::of(&Output::stdout())),
            None => return said_by_clap(command, &[word, "--help"]),
        },
        None => return said_by_clap(command, &["--help"]),
    };
    output::write(text.as_bytes()).because(Reason::Other)
}

/// Clap returns its help as an error.
fn said_by_clap(command: Command, words: &[&str]) -> Result<(), Failure> {
    command.try_get_matches_from([&["cddsfs"], words].concat())?;
    Ok(())
}

fn topics() -> String {
    let width = PAGES.iter().map(|page| page.topic.len()).max().unwrap_or(0);
    let rows: String =
        PAGES.iter().map(|page| format!("  {:width$}  {}\n", page.topic, page.summary)).collect();
    format!(
        "The pages of the manual; cddsfs help TOPIC shows one:\n\n{rows}\ncddsfs help exit-codes lists the exit codes.\n"
    )
}

/// Returns the end of the program's own help, below its examples.
pub(crate) fn below(examples: &str) -> String {
    let topics: Vec<&str> = PAGES.iter().map(|page| page.topic).collect();
    let text = format!(
        "cddsfs COMMAND --help says more, cddsfs help exit-codes lists the exit codes, and cddsfs help TOPIC shows a \
         page of the manual: {}.",
        topics.join(", ")
    );
    format!("{examples}\n\n{}", terminal::wrapped(&text))
}
