//! What is decrypted stays in memory, and what is remembered between mounts gives nothing away.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::corpus;
use crate::support::mount::{self, Place, errno, names, run, succeed};
use serde_json::Value;

const CANARY: &str = "Kanarienvogel-7Qx";

/// All files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// An export with the canary in a member's name, its content and its comment; and things that are no export at all
/// inside their encryption. The plaintext is made elsewhere.
fn store_with_canary(place: &Place) {
    let plain = tempfile::tempdir().unwrap();
    let at = |name: &str| plain.path().join(name);
    fs::create_dir(at("data")).unwrap();
    fs::write(
        at("data").join(format!("{CANARY}.json")),
        format!("{{\"secret\":\"{CANARY}\"}}\n").repeat(5000),
    )
    .unwrap();
    let mut zip = Command::new("zip");
    let output = run(zip.args(["-q", "-0", "-r", "../set.zip", "."]).current_dir(at("data")));
    assert!(output.status.success(), "{output:?}");
    let python = "
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'a') as archive:
    archive.comment = sys.argv[2].encode()
";
    mount::python(python, [at("set.zip").as_os_str(), CANARY.as_ref()]);
    fs::write(at("text"), format!("Content-Type: {CANARY}\r\n\r\n{CANARY}")).unwrap();
    fs::write(
        at("headers"),
        format!("Content-Type: application/{CANARY}\r\nContent-Transfer-Encoding: {CANARY}\r\n\r\nx"),
    )
    .unwrap();
    let mut broken = fs::read(at("set.zip")).unwrap();
    broken.truncate(broken.len() - 10);
    fs::write(at("broken"), &broken).unwrap();
    for (from, stem) in [
        ("set.zip", "export-good"),
        ("text", "export-text"),
        ("headers", "export-headers"),
        ("broken", "export-broken"),
    ] {
        corpus::encrypt(&at(from), &place.store().join(format!("{stem}.zip.smime")));
    }
}

#[test]
fn no_plaintext_reaches_the_disk_or_the_log() {
    let place = Place::new();
    store_with_canary(&place);
    let log_file = place.root().join("log");
    for options in [&["-v", "-v"][..], &["-v", "-v", "--log", log_file.to_str().unwrap()]] {
        let mut mount = place.mount(&["k1.pem"], options);
        let good = fs::read(mount.zip("export-good")).unwrap();
        assert!(holds(&good, CANARY.as_bytes()), "the test would see nothing");
        let said = succeed("unzip", ["-p", mount.zip("export-good").to_str().unwrap()]);
        assert_eq!(said.lines().filter(|line| line.contains(CANARY)).count(), 5000);
        for stem in ["export-text", "export-headers", "export-broken"] {
            assert!([libc::EIO, libc::EOPNOTSUPP].contains(&errno(fs::read(mount.zip(stem)))), "{stem}");
        }
        for name in mount.names("history") {
            let text = fs::read(mount.path("history").join(name)).unwrap();
            assert!(!holds(&text, CANARY.as_bytes()), "{}", String::from_utf8_lossy(&text));
        }
        // Nor is there a file without a name.
        let fds = format!("/proc/{}/fd", mount.pid());
        for fd in fs::read_dir(&fds).unwrap_or_else(|e| panic!("{fds}: {e}")) {
            let Ok(target) = fs::read_link(fd.unwrap().path()) else { continue };
            let target = target.display().to_string();
            assert!(!target.contains("(deleted)") && !target.contains("memfd"), "{target}");
        }
        let log = mount.unmount();
        assert!(options.len() > 2 || log.len() >= 3, "{log:#?}");
        assert!(log.iter().all(|line| !line.contains(CANARY)), "{log:#?}");
    }
    assert!(fs::metadata(&log_file).unwrap().len() > 0);
    for file in files(place.root()) {
        assert!(!holds(&fs::read(&file).unwrap(), CANARY.as_bytes()), "{}", file.display());
    }
    assert_eq!(names(&place.tmp()), [""; 0]);
}

/// The one file in the cache.
fn remembered(place: &Place) -> PathBuf {
    let found = files(&place.cache());
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[test]
fn sizes_are_remembered_and_nothing_else() {
    let place = Place::new();
    let stems = ["iz-basic", "mixed", "whole"].map(|set| corpus::copy_set(set, &place.store()));
    let mount = place.mount(&["k1.pem"], &[]);
    let sizes = stems.each_ref().map(|stem| fs::metadata(mount.zip(stem)).unwrap().len());
    mount.unmount();
    let file = remembered(&place);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    let text = fs::read_to_string(&file).unwrap();
    let object: Value = serde_json::from_str(&text).unwrap();
    // Each with the length of the zip, and when it was made: all members of the corpus have one time.
    assert_eq!(object["version"], 2);
    let sets = object["sets"].as_object().unwrap();
    assert_eq!(object.as_object().unwrap().len(), 2);
    assert!(
        sets.values().all(|known| known.as_array().unwrap().len() == 2 && known[1] == 1_682_899_200_000_u64)
    );
    let mut found: Vec<u64> = sets.values().map(|known| known[0].as_u64().unwrap()).collect();
    let mut wanted = sizes.to_vec();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    assert!(sets.keys().all(|key| key.len() == 32 && key.bytes().all(|b| b.is_ascii_hexdigit())));
    for stem in &stems {
        let id = stem.strip_prefix("export-").unwrap();
        assert!(!text.contains(id) && !file.to_str().unwrap().contains(id));
    }
}

#[test]
fn the_next_mount_lists_remembered_sizes_and_corrects_those_that_are_wrong() {
    let place = Place::new();
    let stem = corpus::copy_set("iz-basic", &place.store());
    let mount = place.mount(&["k1.pem"], &[]);
    let bytes = fs::read(mount.zip(&stem)).unwrap();
    mount.unmount();
    let file = remembered(&place);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(&bytes.len().to_string(), "1234567")).unwrap();
    // That the wrong size is shown tells that no key was unwrapped for it.
    let mount = place.mount(&["k1.pem"], &[]);
    assert_eq!(fs::metadata(mount.zip(&stem)).unwrap().len(), 1_234_567);
    mount::within(std::time::Duration::from_secs(1), "the truth", || {
        fs::read(mount.zip(&stem)).is_ok_and(|now| now == bytes)
    });
    assert_eq!(fs::metadata(mount.zip(&stem)).unwrap().len(), bytes.len() as u64);
    mount.unmount();
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn other_keys_do_not_profit_from_what_was_remembered() {
    let place = Place::new();
    let stem = corpus::copy_set("iz-one", &place.store());
    let mount = place.mount(&["k1.pem"], &[]);
    let size = fs::metadata(mount.zip(&stem)).unwrap().len();
    mount.unmount();
    let mount = place.mount(&["k2.pem"], &[]);
    assert_ne!(fs::metadata(mount.zip(&stem)).unwrap().len(), size);
    assert_eq!(errno(fs::read(mount.zip(&stem))), libc::ENOKEY);
}

#[test]
fn a_mount_works_where_nothing_can_be_remembered() {
    let place = Place::new();
    let stem = corpus::copy_set("iz-one", &place.store());
    fs::write(place.cache(), "in the way").unwrap();
    let mount = place.mount(&["k1.pem"], &[]);
    assert!(fs::read(mount.zip(&stem)).is_ok());
    let log = mount.unmount();
    assert!(
        !log.is_empty() && log.iter().all(|line| line.starts_with("warn: sizes are not remembered: ")),
        "{log:#?}"
    );
}
