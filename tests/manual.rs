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
}

/// All that may be printed: by the program, of which the tests have what is put together when it runs; by fusermount3; and by
/// everybody about an error number.
fn printable() -> String {
    let mut text = String::new();
    let mut dirs = ["src", "tests"].map(|dir| Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)).to_vec();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => dirs.push(path),
                false if path.extension().is_some_and(|end| end == "rs") => {
                    text += &fs::read_to_string(path).unwrap()
                }
                false => {}
            }
        }
    }
    // As it is printed: without escapes and the line breaks within a text.
    let text = text.replace("\\\n", "").replace("\\\"", "\"");
    let text: Vec<&str> = text.split_whitespace().collect();
    let fusermount = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .map(|dir| dir.join("fusermount3"))
        .find(|path| path.exists())
        .expect("fusermount3 (scripts/setup installs it)");
    let fusermount = String::from_utf8_lossy(&fs::read(fusermount).unwrap()).into_owned();
    let errors: Vec<String> = (1..134).map(|n| std::io::Error::from_raw_os_error(n).to_string()).collect();
    format!("{} {fusermount} {}", text.join(" "), errors.join(" "))
}

#[test]
fn the_messages_in_the_manual_are_those_that_are_printed() {
    let (printable, mut missing, mut count) = (printable(), Vec::new(), 0);
    for (name, column) in [("ERRORS", 2), ("TROUBLESHOOTING", 1)] {
        for row in section(name).lines().filter(|line| line.starts_with("| ")) {
            // What is in backticks stands at the odd places.
            for message in row.split(" | ").nth(column - 1).unwrap_or("").split('`').skip(1).step_by(2) {
                count += 1;
                // Only pieces are the same every time: values are put between them.
                let between = ["...", ": ", " (", " /", ", but "];
                let pieces = between.iter().fold(vec![message], |pieces, at| {
                    pieces.into_iter().flat_map(|piece| piece.split(at)).collect()
                });
                let pieces = pieces.into_iter().map(|piece| piece.trim_matches(|c| "|,) \"".contains(c)));
                let absent = pieces.filter(|piece| piece.len() > 3 && !printable.contains(*piece));
                missing.extend(absent.map(|piece| format!("{name}: {message}: {piece}")));
            }
        }
    }
    assert!(count >= 30, "{count} messages");
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn the_exit_codes_in_the_manual_are_those_of_the_program() {
    let shown = section("EXIT STATUS").lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    let shown: Vec<u8> = shown.filter_map(|(code, _)| code.parse().ok()).collect();
    let help = Shell::new().run("cddsfs help exit-codes");
    let documented = help.lines().filter_map(|line| line.trim_start().split_once("  ")?.0.parse().ok());
    let documented: Vec<u8> = documented.collect();
    assert_eq!(shown, documented, "{help}");
}
