//! Members of every compression method, as 7-Zip and the zip crate write them, in an encrypted export.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::SystemTime;

use crate::support::corpus;
use cddsfs::artifact::member::MemberResources;
use cddsfs::artifact::members::{Members, ROOT};
use cddsfs::artifact::{self, OpenedSet};
use cddsfs::io::Reader;

/// Content that spans several blocks and is neither all noise nor all alike.
fn content() -> Vec<u8> {
    let mut text = Vec::new();
    for i in 0..30_000u32 {
        let noise = i.wrapping_mul(2_654_435_761);
        writeln!(text, "{{\"IXNID\":\"{noise:08X}\",\"status\":{},\"text\":\"line {i}\"}}", i % 4).unwrap();
    }
    text
}

/// Encrypts a zip with OpenSSL and opens its first member.
fn open_first_member(zip: &Path, shared: &Arc<MemberResources>) -> Reader {
    let dir = zip.parent().unwrap().join("store");
    fs::create_dir_all(&dir).unwrap();
    let status = Command::new("openssl")
        .args(["cms", "-encrypt", "-binary", "-aes256", "-outform", "DER", "-in"])
        .arg(zip)
        .arg("-out")
        .arg(dir.join("export-1.zip.smime"))
        .arg(corpus::dir().join("keys/c1.pem"))
        .status()
        .unwrap();
    assert!(status.success());
    let opened = artifact::open(
        &corpus::parts(&dir),
        &corpus::identities(&["k1.pem"]),
        false,
        &cddsfs::io::Budget::unlimited(),
    )
    .unwrap();
    let OpenedSet::Zip(opened) = opened else { panic!("not whole") };
    let members =
        Members::open(Arc::new(opened), SystemTime::now(), &cddsfs::io::Budget::unlimited()).unwrap();
    members.open_member(members.children(ROOT).unwrap()[0], shared).unwrap()
}

fn check(method: &str, reader: &Reader, content: &[u8]) {
    assert_eq!(reader.len(), content.len() as u64, "{method}");
    for (offset, len) in [(0, 10), (700_000, 100_000), (5, 300_000), (content.len() - 7, 100), (262_143, 2)] {
        let to = (offset + len).min(content.len());
        assert!(reader.read_vec(offset as u64, len).unwrap() == content[offset..to], "{method} at {offset}");
    }
    assert!(corpus::read_all(&**reader).unwrap() == content, "{method}");
}

#[test]
fn what_7zip_writes() {
    let content = content();
    for method in ["Copy", "Deflate", "Deflate64", "BZip2", "LZMA", "PPMd"] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("member.json"), &content).unwrap();
        let status = Command::new("7z")
            .args(["a", "-bso0", "-bsp0", "-tzip", &format!("-mm={method}"), "x.zip", "member.json"])
            .current_dir(dir.path())
            .status()
            .unwrap();
        assert!(status.success(), "{method}");
        check(method, &open_first_member(&dir.path().join("x.zip"), &Arc::default()), &content);
    }
}

#[test]
fn what_the_zip_crate_writes() {
    use zip::CompressionMethod::{Xz, Zstd};
    let content = content();
    for method in [Zstd, Xz] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.zip");
        let mut writer = zip::ZipWriter::new(File::create(&path).unwrap());
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        writer.start_file("member.json", options).unwrap();
        writer.write_all(&content).unwrap();
        writer.finish().unwrap();
        check(&method.to_string(), &open_first_member(&path, &Arc::default()), &content);
    }
}
