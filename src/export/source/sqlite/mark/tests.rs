use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::export::source::layout::column;
use crate::export::source::sqlite::plan::Child;
use crate::export::source::sqlite::schema::TableSchema;

/// The ways in which a table can have its ids, and lead to what belongs to its rows.
const SCHEMAS: [&str; 6] = [
    "CREATE TABLE t (id TEXT PRIMARY KEY, d, m, x); CREATE INDEX td ON t (d); CREATE TABLE c (k, p, v)",
    "CREATE TABLE t (id TEXT PRIMARY KEY, d, m, x); CREATE TABLE c (k PRIMARY KEY, p, v) WITHOUT ROWID; CREATE INDEX cp ON c (p)",
    "CREATE TABLE t (id INTEGER PRIMARY KEY, d, m, x); CREATE INDEX td ON t (d); CREATE TABLE c (k INTEGER PRIMARY KEY, p, v)",
    "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, d, m, x); CREATE TABLE c (k, p, v); CREATE INDEX cp ON c (p)",
    "CREATE TABLE t (id, d, m, x); CREATE INDEX td ON t (d); CREATE TABLE c (k, p, v)",
    "CREATE TABLE t (id INTEGER PRIMARY KEY, m, x)",
];

/// Rows, each with everything that distinguishes it from an earlier row with its id, and with what belongs to it.
type Rows = BTreeSet<(String, String)>;

/// Returns the rows that have a media type that is asked for.
fn rows(connection: &Connection, condition: &str) -> Rows {
    let table = TableSchema::load(connection, "t").unwrap().unwrap();
    let date = column(&table.columns, "d").unwrap_or("NULL");
    // Where an id is not unique nothing can belong to it.
    let children = table.key("id").and(TableSchema::load(connection, "c").unwrap()).map_or("NULL", |_| {
        "(SELECT group_concat(c.k || ':' || c.v) FROM (SELECT * FROM c ORDER BY k, v) AS c WHERE c.p = t.id)"
    });
    let sql = format!(
        "SELECT quote(id), quote({date}) || quote(x) || quote({children}) FROM t WHERE ({condition}) AND m IS NOT 0"
    );
    let mut statement = connection.prepare(&sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

struct ExportJob {
    mark: Option<Mark>,
    exported: Rows,
    /// The rows at the last run.
    there: Rows,
}

impl ExportJob {
    /// Runs; returns how many rows were exported again, and how many in all.
    fn run(&mut self, connection: &Connection) -> (usize, usize) {
        let table = TableSchema::load(connection, "t").unwrap().unwrap();
        let child = TableSchema::load(connection, "c").unwrap();
        let child = child.as_ref().zip(table.key("id")).map(|(table, key)| Child { table, parent: "p", key });
        let asked = ["1".to_owned()];
        let parent = Parent {
            table: &table,
            id: "id",
            group: None,
            date: column(&table.columns, "d"),
            media: Some("m"),
        };
        let marked = MarkedTable { parent: &parent, child: child.as_ref(), media_types: Some(&asked) };
        let since = marked.since(connection, self.mark.as_ref()).unwrap();
        let ranges = since.ranges.0.iter().map(|(from, until)| format!("rowid BETWEEN {from} AND {until}"));
        let condition = ranges.chain(["FALSE".to_owned()]).collect::<Vec<_>>().join(" OR ");
        let new = rows(connection, &condition);
        // A row that has gone meanwhile and come again is a new one.
        let again = new.intersection(&self.there).count();
        assert!(again == 0 || since.warning.is_some(), "{again} rows are exported again without a word");
        let exported = new.len();
        self.exported.extend(new);
        self.mark = since.mark;
        self.there = rows(connection, "TRUE");
        let missing: Vec<_> = self.there.difference(&self.exported).collect();
        assert!(missing.is_empty(), "{missing:?}");
        (again, exported)
    }
}

#[derive(Debug, Clone)]
enum TableStep {
    Insert(u8),
    InsertAt(i64),
    Replace(u8),
    Delete(u8),
    DeleteLast,
    Vacuum,
    Renumber,
    Reload,
    Reclassify(u8),
    Attach(u8),
    Detach,
    ReplaceAttached,
    Run,
}

fn step() -> impl Strategy<Value = TableStep> {
    prop_oneof![
        6 => any::<u8>().prop_map(TableStep::Insert),
        2 => prop_oneof![-20..400_i64, Just(i64::MAX), Just(i64::MIN)].prop_map(TableStep::InsertAt),
        2 => any::<u8>().prop_map(TableStep::Replace),
        3 => any::<u8>().prop_map(TableStep::Delete),
        2 => Just(TableStep::DeleteLast),
        1 => Just(TableStep::Vacuum),
        1 => Just(TableStep::Renumber),
        1 => Just(TableStep::Reload),
        2 => any::<u8>().prop_map(TableStep::Reclassify),
        2 => any::<u8>().prop_map(TableStep::Attach),
        1 => Just(TableStep::Detach),
        1 => Just(TableStep::ReplaceAttached),
        5 => Just(TableStep::Run),
    ]
}

impl TableStep {
    /// `n` is different for each step.
    fn sql(&self, n: usize, has_date: bool, is_rowid: bool) -> String {
        // A day tells no row from another.
        let date =
            if n.is_multiple_of(2) { "'2026-01-01'".to_owned() } else { format!("{}", 1_768_478_401 + n) };
        let columns = if has_date { "d, m, x" } else { "m, x" };
        let own = format!("{}{}, {n}", if has_date { date + ", " } else { String::new() }, n % 3);
        let nth = |n: &u8| format!("(SELECT rowid FROM t ORDER BY rowid LIMIT 1 OFFSET {n} % 9)");
        let through = |order: &str| {
            format!(
                "CREATE TABLE u AS SELECT * FROM t ORDER BY {order}; DELETE FROM t; INSERT INTO t SELECT * FROM u; DROP TABLE u"
            )
        };
        match self {
            TableStep::Insert(_) if is_rowid => format!("INSERT OR IGNORE INTO t ({columns}) VALUES ({own})"),
            TableStep::Insert(id) => {
                format!("INSERT OR IGNORE INTO t (id, {columns}) VALUES ('i{id}', {own})")
            }
            TableStep::InsertAt(at) if is_rowid => {
                format!("INSERT OR IGNORE INTO t (id, {columns}) VALUES ({at}, {own})")
            }
            TableStep::InsertAt(at) => {
                format!("INSERT OR IGNORE INTO t (rowid, id, {columns}) VALUES ({at}, 'r{at}', {own})")
            }
            TableStep::Replace(id) if is_rowid => {
                format!("REPLACE INTO t (id, {columns}) VALUES ({id}, {own})")
            }
            TableStep::Replace(id) => format!("REPLACE INTO t (id, {columns}) VALUES ('i{id}', {own})"),
            TableStep::Delete(n) => format!("DELETE FROM t WHERE rowid = {}", nth(n)),
            TableStep::DeleteLast => "DELETE FROM t WHERE rowid = (SELECT max(rowid) FROM t)".to_owned(),
            TableStep::Vacuum => "VACUUM".to_owned(),
            TableStep::Renumber if is_rowid => String::new(),
            // As VACUUM is free to do.
            TableStep::Renumber => through("rowid"),
            TableStep::Reload => through("x * 7919 % 101"),
            TableStep::Reclassify(n) => {
                format!("UPDATE t SET m = iif(m IS 0, 1, 0) WHERE rowid = {}", nth(n))
            }
            TableStep::Attach(at) => {
                format!("INSERT INTO c (k, p, v) SELECT {n}, id, {n} FROM t WHERE rowid = {}", nth(at))
            }
            TableStep::Detach => "DELETE FROM c WHERE k = (SELECT min(k) FROM c)".to_owned(),
            TableStep::ReplaceAttached => format!("UPDATE c SET v = {n} WHERE k = (SELECT max(k) FROM c)"),
            TableStep::Run => String::new(),
        }
    }
}

proptest! {
    #[test]
    fn whatever_becomes_of_the_table_no_row_is_left_out(
        schema in 0..SCHEMAS.len(),
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(SCHEMAS[schema]).unwrap();
        let is_rowid = SCHEMAS[schema].contains("id INTEGER PRIMARY");
        let has_date = SCHEMAS[schema].contains(" d,");
        let mut job = ExportJob { mark: None, exported: Rows::new(), there: Rows::new() };
        for (n, step) in steps.iter().enumerate() {
            // Where the greatest rowid is taken, SQLite tries others, or refuses.
            let _ = connection.execute_batch(&step.sql(n, has_date, is_rowid));
            if matches!(step, TableStep::Run) {
                job.run(&connection);
            }
        }
        job.run(&connection);
    }
}

fn filled(schema: &str, rows: u32) -> (Connection, ExportJob) {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(schema).unwrap();
    let insert = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         INSERT INTO t (id, d) SELECT i, i FROM n"
    );
    connection.execute_batch(&insert).unwrap();
    (connection, ExportJob { mark: None, exported: Rows::new(), there: Rows::new() })
}

#[test]
fn few_rows_are_exported_again() {
    let (connection, mut job) = filled(SCHEMAS[0], 50_000);
    assert_eq!(job.run(&connection), (0, 50_000));
    connection.execute_batch("DELETE FROM t WHERE rowid = 77").unwrap();
    let segment = 50_000 / PIECES as usize + 1;
    assert_eq!(job.run(&connection), (segment - 1, segment - 1));
    assert_eq!(job.run(&connection), (0, 0), "what was exported again is proved again");
    // When gaps are closed rows are found where they are now, except those of the segment that has lost some.
    let renumber =
        "CREATE TABLE u AS SELECT * FROM t WHERE rowid > 20; DELETE FROM t; INSERT INTO t SELECT * FROM u";
    connection.execute_batch(renumber).unwrap();
    let (again, exported) = job.run(&connection);
    assert_eq!(again, exported);
    assert!(again < 2 * segment, "{again}");
}

#[test]
fn a_mark_stays_small_over_thousands_of_runs() {
    let (connection, mut job) = filled(SCHEMAS[2], 1_000);
    job.run(&connection);
    for i in 0..2_000 {
        connection.execute("INSERT INTO t (d) VALUES (?1)", [i]).unwrap();
        assert_eq!(job.run(&connection), (0, 1));
    }
    let len = job.mark.unwrap().to_string().len();
    assert!(len < 100 * MAX_SEGMENTS, "{len}");
}

#[test]
fn another_database_with_the_same_ids_is_another_one() {
    for schema in [SCHEMAS[0], SCHEMAS[2], SCHEMAS[3]] {
        let (connection, mut job) = filled(schema, 100);
        job.run(&connection);
        let (other, _) = filled(schema, 100);
        other.execute_batch("UPDATE t SET d = d + 1000").unwrap();
        assert_eq!(job.run(&other), (0, 100));
    }
}

#[test]
fn where_there_is_no_order_of_insertion_that_is_said() {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch("CREATE TABLE t (id PRIMARY KEY, d) WITHOUT ROWID").unwrap();
    let table = TableSchema::load(&connection, "t").unwrap().unwrap();
    let parent = Parent { table: &table, id: "id", group: None, date: Some("d"), media: None };
    let marked = MarkedTable { parent: &parent, child: None, media_types: None };
    let error = marked.since(&connection, None).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("no order of insertion"), "{error}");
}

/// What a job that asks for chats has exported when `change` was made after its first run.
fn after(schema: &str, change: &str) -> (usize, usize) {
    let (connection, mut job) = filled(schema, 10);
    job.run(&connection);
    connection.execute_batch(change).unwrap();
    let found = job.run(&connection);
    assert_eq!(job.run(&connection), (0, 0), "{change}: it is exported once");
    found
}

#[test]
fn a_row_that_is_given_a_rowid_and_an_id_that_were_exported_is_another_one() {
    for (schema, change) in [
        (SCHEMAS[0], "REPLACE INTO t (rowid, id, d) VALUES (10, '10', 1768478401)"),
        (SCHEMAS[1], "REPLACE INTO t (rowid, id, d) VALUES (10, '10', 1768478401)"),
        (SCHEMAS[2], "REPLACE INTO t (id, d, x) VALUES (10, 10, 'another')"),
        (SCHEMAS[3], "UPDATE t SET d = '2026-01-01' WHERE id = 10"),
        (SCHEMAS[1], "REPLACE INTO t (rowid, id, d, x) VALUES (10, '10', 10, zeroblob(300))"),
    ] {
        assert_eq!(after(schema, change), (0, 1), "{change}");
    }
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(&format!("{}; INSERT INTO t (x) VALUES ('A'), ('B')", SCHEMAS[5])).unwrap();
    let mut job = ExportJob { mark: None, exported: Rows::new(), there: Rows::new() };
    assert_eq!(job.run(&connection), (0, 2));
    connection.execute_batch("DELETE FROM t WHERE id = 2; INSERT INTO t (x) VALUES ('C')").unwrap();
    assert_eq!(job.run(&connection), (0, 1), "no column has a date");
}

#[test]
fn a_row_with_an_exact_date_that_was_only_changed_is_no_other_one() {
    let (connection, mut job) = filled(SCHEMAS[1], 10);
    connection.execute_batch("UPDATE t SET d = 1768478401").unwrap();
    job.run(&connection);
    connection.execute_batch("UPDATE t SET x = 'changed'; ALTER TABLE t ADD COLUMN y").unwrap();
    job.there = rows(&connection, "TRUE");
    job.exported = job.there.clone();
    assert_eq!(job.run(&connection), (0, 0));
}

#[test]
fn a_row_that_gets_the_media_type_later_is_exported() {
    let (connection, mut job) = filled(SCHEMAS[0], 10);
    connection.execute_batch("UPDATE t SET m = 0, d = 1768478401").unwrap();
    assert_eq!(job.run(&connection), (0, 0));
    connection.execute_batch("UPDATE t SET m = 1 WHERE id IN ('3', '7')").unwrap();
    assert_eq!(job.run(&connection), (0, 2));
}

#[test]
fn what_comes_to_a_row_after_it_was_exported_is_exported_with_it() {
    for schema in &SCHEMAS[..4] {
        let (connection, mut job) = filled(schema, 10);
        connection.execute_batch("UPDATE t SET d = 1768478401").unwrap();
        assert_eq!(job.run(&connection), (0, 10));
        for change in [
            "INSERT INTO c SELECT 1, id, 'a' FROM t WHERE rowid = 5",
            "INSERT INTO c SELECT 2, id, 'b' FROM t WHERE rowid = 5",
            "UPDATE c SET v = 'c' WHERE k = 2",
            "UPDATE c SET v = zeroblob(300) WHERE k = 2",
        ] {
            connection.execute_batch(change).unwrap();
            assert_eq!(job.run(&connection), (0, 1), "{schema} {change}");
            assert_eq!(job.run(&connection), (0, 0), "{schema} {change}: once");
        }
    }
}
