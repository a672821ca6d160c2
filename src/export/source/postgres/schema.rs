//! What a database has: relations along the search_path, their columns, and the indexes that a walk can follow.

use tokio_postgres::Row;

use super::form::Form;
use super::open::Said;
use crate::error::{Error, Kind, Result};
use crate::postgresql::Client;

/// A table, partitioned or not, or a view, as it is in the database at hand.
#[derive(Debug)]
pub(crate) struct Table {
    /// With its schema, as SQL.
    pub(crate) sql: String,
    pub(crate) name: String,
    pub(crate) oid: u32,
    /// In the table's order.
    pub(crate) columns: Vec<Column>,
    /// Its rows have a place, `tableoid` and `ctid`, which is the same as long as the snapshot is there.
    pub(crate) has_places: bool,
    /// Its rows are in others.
    is_partitioned: bool,
    /// Nothing is known of what is behind it.
    is_view: bool,
    indexes: Vec<Index>,
}

#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) form: Form,
    /// As PostgreSQL calls it.
    pub(crate) declared: String,
    /// It has a collation that may be another than that of bytes.
    pub(crate) is_collated: bool,
    /// Its collation, as SQL.
    pub(crate) collation: Option<String>,
    /// Values may have more bytes than a row can hold of each.
    pub(crate) is_unbounded: bool,
}

/// A valid index over whole columns and all rows.
#[derive(Debug)]
struct Index {
    is_unique: bool,
    is_primary: bool,
    columns: Vec<String>,
}

/// The first of the search_path whose name matches, in any case; of two in one schema that which is spelled so.
const RELATION: &str = r#"
    SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text
    FROM unnest(current_schemas(false)) WITH ORDINALITY AS path (name, place)
    JOIN pg_catalog.pg_namespace n ON n.nspname = path.name
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
    WHERE lower(c.relname::text COLLATE "C") = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    ORDER BY path.place, c.relname::text COLLATE "C" = $1 DESC, c.relname::text COLLATE "C"
    LIMIT 1"#;

/// Domains are what they are made of.
const COLUMNS: &str = r#"
    SELECT a.attname::text, b.oid, pg_catalog.format_type(a.atttypid, a.atttypmod), b.typmod, b.typlen,
      a.attcollation <> 0 AND NOT coalesce(l.collprovider = 'c' AND l.collcollate IN ('C', 'POSIX'), false)
        AND NOT (l.collprovider = 'd' AND coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') = 'c'
                 AND d.datcollate IN ('C', 'POSIX', 'C.UTF-8', 'C.UTF8', 'C.utf8')),
      quote_ident(s.nspname) || '.' || quote_ident(l.collname)
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_database d ON d.datname = current_database()
    LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
    LEFT JOIN pg_catalog.pg_namespace s ON s.oid = l.collnamespace,
    LATERAL (
      WITH RECURSIVE base AS (
        SELECT t.oid, t.typtype, t.typbasetype, a.atttypmod AS typmod, t.typtypmod, t.typlen
        FROM pg_catalog.pg_type t WHERE t.oid = a.atttypid
        UNION ALL
        SELECT t.oid, t.typtype, t.typbasetype, base.typtypmod, t.typtypmod, t.typlen
        FROM base JOIN pg_catalog.pg_type t ON t.oid = base.typbasetype WHERE base.typtype = 'd'
      )
      SELECT oid, typmod, typlen FROM base WHERE typtype <> 'd'
    ) AS b
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum"#;

const INDEXES: &str = r#"
    SELECT i.indisunique, i.indisprimary, ARRAY(
      SELECT a.attname::text
      FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS key (number, place)
      JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = key.number
      WHERE key.place <= i.indnkeyatts ORDER BY key.place)
    FROM pg_catalog.pg_index i
    WHERE i.indrelid = $1 AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
    ORDER BY i.indexrelid"#;

impl Table {
    /// Returns the relation of that name, in any case, if there is one.
    pub(crate) fn load(client: &mut Client, name: &str) -> Result<Option<Table>> {
        let found = client.query(RELATION, &[&name]).said()?;
        let Some(row) = found.first() else { return Ok(None) };
        let (oid, schema, name, kind): (u32, String, String, String) =
            (get(row, 0)?, get(row, 1)?, get(row, 2)?, get(row, 3)?);
        let columns = client.query(COLUMNS, &[&oid]).said()?;
        let columns: Vec<Column> = columns.iter().map(column).collect::<Result<_>>()?;
        refuse_twins(&name, &columns)?;
        let indexes = client.query(INDEXES, &[&oid]).said()?;
        let index = |row: &Row| {
            Ok(Index { is_unique: get(row, 0)?, is_primary: get(row, 1)?, columns: get(row, 2)? })
        };
        Ok(Some(Table {
            sql: format!("{}.{}", quoted(&schema), quoted(&name)),
            name,
            oid,
            columns,
            has_places: matches!(kind.as_str(), "r" | "p" | "m"),
            is_partitioned: kind == "p",
            is_view: matches!(kind.as_str(), "v" | "f"),
            indexes: indexes.iter().map(index).collect::<Result<_>>()?,
        }))
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.name.clone()).collect()
    }

    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// Returns the columns of the primary key; none if there is none.
    pub(crate) fn primary(&self) -> Vec<&Column> {
        let primary = self.indexes.iter().find(|index| index.is_primary);
        let names = primary.map(|index| index.columns.as_slice()).unwrap_or_default();
        names.iter().filter_map(|name| self.columns.iter().find(|column| column.name == *name)).collect()
    }

    /// Returns true if no two rows have the same value there, as far as can be known: nothing is of a view, and the key of
    /// a partitioned table has to have other columns, too.
    pub(crate) fn is_key(&self, column: &str) -> bool {
        let is_key = |index: &Index| {
            let is_own = index.columns == [column];
            let is_part = self.is_partitioned && index.columns.iter().any(|name| name == column);
            index.is_unique && (is_own || is_part)
        };
        self.is_view || self.indexes.iter().any(is_key)
    }

    /// Returns true if an index leads to the rows that have a value there.
    pub(crate) fn is_led_by(&self, column: &str) -> bool {
        self.indexes.iter().any(|index| index.columns.first().is_some_and(|name| name == column))
    }
}

fn column(row: &Row) -> Result<Column> {
    let (oid, modifier, length): (u32, i32, i16) = (get(row, 1)?, get(row, 3)?, get(row, 4)?);
    let form = Form::of(oid);
    Ok(Column {
        name: get(row, 0)?,
        declared: get(row, 2)?,
        is_collated: get(row, 5)?,
        collation: get(row, 6)?,
        is_unbounded: length < 0 && !form.is_short(modifier),
        form,
    })
}

/// Both would have one key in the export.
fn refuse_twins(table: &str, columns: &[Column]) -> Result<()> {
    let mut names: Vec<String> = columns.iter().map(|column| column.name.to_ascii_lowercase()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair.first() == pair.last()) {
        Some(pair) => {
            let name = pair.first().map(String::as_str).unwrap_or_default();
            let text = format!("the table {table} has two columns whose names differ in case only: {name}");
            Err(Error::new(Kind::Invalid, text))
        }
        None => Ok(()),
    }
}

/// Returns a value of the database's own tables.
pub(crate) fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, column: usize) -> Result<T> {
    row.try_get(column).map_err(|_| Error::damaged("the server gives values of other types than asked for"))
}

/// Returns a name as SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
