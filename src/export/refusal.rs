//! Why a spec is refused, and how its values are shown in that.

use std::fmt;

use serde_json::Value;

/// Why a spec is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The key that is wrong; empty if it is the spec as a whole.
    pub(crate) field: String,
    pub(crate) wrong: String,
    pub(crate) right: String,
    /// True if the spec breaks off, so that more text could make it valid.
    pub(crate) incomplete: bool,
}

impl Refusal {
    pub(crate) fn new(field: &str, wrong: impl Into<String>, right: impl Into<String>) -> Refusal {
        Refusal { field: field.into(), wrong: wrong.into(), right: right.into(), incomplete: false }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "{}; {}", self.wrong, self.right)
    }
}

/// Returns a text as it may be shown: short, and without control characters.
pub(crate) fn shown(text: &str) -> String {
    const MAX: usize = 60;
    let mut short: String = text.chars().take(MAX).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().count() > MAX {
        short.push_str("...");
    }
    short
}

/// Describes a value for a refusal.
pub(crate) fn shown_value(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) | Value::Number(_) => shown(&value.to_string()),
        Value::String(text) => format!("\"{}\"", shown(text)),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}

/// Levenshtein distance of two short texts, without regard to case.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    const MAX: usize = 64;
    let short = |text: &str| text.chars().take(MAX).flat_map(char::to_lowercase).collect::<String>();
    strsim::levenshtein(&short(a), &short(b))
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
}
