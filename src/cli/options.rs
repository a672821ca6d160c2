//! The `-o` grammar of mount(8) and fstab(5), as another spelling of the long options.
//!
//! `-o key=/k.pem,allow_other` is `--key=/k.pem --allow-other`. Words that only concern mount(8), systemd or the
//! kernel are left out. A comma or backslash within a value is written with a backslash before it.
//!
//! `cddsfs STORE MOUNTPOINT ...`, which is how mount(8) calls its helpers, is `cddsfs mount STORE MOUNTPOINT ...`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::exit::Failure;

/// Options for mount(8), fstab and systemd, and flags that change nothing for a mount of ours.
const IGNORED: [&str; 40] = [
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "owner",
    "group",
    "nofail",
    "_netdev",
    "defaults",
    "rw",
    "dev",
    "nodev",
    "suid",
    "nosuid",
    "exec",
    "noexec",
    "atime",
    "noatime",
    "relatime",
    "norelatime",
    "async",
    "sync",
    "diratime",
    "nodiratime",
    "strictatime",
    "nostrictatime",
    "lazytime",
    "nolazytime",
    "iversion",
    "noiversion",
    "dirsync",
    "mand",
    "nomand",
    "silent",
    "loud",
    "symfollow",
    "nosymfollow",
    "nogroup",
    "noowner",
];

/// Returns the arguments with every `-o` spelled out. A first argument that is not a command is a store to mount.
pub(crate) fn expand(
    args: Vec<OsString>,
    is_command: impl Fn(&OsStr) -> bool,
) -> Result<Vec<OsString>, Failure> {
    let mut args = args.into_iter();
    let mut out: Vec<OsString> = args.next().into_iter().collect();
    let mut rest = args.peekable();
    if rest.peek().is_some_and(|first| !first.as_bytes().starts_with(b"-") && !is_command(first)) {
        out.push("mount".into());
    }
    while let Some(arg) = rest.next() {
        let bytes = arg.as_bytes();
        if bytes == b"--" {
            out.push(arg);
            out.extend(rest);
            break;
        }
        let words = if bytes == b"-o" {
            Some(rest.next().ok_or_else(nothing_after)?)
        } else if bytes.starts_with(b"-o") {
            Some(OsStr::from_bytes(&bytes[2..]).to_owned())
        } else {
            None
        };
        match words {
            Some(words) => out.extend(split(words.as_bytes()).into_iter().filter_map(long_option)),
            None => out.push(arg),
        }
    }
    Ok(out)
}

fn nothing_after() -> Failure {
    Failure::usage("-o needs options after it").with_hint("for instance: -o key=private.pem,allow_other")
}

/// Splits at the commas that have no backslash before them.
fn split(words: &[u8]) -> Vec<Vec<u8>> {
    let mut split = vec![Vec::new()];
    let mut bytes = words.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b',' => split.push(Vec::new()),
            b'\\' => split.last_mut().into_iter().for_each(|word| word.extend(bytes.next())),
            _ => split.last_mut().into_iter().for_each(|word| word.push(byte)),
        }
    }
    split
}

fn long_option(word: Vec<u8>) -> Option<OsString> {
    let name_len = memchr::memchr(b'=', &word).unwrap_or(word.len());
    let name = String::from_utf8_lossy(&word[..name_len]).replace('_', "-");
    let original = String::from_utf8_lossy(&word[..name_len]);
    let ignored = word.is_empty()
        || IGNORED.iter().any(|ignored| original == *ignored)
        || original.starts_with("x-")
        || original.starts_with("X-")
        || original == "comment";
    if ignored {
        return None;
    }
    let mut option = format!("--{name}").into_bytes();
    option.extend(&word[name_len..]);
    Some(OsString::from_vec(option))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(args: &[&str]) -> Vec<String> {
        let args = std::iter::once("cddsfs").chain(args.iter().copied()).map(OsString::from).collect();
        expand(args, |first| first == "unmount" || first == "mount")
            .unwrap()
            .into_iter()
            .skip(1)
            .map(|a| a.into_string().unwrap())
            .collect()
    }

    #[test]
    fn options_of_fstab_are_long_options() {
        let table: [(&[&str], &[&str]); 7] = [
            (&["/s", "/m"], &["mount", "/s", "/m"]),
            (&["/s", "/m", "-o", "ro,key=/k.pem"], &["mount", "/s", "/m", "--ro", "--key=/k.pem"]),
            (
                &["mount", "/s", "/m", "-oallow_other,uid=5"],
                &["mount", "/s", "/m", "--allow-other", "--uid=5"],
            ),
            (&["/s", "/m", "-o", r"key=/a\,b\\c.pem"], &["mount", "/s", "/m", r"--key=/a,b\c.pem"]),
            (
                &["/s", "/m", "-o", "noauto,nofail,_netdev,x-systemd.automount,user,defaults"],
                &["mount", "/s", "/m"],
            ),
            (&["unmount", "/m"], &["unmount", "/m"]),
            (&["--help"], &["--help"]),
        ];
        for (args, expected) in table {
            assert_eq!(expanded(args), expected, "{args:?}");
        }
        assert!(expand(vec!["cddsfs".into(), "/s".into(), "-o".into()], |_| false).is_err());
    }
}
