//! `cddsfs ls` and `cddsfs cat`: the same members without a mount.

use crate::support::corpus;
use std::process::{Command, Output};

fn cddsfs(args: &[&str]) -> Output {
    let store = corpus::dir().join("split/z4-folder/smime");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cddsfs"));
    command.arg(args[0]).arg(store).args(&args[1..]);
    command.arg("--key").arg(corpus::private_copy("k1.pem")).output().unwrap()
}

fn run_of(set: &str) -> String {
    corpus::table("split/SETS.tsv").into_iter().find(|row| row[0] == set).unwrap()[1].clone()
}

#[test]
fn every_member_can_be_listed_and_written_out() {
    let run = run_of("z4-folder");
    let root = cddsfs(&["ls", &run]);
    assert!(root.status.success());
    assert!(String::from_utf8(root.stdout).unwrap().ends_with("  set/\n"));
    let listed = String::from_utf8(cddsfs(&["ls", &run, "set"]).stdout).unwrap();
    let mut compared = 0;
    for row in corpus::table("expected/z4-folder.tsv").iter().filter(|row| !row[0].ends_with('/')) {
        let name = row[0].strip_prefix("set/").unwrap();
        assert!(listed.lines().any(|line| line.trim_start().starts_with(&row[1]) && line.ends_with(name)));
        let written = cddsfs(&["cat", &run, &row[0]]);
        assert!(written.status.success());
        assert_eq!(corpus::sha256(&written.stdout), row[3], "{name}");
        compared += 1;
    }
    assert_eq!(listed.lines().count(), compared);
}

#[test]
fn what_is_not_there_is_said_with_an_exit_code() {
    for (args, text) in
        [(["cat", "nope", "x"], "nope: no such export"), (["cat", &run_of("z4-folder"), "set/x"], "set/x")]
    {
        let output = cddsfs(&args);
        assert_eq!(output.status.code(), Some(4));
        assert!(String::from_utf8(output.stderr).unwrap().contains(text));
    }
}
