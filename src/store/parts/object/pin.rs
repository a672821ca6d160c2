//! Which version of an object is meant, and whether an answer is of it.

use std::sync::atomic::{AtomicBool, Ordering};

use object_store::ObjectMeta;

use crate::error::{Error, Kind, Result};
use crate::store::parts::{PartRef, Version};

/// What the text begins with that is the version of a part. The version that a catalogue has recorded is a hash, and no such text.
const PREFIX: &str = "object ";

/// What is known of a version of an object. What is not known is learnt from the first answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pin {
    pub(crate) size: u64,
    /// Without its quotation marks.
    e_tag: Option<String>,
    /// Seconds since 1970, where there is no ETag.
    modified: Option<i64>,
    /// The server writes ETags as it has to, and so understands them.
    is_comparable: bool,
}

impl Pin {
    /// Returns the version that a part had when it was looked at. A server that is not known `is_standard` shows with its first
    /// answer.
    pub(crate) fn of(part: &PartRef, is_standard: bool) -> Pin {
        let text = std::str::from_utf8(part.version.bytes()).ok();
        let known = text.and_then(|text| Pin::parse(text, part.size));
        let unknown = Pin { size: part.size, e_tag: None, modified: None, is_comparable: false };
        Pin { is_comparable: is_standard, ..known.unwrap_or(unknown) }
    }

    pub(crate) fn of_meta(meta: &ObjectMeta) -> Pin {
        let given = meta.e_tag.as_deref();
        let e_tag = given.map(bare).filter(|tag| !tag.is_empty());
        let modified = e_tag.is_none().then(|| meta.last_modified.timestamp());
        let is_comparable = given.is_some_and(|tag| tag.starts_with('"'));
        Pin { size: meta.size, e_tag: e_tag.map(str::to_owned), modified, is_comparable }
    }

    pub(crate) fn to_version(&self) -> Version {
        let text = match (&self.e_tag, self.modified) {
            (Some(tag), _) => format!("{PREFIX}tag {tag}"),
            (None, modified) => format!("{PREFIX}time {}", modified.unwrap_or_default()),
        };
        Version::new(format!("{text} {}", self.size).as_bytes())
    }

    fn parse(text: &str, size: u64) -> Option<Pin> {
        let text = text.strip_prefix(PREFIX)?.strip_suffix(&format!(" {size}"))?;
        let (e_tag, modified) = match text.split_once(' ')? {
            ("tag", tag) => (Some(tag.to_owned()), None),
            ("time", time) => (None, Some(time.parse().ok()?)),
            _ => return None,
        };
        Some(Pin { size, e_tag, modified, is_comparable: false })
    }

    /// Returns what the server is to compare, where that can be said: a weak ETag never matches.
    pub(crate) fn if_match(&self) -> Option<String> {
        let tag = self.e_tag.as_deref().filter(|tag| self.is_comparable && !tag.starts_with("W/"))?;
        Some(format!("\"{tag}\""))
    }

    /// Fails with [`Kind::Stale`] unless an answer is of this version. Not every server compares what it is asked to.
    pub(crate) fn check(&mut self, answer: &ObjectMeta) -> Result<()> {
        let other = Pin::of_meta(answer);
        let is_same = match (&self.e_tag, &other.e_tag) {
            (Some(tag), other) => other.as_ref() == Some(tag),
            (None, _) => self.modified.is_none_or(|time| time == answer.last_modified.timestamp()),
        };
        if !is_same || self.size != other.size {
            return Err(Error::new(Kind::Stale, "it has been replaced since it was looked at"));
        }
        *self = other;
        Ok(())
    }
}

/// Says once that versions cannot be told apart for certain.
pub(crate) fn tell_without_tag(pin: &Pin, place: &str, is_said: &AtomicBool) {
    if pin.e_tag.is_none() && !is_said.swap(true, Ordering::Relaxed) {
        log::warn!(
            "{place}: the server gives no ETags: parts are told apart by their length and time, to the second"
        );
    }
}

/// Takes off the quotation marks: lists often have none.
fn bare(tag: &str) -> &str {
    tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::parts::Key;
    use std::time::{Duration, SystemTime};

    fn meta(e_tag: Option<&str>, seconds: u64, size: u64) -> ObjectMeta {
        ObjectMeta {
            location: "x".into(),
            last_modified: (SystemTime::UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 300)).into(),
            size,
            e_tag: e_tag.map(str::to_owned),
            version: None,
        }
    }

    fn part(version: Version, size: u64) -> PartRef {
        let (key, mtime) = (Key::new("x").unwrap(), SystemTime::UNIX_EPOCH);
        PartRef { key, name: "x".into(), size, version, mtime }
    }

    #[test]
    fn a_version_says_which_answers_are_of_it() {
        let same = |pinned: &ObjectMeta, answer: &ObjectMeta| {
            Pin::of(&part(Pin::of_meta(pinned).to_version(), pinned.size), true).check(answer).is_ok()
        };
        let a = meta(Some("\"a b\""), 1, 5);
        assert!(
            same(&a, &a)
                && same(&a, &meta(Some("a b"), 2, 5))
                && same(&meta(Some("W/\"a\""), 1, 5), &meta(Some("W/\"a\""), 1, 5))
        );
        for other in [meta(Some("\"b\""), 1, 5), meta(Some("\"a b\""), 1, 6), meta(None, 1, 5)] {
            assert!(!same(&a, &other), "{other:?}");
        }
        let without = meta(None, 7, 5);
        assert!(same(&without, &without) && same(&without, &meta(Some("\"a\""), 7, 5)));
        assert!(!same(&without, &meta(None, 8, 5)) && !same(&without, &meta(None, 7, 6)));
    }

    #[test]
    fn what_is_not_known_is_learnt_from_the_first_answer() {
        let mut pin = Pin::of(&part(Version::new(&[9; 32]), 5), true);
        assert_eq!(pin.if_match(), None);
        assert!(pin.check(&meta(Some("\"a\""), 1, 6)).is_err());
        assert!(pin.check(&meta(Some("\"a\""), 1, 5)).is_ok());
        assert_eq!(pin.if_match(), Some("\"a\"".into()));
        assert!(pin.check(&meta(Some("\"b\""), 1, 5)).is_err());
        // One server gives ETags without quotation marks, and then takes none to be the right one.
        let mut pin = Pin::of(&part(Pin::of_meta(&meta(Some("a"), 1, 5)).to_version(), 5), false);
        assert!(
            pin.if_match().is_none() && pin.check(&meta(Some("a"), 1, 5)).is_ok() && pin.if_match().is_none()
        );
        assert!(pin.check(&meta(Some("\"a\""), 1, 5)).is_ok() && pin.if_match().is_some());
        assert_eq!(Pin::of_meta(&meta(Some("W/\"a\""), 1, 5)).if_match(), None);
    }
}
