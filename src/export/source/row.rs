//! One row, and its line of JSON.
//!
//! ```text
//! {"IXNID":"00027aDEQEY00U32","status":3,"subject":"Re: ...","content":"aGVsbG8="}\n
//! ```
//!
//! Keys come in the order of the columns. One whose value is NULL, an empty text or an empty blob is left out.

use super::json;

/// A value as SQLite stores it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    Null,
    Integer(i64),
    Real(f64),
    /// Meant to be UTF-8, but nothing makes sure of it.
    Text(&'a [u8]),
    Blob(&'a [u8]),
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
    pub fn new(names: Vec<String>) -> Columns {
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
    pub fn append_json(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        let start = out.len();
        for (key, value) in self.columns.keys.iter().zip(self.values) {
            if value.is_empty() {
                continue;
            }
            if out.len() > start {
                out.push(b',');
            }
            out.extend_from_slice(key);
            match *value {
                Value::Null => {}
                Value::Integer(number) => json::append_integer(out, number),
                Value::Real(number) => json::append_real(out, number),
                Value::Text(text) => json::append_text(out, text),
                Value::Blob(bytes) => json::append_base64(out, bytes),
            }
        }
        out.extend_from_slice(b"}\n");
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
        Row::new(&columns, values).append_json(&mut out);
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
            Row::new(&columns, &values).append_json(&mut out);
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
