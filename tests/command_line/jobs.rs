//! The commands on runs and artifacts, by the built program: what they print, and the exit codes that the manual
//! promises.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use crate::support::corpus;
use crate::support::managed::{self, Bench};
use cddsfs::export::disposal;
use cddsfs::store::catalogue::{Status, Wanted};
use serde_json::Value;

const ALL: &str = r#"{"title":"Alle Gespräche","type":"Interaction"}"#;
const CONTACTS: &str = r#"{"title":"contacts","type":"Contact"}"#;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json_lines(bytes: &[u8]) -> Vec<Value> {
    text(bytes).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Checks the exit code, and that standard error has all of these texts.
#[track_caller]
fn ended(output: &Output, code: i32, texts: &[&str]) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for text in texts {
        assert!(said.contains(text), "{text}: {said}");
    }
    assert!(!said.contains(['\r', '\x1b']), "{said:?}");
}

fn interrupt(child: &Child) {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn outcomes_have_their_exit_codes() {
    let bench = Bench::new(300);
    let completed = bench.export_by_command(ALL, &[]);
    ended(&completed, 0, &["Queued: next\n", "Completed: "]);
    let line = text(&completed.stdout);
    let id = line.split(' ').next().unwrap();
    assert_eq!(line, format!("{id} export-{id}.zip\n"));
    assert_eq!(bench.run(id).status, Status::Completed);

    let nothing =
        bench.export_by_command(r#"{"title":"t","type":"Interaction","media_types":["telex"]}"#, &[]);
    ended(&nothing, 7, &["no data"]);

    let wrong = bench.export_by_command(r#"{"titel":"t","type":"Contact"}"#, &[]);
    ended(&wrong, 6, &["field  titel", "wrong  is not a key", "right  did you mean \"title\"?"]);
    assert!(wrong.stdout.is_empty());
    assert_eq!(bench.store.catalogue.refusals().unwrap()[0].target, "cddsfs export");
    ended(&bench.export_by_command("", &[]), 6, &["there is no spec"]);
    ended(&bench.export_by_command(&" ".repeat(2 << 20), &[]), 6, &[]);

    ended(&bench.cddsfs("export", &["/no/such/spec.json"]), 2, &["/no/such/spec.json"]);
    fs::rename(bench.source(), bench.path("away.db")).unwrap();
    let failed = bench.export_by_command(ALL, &[]);
    ended(&failed, 8, &["failed: ", "history.db"]);
    assert_eq!(text(&failed.stderr).matches("history.db").count(), 1, "it is said once");
}

#[test]
fn only_stores_of_ours_are_exported_to_and_purged() {
    let plain = tempfile::tempdir().unwrap();
    fs::write(plain.path().join("export-1.zip.smime"), "x").unwrap();
    for (dir, said) in [(plain.path().to_path_buf(), "plain directory"), (plain.path().join("no"), "no such")]
    {
        for (command, args) in [("export", &["/dev/null"][..]), ("purge", &[])] {
            let mut program = Command::new(env!("CARGO_BIN_EXE_cddsfs"));
            let output = program.arg(command).arg(&dir).args(args).output().unwrap();
            ended(&output, 4, &[said, "cddsfs init"]);
        }
    }
    assert_eq!(fs::read_dir(plain.path()).unwrap().count(), 1);
}

#[test]
fn json_is_one_record_a_line() {
    let bench = Bench::new(20_000);
    let output = bench.export_by_command(ALL, &["--json"]);
    assert!(output.stderr.is_empty());
    let records = json_lines(&output.stdout);
    let last = records.last().unwrap();
    assert_eq!((&last["status"], &last["title"]), (&"Completed".into(), &"Alle Gespräche".into()));
    assert!(records.iter().all(|record| record["id"] == last["id"]));
    assert!(records.len() >= 2 && records[0]["status"] != "Completed");
    let listed = json_lines(&bench.cddsfs("history", &["--json"]).stdout);
    assert_eq!(&listed, std::slice::from_ref(last));
}

#[test]
fn what_is_to_run_later_is_handed_in_or_awaited() {
    let bench = Bench::new(50);
    let nightly = bench
        .export_by_command(r#"{"title":"Nightly","type":"Contact","run":{"every":"day","at":"02:00"}}"#, &[]);
    ended(&nightly, 0, &["defined as job nightly", "scheduled for "]);
    let line = text(&nightly.stdout);
    let (id, when) = line.trim_end().split_once(' ').unwrap();
    assert!(when.ends_with("T02:00:00Z"), "{when}");
    assert_eq!(bench.run(id).status, Status::Scheduled);

    let soon = jiff::Timestamp::try_from(SystemTime::now() + Duration::from_secs(2)).unwrap();
    let spec = format!(r#"{{"title":"t","type":"Contact","start":"{soon}"}}"#);
    ended(&bench.export_by_command(&spec, &["--wait"]), 0, &["Scheduled for ", "Completed: "]);
    assert_eq!(bench.run(id).status, Status::Scheduled, "others are not this command's");
}

#[test]
fn an_interrupted_export_is_cancelled() {
    let bench = Bench::new(20_000);
    let child = bench.start_export(ALL, &[]);
    let status = || bench.store.catalogue.runs().unwrap().first().map(|run| run.status);
    bench.until("the start", || status() == Some(Status::InProgress));
    interrupt(&child);
    ended(&child.wait_with_output().unwrap(), 9, &["cancelling", "cddsfs: cancelled"]);
    assert_eq!((status(), bench.files().len()), (Some(Status::Cancelled), 0));
}

#[test]
fn the_second_interrupt_does_not_wait() {
    let bench = Bench::new(10);
    let _lock = bench.store.queue.attend().unwrap().unwrap();
    let mut child = bench.start_export(ALL, &[]);
    let run = || bench.store.catalogue.runs().unwrap().into_iter().next();
    bench.until("the run", || run().is_some());
    let id = run().unwrap().id;
    assert!(bench.store.queue.claim(&Wanted::only(&id), bench.now()).unwrap().is_some());
    interrupt(&child);
    bench.until("the wish to cancel", || bench.run(&id).cancel);
    assert!(child.try_wait().unwrap().is_none(), "whoever runs it has not stopped");
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_run_of_another_process_is_followed_and_taken_over() {
    let bench = Bench::new(300);
    let engine = bench.engine();
    bench.settle();
    ended(&bench.export_by_command(ALL, &[]), 0, &["Completed: "]);
    assert_eq!(bench.store.catalogue.runs().unwrap()[0].attempts, 1);
    drop(engine);

    let lock = bench.store.queue.attend().unwrap().unwrap();
    let first = bench.submit(CONTACTS);
    let child = bench.start_export(ALL, &[]);
    bench.settle();
    assert_eq!(bench.store.catalogue.runs_that_are(Status::Queued).unwrap().len(), 2);
    drop(lock);
    ended(&child.wait_with_output().unwrap(), 0, &["Queued: 1 run before it", "Completed: "]);
    assert_eq!(bench.run(&first).status, Status::Queued, "it runs its own alone");
}

#[test]
fn a_removed_run_is_a_cancelled_one() {
    let bench = Bench::new(10);
    let _lock = bench.store.queue.attend().unwrap().unwrap();
    let child = bench.start_export(ALL, &[]);
    bench.until("the run", || bench.store.catalogue.runs().unwrap().len() == 1);
    let id = bench.store.catalogue.runs().unwrap()[0].id.clone();
    bench.store.catalogue.remove_run(&id, bench.now()).unwrap();
    ended(&child.wait_with_output().unwrap(), 9, &["cancelled"]);
    assert_eq!(bench.run(&id).status, Status::Cancelled);
}

/// Returns where the columns of a table begin or, for numbers, end.
fn column(header: &str, name: &str) -> usize {
    header.find(name).unwrap()
}

#[test]
fn the_history_is_a_table() {
    let bench = Bench::new(100);
    let all = bench.export(r#"{"title":"日本語 all","type":"Interaction"}"#);
    bench.clock.advance(Duration::from_secs(1));
    bench.export(r#"{"title":"none","type":"Interaction","media_types":["telex"]}"#);
    bench.clock.advance(Duration::from_secs(1));
    let contacts = bench.export(CONTACTS);
    let output = bench.cddsfs("history", &[]);
    ended(&output, 0, &[]);
    let table = text(&output.stdout);
    assert!(!table.contains(['\t', '\x1b']) && table.lines().all(|line| line == line.trim_end()));
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4);
    let header = lines[0];
    for (line, status, days) in
        [(lines[1], "Completed", "30"), (lines[2], "No Data", "-"), (lines[3], "Completed", "30")]
    {
        // Each of the three wide letters is one column more than it has letters.
        let wide = line.chars().filter(|c| ('\u{3000}'..'\u{A000}').contains(c)).count();
        let at = |name: &str| column(header, name) - wide;
        let chars: Vec<char> = line.chars().collect();
        let from = |at: usize| chars[at..].iter().collect::<String>();
        assert!(from(at("STATUS")).starts_with(status), "{table}");
        assert_eq!(from(at("DAYS LEFT")), days, "{table}");
        assert!(!chars[at("SIZE") + 3].is_whitespace(), "{table}");
        assert!(chars[at("SIZE") + 4].is_whitespace(), "{table}");
    }
    assert!(lines[1].starts_with(&contacts.id) && lines[3].starts_with(&all.id), "the latest first");

    let listed = |args: &[&str]| -> Vec<String> {
        let output = bench.cddsfs("history", &[args, &["--json"]].concat());
        json_lines(&output.stdout).iter().map(|r| r["title"].as_str().unwrap().to_string()).collect()
    };
    assert_eq!(listed(&["--status", "no-data"]), ["none"]);
    assert_eq!(
        listed(&["--status", "No Data", "--status", "completed", "--sort", "title"]),
        ["contacts", "none", "日本語 all"]
    );
    assert_eq!(listed(&["--type", "contact"]), ["contacts"]);
    assert_eq!(listed(&["--sort", "rows", "--reverse"])[0], "none", "what is missing is last, so first");
    assert_eq!(bench.cddsfs("history", &["--status", "Done"]).status.code(), Some(2));
}

#[test]
fn a_followed_history_tells_what_changes_until_nobody_reads() {
    let bench = Bench::new(100);
    let _engine = bench.engine();
    let start = |args: &[&str]| {
        let mut program = bench.command("history", &["--follow"]);
        program.args(args).stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut child = start(&["--json"]);
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let id = bench.submit(ALL);
    let mut line = String::new();
    loop {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "it has ended");
        let record: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(record["id"], id.as_str());
        if record["status"] == "Completed" {
            break;
        }
    }
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();

    let mut child = start(&[]);
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    line.clear();
    reader.read_line(&mut line).unwrap();
    assert!(line.starts_with("RUN "), "{line}");
    drop(reader);
    assert_eq!(child.wait().unwrap().code(), Some(0), "nothing has changed, but nobody reads");
}

#[test]
fn artifacts_are_listed_also_without_their_records() {
    let bench = Bench::new(3000);
    let split = bench.export(r#"{"title":"split","type":"Interaction","split_size":"256 KiB"}"#);
    let contacts = bench.export(CONTACTS);
    bench.store.catalogue.remove_run(&contacts.id, bench.now()).unwrap();
    let list = json_lines(&bench.cddsfs("artifacts", &["--json", "--sort", "parts"]).stdout);
    assert_eq!(list.len(), 2);
    assert_eq!((list[0]["run"].as_str(), list[0]["parts"].as_u64()), (Some(contacts.id.as_str()), Some(1)));
    let parts = bench.store.catalogue.parts(&split.id).unwrap();
    assert_eq!(list[1]["parts"], parts.len());
    assert_eq!(list[1]["stored_bytes"], parts.iter().map(|part| part.size).sum::<u64>());
    assert_eq!(list[1]["bytes"], split.bytes.unwrap());
    assert_eq!(list[1]["remaining_days"], 30);
    assert!(list[1]["certificate"].as_str().unwrap().chars().all(|c| c.is_ascii_hexdigit()));
    let table = text(&bench.cddsfs("artifacts", &[]).stdout);
    assert_eq!(table.lines().count(), 3);
    assert!(table.starts_with("RUN ") && table.contains("  split  "), "{table}");
}

#[test]
fn plain_stores_have_a_history_and_artifacts_too() {
    let store = tempfile::tempdir().unwrap();
    let stem = corpus::copy_set("lite", store.path());
    let list = |command: &str, options: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_cddsfs"));
        program
            .arg(command)
            .arg(store.path())
            .args(options)
            .args(["--json", "--key"])
            .arg(corpus::private_copy("k1.pem"));
        json_lines(&program.env("XDG_CACHE_HOME", store.path().join("c")).output().unwrap().stdout)
    };
    let (history, artifacts) = (list("history", &[]), list("artifacts", &[]));
    assert_eq!(stem, format!("export-{}", history[0]["id"].as_str().unwrap()));
    assert_eq!(history[0]["complete"], true);
    assert_eq!(artifacts[0]["bytes"], history[0]["bytes"]);
    assert_eq!(artifacts[0]["stored_bytes"], history[0]["stored_bytes"]);
    fs::remove_file(store.path().join(format!("{stem}.z02.smime"))).unwrap();
    assert_eq!(list("history", &["--status", "incomplete"])[0]["complete"], false);
    assert!(list("history", &["--status", "completed", "--status", "unreadable"]).is_empty());
}

#[test]
fn what_has_expired_is_purged_and_nothing_else() {
    let bench = Bench::new(100);
    let old = bench.export(ALL);
    let new = bench.export(CONTACTS);
    let half_deleted = bench.export(CONTACTS);
    bench.store.catalogue.artifact_is_gone(&half_deleted.id, bench.now()).unwrap();
    bench.sql(&format!("UPDATE run SET finished = finished - 31 * 86400000 WHERE id = '{}'", old.id));
    let stray = bench.store.artifacts().join(".export-302a38f0-b493-4921-b8e4-61c1e18a0655.1.tmp");
    fs::write(&stray, "12345").unwrap();
    let files = bench.files();

    let planned = bench.cddsfs("purge", &["--dry-run"]);
    ended(&planned, 0, &["3 would be deleted"]);
    assert_eq!(bench.files(), files);
    {
        // An unfinished file is that of the process that runs jobs.
        let _lock = bench.store.queue.attend().unwrap().unwrap();
        assert_eq!(text(&bench.cddsfs("purge", &["--dry-run"]).stdout).lines().count(), 2);
    }
    let purged = bench.cddsfs("purge", &[]);
    ended(&purged, 0, &["3 deleted"]);
    assert_eq!(purged.stdout, planned.stdout);
    for (name, why) in
        [(old.stem(), "expired 20"), (half_deleted.stem(), "interrupted"), (".export-302a38f0".into(), "5 B")]
    {
        assert!(text(&purged.stdout).lines().any(|line| line.starts_with(&name) && line.contains(why)));
    }
    assert_eq!(bench.files(), [format!("{}.zip.smime", new.stem())]);
    assert_eq!(bench.run(&old.id).status, Status::Completed, "its record stays");
    let _engine = bench.engine();
    bench.settle();
    ended(&bench.cddsfs("purge", &[]), 0, &["0 deleted"]);
}

#[test]
fn a_run_can_be_named_in_short() {
    let bench = Bench::new(30);
    let run = bench.export(CONTACTS);
    let key = bench.path("key.pem");
    let list = |name: &str| bench.cddsfs("ls", &[name, "--key", key.to_str().unwrap()]);
    for name in [&run.id, &run.stem(), &run.id[..6], "export-"] {
        assert!(text(&list(name).stdout).contains("manifest.json"), "{name}");
    }
    bench.export(CONTACTS);
    ended(&list("export-"), 4, &["2 exports begin like that: export-"]);
    ended(&list("nothing"), 4, &["nothing: no such export"]);
}

#[test]
fn a_backup_is_a_store_and_is_made_while_another_is_in_use() {
    let bench = Bench::new(2000);
    let _engine = bench.engine();
    let split = r#"{"title":"split","type":"Interaction","split_size":"64 KiB"}"#;
    let ids: Vec<String> = [split, CONTACTS].map(|spec| bench.submit(spec)).into();
    bench.until("both", || ids.iter().all(|id| bench.run(id).status == Status::Completed));
    let to = |name: &str| bench.path(name).to_str().unwrap().to_string();
    // Not everything that is there belongs to an artifact.
    let running = bench.submit(ALL);
    ended(&bench.cddsfs("backup", &[&to("linked")]), 0, &["2 artifacts", " 0 copied"]);
    // On another filesystem nothing can be linked.
    let other = tempfile::tempdir_in("/dev/shm").unwrap();
    let copied = other.path().join("copy");
    ended(&bench.cddsfs("backup", &[copied.to_str().unwrap()]), 0, &[" 0 linked"]);
    bench.until("the third", || bench.run(&running).status == Status::Completed);
    for dir in [bench.path("linked"), copied.clone()] {
        let verify = |command: &str, args: &[&str]| {
            let mut program = Command::new(env!("CARGO_BIN_EXE_cddsfs"));
            program.arg(command).arg(&dir).args(args).env("XDG_CACHE_HOME", bench.path("c")).output().unwrap()
        };
        let key = to("key.pem");
        ended(&verify("verify", &["--key", &key]), 0, &[]);
        let listed = json_lines(&verify("artifacts", &["--json"]).stdout);
        assert!(ids.iter().all(|id| listed.iter().any(|artifact| artifact["run"] == id.as_str())));
        let mode = fs::metadata(&dir).unwrap().permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o700);
    }
    // What is deleted in one is there in the other.
    disposal::remove_artifact(&bench.store, &ids[0], bench.now()).unwrap();
    let linked = cddsfs::store::managed::Managed::open(&bench.path("linked")).unwrap();
    assert_eq!(
        linked.catalogue.artifacts().unwrap().iter().filter(|artifact| artifact.run == ids[0]).count(),
        1
    );
    for part in linked.catalogue.parts(&ids[0]).unwrap() {
        assert_eq!(managed::sha256(&linked.artifacts().join(&part.name)), part.sha256);
    }
    ended(&bench.cddsfs("backup", &[&to("linked")]), 4, &["something already"]);
}

#[test]
fn something_odd_in_the_place_of_a_part_does_not_end_a_backup() {
    let bench = Bench::new(100);
    let runs = [bench.export(CONTACTS), bench.export(CONTACTS), bench.export(CONTACTS)];
    let file = |i: usize| {
        let part = bench.store.catalogue.parts(&runs[i].id).unwrap().remove(0);
        bench.store.artifacts().join(part.name)
    };
    fs::remove_file(file(0)).unwrap();
    fs::create_dir(file(0)).unwrap();
    fs::remove_file(file(1)).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", file(1)).unwrap();
    let to = bench.path("copy");
    let backup = bench.cddsfs("backup", &[to.to_str().unwrap()]);
    ended(&backup, 10, &["1 linked", "not copied: export-", "2 parts could not be copied"]);
    assert!(to.join("artifacts").join(file(2).file_name().unwrap()).exists());
}

#[test]
fn a_shorter_retention_is_refused_while_artifacts_would_expire_by_it() {
    let bench = Bench::new(100);
    let (old, new) = (bench.export(ALL), bench.export(CONTACTS));
    bench.sql(&format!("UPDATE run SET finished = finished - 10 * 86400000 WHERE id = '{}'", old.id));
    ended(&bench.cddsfs("init", &["--retention", "20"]), 0, &["20 days"]);
    let refused = bench.cddsfs("init", &["--retention", "3"]);
    ended(&refused, 6, &["1 artifact of ", "expire at once", "nothing has been changed", "--yes"]);
    assert_eq!(bench.store.catalogue.retention().unwrap().to_string(), "20 days");
    // Neither does what else was asked for happen.
    ended(&bench.cddsfs("init", &["--retention", "3", "--key-transport", "oaep"]), 6, &[]);
    assert!(!bench.store.catalogue.uses_oaep().unwrap());
    ended(&bench.cddsfs("init", &["--retention", "3", "--yes"]), 0, &["3 days"]);
    let _engine = bench.engine();
    bench.until("the old one to go", || !bench.run(&old.id).present);
    assert!(bench.run(&new.id).present);
}
