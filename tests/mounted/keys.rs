//! Every container that a private key comes in, and every way to say its passphrase.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::support::corpus;
use crate::support::mount::{self, Mount, Place, is_mounted, python, run, succeed};

const OPEN: [&str; 6] =
    ["k1.pem", "k1+c1.pem", "k1.pkcs1.pem", "k1.crlf.pem", "k1.pkcs8.der", "k1.nopass.p12"];
const LOCKED: [&str; 3] = ["k1.enc.pem", "k1.pkcs1enc.pem", "k1.p12"];

/// A store with one set, and what its zip must be.
fn store() -> (Place, String, String) {
    let place = Place::new();
    let stem = corpus::copy_set("iz-one", &place.store());
    let (_, sha256) = corpus::sets().into_iter().find(|(set, _)| set == "iz-one").unwrap();
    (place, stem, sha256)
}

fn check(mount: Mount, stem: &str, sha256: &str) {
    assert_eq!(corpus::sha256(&fs::read(mount.zip(stem)).unwrap()), sha256);
    assert_eq!(mount.unmount(), [""; 0]);
}

fn passphrase_file(place: &Place, text: &str) -> String {
    let path = place.root().join("passphrase");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

#[test]
fn every_container_of_a_key_opens_an_export() {
    let all: Vec<String> = mount::names(&corpus::dir().join("keys"));
    let of_k1: Vec<&String> = all.iter().filter(|name| name.starts_with("k1")).collect();
    assert_eq!(of_k1.len(), OPEN.len() + LOCKED.len(), "{of_k1:?}");
    let (place, stem, sha256) = store();
    for key in OPEN {
        check(place.mount(&[key], &[]), &stem, &sha256);
    }
    for key in LOCKED {
        for text in ["secret\n", "secret", "secret\r\n", "secret\nsecond line\n"] {
            let file = passphrase_file(&place, text);
            check(place.mount(&[key], &["--passphrase-file", &file]), &stem, &sha256);
        }
        let option = format!("passphrase_file={}", passphrase_file(&place, "secret\n"));
        check(place.mount(&[key], &["-o", &option]), &stem, &sha256);
    }
}

#[test]
fn a_key_without_a_passphrase_does_not_mind_one() {
    let (place, stem, sha256) = store();
    let file = passphrase_file(&place, "something else");
    for key in OPEN {
        check(place.mount(&[key], &["--passphrase-file", &file]), &stem, &sha256);
    }
}

#[test]
fn one_passphrase_serves_for_several_keys() {
    let (place, stem, sha256) = store();
    let file = passphrase_file(&place, "secret\n");
    let keys = ["k1.p12", "k2.pem", "k1.enc.pem", "kmail.pem", "kwrong.pem"];
    check(place.mount(&keys, &["--passphrase-file", &file]), &stem, &sha256);
}

#[test]
fn a_passphrase_comes_from_a_command() {
    let (place, stem, sha256) = store();
    let command = format!("cat {}; yes", passphrase_file(&place, "secret\n"));
    let command = format!("{{ {command}; }} | head -n 100000");
    for key in LOCKED {
        check(place.mount(&[key], &["--passphrase-command", &command]), &stem, &sha256);
    }
    let option = r"passphrase_command=printf %s\, secret | tr -d \,";
    check(place.mount(&LOCKED[..1], &["-o", option]), &stem, &sha256);
    // It is not called in vain.
    check(place.mount(&OPEN[..1], &["--passphrase-command", "false"]), &stem, &sha256);
}

#[test]
fn what_a_key_opens_is_never_swapped_out() {
    let (place, stem, sha256) = store();
    let mut mount = place.mount(&OPEN[..1], &[]);
    assert_eq!(corpus::sha256(&fs::read(mount.zip(&stem)).unwrap()), sha256);
    // Of each mapping a line with its range and permissions, then what is known of it, flags last.
    let maps = fs::read_to_string(format!("/proc/{}/smaps", mount.pid())).unwrap();
    let (mut locked, mut open, mut mapping) = (0, Vec::new(), "");
    for line in maps.lines() {
        match line.strip_prefix("VmFlags: ") {
            None if !line.contains(": ") || line.contains("p 0") => mapping = line,
            Some(flags) if mapping.contains(" rw-p ") => match flags.split(' ').any(|flag| flag == "lo") {
                true => locked += 1,
                false => open.push(mapping),
            },
            _ => {}
        }
    }
    // Capability 14 is CAP_IPC_LOCK.
    let status = fs::read_to_string(format!("/proc/{}/status", mount.pid())).unwrap();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
    match u64::from_str_radix(capabilities, 16).unwrap() >> 14 & 1 {
        1 => assert!(locked > 10 && open.is_empty(), "{open:#?}"),
        _ => assert_eq!(locked, 0),
    }
    mount.unmount();
}

#[test]
fn a_passphrase_is_one_line_and_nobody_waits_for_more() {
    let (place, stem, sha256) = store();
    let command = "sleep 60 >&2 & echo secret";
    check(place.mount(&LOCKED[..1], &["--passphrase-command", command]), &stem, &sha256);
    let key = corpus::private_copy(LOCKED[0]);
    let mut sh = Command::new("bash");
    // The pipe is open for as long as the shell lives.
    let script = "mkfifo pipe; exec 7<>pipe; echo secret >&7; \"$@\" --passphrase-fd 7";
    sh.args(["-c", script, "bash", env!("CARGO_BIN_EXE_cddsfs"), "mount"]).current_dir(place.root());
    sh.arg(place.store()).arg(place.point()).arg("--key").arg(&key).env("XDG_CACHE_HOME", place.cache());
    let output = run(&mut sh);
    assert!(output.status.success(), "{output:?}");
    succeed(env!("CARGO_BIN_EXE_cddsfs"), ["unmount".into(), place.point()]);
}

#[test]
fn a_passphrase_comes_from_a_descriptor() {
    let (place, stem, sha256) = store();
    let file = passphrase_file(&place, "secret\n");
    // As a file, as a pipe, and as standard input; in the background and in the foreground.
    let scripts = [
        format!("exec \"$@\" --passphrase-fd 3 3<{file}"),
        format!("cat {file} | \"$@\" --passphrase-fd 5 5<&0 </dev/null"),
        format!("\"$@\" --passphrase-fd 0 <{file}"),
        format!("cat {file} | \"$@\" --passphrase-fd 0"),
    ];
    for key in LOCKED {
        let key = corpus::private_copy(key);
        for script in &scripts {
            let mut sh = Command::new("sh");
            sh.args(["-c", script, "sh", env!("CARGO_BIN_EXE_cddsfs"), "mount"]);
            sh.arg(place.store())
                .arg(place.point())
                .arg("--key")
                .arg(&key)
                .env("XDG_CACHE_HOME", place.cache());
            let output = run(&mut sh);
            assert!(output.status.success(), "{script}: {output:?}");
            let zip = place.point().join(format!("artifacts/{stem}.zip"));
            assert_eq!(corpus::sha256(&fs::read(zip).unwrap()), sha256);
            succeed(env!("CARGO_BIN_EXE_cddsfs"), ["unmount".into(), place.point()]);
        }
        let mut sh = Command::new("sh");
        sh.args(["-c", &scripts[0], "sh", env!("CARGO_BIN_EXE_cddsfs"), "mount", "-f"]);
        sh.arg(place.store()).arg(place.point()).arg("--key").arg(&key).env("XDG_CACHE_HOME", place.cache());
        check(Mount::start(sh, &place.point()), &stem, &sha256);
    }
}

/// Runs a program on a terminal of its own, answers what it asks for, and prints what was to be seen and the status.
const TERMINAL: &str = "
import os, pty, signal, sys, termios, time
signal.alarm(60)
answers = sys.argv[1].split(',')
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
seen = b''
while True:
    try:
        chunk = os.read(terminal, 1024)
    except OSError:
        break
    if not chunk:
        break
    seen += chunk
    if chunk.endswith(b': ') and answers:
        while termios.tcgetattr(terminal)[3] & termios.ECHO:
            time.sleep(0.01)
        os.write(terminal, answers.pop(0).encode() + b'\\n')
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(seen.decode().replace('\\r\\n', '\\n'), end='')
print('unused answers:', answers, 'status:', status)
";

fn on_a_terminal(place: &Place, answers: &str, keys: &[&PathBuf]) -> String {
    let mut args = vec![answers.to_string(), env!("CARGO_BIN_EXE_cddsfs").into(), "mount".into()];
    args.extend([place.store(), place.point()].map(|path| path.display().to_string()));
    args.extend(keys.iter().flat_map(|key| ["--key".into(), key.display().to_string()]));
    python(TERMINAL, args)
}

#[test]
fn a_passphrase_is_asked_for_on_the_terminal_and_not_shown() {
    let (place, stem, sha256) = store();
    for name in LOCKED {
        let key = corpus::private_copy(name);
        let seen = on_a_terminal(&place, "secret", &[&key]);
        assert_eq!(seen, format!("Passphrase for {}: \nunused answers: [] status: 0\n", key.display()));
        // It went to the background, and the terminal is free.
        let zip = place.point().join(format!("artifacts/{stem}.zip"));
        assert_eq!(corpus::sha256(&fs::read(zip).unwrap()), sha256);
        succeed(env!("CARGO_BIN_EXE_cddsfs"), ["unmount".into(), place.point()]);

        let seen = on_a_terminal(&place, "wrong", &[&key]);
        let refused = format!("cddsfs: {}: the passphrase does not open the key", key.display());
        assert!(seen.contains(&refused) && seen.ends_with("unused answers: [] status: 3\n"), "{seen}");
        assert!(!is_mounted(&place.point()));
    }
}

#[test]
fn each_locked_key_is_asked_for_and_no_other() {
    let (place, ..) = store();
    let keys = ["k1.enc.pem", "k2.pem", "k1.nopass.p12", "k1.p12"].map(corpus::private_copy);
    let seen = on_a_terminal(&place, "secret,secret", &keys.iter().collect::<Vec<_>>());
    let asked = |key: &PathBuf| format!("Passphrase for {}: \n", key.display());
    assert_eq!(seen, asked(&keys[0]) + &asked(&keys[3]) + "unused answers: [] status: 0\n");
    succeed(env!("CARGO_BIN_EXE_cddsfs"), ["unmount".into(), place.point()]);
}
