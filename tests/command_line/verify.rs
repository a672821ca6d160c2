//! `cddsfs verify`: finds whatever is not as it was written, and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::corpus;
use crate::support::managed::Bench;
use cddsfs::store::catalogue::Run;
use serde_json::Value;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A store with one artifact of several parts, which tests damage and mend again.
struct Artifact {
    bench: Bench,
    run: Run,
}

impl Artifact {
    fn new() -> Artifact {
        let bench = Bench::new(3000);
        let run = bench.export(r#"{"title":"t","type":"Interaction","split_size":"512 KiB"}"#);
        assert!(bench.files().len() >= 3);
        Artifact { bench, run }
    }

    fn verify(&self, args: &[&str]) -> Output {
        let key = self.bench.path("key.pem");
        self.bench.cddsfs("verify", &[args, &["--key", key.to_str().unwrap()]].concat())
    }

    fn part(&self, i: usize) -> PathBuf {
        let parts = self.bench.store.catalogue.parts(&self.run.id).unwrap();
        self.bench.store.artifacts().join(&parts[i].name)
    }

    /// Damages the store, sees what is said of it, and mends it.
    #[track_caller]
    fn damaged(&self, files: &[PathBuf], damage: impl Fn(), said: &[&str]) {
        let before: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
        damage();
        let output = self.verify(&[]);
        let report = text(&output.stdout);
        assert_eq!(output.status.code(), Some(10), "{report}");
        assert!(report.starts_with("bad "), "{report}");
        assert!(said.iter().all(|text| report.contains(text)), "{said:?}: {report}");
        let without_key = self.bench.cddsfs("verify", &[]);
        assert_eq!(without_key.status.code(), Some(10));
        files.iter().zip(before).for_each(|(file, bytes)| fs::write(file, bytes).unwrap());
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_string()
}

#[test]
fn a_sound_artifact_is_ok() {
    let artifact = Artifact::new();
    let output = artifact.verify(&[]);
    let report = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert!(report.starts_with("ok ") && report.trim_end().ends_with("manifest"), "{report}");
    assert_eq!(report.lines().count(), 1);
    let json: Value =
        serde_json::from_slice(&artifact.verify(&["--json", &artifact.run.id[..8]]).stdout).unwrap();
    assert_eq!((&json["verdict"], &json["run"]), (&"ok".into(), &artifact.run.id.as_str().into()));
    assert_eq!(json["manifest"], true);
    let without_key = artifact.bench.cddsfs("verify", &[]);
    assert_eq!(without_key.status.code(), Some(0));
    assert!(text(&without_key.stdout).contains("without a key nothing can be decrypted"));
    assert_eq!(artifact.verify(&["0000"]).status.code(), Some(4));
}

#[test]
fn every_flipped_bit_is_found_and_its_place_named() {
    let artifact = Artifact::new();
    let last = artifact.bench.files().len() - 1;
    for i in [0, 1, last] {
        let part = artifact.part(i);
        let len = fs::metadata(&part).unwrap().len();
        // MIME header, envelope, content, last block, last byte.
        for at in [0, 100, 700, len / 2, len - 100, len - 1] {
            let block = at / 65536 * 65536;
            let range = format!("the bytes from {block} to {}", (block + 65536).min(len));
            let flip = || {
                let mut bytes = fs::read(&part).unwrap();
                bytes[at as usize] ^= 1 << (at % 8);
                fs::write(&part, bytes).unwrap();
            };
            artifact.damaged(std::slice::from_ref(&part), flip, &[&name(&part), &range]);
        }
    }
    assert_eq!(artifact.verify(&[]).status.code(), Some(0));
}

#[test]
fn parts_that_are_cut_missing_or_swapped_are_named() {
    let artifact = Artifact::new();
    let (first, second) = (artifact.part(0), artifact.part(1));
    let both = [first.clone(), second.clone()];
    let len = fs::metadata(&first).unwrap().len();
    let cut = || fs::File::options().write(true).open(&first).unwrap().set_len(len - 1).unwrap();
    artifact.damaged(&both[..1], cut, &[&name(&first), &format!("it has {} bytes", len - 1)]);
    let remove = || fs::remove_file(&second).unwrap();
    artifact.damaged(&both[1..], remove, &[&name(&second), "is missing"]);
    let swap = || {
        let (a, b) = (fs::read(&first).unwrap(), fs::read(&second).unwrap());
        fs::write(&first, b).unwrap();
        fs::write(&second, a).unwrap();
    };
    artifact.damaged(&both, swap, &[&name(&first), &name(&second)]);
    let all: Vec<PathBuf> = (0..artifact.bench.files().len()).map(|i| artifact.part(i)).collect();
    artifact.damaged(&all, || all.iter().for_each(|part| fs::remove_file(part).unwrap()), &["is missing"]);
    artifact.bench.sql("UPDATE block_hashes SET hashes = zeroblob(length(hashes)) WHERE number = 1");
    assert_eq!(artifact.verify(&[]).status.code(), Some(10));
    assert!(text(&artifact.verify(&[]).stdout).contains("the catalogue's hashes"));
}

/// Verifies a plain store, and returns the verdicts by the stems.
fn verdicts(store: &Path, keys: &[&str]) -> BTreeMap<String, Value> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_cddsfs"));
    program.args(["verify", "--json", "--names"]).arg(store);
    for key in keys {
        program.arg("--key").arg(corpus::private_copy(key));
    }
    let output = program.output().unwrap();
    let reports: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let has = |verdict: &str| reports.iter().any(|report| report["verdict"] == verdict);
    let code = if has("bad") {
        10
    } else if has("unchecked") {
        11
    } else {
        0
    };
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    reports.into_iter().map(|report| (report["run"].as_str().unwrap().to_string(), report)).collect()
}

#[test]
fn every_sound_set_of_the_corpus_is_ok() {
    let store = tempfile::tempdir().unwrap();
    let sets: Vec<(String, String)> =
        corpus::sets().into_iter().map(|(set, _)| (corpus::copy_set(&set, store.path()), set)).collect();
    let reports = verdicts(store.path(), &["k1.pem"]);
    for (stem, set) in sets {
        let report = &reports[stem.strip_prefix("export-").unwrap_or(&stem)];
        let expected = if set == "z4-AES" { "unchecked" } else { "ok" };
        assert_eq!(report["verdict"], expected, "{set}: {report:#}");
    }
    assert!(verdicts(store.path(), &["kwrong.pem"]).values().all(|report| report["verdict"] == "unchecked"));
    assert!(verdicts(store.path(), &[]).values().all(|report| report["verdict"] == "unchecked"));
}

#[test]
fn every_damaged_set_of_the_corpus_is_bad() {
    const SOUND: [&str; 2] = ["name-z010", "upper-case"];
    let store = tempfile::tempdir().unwrap();
    let dir = corpus::dir().join("badsets");
    for set in fs::read_dir(&dir).unwrap() {
        let set = set.unwrap();
        let stem = set.file_name().into_string().unwrap();
        for part in fs::read_dir(set.path()).unwrap() {
            let part = part.unwrap();
            let name = part.file_name().into_string().unwrap();
            let (_, ending) = name.split_once('.').unwrap();
            corpus::encrypt(&part.path(), &store.path().join(format!("{stem}.{ending}.smime")));
        }
    }
    for (stem, report) in verdicts(store.path(), &["k1.pem"]) {
        let expected = if SOUND.contains(&stem.as_str()) { "ok" } else { "bad" };
        assert_eq!(report["verdict"], expected, "{stem}: {report:#}");
    }
}

#[test]
fn a_manifest_that_is_wrong_and_headers_that_disagree_are_found() {
    const MAKE: &str = r#"
import hashlib, json, sys, zipfile
body = b'{"a":1}\n{"a":2}\n'
right = {"name": "rows.json", "rows": 2, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
def make(name, file, unlisted=False):
    manifest = {"schema_version": 1, "generator": "cddsfs 0.1.0", "files": [file]}
    with zipfile.ZipFile(sys.argv[1] + "/" + name, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.json", body)
        if unlisted:
            archive.writestr("more.json", b"{}\n")
        archive.writestr("manifest.json", json.dumps(manifest))
make("right", right)
make("rows", {**right, "rows": 3})
make("bytes", {**right, "bytes": 3})
make("sha256", {**right, "sha256": "00" * 32})
make("gone", {**right, "name": "other.json"})
make("more", right, unlisted=True)
bytes_of = bytearray(open(sys.argv[1] + "/right", "rb").read())
bytes_of[14] ^= 1
open(sys.argv[1] + "/crc", "wb").write(bytes_of)
bytes_of = bytearray(open(sys.argv[1] + "/right", "rb").read())
bytes_of[30] ^= 1
open(sys.argv[1] + "/name", "wb").write(bytes_of)
"#;
    let dir = tempfile::tempdir().unwrap();
    let made = Command::new("python3").args(["-c", MAKE]).arg(dir.path()).output().unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    let store = tempfile::tempdir().unwrap();
    for file in fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        corpus::encrypt(&file.path(), &store.path().join(format!("export-{name}.zip.smime")));
    }
    let reports = verdicts(store.path(), &["k1.pem"]);
    assert_eq!(reports["right"]["verdict"], "ok", "{:#}", reports["right"]);
    for (name, member, what) in [
        ("rows", "rows.json", "says 3 rows, it has 2"),
        ("bytes", "rows.json", "says 3 bytes, it has 16"),
        ("sha256", "rows.json", "SHA-256"),
        ("gone", "other.json", "not there"),
        ("more", "more.json", "does not list it"),
        ("crc", "rows.json", "differ in the CRC-32"),
        ("name", "rows.json", "differ in the name"),
    ] {
        let fault = &reports[name]["faults"][0];
        assert_eq!(fault["member"], member, "{name}: {:#}", reports[name]);
        assert!(fault["what"].as_str().unwrap().contains(what), "{name}: {fault}");
    }
    // Where nobody said so, names of members stay where they are.
    let mut program = Command::new(env!("CARGO_BIN_EXE_cddsfs"));
    let quiet = program.arg("verify").arg(store.path()).arg("--key").arg(corpus::private_copy("k1.pem"));
    let report = text(&quiet.output().unwrap().stdout);
    assert!(report.contains("member 1: ") && !report.contains(".json"), "{report}");
}
