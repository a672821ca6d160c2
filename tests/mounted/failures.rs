//! What cannot be mounted or unmounted: one line on the terminal and perhaps a hint, an exit status that tells which kind of mistake it
//! was, and nothing left behind; in the foreground and in the background alike.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::corpus;
use crate::support::mount::{Place, is_mounted, run, succeed};

const USAGE: i32 = 2;
const KEY: i32 = 3;
const STORE: i32 = 4;
const MOUNT_POINT: i32 = 5;

fn status_and_text(output: &Output) -> (i32, String) {
    assert!(output.stdout.is_empty(), "talk belongs on standard error: {output:?}");
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Mounts, in the foreground and in the background, and wants both to fail with this status and text.
fn fails(place: &Place, args: &[&str], status: i32, text: &str) {
    for foreground in [true, false] {
        let mut command = place.cddsfs(["mount"]);
        command.args(args).args(foreground.then_some("-f"));
        let before = is_mounted(&place.point());
        let (found, said) = status_and_text(&run(&mut command));
        assert_eq!(found, status, "{command:?}: {said}");
        assert!(said.contains(text), "{command:?}: {said:?}");
        let lines: Vec<&str> = said.lines().collect();
        let is_one_line = lines[0].starts_with("cddsfs: ")
            && said.ends_with('\n')
            && (lines.len() == 1 || lines.len() == 2 && lines[1].starts_with("  hint: "));
        assert!(status == USAGE || is_one_line, "{command:?}: {said:?}");
        assert_eq!(is_mounted(&place.point()), before);
    }
}

fn key(name: &str) -> String {
    corpus::private_copy(name).display().to_string()
}

fn text(path: PathBuf) -> String {
    path.display().to_string()
}

/// A file with these bytes and permissions.
fn file(place: &Place, name: &str, bytes: &[u8], mode: u32) -> String {
    let path = place.root().join(name);
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    text(path)
}

#[test]
fn arguments_that_make_no_sense_are_2() {
    let place = Place::new();
    let (store, point) = (text(place.store()), text(place.point()));
    let table: [(&[&str], &str); 9] = [
        (&[], "required arguments were not provided"),
        (&[&store], "<MOUNTPOINT>"),
        (&[&store, &point, "--kee=x"], "'--kee'"),
        (&[&store, &point, "-o", "kee=x"], "'--kee'"),
        (&[&store, &point, "-o", "umask=9"], "an octal number up to 777"),
        (&[&store, &point, "--threads", "1"], "'--threads <N>'"),
        (&[&store, &point, "--passphrase-file", "x", "--passphrase-fd", "0"], "cannot be used with"),
        (&[&store, &point, "--log", "/nowhere/log"], "/nowhere/log"),
        (&[&store, &point, "--uid", "me"], "'--uid <UID>'"),
    ];
    for (args, text) in table {
        fails(&place, args, USAGE, text);
    }
    let (status, said) = status_and_text(&run(&mut place.cddsfs([&store, &point, "-o"])));
    assert_eq!((status, said.contains("-o needs options after it")), (USAGE, true), "{said}");
    let (status, said) =
        status_and_text(&run(&mut place.cddsfs(["mount", &store, &point, "--passphrase", "secret"])));
    assert_eq!(status, USAGE, "a passphrase in the arguments, where everybody sees it: {said}");
}

#[test]
fn help_is_no_failure_and_goes_to_standard_output() {
    let place = Place::new();
    for args in [&["--help"][..], &["mount", "--help"], &["unmount", "--help"], &["--version"]] {
        let output = run(&mut place.cddsfs(args));
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("cddsfs"));
    }
}

#[test]
fn a_store_that_is_not_there_is_4() {
    let place = Place::new();
    let point = text(place.point());
    let missing = text(place.root().join("missing"));
    let file = file(&place, "file", b"", 0o644);
    fails(&place, &[&missing, &point], STORE, &format!("{missing}: No such file or directory"));
    fails(&place, &[&file, &point], STORE, &format!("{file}: Not a directory"));
}

#[test]
fn a_mount_point_that_will_not_do_is_5() {
    let place = Place::new();
    let store = text(place.store());
    let missing = text(place.root().join("missing"));
    fails(&place, &[&store, &missing], MOUNT_POINT, &format!("{missing}: No such file or directory"));
    let file = file(&place, "file", b"", 0o644);
    fails(&place, &[&store, &file], MOUNT_POINT, "not a directory\n  hint: make one with mkdir");
    let full = text(place.root().into());
    fails(
        &place,
        &[&store, &full],
        MOUNT_POINT,
        "not empty\n  hint: take an empty directory, or give -o nonempty",
    );
    let inside = place.store().join("inside");
    fs::create_dir(&inside).unwrap();
    fails(
        &place,
        &[&store, &text(inside)],
        MOUNT_POINT,
        "inside the store that would be mounted on it\n  hint: take a directory elsewhere",
    );
    fails(
        &place,
        &[&store, &store],
        MOUNT_POINT,
        "inside the store that would be mounted on it\n  hint: take a directory elsewhere",
    );
    // By whatever names: the mount would hide it from its own server, which would wait for itself.
    let below = |hidden: &str| format!("{hidden}, is below it, and the mount would hide that from itself");
    fails(&place, &[&store, &full, "--nonempty"], MOUNT_POINT, &below(&store));
    let (link, bind) = (place.root().join("link"), place.root().join("bind"));
    std::os::unix::fs::symlink(place.root(), &link).unwrap();
    fails(&place, &[&store, &text(link), "--nonempty"], MOUNT_POINT, &below(&store));
    fs::create_dir(&bind).unwrap();
    succeed("mount", ["--bind", &full, &text(bind.clone())]);
    fails(&place, &[&store, &text(bind.clone()), "--nonempty"], MOUNT_POINT, &below(&store));
    fails(&place, &[&store, &text(bind.join("store/inside"))], MOUNT_POINT, "inside the store");
    fails(&place, &[&text(bind.join("store")), &full, "--nonempty"], MOUNT_POINT, "/bind/store, is below it");
    succeed("umount", [&text(bind)]);
    let others = place.root().join("others");
    fs::create_dir_all(others.join("logs")).unwrap();
    let log = text(others.join("logs/log"));
    fails(
        &place,
        &[&store, &text(others), "--nonempty", "--log", &log],
        MOUNT_POINT,
        &format!("the log, {log}, is below it"),
    );
    let _mount = place.mount(&[], &[]);
    let point = text(place.point());
    let already =
        format!("something is mounted there already\n  hint: unmount it first: cddsfs unmount {point}");
    fails(&place, &[&store, &point], MOUNT_POINT, &already);
    assert!(place.point().join("artifacts").exists(), "the first mount does not mind");
}

#[test]
fn a_key_that_will_not_do_is_3() {
    let place = Place::new();
    let (store, point) = (text(place.store()), text(place.point()));
    let with_key = |key: &str, text: &str| fails(&place, &[&store, &point, "--key", key], KEY, text);
    let missing = text(place.root().join("missing.pem"));
    with_key(&missing, &format!("{missing}: No such file or directory"));
    with_key(&text(place.root().into()), "chmod 600");
    with_key(&file(&place, "text", b"hello", 0o600), "not a private key in PEM, DER or PKCS#12");
    let certificate = fs::read(corpus::dir().join("keys/c1.pem")).unwrap();
    with_key(
        &file(&place, "cert.pem", &certificate, 0o600),
        "no private key in this PEM file\n  hint: a certificate does not decrypt",
    );
    with_key(&key("kec.pem"), "not an RSA key");
    let pem = fs::read(corpus::dir().join("keys/k1.pem")).unwrap();
    for mode in [0o644, 0o640, 0o604, 0o660] {
        let open = file(&place, "open.pem", &pem, mode);
        with_key(
            &open,
            &format!(
                "others can read this private key (mode {mode:04o})\n  hint: mend it with: chmod 600 '{open}'"
            ),
        );
    }
    // One that will do does not make up for another that will not.
    fails(&place, &[&store, &point, "--key", &key("k1.pem"), "--key", &missing], KEY, &missing);
}

#[test]
fn a_passphrase_that_will_not_do_is_3() {
    let place = Place::new();
    let (store, point) = (text(place.store()), text(place.point()));
    let wrong = file(&place, "wrong", b"wrong\n", 0o600);
    let empty = file(&place, "empty", b"", 0o600);
    let open = file(&place, "open", b"secret\n", 0o644);
    for name in ["k1.enc.pem", "k1.pkcs1enc.pem", "k1.p12"] {
        let key = key(name);
        let with = |args: &[&str], text: &str| {
            fails(&place, &[&[&*store, &*point, "--key", &*key], args].concat(), KEY, text);
        };
        with(&["--passphrase-file", &wrong], &format!("{key}: the passphrase does not open the key"));
        with(&["--passphrase-file", &empty], &format!("{key}: the passphrase does not open the key"));
        with(&["--passphrase-file", &open], &format!("mend it with: chmod 600 '{open}'"));
        with(&["--passphrase-file", "/nowhere"], "/nowhere: No such file or directory");
        with(&["--passphrase-fd", "77"], "/proc/self/fd/77: No such file or directory");
        with(
            &["--passphrase-command", "echo wrong"],
            &format!("{key}: the passphrase does not open the key"),
        );
        with(&["--passphrase-command", "echo secret; exit 3"], "it failed: exit status: 3\n  hint: ");
        // There is neither a passphrase nor a terminal to ask for it.
        with(
            &[],
            "the key is encrypted\n  hint: give --passphrase-file FILE, --passphrase-fd N or --passphrase-command",
        );
    }
}

/// A copy of the program that everybody gets through to, be it built in a home that is closed to others.
fn program_for_all(place: &Place) -> String {
    let copy = text(place.root().join("cddsfs"));
    succeed("install", ["-m", "755", env!("CARGO_BIN_EXE_cddsfs"), &copy]);
    copy
}

/// The program, run by somebody who is not root.
fn as_nobody(place: &Place, args: &[&str]) -> Command {
    const NOBODY: u32 = 65_534;
    let mut command = Command::new(program_for_all(place));
    command.args(args).current_dir("/").env("XDG_CACHE_HOME", place.cache());
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn give_to_nobody(paths: &[&Path]) {
    if nix::unistd::geteuid().is_root() {
        paths.iter().for_each(|path| chown(path, Some(65_534), Some(65_534)).unwrap());
    }
}

#[test]
fn what_may_not_be_read_is_said_as_such() {
    let place = Place::new();
    give_to_nobody(&[place.root(), &place.point()]);
    let (store, point) = (text(place.store()), text(place.point()));
    let closed = file(&place, "closed.pem", &fs::read(corpus::dir().join("keys/k1.pem")).unwrap(), 0);
    let output = run(&mut as_nobody(&place, &["mount", &store, &point, "--key", &closed]));
    let (status, said) = status_and_text(&output);
    assert_eq!((status, said), (KEY, format!("cddsfs: {closed}: Permission denied (os error 13)\n")));
    fs::set_permissions(place.store(), fs::Permissions::from_mode(0o000)).unwrap();
    let (status, said) = status_and_text(&run(&mut as_nobody(&place, &["mount", &store, &point])));
    assert_eq!(status, STORE, "{said}");
    assert!(said.contains(&format!("{store}: Permission denied")), "{said}");
}

#[test]
fn somebody_who_is_not_root_mounts_and_unmounts() {
    const SCRIPT: &str = "set -e
        \"$0\" mount store mnt --key key.pem
        findmnt -no FSTYPE,OPTIONS mnt
        unzip -tq mnt/artifacts/*.zip
        test $(stat -c %u mnt/history) = $(id -u)
        \"$0\" unmount mnt
        ! findmnt mnt
        mkdir others
        chmod 555 others
        \"$0\" mount store others --key key.pem 2>&1 || true
        \"$0\" mount store mnt --key key.pem --allow-other 2>&1 || true";
    // Where root runs the tests there may be no udev, which is what lets everybody use this device.
    const AS_NOBODY: &str = "set -e
        mknod -m 666 fuse c 10 229
        mount --bind fuse /dev/fuse
        : >fuse.conf
        mount --bind fuse.conf /etc/fuse.conf
        exec setpriv --reuid 65534 --regid 65534 --clear-groups sh -c \"$@\"";
    let place = Place::new();
    corpus::copy_set("iz-one", &place.store());
    let key = file(&place, "key.pem", &fs::read(corpus::dir().join("keys/k1.pem")).unwrap(), 0o600);
    give_to_nobody(&[place.root(), &place.point(), &place.tmp(), Path::new(&key)]);
    let mut command = if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", AS_NOBODY, "sh"]);
        command
    } else {
        let mut command = Command::new("sh");
        command.arg("-c");
        command
    };
    command.args([SCRIPT, &program_for_all(&place)]).current_dir(place.root());
    let output = run(command.env("XDG_CACHE_HOME", place.cache()));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert!(said.starts_with("fuse.cddsfs") && said.contains("ro,nosuid,nodev,noexec"), "{said}");
    let others = place.root().join("others");
    let refused = format!(
        "cddsfs: {}: cannot mount: fusermount3: user has no write access to mountpoint {}\n  hint: take a directory that is yours\n",
        others.display(),
        others.display()
    );
    assert!(said.contains(&refused), "{said}");
    let hint = "is set in /etc/fuse.conf\n  hint: for that root has to write the line user_allow_other";
    assert!(!nix::unistd::geteuid().is_root() || said.contains(hint), "{said}");
}

#[test]
fn what_cannot_be_unmounted_is_5() {
    let place = Place::new();
    let point = text(place.point());
    let unmount = |args: &[&str]| status_and_text(&run(place.cddsfs(["unmount"]).args(args)));
    let not_mounted = format!(
        "cddsfs: {point}: no FUSE filesystem is mounted there\n  hint: findmnt -t fuse.cddsfs shows what is mounted where\n"
    );
    assert_eq!(unmount(&[&point]), (MOUNT_POINT, not_mounted.clone()));
    assert_eq!(unmount(&["--lazy", &point]), (MOUNT_POINT, not_mounted));
    let (status, said) = unmount(&["/nowhere"]);
    assert_eq!(
        (status, said.as_str()),
        (MOUNT_POINT, "cddsfs: /nowhere: No such file or directory (os error 2)\n")
    );
    assert_eq!(unmount(&["/proc"]).0, MOUNT_POINT, "that is mounted, but not ours to take away");
    assert_eq!(unmount(&[]).0, USAGE);
    let mount = place.mount(&[], &[]);
    let open = fs::File::open(mount.path("artifacts")).unwrap();
    let (status, said) = unmount(&[&point]);
    assert_eq!(status, MOUNT_POINT);
    assert!(
        said.contains("hint: close the programs that use it (fuser -m tells which), or give --lazy"),
        "{said}"
    );
    assert!(mount.path("artifacts").exists());
    drop(open);
    mount.unmount();
}
