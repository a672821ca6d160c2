use rusqlite::Connection;
use tempfile::TempDir;

use super::plan::{Statement, explained};
use super::*;
use crate::error::{self, Error};
use crate::export::source::{Mark, Timeframe};

struct Database {
    _dir: TempDir,
    source: SqliteSource,
    connection: Connection,
}

fn database(schema: &str) -> Database {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(schema).unwrap();
    Database { source: SqliteSource::new(path), _dir: dir, connection }
}

fn selection(kind: Kind, timeframe: Timeframe) -> Selection {
    Selection { kind, media_types: None, timeframe }
}

fn all(kind: Kind) -> Selection {
    selection(kind, Timeframe::All)
}

fn at(text: &str) -> Option<jiff::Timestamp> {
    Some(text.parse().unwrap())
}

fn read(database: &Database, selection: &Selection) -> Vec<(String, Vec<String>)> {
    let mut snapshot = database.source.snapshot(selection, &Cancel::new()).unwrap();
    let files = snapshot.files().to_vec();
    let mut read = Vec::new();
    for (i, file) in files.into_iter().enumerate() {
        let mut lines = Vec::new();
        snapshot
            .rows(i, &mut |row| {
                let mut line = Vec::new();
                row.append_json(&mut line)?;
                lines.push(String::from_utf8(line).unwrap().trim_end().to_owned());
                Ok(())
            })
            .unwrap();
        assert_eq!(lines.len() as u64, file.rows, "{:?}", file.path);
        read.push((file.path.stem, lines));
    }
    read
}

fn refused(database: &Database, selection: &Selection) -> Error {
    database.source.snapshot(selection, &Cancel::new()).map(|_| ()).unwrap_err()
}

/// Ids of the interactions or contacts that are read.
fn ids(database: &Database, timeframe: Timeframe) -> Vec<String> {
    let read = read(database, &selection(Kind::Interaction, timeframe));
    let lines =
        read.into_iter().filter(|(stem, _)| !stem.ends_with("-Attachment")).flat_map(|(_, lines)| lines);
    let id = |line: String| {
        let row: serde_json::Value = serde_json::from_str(&line).unwrap();
        row["IXNID"].as_str().unwrap().to_owned()
    };
    let mut ids: Vec<String> = lines.map(id).collect();
    ids.sort();
    ids
}

fn insert(database: &Database, rows: &[(&str, &str, &str)]) {
    for (id, entity, date) in rows {
        let sql = format!(
            "INSERT INTO interaction (id, entitytypeid, mediatypeid, startdate) VALUES ('{id}', {entity}, 'email', '{date}')"
        );
        database.connection.execute_batch(&sql).unwrap();
    }
}

#[test]
fn keys_are_those_of_the_service() {
    let database = database(
        "CREATE TABLE Interaction (extra, STARTDATE, MediaTypeId, ContactID, EntityTypeId INT, ID TEXT PRIMARY KEY,
           \"odd \"\" name\");
         INSERT INTO Interaction VALUES (x'00ff', '2026-01-01 00:00:00', 'email', '17', 0, 'a', 1.5);
         CREATE TABLE ATTACHMENT (ID, EntityId, DocumentId);
         INSERT INTO attachment VALUES (5, 'a', '007')",
    );
    let expected = [
        (
            "EmailIn".to_owned(),
            vec![
                r#"{"IXNID":"a","entitytypeid":0,"mediatypeid":"email","ContactId":"17","startdate":"2026-01-01 00:00:00","extra":"AP8=","odd \" name":1.5}"#.to_owned(),
            ],
        ),
        ("EmailIn-Attachment".to_owned(), vec![r#"{"documentid":"007","entityid":"a","id":5}"#.to_owned()]),
    ];
    assert_eq!(read(&database, &all(Kind::Interaction)), expected);
    let path =
        database.source.snapshot(&all(Kind::Interaction), &Cancel::new()).unwrap().files()[1].path.clone();
    assert_eq!(path.member("RUN"), "UCS/Interaction/EmailIn/EmailIn-Attachment-RUN.json");
}

#[test]
fn every_entity_type_goes_to_one_file() {
    let types =
        ["NULL", "-1", "0", "0.5", "1", "2", "3", "4", "5", "5.5", "6", "7", "8", "'x'", "x'00'", "1e300"];
    let indexes = [
        "",
        "CREATE INDEX i ON interaction (entitytypeid, startdate);",
        "CREATE INDEX i ON interaction (entitytypeid);",
    ];
    for index in indexes {
        for declared in ["", "INTEGER", "TEXT", "NUMBER(3)"] {
            let database = database(&format!(
                "CREATE TABLE interaction (id TEXT PRIMARY KEY, entitytypeid {declared}, mediatypeid, startdate); {index}"
            ));
            for (i, entity) in types.iter().enumerate() {
                insert(&database, &[(&format!("{i:02}"), entity, "2026-01-01")]);
            }
            let counts: Vec<(String, usize)> = read(&database, &all(Kind::Interaction))
                .into_iter()
                .map(|(s, lines)| (s, lines.len()))
                .collect();
            let expected = ["EmailIn", "EmailOut", "Chat", "PhoneCall", "CallBack", "CoBrowse"]
                .map(|stem| (stem.to_owned(), 1))
                .into_iter()
                .chain([("Interaction".to_owned(), 10)]);
            assert_eq!(counts, expected.collect::<Vec<_>>(), "{index} {declared}");
            assert_eq!(ids(&database, Timeframe::All).len(), types.len());
        }
    }
}

#[test]
fn bounds_hold_for_any_number_of_digits() {
    let dates = [
        "2026-01-01 11:59:59",
        "2026-01-01 11:59:59.999",
        "2026-01-01 12:00:00",
        "2026-01-01 12:00:00.0",
        "2026-01-01 12:00:00.00",
        "2026-01-01 12:00:00.000",
        "2026-01-01 12:00:00.05",
        "2026-01-01 12:00:00.1",
        "2026-01-01 12:00:00.100",
        "2026-01-01 12:00:00.101",
        "2026-01-01 12:00:01",
    ];
    for index in [
        "",
        "CREATE INDEX d ON interaction (startdate);",
        "CREATE INDEX i ON interaction (entitytypeid, startdate)",
    ] {
        let database = database(&format!(
            "CREATE TABLE interaction (id TEXT PRIMARY KEY, entitytypeid INT, mediatypeid, startdate TEXT); {index}"
        ));
        for (i, date) in dates.iter().enumerate() {
            insert(&database, &[(&format!("{i:02}"), "0", date)]);
        }
        let bounds = |start: Option<&str>, end: Option<&str>| {
            let between = Timeframe::Between { start: start.and_then(at), end: end.and_then(at) };
            ids(&database, between).iter().map(|id| id.parse().unwrap()).collect::<Vec<usize>>()
        };
        assert_eq!(bounds(Some("2026-01-01T12:00:00Z"), None), (2..11).collect::<Vec<_>>());
        assert_eq!(bounds(None, Some("2026-01-01T12:00:00Z")), (0..2).collect::<Vec<_>>());
        assert_eq!(
            bounds(Some("2026-01-01T12:00:00.1Z"), Some("2026-01-01T12:00:01Z")),
            (7..10).collect::<Vec<_>>()
        );
        assert_eq!(bounds(Some("2026-01-01T12:00:00.0001Z"), None), (6..11).collect::<Vec<_>>());
        assert_eq!(
            bounds(Some("2026-01-01T13:00:00+01:00"), Some("2026-01-01T12:00:00.05Z")),
            vec![2, 3, 4, 5]
        );
        assert_eq!(bounds(None, None).len(), dates.len());
        assert_eq!(bounds(Some("2027-01-01T00:00:00Z"), None), Vec::<usize>::new());
    }
}

#[test]
fn what_is_missing_is_refused_by_name() {
    let columns = ["id", "entitytypeid", "mediatypeid", "startdate"];
    for missing in columns {
        let rest: Vec<&str> = columns.into_iter().filter(|column| *column != missing).collect();
        let database = database(&format!("CREATE TABLE interaction ({})", rest.join(", ")));
        let error = refused(&database, &all(Kind::Interaction));
        assert_eq!(error.kind(), error::Kind::Invalid);
        let path = database.source.path.display();
        assert_eq!(
            error.to_string(),
            format!(
                "{path}: the table interaction has no column {missing}; the database must have interaction.{missing}"
            )
        );
    }
    let good = "CREATE TABLE interaction (id TEXT PRIMARY KEY, entitytypeid, mediatypeid, startdate);
                CREATE TABLE contact (contactid TEXT PRIMARY KEY);";
    let between = Timeframe::Between { start: at("2026-01-01T00:00:00Z"), end: None };
    let table = [
        ("", all(Kind::Interaction), "no table interaction"),
        ("", all(Kind::Contact), "no table contact"),
        ("CREATE TABLE contact (x)", all(Kind::Contact), "contact.contactid"),
        (good, selection(Kind::Contact, between), "contact.createddate"),
        ("CREATE TABLE attachment (documentid)", all(Kind::Interaction), "attachment.entityid"),
        ("CREATE TABLE attachment (entityid)", all(Kind::Interaction), "attachment.documentid"),
        ("CREATE TABLE contactattribute (attrname)", all(Kind::Contact), "contactattribute.contactid"),
        ("CREATE TABLE contactattribute (contactid)", all(Kind::Contact), "contactattribute.attrname"),
    ];
    for (sql, selection, text) in table {
        let is_child = sql.contains("attach") || sql.contains("attr");
        let database = database(&format!("{} {sql}", if is_child { good } else { "" }));
        let error = refused(&database, &selection);
        assert_eq!(error.kind(), error::Kind::Invalid, "{sql}");
        assert!(error.to_string().contains(text), "{error}");
    }
    let database = database(
        "CREATE TABLE interaction (id TEXT, entitytypeid, mediatypeid, startdate);
         CREATE TABLE attachment (documentid, entityid)",
    );
    let error = refused(&database, &all(Kind::Interaction)).to_string();
    assert!(error.contains("interaction.id has no unique index"), "{error}");
    let media = Selection { media_types: Some(vec!["chat".to_owned()]), ..all(Kind::Contact) };
    assert_eq!(refused(&database, &media).kind(), error::Kind::Invalid);
}

/// What a run since a mark gives: ids, the next mark, and what is said.
fn run(database: &Database, mark: Option<&Mark>) -> (Vec<String>, Option<Mark>, Vec<String>) {
    let timeframe = Timeframe::Since(mark.cloned());
    let snapshot =
        database.source.snapshot(&selection(Kind::Interaction, timeframe.clone()), &Cancel::new()).unwrap();
    (ids(database, timeframe), snapshot.mark(), snapshot.warnings().unwrap())
}

#[test]
fn since_exports_what_was_not_and_no_more_where_that_is_proved() {
    let database = database(SCHEMA);
    let (none, mark, _) = run(&database, None);
    assert_eq!((none.len(), mark), (0, None));
    insert(&database, &[("a", "0", "2026-03-01"), ("b", "1", "2026-02-01"), ("c", "99", "2026-01-01")]);
    let (all, first, said) = run(&database, None);
    assert_eq!((all.join(""), said), ("abc".to_owned(), vec![]));
    let since = |mark: &Option<Mark>| run(&database, mark.as_ref());
    assert_eq!(since(&first), (vec![], first.clone(), vec![]));
    insert(&database, &[("d", "0", "2020-01-01"), ("e", "NULL", "2026-05-01")]);
    assert_eq!(since(&first).0, ["d", "e"]);
    database.connection.execute_batch("DELETE FROM interaction WHERE id = 'a'; VACUUM").unwrap();
    assert_eq!(since(&first).0, ["d", "e"]);
    // As VACUUM is free to do.
    database.connection.execute_batch("UPDATE interaction SET rowid = rowid - 1").unwrap();
    assert_eq!(since(&first).0, ["d", "e"]);
    // The last row has gone, and another has its rowid.
    let second = since(&first).1;
    database.connection.execute_batch("DELETE FROM interaction WHERE id = 'e'").unwrap();
    insert(&database, &[("f", "2", "2026-05-01"), ("g", "2", "2026-04-30")]);
    assert_eq!(since(&second).0, ["f", "g"]);
    assert!(since(&second).2[0].starts_with("since_last_run: up to 1 rows of interaction may have been"));
    // A row that was replaced is another one; one that is new below all is found, with the one that was the first.
    let third = since(&second).1;
    database
        .connection
        .execute_batch("REPLACE INTO interaction (id, rowid) VALUES ('c', 90), ('h', -5)")
        .unwrap();
    assert_eq!(since(&third).0, ["b", "c", "h"]);
    database.connection.execute_batch("DELETE FROM interaction").unwrap();
    assert_eq!(since(&second), (vec![], second.clone(), vec![]));
}

#[test]
fn what_proves_nothing_exports_everything_and_says_so() {
    let database = database(SCHEMA);
    insert(&database, &[("a", "0", "2026-03-01"), ("b", "1", "2026-02-01")]);
    let media = |types: &[&str], mark: Option<Mark>| {
        let media_types = Some(types.iter().map(|&t| t.to_owned()).collect());
        let selection = Selection { media_types, ..selection(Kind::Interaction, Timeframe::Since(mark)) };
        let snapshot = database.source.snapshot(&selection, &Cancel::new()).unwrap();
        let rows: u64 = snapshot.files().iter().map(|file| file.rows).sum();
        (rows, snapshot.mark(), snapshot.warnings().unwrap())
    };
    let old = r#"Interaction {"table":"interaction","rowid":2,"id":"b","date":"2026-02-01"}"#;
    let second =
        r#"{"version":2,"table":"interaction","media_types":null,"dated":true,"segments":[[2,"b",2,"00"]]}"#;
    for text in [old, second, "", "5", r#"{"version":3}"#] {
        let (ids, _, said) = run(&database, Some(&Mark::from(text.to_owned())));
        assert_eq!((ids.len(), said.len()), (2, 1), "{text}");
        assert!(said[0].contains("everything is exported again: the last run has left no proof"), "{said:?}");
    }
    let (_, email, _) = media(&["email"], None);
    assert_eq!(media(&["email"], email.clone()), (0, email.clone(), vec![]));
    let (rows, _, said) = media(&["chat", "email"], email.clone());
    assert_eq!(rows, 2);
    assert!(said[0].ends_with("the last run exported fewer media types"), "{said:?}");
    assert_eq!(run(&database, email.as_ref()).0.len(), 2);
    let (_, both, _) = media(&["chat", "email"], None);
    assert_eq!(media(&["email"], both).0, 0);
    database.connection.execute_batch("INSERT INTO contact (contactid) VALUES ('1')").unwrap();
    let contacts = selection(Kind::Contact, Timeframe::Since(email));
    let snapshot = database.source.snapshot(&contacts, &Cancel::new()).unwrap();
    assert_eq!(snapshot.files()[0].rows, 1);
    assert!(snapshot.warnings().unwrap()[0].ends_with("the last run exported from the table interaction"));
    // Only what was exported by this timeframe is known to be.
    let all = database.source.snapshot(&all(Kind::Interaction), &Cancel::new()).unwrap();
    assert_eq!(all.mark(), None);
}

/// The statements of a selection, and what SQLite does for them.
fn plans(database: &Database, selection: &Selection) -> Vec<Vec<String>> {
    let planned = planning::plan(&database.connection, selection).unwrap();
    let statements = planned.walks.iter().flat_map(|walk| &walk.statements);
    let explained = |sql: &str| explained(&database.connection, sql).unwrap();
    let thrice = |statement: &Statement| {
        let steps = explained(&statement.values());
        for other in [statement.values_up_to(1, 0), statement.lengths(0)] {
            assert_eq!(explained(&other), steps, "all give the same rows in the same order");
        }
        steps
    };
    statements.map(thrice).collect()
}

fn filled(schema: &str) -> Database {
    let database = database(schema);
    for i in 0..40 {
        let (entity, date) =
            (["0", "1", "2", "3", "5", "6", "7", "9"][i % 8], format!("2026-01-{:02}", 1 + i * 7 % 28));
        insert(&database, &[(&format!("i{i:02}"), entity, &date)]);
        let sql = format!(
            "INSERT INTO attachment (documentid, entityid, content) VALUES ('d{i:02}', 'i{:02}', x'00');
             INSERT INTO contact (contactid, createddate) VALUES ('c{i:02}', '{date}');
             INSERT INTO contactattribute (contactid, attrname, attrvalue) VALUES ('c{:02}', 'N', 'v{i}')",
            i * 3 % 45,
            i * 3 % 45
        );
        database.connection.execute_batch(&sql).unwrap();
    }
    database
}

const BARE: &str = "CREATE TABLE interaction (id TEXT PRIMARY KEY, entitytypeid, mediatypeid, startdate);
    CREATE TABLE attachment (documentid, entityid, content);
    CREATE TABLE contact (contactid TEXT PRIMARY KEY, createddate);
    CREATE TABLE contactattribute (contactid, attrname, attrvalue);";

#[test]
fn walks_follow_the_indexes() {
    let database = filled(SCHEMA);
    let between = Timeframe::Between { start: at("2026-01-02T00:00:00Z"), end: at("2026-01-20T00:00:00Z") };
    let steps = plans(&database, &selection(Kind::Interaction, between.clone()));
    assert_eq!(
        steps[0],
        ["SEARCH p USING INDEX interaction_entity_start (entitytypeid=? AND startdate>? AND startdate<?)"]
    );
    assert_eq!(steps[1].len(), 2);
    assert_eq!(steps[1][1], "SEARCH c USING INDEX attachment_entity (entityid=?)");
    let steps = plans(&database, &selection(Kind::Contact, between));
    assert_eq!(steps[0], ["SEARCH p USING INDEX contact_created (createddate>? AND createddate<?)"]);
    assert_eq!(steps[1][1], "SEARCH c USING INDEX contactattribute_contact (contactid=?)");
    let steps = plans(&database, &all(Kind::Contact));
    assert_eq!(steps[0], ["SCAN p"]);
    let since = Timeframe::Since(run(&database, None).1);
    insert(&database, &[("z", "0", "2026-01-01")]);
    let steps = plans(&database, &selection(Kind::Interaction, since));
    assert_eq!(steps, [["SEARCH p USING INTEGER PRIMARY KEY (rowid>?)"]]);
    database
        .connection
        .execute_batch(
            "DELETE FROM attachment WHERE rowid = 9; DELETE FROM interaction WHERE rowid IN (9, 30)",
        )
        .unwrap();
    let since = Timeframe::Since(run(&database, None).1);
    database
        .connection
        .execute_batch("INSERT INTO interaction (rowid, id) VALUES (9, 'y'), (30, 'x')")
        .unwrap();
    let steps = plans(&database, &selection(Kind::Interaction, since));
    let ways = ["SCAN 2-ROW VALUES CLAUSE", "SEARCH p USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"];
    assert!(
        steps.iter().all(|steps| ways.iter().all(|way| steps.iter().any(|step| step == way))),
        "{steps:?}"
    );
}

#[test]
fn an_index_on_the_date_is_followed_where_all_have_one_spelling_that_sorts_as_text() {
    let between = Timeframe::Between { start: at("2026-01-02T00:00:00Z"), end: at("2026-01-20T00:00:00Z") };
    let by_date =
        "SEARCH p USING INDEX interaction_entity_start (entitytypeid=? AND startdate>? AND startdate<?)";
    let by_value = "SEARCH p USING INDEX interaction_entity_start (entitytypeid=?)";
    for (spelling, way) in [
        ("startdate || ' 10:30:00.250'", by_date),
        ("startdate || ' 10:30:00' || CASE WHEN rowid % 2 THEN '' ELSE '.25' END", by_date),
        ("startdate || CASE WHEN rowid % 2 THEN '' ELSE ' 10:30' END", by_date),
        ("startdate || 'T10:30:00.250Z'", by_date),
        ("startdate || 'T10:30:00.25' || CASE WHEN rowid % 2 THEN 'Z' ELSE '0Z' END", by_value),
        ("startdate || CASE WHEN rowid % 2 THEN 'T10:30:00' ELSE ' 10:30:00' END", by_value),
        ("startdate || ' 10:30:00+00:00'", by_value),
        ("unixepoch(startdate)", by_value),
        ("CASE WHEN rowid = 9 THEN '' ELSE startdate END", by_value),
    ] {
        let database = filled(SCHEMA);
        database.connection.execute_batch(&format!("UPDATE interaction SET startdate = {spelling}")).unwrap();
        let steps = plans(&database, &selection(Kind::Interaction, between.clone()));
        assert_eq!(steps[0], [way], "{spelling}");
        let inside = "SELECT count(*) FROM interaction WHERE date(startdate, 'auto') BETWEEN '2026-01-02' AND '2026-01-19'";
        let count: i64 = database.connection.query_row(inside, [], |row| row.get(0)).unwrap();
        assert_eq!(ids(&database, between.clone()).len() as i64, count, "{spelling}");
    }
    // The pass that finds it out reads the index, not the table.
    let steps = explained(&filled(SCHEMA).connection, "SELECT \"startdate\" FROM \"interaction\"").unwrap();
    assert_eq!(steps, ["SCAN interaction USING COVERING INDEX interaction_entity_start"]);
}

#[test]
fn every_schema_gives_the_same_rows() {
    let without_rowid = "CREATE TABLE interaction (id TEXT PRIMARY KEY, entitytypeid, mediatypeid, startdate) WITHOUT ROWID;
        CREATE TABLE attachment (documentid PRIMARY KEY, entityid, content) WITHOUT ROWID;
        CREATE TABLE contact (contactid TEXT PRIMARY KEY, createddate) WITHOUT ROWID;
        CREATE TABLE contactattribute (contactid, attrname, attrvalue, PRIMARY KEY (contactid, attrname, attrvalue)) WITHOUT ROWID;";
    let wide = "CREATE INDEX x1 ON interaction (entitytypeid, startdate, mediatypeid DESC);
        CREATE INDEX x2 ON attachment (entityid, documentid); CREATE INDEX x3 ON contactattribute (contactid, attrname DESC);";
    let schemas = [
        SCHEMA.to_owned(),
        BARE.to_owned(),
        without_rowid.to_owned(),
        format!("{BARE}{wide}"),
        format!("{without_rowid}{wide}"),
        format!(
            "{BARE} CREATE INDEX x ON interaction (startdate); CREATE INDEX y ON attachment (entityid COLLATE NOCASE)"
        ),
        BARE.replace("id TEXT PRIMARY KEY", "id TEXT COLLATE NOCASE PRIMARY KEY"),
    ];
    let start = at("2026-01-05T00:00:00Z");
    for timeframe in [
        Timeframe::All,
        Timeframe::Since(None),
        Timeframe::Between { start, end: at("2026-01-21T00:00:00Z") },
    ] {
        for kind in [Kind::Interaction, Kind::Contact] {
            let mut expected = None;
            for schema in &schemas {
                let database = filled(schema);
                let is_new = matches!(timeframe, Timeframe::Since(_));
                if is_new && schema.contains("WITHOUT ROWID") {
                    let error = refused(&database, &selection(kind, timeframe.clone()));
                    assert_eq!(error.kind(), error::Kind::Unsupported);
                    continue;
                }
                let mut read = read(&database, &selection(kind, timeframe.clone()));
                assert_eq!(read, self::read(&database, &selection(kind, timeframe.clone())));
                assert!(!read.is_empty());
                read.iter_mut().for_each(|(_, lines)| lines.sort());
                assert_eq!(*expected.get_or_insert(read.clone()), read, "{schema}");
                for steps in plans(&database, &selection(kind, timeframe.clone())) {
                    assert!(
                        !steps.iter().any(|s| s.contains("TEMP") || s.contains("AUTOMATIC")),
                        "{steps:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn media_types_match_exactly() {
    let database = filled(SCHEMA);
    database
        .connection
        .execute_batch("UPDATE interaction SET mediatypeid = 'chat' WHERE id < 'i10'")
        .unwrap();
    let count = |types: &[&str]| {
        let media_types = Some(types.iter().map(|&t| t.to_owned()).collect());
        let read = read(&database, &Selection { media_types, ..all(Kind::Interaction) });
        read.iter().filter(|(s, _)| !s.ends_with("-Attachment")).map(|(_, lines)| lines.len()).sum::<usize>()
    };
    assert_eq!(count(&["chat"]), 10);
    assert_eq!(count(&["chat", "chat", "email", "x", "y"]), 40);
    assert_eq!(count(&["Chat"]), 0);
    assert_eq!(count(&[]), 0);
}

#[test]
fn media_types_that_occur_nowhere_are_named_with_those_that_do() {
    let database = filled(SCHEMA);
    let mix = "UPDATE interaction SET mediatypeid = CASE rowid WHEN 1 THEN NULL WHEN 2 THEN 'voice' WHEN 3 THEN 'chat' ELSE 'email' END";
    database.connection.execute_batch(mix).unwrap();
    let said = |types: &[&str], timeframe: Timeframe| {
        let media_types = Some(types.iter().map(|&t| t.to_owned()).collect());
        let selection = Selection { media_types, ..selection(Kind::Interaction, timeframe) };
        let mut snapshot = database.source.snapshot(&selection, &Cancel::new()).unwrap();
        (0..snapshot.files().len()).for_each(|file| snapshot.rows(file, &mut |_| Ok(())).unwrap());
        snapshot.warnings().unwrap()
    };
    let do_occur = r#"in interaction.mediatypeid; these do: "chat", "email", "voice""#;
    let one = format!(r#"media_types: "e-mail" occurs nowhere {do_occur}"#);
    assert_eq!(said(&["chat", "e-mail"], Timeframe::All), [one]);
    let two = format!(r#"media_types: "Chat", "x?" occur nowhere {do_occur}"#);
    assert_eq!(said(&["x\n", "Chat"], Timeframe::All), [two]);
    let later = Timeframe::Between { start: at("2030-01-01T00:00:00Z"), end: None };
    assert_eq!(said(&["chat", "voice"], later), Vec::<String>::new(), "they do, at other times");
    assert_eq!(said(&["chat", "chat", "email"], Timeframe::All), Vec::<String>::new());
    database.connection.execute_batch("UPDATE interaction SET mediatypeid = 'm' || rowid").unwrap();
    assert!(said(&["x"], Timeframe::All)[0].contains("these do, among others: \"m1\", \"m10\""));
    database.connection.execute_batch("DELETE FROM interaction").unwrap();
    assert!(said(&["x"], Timeframe::All)[0].ends_with("none does"));
}
