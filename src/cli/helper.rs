//! `mount.cddsfs`: how mount(8) calls its helpers, and what their exit codes tell it.
//!
//! `mount.cddsfs STORE MOUNTPOINT -o key=/k.pem` is `cddsfs mount --key=/k.pem -- STORE MOUNTPOINT`.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::Parser;

use super::exit::Failure;
use super::options;

/// mount(8), EXTERNAL HELPERS.
#[derive(Parser)]
#[command(name = "mount.cddsfs", version, about = "What mount -t cddsfs calls; see cddsfs mount --help")]
struct Call {
    /// Directory with encrypted exports
    store: OsString,
    /// Empty directory to mount on
    mountpoint: OsString,
    /// Leave out options that are not known
    #[arg(short)]
    sloppy: bool,
    /// Only check whether it could be mounted
    #[arg(short)]
    fake: bool,
    /// Ignored: there is no /etc/mtab to write
    #[arg(short)]
    n: bool,
    /// Say more
    #[arg(short, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Mount namespace to mount in, as a file
    #[arg(short = 'N', value_name = "NAMESPACE")]
    namespace: Option<OsString>,
    /// Ignored: there is one type
    #[arg(short = 't', value_name = "TYPE")]
    kind: Option<OsString>,
    /// Options, as in fstab
    #[arg(short, value_name = "OPT,...")]
    o: Vec<OsString>,
}

/// Returns true for `mount.cddsfs` and `mount.fuse.cddsfs`, with or without a directory.
pub(crate) fn is_called_as(program: Option<&OsString>) -> bool {
    let name = program.and_then(|path| Path::new(path).file_name()).and_then(OsStr::to_str);
    name.is_some_and(|name| name.starts_with("mount.") && name.ends_with(".cddsfs"))
}

/// Returns the arguments of `cddsfs mount`. `is_known` tells which long options that has.
pub(crate) fn translate(
    args: Vec<OsString>,
    is_known: impl Fn(&str) -> bool,
) -> Result<Vec<OsString>, Failure> {
    let call = Call::try_parse_from(args)?;
    let mut options: Vec<OsString> = ["cddsfs", "mount"].map(OsString::from).into();
    options.extend(call.o.into_iter().flat_map(|words| [OsString::from("-o"), words]));
    let mut options = options::expand(options, |_| true)?;
    if options.iter().any(|option| option == "--remount") {
        return Err(Failure::usage("a mount cannot be changed while it is there")
            .with_hint("umount it and mount it again"));
    }
    if call.sloppy {
        let name = |option: &OsStr| {
            let text = option.to_string_lossy();
            text.trim_start_matches('-').split('=').next().map(str::to_string)
        };
        let mut at = 0;
        options.retain(|option| {
            at += 1;
            at <= 2 || name(option).is_some_and(|name| is_known(&name))
        });
    }
    options.extend(call.fake.then(|| "--fake".into()));
    options.extend((0..call.verbose).map(|_| "--verbose".into()));
    options.extend(call.namespace.into_iter().flat_map(|path| ["--namespace".into(), path]));
    options.extend(["--".into(), call.store, call.mountpoint]);
    Ok(options)
}

/// Returns the exit code as mount(8) knows it: wrong usage, or a mount that failed.
pub(crate) fn exit_code(code: u8) -> u8 {
    const USAGE: u8 = 1;
    const MOUNT_FAILED: u8 = 32;
    match code {
        0 => 0,
        2 => USAGE,
        _ => MOUNT_FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(args: &[&str]) -> Result<Vec<String>, Failure> {
        let args = args.iter().map(OsString::from).collect();
        let known = |name: &str| ["key", "ro"].contains(&name);
        translate(args, known).map(|args| args.into_iter().map(|arg| arg.into_string().unwrap()).collect())
    }

    #[test]
    fn a_call_by_mount_8_is_a_command() {
        let table: [(&[&str], &[&str]); 5] = [
            (&["/s", "/m"], &["--", "/s", "/m"]),
            (&["-s", "/m", "-o", "rw"], &["usage"]),
            (
                &["/my store", "/m", "-o", r"ro,user=me,nofail,key=/a b\,c"],
                &["--ro", "--key=/a b,c", "--", "/my store", "/m"],
            ),
            (
                &["/s", "/m", "-sfnv", "-o", "ro,kee=x,key=/k", "-t", "fuse.cddsfs"],
                &["--ro", "--key=/k", "--fake", "--verbose", "--", "/s", "/m"],
            ),
            (&["/s", "/m", "-N", "/proc/5/ns/mnt"], &["--namespace", "/proc/5/ns/mnt", "--", "/s", "/m"]),
        ];
        for (args, expected) in table {
            let args = [&["/sbin/mount.cddsfs"], args].concat();
            match translated(&args) {
                Ok(found) => assert_eq!(found, [&["cddsfs", "mount"], expected].concat(), "{args:?}"),
                Err(_) => assert_eq!(expected, ["usage"], "{args:?}"),
            }
        }
        assert!(translated(&["mount.cddsfs", "/s", "/m", "-o", "remount,ro"]).is_err());
    }

    #[test]
    fn it_knows_its_names() {
        for (name, is_helper) in [
            ("/usr/sbin/mount.cddsfs", true),
            ("mount.cddsfs", true),
            ("/sbin/mount.fuse.cddsfs", true),
            ("/usr/bin/cddsfs", false),
            ("mount.cddsfs/cddsfs", false),
        ] {
            assert_eq!(is_called_as(Some(&name.into())), is_helper, "{name}");
        }
        assert!(!is_called_as(None));
    }
}
