//! What the program says of itself: --help, --version, hints, exit codes, the manual page, completions.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::mount::{Place, run, succeed};

const PROGRAM: &str = env!("CARGO_BIN_EXE_cddsfs");

fn help(command: &str) -> String {
    succeed(PROGRAM, [command, "--help"].iter().filter(|word| !word.is_empty()))
}

/// The commands that `cddsfs --help` lists.
fn commands() -> Vec<String> {
    let help = help("");
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<String> =
        listed.filter_map(|line| Some(line.split_whitespace().next()?.to_string())).collect();
    assert!(names.len() > 7, "{help}");
    names.into_iter().filter(|name| name != "help").collect()
}

#[test]
fn help_teaches_in_one_screen() {
    const LINES: usize = 40;
    const COLUMNS: usize = 100;
    let help = help("");
    assert!(help.lines().count() <= LINES, "{help}");
    assert!(help.lines().all(|line| line.chars().count() <= COLUMNS), "{help}");
    for example in [
        "cddsfs init store --cert cert.pem --source history.db",
        "cddsfs mount store ~/exports --key private.pem",
        "cp spec.json ~/exports/jobs/new",
        "cddsfs export ",
        "cddsfs history ",
        "cddsfs help exit-codes",
    ] {
        assert!(help.contains(example), "no {example:?} in {help}");
    }
}

#[test]
fn every_command_has_an_example() {
    for command in commands() {
        let help = help(&command);
        let (_, after) =
            help.split_once("Example").unwrap_or_else(|| panic!("no example for {command}: {help}"));
        assert!(after.contains(&format!("  cddsfs {command} ")), "{help}");
    }
}

#[test]
fn the_version_says_what_a_bug_report_needs() {
    let short = succeed(PROGRAM, ["-V"]);
    assert_eq!(short, format!("cddsfs {}\n", env!("CARGO_PKG_VERSION")));
    let long = succeed(PROGRAM, ["--version"]);
    assert!(long.starts_with(&short), "{long}");
    for what in ["commit ", "build ", "fuser ", "OpenSSL 3", "SQLite   3"] {
        assert!(long.contains(what), "{long}");
    }
}

#[test]
fn every_exit_code_is_documented_and_is_what_it_says() {
    let table = succeed(PROGRAM, ["help", "exit-codes"]);
    let rows = table.lines().filter_map(|line| line.strip_prefix("  ")?.split_once("  "));
    let documented: Vec<i32> = rows.filter_map(|(code, _)| code.trim().parse().ok()).collect();
    assert_eq!(succeed(PROGRAM, ["exit-codes"]).lines().nth(2), table.lines().nth(2));

    let place = Place::new();
    let path = |name: &str| place.root().join(name).display().to_string();
    fs::write(path("history.db"), "").unwrap();
    let (store, point) = (path("store"), path("mnt"));
    let cases: [(i32, &[&str]); 8] = [
        (0, &["--version"]),
        (0, &["unmount", "--help"]),
        (1, &["sample", &path("history.db")]),
        (2, &["mount", &store]),
        (2, &["init", &path("new")]),
        (3, &["mount", &store, &point, "--key", "/nowhere"]),
        (4, &["mount", "/nowhere", &point]),
        (5, &["unmount", &point]),
    ];
    for (code, args) in cases {
        let output = run(&mut place.cddsfs(args));
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        assert!(documented.contains(&code));
    }
    // Those of the commands that export are tested with them.
    assert_eq!(documented[..6], [0, 1, 2, 3, 4, 5]);
}

#[test]
fn what_goes_wrong_comes_with_what_would_be_right() {
    let place = Place::new();
    let path = |name: &str| place.root().join(name).display().to_string();
    let (store, point) = (path("store"), path("mnt"));
    let cases: [(&[&str], &str); 6] = [
        (
            &["mount", "/nowhere", &point],
            "hint: give a folder of downloads, or make a store with cddsfs init",
        ),
        (&["mount", &store, &path("new")], "hint: make it with mkdir"),
        (&["mount", &store, &path("")], "hint: take an empty directory, or give -o nonempty"),
        (&["unmount", &point], "hint: findmnt -t fuse.cddsfs shows what is mounted where"),
        (&["init", &path("new")], "hint: give --cert CERT.pem; cddsfs init --help shows how to make one"),
        (&["mount", &store, &point, "-o"], "hint: for instance: -o key=private.pem,allow_other"),
    ];
    for (args, hint) in cases {
        let output = run(&mut place.cddsfs(args));
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = said.lines().collect();
        assert!(!output.status.success() && lines.len() == 2, "{args:?}: {said}");
        assert!(
            lines[0].starts_with("cddsfs: ") && lines[1].starts_with(&format!("  {hint}")),
            "{args:?}: {said}"
        );
    }
}

/// Returns what man(1) shows of a manual page.
fn manual_page(name: &str) -> String {
    let place = Place::new();
    let page = place.root().join(name);
    fs::write(&page, succeed(PROGRAM, ["man", name])).unwrap();
    let output =
        run(Command::new("groff").args(["-ww", "-man", "-Tutf8", "-P-c", "-P-b", "-P-u"]).arg(&page));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_manual_page_renders_without_warnings_and_has_everything() {
    assert_eq!(succeed(PROGRAM, ["man"]), succeed(PROGRAM, ["man", "cddsfs"]));
    let text = manual_page("cddsfs");
    for section in
        ["NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "EXIT STATUS", "FILES", "ENVIRONMENT", "EXAMPLES"]
    {
        assert!(text.lines().any(|line| line == section), "no {section} in {text}");
    }
    for command in commands() {
        assert!(text.contains(&format!("\n   cddsfs {command}\n")), "{command} is missing in {text}");
    }
    // Nothing that is not for users.
    assert!(
        !text.contains("watch-mount") && !text.contains("in-background") && !text.contains("--namespace")
    );
    assert!(text.contains("--passphrase-file") && text.contains("/etc/fstab"), "{text}");
    // Pages of the manual.
    for section in ["MOUNTING", "ERRORS", "TROUBLESHOOTING", "LIMITS", "SECURITY", "SEE ALSO"] {
        assert!(text.lines().any(|line| line == section), "no {section} in {text}");
    }
}

#[test]
fn the_pages_of_job_specs_and_semantics_are_manual_pages_too() {
    let pages = [
        ("cddsfs-job", "(5)", ["NAME", "DESCRIPTION", "JOB SPECS", "WHAT AN EXPORT HOLDS"]),
        ("cddsfs-semantics", "(7)", ["NAME", "DESCRIPTION", "BYTES", "EXAMPLES"]),
    ];
    for (name, number, sections) in pages {
        let text = manual_page(name);
        assert!(text.trim_start().starts_with(&format!("{name}{number}")), "{text}");
        for section in sections {
            assert!(text.lines().any(|line| line == section), "no {section} in {text}");
        }
    }
    // Signs are those of the source: what is shown can be typed.
    let text = manual_page("cddsfs-semantics");
    assert!(text.contains(r#"echo '{"titel": "Chats"}' > mnt/jobs/new"#), "{text}");
}

#[test]
fn shells_complete_with_it() {
    let place = Place::new();
    let script = |shell: &str| {
        let path = place.root().join(shell);
        fs::write(&path, succeed(PROGRAM, ["completions", shell])).unwrap();
        path
    };
    let bash = "complete() { :; }; . \"$0\"; COMP_WORDS=(cddsfs mount --key k --allow-); COMP_CWORD=4
        _cddsfs cddsfs --allow- k; echo ${COMPREPLY[*]}";
    let said = succeed("bash", [Path::new("-c"), Path::new(bash), &script("bash")]);
    assert_eq!(said, "--allow-http --allow-other --allow-root\n");
    succeed("zsh", [Path::new("-n"), &script("zsh")]);
    let fish = "source $argv[1]; complete -C 'cddsfs unmount --'";
    let said = succeed("fish", [Path::new("--no-config"), Path::new("-c"), Path::new(fish), &script("fish")]);
    assert!(said.contains("--lazy"), "{said}");
    let output = run(Command::new(PROGRAM).args(["completions", "tcsh"]));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let script = "set -o pipefail; \"$0\" man | head -n 1 >/dev/null && \"$0\" completions bash | head -n 1 >/dev/null";
    assert_eq!(succeed("bash", ["-c", script, PROGRAM]), "");
}
