//! A managed store whose files were changed behind our back: what is read is what was written, or an error.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::mount::{Mount, Place, errno, names, within};
use crate::support::site::{self, Site, files};

const SECOND: Duration = Duration::from_secs(1);
/// Each set has one bit flipped at a time.
const SETS: usize = 8;
const FLIPS_PER_SET: usize = 30;

/// Everything that the mount shows of an export, by where it is.
fn shown(mount: &Mount, stem: &str) -> BTreeMap<PathBuf, io::Result<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut add = |path: PathBuf| {
        let content = fs::read(&path);
        found.insert(path, content);
    };
    add(mount.zip(stem));
    let parts = mount.names("encrypted").into_iter().filter(|name| name.starts_with(stem));
    parts.for_each(|name| add(mount.path("encrypted").join(name)));
    let root = mount.path("contents").join(stem);
    match fs::read_dir(&root) {
        Ok(_) => files(&root).into_iter().for_each(|file| add(root.join(file))),
        Err(error) => drop(found.insert(root, Err(error))),
    }
    found
}

type Shown = BTreeMap<PathBuf, Vec<u8>>;

fn whole(mount: &Mount, stem: &str) -> Shown {
    shown(mount, stem).into_iter().map(|(path, content)| (path, content.unwrap())).collect()
}

/// Changes a byte in place; neither its length nor its modification time tells.
fn flip(path: &Path, at: u64, bit: u32) {
    let before = fs::metadata(path).unwrap();
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 1 << bit;
    file.write_all_at(&byte, at).unwrap();
    file.set_times(FileTimes::new().set_modified(before.modified().unwrap())).unwrap();
    let after = fs::metadata(path).unwrap();
    assert_eq!((after.len(), after.mtime_nsec()), (before.len(), before.mtime_nsec()));
}

/// Waits until the kernel has a new inode for a part, so that nothing is read from any cache.
fn until_noticed(mount: &Mount, part: &str, before: u64) {
    let path = mount.path("encrypted").join(part);
    within(SECOND, "a changed part is another file", || {
        fs::metadata(&path).is_ok_and(|meta| meta.ino() != before)
    });
}

fn inode(mount: &Mount, part: &str) -> u64 {
    fs::metadata(mount.path("encrypted").join(part)).unwrap().ino()
}

/// Where in the parts of a set bits are flipped: where something begins or ends, and anywhere.
fn positions(sizes: &[u64], seed: u64) -> Vec<(usize, u64)> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    // The first line, the other header lines, the head of the message, the key, a middle, block edges, the end.
    let marked = |size: u64| [0, 20, 75, 150, 190, 260, 600, size / 2, 65_535, 65_536, size - 60, size - 1];
    let mut all: Vec<(usize, u64)> = sizes
        .iter()
        .enumerate()
        .flat_map(|(part, &size)| marked(size).map(|at| (part, at.min(size - 1))))
        .collect();
    // Every set has others of them.
    (0..FLIPS_PER_SET)
        .map(|i| match i % 2 {
            0 => all.swap_remove((next() % all.len() as u64) as usize),
            _ => {
                let part = (next() % sizes.len() as u64) as usize;
                (part, next() % sizes[part])
            }
        })
        .collect()
}

/// Flips bits in the stored files of some sets, one in each at a time. `judge` gets the set's number, the part, and
/// what is shown.
fn flip_all(
    mount: &Mount,
    stored: &[Vec<PathBuf>],
    stems: &[String],
    mut judge: impl FnMut(usize, &str, BTreeMap<PathBuf, io::Result<Vec<u8>>>),
) -> usize {
    let plans: Vec<Vec<(usize, u64)>> = stored
        .iter()
        .enumerate()
        .map(|(i, parts)| {
            let sizes: Vec<u64> = parts.iter().map(|part| fs::metadata(part).unwrap().len()).collect();
            positions(&sizes, i as u64 + 1)
        })
        .collect();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_string();
    let mut flips = 0;
    for round in 0..FLIPS_PER_SET {
        let chosen: Vec<(&PathBuf, u64)> =
            stored.iter().zip(&plans).map(|(parts, plan)| (&parts[plan[round].0], plan[round].1)).collect();
        let bit = |set: usize| ((round + set) % 8) as u32;
        let before: Vec<u64> = chosen.iter().map(|(part, _)| inode(mount, &name(part))).collect();
        chosen.iter().enumerate().for_each(|(set, (part, at))| flip(part, *at, bit(set)));
        for (set, (part, _)) in chosen.iter().enumerate() {
            until_noticed(mount, &name(part), before[set]);
            judge(set, &name(part), shown(mount, &stems[set]));
            flips += 1;
        }
        chosen.iter().enumerate().for_each(|(set, (part, at))| flip(part, *at, bit(set)));
    }
    flips
}

/// Exports with the paths of their stored parts.
fn sets(site: &Site, count: usize) -> (Vec<String>, Vec<Vec<PathBuf>>) {
    let ids: Vec<String> = (0..count).map(|_| site.submit(site::SPLIT)).collect();
    let stored = |id: &String| {
        site.ended(id);
        site.parts(id).iter().map(|part| site.part(part)).collect::<Vec<_>>()
    };
    (ids.iter().map(|id| format!("export-{id}")).collect(), ids.iter().map(stored).collect())
}

#[test]
fn no_flipped_bit_is_ever_read() {
    let site = Site::new(350);
    let mount = site.mount();
    let (stems, stored) = sets(&site, SETS);
    assert!(stored.iter().all(|parts| parts.len() >= 2), "{stored:?}");
    let good: Vec<Shown> = stems.iter().map(|stem| whole(&mount, stem)).collect();
    let (mut errors, mut refused) = (0, 0);
    let flips = flip_all(&mount, &stored, &stems, |set, part, found| {
        let in_encrypted = mount.path("encrypted").join(part);
        assert_eq!(errno(fs::read(&in_encrypted)), libc::EIO, "{part}");
        let mut zip_or_members = 0;
        for (path, content) in found {
            match content {
                Ok(bytes) => assert!(bytes == good[set][&path], "wrong bytes: {}", path.display()),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::EIO), "{}: {error}", path.display());
                    errors += 1;
                    let is_part = path.starts_with(mount.path("encrypted"));
                    assert!(!is_part || path == in_encrypted, "{}", path.display());
                    zip_or_members += usize::from(!is_part);
                }
            }
        }
        // Whatever is in the block of that bit, the zip needs some of it.
        assert_eq!(errno(fs::read(mount.zip(&stems[set]))), libc::EIO, "{part}");
        refused += zip_or_members;
    });
    eprintln!("{flips} flips, {errors} reads refused, {refused} of them of zips and members");
    assert!(flips >= 200 && refused >= flips);
    for ((stem, good), parts) in stems.iter().zip(&good).zip(&stored) {
        within(SECOND, "it reads again", || {
            parts.iter().all(|part| fs::read(mount.path("encrypted").join(part.file_name().unwrap())).is_ok())
        });
        within(SECOND, "it is as it was", || {
            shown(&mount, stem).iter().all(|(path, content)| content.as_ref().is_ok_and(|c| *c == good[path]))
        });
    }
    assert_eq!(site.assert_whole(), SETS);
    mount.unmount();
}

/// The test above sees something: where nobody knows what was written, the same flips do give wrong bytes.
#[test]
fn without_hashes_the_same_flips_are_seen() {
    let site = Site::new(350);
    let mount = site.mount();
    let (stems, stored) = sets(&site, 1);
    let good = fs::read(mount.zip(&stems[0])).unwrap();
    mount.unmount();
    let plain = Place::new();
    let copies: Vec<PathBuf> =
        stored[0].iter().map(|part| plain.store().join(part.file_name().unwrap())).collect();
    for (part, copy) in stored[0].iter().zip(&copies) {
        fs::copy(part, copy).unwrap();
    }
    let mut command = plain.cddsfs(["mount", "-f"]);
    command.arg(plain.store()).arg(plain.point()).arg("--key").arg(site.key());
    let mount = Mount::start(command, &plain.point());
    assert!(fs::read(mount.zip(&stems[0])).unwrap() == good);
    let mut wrong = 0;
    flip_all(&mount, &[copies], &stems, |_, _, found| {
        let zip = &found[&mount.zip(&stems[0])];
        wrong += usize::from(zip.as_ref().is_ok_and(|bytes| *bytes != good));
    });
    assert!(wrong > FLIPS_PER_SET / 4, "{wrong} wrong zips");
    mount.unmount();
}

#[test]
fn what_is_open_as_a_bit_flips_never_gives_it_out() {
    let site = Site::new(350);
    let mount = site.mount();
    let (stems, stored) = sets(&site, 1);
    let good = whole(&mount, &stems[0]);
    // Direct reads go past the kernel's cache, and so see what the file has at that moment.
    for (i, part) in stored[0].iter().enumerate() {
        let open: Vec<(&PathBuf, File)> = good.keys().map(|path| (path, direct(path))).collect();
        flip(part, fs::metadata(part).unwrap().len() / 2, i as u32 % 8);
        let mut errors = 0;
        for (path, mut file) in open {
            let mut bytes = Vec::new();
            match file.read_to_end(&mut bytes) {
                Ok(_) => assert!(bytes == good[path], "{}", path.display()),
                Err(error) => {
                    assert!([libc::EIO, libc::ESTALE].contains(&error.raw_os_error().unwrap()), "{error}");
                    assert!(good[path].starts_with(&bytes));
                    errors += 1;
                }
            }
        }
        assert!(errors >= 2, "the part and the zip at least: {errors}");
        flip(part, fs::metadata(part).unwrap().len() / 2, i as u32 % 8);
        within(SECOND, "it is as it was", || {
            good.iter().all(|(path, content)| fs::read(path).is_ok_and(|c| c == *content))
        });
    }
    mount.unmount();
}

fn direct(path: &Path) -> File {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().read(true).custom_flags(libc::O_DIRECT).open(path).unwrap()
}

/// Reads whatever the mount shows of the set now: no byte of it is wrong.
///
/// While it was not known yet that the last part is missing, the set may have been listed as a zip. That name resolves
/// for a while, to the text that says what is missing.
fn assert_nothing_wrong(mount: &Mount, stem: &str, good: &Shown) {
    let says_so = format!("{stem} is not complete.");
    for (path, content) in shown(mount, stem) {
        match content {
            Ok(bytes) => {
                let is_text = path == mount.zip(stem) && bytes.starts_with(says_so.as_bytes());
                assert!(is_text || bytes == good[&path], "wrong bytes: {}", path.display());
            }
            Err(error) => {
                let errnos = [libc::EIO, libc::ENOENT, libc::ESTALE];
                assert!(errnos.contains(&error.raw_os_error().unwrap()), "{}: {error}", path.display());
            }
        }
    }
}

#[test]
fn files_of_another_length_or_with_another_content_are_refused() {
    let site = Site::new(350);
    let mount = site.mount();
    let (stems, stored) = sets(&site, 2);
    let good = whole(&mount, &stems[0]);
    for (n, part) in stored[0].iter().enumerate() {
        let name = part.file_name().unwrap().to_str().unwrap();
        let bytes = fs::read(part).unwrap();
        let half = &bytes[..bytes.len() / 2];
        let all_but_one = &bytes[..bytes.len() - 1];
        let one_more = [&bytes[..], b"\n"].concat();
        let twice = [&bytes[..], &bytes[..]].concat();
        let others = fs::read(&stored[1][n]).unwrap();
        let neighbour = fs::read(&stored[0][(n + 1) % stored[0].len()]).unwrap();
        for (what, instead) in [
            ("empty", &b""[..]),
            ("half", half),
            ("all but one", all_but_one),
            ("one more", &one_more),
            ("twice", &twice),
            ("another set's", &others),
            ("the next", &neighbour),
        ] {
            let before = inode(&mount, name);
            fs::write(part, instead).unwrap();
            until_noticed(&mount, name, before);
            let encrypted = mount.path("encrypted").join(name);
            assert_eq!(errno(fs::read(&encrypted)), libc::EIO, "{what} instead of {name}");
            assert_eq!(errno(fs::read(mount.zip(&stems[0]))), libc::EIO, "{what} instead of {name}");
            assert_nothing_wrong(&mount, &stems[0], &good);
        }
        let before = inode(&mount, name);
        fs::write(part, &bytes).unwrap();
        until_noticed(&mount, name, before);
        assert!(whole(&mount, &stems[0]) == good, "{name} is what it was");
    }
    mount.unmount();
}

#[test]
fn a_set_with_a_part_deleted_is_shown_incomplete() {
    let site = Site::new(350);
    let mount = site.mount();
    let (stems, stored) = sets(&site, 1);
    let good = whole(&mount, &stems[0]);
    for part in &stored[0] {
        let away = site.place.root().join("away");
        fs::rename(part, &away).unwrap();
        let incomplete = format!("{}.zip.incomplete", stems[0]);
        within(SECOND, "the set is not whole", || names(&mount.path("artifacts")) == [incomplete.as_str()]);
        let text = fs::read_to_string(mount.path("artifacts").join(&incomplete)).unwrap();
        assert!(text.contains(part.file_name().unwrap().to_str().unwrap()), "{text}");
        match fs::read_to_string(mount.zip(&stems[0])) {
            Ok(of_zip) => assert_eq!(of_zip, text, "the name of the zip may lead to the text"),
            error => assert_eq!(errno(error), libc::ENOENT),
        }
        assert_nothing_wrong(&mount, &stems[0], &good);
        fs::rename(&away, part).unwrap();
        within(SECOND, "the set is whole", || {
            names(&mount.path("artifacts")) == [format!("{}.zip", stems[0])]
        });
        assert!(whole(&mount, &stems[0]) == good);
    }
    mount.unmount();
}
