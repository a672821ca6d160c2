//! Names of members, made safe to show: nothing leads out of the tree, and nothing vanishes.
//!
//! A name is split at `/`; empty components and `.` are dropped, as unzip does. What Linux or a reader of listings
//! could stumble over is written with percent signs: `..` as `%2E%2E`, control characters as `%0A`. A component that
//! is too long for a directory entry is cut and ends in a hash of the whole. A backslash is a character like others.

use super::zip::{Entry, FLAG_UTF8, extra_fields, u32_at};

/// Longest name in a directory, in bytes (NAME_MAX).
const NAME_MAX: usize = 255;
/// Deeper directories are folded into one name.
const MAX_DEPTH: usize = 200;
/// Info-ZIP Unicode path (APPNOTE 4.6.9): version, CRC-32 of the name in the header, name.
const UNICODE_PATH: u16 = 0x7075;

/// A member's place in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberPath {
    /// Safe components, at least one, except for a directory that is the root itself.
    pub(crate) components: Vec<String>,
    pub(crate) is_dir: bool,
    /// True if a component had to be written differently.
    pub(crate) changed: bool,
}

/// Returns the name of a member as text.
pub(crate) fn decode(entry: &Entry<'_>) -> String {
    if let Some(name) = unicode_path(entry) {
        return name;
    }
    match std::str::from_utf8(entry.name) {
        // Many writers store UTF-8 without saying so.
        Ok(name) => name.to_string(),
        Err(_) if entry.flags & FLAG_UTF8 != 0 => String::from_utf8_lossy(entry.name).into_owned(),
        Err(_) => entry.name.iter().map(|&byte| cp437(byte)).collect(),
    }
}

fn unicode_path(entry: &Entry<'_>) -> Option<String> {
    let (_, field) = extra_fields(entry.extra).find(|(id, _)| *id == UNICODE_PATH)?;
    let (head, name) = field.split_at_checked(5)?;
    // The field is stale if somebody renamed the member without knowing of it.
    (head[0] == 1 && u32_at(head, 1) == crc32fast::hash(entry.name))
        .then(|| String::from_utf8(name.to_vec()).ok())
        .flatten()
}

/// Returns the path at which a member with this name is shown.
pub(crate) fn safe_path(name: &str) -> MemberPath {
    let is_dir = name.ends_with('/');
    let mut changed = name.starts_with('/');
    let mut components: Vec<String> = Vec::new();
    for raw in name.split('/').filter(|c| !c.is_empty() && *c != ".") {
        let safe = component(raw, NAME_MAX);
        changed |= safe != raw;
        components.push(safe);
    }
    if components.len() > MAX_DEPTH {
        let folded = components.split_off(MAX_DEPTH - 1).join("%2F");
        components.push(fit(folded, NAME_MAX));
        changed = true;
    }
    if components.is_empty() && !is_dir {
        components.push("%00".into());
        changed = true;
    }
    MemberPath { components, is_dir, changed }
}

/// Returns a name as a directory can have it, of at most `max` bytes.
pub(super) fn component(raw: &str, max: usize) -> String {
    if raw == ".." {
        return "%2E%2E".into();
    }
    let mut safe = String::with_capacity(raw.len());
    for c in raw.chars() {
        if c.is_control() {
            let mut utf8 = [0; 4];
            c.encode_utf8(&mut utf8).bytes().for_each(|b| safe.push_str(&format!("%{b:02X}")));
        } else {
            safe.push(c);
        }
    }
    fit(safe, max)
}

/// Cuts a name that is too long, so that different ones stay different.
fn fit(name: String, max: usize) -> String {
    if name.len() <= max {
        return name;
    }
    let hash = blake3::hash(name.as_bytes()).to_hex();
    let keep = name.floor_char_boundary(max - 17);
    format!("{}~{}", &name[..keep], &hash[..16])
}

/// Returns the beginning of a name that [`numbered`] keeps.
pub(crate) fn numbering_base(name: &str) -> &str {
    /// A tilde, and as many digits as the number of members can have.
    const LONGEST_NUMBER: usize = 11;
    &name[..name.floor_char_boundary(NAME_MAX - LONGEST_NUMBER)]
}

/// Returns the name under which an earlier one of several members with the same name is shown.
pub(crate) fn numbered(name: &str, nth: usize) -> String {
    format!("{}~{nth}", numbering_base(name))
}

/// Returns the name for a symbolic link that is shown as a text. It differs from the link's own name, so that the text
/// is not taken for the file that the link stands for.
pub(crate) fn of_link_as_text(name: &str) -> String {
    format!("{}.link", numbering_base(name))
}

/// The character set of the first PCs, which names without any mark are in (APPNOTE appendix D).
fn cp437(byte: u8) -> char {
    const UPPER: [char; 128] = [
        'Ç', 'ü', 'é', 'â', 'ä', 'à', 'å', 'ç', 'ê', 'ë', 'è', 'ï', 'î', 'ì', 'Ä', 'Å', 'É', 'æ', 'Æ', 'ô',
        'ö', 'ò', 'û', 'ù', 'ÿ', 'Ö', 'Ü', '¢', '£', '¥', '₧', 'ƒ', 'á', 'í', 'ó', 'ú', 'ñ', 'Ñ', 'ª', 'º',
        '¿', '⌐', '¬', '½', '¼', '¡', '«', '»', '░', '▒', '▓', '│', '┤', '╡', '╢', '╖', '╕', '╣', '║', '╗',
        '╝', '╜', '╛', '┐', '└', '┴', '┬', '├', '─', '┼', '╞', '╟', '╚', '╔', '╩', '╦', '╠', '═', '╬', '╧',
        '╨', '╤', '╥', '╙', '╘', '╒', '╓', '╫', '╪', '┘', '┌', '█', '▄', '▌', '▐', '▀', 'α', 'ß', 'Γ', 'π',
        'Σ', 'σ', 'µ', 'τ', 'Φ', 'Θ', 'Ω', 'δ', '∞', 'φ', 'ε', '∩', '≡', '±', '≥', '≤', '⌠', '⌡', '÷', '≈',
        '°', '∙', '·', '√', 'ⁿ', '²', '■', '\u{A0}',
    ];
    if byte < 0x80 { char::from(byte) } else { UPPER[usize::from(byte - 0x80)] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(name: &str) -> String {
        safe_path(name).components.join("/")
    }

    #[test]
    fn hostile_names_stay_inside_and_visible() {
        let table = [
            ("a/b.json", "a/b.json"),
            ("../../etc/passwd", "%2E%2E/%2E%2E/etc/passwd"),
            ("/etc/passwd", "etc/passwd"),
            ("//x//y/./z", "x/y/z"),
            ("C:\\Windows\\x", "C:\\Windows\\x"),
            ("a\nb\x1b[31m", "a%0Ab%1B[31m"),
            ("nul\0byte", "nul%00byte"),
            ("", "%00"),
            ("dir/", "dir"),
            ("/", ""),
            (" lead", " lead"),
            ("-rf", "-rf"),
        ];
        for (name, expected) in table {
            assert_eq!(shown(name), expected, "{name:?}");
        }
        assert!(safe_path("d/").is_dir && !safe_path("d").is_dir);
        assert!(!safe_path("a/b").changed && safe_path("..").changed && safe_path("/a").changed);
    }

    #[test]
    fn long_names_are_cut_but_stay_different() {
        let (a, b) = (shown(&"ä".repeat(200)), shown(&("ä".repeat(199) + "b")));
        assert!(a.len() <= NAME_MAX && b.len() <= NAME_MAX && a != b);
        assert_eq!(safe_path(&"d/".repeat(3000)).components.len(), MAX_DEPTH);
    }

    proptest! {
        #[test]
        fn every_name_is_safe(name in ".{0,300}") {
            for component in safe_path(&name).components {
                prop_assert!(!component.is_empty() && component != "." && component != "..");
                prop_assert!(component.len() <= NAME_MAX && !component.contains('/'));
                prop_assert!(!component.chars().any(char::is_control));
            }
        }
    }
}
