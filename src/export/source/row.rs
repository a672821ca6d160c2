//! One row, and its line of JSON.
//!
//! ```text
//! {"IXNID":"00027aDEQEY00U32","status":3,"subject":"Re: ...","content":"aGVsbG8="}\n
//! ```
//!
//! Keys come in the order of the columns. One whose value is NULL, an empty text or an empty blob is left out.

use std::fmt;

use super::json;
use crate::error::Result;

/// Lines are passed on when they have this many bytes, also before their end.
pub const CHUNK: usize = 64 << 10;

/// What is too wide to be held as a whole.
pub trait Pieces {
    /// Calls `piece` with all of it, in pieces: of bytes, each but the last a multiple of 3; of text, UTF-8 that may be
    /// cut anywhere.
    fn each(&self, piece: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;
}

/// A text or a blob in pieces; never empty.
#[derive(Clone, Copy)]
pub struct Wide<'a> {
    pub(crate) is_text: bool,
    pub(crate) pieces: &'a dyn Pieces,
}

impl fmt::Debug for Wide<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wide").field("is_text", &self.is_text).finish_non_exhaustive()
    }
}

/// It is the same one.
impl PartialEq for Wide<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::addr_eq(self.pieces, other.pieces)
    }
}

/// A value of a column, as any engine can give it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    Null,
    Integer(i64),
    Real(f64),
    /// Meant to be UTF-8, but nothing makes sure of it.
    Text(&'a [u8]),
    Blob(&'a [u8]),
    Wide(Wide<'a>),
}

impl Value<'_> {
    fn is_empty(&self) -> bool {
        matches!(self, Value::Null | Value::Text(b"") | Value::Blob(b""))
    }
}

/// The keys of a file's rows.
#[derive(Debug, Clone)]
pub struct Columns {
    names: Vec<String>,
    /// As they are written: quoted, escaped, and with a colon.
    keys: Vec<Vec<u8>>,
}

impl Columns {
    pub(crate) fn new(names: Vec<String>) -> Columns {
        let key = |name: &String| {
            let mut key = Vec::with_capacity(name.len() + 3);
            json::append_text(&mut key, name.as_bytes());
            key.push(b':');
            key
        };
        let keys = names.iter().map(key).collect();
        Columns { names, keys }
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }
}

/// A row, borrowed for the time of one call.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    columns: &'a Columns,
    values: &'a [Value<'a>],
}

impl<'a> Row<'a> {
    /// `values` has one for each of the columns.
    pub fn new(columns: &'a Columns, values: &'a [Value<'a>]) -> Row<'a> {
        debug_assert_eq!(columns.names.len(), values.len());
        Row { columns, values }
    }

    pub fn columns(&self) -> &'a Columns {
        self.columns
    }

    pub fn values(&self) -> &'a [Value<'a>] {
        self.values
    }

    /// Appends the row as one line, its end included.
    pub fn append_json(&self, out: &mut Vec<u8>) -> Result<()> {
        self.write_json(out, &mut |_| Ok(()))
    }

    /// Does the same, and calls `full` whenever there are [`CHUNK`] bytes or more, for it to take them.
    pub fn write_json(
        &self,
        out: &mut Vec<u8>,
        full: &mut dyn FnMut(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        out.push(b'{');
        let mut is_first = true;
        for (key, value) in self.columns.keys.iter().zip(self.values) {
            if value.is_empty() {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            out.extend_from_slice(key);
            match *value {
                Value::Null => {}
                Value::Integer(number) => json::append_integer(out, number),
                Value::Real(number) => json::append_real(out, number),
                Value::Text(text) => json::append_text(out, text),
                Value::Blob(bytes) => json::append_base64(out, bytes),
                Value::Wide(wide) => wide.write_json(out, full)?,
            }
            if out.len() >= CHUNK {
                full(out)?;
            }
        }
        out.extend_from_slice(b"}\n");
        Ok(())
    }
}

impl Wide<'_> {
    fn write_json(&self, out: &mut Vec<u8>, full: &mut dyn FnMut(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        out.push(b'"');
        // The beginning of a character whose end is in the next piece.
        let mut open = Vec::new();
        self.pieces.each(&mut |piece| {
            if self.is_text {
                open.extend_from_slice(piece);
                let end = json::end_of_part(&open);
                json::append_text_part(out, &open[..end]);
                open.drain(..end);
            } else {
                json::append_base64_part(out, piece);
            }
            if out.len() >= CHUNK { full(out) } else { Ok(()) }
        })?;
        json::append_text_part(out, &open);
        out.push(b'"');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use base64_simd::STANDARD;
    use proptest::prelude::*;

    use super::*;

    fn line(names: &[&str], values: &[Value<'_>]) -> String {
        let columns = Columns::new(names.iter().map(|name| (*name).to_owned()).collect());
        let mut out = Vec::new();
        Row::new(&columns, values).append_json(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_row_is_one_line_without_empty_values() {
        use Value::{Blob, Integer, Null, Real, Text};
        let names = ["IXNID", "status", "a\"b", "text", "r", "content"];
        assert_eq!(
            line(
                &names,
                &[Text(b"0007"), Integer(-3), Text("ü\n".as_bytes()), Text(b""), Real(1.0), Blob(b"hell")]
            ),
            "{\"IXNID\":\"0007\",\"status\":-3,\"a\\\"b\":\"ü\\n\",\"r\":1.0,\"content\":\"aGVsbA==\"}\n"
        );
        assert_eq!(line(&names, &[Null, Null, Null, Text(b""), Null, Blob(b"")]), "{}\n");
        assert_eq!(line(&names, &[Null, Integer(0), Null, Null, Real(f64::INFINITY), Null]), {
            "{\"status\":0,\"r\":\"Infinity\"}\n"
        });
    }

    #[derive(Debug, Clone)]
    enum Owned {
        Null,
        Integer(i64),
        Real(f64),
        Text(Vec<u8>),
        Blob(Vec<u8>),
    }

    fn owned() -> impl Strategy<Value = Owned> {
        prop_oneof![
            Just(Owned::Null),
            any::<i64>().prop_map(Owned::Integer),
            proptest::num::f64::NORMAL.prop_map(Owned::Real),
            any::<String>().prop_map(|text| Owned::Text(text.into_bytes())),
            "[ -~\\x00-\\x1f\"\\\\ü€😀]{0,200}".prop_map(|text| Owned::Text(text.into_bytes())),
            proptest::collection::vec(any::<u8>(), 0..200).prop_map(Owned::Text),
            proptest::collection::vec(any::<u8>(), 0..200).prop_map(Owned::Blob),
        ]
    }

    proptest! {
        #[test]
        fn a_line_parses_back_to_its_row(row in proptest::collection::vec(owned(), 0..12)) {
            let names: Vec<String> = (0..row.len()).map(|i| format!("c{i}")).collect();
            let columns = Columns::new(names.clone());
            let values: Vec<Value<'_>> = row.iter().map(|value| match value {
                Owned::Null => Value::Null,
                Owned::Integer(n) => Value::Integer(*n),
                Owned::Real(n) => Value::Real(*n),
                Owned::Text(text) => Value::Text(text),
                Owned::Blob(bytes) => Value::Blob(bytes),
            }).collect();
            let mut out = Vec::new();
            Row::new(&columns, &values).append_json(&mut out).unwrap();
            prop_assert_eq!(out.iter().filter(|&&b| b == b'\n').count(), 1);
            let parsed: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&out).unwrap();
            let mut expected = serde_json::Map::new();
            for (name, value) in names.into_iter().zip(&row) {
                let value = match value {
                    Owned::Null => continue,
                    Owned::Integer(n) => (*n).into(),
                    // As far as serde_json is exact: it reads the last digit without float_roundtrip.
                    Owned::Real(n) => serde_json::from_str(&serde_json::to_string(n).unwrap()).unwrap(),
                    Owned::Text(text) if text.is_empty() => continue,
                    Owned::Text(text) => String::from_utf8_lossy(text).into(),
                    Owned::Blob(bytes) if bytes.is_empty() => continue,
                    Owned::Blob(bytes) => STANDARD.encode_to_string(bytes).into(),
                };
                expected.insert(name, value);
            }
            prop_assert_eq!(parsed, expected);
        }
    }
}
