//! What every source does with the same rows, so that one engine's export is byte by byte another's.
//!
//! ```ignore
//! source_suite!(sqlite, SqliteMaker::new());
//! ```
//!
//! makes a test of each function here. Rows are given in the order of their ids and dates, so that every order that a
//! source may have among equals is this one.

use cddsfs::error;
use cddsfs::export::source::{Kind, Mark, Row, Selection, Source, Timeframe};
use cddsfs::io::Cancel;

/// What a column is declared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Text,
    Integer,
    Real,
    Blob,
    /// Given as `YYYY-MM-DD HH:MM:SS.fff`, in UTC.
    Instant,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Text(String),
    Integer(i64),
    Real(f64),
    Blob(Vec<u8>),
    Instant(String),
}

#[derive(Debug, Clone)]
pub struct Table {
    pub name: String,
    /// The first is its key, but for contactattribute.
    pub columns: Vec<(String, Type)>,
    pub rows: Vec<Vec<Value>>,
}

/// Makes sources.
pub trait Maker {
    /// Puts these tables into its database, in place of all that was in it, with an index on (entitytypeid, startdate), on
    /// createddate, and on what names a parent. Returns a source of it.
    fn make(&mut self, tables: &[Table]) -> Box<dyn Source>;
}

/// Makes a module of tests: the suite, run on a maker.
#[macro_export]
macro_rules! source_suite {
    ($name:ident, $maker:expr) => {
        $crate::source_suite!($name, $maker;
            files_are_these_bytes,
            values_are_rendered_alike,
            every_entity_type_goes_to_one_file,
            a_timeframe_has_its_start_and_not_its_end,
            media_types_match_exactly_and_missing_ones_are_named,
            names_match_in_any_case_and_other_columns_come_last,
            what_is_missing_is_refused_by_name,
            since_gives_every_row_and_says_what_may_come_again,
            tables_of_what_belongs_to_rows_may_be_missing,
            cancelling_ends_it,
            any_history_gives_the_files_of_the_reference,
        );
    };
    ($name:ident, $maker:expr; $($test:ident),* $(,)?) => {
        mod $name {
            $(#[test]
            fn $test() {
                $crate::support::source_suite::$test(&mut $maker);
            })*
        }
    };
}

/// The files of a snapshot, by the names that they have in the archive, and what is said of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    pub files: Vec<(String, String)>,
    pub mark: Option<Mark>,
    pub warnings: Vec<String>,
}

/// Reads everything, and checks what holds of every snapshot.
pub fn read(source: &dyn Source, selection: &Selection) -> Read {
    let mut snapshot = source.snapshot(selection, &Cancel::new()).unwrap();
    let mut files = Vec::new();
    for (i, info) in snapshot.files().to_vec().into_iter().enumerate() {
        let (mut text, mut rows) = (Vec::new(), 0);
        let mut each = |row: &Row<'_>| {
            rows += 1;
            row.append_json(&mut text)
        };
        snapshot.rows(i, &mut each).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!((rows, text.lines().count() as u64), (info.rows, info.rows), "{:?}", info.path);
        assert!(rows > 0, "{:?}: a file without rows is left out", info.path);
        files.push((info.path.member("RUN"), text));
    }
    let is_since = matches!(selection.timeframe, Timeframe::Since(_));
    assert!(is_since || snapshot.mark().is_none());
    Read { files, mark: snapshot.mark(), warnings: snapshot.warnings().unwrap() }
}

pub fn all(kind: Kind) -> Selection {
    Selection { kind, media_types: None, timeframe: Timeframe::All }
}

fn between(kind: Kind, start: Option<&str>, end: Option<&str>) -> Selection {
    let at = |text: Option<&str>| text.map(|text| text.parse().unwrap());
    Selection { timeframe: Timeframe::Between { start: at(start), end: at(end) }, ..all(kind) }
}

fn text(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { Value::Text(text.to_owned()) }
}

fn instant(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { Value::Instant(text.to_owned()) }
}

fn table(name: &str, columns: &[(&str, Type)], rows: Vec<Vec<Value>>) -> Table {
    let columns = columns.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
    Table { name: name.to_owned(), columns, rows }
}

/// `(id, entitytypeid, mediatypeid, startdate)`
fn interactions(rows: &[(&str, Option<i64>, &str, &str)]) -> Table {
    let row = |(id, entity, media, start): &(&str, Option<i64>, &str, &str)| {
        vec![text(id), entity.map_or(Value::Null, Value::Integer), text(media), instant(start)]
    };
    let columns = [
        ("id", Type::Text),
        ("entitytypeid", Type::Integer),
        ("mediatypeid", Type::Text),
        ("startdate", Type::Instant),
    ];
    table("interaction", &columns, rows.iter().map(row).collect())
}

fn attachments(rows: &[(&str, &str)]) -> Table {
    let columns = [("documentid", Type::Text), ("entityid", Type::Text), ("content", Type::Blob)];
    let row = |(id, of): &(&str, &str)| vec![text(id), text(of), Value::Blob(vec![0xff, 0, 0xfe])];
    table("attachment", &columns, rows.iter().map(row).collect())
}

fn contacts(rows: &[(&str, &str)]) -> Table {
    let columns = [("contactid", Type::Text), ("createddate", Type::Instant)];
    table("contact", &columns, rows.iter().map(|(id, at)| vec![text(id), instant(at)]).collect())
}

fn attributes(rows: &[(&str, &str, &str)]) -> Table {
    let columns = [("contactid", Type::Text), ("attrname", Type::Text), ("attrvalue", Type::Text)];
    let row = |(id, name, value): &(&str, &str, &str)| vec![text(id), text(name), text(value)];
    table("contactattribute", &columns, rows.iter().map(row).collect())
}

/// The ids of all interactions or contacts that are read, in order.
fn ids(read: &Read) -> String {
    let parents = read.files.iter().filter(|(name, _)| !name.contains("Attach") && !name.contains("Attrib"));
    let id = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        row.get("IXNID").or(row.get("ContactId")).unwrap().as_str().unwrap().to_owned()
    };
    let mut ids: Vec<String> = parents.flat_map(|(_, text)| text.lines().map(id)).collect();
    ids.sort();
    ids.join(" ")
}

pub fn files_are_these_bytes(maker: &mut dyn Maker) {
    let source = maker.make(&[
        interactions(&[
            ("a", Some(0), "email", "2026-01-02 10:00:00.250"),
            ("b", Some(2), "chat", "2026-01-02 11:00:00.000"),
            ("c", Some(0), "email", "2026-01-01 10:00:00.000"),
            ("d", Some(9), "", ""),
        ]),
        attachments(&[("1", "b"), ("2", "a"), ("3", "nobody"), ("4", "a")]),
        contacts(&[("k1", "2026-01-02 00:00:00.000"), ("k2", "2026-01-01 00:00:00.000")]),
        attributes(&[("k2", "Name", "Ü \"x\""), ("k1", "Name", ""), ("nobody", "Name", "y")]),
    ]);
    source.check().unwrap();
    let found = read(source.as_ref(), &all(Kind::Interaction));
    let expected = [
        (
            "UCS/Interaction/EmailIn/EmailIn-RUN.json",
            concat!(
                r#"{"IXNID":"c","entitytypeid":0,"mediatypeid":"email","startdate":"2026-01-01 10:00:00.000"}"#,
                "\n",
                r#"{"IXNID":"a","entitytypeid":0,"mediatypeid":"email","startdate":"2026-01-02 10:00:00.250"}"#,
                "\n",
            ),
        ),
        (
            "UCS/Interaction/EmailIn/EmailIn-Attachment-RUN.json",
            concat!(
                r#"{"documentid":"2","entityid":"a","content":"/wD+"}"#,
                "\n",
                r#"{"documentid":"4","entityid":"a","content":"/wD+"}"#,
                "\n",
            ),
        ),
        (
            "UCS/Interaction/Chat/Chat-RUN.json",
            concat!(
                r#"{"IXNID":"b","entitytypeid":2,"mediatypeid":"chat","startdate":"2026-01-02 11:00:00.000"}"#,
                "\n",
            ),
        ),
        (
            "UCS/Interaction/Chat/Chat-Attachment-RUN.json",
            concat!(r#"{"documentid":"1","entityid":"b","content":"/wD+"}"#, "\n"),
        ),
        (
            "UCS/Interaction/Interaction/Interaction-RUN.json",
            concat!(r#"{"IXNID":"d","entitytypeid":9}"#, "\n"),
        ),
    ];
    let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(found, Read { files: expected.to_vec(), mark: None, warnings: vec![] });
    let found = read(source.as_ref(), &all(Kind::Contact));
    let expected = [
        (
            "UCS/Contact/Contact-RUN.json",
            concat!(
                r#"{"ContactId":"k1","createddate":"2026-01-02 00:00:00.000"}"#,
                "\n",
                r#"{"ContactId":"k2","createddate":"2026-01-01 00:00:00.000"}"#,
                "\n",
            ),
        ),
        (
            "UCS/Contact/ContactAttribute-RUN.json",
            concat!(
                r#"{"ContactId":"k1","attrname":"Name"}"#,
                "\n",
                r#"{"ContactId":"k2","attrname":"Name","attrvalue":"Ü \"x\""}"#,
                "\n",
            ),
        ),
    ];
    let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(found.files, expected);
}

pub fn values_are_rendered_alike(maker: &mut dyn Maker) {
    let columns = [
        ("id", Type::Text),
        ("entitytypeid", Type::Integer),
        ("mediatypeid", Type::Text),
        ("startdate", Type::Instant),
        ("extra1", Type::Text),
        ("extra2", Type::Integer),
        ("extra3", Type::Real),
        ("extra4", Type::Blob),
    ];
    let long = "日本語 \"\\\n\u{1f600}".repeat(100_000);
    let cases: Vec<(Value, &str, String)> = vec![
        (Value::Text("a\"\\/\n\r\t\u{8}\u{c}\u{1}\u{7f}".into()), "extra1", "".into()),
        (Value::Text("\u{2028}ß€😀".into()), "extra1", "".into()),
        (Value::Text(long.clone()), "extra1", "".into()),
        (Value::Text(String::new()), "", "".into()),
        (Value::Null, "", "".into()),
        (Value::Integer(i64::MIN), "extra2", "-9223372036854775808".into()),
        (Value::Integer(0), "extra2", "0".into()),
        (Value::Real(1.0), "extra3", "1.0".into()),
        (Value::Real(-0.1), "extra3", "-0.1".into()),
        (Value::Real(1e300), "extra3", "1e+300".into()),
        (Value::Real(f64::INFINITY), "extra3", "\"Infinity\"".into()),
        (Value::Real(f64::NEG_INFINITY), "extra3", "\"-Infinity\"".into()),
        (Value::Blob(vec![]), "", "".into()),
        (Value::Blob(b"hell".to_vec()), "extra4", "\"aGVsbA==\"".into()),
        (Value::Blob(vec![0xAA; 900_000]), "extra4", format!("\"{}\"", "qqqq".repeat(300_000))),
    ];
    let (mut rows, mut expected) = (Vec::new(), String::new());
    for (i, (value, column, shown)) in cases.into_iter().enumerate() {
        let id = format!("{i:02}");
        let shown = match &value {
            Value::Text(text) if !text.is_empty() => serde_json::to_string(text).unwrap(),
            _ => shown,
        };
        expected += &format!(r#"{{"IXNID":"{id}","entitytypeid":0"#);
        if !column.is_empty() {
            expected += &format!(r#","{column}":{shown}"#);
        }
        expected += "}\n";
        let mut row = vec![text(&id), Value::Integer(0)];
        let at = match &value {
            Value::Integer(_) => 5,
            Value::Real(_) => 6,
            Value::Blob(_) => 7,
            _ => 4,
        };
        row.resize(8, Value::Null);
        row[at] = value;
        rows.push(row);
    }
    let source = maker.make(&[table("interaction", &columns, rows)]);
    let found = read(source.as_ref(), &all(Kind::Interaction));
    for (found, expected) in found.files[0].1.lines().zip(expected.lines()) {
        assert!(found == expected, "{:.200} instead of {:.200}", found, expected);
    }
    assert!(found.files[0].1 == expected);
}

pub fn every_entity_type_goes_to_one_file(maker: &mut dyn Maker) {
    let types = [None, Some(-1)].into_iter().chain((0..10).map(Some)).chain([Some(300)]);
    let rows: Vec<(String, Option<i64>)> = types.enumerate().map(|(i, t)| (format!("{i:02}"), t)).collect();
    let rows: Vec<_> = rows.iter().map(|(id, entity)| (id.as_str(), *entity, "x", "")).collect();
    let source = maker.make(&[interactions(&rows)]);
    let found = read(source.as_ref(), &all(Kind::Interaction));
    let counts: Vec<(&str, usize)> = found
        .files
        .iter()
        .map(|(name, text)| (name.split('/').nth(2).unwrap(), text.lines().count()))
        .collect();
    let expected = [
        ("EmailIn", 1),
        ("EmailOut", 1),
        ("Chat", 1),
        ("PhoneCall", 1),
        ("CallBack", 1),
        ("CoBrowse", 1),
        ("Interaction", 7),
    ];
    assert_eq!(counts, expected);
}

pub fn a_timeframe_has_its_start_and_not_its_end(maker: &mut dyn Maker) {
    let rows = [
        ("a", Some(7), "x", ""),
        ("b", Some(7), "x", "2026-01-01 11:59:59.999"),
        ("c", Some(7), "x", "2026-01-01 12:00:00.000"),
        ("d", Some(7), "x", "2026-01-01 12:00:00.250"),
        ("e", Some(7), "x", "2026-01-01 12:00:01.000"),
    ];
    let people: Vec<(&str, &str)> = rows.iter().map(|(id, _, _, at)| (*id, *at)).collect();
    let source = maker.make(&[
        interactions(&rows),
        attachments(&[("1", "a"), ("2", "b"), ("3", "c"), ("4", "e")]),
        contacts(&people),
        attributes(&[("a", "n", "v"), ("c", "n", "v")]),
    ]);
    for kind in [Kind::Interaction, Kind::Contact] {
        let found = |start, end| ids(&read(source.as_ref(), &between(kind, start, end)));
        let noon = Some("2026-01-01T12:00:00Z");
        assert_eq!(found(noon, None), "c d e");
        assert_eq!(found(None, noon), "b", "what has no date is in no timeframe that has a bound");
        assert_eq!(found(noon, Some("2026-01-01T13:00:01+01:00")), "c d");
        assert_eq!(found(Some("2026-01-01T12:00:00.0001Z"), None), "d e");
        assert_eq!(found(None, None), "a b c d e");
        assert_eq!(found(Some("2027-01-01T00:00:00Z"), None), "");
    }
    let inside = between(Kind::Interaction, Some("2026-01-01T12:00:00Z"), None);
    let found = read(source.as_ref(), &inside);
    assert_eq!(found.files[1].1.matches("documentid").count(), 2, "attachments go with their interactions");
}

pub fn media_types_match_exactly_and_missing_ones_are_named(maker: &mut dyn Maker) {
    let source = maker.make(&[interactions(&[
        ("a", Some(0), "chat", ""),
        ("b", Some(0), "Chat", ""),
        ("c", Some(0), "email", ""),
        ("d", Some(0), "", ""),
    ])]);
    let found = |types: &[&str]| {
        let media_types = Some(types.iter().map(|&t| t.to_owned()).collect());
        read(source.as_ref(), &Selection { media_types, ..all(Kind::Interaction) })
    };
    assert_eq!(ids(&found(&["chat"])), "a");
    assert_eq!(ids(&found(&["chat", "chat", "email"])), "a c");
    assert_eq!(found(&[]).files, []);
    assert_eq!(found(&["chat"]).warnings, [""; 0]);
    let said = r#"media_types: "e-mail" occurs nowhere in interaction.mediatypeid; these do: "Chat", "chat", "email""#;
    assert_eq!(found(&["e-mail", "chat"]).warnings, [said]);
    let contacts = Selection { media_types: Some(vec!["chat".into()]), ..all(Kind::Contact) };
    assert_eq!(refused(source.as_ref(), &contacts).kind(), error::Kind::Invalid);
}

pub fn names_match_in_any_case_and_other_columns_come_last(maker: &mut dyn Maker) {
    let columns = [
        ("ID", Type::Text),
        ("Zeta", Type::Text),
        ("STARTDATE", Type::Instant),
        ("ContactID", Type::Text),
        ("alpha", Type::Text),
        ("MediaTypeId", Type::Text),
        ("EntityTypeId", Type::Integer),
    ];
    let row = vec![
        text("a"),
        text("z"),
        instant("2026-01-01 00:00:00.000"),
        text("17"),
        text("first"),
        text("email"),
        Value::Integer(0),
    ];
    let source = maker.make(&[table("Interaction", &columns, vec![row])]);
    let line = r#"{"IXNID":"a","entitytypeid":0,"mediatypeid":"email","ContactId":"17","startdate":"2026-01-01 00:00:00.000","zeta":"z","alpha":"first"}"#;
    assert_eq!(read(source.as_ref(), &all(Kind::Interaction)).files[0].1, format!("{line}\n"));
}

fn refused(source: &dyn Source, selection: &Selection) -> error::Error {
    source.snapshot(selection, &Cancel::new()).map(|_| ()).unwrap_err()
}

pub fn what_is_missing_is_refused_by_name(maker: &mut dyn Maker) {
    let whole = [
        interactions(&[("a", Some(0), "x", "")]),
        attachments(&[("1", "a")]),
        contacts(&[("a", "")]),
        attributes(&[("a", "n", "v")]),
    ];
    let between = |kind| between(kind, Some("2026-01-01T00:00:00Z"), None);
    for (name, column, kind) in [
        ("interaction", "entitytypeid", Kind::Interaction),
        ("interaction", "mediatypeid", Kind::Interaction),
        ("interaction", "startdate", Kind::Interaction),
        ("attachment", "entityid", Kind::Interaction),
        ("attachment", "documentid", Kind::Interaction),
        ("contact", "createddate", Kind::Contact),
        ("contactattribute", "attrname", Kind::Contact),
    ] {
        let mut tables = whole.to_vec();
        for table in tables.iter_mut().filter(|table| table.name == name) {
            let at = table.columns.iter().position(|(name, _)| name == column).unwrap();
            table.columns[at].0 = "other".to_owned();
        }
        let error = refused(maker.make(&tables).as_ref(), &between(kind));
        assert_eq!(error.kind(), error::Kind::Invalid);
        let right =
            format!("the table {name} has no column {column}; the database must have {name}.{column}");
        assert!(error.to_string().ends_with(&right), "{error}");
    }
    let source = maker.make(&whole[..2]);
    let error = refused(source.as_ref(), &all(Kind::Contact)).to_string();
    assert!(error.ends_with("there is no table contact; the database must have one"), "{error}");
    source.check().unwrap();
    assert_eq!(maker.make(&whole[1..2]).check().unwrap_err().kind(), error::Kind::Invalid);
}

pub fn tables_of_what_belongs_to_rows_may_be_missing(maker: &mut dyn Maker) {
    let source = maker.make(&[interactions(&[("a", Some(0), "x", "")]), contacts(&[("k", "")])]);
    assert_eq!(ids(&read(source.as_ref(), &all(Kind::Interaction))), "a");
    assert_eq!(ids(&read(source.as_ref(), &all(Kind::Contact))), "k");
}

/// Every row comes at least once. One may come twice, and what is said then begins with `since_last_run: `.
pub fn since_gives_every_row_and_says_what_may_come_again(maker: &mut dyn Maker) {
    let since = |mark: &Option<Mark>| Selection {
        timeframe: Timeframe::Since(mark.clone()),
        ..all(Kind::Interaction)
    };
    let mut rows = vec![("a", Some(0), "x", "2026-01-01 10:00:00.250")];
    let first = read(maker.make(&[interactions(&rows)]).as_ref(), &since(&None));
    assert_eq!((ids(&first), first.warnings), ("a".to_owned(), vec![]));
    assert!(first.mark.is_some());
    rows.push(("b", Some(1), "x", "2026-03-01 10:00:00.250"));
    rows.push(("c", Some(0), "x", "2026-03-01 10:00:01.250"));
    let second = read(maker.make(&[interactions(&rows)]).as_ref(), &since(&first.mark));
    let found = ids(&second);
    assert!(found.ends_with("b c"), "{found}");
    assert!(found == "b c" || second.warnings[0].starts_with("since_last_run: "), "{second:?}");
    let third = read(maker.make(&[interactions(&rows)]).as_ref(), &since(&second.mark));
    assert!(ids(&third).is_empty() || third.warnings[0].starts_with("since_last_run: "), "{third:?}");
    // A mark proves nothing that is of another table, of fewer media types, or that nobody has made.
    let media_types = Some(vec!["x".to_owned()]);
    let source = maker.make(&[interactions(&rows), contacts(&[("k", "")])]);
    let fewer = read(source.as_ref(), &Selection { media_types, ..since(&None) });
    let contacts = Selection { kind: Kind::Contact, ..since(&second.mark) };
    let nonsense = since(&Some(Mark::from("nonsense".to_owned())));
    for (selection, expected) in [(since(&fewer.mark), "a b c"), (nonsense, "a b c"), (contacts, "k")] {
        let found = read(source.as_ref(), &selection);
        assert_eq!(ids(&found), expected);
        assert!(found.warnings[0].starts_with("since_last_run: everything is exported again: "), "{found:?}");
    }
}

pub fn cancelling_ends_it(maker: &mut dyn Maker) {
    let ids: Vec<String> = (0..500).map(|i| format!("{i:03}")).collect();
    let rows: Vec<_> = ids.iter().map(|id| (id.as_str(), Some(0), "x", "")).collect();
    let source = maker.make(&[interactions(&rows)]);
    let cancel = Cancel::new();
    let mut snapshot = source.snapshot(&all(Kind::Interaction), &cancel).unwrap();
    let mut seen = 0;
    let mut each = |_: &Row<'_>| {
        seen += 1;
        if seen == 20 {
            cancel.cancel();
        }
        Ok(())
    };
    assert_eq!(snapshot.rows(0, &mut each).unwrap_err().kind(), error::Kind::Cancelled);
    assert_eq!(seen, 20);
    let again = source.snapshot(&all(Kind::Interaction), &cancel).map(|_| ()).unwrap_err();
    assert_eq!(again.kind(), error::Kind::Cancelled);
    // What the caller refuses ends it too, in the caller's words.
    let mut snapshot = source.snapshot(&all(Kind::Interaction), &Cancel::new()).unwrap();
    let error = snapshot.rows(0, &mut |_| Err(error::Error::damaged("enough"))).unwrap_err();
    assert_eq!(error.to_string(), "enough");
}

/// The reference is [`crate::support::memory_source`], which has nothing but the layout.
pub fn any_history_gives_the_files_of_the_reference(maker: &mut dyn Maker) {
    let mut state = 7_u64;
    let mut below = |end: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % end
    };
    let date = |n: u64| {
        let (day, hour, ms) = (n % 28 + 1, n % 24, n % 1000);
        format!("2026-01-{day:02} {hour:02}:00:00.{ms:03}")
    };
    for _ in 0..8 {
        let own: Vec<(String, Option<i64>, &str, String)> = (0..below(60))
            .map(|i| {
                let entity = (below(10) > 0).then(|| below(9) as i64);
                let media = ["", "chat", "email"][below(3) as usize];
                // Those of one date come in the order of their ids.
                let at = if below(9) == 0 { String::new() } else { date(below(400)) };
                (format!("i{i:03}"), entity, media, at)
            })
            .collect();
        let rows: Vec<_> = own.iter().map(|(id, e, m, at)| (id.as_str(), *e, *m, at.as_str())).collect();
        let people: Vec<_> = own.iter().map(|(id, _, _, at)| (id.as_str(), at.as_str())).collect();
        let belonging: Vec<(String, String)> =
            (0..below(80)).map(|i| (format!("d{i:03}"), format!("i{:03}", below(70)))).collect();
        let attached: Vec<_> = belonging.iter().map(|(id, of)| (id.as_str(), of.as_str())).collect();
        let named: Vec<_> = belonging.iter().map(|(name, of)| (of.as_str(), name.as_str(), "v")).collect();
        let tables = [interactions(&rows), attachments(&attached), contacts(&people), attributes(&named)];
        let source = maker.make(&tables);
        let reference = crate::support::memory_source::MemorySource::new(&tables);
        let bounds = (Some("2026-01-05T00:00:00Z"), Some("2026-01-20T12:00:00.5Z"));
        for kind in [Kind::Interaction, Kind::Contact] {
            let mut selections =
                vec![all(kind), between(kind, bounds.0, bounds.1), between(kind, None, bounds.1)];
            if kind == Kind::Interaction {
                let chats = Some(vec!["chat".to_owned()]);
                selections.push(Selection { media_types: chats.clone(), ..all(kind) });
                selections.push(Selection { media_types: chats, ..between(kind, bounds.0, None) });
            }
            for selection in selections {
                let found = read(source.as_ref(), &selection);
                assert_eq!(found, read(&reference, &selection), "{selection:?}");
            }
        }
    }
}
