//! Media types that are asked for and do not occur: a misspelt one exports less than was meant.

use std::collections::BTreeSet;

use rusqlite::Connection;

use super::open::{Sqlite, value};
use super::plan::quoted;
use super::row::Value;
use crate::error::Result;
use crate::export::refusal::shown;

/// So many different ones are looked at, and so many are named.
const LOOKED_AT: usize = 1_000;
const NAMED: usize = 20;

/// What is asked for and has not been met yet.
pub struct Media {
    table: String,
    column: String,
    missing: Vec<String>,
}

impl Media {
    pub fn new(table: &str, column: &str, mut asked: Vec<String>) -> Media {
        asked.sort();
        asked.dedup();
        Media { table: table.to_owned(), column: column.to_owned(), missing: asked }
    }

    /// Takes note of what an exported row has.
    pub fn meet(&mut self, value: Value<'_>) {
        if !self.missing.is_empty() {
            self.missing.retain(|asked| !is(value, asked));
        }
    }

    /// Returns what is to be said, if anything. Only what no exported row had is looked for in the whole table.
    pub fn warning(&self, connection: &Connection) -> Result<Option<String>> {
        let mut missing = self.missing.clone();
        if missing.is_empty() {
            return Ok(None);
        }
        let mut found = BTreeSet::new();
        let sql = format!("SELECT {} FROM {}", quoted(&self.column), quoted(&self.table));
        let mut statement = connection.prepare(&sql).sqlite()?;
        let mut rows = statement.raw_query();
        let mut last = String::new();
        while let Some(row) = rows.next().sqlite()? {
            let value = value(row.get_ref(0).sqlite()?);
            if value == Value::Null || is(value, &last) {
                continue;
            }
            let Some(text) = text(value) else { continue };
            missing.retain(|asked| *asked != text);
            if missing.is_empty() {
                return Ok(None);
            }
            if found.len() < LOOKED_AT {
                found.insert(text.clone());
            }
            last = text;
        }
        let list = |texts: &mut dyn Iterator<Item = &String>| {
            texts.take(NAMED).map(|text| format!("{:?}", shown(text))).collect::<Vec<_>>().join(", ")
        };
        let occur = match found.len() {
            0 => "none does".to_owned(),
            n if n > NAMED => format!("these do, among others: {}", list(&mut found.iter())),
            _ => format!("these do: {}", list(&mut found.iter())),
        };
        let named = list(&mut missing.iter());
        let verb = if missing.len() == 1 { "occurs" } else { "occur" };
        Ok(Some(format!("media_types: {named} {verb} nowhere in {}.{}; {occur}", self.table, self.column)))
    }
}

fn is(value: Value<'_>, text: &str) -> bool {
    match value {
        Value::Text(bytes) => bytes == text.as_bytes(),
        Value::Integer(number) => number.to_string() == text,
        _ => false,
    }
}

fn text(value: Value<'_>) -> Option<String> {
    match value {
        Value::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}
