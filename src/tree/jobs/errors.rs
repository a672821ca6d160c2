//! `jobs/errors`: the last specs that were refused, for people.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::SystemTime;

use crate::format::printable::printable;
use crate::format::text::timestamp;
use crate::store::catalogue::RefusedSpec;

const NONE: &str = "No spec has been refused.\n";

/// The text of `jobs/errors`.
pub(crate) struct Errors {
    pub(crate) text: Vec<u8>,
    /// Of the latest refusal.
    pub(crate) latest: Option<SystemTime>,
}

/// Refusals that are kept in memory, at most.
const MAX_UNKEPT: usize = 20;
/// Bytes of their specs, at most.
const MAX_UNKEPT_BYTES: usize = 4 << 20;

/// The latest refusals that the catalogue has not taken.
#[derive(Default)]
pub(crate) struct Unkept(VecDeque<RefusedSpec>);

impl Unkept {
    pub(crate) fn add(&mut self, refused: RefusedSpec) {
        self.0.push_front(refused);
        let bytes =
            |specs: &VecDeque<RefusedSpec>| specs.iter().map(|refused| refused.spec.len()).sum::<usize>();
        while self.0.len() > MAX_UNKEPT || bytes(&self.0) > MAX_UNKEPT_BYTES {
            self.0.pop_back();
        }
    }

    pub(crate) fn earliest(&self) -> Option<&RefusedSpec> {
        self.0.back()
    }

    /// Removes the earliest, which has been written down after all.
    pub(crate) fn forget_earliest(&mut self) {
        self.0.pop_back();
    }

    /// Returns them, the latest first.
    pub(crate) fn latest(&self) -> Vec<RefusedSpec> {
        self.0.iter().cloned().collect()
    }
}

/// Returns both together, the latest first.
pub(crate) fn merge(unkept: Vec<RefusedSpec>, kept: Vec<RefusedSpec>) -> Vec<RefusedSpec> {
    let mut all = [unkept, kept].concat();
    all.sort_by_key(|refused| std::cmp::Reverse(refused.at));
    all
}

/// Renders refusals, the latest first.
pub(crate) fn render(refusals: &[RefusedSpec]) -> Errors {
    let mut text = String::new();
    for refused in refusals {
        if !text.is_empty() {
            text.push('\n');
        }
        let field = if refused.field.is_empty() { "(the whole)" } else { &refused.field };
        let RefusedSpec { target, wrong, remedy, .. } = refused;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}  {}\n  field: {}\n  wrong: {}\n  right: {}\n  spec as it was received, {} bytes:",
            timestamp(refused.at),
            harmless(target),
            harmless(field),
            harmless(wrong),
            harmless(remedy),
            refused.spec.len()
        );
        let spec = String::from_utf8_lossy(&refused.spec);
        for line in spec.lines() {
            let _ = writeln!(text, "    {}", harmless(line));
        }
    }
    if text.is_empty() {
        text.push_str(NONE);
    }
    Errors { text: text.into_bytes(), latest: refusals.first().map(|refused| refused.at) }
}

/// Escapes what a terminal would obey, but keeps tabs.
fn harmless(text: &str) -> String {
    text.split('\t').map(printable).collect::<Vec<_>>().join("\t")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn nothing_is_said_in_one_line() {
        assert_eq!(render(&[]).text, NONE.as_bytes());
    }

    #[test]
    fn all_five_pieces_are_there_and_no_control_character() {
        let refused = RefusedSpec {
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            target: "jobs/a.json".into(),
            field: "title".into(),
            wrong: "is missing".into(),
            remedy: "give a text".into(),
            spec: b"{\n\t\"x\": \"\x1b[2J\"\r\n}\xff".to_vec(),
        };
        let shown = String::from_utf8(render(&[refused.clone(), refused]).text).unwrap();
        let one = "2023-11-14T22:13:20Z  jobs/a.json\n  field: title\n  wrong: is missing\n  right: give a text\n  \
                   spec as it was received, 18 bytes:\n    {\n    \t\"x\": \"\\u{1b}[2J\"\n    }\u{fffd}\n";
        assert_eq!(shown, format!("{one}\n{one}"));
    }
}
