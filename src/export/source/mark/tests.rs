use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// The ways in which a table can have its ids.
const SCHEMAS: [&str; 5] = [
    "CREATE TABLE t (id TEXT PRIMARY KEY, d); CREATE INDEX td ON t (d)",
    "CREATE TABLE t (id TEXT PRIMARY KEY, d)",
    "CREATE TABLE t (id INTEGER PRIMARY KEY, d); CREATE INDEX td ON t (d)",
    "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, d)",
    "CREATE TABLE t (id, d); CREATE INDEX td ON t (d)",
];

/// Rows by id and date: one whose id is given to another row later is another row then, where that can be seen.
type Rows = BTreeSet<(String, i64)>;

fn rows(connection: &Connection, condition: &str) -> Rows {
    let table = Table::load(connection, "t").unwrap().unwrap();
    let date = if table.has_index_on("d") || table.is_rowid("id") { "d" } else { "0" };
    let sql = format!("SELECT coalesce(CAST(id AS TEXT), ''), {date} FROM t WHERE {condition}");
    let mut statement = connection.prepare(&sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

struct Job {
    mark: Option<Mark>,
    exported: Rows,
    /// At the last run.
    there: Rows,
}

impl Job {
    /// Runs, and returns how many rows it has exported again, and how many in all.
    fn run(&mut self, connection: &Connection) -> (usize, usize) {
        let table = Table::load(connection, "t").unwrap().unwrap();
        let marked = Marked { table: &table, id: "id", date: Some("d"), media_types: None };
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
enum Step {
    Insert(u8),
    InsertAt(i64),
    Replace(u8),
    Delete(u8),
    DeleteLast,
    Vacuum,
    Renumber,
    Reload,
    Run,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<u8>().prop_map(Step::Insert),
        2 => prop_oneof![-20..400_i64, Just(i64::MAX), Just(i64::MIN)].prop_map(Step::InsertAt),
        2 => any::<u8>().prop_map(Step::Replace),
        3 => any::<u8>().prop_map(Step::Delete),
        2 => Just(Step::DeleteLast),
        1 => Just(Step::Vacuum),
        1 => Just(Step::Renumber),
        1 => Just(Step::Reload),
        5 => Just(Step::Run),
    ]
}

impl Step {
    fn sql(&self, date: usize, is_rowid: bool) -> String {
        match self {
            Step::Insert(_) if is_rowid => format!("INSERT OR IGNORE INTO t (d) VALUES ({date})"),
            Step::Insert(id) => format!("INSERT OR IGNORE INTO t (id, d) VALUES ('i{id}', {date})"),
            Step::InsertAt(at) if is_rowid => format!("INSERT OR IGNORE INTO t (id, d) VALUES ({at}, {date})"),
            Step::InsertAt(at) => {
                format!("INSERT OR IGNORE INTO t (rowid, id, d) VALUES ({at}, 'r{at}', {date})")
            }
            Step::Replace(id) if is_rowid => format!("REPLACE INTO t (id, d) VALUES ({id}, {date})"),
            Step::Replace(id) => format!("REPLACE INTO t (id, d) VALUES ('i{id}', {date})"),
            Step::Delete(n) => {
                format!("DELETE FROM t WHERE rowid = (SELECT rowid FROM t ORDER BY rowid LIMIT 1 OFFSET {n} % 9)")
            }
            Step::DeleteLast => "DELETE FROM t WHERE rowid = (SELECT max(rowid) FROM t)".to_owned(),
            Step::Vacuum => "VACUUM".to_owned(),
            // As VACUUM is free to do.
            Step::Renumber if is_rowid => String::new(),
            Step::Renumber => {
                "CREATE TABLE u AS SELECT id, d FROM t ORDER BY rowid; DELETE FROM t; INSERT INTO t SELECT * FROM u; DROP TABLE u"
                    .to_owned()
            }
            Step::Reload => {
                "CREATE TABLE u AS SELECT id, d FROM t ORDER BY d * 7919 % 101; DELETE FROM t; INSERT INTO t SELECT * FROM u; DROP TABLE u"
                    .to_owned()
            }
            Step::Run => String::new(),
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
        let is_rowid = SCHEMAS[schema].contains("INTEGER PRIMARY");
        let mut job = Job { mark: None, exported: Rows::new(), there: Rows::new() };
        for (date, step) in steps.iter().enumerate() {
            // Where the greatest rowid is taken, SQLite tries others, or refuses.
            let _ = connection.execute_batch(&step.sql(date, is_rowid));
            if matches!(step, Step::Run) {
                job.run(&connection);
            }
        }
        job.run(&connection);
    }
}

fn filled(schema: &str, rows: u32) -> (Connection, Job) {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(schema).unwrap();
    let insert = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         INSERT INTO t (id, d) SELECT i, i FROM n"
    );
    connection.execute_batch(&insert).unwrap();
    (connection, Job { mark: None, exported: Rows::new(), there: Rows::new() })
}

#[test]
fn few_rows_are_exported_again() {
    let (connection, mut job) = filled(SCHEMAS[0], 50_000);
    assert_eq!(job.run(&connection), (0, 50_000));
    connection.execute_batch("DELETE FROM t WHERE rowid = 77").unwrap();
    let segment = 50_000 / PIECES as usize + 1;
    assert_eq!(job.run(&connection), (segment - 1, segment - 1));
    assert_eq!(job.run(&connection), (0, 0), "what was exported again is proved again");
    // Rows of which the gaps are closed are found where they are now, but for the segment that has lost some.
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
    let table = Table::load(&connection, "t").unwrap().unwrap();
    let marked = Marked { table: &table, id: "id", date: Some("d"), media_types: None };
    let error = marked.since(&connection, None).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("no order of insertion"), "{error}");
}
