//! JSON objects read strictly: keys in their order, none twice.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::spec::Refusal;

/// Keys and values in the order in which they were written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Object(pub Vec<(String, Value)>);

impl Object {
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(own, _)| own == key).map(|(_, value)| value)
    }

    /// Returns the entries of these keys, in the order of the keys.
    pub fn picked(&self, keys: &[&str]) -> Object {
        let entry = |key: &&str| Some((key.to_string(), self.get(key)?.clone()));
        Object(keys.iter().filter_map(entry).collect())
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Object(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// Reads text that is one JSON object.
pub fn parse_object(text: &[u8]) -> Result<Object, Refusal> {
    const RIGHT: &str = "one JSON object, such as {\"title\": \"Chats\", \"type\": \"Interaction\"}";
    // What editors of another system put first.
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    let object: Object = serde_json::from_slice(text).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        let mut refusal = match error.classify() {
            serde_json::error::Category::Data => {
                Refusal::new("", "this is JSON, but no object", format!("give {RIGHT}"))
            }
            serde_json::error::Category::Eof if text.trim_ascii().is_empty() => {
                Refusal::new("", "there is no spec", format!("write {RIGHT}"))
            }
            serde_json::error::Category::Eof => {
                Refusal::new("", format!("the JSON breaks off at {place}"), format!("write {RIGHT}"))
            }
            _ => Refusal::new("", format!("this is no JSON, from {place} on"), format!("write {RIGHT}")),
        };
        refusal.incomplete = error.is_eof();
        refusal
    })?;
    for (i, (key, _)) in object.0.iter().enumerate() {
        if object.0[..i].iter().any(|(earlier, _)| earlier == key) {
            return Err(Refusal::new(&shown(key), "is given twice", "give it once"));
        }
    }
    Ok(object)
}

/// Returns a text as it may be shown: short, and without control characters.
pub fn shown(text: &str) -> String {
    const MAX: usize = 60;
    let mut short: String = text.chars().take(MAX).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().count() > MAX {
        short.push_str("...");
    }
    short
}

/// Describes a value for a refusal.
pub fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) | Value::Number(_) => shown(&value.to_string()),
        Value::String(text) => format!("\"{}\"", shown(text)),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}

/// Levenshtein distance of two short texts, without regard to case.
pub fn distance(a: &str, b: &str) -> usize {
    const MAX: usize = 64;
    let a: Vec<char> = a.chars().take(MAX).flat_map(char::to_lowercase).collect();
    let b: Vec<char> = b.chars().take(MAX).flat_map(char::to_lowercase).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, right) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("titel", "title"), 2);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("Type", "type"), 0);
    }

    #[test]
    fn order_is_kept() {
        let object = parse_object(br#"{"b":1,"a":{"z":1,"y":2}}"#).unwrap();
        assert_eq!(object.picked(&["a", "b", "c"]).to_string(), r#"{"a":{"z":1,"y":2},"b":1}"#);
    }
}
