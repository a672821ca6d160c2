//! The SQL of an export: which way through tables and indexes each file's rows are reached.
//!
//! ```text
//! p   interaction, contact          the rows that a selection is about
//! c   attachment, contactattribute  what belongs to them
//! ```
//!
//! Every walk is fixed by INDEXED BY, NOT INDEXED and CROSS JOIN, whatever statistics the database has. No walk sorts,
//! so none needs memory in proportion to its rows; [`check`] makes sure of that.

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::Value;

use super::open::SqliteResult;
use super::schema::{RowKey, TableSchema};
use crate::error::{Error, Kind, Result};
use crate::export::source::layout::{Codes, Folder};

/// The table that a selection is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parent<'a> {
    pub(crate) table: &'a TableSchema,
    pub(crate) id: &'a str,
    /// The column with the entity type, which tells the folder.
    pub(crate) group: Option<&'a str>,
    pub(crate) date: Option<&'a str>,
    /// The column with the media type.
    pub(crate) media: Option<&'a str>,
}

/// The table of what belongs to the parents.
#[derive(Debug)]
pub(crate) struct Child<'a> {
    pub(crate) table: &'a TableSchema,
    /// The column with the parent's id.
    pub(crate) parent: &'a str,
    /// How a parent is found by it.
    pub(crate) key: RowKey<'a>,
}

/// The conditions of every statement, beside the entity type.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    pub(crate) conditions: Vec<String>,
    pub(crate) values: Vec<Value>,
    /// True if there is a bound on the date.
    pub(crate) is_dated: bool,
    /// Only rows with these rowids.
    pub(crate) ranges: Option<Ranges>,
}

/// Ranges of rowids, both ends included: ascending, and apart from each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ranges(pub Vec<(i64, i64)>);

/// The SQL function that tells whether a rowid is in the ranges, for walks that come to a row by another way.
const IS_NEW: &str = "cddsfs_is_new";

impl Ranges {
    /// Joins ranges that touch each other.
    pub(crate) fn joined(ranges: Vec<(i64, i64)>) -> Ranges {
        let mut joined: Vec<(i64, i64)> = Vec::with_capacity(ranges.len());
        for (from, until) in ranges {
            match joined.last_mut().filter(|last| last.1.checked_add(1) == Some(from)) {
                Some(last) => last.1 = until,
                None => joined.push((from, until)),
            }
        }
        Ranges(joined)
    }

    fn contains(&self, rowid: i64) -> bool {
        let at = self.0.partition_point(|(_, until)| *until < rowid);
        self.0.get(at).is_some_and(|(from, _)| *from <= rowid)
    }

    /// Returns what to select the rows in these ranges from, and the condition on them.
    fn walk(&self, table: &str, rowid: &str) -> (String, String) {
        match self.0[..] {
            [] => (table.to_owned(), "FALSE".to_owned()),
            [(from, i64::MAX)] => (table.to_owned(), format!("p.{rowid} >= {from}")),
            _ => {
                let ranges: Vec<String> =
                    self.0.iter().map(|(from, until)| format!("({from}, {until})")).collect();
                let from = format!("(VALUES {}) AS r CROSS JOIN {table}", ranges.join(", "));
                (from, format!("p.{rowid} BETWEEN r.column1 AND r.column2"))
            }
        }
    }
}

impl Filter {
    /// Adds `p.column operator value`.
    pub(crate) fn compare(&mut self, column: &str, operator: &str, value: Value) {
        self.values.push(value);
        self.conditions.push(format!("p.{} {operator} ?{}", quoted(column), self.values.len()));
    }

    /// Adds that a row is in ranges of rowids.
    pub(crate) fn only(&mut self, connection: &Connection, ranges: Ranges) -> Result<()> {
        let own = ranges.clone();
        let flags = FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
        connection
            .create_scalar_function(IS_NEW, 1, flags, move |row| Ok(own.contains(row.get(0)?)))
            .sqlite()?;
        self.ranges = Some(ranges);
        Ok(())
    }

    /// Adds that a column has one of these values, compared byte by byte.
    pub(crate) fn among(&mut self, column: &str, values: &[String]) {
        let first = self.values.len() + 1;
        self.values.extend(values.iter().map(|value| Value::Text(value.clone())));
        let list: Vec<String> = (first..=self.values.len()).map(|i| format!("?{i}")).collect();
        self.conditions.push(format!("p.{} COLLATE BINARY IN ({})", quoted(column), list.join(", ")));
    }
}

/// The rows of a file, or of a range of it, as SQL: all statements that this makes give the same rows in the same
/// order.
#[derive(Debug)]
pub(crate) struct Statement {
    from: String,
    columns: Vec<String>,
    rowid: Option<String>,
}

impl Statement {
    /// Selects a value for each column.
    pub(crate) fn values(&self) -> String {
        format!("SELECT {} FROM {}", self.columns.join(", "), self.from)
    }

    /// The same, but NULL for each value of more bytes, in the database's encoding.
    pub(crate) fn values_up_to(&self, bytes: i32, skipped: u64) -> String {
        let short = |column: &String| {
            format!("CASE WHEN octet_length({column}) > {bytes} THEN NULL ELSE {column} END")
        };
        let columns: Vec<String> = self.columns.iter().map(short).collect();
        format!("SELECT {} FROM {} LIMIT -1 OFFSET {skipped}", columns.join(", "), self.from)
    }

    /// Selects the rowid, or NULL; then for each column its length in bytes, in the database's encoding: positive for a
    /// text, negative for a blob, NULL for all others. Nothing of the values is read.
    pub(crate) fn lengths(&self, skipped: u64) -> String {
        let length = |column: &String| {
            let length = format!("octet_length({column})");
            format!("CASE typeof({column}) WHEN 'text' THEN {length} WHEN 'blob' THEN -{length} END")
        };
        let columns: Vec<String> = self.columns.iter().map(length).collect();
        let rowid = self.rowid.as_deref().unwrap_or("NULL");
        format!("SELECT {rowid}, {} FROM {} LIMIT -1 OFFSET {skipped}", columns.join(", "), self.from)
    }
}

/// A walk as a statement, and the order that it should be in, before it is decided whether SQLite is asked for that
/// order.
#[derive(Debug)]
pub(crate) struct Ordered {
    walked: Statement,
    order: String,
}

impl Ordered {
    /// Returns the statement to use. SQLite does not always see that a walk is in order already (along an index of a
    /// table WITHOUT ROWID, for instance) and would sort: then it is not asked for the order, and the walk is the same.
    pub(crate) fn choose(self, connection: &Connection) -> Result<Statement> {
        let Ordered { walked, order } = self;
        let from = format!("{} ORDER BY {order}", walked.from);
        let ordered = Statement { from, columns: walked.columns.clone(), rowid: walked.rowid.clone() };
        match check(connection, &ordered.values()) {
            Err(error) if error.kind() == Kind::Unsupported => {
                check(connection, &walked.values())?;
                Ok(walked)
            }
            result => result.map(|()| ordered),
        }
    }
}

/// The columns of one table that are read, and the table's alias in the walk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Selected<'a> {
    pub(crate) alias: &'a str,
    pub(crate) table: &'a TableSchema,
    pub(crate) columns: &'a [&'a str],
}

impl Selected<'_> {
    fn statement(&self, from: String) -> Statement {
        let Selected { alias, table, columns } = *self;
        let columns = columns.iter().map(|name| format!("{alias}.{}", quoted(name))).collect();
        Statement { from, columns, rowid: table.rowid.map(|rowid| format!("{alias}.{rowid}")) }
    }
}

/// A way through the tables.
#[derive(Debug)]
pub(crate) struct Walk {
    from: String,
    conditions: Vec<String>,
    order: String,
    /// The column with the entity type, as SQL.
    group: String,
    /// Each range of entity types is a walk of its own, along an index that begins with them.
    is_by_range: bool,
}

impl Walk {
    /// The way along the selected parents.
    pub(crate) fn of_parents(parent: &Parent<'_>, filter: &Filter) -> Walk {
        let table = parent.table;
        let group = parent.group.as_slice();
        let date = parent.date.as_slice();
        let both: Vec<&str> = group.iter().chain(date).copied().collect();
        let mut wanted: Vec<&[&str]> = Vec::new();
        if filter.ranges.is_none() {
            if group.len() == 1 {
                wanted.push(&both);
            }
            if filter.is_dated {
                wanted.push(date);
            }
            wanted.push(group);
        }
        let index = wanted
            .into_iter()
            .filter(|columns| !columns.is_empty())
            .find_map(|columns| Some((columns, table.ordered_by(columns)?)));
        let is_by_range = index.is_some_and(|(columns, _)| columns.first() == parent.group.as_ref());
        let (hint, order) = match index {
            Some((_, index)) => (indexed_by(&index.name), order(table, "p", &index.parts)),
            None => ("NOT INDEXED".to_owned(), table_order(table, "p")),
        };
        let mut from = format!("{} AS p {hint}", quoted(&table.name));
        let mut conditions = filter.conditions.clone();
        if let (Some(ranges), Some(rowid)) = (&filter.ranges, table.rowid) {
            let (walk, condition) = ranges.walk(&from, rowid);
            from = walk;
            conditions.push(condition);
        }
        Walk {
            from,
            conditions,
            order,
            group: parent.group.map(|group| format!("p.{}", quoted(group))).unwrap_or_default(),
            is_by_range,
        }
    }

    /// The way along the children of the selected parents: parent by parent, if an index leads to the children, and
    /// otherwise through all children, looking up the parent of each.
    pub(crate) fn of_children(parent: &Parent<'_>, child: &Child<'_>, filter: &Filter) -> Walk {
        let Some(index) = child.table.grouped_by(child.parent, child.key.collation) else {
            return Walk::through_children(parent, child, filter);
        };
        let mut walk = Walk::of_parents(parent, filter);
        let from = &mut walk.from;
        *from = format!("{from} CROSS JOIN {} AS c {}", quoted(&child.table.name), indexed_by(&index.name));
        walk.conditions.push(belongs(parent, child));
        // The order within one parent, so without the column with its id.
        let rest = order(child.table, "c", &index.parts[1..]);
        if !rest.is_empty() {
            walk.order = format!("{}, {rest}", walk.order);
        }
        walk
    }

    fn through_children(parent: &Parent<'_>, child: &Child<'_>, filter: &Filter) -> Walk {
        let by_id = child.key.index.map_or_else(|| "NOT INDEXED".to_owned(), |index| indexed_by(&index.name));
        let (p, c) = (quoted(&parent.table.name), quoted(&child.table.name));
        let mut conditions = vec![belongs(parent, child)];
        conditions.extend(filter.conditions.iter().cloned());
        if let (Some(_), Some(rowid)) = (&filter.ranges, parent.table.rowid) {
            conditions.push(format!("{IS_NEW}(p.{rowid})"));
        }
        Walk {
            from: format!("{c} AS c NOT INDEXED CROSS JOIN {p} AS p {by_id}"),
            conditions,
            order: table_order(child.table, "c"),
            group: parent.group.map(|group| format!("p.{}", quoted(group))).unwrap_or_default(),
            is_by_range: false,
        }
    }

    /// The way on which children are counted. Each child has one parent, so both ways meet the same children.
    pub(crate) fn counting_children(parent: &Parent<'_>, child: &Child<'_>, filter: &Filter) -> Walk {
        if filter.is_dated || filter.ranges.is_some() {
            Walk::of_children(parent, child, filter)
        } else {
            Walk::through_children(parent, child, filter)
        }
    }

    /// Returns the statement that gives these columns of all rows of the walk, in any order.
    pub(crate) fn select(&self, columns: &str) -> String {
        format!("SELECT {columns} FROM {}{}", self.from, self.filter(&[]))
    }

    /// Returns the statements that one after another give the rows with these entity types.
    pub(crate) fn rows(&self, selected: &Selected<'_>, codes: &[Codes]) -> Vec<Ordered> {
        let select = |condition: String| Ordered {
            walked: selected.statement(format!("{}{}", self.from, self.filter(&[condition]))),
            order: self.order.clone(),
        };
        if self.is_by_range {
            codes.iter().map(|range| select(self.range(*range))).collect()
        } else {
            vec![select(self.any_range(codes))]
        }
    }

    /// Returns the statements that together count the rows of every folder: each gives a row of counts.
    pub(crate) fn counts(&self, folders: &[Folder]) -> Vec<Vec<String>> {
        if self.is_by_range {
            let count = |range: &Codes| {
                format!("SELECT count(*) FROM {}{}", self.from, self.filter(&[self.range(*range)]))
            };
            return folders.iter().map(|folder| folder.codes.iter().map(count).collect()).collect();
        }
        let count = |folder: &Folder| format!("count(*) FILTER (WHERE {})", self.any_range(folder.codes));
        let counts: Vec<String> = folders.iter().map(count).collect();
        vec![vec![format!("SELECT {} FROM {}{}", counts.join(", "), self.from, self.filter(&[]))]]
    }

    fn range(&self, codes: Codes) -> String {
        let group = &self.group;
        match codes {
            Codes::Any => "(TRUE)".to_owned(),
            Codes::Null => format!("({group} IS NULL)"),
            Codes::Is(code) => format!("({group} = {code})"),
            Codes::Below(end) => format!("({group} < {end})"),
            Codes::Between(start, end) => format!("({group} > {start} AND {group} < {end})"),
            Codes::Above(start) => format!("({group} > {start})"),
        }
    }

    fn any_range(&self, codes: &[Codes]) -> String {
        let ranges: Vec<String> = codes.iter().map(|range| self.range(*range)).collect();
        format!("({})", ranges.join(" OR "))
    }

    fn filter(&self, more: &[String]) -> String {
        let conditions: Vec<&str> = more.iter().chain(&self.conditions).map(String::as_str).collect();
        if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) }
    }
}

/// The parent's id comes first: SQLite compares with the collation of the left side.
fn belongs(parent: &Parent<'_>, child: &Child<'_>) -> String {
    format!("p.{} = c.{}", quoted(parent.id), quoted(child.parent))
}

fn table_order(table: &TableSchema, alias: &str) -> String {
    match (table.rowid, table.primary()) {
        (Some(rowid), _) => format!("{alias}.{rowid}"),
        (None, Some(primary)) => order(table, alias, primary.key()),
        (None, None) => "1".to_owned(),
    }
}

fn order(table: &TableSchema, alias: &str, parts: &[super::schema::IndexPart]) -> String {
    let part = |part: &super::schema::IndexPart| {
        let name = part.column.as_deref().map(quoted).or(table.rowid.map(str::to_owned))?;
        let collation = part.column.as_ref().map(|_| format!(" COLLATE {}", quoted(&part.collation)));
        let direction = if part.is_descending { " DESC" } else { "" };
        Some(format!("{alias}.{name}{}{direction}", collation.unwrap_or_default()))
    };
    let parts: Vec<String> = parts.iter().filter_map(part).collect();
    parts.join(", ")
}

fn indexed_by(index: &str) -> String {
    format!("INDEXED BY {}", quoted(index))
}

/// Returns a name as SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Returns what SQLite says it does for a statement.
pub(crate) fn explained(connection: &Connection, sql: &str) -> Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).sqlite()?;
    let mut rows = statement.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().sqlite()? {
        steps.push(row.get(3).sqlite()?);
    }
    Ok(steps)
}

/// Refuses a statement whose memory grows with the data.
pub(crate) fn check(connection: &Connection, sql: &str) -> Result<()> {
    let steps = explained(connection, sql).map_err(|error| {
        // An index that INDEXED BY names cannot be used, for instance because the comparison converts types.
        let text = "the columns of its indexes are declared with types that cannot be compared";
        if error.to_string().contains("no query solution") { Error::new(Kind::Invalid, text) } else { error }
    })?;
    match steps.iter().find(|step| step.contains("TEMP B-TREE") || step.contains("AUTOMATIC")) {
        Some(step) => {
            let text = format!("its indexes lead to no order without sorting ({step})");
            Err(Error::new(Kind::Unsupported, text))
        }
        None => Ok(()),
    }
}
