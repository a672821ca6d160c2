//! Archives that stock tools make of random trees: what is in them, as we read it out of an encrypted set, is what
//! 7-Zip extracts from the plain one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::SystemTime;

use crate::support::corpus;
use cddsfs::artifact::member::MemberResources;
use cddsfs::artifact::members::{MemberKind, Members, NodeId, ROOT};
use cddsfs::artifact::{self, OpenedSet};
use cddsfs::io::Reader;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

const ARCHIVES: u64 = 200;
/// Members are decoded in blocks of so many bytes: around its multiples mistakes would be.
const BLOCK: u64 = 256 << 10;
const SIZES: [u64; 12] =
    [0, 1, 2, 511, 65_535, 65_536, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 1, 2 * BLOCK, 3 * BLOCK + 17];
const NAMES: [&str; 8] =
    ["a.json", "Grüße.json", "UCS/Chat/b.json", "UCS/Chat/c c.json", "UCS/d", "日本/e", "x/y/z/f", "g"];

/// Each makes `x.zip`, maybe with other parts, of what is in the directory `tree`.
const PRODUCERS: [(&str, &str); 12] = [
    ("Info-ZIP", "cd tree && zip -qr ../x.zip ."),
    ("Info-ZIP stored", "cd tree && zip -qr -0 ../x.zip ."),
    ("Info-ZIP best", "cd tree && zip -qr -9 ../x.zip ."),
    ("Info-ZIP bzip2", "cd tree && zip -qr -Z bzip2 ../x.zip ."),
    ("Info-ZIP split", "cd tree && zip -qr -s 64k ../x.zip ."),
    ("Info-ZIP streamed", "cd tree && zip -qr - . | cat >../x.zip"),
    ("bsdtar", "cd tree && bsdtar -c --format zip -f ../x.zip ."),
    ("7-Zip", "cd tree && 7z a -bso0 -bsp0 -tzip ../x.zip ."),
    ("7-Zip Deflate64", "cd tree && 7z a -bso0 -bsp0 -tzip -mm=Deflate64 ../x.zip ."),
    ("7-Zip LZMA", "cd tree && 7z a -bso0 -bsp0 -tzip -mm=LZMA ../x.zip ."),
    ("7-Zip PPMd", "cd tree && 7z a -bso0 -bsp0 -tzip -mm=PPMd ../x.zip ."),
    ("Python", "python3 -m zipfile -c x.zip tree/*"),
];

fn below(random: &mut ChaCha8Rng, limit: u64) -> u64 {
    random.next_u64() % limit
}

fn content(random: &mut ChaCha8Rng, len: u64) -> Vec<u8> {
    let mut bytes = vec![0; len as usize];
    match below(random, 3) {
        0 => {}
        1 => random.fill_bytes(&mut bytes),
        _ => {
            let mut at = 0;
            while at < bytes.len() {
                let line =
                    format!("{{\"IXNID\":\"{:08X}\",\"text\":\"Guten Tag\"}}\n", random.next_u32() >> 12);
                let n = line.len().min(bytes.len() - at);
                bytes[at..at + n].copy_from_slice(&line.as_bytes()[..n]);
                at += n;
            }
        }
    }
    bytes
}

fn shell(dir: &Path, script: &str) {
    let output =
        Command::new("bash").args(["-euo", "pipefail", "-c", script]).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// All files below a directory, by their paths.
fn files(root: &Path, dir: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(root, &path, found);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_string();
            found.insert(name, fs::read(&path).unwrap());
        }
    }
}

fn members_of(members: &Members, dir: NodeId, path: &str, found: &mut BTreeMap<String, NodeId>) {
    for &id in members.children(dir).unwrap() {
        let path = format!("{path}{}", members.name(id).unwrap());
        match members.kind(id).unwrap() {
            MemberKind::Directory => members_of(members, id, &format!("{path}/"), found),
            _ => {
                found.insert(path, id);
            }
        }
    }
}

fn one_archive(seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    let mut count = 0;
    while count == 0 {
        for name in NAMES {
            if below(&mut random, 3) == 0 {
                let size = SIZES[below(&mut random, SIZES.len() as u64) as usize];
                fs::create_dir_all(tree.join(name).parent().unwrap()).unwrap();
                fs::write(tree.join(name), content(&mut random, size)).unwrap();
                count += 1;
            }
        }
    }
    let (producer, script) = PRODUCERS[(seed % PRODUCERS.len() as u64) as usize];
    let cipher = ["-aes256", "-aes128", "-des3"][below(&mut random, 3) as usize];
    let form = ["-outform SMIME", "-outform DER", "-stream -outform SMIME"][below(&mut random, 3) as usize];
    shell(dir.path(), script);
    shell(dir.path(), "7z x -bso0 -bsp0 -oextracted x.zip");
    let certificate = corpus::dir().join("keys/c1.pem");
    shell(
        dir.path(),
        &format!(
            "mkdir store; for part in x.z*; do openssl cms -encrypt -binary {cipher} {form} -in $part \
             -out store/export-1${{part#x}}.smime {}; done",
            certificate.display()
        ),
    );

    let mut expected = BTreeMap::new();
    files(&dir.path().join("extracted"), &dir.path().join("extracted"), &mut expected);
    let opened = artifact::open(
        &corpus::parts(&dir.path().join("store")),
        &corpus::identities(&["k1.pem"]),
        false,
        &cddsfs::io::Budget::unlimited(),
    );
    let Ok(OpenedSet::Zip(zip)) = opened else { panic!("seed {seed}, {producer}: not opened") };
    let members = Members::open(Arc::new(zip), SystemTime::now(), &cddsfs::io::Budget::unlimited()).unwrap();
    let mut found = BTreeMap::new();
    members_of(&members, ROOT, "", &mut found);
    let names = |paths: Vec<&String>| paths.into_iter().cloned().collect::<Vec<_>>();
    assert_eq!(names(found.keys().collect()), names(expected.keys().collect()), "seed {seed}, {producer}");
    let shared = Arc::new(MemberResources::default());
    for (name, id) in &found {
        let reader = members.open_member(*id, &shared).unwrap();
        slices_from_eight_threads(&reader, &expected[name], seed);
        let all = corpus::read_all(&*reader).unwrap();
        assert!(all == expected[name], "seed {seed}, {producer}: {name}");
    }
}

fn slices_from_eight_threads(reader: &Reader, expected: &[u8], seed: u64) {
    thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                let mut random = ChaCha8Rng::seed_from_u64(seed ^ thread);
                for _ in 0..4 {
                    let from = below(&mut random, expected.len() as u64 + 1) as usize;
                    let to = (from + below(&mut random, 100_000) as usize).min(expected.len());
                    let read = reader.read_vec(from as u64, to - from).unwrap();
                    assert!(read == expected[from..to], "seed {seed}: {from}..{to}");
                }
            });
        }
    });
}

#[test]
fn two_hundred_archives_of_twelve_producers() {
    // Made before the threads, which would all make it.
    corpus::identities(&["k1.pem"]);
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(seed) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&seed| seed < ARCHIVES)
                {
                    one_archive(seed);
                }
            });
        }
    });
}
