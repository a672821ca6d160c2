//! Any set of ranges, read by several threads at once, equals the bytes that OpenSSL decrypts and the join gives:
//! over every encoding and cipher, every encoding and kind of split, every cipher and kind of split.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::support::corpus;
use crate::support::messages::{Cipher, Encoding, encrypt, run};
use cddsfs::artifact::{self, OpenedSet, Zip};
use cddsfs::io::ReadAt;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// How the zip is spread over files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Split {
    Whole,
    /// By `zip -s`: a true split zip.
    Disks,
    /// By `split -b`, after it was zipped.
    Cut,
}

impl Split {
    const ALL: [Split; 3] = [Split::Whole, Split::Disks, Split::Cut];
}

/// The parts before their encryption, by the file name that each has.
struct Plain {
    parts: Vec<(String, Vec<u8>)>,
    joined: Vec<u8>,
}

const THREADS: usize = 4;
/// Sets of ranges that each combination is read with.
const ROUNDS: u32 = 16;

static PLAIN: LazyLock<[Plain; 3]> = LazyLock::new(|| Split::ALL.map(plain));

fn plain(split: Split) -> Plain {
    let dir = tempfile::tempdir().unwrap();
    let (members, out) = (dir.path().join("members"), dir.path().join("out"));
    fs::create_dir_all(members.join("media")).unwrap();
    fs::create_dir(&out).unwrap();
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    let mut noise = |len: usize| -> Vec<u8> {
        let next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 32) as u8
        };
        std::iter::repeat_with(next).take(len).collect()
    };
    for (name, len) in [("a.bin", 30_011), ("media/b.wav", 151_000), ("media/empty", 0), ("z.bin", 9_001)] {
        fs::write(members.join(name), noise(len)).unwrap();
    }
    fs::write(members.join("rows.json"), "{\"row\": 1}\n".repeat(5000)).unwrap();
    let zip = |options: &[&str]| {
        run("zip", &[&["-q", "-X", "-r"], options, &["../out/x.zip", "."]].concat(), &members)
    };
    match split {
        Split::Whole => zip(&[]),
        Split::Disks => zip(&["-s", "64k"]),
        Split::Cut => {
            zip(&[]);
            run("split", &["-b", "70001", "-d", "-a", "3", "--numeric-suffixes=1", "x.zip", "x.zip."], &out);
            fs::remove_file(out.join("x.zip")).unwrap();
        }
    }
    let mut names: Vec<String> =
        fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    // The order does for names of one length: .z01 .. .zip, and .zip.001 on.
    names.sort();
    assert!(split == Split::Whole || names.len() >= 3, "{names:?}");
    let splitzip = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/splitzip.py");
    let mut join = vec![splitzip.to_str().unwrap(), "join", "--narrow", "-o", "../joined"];
    join.extend(names.iter().map(String::as_str));
    run("python3", &join, &out);
    let joined = fs::read(dir.path().join("joined")).unwrap();
    let parts = names.into_iter().map(|name| (name.clone(), fs::read(out.join(name)).unwrap())).collect();
    Plain { parts, joined }
}

/// Encrypts the parts of one kind of split, each with its own content key, and opens the set.
///
/// Nothing is left on disk: the parts are open.
fn open(split: Split, encoding: Encoding, cipher: Cipher) -> Zip {
    let dir = tempfile::tempdir().unwrap();
    let keys = corpus::dir().join("keys");
    for (name, bytes) in &PLAIN[split as usize].parts {
        let path = dir.path().join(format!("{name}.smime"));
        fs::write(&path, encrypt(bytes, encoding, cipher, &keys, &dir.path().join("work"))).unwrap();
    }
    let parts = corpus::parts(dir.path());
    match artifact::open(&parts, &corpus::identities(&["k1.pem"]), false, &cddsfs::io::Budget::unlimited())
        .unwrap()
    {
        OpenedSet::Zip(zip) => zip,
        OpenedSet::Incomplete(gaps) => panic!("{gaps:?}"),
    }
}

/// Reads one range and compares it, with what must not be touched behind it.
fn check(zip: &Zip, expected: &[u8], offset: u64, len: usize) {
    const UNTOUCHED: u8 = 0xA5;
    let from = expected.len().min(offset.try_into().unwrap_or(usize::MAX));
    let wanted = &expected[from..expected.len().min(from.saturating_add(len))];
    let mut buf = vec![UNTOUCHED; len];
    let got = zip.read_at(&mut buf, offset).unwrap_or_else(|e| panic!("{len} bytes at {offset}: {e}"));
    assert_eq!(got, wanted.len(), "{len} bytes at {offset}");
    assert!(buf[..got] == *wanted, "{len} bytes at {offset} are others");
    assert!(
        buf[got..].iter().all(|&b| b == UNTOUCHED),
        "{len} bytes at {offset}: more was written than read"
    );
}

type Ranges = Vec<(u64, usize)>;

fn ranges(total: usize) -> impl Strategy<Value = Vec<Ranges>> {
    let anywhere = 0..total as u64 + 100;
    let aligned = (0..total as u64 / 16).prop_map(|block| block * 16);
    let near_the_end = (0..200u64).prop_map(move |back| (total as u64).saturating_sub(back));
    let offset = prop_oneof![4 => anywhere, 1 => aligned, 1 => near_the_end, 1 => Just(u64::MAX)];
    let len = prop_oneof![1 => Just(0), 3 => 1..48usize, 6 => 1..6000usize, 2 => 1..90_000usize];
    prop::collection::vec(prop::collection::vec((offset, len), 1..8), THREADS)
}

fn check_combination(split: Split, encoding: Encoding, cipher: Cipher) {
    let zip = open(split, encoding, cipher);
    let expected = &PLAIN[split as usize].joined[..];
    assert_eq!(zip.len(), expected.len() as u64);
    let config = Config { cases: ROUNDS, failure_persistence: None, ..Config::default() };
    let run = TestRunner::new(config).run(&ranges(expected.len()), |of_threads| {
        thread::scope(|scope| {
            for ranges in &of_threads {
                scope.spawn(|| ranges.iter().for_each(|&(offset, len)| check(&zip, expected, offset, len)));
            }
        });
        Ok(())
    });
    run.unwrap_or_else(|e| panic!("{split:?} {encoding:?} {cipher:?}: {e}"));
    for (offset, len) in [(0, expected.len()), (0, expected.len() + 1), (1, expected.len()), (0, 0)] {
        check(&zip, expected, offset, len);
    }
}

/// Checks combinations on all cores: most of the time goes to starting `openssl`.
fn check_all(combinations: impl Iterator<Item = (Split, Encoding, Cipher)>) {
    let combinations: Vec<_> = combinations.collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(&(split, encoding, cipher)) =
                    combinations.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    check_combination(split, encoding, cipher);
                }
            });
        }
    });
}

#[test]
fn every_encoding_with_every_cipher() {
    let pairs = Encoding::ALL.into_iter().flat_map(|e| Cipher::ALL.map(|c| (Split::Whole, e, c)));
    check_all(pairs);
}

#[test]
fn every_encoding_with_every_kind_of_split() {
    let pairs = Encoding::ALL.into_iter().flat_map(|e| Split::ALL.map(|s| (s, e, Cipher::Aes256)));
    check_all(pairs.filter(|(split, ..)| *split != Split::Whole));
}

#[test]
fn every_cipher_with_every_kind_of_split() {
    let pairs = Cipher::ALL.into_iter().flat_map(|c| Split::ALL.map(|s| (s, Encoding::StreamedSmime, c)));
    check_all(pairs.filter(|(split, ..)| *split != Split::Whole));
}
