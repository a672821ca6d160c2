//! Warns of media types that are asked for and do not occur: a misspelt one would export less than was meant.

use std::collections::BTreeSet;

use crate::export::refusal::shown;
use crate::export::source::row::Value;

/// A longer value is not looked at: nobody asks for such a media type.
pub(crate) const MAX_BYTES: usize = 4 << 10;
/// Different media types that are collected, and those that are named, at most.
const LOOKED_AT: usize = 1_000;
const NAMED: usize = 20;

/// The media types that are asked for and have not been met yet.
pub struct Media {
    table: String,
    column: String,
    missing: Vec<String>,
}

impl Media {
    /// `table` and `column` are spelled as in the source.
    pub fn new(table: &str, column: &str, mut asked: Vec<String>) -> Media {
        asked.sort();
        asked.dedup();
        Media { table: table.to_owned(), column: column.to_owned(), missing: asked }
    }

    /// Notes the media type of an exported row.
    pub fn meet(&mut self, value: Value<'_>) {
        if !self.missing.is_empty() {
            self.missing.retain(|asked| !is(value, asked));
        }
    }

    /// Returns a survey of the whole table for the media types that no exported row had; `None` if there are none.
    pub fn survey(&self) -> Option<Survey<'_>> {
        let missing: Vec<&str> =
            self.missing.iter().map(String::as_str).filter(|asked| asked.len() <= MAX_BYTES).collect();
        (!missing.is_empty()).then_some(Survey {
            media: self,
            missing,
            found: BTreeSet::new(),
            last: Vec::new(),
        })
    }
}

/// A look at all media types of a table.
pub struct Survey<'a> {
    media: &'a Media,
    missing: Vec<&'a str>,
    /// Shortened as they are shown, so that memory does not grow with their length.
    found: BTreeSet<String>,
    /// The last value: many rows in a row have the same.
    last: Vec<u8>,
}

impl Survey<'_> {
    /// Takes a value; returns true if there is nothing left to look for. A value of more than [`MAX_BYTES`] may be left
    /// out.
    pub fn look(&mut self, value: Value<'_>) -> bool {
        let number;
        let text = match value {
            Value::Text(bytes) if bytes.len() <= MAX_BYTES => bytes,
            Value::Integer(integer) => {
                number = integer.to_string();
                number.as_bytes()
            }
            _ => return false,
        };
        if text == self.last {
            return false;
        }
        text.clone_into(&mut self.last);
        self.missing.retain(|asked| asked.as_bytes() != text);
        if self.found.len() < LOOKED_AT {
            self.found.insert(shown(&String::from_utf8_lossy(text)));
        }
        self.missing.is_empty()
    }

    /// Returns the warning, when all values have been looked at.
    pub fn warning(self) -> String {
        let list =
            |texts: &[&str]| texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", ");
        let named: Vec<&str> = self.found.iter().take(NAMED).map(String::as_str).collect();
        let occur = match self.found.len() {
            0 => "none does".to_owned(),
            n if n > NAMED => format!("these do, among others: {}", list(&named)),
            _ => format!("these do: {}", list(&named)),
        };
        let missing: Vec<String> = self.missing.iter().take(NAMED).map(|text| shown(text)).collect();
        let missing = list(&missing.iter().map(String::as_str).collect::<Vec<_>>());
        let verb = if self.missing.len() == 1 { "occurs" } else { "occur" };
        let Media { table, column, .. } = self.media;
        format!("media_types: {missing} {verb} nowhere in {table}.{column}; {occur}")
    }
}

/// Returns true if a value is this media type: exactly, or as a number that is spelled so.
pub fn is(value: Value<'_>, text: &str) -> bool {
    match value {
        Value::Text(bytes) => bytes == text.as_bytes(),
        Value::Integer(number) => number.to_string() == text,
        _ => false,
    }
}
