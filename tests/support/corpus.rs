//! The corpus that scripts/corpus makes with stock tools, and what it says of itself.

// Not every kind of test uses all of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use cddsfs::artifact::PartFile;
use cddsfs::crypto::Identity;
use cddsfs::format::part_name;
use cddsfs::io::{FileReader, ReadAt, Reader};

/// Returns the corpus directory; a test without its corpus fails, it does not pass silently.
pub fn dir() -> PathBuf {
    let dir = std::env::var_os("CDDSFS_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/corpus"), PathBuf::from);
    assert!(dir.join("MANIFEST.tsv").exists(), "no corpus in {}: run scripts/corpus first", dir.display());
    dir
}

/// Reads a table: rows of columns, without the header.
pub fn table(path: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(dir().join(path)).unwrap();
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| line.split('\t').map(str::to_string).collect()).collect()
}

/// Loads keys of the corpus; their files are made readable by the owner alone first, as a user has to.
pub fn identities(names: &[&str]) -> Arc<[Identity]> {
    names
        .iter()
        .map(|name| {
            let path = private_copy(name);
            Identity::load(&path, &mut |_| Ok(Some(b"secret".to_vec().into()))).unwrap()
        })
        .collect()
}

/// Returns a copy of a key file with mode 0600.
pub fn private_copy(name: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let keys = dir().join("private-keys");
    fs::create_dir_all(&keys).unwrap();
    let to = keys.join(name);
    if !to.exists() {
        // Tests run in parallel: nobody may see a half-written key.
        let unfinished = keys.join(format!("{name}.{:?}", std::thread::current().id()));
        fs::copy(dir().join("keys").join(name), &unfinished).unwrap();
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(&unfinished, &to).unwrap();
    }
    to
}

/// Returns the parts in a directory, in order.
pub fn parts(dir: &Path) -> Vec<PartFile> {
    let mut parts: BTreeMap<_, _> = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        let ordinal = part_name::parse(&name).unwrap_or_else(|| panic!("{name}")).ordinal;
        let open = Arc::new(move || Ok(Arc::new(FileReader::open(&path)?) as Reader));
        parts.insert(ordinal, PartFile { ordinal, name, open });
    }
    parts.into_values().collect()
}

/// Copies the encrypted parts of a split set into a store, and returns the stem of their names.
pub fn copy_set(set: &str, store: &Path) -> String {
    let from = dir().join("split").join(set).join("smime");
    let parts = parts(&from);
    for part in &parts {
        fs::copy(from.join(&part.name), store.join(&part.name)).unwrap();
    }
    part_name::parse(&parts[0].name).unwrap().stem.to_string()
}

/// Returns the sets that are in the corpus, with the SHA-256 of the zip that each must be.
pub fn sets() -> Vec<(String, String)> {
    table("expected/JOINED.tsv").into_iter().map(|row| (row[0].clone(), row[5].clone())).collect()
}

/// Encrypts a file to the corpus's certificate, as an export service would.
pub fn encrypt(from: &Path, to: &Path) {
    let mut openssl = Command::new("openssl");
    openssl.args(["cms", "-encrypt", "-binary", "-aes256", "-outform", "DER", "-in"]).arg(from);
    let output = openssl.arg("-out").arg(to).arg(dir().join("keys/c1.pem")).output().unwrap();
    assert!(output.status.success(), "{openssl:?}: {output:?}");
}

pub fn sha256(bytes: &[u8]) -> String {
    openssl::sha::sha256(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

pub fn read_all(reader: &dyn ReadAt) -> cddsfs::error::Result<Vec<u8>> {
    reader.read_vec(0, reader.len() as usize)
}
