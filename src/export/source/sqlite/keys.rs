//! Limits for the length of values by which rows are found. To follow an index, SQLite takes whole keys into memory,
//! however long they are.

use rusqlite::Connection;

use super::open::{SqliteResult, WIDE, WIDEST};
use super::plan::{Child, Parent, quoted};
use super::schema::{IndexPart, IndexSchema, TableSchema};
use crate::error::{Error, Kind, Result};
use crate::export::source::selection::Timeframe;

/// Bytes of a value in the key of an index, in the database's encoding.
const LONGEST: i32 = 64 << 10;

/// Refuses longer values in the indexes that an export follows. This takes a pass over each index, not over the tables.
pub(crate) fn check(
    connection: &Connection,
    parent: &Parent<'_>,
    child: Option<&Child<'_>>,
    timeframe: &Timeframe,
) -> Result<()> {
    let mut columns: Vec<&str> = parent.group.into_iter().chain(parent.date).collect();
    // Parents of children, and the rows that a mark names, are found by their ids.
    if child.is_some() || matches!(timeframe, Timeframe::Since(_)) {
        columns.push(parent.id);
    }
    check_led_by(connection, parent.table, &columns)?;
    child.map_or(Ok(()), |child| check_led_by(connection, child.table, &[child.parent]))
}

fn check_led_by(connection: &Connection, table: &TableSchema, columns: &[&str]) -> Result<()> {
    let is_led = |index: &&IndexSchema| columns.iter().any(|column| index.begins_with(column));
    for index in table.indexes().iter().filter(is_led) {
        let by_index = format!("{} INDEXED BY {}", quoted(&table.name), quoted(&index.name));
        // The index that makes up a table WITHOUT ROWID has all of its columns.
        let from = if index.is_table(table) { quoted(&table.name) } else { by_index };
        let names = |parts: &[IndexPart]| -> Vec<String> {
            parts.iter().filter_map(|part| part.column.clone()).collect()
        };
        let (key, rest) = index.parts.split_at(index.key().len());
        refuse_longer(connection, table, &from, &names(key), LONGEST)?;
        if index.is_table(table) {
            refuse_longer(connection, table, &from, &names(rest), WIDEST)?;
        }
    }
    Ok(())
}

/// Turns SQLite's refusal to read a value into an error that names the column, if it is one that rows are looked for
/// by.
pub(crate) fn named(
    error: Error,
    connection: &Connection,
    parent: &Parent<'_>,
    child: Option<&Child<'_>>,
) -> Error {
    if error.kind() != Kind::Unsupported {
        return error;
    }
    let own = [Some(parent.id), parent.group, parent.date, parent.media];
    let own: Vec<String> = own.into_iter().flatten().map(str::to_owned).collect();
    let look = |table: &TableSchema, columns: &[String]| {
        refuse_longer(connection, table, &quoted(&table.name), columns, WIDE)
    };
    let found = look(parent.table, &own)
        .and_then(|()| child.map_or(Ok(()), |child| look(child.table, &[child.parent.to_owned()])));
    found.err().unwrap_or(error)
}

fn refuse_longer(
    connection: &Connection,
    table: &TableSchema,
    from: &str,
    columns: &[String],
    most: i32,
) -> Result<()> {
    if columns.is_empty() {
        return Ok(());
    }
    let is_longer = |column: &String| format!("octet_length({}) > {most}", quoted(column));
    let longer: Vec<String> = columns.iter().map(is_longer).collect();
    // Columns are tried one by one only if one of them is to be named.
    let any = |condition: &str| {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {from} WHERE {condition})");
        connection.query_row(&sql, [], |row| row.get::<_, bool>(0)).sqlite()
    };
    if !any(&longer.join(" OR "))? {
        return Ok(());
    }
    for (column, condition) in columns.iter().zip(&longer) {
        if any(condition)? {
            let text = format!(
                "{}.{column} has a value of more than {} KiB, and rows are looked for by it; shorten it",
                table.name,
                most >> 10
            );
            return Err(Error::new(Kind::Unsupported, text));
        }
    }
    Ok(())
}
