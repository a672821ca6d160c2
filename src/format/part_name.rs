//! File names of stored parts: which set and which part of it they mean.
//!
//! ```text
//! export-<uuid>.z01.smime        part 1 of a split set; .z99 is followed by .z100
//! export-<uuid>.zip.smime        its last part, or a set of one part
//! export-<uuid>.zip.001.smime    part 1 of a set that was cut after it was zipped (7-Zip)
//! export-<uuid> (1).z01.smime    a second download of part 1, as browsers and wget name it;
//! export-<uuid>.z01 (1).smime    so does a number before or after .smime
//! ```

use std::fmt;

use super::member_name;

/// The place of a part in its set; the order is that of the zip's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ordinal {
    /// `.zNN`, counted from 1.
    Split(u32),
    /// `.zip.NNN`, counted from 1.
    Cut(u32),
    /// `.zip`
    Last,
}

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ordinal::Split(n) => write!(f, ".z{n:02}"),
            Ordinal::Cut(n) => write!(f, ".zip.{n:03}"),
            Ordinal::Last => f.write_str(".zip"),
        }
    }
}

/// A file name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartName<'a> {
    /// Common to all parts of a set.
    pub stem: &'a str,
    pub ordinal: Ordinal,
    /// True for the name that a browser gives to a second download of the same part.
    pub is_copy: bool,
}

/// Returns the file name of a stored part.
pub(crate) fn file_name(stem: &str, ordinal: Ordinal) -> String {
    format!("{stem}{ordinal}.smime")
}

/// Takes a file name apart; `None` for a file that is no part of any set.
pub fn parse(file_name: &str) -> Option<PartName<'_>> {
    let (name, copy_behind) = strip_number(file_name);
    let name = strip_suffix(name, ".smime")?;
    let (name, copy_between) = strip_copy_mark(name);
    let (stem, ordinal) = split_ordinal(name)?;
    let (stem, copy_before) = strip_copy_mark(stem);
    let is_copy = copy_behind || copy_between || copy_before;
    (!stem.is_empty()).then_some(PartName { stem, ordinal, is_copy })
}

/// Returns true for a file that looks encrypted, whether its name says which part it is or not.
pub(crate) fn is_encrypted(file_name: &str) -> bool {
    strip_suffix(file_name, ".smime").is_some_and(|stem| !stem.is_empty())
}

/// Suffixes of downloads that are under way: Firefox, Chromium, Safari.
const UNFINISHED: [&str; 3] = [".part", ".crdownload", ".download"];

/// A part that is being downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnfinishedPart {
    pub(crate) stem: String,
    pub(crate) ordinal: Ordinal,
}

/// Returns the parts that an unfinished download of this name may become. Firefox inserts a random word before the last
/// extension or before the one in front of that.
pub(crate) fn unfinished(file_name: &str) -> impl Iterator<Item = UnfinishedPart> + use<> {
    let name = UNFINISHED.iter().find_map(|suffix| strip_suffix(file_name, suffix)).unwrap_or_default();
    let mut names = vec![name.to_string()];
    let dots: Vec<usize> = name.match_indices('.').map(|(at, _)| at).collect();
    // Extensions are at the end: of a name full of dots the last few are enough.
    for pair in dots.windows(2).rev().take(4) {
        names.push(format!("{}{}", &name[..pair[0]], &name[pair[1]..]));
    }
    names.into_iter().filter_map(|name| {
        parse(&name).map(|part| UnfinishedPart { stem: part.stem.to_string(), ordinal: part.ordinal })
    })
}

/// Returns true for the names of parts, of other encrypted files, and of unfinished downloads.
pub(crate) fn concerns_a_set(file_name: &str) -> bool {
    parse(file_name).is_some() || is_encrypted(file_name) || is_unfinished(file_name)
}

/// Returns true for the name of an unfinished download.
pub(crate) fn is_unfinished(file_name: &str) -> bool {
    UNFINISHED.iter().any(|suffix| strip_suffix(file_name, suffix).is_some())
}

/// Longest name of a file (NAME_MAX), less what is appended to a stem in the mount: `.zip.incomplete`.
const MAX_STEM: usize = 255 - 15;

/// Returns a stem as names in the mount can have it: nothing leads out of the tree, and nothing vanishes. It is written
/// as names inside zips are ([`member_name`]).
pub(crate) fn shown(stem: &str) -> String {
    match stem {
        // Inside zips a component `.` is dropped: it has no meaning there.
        "." => "%2E".into(),
        _ => member_name::component(stem, MAX_STEM),
    }
}

/// Returns another stem for a set whose shown stem is already taken.
pub(crate) fn numbered(shown: &str, nth: usize) -> String {
    let keep = shown.floor_char_boundary(MAX_STEM - 20);
    member_name::numbered(&shown[..keep.min(shown.len())], nth)
}

fn strip_suffix<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let at = name.len().checked_sub(suffix.len())?;
    (name.is_char_boundary(at) && name[at..].eq_ignore_ascii_case(suffix)).then(|| &name[..at])
}

/// Strips what is appended to a name that is already taken: `.1` by wget, ` (1)` or `(1)` by browsers.
fn strip_number(name: &str) -> (&str, bool) {
    if let (stripped, true) = strip_copy_mark(name) {
        return (stripped, true);
    }
    match name.rsplit_once('.') {
        Some((before, digits)) if strip_suffix(before, ".smime").is_some() && number(digits).is_some() => {
            (before, true)
        }
        _ => (name, false),
    }
}

fn strip_copy_mark(name: &str) -> (&str, bool) {
    let stripped =
        name.strip_suffix(')').and_then(|n| n.rsplit_once('(')).filter(|(_, n)| number(n).is_some());
    match stripped {
        Some((before, _)) => (before.strip_suffix(' ').unwrap_or(before), true),
        None => (name, false),
    }
}

fn split_ordinal(name: &str) -> Option<(&str, Ordinal)> {
    if let Some(stem) = strip_suffix(name, ".zip") {
        return Some((stem, Ordinal::Last));
    }
    let (before, extension) = name.rsplit_once('.')?;
    if let Some(n) = extension.strip_prefix(['z', 'Z']).filter(|d| d.len() >= 2).and_then(number) {
        return (n > 0).then_some((before, Ordinal::Split(n)));
    }
    let n = number(extension).filter(|&n| n > 0 && extension.len() >= 3)?;
    Some((strip_suffix(before, ".zip")?, Ordinal::Cut(n)))
}

fn number(digits: &str) -> Option<u32> {
    if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let table = [
            ("export-1.z01.smime", Some(("export-1", Ordinal::Split(1), false))),
            ("export-1.z100.smime", Some(("export-1", Ordinal::Split(100), false))),
            ("export-1.z010.smime", Some(("export-1", Ordinal::Split(10), false))),
            ("EXPORT-1.Z02.SMIME", Some(("EXPORT-1", Ordinal::Split(2), false))),
            ("export-1.zip.smime", Some(("export-1", Ordinal::Last, false))),
            ("export-1.zip.003.smime", Some(("export-1", Ordinal::Cut(3), false))),
            ("export-1 (1).z01.smime", Some(("export-1", Ordinal::Split(1), true))),
            ("export-1.z01 (2).smime", Some(("export-1", Ordinal::Split(1), true))),
            ("export-1.z01(2).smime", Some(("export-1", Ordinal::Split(1), true))),
            ("export-1.zip.smime (3)", Some(("export-1", Ordinal::Last, true))),
            ("export-1.zip.smime.1", Some(("export-1", Ordinal::Last, true))),
            ("export-1.z01.smime.part", None),
            ("export-1.z01.smime.crdownload", None),
            ("export-1.z1.smime", None),
            ("export-1.z00.smime", None),
            ("export-1.zip", None),
            (".zip.smime", None),
            ("notes.smime", None),
            ("ü.z99999999999.smime", None),
        ];
        for (name, expected) in table {
            let parsed = parse(name).map(|p| (p.stem, p.ordinal, p.is_copy));
            assert_eq!(parsed, expected, "{name}");
        }
        assert!(is_encrypted("notes.smime") && !is_encrypted(".smime") && !is_encrypted("x.zip"));
    }

    #[test]
    fn unfinished_downloads_are_told_by_their_names() {
        let table = [
            ("e.z01.smime.part", vec![("e", Ordinal::Split(1))]),
            ("e.zip.smime.crdownload", vec![("e", Ordinal::Last)]),
            ("e.z02.Xk3fQz.smime.part", vec![("e", Ordinal::Split(2))]),
            ("e.Ab12cD.zip.smime.part", vec![("e.Ab12cD", Ordinal::Last), ("e", Ordinal::Last)]),
            ("e.zip.smime.DOWNLOAD", vec![("e", Ordinal::Last)]),
            ("e.zip.smime", vec![]),
            ("holiday.part", vec![]),
            (".part", vec![]),
        ];
        for (name, expected) in table {
            let found: Vec<_> = unfinished(name).map(|part| (part.stem, part.ordinal)).collect();
            let found: Vec<_> = found.iter().map(|(stem, ordinal)| (stem.as_str(), *ordinal)).collect();
            assert_eq!(found, expected, "{name}");
        }
        assert!(["e.z01.smime", "other.smime", "e.zip.smime.part"].iter().all(|name| concerns_a_set(name)));
        assert!(!["holiday.jpg", "e.zip", "x.tmp"].iter().any(|name| concerns_a_set(name)));
    }

    #[test]
    fn a_written_name_is_read_back() {
        for ordinal in [Ordinal::Split(1), Ordinal::Split(100), Ordinal::Last] {
            let name = file_name("export-1", ordinal);
            assert_eq!(parse(&name), Some(PartName { stem: "export-1", ordinal, is_copy: false }));
        }
    }

    #[test]
    fn the_order_is_numeric_and_the_zip_comes_last() {
        let mut order = [Ordinal::Last, Ordinal::Split(100), Ordinal::Split(99), Ordinal::Split(2)];
        order.sort();
        assert_eq!(order, [Ordinal::Split(2), Ordinal::Split(99), Ordinal::Split(100), Ordinal::Last]);
    }
}
