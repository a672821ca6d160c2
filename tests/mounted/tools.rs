//! Everyday programs on a mounted store: every reader of zips, and what copies, maps, finds and measures files.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::corpus;
use crate::support::mount::{self, Mount, Place, names, python, run, succeed};

/// Readers of zips, with the arguments before the zip.
const READERS: [(&str, &[&str]); 8] = [
    ("unzip", &["-tq"]),
    ("zip", &["-T"]),
    ("7z", &["t"]),
    ("bsdtar", &["-tf"]),
    ("bsdtar", &["-xOf"]),
    ("busybox", &["unzip", "-tq"]),
    ("jar", &["tf"]),
    ("lsar", &["-t"]),
];

/// Where a reader is not what is being tested: (set, reader, why).
const EXCEPTIONS: [(&str, &str, &str); 9] = [
    ("z4-AES", "unzip", "knows no AES: need PK compat. v5.1"),
    ("z4-AES", "zip", "asks unzip"),
    ("z4-AES", "7z", "asks for the password; see below"),
    ("z4-AES", "bsdtar", "asks for the password; see below"),
    ("z4-AES", "busybox", "knows no AES"),
    ("z4-AES", "jar", "knows no encryption"),
    ("z4-AES", "lsar", "does not open the AES zips of 7-Zip either"),
    (
        "iz-zip64",
        "busybox",
        "reads local headers, and no zip64: fails on the unsplit zip of the same zip -fz",
    ),
    ("iz-many-zip64", "busybox", "the same"),
];

/// Mounts all sound sets; returns their names and where each is.
fn mount_all(place: &Place) -> (Mount, Vec<(String, PathBuf)>) {
    let stems: Vec<(String, String)> =
        corpus::sets().into_iter().map(|(set, _)| (corpus::copy_set(&set, &place.store()), set)).collect();
    let mount = place.mount(&["k1.pem"], &[]);
    let zips = stems.into_iter().map(|(stem, set)| (set, mount.zip(&stem))).collect();
    (mount, zips)
}

fn mount_one(place: &Place, set: &str) -> (Mount, PathBuf) {
    let stem = corpus::copy_set(set, &place.store());
    let mount = place.mount(&["k1.pem"], &[]);
    let zip = mount.zip(&stem);
    (mount, zip)
}

/// What a reader says against a zip, if anything.
fn complaint(program: &str, args: &[&str], zip: &Path) -> Option<String> {
    let output = run(Command::new(program).args(args).arg(zip));
    // What bsdtar extracts is data, not talk.
    let said =
        if args.contains(&"-xOf") { Default::default() } else { String::from_utf8_lossy(&output.stdout) };
    let warns = said.split_whitespace().any(|word| {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        ["warning", "warnings", "error", "skipping"].contains(&word.as_str())
    });
    (!output.status.success() || !output.stderr.is_empty() || warns).then(|| {
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned() + &said;
        let beginning: String = complaint.chars().take(500).collect();
        format!("{program} {args:?} {}: {}\n{beginning}", zip.display(), output.status)
    })
}

#[test]
fn every_reader_of_zips_accepts_every_set_without_a_warning() {
    let place = Place::new();
    let (_mount, zips) = mount_all(&place);
    let mut complaints = Vec::new();
    for (set, zip) in &zips {
        for (program, args) in READERS {
            if !EXCEPTIONS.iter().any(|(s, reader, _)| (*s, *reader) == (set.as_str(), program)) {
                complaints.extend(complaint(program, args, zip));
            }
        }
    }
    let (_, aes) = zips.iter().find(|(set, _)| set == "z4-AES").unwrap();
    complaints.extend(complaint("7z", &["t", "-psecret"], aes));
    complaints.extend(complaint("bsdtar", &["--passphrase", "secret", "-xOf"], aes));
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn python_finds_no_bad_member_in_any_set() {
    const SCRIPT: &str = "
import sys, zipfile
for path in sys.argv[1:]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None, path
        assert archive.namelist(), path
";
    let place = Place::new();
    let (_mount, zips) = mount_all(&place);
    python(SCRIPT, zips.iter().filter(|(set, _)| set != "z4-AES").map(|(_, zip)| zip));
}

#[test]
fn copies_are_equal_and_have_the_expected_hash() {
    let place = Place::new();
    let (_mount, zips) = mount_all(&place);
    let sums: Vec<(String, String)> = corpus::sets();
    for ((set, zip), (_, sha256)) in zips.iter().zip(&sums) {
        let copy = place.root().join(set);
        succeed("cp", [zip, &copy]);
        succeed("cmp", [zip, &copy]);
        assert_eq!(corpus::sha256(&fs::read(&copy).unwrap()), *sha256, "{set}");
        fs::remove_file(copy).unwrap();
    }
}

/// Numbers that look random and are the same in every run (splitmix64).
fn numbers(seed: u64) -> impl Iterator<Item = u64> {
    (1..).map(move |i: u64| {
        let mut z = (seed << 32).wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

#[test]
fn eight_processes_read_at_random_offsets_at_once() {
    const RANGES: usize = 40;
    let place = Place::new();
    let (_mount, zip) = mount_one(&place, "wide-z4");
    let len = fs::metadata(&zip).unwrap().len();
    let ranges = |process: u64| {
        let mut random = numbers(process);
        let mut next = move |below: u64| random.next().unwrap() % below;
        (0..RANGES).map(move |_| (next(len), 1 + next(200_000))).collect::<Vec<_>>()
    };
    let start = |process: u64| -> Child {
        let script: String = ranges(process)
            .iter()
            .map(|(skip, count)| {
                format!("dd if=\"$0\" bs=64K iflag=skip_bytes,count_bytes skip={skip} count={count} status=none || exit\n")
            })
            .collect();
        let out = File::create(place.root().join(process.to_string())).unwrap();
        Command::new("sh").arg("-c").arg(script).arg(&zip).stdin(Stdio::null()).stdout(out).spawn().unwrap()
    };
    let processes: Vec<Child> = (0..8).map(start).collect();
    for mut process in processes {
        assert!(mount::wait(&mut process).success());
    }
    let whole = fs::read(&zip).unwrap();
    let (_, sha256) = corpus::sets().into_iter().find(|(set, _)| set == "wide-z4").unwrap();
    assert_eq!(corpus::sha256(&whole), sha256);
    for process in 0..8 {
        let wanted: Vec<u8> = ranges(process)
            .into_iter()
            .flat_map(|(skip, count)| &whole[skip as usize..(skip + count).min(len) as usize])
            .copied()
            .collect();
        assert!(fs::read(place.root().join(process.to_string())).unwrap() == wanted, "process {process}");
    }
}

#[test]
fn files_can_be_mapped() {
    const SCRIPT: &str = "
import hashlib, mmap, sys
with open(sys.argv[1], 'rb') as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
    # Backwards first, so that not everything is there already when it is read in order.
    ends = [memory[at : at + 10] for at in range(len(memory) - 10, 0, -4099)]
    print(hashlib.sha256(memory).hexdigest())
    data = memory[:]
    assert ends == [data[at : at + 10] for at in range(len(data) - 10, 0, -4099)]
    assert memory.find(b'PK\\x05\\x06') == data.rfind(b'PK\\x05\\x06')
";
    let place = Place::new();
    for (set, sha256) in corpus::sets().into_iter().filter(|(set, _)| set == "wide-iz" || set == "mixed") {
        let (mount, zip) = mount_one(&place, &set);
        assert_eq!(python(SCRIPT, [zip]).trim(), sha256);
        mount.unmount();
    }
}

#[test]
fn what_find_and_du_say_is_so() {
    let place = Place::new();
    let (mount, zips) = mount_all(&place);
    let parts = names(&place.store()).len();
    let found = |dir: &str, args: &[&str]| {
        succeed("find", [mount.path(dir).to_str().unwrap()].iter().chain(args)).lines().count()
    };
    // With index.csv.
    for (dir, count) in [("artifacts", zips.len() + 1), ("history", zips.len() + 1), ("encrypted", parts)] {
        assert_eq!(found(dir, &["-type", "f"]), count);
        assert_eq!(found(dir, &["-type", "d"]), 1);
        assert_eq!(found(dir, &["-newermt", "2000-01-01", "-perm", "644", "-size", "+0"]), count);
    }
    assert_eq!(found("artifacts", &["-name", "*.zip", "-size", "+100k"]), zips.len());
    let du = |args: &[&str], path: &Path| -> u64 {
        let said = succeed("du", args.iter().map(|arg| arg.as_ref()).chain([path.as_os_str()]));
        said.split_whitespace().next().unwrap().parse().unwrap()
    };
    for (set, zip) in &zips {
        let size = fs::metadata(zip).unwrap().len();
        assert_eq!(du(&["-b"], zip), size, "{set}");
        assert_eq!(du(&["-B512"], zip), size.div_ceil(512), "{set}");
    }
    let sizes = zips.iter().map(|(_, zip)| fs::metadata(zip).unwrap().len()).sum::<u64>();
    assert!(du(&["-sB1"], &mount.path("artifacts")) >= sizes);
}

#[test]
fn find_by_age_finds_what_expires_soon() {
    let place = Place::new();
    let stem = corpus::copy_set("iz-one", &place.store());
    // Without a key nothing tells how old it is but its files.
    let mount = place.mount(&[], &[]);
    let zip = mount.zip(&stem);
    let old = |days: u32| {
        for part in names(&place.store()) {
            let part = place.store().join(part).display().to_string();
            succeed("touch", ["-d", &format!("{days} days ago 1 hour ago"), &part]);
        }
        let name = zip.file_name().unwrap().to_str().unwrap().to_string();
        let found =
            || succeed("find", [mount.path("artifacts").to_str().unwrap(), "-mtime", "+25", "-name", &name]);
        mount::within(std::time::Duration::from_secs(1), "the new age", || {
            fs::metadata(&zip).is_ok_and(|meta| {
                meta.modified().unwrap().elapsed().unwrap().as_secs() / 86_400 == u64::from(days)
            })
        });
        found().lines().count()
    };
    assert_eq!(old(25), 0, "five days are left");
    assert_eq!(old(26), 1, "four days are left");
}

#[test]
fn df_shows_the_filesystem_of_the_store() {
    let place = Place::new();
    let (mount, _) = mount_one(&place, "iz-one");
    let df = |path: &Path| -> Vec<u64> {
        let columns = ["-B1", "--output=size,itotal,avail,used"].map(Path::new);
        let said = succeed("df", columns.into_iter().chain([path]));
        said.lines().nth(1).unwrap().split_whitespace().map(|n| n.parse().unwrap()).collect()
    };
    let (of_store, of_mount) = (df(&place.store()), df(&mount.path("")));
    assert_eq!(of_mount[..2], of_store[..2]);
    // Others write to the same disk meanwhile.
    for (a, b) in of_mount[2..].iter().zip(&of_store[2..]) {
        assert!(a.abs_diff(*b) <= of_store[0] / 20, "{of_mount:?} {of_store:?}");
    }
    assert!(of_mount[2] > 0 && of_mount[3] > 0);
    let source = succeed("df", ["--output=source", mount.path("").to_str().unwrap()]);
    assert_eq!(source.lines().nth(1).unwrap(), place.store().to_str().unwrap());
}

#[test]
fn rsync_copies_everything_once() {
    let place = Place::new();
    let (mount, zips) = mount_all(&place);
    let to = place.root().join("copy");
    let rsync = || {
        let from = ["artifacts", "encrypted", "history"].map(|dir| mount.path(dir));
        succeed("rsync", [Path::new("-ai")].into_iter().chain(from.iter().map(|dir| &**dir)).chain([&*to]))
    };
    let first = rsync();
    assert!(first.lines().filter(|line| line.starts_with(">f")).count() >= 3 * zips.len());
    assert_eq!(rsync(), "");
    for (_, zip) in &zips {
        let copy = to.join("artifacts").join(zip.file_name().unwrap());
        assert_eq!(fs::metadata(copy).unwrap().mtime(), fs::metadata(zip).unwrap().mtime());
    }
}

#[test]
fn tail_and_head_give_the_ends() {
    let place = Place::new();
    let (_mount, zip) = mount_one(&place, "cc-zip64");
    let bytes = fs::read(&zip).unwrap();
    for count in ["1", "22", "5000", "100000"] {
        let n: usize = count.parse().unwrap();
        let said = |program: &str| run(Command::new(program).args(["-c", count]).arg(&zip)).stdout;
        assert!(said("tail") == bytes[bytes.len() - n..]);
        assert!(said("head") == bytes[..n]);
    }
    let file = File::open(&zip).unwrap();
    let mut buf = [0; 10];
    assert_eq!(file.read_at(&mut buf, bytes.len() as u64).unwrap(), 0);
    assert_eq!(file.read_at(&mut buf, bytes.len() as u64 - 3).unwrap(), 3);
    assert_eq!(file.read_at(&mut buf, u64::MAX >> 2).unwrap(), 0);
}
