//! The contact history in PostgreSQL: the same members as from SQLite, and what only a server can do to an export.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cddsfs::error::{Error, Kind as Failed, Result};
use cddsfs::export::sample::{Size, make_at};
use cddsfs::export::source::{
    Kind, Mark, PostgresSource, Row, Selection, Source, SourceSpec, Timeframe, Value, open,
};
use cddsfs::io::Cancel;
use postgres::Client;

use crate::support::postgres::{Database, ca, password};
use crate::support::source_suite::{Read, all, read};

fn source(database: &Database) -> PostgresSource {
    PostgresSource::new(&database.url()).unwrap()
}

/// A database with these statements executed.
fn made(sql: &str) -> (Database, Client) {
    let database = Database::new();
    let mut client = database.connect();
    client.batch_execute(sql).unwrap();
    (database, client)
}

const INTERACTION: &str =
    "CREATE TABLE interaction (id text PRIMARY KEY, entitytypeid int, mediatypeid text, startdate timestamp";

fn since(mark: &Option<Mark>) -> Selection {
    Selection { timeframe: Timeframe::Since(mark.clone()), ..all(Kind::Interaction) }
}

fn ids(read: &Read) -> String {
    let id = |line: &str| line.split('"').nth(3).unwrap().to_owned();
    read.files.iter().flat_map(|(_, text)| text.lines().map(id)).collect::<Vec<_>>().join(" ")
}

fn refused(database: &Database, selection: &Selection) -> Error {
    source(database).snapshot(selection, &Cancel::new()).map(|_| ()).unwrap_err()
}

fn nothing(_: &Row<'_>) -> Result<()> {
    Ok(())
}

#[test]
fn the_same_rows_are_the_same_members_as_from_sqlite() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let size = Size { contacts: 200, interactions: 2_000, seed: 5 };
    let places = [SourceSpec::Sqlite(dir.path().join("h.db")), SourceSpec::Postgres(database.url())];
    let made = places.each_ref().map(|place| make_at(place, size).unwrap());
    assert_eq!(made[0], made[1]);
    // SQLite has texts as they were spelled, without zeros at the end of a second.
    let spell = |table: &str, column: &str| {
        format!("UPDATE {table} SET {column} = strftime('%Y-%m-%d %H:%M:%f', {column});")
    };
    let spelled = [
        spell("interaction", "startdate"),
        spell("interaction", "modifieddate"),
        spell("interaction", "enddate"),
        spell("contact", "createddate"),
        spell("contact", "modifieddate"),
        spell("contactattribute", "modifieddate"),
    ];
    rusqlite::Connection::open(dir.path().join("h.db")).unwrap().execute_batch(&spelled.concat()).unwrap();
    let again = make_at(&places[1], size).unwrap_err();
    assert_eq!(again.kind(), Failed::Os(libc::EEXIST));
    let sources = places.each_ref().map(|place| open(place).unwrap());
    let between = |kind| Selection {
        timeframe: Timeframe::Between {
            start: "2025-06-01T00:00:00Z".parse().ok(),
            end: "2026-03-01T12:00:00.5Z".parse().ok(),
        },
        ..all(kind)
    };
    let media_types = Some(vec!["chat".to_owned(), "email".to_owned(), "e-mail".to_owned()]);
    for selection in [
        all(Kind::Interaction),
        all(Kind::Contact),
        between(Kind::Interaction),
        between(Kind::Contact),
        Selection { media_types: media_types.clone(), ..all(Kind::Interaction) },
        Selection { media_types, ..between(Kind::Interaction) },
    ] {
        let [sqlite, postgres] = sources.each_ref().map(|source| read(source.as_ref(), &selection));
        assert!(sqlite.files.len() >= 2);
        assert_eq!(sqlite.warnings, postgres.warnings);
        let names = |read: &Read| read.files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&sqlite), names(&postgres));
        for ((name, one), (_, other)) in sqlite.files.iter().zip(&postgres.files) {
            let differs = one.lines().zip(other.lines()).find(|(one, other)| one != other);
            assert!(one == other, "{name}: {differs:.300?}");
        }
    }
}

#[test]
fn every_type_has_one_spelling() {
    let cases = [
        ("boolean", "true", "1"),
        ("boolean", "false", "0"),
        ("smallint", "-32768", "-32768"),
        ("bigint", "9223372036854775807", "9223372036854775807"),
        ("numeric", "12", "12"),
        ("numeric(10,2)", "12.5", r#""12.50""#),
        ("numeric", "9223372036854775808", r#""9223372036854775808""#),
        ("numeric", "'NaN'", r#""NaN""#),
        ("real", "0.1", "0.1"),
        ("double precision", "'NaN'", r#""NaN""#),
        ("double precision", "'-Infinity'", r#""-Infinity""#),
        ("timestamp", "'2026-01-15 10:30:00.2509'", r#""2026-01-15 10:30:00.250""#),
        ("timestamptz", "'2026-01-15 10:30:00+02'", r#""2026-01-15 08:30:00.000""#),
        ("timestamp", "'infinity'", r#""infinity""#),
        ("timestamptz", "'-infinity'", r#""-infinity""#),
        ("timestamp", "'0044-03-15 12:00:00 BC'", r#""0044-03-15 12:00:00.000 BC""#),
        ("timestamp", "'20000-01-01 00:00:00'", r#""20000-01-01 00:00:00.000""#),
        ("date", "'2026-01-15'", r#""2026-01-15""#),
        ("bytea", r"'\x00ff'", r#""AP8=""#),
        ("char(5)", "'ab'", r#""ab""#),
        ("varchar(9)", "'ü\"'", r#""ü\"""#),
        ("jsonb", r#"'{"b": [1, "x"], "a": null}'"#, r#""{\"a\": null, \"b\": [1, \"x\"]}""#),
        ("int[]", "ARRAY[1, NULL, 3]", r#""{1,NULL,3}""#),
        ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", r#""a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11""#),
        ("interval", "'1 day 02:03'", r#""1 day 02:03:00""#),
        ("mood", "'sad'", r#""sad""#),
        ("positive", "7", "7"),
        ("name_of", "'x'", r#""x""#),
        ("text", "''", ""),
        ("bytea", "NULL", ""),
    ];
    let columns: String = cases.iter().enumerate().map(|(i, (kind, ..))| format!(", v{i} {kind}")).collect();
    let values: String = cases.iter().map(|(_, value, _)| format!(", {value}")).collect();
    let (database, _client) = made(&format!(
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN positive AS int CHECK (VALUE > 0);
         CREATE DOMAIN one AS varchar(20); CREATE DOMAIN name_of AS one;
         {INTERACTION}{columns});
         INSERT INTO interaction VALUES ('a', 0, NULL, NULL{values})"
    ));
    let name = database.url().rsplit('/').next().unwrap().to_owned();
    database
        .connect()
        .batch_execute(&format!(
            "ALTER DATABASE {name} SET datestyle = 'SQL, DMY'; ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'"
        ))
        .unwrap();
    let found = read(&source(&database), &all(Kind::Interaction));
    let shown = cases.iter().enumerate().filter(|(_, (.., shown))| !shown.is_empty());
    let expected: String = shown.map(|(i, (.., shown))| format!(r#","v{i}":{shown}"#)).collect();
    assert_eq!(found.files[0].1, format!("{{\"IXNID\":\"a\",\"entitytypeid\":0{expected}}}\n"));
}

#[test]
fn names_may_be_any_and_columns_as_many_as_there_can_be() {
    let odd = [r#"a"b"#, "sel ect", "';--", "Ü", "$1", "s.c0"];
    let mut columns: Vec<String> = odd.iter().map(|name| name.replace('"', "\"\"")).collect();
    columns.extend((0..1_600 - 4 - odd.len()).map(|i| format!("Column{i}")));
    let columns: String = columns.iter().map(|name| format!(", \"{name}\" text")).collect();
    let (database, mut client) = made(&format!("{INTERACTION}{columns})"));
    client
        .batch_execute("INSERT INTO interaction (id, entitytypeid, \"a\"\"b\", \"Column1589\") VALUES ('a', 0, 'x', 'y')")
        .unwrap();
    let wide = "UPDATE interaction SET \"';--\" = repeat('z', 300000)";
    for (sql, middle) in
        [("SELECT 1", String::new()), (wide, format!(r#","';--":"{}""#, "z".repeat(300_000)))]
    {
        client.batch_execute(sql).unwrap();
        let found = read(&source(&database), &all(Kind::Interaction));
        let expected =
            format!("{{\"IXNID\":\"a\",\"entitytypeid\":0,\"a\\\"b\":\"x\"{middle},\"column1589\":\"y\"}}\n");
        assert!(found.files[0].1 == expected, "{:.200}", found.files[0].1);
    }
    client.batch_execute("ALTER TABLE interaction RENAME COLUMN \"sel ect\" TO \"ID\"").unwrap();
    let said = refused(&database, &all(Kind::Interaction)).to_string();
    assert!(said.ends_with("has two columns whose names differ in case only: id"), "{said}");
}

#[test]
fn views_partitions_and_other_schemas_are_found_by_the_search_path() {
    let (database, _client) = made(
        "CREATE SCHEMA old; CREATE SCHEMA \"new\";
         CREATE TABLE old.base (nr int PRIMARY KEY, at timestamptz);
         INSERT INTO old.base VALUES (2, '2026-01-02 00:00+00'), (1, '2026-01-03 00:00+00'), (3, NULL);
         CREATE VIEW old.\"Interaction\" AS SELECT nr::text AS \"ID\", 0.0 AS entitytypeid, 'x' AS mediatypeid, at AS startdate FROM old.base;
         CREATE TABLE old.attachment (documentid text, entityid varchar(9) COLLATE \"de-x-icu\", content bytea);
         INSERT INTO old.attachment VALUES ('B', '1', repeat('x', 400000)::bytea), ('a', '1', NULL), ('c', 'none', NULL);
         CREATE TABLE \"new\".interaction (id text, entitytypeid int, mediatypeid text, startdate timestamp, PRIMARY KEY (id, startdate))
           PARTITION BY RANGE (startdate);
         CREATE TABLE \"new\".early PARTITION OF \"new\".interaction FOR VALUES FROM (MINVALUE) TO ('2026-01-02');
         CREATE TABLE \"new\".late PARTITION OF \"new\".interaction DEFAULT;
         INSERT INTO \"new\".interaction VALUES ('x', 0, repeat('m', 300000), '2026-01-03'), ('y', 0, 'x', '2026-01-01');
         CREATE TABLE \"new\".attachment (documentid text PRIMARY KEY, entityid text);
         INSERT INTO \"new\".attachment VALUES ('1', 'y'), ('2', 'x')",
    );
    let found = |path: &str| {
        let url = format!("{}?options=-csearch_path%3D{path}", database.url());
        read(&PostgresSource::new(&url).unwrap(), &all(Kind::Interaction))
    };
    let old = found("old");
    assert_eq!(ids(&old), "3 2 1 B a", "those without a date come first, and attachments as they stand");
    assert!(old.files[1].1.len() > 533_000);
    assert_eq!(ids(&found("new%2Cold")), "y x 1 2");
    assert_eq!(ids(&found("nothing%2C%22new%22")), "y x 1 2");
    let said = refused(&database, &all(Kind::Interaction)).to_string();
    assert!(said.ends_with("there is no table interaction; the database must have one"), "{said}");
}

#[test]
fn an_id_that_is_not_unique_is_refused_where_something_belongs_to_it() {
    let (database, mut client) = made(
        "CREATE TABLE interaction (id text, entitytypeid text, mediatypeid text, startdate text, PRIMARY KEY (id, startdate));
         CREATE TABLE attachment (documentid text, entityid text)",
    );
    let said = |expected: &str| {
        let said = refused(&database, &all(Kind::Interaction)).to_string();
        assert!(said.contains(expected), "{said}");
    };
    said("interaction.entitytypeid is of the type text; it should be a number");
    client.batch_execute("ALTER TABLE interaction ALTER entitytypeid TYPE int USING 0").unwrap();
    said("interaction.id has no unique index");
    client.batch_execute("CREATE UNIQUE INDEX ON interaction (id)").unwrap();
    assert!(read(&source(&database), &all(Kind::Interaction)).files.is_empty());
}

#[test]
fn a_snapshot_is_of_one_moment_whatever_is_written() {
    let (database, mut client) = made(&format!(
        "{INTERACTION}, text text);
         INSERT INTO interaction SELECT lpad(i::text, 6, '0'), i % 3, 'x', '2026-01-01', repeat('t', 2000) FROM generate_series(1, 3000) i;
         INSERT INTO interaction VALUES ('wide', 2, 'x', '2027-01-01', repeat('w', 400000))"
    ));
    let before = read(&source(&database), &all(Kind::Interaction));
    let mut snapshot = source(&database).snapshot(&all(Kind::Interaction), &Cancel::new()).unwrap();
    let (mut lines, mut rows) = (Vec::new(), 0);
    for file in 0..snapshot.files().len() {
        let mut each = |row: &Row<'_>| {
            rows += 1;
            if rows % 500 == 1 {
                client
                    .batch_execute(&format!(
                        "DELETE FROM interaction WHERE id LIKE '%{}'; UPDATE interaction SET text = 'changed', entitytypeid = 0;
                         INSERT INTO interaction VALUES ('new{rows}', 1, 'x', '2020-01-01')",
                        rows / 500
                    ))
                    .unwrap();
            }
            row.append_json(&mut lines)
        };
        snapshot.rows(file, &mut each).unwrap();
    }
    let expected: String = before.files.iter().map(|(_, text)| text.as_str()).collect();
    assert!(String::from_utf8(lines).unwrap() == expected);
    assert_ne!(read(&source(&database), &all(Kind::Interaction)), before);
}

/// Raises a flag after a while, and returns how long it then takes until the work has ended.
fn cancelled_during(
    work: impl FnOnce(&Cancel) -> Error,
    meanwhile: impl FnOnce() + Send,
) -> (Error, Duration) {
    let cancel = Cancel::new();
    let raising = cancel.clone();
    std::thread::scope(|scope| {
        let raised = scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(700));
            meanwhile();
            raising.cancel();
            Instant::now()
        });
        let error = work(&cancel);
        (error, raised.join().unwrap().elapsed())
    })
}

/// A view whose rows after the fifth each take a minute, if they are asked for that column.
const SLOW: &str = "
    CREATE FUNCTION slow(i int) RETURNS text STABLE LANGUAGE plpgsql AS
      $$ BEGIN IF i > 5 THEN PERFORM pg_sleep(60); END IF; RETURN 'x'; END $$;
    CREATE VIEW interaction AS SELECT i::text AS id, 0 AS entitytypeid, 'x' AS mediatypeid, now()::timestamp AS startdate,
      slow(i) AS slow FROM generate_series(1, 100) i";

#[test]
fn cancelling_ends_a_statement_that_gives_nothing_yet() {
    let (database, mut client) = made(&SLOW.replace("0 AS entitytypeid", "length(slow(i)) AS entitytypeid"));
    let work = |cancel: &Cancel| {
        source(&database).snapshot(&all(Kind::Interaction), cancel).map(|_| ()).unwrap_err()
    };
    let (error, took) = cancelled_during(work, || ());
    assert_eq!(error.kind(), Failed::Cancelled);
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_idle(&mut client);
}

#[test]
fn cancelling_ends_a_wait_for_the_next_row() {
    let (database, mut client) = made(SLOW);
    let work = |cancel: &Cancel| {
        let mut snapshot = source(&database).snapshot(&all(Kind::Interaction), cancel).unwrap();
        snapshot.rows(0, &mut nothing).unwrap_err()
    };
    let (error, took) = cancelled_during(work, || ());
    assert_eq!(error.kind(), Failed::Cancelled);
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_idle(&mut client);
}

/// The server does nothing for us any more.
fn assert_idle(client: &mut Client) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cddsfs' AND state = 'active' AND datname = current_database()";
    let until = Instant::now() + Duration::from_secs(10);
    while client.query_one(sql, &[]).unwrap().get::<_, i64>(0) > 0 {
        assert!(Instant::now() < until, "a statement goes on");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The processes of the server that work for us in this database.
fn workers(client: &mut Client) -> Vec<i32> {
    let sql =
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'cddsfs' AND datname = current_database()";
    client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

fn signal(pid: i32, signal: &str) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

#[test]
fn a_server_that_is_frozen_does_not_hold_a_run_that_is_cancelled() {
    let (database, mut client) = made(SLOW);
    let mut frozen = Vec::new();
    let work = |cancel: &Cancel| {
        let mut snapshot = source(&database).snapshot(&all(Kind::Interaction), cancel).unwrap();
        snapshot.rows(0, &mut nothing).unwrap_err()
    };
    let (error, took) = cancelled_during(work, || {
        frozen = workers(&mut client);
        frozen.iter().for_each(|&pid| signal(pid, "-STOP"));
    });
    frozen.iter().for_each(|&pid| signal(pid, "-CONT"));
    assert_eq!((error.kind(), frozen.len()), (Failed::Cancelled, 1));
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_server_that_ends_is_said_and_no_panic() {
    let (database, mut client) = made(&format!(
        "{INTERACTION}, text text);
         INSERT INTO interaction SELECT i::text, 0, 'x', '2026-01-01', repeat(md5(i::text), 600) FROM generate_series(1, 3000) i"
    ));
    let mut snapshot = source(&database).snapshot(&all(Kind::Interaction), &Cancel::new()).unwrap();
    let mut rows = 0;
    let mut each = |_: &Row<'_>| {
        rows += 1;
        if rows == 10 {
            for pid in workers(&mut client) {
                client.execute("SELECT pg_terminate_backend($1)", &[&pid]).unwrap();
            }
        }
        Ok(())
    };
    let error = snapshot.rows(0, &mut each).unwrap_err();
    assert!(matches!(error.kind(), Failed::Os(_)), "{error}");
    let remedy = "the server has ended the connection, and with it the snapshot: start the export again";
    assert!(error.to_string().ends_with(remedy), "{error}");
}

#[test]
fn what_is_wrong_with_a_connection_is_said() {
    let (database, mut client) = made(&format!("{INTERACTION})"));
    let url = database.url();
    let check = |url: &str| PostgresSource::new(url).unwrap().check();
    let said = |url: &str, kind: Failed, expected: &str| {
        let error = check(url).unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains(expected), "{:?} {error}", error.kind());
        assert!(!error.to_string().contains(&password()), "{error}");
    };
    check(&url).unwrap();
    said(&format!("{url}x"), Failed::Os(libc::ENOENT), "does not exist");
    said("postgres://me@127.0.0.1:1/db", Failed::Os(libc::ECONNREFUSED), "postgres://me@127.0.0.1:1/db: ");
    let role = format!("reader_{}", url.rsplit('/').next().unwrap());
    client.batch_execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'other'")).unwrap();
    let other = url.replace("cddsfs@", &format!("{role}@"));
    said(&other, Failed::Os(libc::EACCES), "none in PGPASSWORD, PGPASSFILE or ~/.pgpass");
    let with = |password: &str, expected: Option<&str>| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgpass");
        fs::write(&path, format!("*:*:*:{role}:{password}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let output = exporting(&other, &path);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.success(), expected.is_none(), "{text}");
        assert!(text.contains(expected.unwrap_or_default()) && !text.contains("other\n"), "{text}");
    };
    with("wrong", Some("password authentication failed"));
    with("other", Some("permission denied for table interaction"));
    client.batch_execute(&format!("GRANT SELECT ON interaction TO {role}")).unwrap();
    with("other", None);
    client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).unwrap();
}

#[test]
fn tls_is_what_sslmode_asks_for() {
    let (database, mut client) = made(&format!("{INTERACTION})"));
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other.pem");
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=other",
            "-keyout",
            "/dev/null",
            "-out",
        ])
        .arg(&other)
        .output()
        .unwrap();
    assert!(made.status.success());
    let (good, other) = (ca(), other.to_str().unwrap().to_owned());
    let localhost = database.url().replace("127.0.0.1", "localhost");
    let numbered = database.url();
    client
        .batch_execute(
            "CREATE VIEW contact AS SELECT CASE WHEN ssl THEN 'tls' ELSE 'plain' END AS contactid
             FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
        )
        .unwrap();
    for (url, parameters, expected) in [
        (&numbered, "sslmode=disable".to_owned(), "plain"),
        (&numbered, String::new(), "tls"),
        (&numbered, "sslmode=prefer".to_owned(), "tls"),
        (&numbered, "sslmode=require".to_owned(), "tls"),
        (&numbered, format!("sslmode=verify-ca&sslrootcert={good}"), "tls"),
        (&numbered, format!("sslmode=verify-full&sslrootcert={good}"), "tls"),
        (&localhost, format!("sslmode=verify-full&sslrootcert={good}"), "tls"),
        (&numbered, format!("sslmode=verify-ca&sslrootcert={other}"), "certificate verify failed"),
        (&numbered, format!("sslmode=require&sslrootcert={other}"), "certificate verify failed"),
        (&numbered, format!("sslrootcert={other}"), "certificate verify failed"),
        (&numbered, "sslmode=verify-full&sslrootcert=system".to_owned(), "certificate verify failed"),
    ] {
        let source = PostgresSource::new(&format!("{url}?{parameters}")).unwrap();
        let found = source.snapshot(&all(Kind::Contact), &Cancel::new()).and_then(|mut snapshot| {
            let mut kind = String::new();
            snapshot.rows(0, &mut |row| {
                if let Value::Text(text) = row.values()[0] {
                    kind = String::from_utf8(text.to_vec()).unwrap();
                }
                Ok(())
            })?;
            Ok(kind)
        });
        let found = found.unwrap_or_else(|error| error.to_string());
        assert!(found.contains(expected), "{parameters}: {found}");
    }
}

#[test]
fn since_the_last_run_every_row_comes_at_least_once() {
    let (database, mut client) = made(&format!(
        "{INTERACTION}, modifieddate timestamptz); CREATE INDEX ON interaction (modifieddate);
         INSERT INTO interaction VALUES
           ('old', 0, 'x', '2026-01-01', now() - interval '2 days'),
           ('last', 0, 'x', '2026-01-02', now() - interval '1 day'),
           ('just', 0, 'x', '2026-01-03', now() - interval '1 day 5 minutes')"
    ));
    let source = source(&database);
    let first = read(&source, &since(&None));
    assert_eq!((ids(&first).as_str(), first.warnings.len()), ("old last just", 0));
    // Whoever was committed late comes; those of the overlap come again, and that is said.
    client
        .batch_execute(
            "INSERT INTO interaction VALUES ('late', 0, 'x', '2026-01-04', now() - interval '1 day 1 minute'),
               ('new', 1, 'x', '2020-01-01', now() - interval '1 hour'), ('future', 1, 'x', '2026-01-05', now() + interval '9 years'),
               ('undated', 1, 'x', NULL, NULL), ('unchanged', 1, 'x', now() AT TIME ZONE 'UTC', NULL), ('missed', 1, 'x', '2020-01-01', NULL)",
        )
        .unwrap();
    let second = read(&source, &since(&first.mark));
    assert_eq!(ids(&second), "last just late undated new future unchanged");
    let said = "since_last_run: up to 4 rows of interaction may have been exported before: rows come by modifieddate";
    assert!(second.warnings[0].starts_with(said), "{:?}", second.warnings);
    // One in the future hides none that come after it.
    client.batch_execute("INSERT INTO interaction VALUES ('after', 1, 'x', NULL, now())").unwrap();
    let third = read(&source, &since(&second.mark));
    assert_eq!(ids(&third), "after undated future unchanged");
    client.batch_execute("DELETE FROM interaction WHERE id IN ('undated', 'future')").unwrap();
    client.batch_execute("UPDATE interaction SET modifieddate = now() - interval '1 day' WHERE modifieddate > now() - interval '1 day' OR modifieddate IS NULL AND startdate > now() - interval '1 hour'").unwrap();
    let fourth = read(&source, &since(&third.mark));
    assert_eq!((ids(&fourth).as_str(), fourth.warnings.len()), ("", 0));
    assert!(fourth.mark.is_some());
    let moved = Database::new();
    moved
        .connect()
        .batch_execute(&format!(
            "{INTERACTION}); INSERT INTO interaction VALUES ('other', 0, 'x', '2020-01-01')"
        ))
        .unwrap();
    let elsewhere = read(&self::source(&moved), &since(&third.mark));
    assert_eq!(ids(&elsewhere), "other");
    assert!(elsewhere.warnings[0].starts_with("since_last_run: everything is exported again: "));
    let by_start = read(&self::source(&moved), &since(&elsewhere.mark));
    assert!(
        by_start.warnings.iter().any(|said| said.contains("interaction has no modifieddate")),
        "{:?}",
        by_start.warnings
    );
}

#[test]
fn dates_that_are_texts_are_compared_as_such_or_refused() {
    let (database, mut client) = made(
        "CREATE TABLE interaction (id text PRIMARY KEY, entitytypeid int, mediatypeid text, startdate text);
         INSERT INTO interaction VALUES ('b', 0, 'x', '2026-01-15 12:00:00.000'), ('a', 0, 'x', '2026-01-15'), ('c', 0, 'x', NULL)",
    );
    let between = Selection {
        timeframe: Timeframe::Between { start: "2026-01-15T00:00:01Z".parse().ok(), end: None },
        ..all(Kind::Interaction)
    };
    assert_eq!(ids(&read(&source(&database), &between)), "b");
    assert_eq!(ids(&read(&source(&database), &all(Kind::Interaction))), "c a b");
    client.batch_execute("UPDATE interaction SET startdate = '1768478400' WHERE id = 'a'").unwrap();
    assert_eq!(refused(&database, &between).kind(), Failed::Unsupported);
    client.batch_execute("ALTER TABLE interaction ALTER startdate TYPE bigint USING 1768478400").unwrap();
    let said = refused(&database, &between).to_string();
    assert!(said.ends_with("interaction.startdate is of the type bigint, of which no instants are read; it should be a timestamp"), "{said}");
    assert_eq!(refused(&database, &since(&None)).kind(), Failed::Invalid);
}

/// Runs a test of this program again as a process of its own, so that others do not count.
fn alone(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("postgres_source::{test}"), "--nocapture"]).env("CDDSFS_ALONE", "1");
    command
}

/// What a check says with another file of passwords.
fn exporting(url: &str, passwords: &Path) -> std::process::Output {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cddsfs"));
    command.args(["init", "store", "--cert", "cert.pem", "--source", url]).current_dir(dir.path());
    crate::support::managed::make_key(dir.path());
    command.env("PGPASSFILE", passwords).output().unwrap()
}

#[test]
fn memory_grows_neither_with_the_rows_nor_with_the_widest() {
    const NAME: &str = "memory_grows_neither_with_the_rows_nor_with_the_widest";
    if std::env::var_os("CDDSFS_ALONE").is_none() {
        let output = alone(NAME).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let passed = output.status.success() && text.contains("1 passed");
        assert!(passed, "{text}{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let (database, _client) = made(&format!(
        "{INTERACTION}, text text);
         CREATE TABLE attachment (documentid text PRIMARY KEY, entityid text, content bytea);
         CREATE INDEX ON interaction (entitytypeid, startdate); CREATE INDEX ON attachment (entityid);
         INSERT INTO interaction SELECT lpad(i::text, 8, '0'), i % 8, 'x', '2026-01-01', repeat('x', 200) FROM generate_series(1, 200000) i;
         INSERT INTO interaction VALUES ('wide', 0, 'x', '2026-01-02', repeat('日' || chr(10), 8000000));
         INSERT INTO attachment SELECT i::text, 'wide', CASE i WHEN 3 THEN convert_to(repeat('x', 100000000), 'UTF8') ELSE 'x' END FROM generate_series(1, 5) i;
         INSERT INTO attachment SELECT 'n' || i, 'wide', convert_to(repeat('y', 250000), 'UTF8') FROM generate_series(1, 200) i"
    ));
    let peak = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let _ = fs::write("/proc/self/clear_refs", "5");
    let before = peak();
    let mut snapshot = source(&database).snapshot(&all(Kind::Interaction), &Cancel::new()).unwrap();
    let (mut lines, mut bytes, mut rows) = (Vec::new(), 0_u64, 0);
    for file in 0..snapshot.files().len() {
        let mut each = |row: &Row<'_>| {
            rows += 1;
            let mut full = |lines: &mut Vec<u8>| {
                bytes += lines.len() as u64;
                lines.clear();
                Ok(())
            };
            row.write_json(&mut lines, &mut full)?;
            full(&mut lines)
        };
        snapshot.rows(file, &mut each).unwrap();
    }
    assert_eq!(rows, 200_206);
    let wide = 8_000_000 * 5 + 100_000_000 * 4 / 3 + 200 * 250_000 * 4 / 3;
    assert!(bytes > wide + 200_000 * 200 && bytes < wide + 200_000 * 400, "{bytes}");
    let grown = peak() - before;
    println!("grown by {grown} KiB");
    assert!(grown < 24 * 1024, "{grown} KiB");
}
