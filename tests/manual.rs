//! The manual is true: its examples print what it says they print, and its messages are those of the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const README: &str = include_str!("../README.md");

/// Returns what stands under a heading, up to the next one of its kind.
fn section(name: &str) -> &'static str {
    let from = README.find(&format!("\n## {name}\n")).unwrap_or_else(|| panic!("no section {name}"));
    let section = &README[from + 1..];
    &section[..section[1..].find("\n## ").map_or(section.len(), |to| to + 2)]
}

/// The lines of all console blocks: commands, each with what it prints.
fn examples(section: &str) -> Vec<(&str, String)> {
    let mut found: Vec<(&str, String)> = Vec::new();
    let mut inside = false;
    for line in section.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => match (line.strip_prefix("$ "), found.last_mut()) {
                (Some(command), _) => found.push((command, String::new())),
                (None, Some((_, output))) => output.extend([line, "\n"]),
                (None, None) => panic!("output before any command: {line}"),
            },
        }
    }
    found
}

/// A directory to type in, and what was mounted there is unmounted at the end.
struct Shell {
    dir: tempfile::TempDir,
}

impl Shell {
    fn new() -> Shell {
        Shell { dir: tempfile::tempdir().unwrap() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns what a command prints, both streams together as on a terminal.
    fn run(&self, command: &str) -> String {
        let program = Path::new(env!("CARGO_BIN_EXE_cddsfs")).parent().unwrap();
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
        let mut bash = Command::new("bash");
        bash.args(["-c", &format!("exec 2>&1; {command}")]).current_dir(self.dir.path()).stdin(Stdio::null());
        bash.env("PATH", path).env("XDG_CACHE_HOME", self.at("cache"));
        let output = bash.env("TZ", "UTC").env("LC_ALL", "C.UTF-8").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        for point in ["plain", "mnt"].map(|name| self.at(name)) {
            let unmounted = Command::new("fusermount3").arg("-uz").arg(point).output();
            drop(unmounted.expect("fusermount3 (scripts/setup installs it)"));
        }
    }
}

#[test]
fn the_examples_of_the_semantics_print_what_is_shown() {
    let examples = examples(section("SEMANTICS"));
    assert!(examples.len() >= 20, "{} examples", examples.len());
    let shell = Shell::new();
    let printed: Vec<(&str, String)> =
        examples.iter().map(|(command, _)| (*command, shell.run(command))).collect();
    let differ = examples.iter().zip(&printed).filter(|(shown, printed)| shown.1 != printed.1);
    let differ: Vec<String> =
        differ.map(|(shown, is)| format!("$ {}\n{}--- but it is\n{}", shown.0, shown.1, is.1)).collect();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(!fs::read_dir(shell.at("store")).unwrap().count() > 0);
}
