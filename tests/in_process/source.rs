//! The contact-history source against `sqlite3` and `jq`, which work the same rows out independently.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64_simd::STANDARD;
use cddsfs::error::{self, Result};
use cddsfs::export::sample::{Size, make};
use cddsfs::export::source::{Kind, SCHEMA, Selection, Snapshot, Source, SqliteSource, Timeframe, Value};
use cddsfs::io::Cancel;
use rusqlite::Connection;

const TYPES: [(&str, &str); 7] = [
    ("EmailIn", "= 0"),
    ("EmailOut", "= 1"),
    ("Chat", "= 2"),
    ("PhoneCall", "= 3"),
    ("CallBack", "= 5"),
    ("CoBrowse", "= 6"),
    ("Interaction", "NOT IN (0, 1, 2, 3, 5, 6)"),
];

fn sample(path: &Path, contacts: u64, interactions: u64) {
    make(path, Size { contacts, interactions, seed: 7 }).unwrap();
}

fn all(kind: Kind) -> Selection {
    Selection { kind, media_types: None, timeframe: Timeframe::All }
}

fn open(path: &Path, selection: &Selection) -> Result<Box<dyn Snapshot>> {
    SqliteSource::new(path).snapshot(selection, &Cancel::new())
}

/// The lines of a file, with blobs in hexadecimal as SQLite's `hex` writes them.
fn lines(snapshot: &mut dyn Snapshot, file: usize) -> Vec<u8> {
    let mut lines = Vec::new();
    snapshot.rows(file, &mut |row| row.append_json(&mut lines)).unwrap();
    let mut out = Vec::new();
    for line in lines.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        let mut row: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(line).unwrap();
        for key in ["content", "allattributes"] {
            if let Some(text) = row.get_mut(key) {
                let bytes = STANDARD.decode_to_vec(text.as_str().unwrap()).unwrap();
                *text = bytes.iter().map(|b| format!("{b:02X}")).collect::<String>().into();
            }
        }
        serde_json::to_writer(&mut out, &row).unwrap();
        out.push(b'\n');
    }
    out
}

fn piped(command: &mut Command, input: &[u8]) -> Vec<u8> {
    use std::io::Write;
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

/// What `sqlite3` and `jq` make of a query.
fn expected(path: &Path, sql: &str) -> Vec<u8> {
    let rows = piped(Command::new("sqlite3").arg("-readonly").arg("-json").arg(path).arg(sql), b"");
    let filter = r#".[] | with_entries(select(.value != null and .value != "") | .key |=
        if . == "id" then "IXNID" elif . == "contactid" then "ContactId" else . end)"#;
    piped(Command::new("jq").args(["-cS", filter]), &rows)
}

fn sorted_keys(lines: &[u8]) -> Vec<u8> {
    piped(Command::new("jq").args(["-cS", "."]), lines)
}

/// Every column of a table, blobs in hexadecimal.
fn columns(path: &Path, table: &str) -> String {
    let connection = Connection::open(path).unwrap();
    let statement = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let column = |name: &str| match name {
        "content" | "allattributes" => format!("hex({table}.{name}) AS {name}"),
        _ => format!("{table}.{name}"),
    };
    statement.column_names().map(column).collect::<Vec<_>>().join(", ")
}

#[test]
fn files_are_what_sqlite3_and_jq_make_of_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.db");
    sample(&path, 60, 800);
    let (start, end) = ("2025-06-01T00:00:00Z", "2026-03-01T12:00:00.5Z");
    let between = Timeframe::Between { start: start.parse().ok(), end: end.parse().ok() };
    let texts = "BETWEEN '2025-06-01 00:00:00' AND '2026-03-01 12:00:00.4999'";
    let mut compared = 0;
    for (timeframe, dates) in [(Timeframe::All, None), (Timeframe::Since(None), None), (between, Some(texts))]
    {
        let dated = |column: &str| dates.map_or_else(String::new, |dates| format!(" AND {column} {dates}"));
        let by_date = !matches!(timeframe, Timeframe::Since(_));
        for media in [None, Some(vec!["chat".to_owned(), "email".to_owned()]), Some(vec!["voice".to_owned()])]
        {
            let kind = Kind::Interaction;
            let selection = Selection { kind, media_types: media.clone(), timeframe: timeframe.clone() };
            let mut snapshot = open(&path, &selection).unwrap();
            let files = snapshot.files().to_vec();
            let mut left = files.iter().enumerate();
            for (word, is) in TYPES {
                let media = media.as_ref().map_or_else(String::new, |types| {
                    format!(" AND mediatypeid IN ('{}')", types.join("', '"))
                });
                let rows = format!("entitytypeid {is}{media}{}", dated("startdate"));
                let order = if by_date { "startdate, interaction.rowid" } else { "interaction.rowid" };
                let own = format!(
                    "SELECT {} FROM interaction WHERE {rows} ORDER BY {order}",
                    columns(&path, "interaction")
                );
                let attached = format!(
                    "SELECT {} FROM interaction JOIN attachment ON entityid = id WHERE {rows}
                     ORDER BY {order}, attachment.rowid",
                    columns(&path, "attachment")
                );
                for (stem, sql) in [(word.to_owned(), own), (format!("{word}-Attachment"), attached)] {
                    let expected = expected(&path, &sql);
                    if expected.is_empty() {
                        continue;
                    }
                    let (i, file) = left.next().unwrap();
                    assert_eq!(
                        (file.path.folder.clone(), &file.path.stem),
                        (format!("UCS/Interaction/{word}"), &stem)
                    );
                    assert_eq!(file.rows, expected.iter().filter(|&&b| b == b'\n').count() as u64);
                    let lines = sorted_keys(&lines(snapshot.as_mut(), i));
                    assert!(lines == expected, "{stem} of {selection:?}");
                    compared += 1;
                }
            }
            assert_eq!(left.next(), None);
        }
        let selection = Selection { timeframe: timeframe.clone(), ..all(Kind::Contact) };
        let mut snapshot = open(&path, &selection).unwrap();
        let order = if dates.is_some() { "createddate, contact.rowid" } else { "contact.rowid" };
        let contacts = columns(&path, "contact");
        let own = format!("SELECT {contacts} FROM contact WHERE 1{} ORDER BY {order}", dated("createddate"));
        let attributes = format!(
            "SELECT {} FROM contact JOIN contactattribute USING (contactid) WHERE 1{}
             ORDER BY {order}, contactattribute.rowid",
            columns(&path, "contactattribute"),
            dated("createddate")
        );
        for (i, (stem, sql)) in [("Contact", own), ("ContactAttribute", attributes)].into_iter().enumerate() {
            let path_of = &snapshot.files()[i].path;
            assert_eq!((path_of.folder.as_str(), path_of.stem.as_str()), ("UCS/Contact", stem));
            assert!(sorted_keys(&lines(snapshot.as_mut(), i)) == expected(&path, &sql), "{stem}");
            compared += 1;
        }
    }
    assert!(compared > 50, "{compared}");
}

/// Runs through everything and returns the number of rows.
fn count(snapshot: &mut dyn Snapshot) -> u64 {
    let mut rows = 0;
    for file in 0..snapshot.files().len() {
        let mut each = |_: &cddsfs::export::source::Row<'_>| {
            rows += 1;
            Ok(())
        };
        snapshot.rows(file, &mut each).unwrap();
    }
    rows
}

#[test]
fn a_snapshot_is_of_one_moment() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.db");
    sample(&path, 10, 200);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    let mut before = open(&path, &all(Kind::Interaction)).unwrap();
    let marked = Selection { timeframe: Timeframe::Since(None), ..all(Kind::Interaction) };
    let marked = open(&path, &marked).unwrap();
    // Each row is a segment of its own, and exported again when what belongs to it has changed.
    let attached =
        "SELECT count(*) FROM interaction WHERE rowid >= 9 AND id IN (SELECT entityid FROM attachment)";
    let changed: i64 = other.query_row(attached, [], |row| row.get(0)).unwrap();
    let insert = "INSERT INTO interaction (id, entitytypeid, mediatypeid, startdate)
                  VALUES ('zzz', 0, 'email', '2024-01-01'); DELETE FROM attachment; DELETE FROM interaction WHERE rowid < 9";
    other.execute_batch(insert).unwrap();
    let known: u64 = before.files().iter().map(|file| file.rows).sum();
    assert_eq!(count(before.as_mut()), known);
    let mut after = open(&path, &all(Kind::Interaction)).unwrap();
    assert_eq!(count(after.as_mut()), 200 + 1 - 8);
    let since = Selection { timeframe: Timeframe::Since(marked.mark()), ..all(Kind::Interaction) };
    assert_eq!(count(open(&path, &since).unwrap().as_mut()) as i64, 1 + changed);
}

#[test]
fn cancelling_ends_it_in_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.db");
    sample(&path, 10, 500);
    let cancel = Cancel::new();
    let mut snapshot = SqliteSource::new(&path).snapshot(&all(Kind::Interaction), &cancel).unwrap();
    let mut seen = 0;
    let mut each = |_: &cddsfs::export::source::Row<'_>| {
        seen += 1;
        if seen == 20 {
            cancel.cancel();
        }
        Ok(())
    };
    assert_eq!(snapshot.rows(0, &mut each).unwrap_err().kind(), error::Kind::Cancelled);
    assert_eq!(seen, 20);
    let again = SqliteSource::new(&path).snapshot(&all(Kind::Interaction), &cancel);
    assert_eq!(again.map(|_| ()).unwrap_err().kind(), error::Kind::Cancelled);
    // What the caller refuses ends it too, in the caller's words.
    let mut snapshot = open(&path, &all(Kind::Interaction)).unwrap();
    let error = snapshot.rows(0, &mut |_| Err(error::Error::damaged("enough"))).unwrap_err();
    assert_eq!(error.to_string(), "enough");
}

#[test]
fn any_value_arrives_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(SCHEMA).unwrap();
    let huge = "Größe \"x\"\n".repeat(3_000_000);
    let insert = "INSERT INTO interaction (id, entitytypeid, startdate, subject, text, thecomment, allattributes, ownerid)
                  VALUES ('0042', 0, '2026-01-01', CAST(x'61ff00e282' AS TEXT), ?1, 'a' || char(0) || 'b', x'00ff10', 7)";
    connection.execute(insert, [&huge]).unwrap();
    let mut snapshot = open(&path, &all(Kind::Interaction)).unwrap();
    let mut line = Vec::new();
    let mut each = |row: &cddsfs::export::source::Row<'_>| {
        let at = row.columns().names().iter().position(|name| name == "subject").unwrap();
        assert_eq!(row.values()[at], Value::Text(b"a\xff\0\xe2\x82"));
        row.append_json(&mut line)?;
        Ok(())
    };
    snapshot.rows(0, &mut each).unwrap();
    let row: serde_json::Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(row["IXNID"], "0042");
    assert_eq!(row["subject"], "a\u{fffd}\0\u{fffd}");
    assert_eq!(row["text"], huge);
    assert_eq!(row["thecomment"], "a\0b");
    assert_eq!(row["allattributes"], "AP8Q");
    assert_eq!(row["ownerid"], 7);
    assert_eq!(row.as_object().unwrap().len(), 8);
}

/// The peak of this process's memory in KiB, counted from now on.
fn peak_from_now() -> impl Fn() -> u64 {
    let peak = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let _ = fs::write("/proc/self/clear_refs", "5");
    let start = peak();
    move || peak() - start
}

/// Runs a test of this program, or of a copy, again as a process of its own, so that others do not count.
fn alone(program: &Path, test: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["--exact", &format!("source::{test}"), "--nocapture"]).env("CDDSFS_ALONE", "1");
    command
}

fn assert_passed(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn memory_does_not_grow_with_the_rows() {
    if std::env::var_os("CDDSFS_ALONE").is_none() {
        let program = std::env::current_exe().unwrap();
        return assert_passed(&alone(&program, "memory_does_not_grow_with_the_rows").output().unwrap());
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(SCHEMA).unwrap();
    let fill = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 299999)
        INSERT INTO interaction (id, entitytypeid, mediatypeid, startdate, text)
        SELECT printf('%016d', i), (i * 7) % 8, 'email', '2026-01-01', hex(zeroblob(100)) FROM n;
        INSERT INTO attachment (documentid, entityid) SELECT id, id FROM interaction WHERE rowid % 3 = 0;";
    for more in ["", "DROP INDEX interaction_entity_start; DROP INDEX attachment_entity"] {
        connection.execute_batch(if more.is_empty() { fill } else { more }).unwrap();
        connection.execute_batch("PRAGMA shrink_memory").unwrap();
        let grown = peak_from_now();
        let mut snapshot = open(&path, &all(Kind::Interaction)).unwrap();
        assert_eq!(count(snapshot.as_mut()), 400_000);
        assert!(grown() < 12 * 1024, "{} KiB", grown());
    }
}

/// Spellings of random instants, and what python makes of each: `SPELLING|storage|microseconds since 1970`.
const SPELLINGS: &str = r#"
import random, sys
from datetime import datetime, timedelta, timezone
random.seed(int(sys.argv[1]))
UTC = timezone.utc
zone = lambda hours: timezone(timedelta(hours=hours))
spell = {
    "blank": lambda t: t.replace(tzinfo=None).isoformat(" ", "milliseconds"),
    "T": lambda t: t.replace(tzinfo=None).isoformat("T", "microseconds"),
    "Z": lambda t: t.replace(tzinfo=None).isoformat("T", "milliseconds") + "Z",
    "z": lambda t: t.replace(tzinfo=None).isoformat(" ", "seconds") + "z",
    "east": lambda t: t.astimezone(zone(2)).isoformat(" ", "milliseconds"),
    "west": lambda t: t.astimezone(zone(-3.5)).isoformat("T", "seconds").replace("-03:30", "-0330"),
    "hours": lambda t: t.astimezone(zone(5)).isoformat(" ", "minutes").replace("+05:00", "+05"),
    "minutes": lambda t: t.replace(tzinfo=None).isoformat(" ", "minutes"),
    "date": lambda t: t.date().isoformat(),
    "basic": lambda t: t.strftime("%Y%m%dT%H%M%SZ"),
}
number = {"seconds": 1, "milliseconds": 1000, "microseconds": 1000000}
one = list(spell) + list(number) + ["real"]
kinds = [sys.argv[2]] if sys.argv[2] in one else one
begin = datetime(1970, 1, 1, tzinfo=UTC)
for _ in range(400):
    t = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=random.randrange(3 * 86400 * 10**6))
    t = random.choice([t, t.replace(microsecond=0), t.replace(second=0, microsecond=0), t.replace(hour=0, minute=0, second=0, microsecond=0)])
    kind = random.choice(kinds)
    us = (t - begin) // timedelta(microseconds=1)
    if kind in number:
        unit = 10**6 // number[kind]
        print(us // unit, random.choice(["integer", "real", "text"]), us // unit * unit, sep="|")
    elif kind == "real":
        ms = us // 1000
        print(ms / 1000, "real", ms * 1000, sep="|")
    else:
        text = spell[kind](t)
        read = datetime.fromisoformat(text.upper())
        read = read if read.tzinfo else read.replace(tzinfo=UTC)
        print(text, "text", (read - begin) // timedelta(microseconds=1), sep="|")
"#;

#[test]
fn a_timeframe_has_the_rows_that_python_finds_inside_however_dates_are_spelled() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.db");
    let connection = Connection::open(&path).unwrap();
    let indexes = [
        "",
        "CREATE INDEX i ON interaction (startdate)",
        "CREATE INDEX i ON interaction (entitytypeid, startdate)",
    ];
    let kinds = [
        "blank",
        "T",
        "Z",
        "z",
        "east",
        "hours",
        "minutes",
        "date",
        "milliseconds",
        "real",
        "mixed",
        "mixed",
    ];
    for (seed, kind) in kinds.into_iter().enumerate() {
        let script =
            Command::new("python3").args(["-c", SPELLINGS, &seed.to_string(), kind]).output().unwrap();
        assert!(script.status.success(), "{}", String::from_utf8_lossy(&script.stderr));
        let text = String::from_utf8(script.stdout).unwrap();
        connection
            .execute_batch("DROP TABLE IF EXISTS interaction; CREATE TABLE interaction (id INTEGER PRIMARY KEY, entitytypeid, mediatypeid, startdate)")
            .unwrap();
        let mut instants = Vec::new();
        for line in text.lines() {
            let [value, storage, microseconds] = line.split('|').collect::<Vec<_>>().try_into().unwrap();
            let sql = format!(
                "INSERT INTO interaction (entitytypeid, startdate) VALUES (0, CAST(?1 AS {storage}))"
            );
            connection.execute(&sql, [value]).unwrap();
            instants.push((connection.last_insert_rowid(), microseconds.parse::<i64>().unwrap()));
        }
        connection.execute_batch("INSERT INTO interaction (startdate) VALUES (NULL), (''), (x'')").unwrap();
        let sorted: Vec<i64> = instants.iter().map(|(_, at)| *at).collect();
        for index in indexes {
            connection.execute_batch(&format!("DROP INDEX IF EXISTS i; {index}")).unwrap();
            for n in 0..12 {
                // Bounds that are instants of rows, and ones beside them.
                let bound = |i: usize| !(n + i).is_multiple_of(5);
                let pick =
                    |i: usize| sorted[(n * 37 + i * 101) % sorted.len()] + [0, 1, -1, 250_000][(n + i) % 4];
                let (a, b) = (pick(0).min(pick(1)), pick(0).max(pick(1)) + 1);
                let (start, end) = (bound(0).then_some(a), bound(1).then_some(b));
                let timestamp = |at: i64| jiff::Timestamp::from_microsecond(at).unwrap();
                let timeframe = Timeframe::Between { start: start.map(timestamp), end: end.map(timestamp) };
                let mut snapshot = open(&path, &Selection { timeframe, ..all(Kind::Interaction) }).unwrap();
                let total: u64 = snapshot.files().iter().map(|file| file.rows).sum();
                let mut found = Vec::new();
                let mut each = |row: &cddsfs::export::source::Row<'_>| {
                    let Value::Integer(id) = row.values()[0] else { panic!("{row:?}") };
                    found.push(id);
                    Ok(())
                };
                (0..snapshot.files().len()).for_each(|file| snapshot.rows(file, &mut each).unwrap());
                assert_eq!(found.len() as u64, total);
                found.sort();
                let is_inside =
                    |at: i64| start.is_none_or(|start| start <= at) && end.is_none_or(|end| at < end);
                let expected = instants.iter().filter(|(_, at)| is_inside(*at)).map(|(id, _)| *id);
                assert_eq!(found, expected.collect::<Vec<_>>(), "{kind} {index} {start:?} {end:?}");
            }
        }
    }
}

#[test]
fn a_date_that_is_not_understood_fails_the_export_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.db");
    sample(&path, 5, 50);
    let connection = Connection::open(&path).unwrap();
    let start = "2026-01-01T00:00:00Z".parse().ok();
    let between = |kind| Selection { timeframe: Timeframe::Between { start, end: None }, ..all(kind) };
    for (value, shown) in [
        ("'15/01/2026 10:30'", "\"15/01/2026 10:30\""),
        ("12", "12"),
        ("202601151030", "202601151030"),
        ("639040698000000000", "639040698000000000"),
        ("'x' || char(10, 27) || printf('%.*c', 100, 'y')", "\"x??yyyyyyyyyyyyyyy"),
        ("x'00'", "a blob of 1 bytes"),
        ("0.5", "0.5"),
    ] {
        for (table, id, date, kind) in [
            ("interaction", "id", "startdate", Kind::Interaction),
            ("contact", "contactid", "createddate", Kind::Contact),
        ] {
            connection
                .execute_batch(&format!("INSERT INTO {table} ({id}, {date}) VALUES ('odd', {value})"))
                .unwrap();
            let error = open(&path, &between(kind)).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), error::Kind::Invalid);
            let text = error.to_string();
            for part in [&format!("{table}.{date} has a value"), shown, "YYYY-MM-DD HH:MM:SS.fff in UTC"] {
                assert!(text.contains(part), "{text}");
            }
            assert!(text.len() < 400 && !text.contains('\n'), "{text}");
            assert!(open(&path, &all(kind)).is_ok(), "without a timeframe nobody asks");
            connection.execute_batch(&format!("DELETE FROM {table} WHERE {id} = 'odd'")).unwrap();
            assert!(open(&path, &between(kind)).is_ok());
        }
    }
}

#[test]
fn memory_does_not_grow_with_the_widest_value() {
    const NAME: &str = "memory_does_not_grow_with_the_widest_value";
    if std::env::var_os("CDDSFS_ALONE").is_none() {
        return assert_passed(&alone(&std::env::current_exe().unwrap(), NAME).output().unwrap());
    }
    let dir = tempfile::tempdir().unwrap();
    for (encoding, text) in [("UTF-8", "'ü\"' || char(10)"), ("UTF-16be", "'日' || char(128512)")] {
        let path = dir.path().join(format!("{encoding}.db"));
        // By another process, whose memory does not count.
        let sql = format!(
            "PRAGMA encoding = '{encoding}';
             CREATE TABLE interaction (id TEXT PRIMARY KEY, entitytypeid, mediatypeid, startdate, subject, text);
             CREATE TABLE attachment (documentid, entityid, content);
             INSERT INTO interaction VALUES ('a', 0, 'email', '2026-01-01', 'before', 'x'),
               ('b', 0, 'email', '2026-01-02', 'wide', replace(hex(zeroblob(8000000)), '00', {text})),
               ('c', 0, 'email', '2026-01-03', 'after', 'x');
             INSERT INTO attachment VALUES ('1', 'a', x'00'), ('2', 'b', zeroblob(60000000)), ('3', 'b', x'01');"
        );
        piped(Command::new("sqlite3").arg(&path), sql.as_bytes());
        let grown = peak_from_now();
        let mut snapshot = open(&path, &all(Kind::Interaction)).unwrap();
        let (mut lines, mut bytes, mut rows, mut kept) = (Vec::new(), 0, 0, Vec::new());
        for file in 0..2 {
            let mut each = |row: &cddsfs::export::source::Row<'_>| {
                rows += 1;
                let mut full = |lines: &mut Vec<u8>| {
                    bytes += lines.len();
                    kept.extend_from_slice(&lines[..lines.len().min(64)]);
                    lines.clear();
                    Ok(())
                };
                row.write_json(&mut lines, &mut full)?;
                full(&mut lines)
            };
            snapshot.rows(file, &mut each).unwrap();
        }
        let text = if encoding == "UTF-8" { 6 } else { 7 };
        assert_eq!(rows, 6);
        assert!((8_000_000 * text + 80_000_000..8_000_000 * text + 80_002_000).contains(&bytes), "{bytes}");
        assert!(grown() < 24 * 1024, "{} KiB", grown());
    }
}

/// Runs SQL in another process, whose memory does not count.
fn made(path: &Path, sql: &str) {
    piped(Command::new("sqlite3").arg(path), sql.as_bytes());
}

/// Writes all rows as lines, and returns how many bytes they have and the first 128 of every piece.
fn written(snapshot: &mut dyn Snapshot) -> (usize, Vec<u8>) {
    let (mut lines, mut bytes, mut kept) = (Vec::new(), 0, Vec::new());
    for file in 0..snapshot.files().len() {
        let mut each = |row: &cddsfs::export::source::Row<'_>| {
            let mut full = |lines: &mut Vec<u8>| {
                bytes += lines.len();
                kept.extend_from_slice(&lines[..lines.len().min(128)]);
                lines.clear();
                Ok(())
            };
            row.write_json(&mut lines, &mut full)?;
            full(&mut lines)
        };
        snapshot.rows(file, &mut each).unwrap();
    }
    (bytes, kept)
}

#[test]
fn memory_does_not_grow_with_the_columns_of_a_row() {
    const NAME: &str = "memory_does_not_grow_with_the_columns_of_a_row";
    if std::env::var_os("CDDSFS_ALONE").is_none() {
        return assert_passed(&alone(&std::env::current_exe().unwrap(), NAME).output().unwrap());
    }
    const COLUMNS: usize = 1_500;
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..COLUMNS).map(|i| format!("c{i}")).collect();
    // A wide text after every 99 blobs, and one number, that each stands where it belongs.
    let value = |i: usize| match i % 100 {
        7 => "7".to_owned(),
        99 => "printf('%.*c', 300000, 'x')".to_owned(),
        _ => format!("CAST(x'{i:04x}' || zeroblob(149998) AS BLOB)"),
    };
    let values: Vec<String> = (0..COLUMNS).map(value).collect();
    let columns = format!("id TEXT PRIMARY KEY, entitytypeid, mediatypeid, startdate, {}", names.join(", "));
    let insert = |id: &str, values: &str| {
        format!("INSERT INTO interaction VALUES ('{id}', 0, 'email', '2026-01-01', {values});")
    };
    let short = vec!["x'00'"; COLUMNS].join(", ");
    let sql = format!(
        "CREATE TABLE interaction ({columns}); {}{}{}",
        insert("a", &short),
        insert("b", &values.join(", ")),
        insert("c", &short)
    );
    let path = dir.path().join("columns.db");
    made(&path, &sql);
    let grown = peak_from_now();
    let mut snapshot = open(&path, &all(Kind::Interaction)).unwrap();
    let (bytes, kept) = written(snapshot.as_mut());
    let expected = 1_470 * 200_000 + 15 * 300_000;
    assert!((expected..expected + 200_000).contains(&bytes), "{bytes}");
    // base64 of the number of each column, which its value begins with.
    for i in (0..COLUMNS).filter(|i| ![7, 99].contains(&(i % 100))) {
        let key = format!("\"c{i}\":\"{}", &STANDARD.encode_to_string((i as u16).to_be_bytes())[..2]);
        assert!(memchr::memmem::find(&kept, key.as_bytes()).is_some(), "{key}");
    }
    assert!(grown() < 64 * 1024, "{} KiB", grown());
    // Where SQLite gives nothing in pieces, such a row is refused.
    let path = dir.path().join("without.db");
    made(&path, &sql.replacen(&format!("({columns})"), &format!("({columns}) WITHOUT ROWID"), 1));
    let mut snapshot = open(&path, &all(Kind::Interaction)).unwrap();
    let error = snapshot.rows(0, &mut |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("interaction has a row of more than 32 MiB"), "{error}");
    assert!(grown() < 64 * 1024, "{} KiB", grown());
}

#[test]
fn a_long_value_that_rows_are_looked_for_by_is_refused_by_name_and_not_held() {
    const NAME: &str = "a_long_value_that_rows_are_looked_for_by_is_refused_by_name_and_not_held";
    if std::env::var_os("CDDSFS_ALONE").is_none() {
        return assert_passed(&alone(&std::env::current_exe().unwrap(), NAME).output().unwrap());
    }
    let dir = tempfile::tempdir().unwrap();
    let wide = "replace(hex(zeroblob(50000000)), '00', 'bc')";
    let between = Timeframe::Between { start: "2020-01-01T00:00:00Z".parse().ok(), end: None };
    let grown = peak_from_now();
    for (i, (column, timeframe, most)) in [
        ("interaction.id", Timeframe::All, "64 KiB"),
        ("interaction.id", Timeframe::Since(None), "64 KiB"),
        ("interaction.entitytypeid", Timeframe::All, "64 KiB"),
        ("interaction.startdate", between, "64 KiB"),
        ("interaction.mediatypeid", Timeframe::All, "256 KiB"),
        ("attachment.entityid", Timeframe::All, "64 KiB"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = dir.path().join(format!("{i}.db"));
        let (table, name) = column.split_once('.').unwrap();
        let sql = format!(
            "{SCHEMA}; INSERT INTO interaction (id, entitytypeid, mediatypeid, startdate)
               VALUES ('a', 0, 'email', '2026-01-01'), ('b', 0, 'email', '2026-01-02');
             INSERT INTO attachment (documentid, entityid) VALUES ('1', 'a'), ('2', 'b');
             UPDATE {table} SET {name} = {wide} WHERE rowid = 2;"
        );
        made(&path, &sql);
        let media_types = Some(vec!["email".to_owned()]);
        let selection = Selection { kind: Kind::Interaction, media_types, timeframe };
        let error = open(&path, &selection).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), error::Kind::Unsupported);
        let right =
            format!("{column} has a value of more than {most}, and rows are looked for by it; shorten it");
        assert!(error.to_string().ends_with(&right), "{error}");
        fs::remove_file(&path).unwrap();
    }
    assert!(grown() < 24 * 1024, "{} KiB", grown());
}

#[test]
fn memory_does_not_grow_with_the_media_types_that_occur() {
    const NAME: &str = "memory_does_not_grow_with_the_media_types_that_occur";
    if std::env::var_os("CDDSFS_ALONE").is_none() {
        return assert_passed(&alone(&std::env::current_exe().unwrap(), NAME).output().unwrap());
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.db");
    let sql = format!(
        "{SCHEMA}; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)
         INSERT INTO interaction (id, entitytypeid, mediatypeid, startdate)
         SELECT printf('%03d', i), 0, i || printf('%.*c', CASE WHEN i > 10 THEN 250000 ELSE 3000 END, 'x'), '2026-01-01' FROM n;"
    );
    made(&path, &sql);
    let grown = peak_from_now();
    let media_types = Some(vec!["chat".to_owned()]);
    let selection = Selection { media_types, ..all(Kind::Interaction) };
    let said = open(&path, &selection).unwrap().warnings().unwrap();
    assert!(
        said[0]
            .starts_with("media_types: \"chat\" occurs nowhere in interaction.mediatypeid; these do: \"10xx")
    );
    assert!(said[0].len() < 1_000 && said[0].matches("xxx...").count() == 10, "{said:?}");
    assert!(grown() < 24 * 1024, "{} KiB", grown());
}

#[test]
fn a_wide_value_that_sqlite_does_not_give_in_pieces_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let columns = "id TEXT PRIMARY KEY, entitytypeid, mediatypeid, startdate, text";
    for table in [format!("({columns}) WITHOUT ROWID"), format!("({columns}, n AS (entitytypeid + 1))")] {
        let path = dir.path().join("h.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(&format!("DROP TABLE IF EXISTS interaction; CREATE TABLE interaction {table}"))
            .unwrap();
        let insert =
            "INSERT INTO interaction (id, entitytypeid, startdate, text) VALUES (?1, 0, '2026-01-01', ?2)";
        for (id, len) in [("a", 10), ("b", 2 << 20), ("c", 10)] {
            connection.execute(insert, (id, "x".repeat(len))).unwrap();
        }
        let mut snapshot = open(&path, &all(Kind::Interaction)).unwrap();
        let mut line = Vec::new();
        snapshot.rows(0, &mut |row| row.append_json(&mut line)).unwrap();
        let rows: Vec<serde_json::Value> = line
            .split(|&b| b == b'\n')
            .filter(|l| !l.is_empty())
            .map(|l| serde_json::from_slice(l).unwrap())
            .collect();
        assert_eq!(
            rows.iter().map(|row| row["text"].as_str().unwrap().len()).collect::<Vec<_>>(),
            [10, 2 << 20, 10]
        );
        drop(snapshot);
        connection.execute(insert, ("d", "x".repeat(17 << 20))).unwrap();
        let mut snapshot = open(&path, &all(Kind::Interaction)).unwrap();
        let error = snapshot.rows(0, &mut |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("interaction.text has a value of more than 16 MiB"), "{error}");
    }
}

#[test]
fn a_database_in_wal_mode_is_read_where_nothing_can_be_written() {
    if std::env::var_os("CDDSFS_ALONE").is_some() {
        let path = std::env::var_os("CDDSFS_DB").unwrap();
        assert!(fs::write(Path::new(&path).with_extension("x"), "").is_err());
        assert!(count(open(Path::new(&path), &all(Kind::Contact)).unwrap().as_mut()) > 40);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h %41?.db");
    sample(&path, 10, 0);
    Connection::open(&path).unwrap().execute_batch("PRAGMA journal_mode = WAL").unwrap();
    assert!(!dir.path().join("h %41?.db-wal").exists());
    // Nobody gets through to the program itself where it was built in a home that is closed to others.
    let program = dir.path().join("test");
    let install = Command::new("install").arg(std::env::current_exe().unwrap()).arg(&program).status();
    assert!(install.unwrap().success());
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let mut command = alone(&program, "a_database_in_wal_mode_is_read_where_nothing_can_be_written");
    command.env("CDDSFS_DB", &path);
    if nix::unistd::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let output = command.output();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_passed(&output.unwrap());
}

#[test]
fn the_command_makes_a_history_and_overwrites_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.db");
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cddsfs"));
        command
            .arg("sample")
            .arg(&path)
            .args(["--contacts", "20", "--interactions", "400", "--seed", "3"])
            .output()
    };
    let output = run().unwrap();
    assert!(output.status.success() && output.stdout.is_empty());
    assert!(String::from_utf8(output.stderr).unwrap().contains("20 contacts with "));
    let again = run().unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8(again.stderr).unwrap().contains("h.db: there is such a file already"));
    let integrity = piped(Command::new("sqlite3").arg(&path).arg("PRAGMA integrity_check"), b"");
    assert_eq!(integrity, b"ok\n");
    let connection = Connection::open(&path).unwrap();
    let list = |sql: &str| -> HashSet<String> {
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<std::result::Result<_, _>>().unwrap()
    };
    assert!(list("SELECT DISTINCT lang FROM interaction").len() > 3);
    assert!(
        list("SELECT id FROM interaction WHERE startdate >= '2026-11-01' OR startdate < '2024-11-01'")
            .is_empty()
    );
    assert!(
        list("SELECT parentid FROM interaction WHERE parentid NOT IN (SELECT id FROM interaction)")
            .is_empty()
    );
    assert!(
        list("SELECT entityid FROM attachment WHERE entityid NOT IN (SELECT id FROM interaction)").is_empty()
    );
    let snapshot = open(&path, &all(Kind::Interaction)).unwrap();
    let chats = snapshot.files().iter().any(|file| file.path.stem == "Chat" && file.rows > 0);
    assert!(chats);
}
