//! What happens in the store shows in the mount within one second.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::support::corpus;
use crate::support::mount::{self, Mount, Place, errno, names, succeed, within};

const SECOND: Duration = Duration::from_secs(1);
const KEYS: [&str; 1] = ["k1.pem"];

/// What is measured here is measured one at a time. (With cargo nextest .config/nextest.toml sees to that.)
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The parts of a set, and what the zip must be.
fn parts(set: &str) -> (String, Vec<(String, PathBuf)>, String) {
    let dir = corpus::dir().join("split").join(set).join("smime");
    let parts = corpus::parts(&dir);
    let stem = parts[0].name.split_once('.').unwrap().0.to_string();
    let sha256 = corpus::sets().into_iter().find(|(name, _)| name == set).unwrap().1;
    (stem, parts.into_iter().map(|part| (part.name.clone(), dir.join(part.name))).collect(), sha256)
}

fn is_whole(mount: &Mount, stem: &str, sha256: &str) -> bool {
    mount.names("artifacts").contains(&format!("{stem}.zip"))
        && mount.names("history").contains(&format!("{stem}.json"))
        && fs::read(mount.zip(stem)).is_ok_and(|bytes| corpus::sha256(&bytes) == sha256)
}

#[test]
fn a_set_that_a_browser_downloads_shows_part_by_part() {
    let _alone = alone();
    for unfinished in ["crdownload", "part"] {
        let place = Place::new();
        let mount = place.mount(&KEYS, &[]);
        let (stem, parts, sha256) = parts("iz-basic");
        // The last part first, as a browser may do with several downloads at once.
        for (i, (name, path)) in parts.iter().enumerate().rev() {
            let partial = place.store().join(format!("{name}.{unfinished}"));
            let bytes = fs::read(path).unwrap();
            let mut file = File::create(&partial).unwrap();
            file.write_all(&bytes[..bytes.len() / 2]).unwrap();
            std::thread::sleep(Duration::from_millis(150));
            assert!(!mount.names("encrypted").iter().any(|shown| shown.starts_with(name.as_str())));
            file.write_all(&bytes[bytes.len() / 2..]).unwrap();
            drop(file);
            fs::rename(partial, place.store().join(name)).unwrap();
            within(SECOND, "a part that has arrived", || mount.names("encrypted").contains(name));
            if i > 0 {
                let incomplete = format!("{stem}.zip.incomplete");
                within(SECOND, "what is missing", || {
                    let text = fs::read_to_string(mount.path("artifacts").join(&incomplete));
                    text.is_ok_and(|text| {
                        text.contains(&format!("missing:\n  {}\n", parts[0].0))
                            && text.contains(name.as_str())
                    })
                });
                assert_eq!(mount.names("artifacts"), [incomplete]);
            }
        }
        within(SECOND, "the whole set", || is_whole(&mount, &stem, &sha256));
        assert_eq!(mount.names("artifacts"), [format!("{stem}.zip")]);
        assert_eq!(mount.unmount(), [""; 0]);
    }
}

#[test]
fn a_name_that_was_not_there_a_moment_ago_is_found() {
    let _alone = alone();
    let place = Place::new();
    let mount = place.mount(&KEYS, &[]);
    let (stem, parts, sha256) = parts("iz-one");
    // The kernel must not remember that it was not there.
    let shown = [mount.zip(&stem), mount.path("history").join(format!("{stem}.json"))];
    shown.iter().for_each(|path| assert_eq!(errno(fs::metadata(path)), libc::ENOENT));
    fs::copy(&parts[0].1, place.store().join(&parts[0].0)).unwrap();
    within(SECOND, "both names", || shown.iter().all(|path| path.exists()));
    assert!(is_whole(&mount, &stem, &sha256));
}

#[test]
fn a_set_that_changes_in_place_is_another_at_once() {
    let _alone = alone();
    let place = Place::new();
    let (stem, _, before) = parts("iz-basic");
    corpus::copy_set("iz-basic", &place.store());
    let mount = place.mount(&KEYS, &[]);
    assert!(is_whole(&mount, &stem, &before));
    // Another set under the same names, written over the old files.
    let (_, others, after) = parts("cc-basic");
    let last = Instant::now();
    for (name, path) in others {
        let (_, ending) = name.split_once('.').unwrap();
        fs::write(place.store().join(format!("{stem}.{ending}")), fs::read(path).unwrap()).unwrap();
    }
    within(SECOND, "the other set", || is_whole(&mount, &stem, &after));
    assert!(last.elapsed() < mount::allowed(2 * SECOND));
    assert_eq!(mount.names("artifacts"), [format!("{stem}.zip")]);
}

#[test]
fn a_set_that_vanishes_is_gone_from_everywhere() {
    let _alone = alone();
    let place = Place::new();
    let stems = ["iz-basic", "cc-basic"].map(|set| corpus::copy_set(set, &place.store()));
    let mount = place.mount(&KEYS, &[]);
    // Seen, so that the kernel has something to forget.
    for stem in &stems {
        assert!(fs::read(mount.zip(stem)).is_ok());
    }
    let gone = names(&place.store()).into_iter().filter(|name| name.starts_with(&stems[0]));
    let away = place.root().join("away");
    fs::create_dir(&away).unwrap();
    for (i, name) in gone.enumerate() {
        let from = place.store().join(&name);
        if i % 2 == 0 { fs::remove_file(from).unwrap() } else { fs::rename(from, away.join(name)).unwrap() }
    }
    within(SECOND, "nothing of it is left", || {
        ["artifacts", "encrypted", "history"]
            .iter()
            .all(|dir| !mount.names(dir).iter().any(|name| name.starts_with(&stems[0])))
            && errno(fs::metadata(mount.zip(&stems[0]))) == libc::ENOENT
    });
    assert_eq!(mount.names("artifacts"), [format!("{}.zip", stems[1])]);
    assert!(fs::read(mount.zip(&stems[1])).is_ok());
}

#[test]
fn a_part_that_vanishes_makes_the_set_incomplete() {
    let _alone = alone();
    let place = Place::new();
    let stem = corpus::copy_set("iz-basic", &place.store());
    let mount = place.mount(&KEYS, &[]);
    assert!(fs::read(mount.zip(&stem)).is_ok());
    fs::remove_file(place.store().join(format!("{stem}.z02.smime"))).unwrap();
    within(SECOND, "it is incomplete", || {
        mount.names("artifacts") == [format!("{stem}.zip.incomplete")]
            && errno(fs::metadata(mount.zip(&stem))) == libc::ENOENT
    });
}

#[test]
fn a_file_that_grows_under_its_own_name_becomes_whole() {
    let _alone = alone();
    let place = Place::new();
    let mount = place.mount(&KEYS, &[]);
    let (stem, parts, sha256) = parts("iz-one");
    let bytes = fs::read(&parts[0].1).unwrap();
    let started = Instant::now();
    let mut file = File::create(place.store().join(&parts[0].0)).unwrap();
    for piece in bytes.chunks(bytes.len() / 40) {
        file.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(25));
        let read = fs::read(mount.zip(&stem));
        assert!(read.is_err() || corpus::sha256(&read.unwrap()) == sha256);
    }
    drop(file);
    within(SECOND, "the whole set", || is_whole(&mount, &stem, &sha256));
    // It looks like a broken download meanwhile, which is said whenever it is looked at: ten times a second at most.
    let looks = 2 + started.elapsed().as_millis() / 100;
    let log = mount.unmount();
    assert!(log.len() as u128 <= looks, "{looks} looks: {log:#?}");
}

const SETS: usize = 3000;

fn names_of_sets() -> impl Iterator<Item = String> {
    (0..SETS).map(|i| format!("export-00000000-0000-4000-8000-{i:012}"))
}

fn is_listed(mount: &Mount, count: usize) -> bool {
    ["artifacts", "encrypted", "history"].iter().all(|dir| mount.names(dir).len() == count)
}

fn ls(path: &Path) -> (usize, Duration) {
    let started = Instant::now();
    let count = succeed("ls", [path]).lines().count();
    (count, started.elapsed())
}

#[test]
fn thousands_of_sets_come_and_go_at_once_and_ls_need_not_wait_for_their_sizes() {
    let _alone = alone();
    let place = Place::new();
    let part = place.root().join("part");
    let zip = corpus::dir().join("hostile/zip/time-zero.zip");
    corpus::encrypt(&zip, &part);
    let bytes = fs::read(&part).unwrap();
    let mount = place.mount(&KEYS, &[]);
    for stem in names_of_sets() {
        fs::write(place.store().join(format!("{stem}.zip.smime")), &bytes).unwrap();
    }
    let took = within(SECOND, "all sets are listed", || is_listed(&mount, SETS));
    let (count, waited) = ls(&mount.path("artifacts"));
    eprintln!("listed after {took:?}, ls took {waited:?}");
    assert_eq!(count, SETS + 1, "with index.csv");
    assert!(waited < SECOND / 2, "ls took {waited:?}");
    // Whoever asks for sizes gets the true ones.
    let size = fs::metadata(&zip).unwrap().len();
    for stem in names_of_sets().step_by(100) {
        assert_eq!(fs::metadata(mount.zip(&stem)).unwrap().len(), size);
    }
    let said = succeed(
        "du",
        ["-b", "--max-depth=0", "--exclude=index.csv", mount.path("artifacts").to_str().unwrap()],
    );
    assert_eq!(said.split_whitespace().next().unwrap(), (size * SETS as u64).to_string());
    for stem in names_of_sets() {
        fs::remove_file(place.store().join(format!("{stem}.zip.smime"))).unwrap();
    }
    let took = within(SECOND, "all sets are gone", || {
        is_listed(&mount, 0)
            && names_of_sets().all(|stem| errno(fs::metadata(mount.zip(&stem))) == libc::ENOENT)
    });
    eprintln!("gone after {took:?}");
    assert_eq!(mount.unmount(), [""; 0]);
}

#[test]
fn a_store_of_thousands_is_listed_while_sizes_are_worked_out() {
    let _alone = alone();
    let place = Place::new();
    let part = place.root().join("part");
    corpus::encrypt(&corpus::dir().join("hostile/zip/time-zero.zip"), &part);
    let bytes = fs::read(&part).unwrap();
    for stem in names_of_sets() {
        fs::write(place.store().join(format!("{stem}.zip.smime")), &bytes).unwrap();
    }
    let started = Instant::now();
    let mount = place.mount(&KEYS, &[]);
    let mounted = started.elapsed();
    let (count, waited) = ls(&mount.path("artifacts"));
    eprintln!("mounted after {mounted:?}, ls took {waited:?}");
    assert_eq!(count, SETS + 1, "with index.csv");
    let (limit, limit_of_ls) = (mount::allowed(SECOND), mount::allowed(SECOND / 2));
    assert!(mounted < limit && waited < limit_of_ls, "mounted after {mounted:?}, ls took {waited:?}");
    drop(mount);
    fs::remove_dir_all(place.cache()).unwrap();
    // Work is what is compared, not time: the machine is not ours alone.
    let work = || {
        let mut mount = place.mount(&KEYS, &[]);
        let said = succeed("ls", ["-l", mount.path("artifacts").to_str().unwrap()]);
        assert_eq!(said.lines().count(), SETS + 2, "with index.csv and the total");
        processor_time(mount.pid())
    };
    let (first, second) = (work(), work());
    eprintln!("ls -l costs {first:?}, and in the next mount {second:?}");
    assert!(second < SECOND && second < first / 2, "first {first:?}, then {second:?}");
}

/// What a process has used of the processors (proc(5), stat, fields 14 and 15).
fn processor_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(1000 * ticks / unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as u64)
}
