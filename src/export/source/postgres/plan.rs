//! The SQL of an export: which rows each file has, and in which order.
//!
//! ```text
//! p   interaction, contact          the rows that a selection is about
//! c   attachment, contactattribute  what belongs to them
//! s   either, in order: values are looked at after any sorting, so that it moves no wide ones
//! ```
//!
//! The order is one that any plan gives, and it ends with the primary key, else with the place of the row. Where there is an
//! index on (entitytypeid, startdate) or createddate, rows come along it, and only those of one instant are sorted.

use super::form::Form;
use super::schema::{Column, Table, quoted};
use crate::export::source::layout::Codes;

/// What a selection is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parent<'a> {
    pub(crate) table: &'a Table,
    pub(crate) id: &'a Column,
    /// The column with the entity type, which tells the folder.
    pub(crate) group: Option<&'a Column>,
    pub(crate) date: Option<&'a Column>,
    /// The column with the media type.
    pub(crate) media: Option<&'a Column>,
    /// Whether rows come by their dates.
    pub(crate) is_by_date: bool,
}

/// What belongs to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Child<'a> {
    pub(crate) table: &'a Table,
    /// The column with the parent's id.
    pub(crate) parent: &'a Column,
    /// What tells rows of one parent apart where they have no key and no place.
    pub(crate) own: &'a [&'a Column],
}

/// What every statement asks for, beside the entity type.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    pub(crate) conditions: Vec<String>,
    /// The parameter of all statements, if there is one.
    pub(crate) media: Option<Vec<String>>,
    /// There is a bound on the date, which no row without one is inside.
    pub(crate) is_dated: bool,
}

impl Filter {
    /// Adds that a column has one of these values, compared byte by byte.
    pub(crate) fn among(&mut self, column: &Column, values: &[String]) {
        self.conditions.push(format!("{}::text COLLATE \"C\" = ANY ($1::text[])", named("p", column)));
        // No text of PostgreSQL has a NUL.
        self.media = Some(values.iter().filter(|value| !value.contains('\0')).cloned().collect());
    }
}

/// Which rows have a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dates {
    Without,
    With,
    /// Those without come first.
    Both,
}

/// How many rows of a range of entity types there are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) rows: u64,
    pub(crate) dated: u64,
}

/// A way through the tables.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walk<'a> {
    pub(crate) parent: &'a Parent<'a>,
    /// Along what belongs to the selected parents, and not along them.
    pub(crate) child: Option<&'a Child<'a>>,
    pub(crate) filter: &'a Filter,
}

impl<'a> Walk<'a> {
    /// The table that rows are of.
    pub(crate) fn table(&self) -> &'a Table {
        self.child.map_or(self.parent.table, |child| child.table)
    }

    fn alias(&self) -> &'static str {
        if self.child.is_some() { "c" } else { "p" }
    }

    /// Returns the statement that counts rows for each entity type: it, all of them, and those with a date.
    pub(crate) fn counts(&self) -> String {
        let group = self.parent.group.map_or("NULL".to_owned(), |group| named("p", group));
        let date = self.parent.date.map_or("NULL".to_owned(), |date| named("p", date));
        let filter = self.filter(&[]);
        format!("SELECT {group}::float8, count(*), count({date}) FROM {}{filter} GROUP BY 1", self.from())
    }

    /// Returns the statements that one after another give the rows in this range of entity types.
    pub(crate) fn rows(&self, codes: Codes, count: Count) -> Vec<String> {
        let Parent { date, is_by_date, .. } = *self.parent;
        let is_one = matches!(codes, Codes::Any | Codes::Null | Codes::Is(_));
        let dates: &[Dates] = match (date, is_by_date) {
            _ if count.rows == 0 => &[],
            (None, _) | (_, false) => &[Dates::Both],
            _ if self.filter.is_dated || count.dated == count.rows => &[Dates::With],
            _ if !is_one => &[Dates::Both],
            // An index has those without a date last.
            _ if count.dated == 0 => &[Dates::Without],
            _ => &[Dates::Without, Dates::With],
        };
        dates.iter().map(|&dates| self.select(codes, is_one, dates)).collect()
    }

    fn select(&self, codes: Codes, is_one: bool, dates: Dates) -> String {
        let Parent { date, is_by_date, group, .. } = *self.parent;
        let (mut conditions, mut order) = (Vec::new(), Vec::new());
        if let Some(group) = group {
            conditions.extend(range(&named("p", group), codes));
            if !is_one {
                order.push(named("p", group));
            }
        }
        if let Some(date) = date.filter(|_| is_by_date) {
            let sorted = ordered("p", date);
            match dates {
                Dates::Without => conditions.push(format!("{} IS NULL", named("p", date))),
                Dates::With if self.filter.is_dated => order.push(sorted),
                Dates::With => {
                    conditions.push(format!("{} IS NOT NULL", named("p", date)));
                    order.push(sorted);
                }
                Dates::Both => order.push(format!("{sorted} NULLS FIRST")),
            }
        }
        order.extend(rank("p", self.parent.table, &[self.parent.id]));
        if let Some(child) = self.child {
            order.extend(rank("c", child.table, child.own));
        }
        let alias = self.alias();
        let columns = self.table().columns.iter().enumerate();
        let mut selected: Vec<String> =
            columns.map(|(i, column)| format!("{} AS c{i}", named(alias, column))).collect();
        if self.table().has_places {
            selected.push(format!("{alias}.tableoid AS of, {alias}.ctid AS at"));
        }
        let filter = self.filter(&conditions);
        let (selected, from, order) = (selected.join(", "), self.along_parents(), order.join(", "));
        format!("SELECT {selected} FROM {from}{filter} ORDER BY {order}")
    }

    /// The tables, as a statement that is in no order goes through them.
    fn from(&self) -> String {
        let parent = &self.parent.table.sql;
        match self.child {
            None => format!("{parent} AS p"),
            Some(child) => format!("{parent} AS p JOIN {} AS c ON {}", child.table.sql, self.belongs(child)),
        }
    }

    /// The same for one whose order is that of the parents: where an index leads from them to what belongs to them, it is
    /// followed from each.
    fn along_parents(&self) -> String {
        match self.child.filter(|child| child.table.is_led_by(&child.parent.name)) {
            None => self.from(),
            Some(child) => {
                let places = if child.table.has_places { ", c.tableoid, c.ctid" } else { "" };
                let (parent, own, belongs) = (&self.parent.table.sql, &child.table.sql, self.belongs(child));
                format!(
                    "{parent} AS p CROSS JOIN LATERAL \
                     (SELECT c.*{places} FROM {own} AS c WHERE {belongs} OFFSET 0) AS c"
                )
            }
        }
    }

    fn belongs(&self, child: &Child<'_>) -> String {
        let (id, link) = (self.parent.id, child.parent);
        // Of two collations PostgreSQL would not know which to compare by; an index goes by its own.
        let by = match (&id.collation, &link.collation) {
            (Some(of), Some(own)) if of != own => format!(" COLLATE {own}"),
            _ => String::new(),
        };
        format!("{} = {}{by}", named("c", link), named("p", id))
    }

    fn filter(&self, more: &[String]) -> String {
        let conditions: Vec<&str> = more.iter().chain(&self.filter.conditions).map(String::as_str).collect();
        if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) }
    }
}

fn range(group: &str, codes: Codes) -> Option<String> {
    match codes {
        Codes::Any => None,
        Codes::Null => Some(format!("{group} IS NULL")),
        Codes::Is(code) => Some(format!("{group} = {code}")),
        Codes::Below(end) => Some(format!("{group} < {end}")),
        Codes::Between(start, end) => Some(format!("{group} > {start} AND {group} < {end}")),
        Codes::Above(start) => Some(format!("{group} > {start}")),
    }
}

/// What rows that are otherwise equal come in the order of.
fn rank(alias: &str, table: &Table, own: &[&Column]) -> Vec<String> {
    let primary = table.primary();
    if !primary.is_empty() {
        return primary.iter().map(|column| ordered(alias, column)).collect();
    }
    if table.has_places {
        return vec![format!("{alias}.tableoid"), format!("{alias}.ctid")];
    }
    own.iter().map(|column| ordered(alias, column)).collect()
}

/// Returns a column as something to sort by: bytes, and not what a language makes of them.
fn ordered(alias: &str, column: &Column) -> String {
    let name = named(alias, column);
    match (column.is_collated, column.form) {
        (false, _) => name,
        (true, Form::Text) => format!("{name} COLLATE \"C\""),
        (true, _) => format!("{name}::text COLLATE \"C\""),
    }
}

pub(crate) fn named(alias: &str, column: &Column) -> String {
    format!("{alias}.{}", quoted(&column.name))
}
