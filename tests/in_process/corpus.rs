//! Every file of the corpus, read by the library without a mount.

use std::fs;
use std::sync::Arc;

use crate::support::corpus;
use cddsfs::artifact::{self, Addressing, OpenedSet, PartReader};
use cddsfs::error::{Error, Kind};
use cddsfs::io::FileReader;

fn open_part(path: &std::path::Path, keys: &[&str], addressing: Addressing) -> Result<PartReader, Error> {
    PartReader::open(
        Arc::new(FileReader::open(path)?),
        corpus::identities(keys),
        addressing,
        &cddsfs::io::Budget::unlimited(),
    )
}

#[test]
fn every_message_shape_decrypts_to_the_bytes_that_were_encrypted() {
    let one = fs::read(corpus::dir().join("plain/one.zip")).unwrap();
    let mut failures = Vec::new();
    for row in corpus::table("MANIFEST.tsv") {
        let (name, verdict) = (&row[0], row[15].as_str());
        let path = corpus::dir().join("smime").join(name);
        let key =
            if name.starts_with("nss") || name.starts_with("gpgsm") { "kmail.pem" } else { "k1+c1.pem" };
        for addressing in [Addressing::Regular, Addressing::Indexed] {
            let read = open_part(&path, &[key], addressing).and_then(|part| corpus::read_all(&part));
            let want = match name.strip_prefix("len-").and_then(|n| n.split('-').next()) {
                Some(len) => &one[..len.parse().unwrap()],
                None => &one[..],
            };
            match (verdict, read) {
                ("ok" | "nonstandard", Ok(bytes)) if bytes == want => {}
                // OpenSSL's own label, which the reference script cannot pass on.
                ("unsupported", Ok(bytes)) if name.contains("label") && bytes == want => {}
                ("unsupported", Err(e)) if e.kind() == Kind::Unsupported => {}
                ("CORRUPT-INPUT", Err(e)) if e.kind() == Kind::Unsupported => {}
                // Destroyed before it was encrypted: it decrypts to what is left.
                ("CORRUPT-INPUT", Ok(bytes)) if bytes != want => {}
                (_, Ok(bytes)) => failures.push(format!(
                    "{name} {addressing:?} ({verdict}): {} bytes, {} wanted",
                    bytes.len(),
                    want.len()
                )),
                (_, Err(e)) => {
                    failures.push(format!("{name} {addressing:?} ({verdict}): {:?} {e}", e.kind()))
                }
            }
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn every_set_is_the_one_zip_that_it_was_split_from() {
    let mut failures = Vec::new();
    for row in corpus::table("expected/JOINED.tsv") {
        let (set, size, sha256) = (&row[0], &row[4], &row[5]);
        let parts = corpus::parts(&corpus::dir().join("split").join(set).join("smime"));
        match artifact::open(
            &parts,
            &corpus::identities(&["k1.pem"]),
            false,
            &cddsfs::io::Budget::unlimited(),
        ) {
            Ok(OpenedSet::Zip(zip)) => {
                let bytes = corpus::read_all(&zip).unwrap();
                if corpus::sha256(&bytes) != *sha256 {
                    failures.push(format!("{set}: {} bytes, {size} wanted, or others", bytes.len()));
                }
            }
            Ok(OpenedSet::Incomplete(gaps)) => failures.push(format!("{set}: {gaps:?}")),
            Err(e) => failures.push(format!("{set}: {e}")),
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn every_odd_or_hostile_message_is_read_right_or_refused() {
    let one = fs::read(corpus::dir().join("plain/one.zip")).unwrap();
    let mut failures = Vec::new();
    for row in corpus::table("hostile/INDEX.tsv") {
        let (path, verdict) = (&row[0], row[1].as_str());
        if path.starts_with("zip/") {
            continue;
        }
        let file = corpus::dir().join("hostile").join(path);
        let read =
            open_part(&file, &["k1+c1.pem"], Addressing::Regular).and_then(|part| corpus::read_all(&part));
        eprintln!(
            "{path} [{verdict}]: {}",
            match &read {
                Ok(bytes) =>
                    format!("{} bytes, {}", bytes.len(), if *bytes == one { "right" } else { "other" }),
                Err(e) => format!("{:?}: {e}", e.kind()),
            }
        );
        match (verdict, read) {
            ("ok", Ok(bytes)) if bytes == one => {}
            ("eio" | "refuse", Err(_)) | ("see", _) => {}
            // That what comes out is no zip shows only when the set is opened.
            ("refuse", Ok(_)) if path.contains("plaintext-") => {}
            (_, Ok(bytes)) => failures.push(format!("{path} ({verdict}): {} bytes", bytes.len())),
            (_, Err(e)) => failures.push(format!("{path} ({verdict}): {:?} {e}", e.kind())),
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}
