//! What an export holds is what `sqlite3` and `jq` make of the source, whoever reads it: through the mount, or with
//! OpenSSL and an unpacker and without us.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::mount::{self, Mount, succeed};
use crate::support::site::{Site, files};
use cddsfs::store::catalogue::{Run, Status};

/// unar reads no more parts, whoever wrote them.
const UNAR_PARTS: usize = 99;

const TYPES: [(&str, &str); 7] = [
    ("EmailIn", "= 0"),
    ("EmailOut", "= 1"),
    ("Chat", "= 2"),
    ("PhoneCall", "= 3"),
    ("CallBack", "= 5"),
    ("CoBrowse", "= 6"),
    ("Interaction", "NOT IN (0, 1, 2, 3, 5, 6) OR entitytypeid IS NULL"),
];

fn piped(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("scripts/setup --test");
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{command:?}");
    output.stdout
}

/// Blobs come from sqlite3 in hexadecimal, for which jq has no bytes.
const BASE64: &str = r#"
import base64, re, sys
blob = rb'("(?:content|allattributes)"):"([0-9A-F]+)"'
encode = lambda found: found[1] + b':"' + base64.b64encode(bytes.fromhex(found[2].decode())) + b'"'
sys.stdout.buffer.write(re.sub(blob, encode, sys.stdin.buffer.read()))
"#;

/// One line for each row of a query, with its keys sorted.
fn lines_of(source: &Path, sql: &str) -> Vec<u8> {
    let rows = piped(Command::new("sqlite3").args(["-readonly", "-json"]).arg(source).arg(sql), b"");
    let filter = r#".[] | with_entries(select(.value != null and .value != "")
        | .key |= if . == "id" then "IXNID" elif . == "contactid" then "ContactId" else . end)"#;
    let lines = piped(Command::new("jq").args(["-cS", filter]), &rows);
    piped(Command::new("python3").args(["-c", BASE64]), &lines)
}

/// Every column of a table, blobs in hexadecimal.
fn columns(source: &Path, table: &str) -> String {
    let sql = format!(
        "SELECT group_concat(CASE WHEN type = 'BLOB' THEN 'hex({table}.' || name || ') AS ' || name
        ELSE '{table}.' || name END, ', ') FROM pragma_table_info('{table}')"
    );
    succeed("sqlite3", ["-readonly".as_ref(), source.as_os_str(), sql.as_ref()]).trim().to_string()
}

/// What is asked for, as a spec and as SQL.
struct Case {
    spec: &'static str,
    is_contact: bool,
    /// Conditions on interactions, or on the date of contacts.
    condition: &'static str,
    parts: std::ops::RangeInclusive<usize>,
}

const CASES: [Case; 7] = [
    Case { spec: r#"{"title":"1","type":"Interaction"}"#, is_contact: false, condition: "1", parts: 1..=1 },
    Case {
        spec: r#"{"title":"2","type":"Interaction","split_size":"64 KiB"}"#,
        is_contact: false,
        condition: "1",
        parts: 5..=99,
    },
    Case {
        spec: r#"{"title":"3","type":"Interaction","split_size":70001,"media_types":["chat","email"]}"#,
        is_contact: false,
        condition: "mediatypeid IN ('chat', 'email')",
        parts: 3..=99,
    },
    Case {
        spec: r#"{"title":"4","type":"Interaction","media_types":["voice"],
            "timeframe":{"start":"2025-06-01T00:00:00Z","end":"2026-03-01T12:00:00.5Z"}}"#,
        is_contact: false,
        condition: "mediatypeid = 'voice' AND startdate BETWEEN '2025-06-01 00:00:00' AND '2026-03-01 12:00:00.4999'",
        parts: 1..=1,
    },
    Case {
        spec: r#"{"title":"5","type":"Interaction","split_size":"64 KiB","timeframe":{"start":"2026-01-01T00:00:00Z"}}"#,
        is_contact: false,
        condition: "startdate >= '2026-01-01 00:00:00'",
        parts: 2..=99,
    },
    Case { spec: r#"{"title":"6","type":"Contact"}"#, is_contact: true, condition: "1", parts: 1..=1 },
    Case {
        spec: r#"{"title":"7","type":"Contact","split_size":"64 KiB","timeframe":{"end":"2026-01-01T00:00:00Z"}}"#,
        is_contact: true,
        condition: "createddate < '2026-01-01 00:00:00'",
        parts: 1..=99,
    },
];

impl Case {
    /// The files that the export must have, with their lines.
    fn expected(&self, source: &Path, run: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut wanted = Vec::new();
        if self.is_contact {
            let order = if self.condition == "1" { "contact.rowid" } else { "createddate, contact.rowid" };
            let select = |table: &str, from: &str, then: &str| {
                format!(
                    "SELECT {} FROM contact {from} WHERE {} ORDER BY {order}{then}",
                    columns(source, table),
                    self.condition
                )
            };
            wanted.push(("UCS/Contact/Contact".to_string(), select("contact", "", "")));
            let join = "JOIN contactattribute USING (contactid)";
            let attributes = select("contactattribute", join, ", contactattribute.rowid");
            wanted.push(("UCS/Contact/ContactAttribute".to_string(), attributes));
        } else {
            let order = "entitytypeid, startdate, interaction.rowid";
            for (word, is) in TYPES {
                let select = |table: &str, from: &str, then: &str| {
                    format!(
                        "SELECT {} FROM interaction {from} WHERE (entitytypeid {is}) AND {}
                         ORDER BY {order}{then}",
                        columns(source, table),
                        self.condition
                    )
                };
                wanted.push((format!("UCS/Interaction/{word}/{word}"), select("interaction", "", "")));
                let attached = select("attachment", "JOIN attachment ON entityid = id", ", attachment.rowid");
                wanted.push((format!("UCS/Interaction/{word}/{word}-Attachment"), attached));
            }
        }
        let named = |(stem, sql): (String, String)| {
            (PathBuf::from(format!("{stem}-{run}.json")), lines_of(source, &sql))
        };
        wanted.into_iter().map(named).filter(|(_, lines)| !lines.is_empty()).collect()
    }
}

/// Values that are awkward on their way to JSON and back.
fn add_odd_rows(source: &Path) {
    let sql = r#"
        INSERT INTO interaction (id, entitytypeid, mediatypeid, startdate, subject, text, thecomment, ownerid, allattributes)
        VALUES ('odd-1', 2, 'chat', '2026-02-01', 'quote " back\slash / slash', 'line' || char(10) || 'feed' || char(13, 9, 8, 12, 27, 127),
                'Grüße 👋🏽 ' || char(8232, 65533, 1114111), -9007199254740991, x'00010a7f'),
               ('odd-2', 99, 'chat', '2026-02-01 00:00:00.1', '', NULL, '0', 0, x''),
               ('odd-3', NULL, 'telex', '2026-02-01 00:00:00.12345', ' ', 'null', 'true', 1, x'61'),
               ('odd-4', 0, 'email', '2026-02-02', 'x', printf('%.*c', 700000, 'y'), NULL, 1.5, NULL);
        INSERT INTO attachment (documentid, entityid, thename, content) VALUES ('d-1', 'odd-1', 'a.txt', x'616263'),
               ('d-2', 'odd-4', 'b', x'6162636465'), ('d-3', 'no such interaction', 'c', x'61');
        INSERT INTO contact (contactid, tenantid) VALUES ('undated', 101);"#;
    succeed("sqlite3", [source.as_os_str(), sql.as_ref()]);
}

/// What is below a directory.
fn content(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(root).into_iter().map(|file| (file.clone(), fs::read(root.join(file)).unwrap())).collect()
}

fn assert_same(found: &BTreeMap<PathBuf, Vec<u8>>, wanted: &BTreeMap<PathBuf, Vec<u8>>, by: &str) {
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>(), "{by}");
    for (path, bytes) in wanted {
        assert!(found[path] == *bytes, "{} by {by}", path.display());
    }
}

/// Unpacks a run's stored parts without us.
fn without_us(site: &Site, run: &Run, wanted: &BTreeMap<PathBuf, Vec<u8>>) {
    let dir = tempfile::tempdir().unwrap();
    let parts = site.parts(&run.id);
    let mut last = PathBuf::new();
    for part in &parts {
        last = dir.path().join(part.strip_suffix(".smime").unwrap());
        let mut openssl = Command::new("openssl");
        openssl.args(["smime", "-decrypt", "-in"]).arg(site.part(part)).arg("-inkey").arg(site.key());
        let output = mount::run(openssl.arg("-out").arg(&last));
        assert!(output.status.success(), "{part}: {output:?}");
    }
    let unpack = |program: &str, command: &mut Command| {
        let to = dir.path().join(format!("by-{program}"));
        fs::create_dir(&to).unwrap();
        let output = mount::run(command.arg(&last).current_dir(&to));
        assert!(output.status.success(), "{program}: {output:?}");
        assert_same(&content(&to), wanted, program);
        fs::remove_dir_all(&to).unwrap();
    };
    unpack("7z", Command::new("7z").args(["x", "-bd"]));
    if parts.len() <= UNAR_PARTS {
        unpack("unar", Command::new("unar").args(["-D", "-q"]));
    }
    if parts.len() == 1 {
        unpack("unzip", Command::new("unzip").arg("-q"));
    }
}

fn sha256sum(path: &Path) -> String {
    succeed("sha256sum", [path]).split(' ').next().unwrap().to_string()
}

/// What the manifest says of each file, and what the mount shows of it.
fn assert_manifest(root: &Path, run: &Run) {
    let manifest = root.join("manifest.json");
    let jq = |filter: &str| succeed("jq", ["-r".as_ref(), filter.as_ref(), manifest.as_os_str()]);
    let said = jq(".files[] | [.name, .rows, .bytes, .sha256] | @tsv");
    let mut total = 0;
    let mut found: Vec<String> = Vec::new();
    for file in files(root).iter().filter(|file| !file.ends_with("manifest.json")) {
        let path = root.join(file);
        let rows = fs::read(&path).unwrap().iter().filter(|&&b| b == b'\n').count();
        let bytes = fs::metadata(&path).unwrap().len();
        total += rows as u64;
        found.push(format!("{}\t{rows}\t{bytes}\t{}", file.display(), sha256sum(&path)));
    }
    let mut said: Vec<&str> = said.lines().collect();
    said.sort();
    found.sort();
    assert_eq!(said, found);
    assert_eq!(jq("[.run, .rows, .schema_version] | @tsv").trim(), format!("{}\t{total}\t1", run.id));
    assert_eq!(run.progress.unwrap().rows_done, total);
    let certificate: serde_json::Value = serde_json::from_str(run.certificate.as_ref().unwrap()).unwrap();
    let in_manifest: serde_json::Value = serde_json::from_str(&jq(".certificate")).unwrap();
    assert_eq!(in_manifest, certificate);
}

/// What history says of the parts, and what `encrypted/` and the store have.
fn assert_history(site: &Site, mount: &Mount, run: &Run) {
    let history = mount.path("history").join(format!("{}.json", run.stem()));
    let jq = |filter: &str| succeed("jq", ["-r".as_ref(), filter.as_ref(), history.as_os_str()]);
    let said = jq(".parts[] | [.name, .size, .sha256] | @tsv");
    let parts = site.parts(&run.id);
    assert_eq!(said.lines().count(), parts.len());
    for (said, part) in said.lines().zip(&parts) {
        for path in [mount.path("encrypted").join(part), site.part(part)] {
            let found = format!("{part}\t{}\t{}", fs::metadata(&path).unwrap().len(), sha256sum(&path));
            assert_eq!(said, found);
        }
    }
    let zip = mount.zip(&run.stem());
    let facts = jq("[.status, .artifact, .bytes, .rows, .progress.percent] | @tsv");
    let rows = run.progress.unwrap().rows_total;
    let name = zip.file_name().unwrap().to_str().unwrap();
    assert_eq!(
        facts.trim(),
        format!("Completed\t{name}\t{}\t{rows}\t100", fs::metadata(&zip).unwrap().len())
    );
}

fn assert_content(site: &Site, mount: &Mount, run: &Run, case: &Case) {
    let root = mount.path("contents").join(run.stem());
    let ours = content(&root);
    let expected = case.expected(&site.source(), &run.id);
    assert!(!expected.is_empty(), "{}", case.spec);
    let names: Vec<_> = ours.keys().filter(|path| !path.ends_with("manifest.json")).collect();
    assert_eq!(names, expected.keys().collect::<Vec<_>>(), "{}", case.spec);
    for (path, lines) in &expected {
        let sorted = piped(Command::new("jq").args(["-cS", "."]), &ours[path]);
        assert!(sorted == *lines, "{} of {}", path.display(), case.spec);
        let rows = lines.iter().filter(|&&b| b == b'\n').count();
        assert_eq!(ours[path].iter().filter(|&&b| b == b'\n').count(), rows, "one line for each row");
    }
    let zip = mount.zip(&run.stem());
    for (path, bytes) in &ours {
        let output = mount::run(Command::new("unzip").arg("-p").arg(&zip).arg(path));
        assert!(output.status.success() && output.stdout == *bytes, "{}", path.display());
    }
    without_us(site, run, &ours);
    assert_manifest(&root, run);
    assert_history(site, mount, run);
}

#[test]
fn every_row_and_no_other_by_every_reader() {
    let site = Site::new(1000);
    add_odd_rows(&site.source());
    let mount = site.mount();
    let ids: Vec<String> = CASES.iter().map(|case| site.submit(case.spec)).collect();
    for (case, id) in CASES.iter().zip(&ids) {
        let run = site.ended(id);
        assert_eq!(run.status, Status::Completed, "{run:#?}");
        let parts = site.parts(id).len();
        assert!(case.parts.contains(&parts), "{parts} parts: {}", case.spec);
        assert_content(&site, &mount, &run, case);
    }
    site.assert_nothing_but(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    mount.unmount();
}

#[test]
fn a_set_of_more_than_a_hundred_parts() {
    let site = Site::new(8_000);
    let mount = site.mount();
    let run = site.export(CASES[1].spec);
    let parts = site.parts(&run.id);
    assert!(parts.len() > 100, "{}", parts.len());
    assert_eq!(parts[99], format!("{}.z100.smime", run.stem()));
    assert_content(&site, &mount, &run, &CASES[1]);
    mount.unmount();
}

/// Runs the program to its end, and returns what it said and the peak of its memory in KiB.
fn export_by_command(site: &Site, spec: &str) -> (std::process::Output, u64) {
    let file = site.place.root().join("spec.json");
    fs::write(&file, spec).unwrap();
    let mut command = site.place.cddsfs(["export"]);
    command.arg(site.place.store()).arg(&file).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let (mut peak, mut child) = (0, Some(child));
    let output = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| child.take().unwrap().wait_with_output().unwrap());
        while !waiting.is_finished() {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let now = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            peak = peak.max(now.unwrap_or(0));
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        waiting.join().unwrap()
    });
    (output, peak)
}

/// Makes two wide values of a length, text that is not always UTF-8 and bytes, by python's sqlite3.
const WIDE: &str = r#"
import sqlite3, sys
path, length = sys.argv[1], int(sys.argv[2])
unit = 'Gr\u00fc\u00dfe \U0001f600 "x"\n'.encode() + b"\xff\xf0\x9f\x98\xe2\x82."
text = (unit * (length // len(unit) + 1))[:length]
blob = bytes(range(256)) * (length // 256) + b"ab"
c = sqlite3.connect(path)
c.execute("INSERT INTO interaction (id, entitytypeid, mediatypeid, startdate, subject, text) VALUES ('wide', 2, 'wide', '2026-01-01', 'Subject', CAST(? AS TEXT))", (text,))
c.execute("INSERT INTO interaction (id, entitytypeid, mediatypeid, startdate, text) VALUES ('next', 2, 'wide', '2026-01-02', 'x')")
c.execute("INSERT INTO attachment (documentid, entityid, content) VALUES ('wide', 'wide', ?)", (blob,))
c.commit()
"#;

/// Compares the lines of standard input with the source.
const SAME: &str = r#"
import base64, json, sqlite3, sys
c = sqlite3.connect(sys.argv[1])
c.text_factory = bytes
(text,), (blob,) = c.execute("SELECT text FROM interaction WHERE id = 'wide'").fetchone(), c.execute("SELECT content FROM attachment").fetchone()
rows = [json.loads(line) for line in sys.stdin.buffer]
if sys.argv[2] == "text":
    assert [row["IXNID"] for row in rows] == ["wide", "next"], len(rows)
    assert rows[0]["subject"] == "Subject" and rows[0]["text"] == text.decode("utf-8", "replace")
else:
    assert len(rows) == 1 and base64.b64decode(rows[0]["content"], validate=True) == blob
"#;

#[test]
fn a_value_of_any_width_is_exported_as_it_is_in_little_memory() {
    let site = Site::new(0);
    let source = site.source();
    succeed("sqlite3", [source.as_os_str(), "DELETE FROM attachment".as_ref()]);
    // More than the program may take.
    let length = "150000000";
    succeed("python3", ["-c".as_ref(), WIDE.as_ref(), source.as_os_str(), length.as_ref()]);
    let spec = r#"{"title":"t","type":"Interaction","media_types":["wide"],"split_size":"20 MB"}"#;
    let (output, peak) = export_by_command(&site, spec);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!((1..100 << 10).contains(&peak), "{peak} KiB");
    let id = String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_string();
    let mount = site.mount();
    let dir = mount.path("contents").join(format!("export-{id}/UCS/Interaction/Chat"));
    for (stem, which) in [("Chat", "text"), ("Chat-Attachment", "blob")] {
        let member = fs::File::open(dir.join(format!("{stem}-{id}.json"))).unwrap();
        let mut python = Command::new("python3");
        let compared = python.args(["-c", SAME]).arg(&source).arg(which).stdin(member).output().unwrap();
        assert!(compared.status.success(), "{which}: {}", String::from_utf8_lossy(&compared.stderr));
    }
    mount.unmount();
}

#[test]
fn what_is_to_be_said_of_a_run_stands_in_its_record_and_on_standard_error() {
    let site = Site::new(200);
    let spec = r#"{"title":"t","type":"Interaction","media_types":["chat","e-mail"]}"#;
    let (output, _) = export_by_command(&site, spec);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let warning =
        r#"media_types: "e-mail" occurs nowhere in interaction.mediatypeid; these do: "callback", "chat", "#;
    assert!(said.contains(&format!("cddsfs: {warning}")), "{said}");
    let id = String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_string();

    let none = export_by_command(&site, r#"{"title":"t","type":"Interaction","media_types":["e-mail"]}"#).0;
    assert_eq!(none.status.code(), Some(7));
    assert!(String::from_utf8(none.stderr).unwrap().contains(warning));

    let mount = site.mount();
    let warnings = |id: &str| {
        let record = mount.path("history").join(format!("export-{id}.json"));
        succeed("jq", ["-r".as_ref(), ".warnings // [] | .[]".as_ref(), record.as_os_str()])
    };
    assert!(warnings(&id).starts_with(warning));
    // The record is a spec, with its warnings.
    let again = fs::read_to_string(mount.path("history").join(format!("export-{id}.json"))).unwrap();
    assert!(warnings(&site.export(&again).id).starts_with(warning));

    let recurring =
        r#"{"title":"hourly","type":"Interaction","run":{"every":"hour"},"timeframe":"since_last_run"}"#;
    let runs = || site.store.catalogue.runs_that_are(Status::Scheduled).unwrap();
    site.submit(recurring);
    let run_now = || {
        let id = runs()[0].id.clone();
        site.store.catalogue.queue(&id, std::time::SystemTime::now()).unwrap();
        site.ended(&id)
    };
    let rows = |run: &Run| run.progress.map_or(0, |progress| progress.rows_total);
    let all = run_now();
    assert_eq!(
        (rows(&all), warnings(&all.id).as_str()),
        (site.rows(&["interaction", "attachment"]) as u64, "")
    );
    let change =
        "DELETE FROM interaction WHERE rowid = 7; INSERT INTO interaction (rowid, id) VALUES (7, 'below')";
    succeed("sqlite3", [site.source().as_os_str(), change.as_ref()]);
    site.until("the next", || runs().len() == 1);
    let below = run_now();
    assert_eq!(
        (below.status, rows(&below)),
        (Status::Completed, 1),
        "a segment of this small table is a row"
    );
    let again = "since_last_run: up to 1 rows of interaction may have been";
    assert!(warnings(&below.id).starts_with(again));
    let change = "INSERT INTO attachment (documentid, entityid) VALUES ('late', 'below')";
    succeed("sqlite3", [site.source().as_os_str(), change.as_ref()]);
    site.until("the next", || runs().len() == 1);
    let late = run_now();
    assert_eq!((late.status, rows(&late)), (Status::Completed, 2), "the row, and what has come to it");
    assert!(warnings(&late.id).starts_with(again));
    mount.unmount();
}
