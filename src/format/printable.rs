//! Texts from outside as they may be shown to people: nothing in them steers a terminal, begins a line of its own or
//! reverses the order in which it is read.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Returns true for what is not shown as it is.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Line and paragraph separators; what embeds, overrides and isolates directions; marks of direction.
            '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}'
            // What is invisible.
            | '\u{feff}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{ad}' | '\u{115f}' | '\u{1160}' | '\u{3164}'
            | '\u{ffa0}' | '\u{180b}'..='\u{180f}' | '\u{e0000}'..='\u{e01ef}')
}

/// Returns a text with everything harmful as an escape, as Rust writes it.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_harmful, |out, c| out.extend(c.escape_default()))
}

/// The same for a text that is JSON, which stays what it is.
pub(crate) fn printable_json(text: &str) -> Cow<'_, str> {
    // Line ends and tabs stand only between values.
    let is_harmful = |c| !matches!(c, '\n' | '\r' | '\t') && is_harmful(c);
    escaped(text, is_harmful, |out, c| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    })
}

fn escaped(
    text: &str,
    is_harmful: impl Fn(char) -> bool,
    escape: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    if !text.contains(&is_harmful) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_harmful(c) { escape(&mut out, c) } else { out.push(c) }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_a_terminal_or_forges_a_line() {
        let text =
            "a\x1b[2J\x07\nwarn: b\r\t\u{9b}31m \u{202e}gpj\u{2066}\u{2028}\u{7f}\u{e0041} \u{feff}日本 é\\n";
        let shown = printable(text);
        assert_eq!(
            shown,
            r"a\u{1b}[2J\u{7}\nwarn: b\r\t\u{9b}31m \u{202e}gpj\u{2066}\u{2028}\u{7f}\u{e0041} \u{feff}日本 é\n"
        );
        assert!(matches!(printable("plain"), Cow::Borrowed("plain")));
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({ "title": "a\x1b\u{9b}\u{202e}\u{e0041}\n日本" });
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let shown = printable_json(&text);
            assert!(!shown.contains(['\u{9b}', '\u{202e}', '\u{e0041}', '\x1b']), "{shown}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }
    }
}
