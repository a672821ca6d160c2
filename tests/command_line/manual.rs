//! The manual is true: its examples print what it says they print, and its messages are those of the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cddsfs::manual::{PAGES, Page, page};

const README: &str = include_str!("../../README.md");
const COLUMNS: usize = 120;

fn text(topic: &str) -> &'static str {
    page(topic).unwrap_or_else(|| panic!("no page {topic}")).text
}

/// The lines of all console blocks: commands, each with what it prints.
fn examples(page: &str) -> Vec<(&str, String)> {
    let mut found: Vec<(&str, String)> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
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
    let examples = examples(text("semantics"));
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
    for (name, column) in [("errors", 2), ("troubleshooting", 1)] {
        for row in text(name).lines().filter(|line| line.starts_with("| ")) {
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
    let shown = text("commands").lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    let shown: Vec<u8> = shown.filter_map(|(code, _)| code.parse().ok()).collect();
    let help = Shell::new().run("cddsfs help exit-codes");
    let documented = help.lines().filter_map(|line| line.trim_start().split_once("  ")?.0.parse().ok());
    let documented: Vec<u8> = documented.collect();
    assert_eq!(shown, documented, "{help}");
}

/// Returns what stands in the links of a text: what is shown, and where it leads.
fn links(text: &str) -> Vec<(&str, &str)> {
    let ends = text.match_indices("](").map(|(at, _)| at);
    let link = |at: usize| {
        let shown = &text[text[..at].rfind('[').unwrap() + 1..at];
        let target = &text[at + 2..];
        (shown, &target[..target.find(')').unwrap()])
    };
    ends.map(link).collect()
}

/// The lines outside of blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().filter(move |line| {
        let is_fence = line.starts_with("```");
        inside ^= is_fence;
        !inside && !is_fence
    })
}

fn title(text: &str) -> &str {
    text.lines().next().unwrap().strip_prefix("# ").unwrap()
}

/// The anchors of all headings, as forges make them.
fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || " -".contains(*c))
            .collect::<String>()
            .replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn links_lead_to_pages_and_headings_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = PAGES.iter().map(|Page { topic, text, .. }| (root.join("src/manual"), *topic, *text));
    let mut count = 0;
    for (dir, name, text) in [(root.to_path_buf(), "README", README)].into_iter().chain(pages) {
        for (shown, target) in links(&prose(text).collect::<Vec<_>>().join("\n")) {
            count += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let linked =
                fs::read_to_string(dir.join(file)).unwrap_or_else(|e| panic!("{name}: {target}: {e}"));
            // What stands for a link on a terminal is the topic, in the place of the title.
            assert_eq!(shown, title(&linked), "{name}: {target}");
            assert!(anchor.is_empty() || anchors(&linked).iter().any(|a| a == anchor), "{name}: {target}");
        }
    }
    assert!(count >= 25, "{count} links");
}

#[test]
fn the_readme_is_short_and_leads_to_every_page() {
    assert!(README.lines().count() <= 200, "{} lines", README.lines().count());
    let linked: Vec<&str> = links(README).into_iter().map(|(_, target)| target).collect();
    for page in PAGES {
        let target = format!("src/manual/{}.md", page.topic);
        assert!(linked.contains(&target.as_str()), "no link to {target}");
    }
    for command in ["\nscripts/demo ", "\nscripts/test "] {
        assert!(README.contains(command), "{command}");
    }
}

#[test]
fn lines_are_of_the_width_that_editors_have() {
    let long = |line: &&str| line.chars().count() > COLUMNS;
    assert_eq!(README.lines().find(long), None);
    for page in PAGES {
        assert_eq!(
            page.text.lines().filter(|line| !line.starts_with("| ")).find(long),
            None,
            "{}",
            page.topic
        );
    }
}

/// Rustdoc takes a block without a language for Rust, and runs it.
#[test]
fn every_block_of_code_has_its_language() {
    for page in PAGES {
        let fences = page.text.lines().filter(|line| line.starts_with("```")).step_by(2);
        let unknown: Vec<&str> = fences
            .filter(|fence| !["```console", "```json", "```sh", "```sql", "```text"].contains(fence))
            .collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", page.topic);
    }
}

#[test]
fn every_page_is_a_topic_of_help() {
    let mut topics: Vec<&str> = PAGES.iter().map(|page| page.topic).collect();
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual")).unwrap();
    let mut files: Vec<String> = files.map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    let shell = Shell::new();
    let (listed, help) = (shell.run("cddsfs help topics"), shell.run("cddsfs help"));
    for page in PAGES {
        assert!(listed.contains(&format!("  {} ", page.topic)), "{listed}");
        assert!(listed.contains(page.summary), "{listed}");
        assert!(help.contains(page.topic), "{help}");
        let shown = shell.run(&format!("cddsfs help {}", page.topic));
        assert!(shown.starts_with(&format!("{}\n\n", title(page.text))), "{shown}");
        assert!(!shown.contains('\x1b'), "{shown}");
        // All headings, and nothing of Markdown's.
        for heading in prose(page.text).filter(|line| line.starts_with('#')) {
            let heading = heading.trim_start_matches('#').trim().replace('`', "");
            assert!(shown.lines().any(|line| line == heading), "{heading:?} is missing in {shown}");
        }
        assert!(!shown.contains("](") && !shown.contains("```") && !shown.contains("|---"), "{shown}");
    }
    topics.sort_unstable();
    files.sort_unstable();
    assert_eq!(topics.iter().map(|topic| format!("{topic}.md")).collect::<Vec<_>>(), files);
}

#[test]
fn help_knows_commands_and_topics_and_what_is_near_them() {
    let shell = Shell::new();
    assert_eq!(shell.run("cddsfs help"), shell.run("cddsfs --help"));
    assert_eq!(shell.run("cddsfs help mount"), shell.run("cddsfs mount --help"));
    for (unknown, near) in
        [("trouble-shooting", "'troubleshooting'"), ("mont", "'mount'"), ("errrors", "'errors'")]
    {
        let said = shell.run(&format!("cddsfs help {unknown}; echo status $?"));
        assert!(said.contains(near) && said.ends_with("status 2\n"), "{said}");
    }
}
