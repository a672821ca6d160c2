//! Zips that are as hostile as their format allows, made by hand (tests/support/hostile.py): what they cost, and what is
//! shown of them.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::support::corpus;
use crate::support::mount::{self, Mount, Place, errno};
use cddsfs::artifact::members::{Members, ROOT};
use cddsfs::artifact::{self, OpenedSet};

const MIB: u64 = 1 << 20;
/// What the program may take, whatever it reads.
const LIMIT: u64 = 128 * MIB;

/// Makes zips of these kinds, or of all, and encrypts their parts into the store.
fn craft(place: &Place, kinds: &[&str]) -> PathBuf {
    let plain = place.root().join("plain");
    fs::create_dir(&plain).unwrap();
    let out = plain.to_str().unwrap();
    mount::python(include_str!("../support/hostile.py"), [&[out], kinds].concat());
    for entry in fs::read_dir(&plain).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("export-") {
            corpus::encrypt(&plain.join(&name), &place.store().join(format!("{name}.smime")));
        }
    }
    plain
}

/// Most resident memory of a process so far.
fn most_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// A control group with little memory, where this machine lets one be made. What passes its limit is killed.
struct MemoryGroup(PathBuf);

impl MemoryGroup {
    fn new(bytes: u64) -> Option<MemoryGroup> {
        let name = format!("cddsfs-hostile-{}", std::process::id());
        for (root, limit) in
            [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")]
        {
            let path = Path::new(root).join(&name);
            if fs::create_dir(&path).is_err() {
                continue;
            }
            let group = MemoryGroup(path);
            if group.0.join("cgroup.procs").exists()
                && group.0.join(limit).exists()
                && fs::write(group.0.join(limit), bytes.to_string()).is_ok()
            {
                return Some(group);
            }
        }
        None
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // What ran in it may still be on its way out.
        for _ in 0..50 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Mounts the store, in a control group if there is one.
fn mount_within(place: &Place, group: Option<&MemoryGroup>) -> Mount {
    let mut command = place.cddsfs(["mount", "-f"]);
    if let Some(group) = group {
        let script = format!("echo $$ >{}/cgroup.procs && exec \"$@\"", group.0.display());
        let program = command.get_program().to_owned();
        let environment: Vec<_> = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        command = Command::new("bash");
        command.args(["-c", &script, "bash"]).arg(program).args(["mount", "-f"]).envs(environment);
    }
    command.arg(place.store()).arg(place.point()).arg("--key").arg(corpus::private_copy("k1.pem"));
    Mount::start(command, &place.point())
}

/// How often is asked again where others have the memory.
const TRIES: usize = 5;

/// Counts what is below a directory, looking at each name as find(1) does. On a machine that has much else to do a tree may not
/// get its turn, or its memory, in the time that an answer may take: then it is asked for again.
fn count(dir: &Path) -> usize {
    let mut command = Command::new("find");
    command.arg(dir).args(["-mindepth", "1", "!", "-type", "d", "-printf", "%s\n"]).env("LC_ALL", "C");
    for _ in 0..TRIES {
        let output = mount::run(&mut command);
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            return String::from_utf8(output.stdout).unwrap().lines().count();
        }
        let is_late =
            ["Cannot allocate memory", "Connection timed out"].iter().any(|late| said.contains(late));
        assert!(is_late, "{said}");
    }
    panic!("{}: never any memory", dir.display());
}

fn read_to_end(path: &Path) -> u64 {
    let (mut file, mut buf, mut total) = (File::open(path).unwrap(), vec![0; 1 << 20], 0);
    loop {
        let n = file.read(&mut buf).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(buf[..n].iter().all(|&byte| byte == 0), "{}", path.display());
        total += n as u64;
        if n == 0 {
            return total;
        }
    }
}

#[test]
fn hostile_zips_are_read_through_a_mount_in_less_than_128_mib() {
    let place = Place::new();
    craft(&place, &[]);
    let group = MemoryGroup::new(LIMIT);
    let mut mount = mount_within(&place, group.as_ref());
    let contents = mount.path("contents");
    let refused = |path: PathBuf| {
        // As for `count`.
        let mut asked = (0..TRIES).map(|_| errno(fs::read_dir(&path)));
        let refused = asked.find(|errno| ![libc::ENOMEM, libc::ETIMEDOUT].contains(errno));
        assert_eq!(refused, Some(libc::EOPNOTSUPP), "{}", path.display());
    };
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| refused(contents.join("export-deep")));
        }
        for (name, files) in
            [("ordinary", 100_000), ("alike", 100_000), ("conflicts", 100_000), ("split-large", 100_000)]
        {
            let dir = contents.join(format!("export-{name}"));
            scope.spawn(move || assert_eq!(count(&dir), files, "{name}"));
        }
        scope.spawn(|| refused(contents.join("export-split-too-large")));
        scope.spawn(|| {
            let dir = contents.join("export-windows");
            let names = mount::names(&dir);
            let files: Vec<File> = names.iter().map(|name| File::open(dir.join(name)).unwrap()).collect();
            let mut buf = vec![1; 256 << 10];
            for at in 0..6 {
                for file in &files {
                    file.read_exact_at(&mut buf, at * (256 << 10)).unwrap();
                    assert!(buf.iter().all(|&byte| byte == 0));
                }
            }
            thread::scope(|scope| {
                for name in &names {
                    let path = dir.join(name);
                    scope.spawn(move || assert_eq!(read_to_end(&path), 36 * MIB));
                }
            });
        });
    });
    let most = most_memory(mount.pid());
    eprintln!("{} MiB at most{}", most / MIB, if group.is_some() { ", in a control group" } else { "" });
    assert!(most < LIMIT, "{} MiB", most / MIB);
    let log = mount.unmount().join("\n");
    assert!(log.contains("the names of this zip take more than 32 MiB"), "{log}");
    assert!(log.contains("a central directory of 24 MiB: no more than 16 are read"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_window_above_the_bound_is_refused_by_name_before_it_is_there() {
    let place = Place::new();
    craft(&place, &["too-large"]);
    let mut mount = place.mount(&["k1.pem"], &[]);
    let dir = mount.path("contents/export-too-large");
    for name in ["lzma", "zstd", "xz", "ppmd"] {
        assert_eq!(errno(fs::read(dir.join(name))), libc::EOPNOTSUPP, "{name}");
    }
    assert_eq!(
        read_to_end(&dir.join("small")),
        MIB,
        "what it says of its dictionary is more than it has content"
    );
    assert!(most_memory(mount.pid()) < 64 * MIB);
    let log = mount.unmount().join("\n");
    for what in [
        "LZMA with a window of 2048 MiB",
        "zstd with a window of 128",
        "xz with a window of 48",
        "PPMd with a window of 256",
    ] {
        assert!(log.contains(what) && log.contains("no more than 32 MiB are read"), "{what}: {log}");
    }
}

#[test]
fn links_that_lead_out_of_the_archive_are_texts() {
    let place = Place::new();
    let plain = craft(&place, &["links"]);
    let mount = place.mount(&["k1.pem"], &[]);
    let dir = mount.path("contents/export-links");
    for row in fs::read_to_string(plain.join("links.tsv")).unwrap().lines() {
        let [name, kind, hex] = row.split('\t').collect::<Vec<_>>()[..] else { panic!("{row}") };
        let octet = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
        let target: Vec<u8> = (0..hex.len()).step_by(2).map(octet).collect();
        // Whoever looks for a file of the link's name is not to take the text for it.
        let path = dir.join(if kind == "link" { name.into() } else { format!("{name}.link") });
        assert_eq!(fs::symlink_metadata(dir.join(name)).is_ok(), kind == "link", "{name}");
        let meta = fs::symlink_metadata(&path).unwrap();
        assert_eq!((meta.is_symlink(), meta.is_file()), (kind == "link", kind == "text"), "{name}");
        assert_eq!(meta.len(), target.len() as u64, "{name}");
        let mut getfattr = Command::new("getfattr");
        getfattr.args(["-h", "--only-values", "-n", "user.cddsfs.original_name"]).arg(&path);
        let says = mount::run(&mut getfattr).stdout;
        if kind == "link" {
            assert_eq!(fs::read_link(&path).unwrap().as_os_str().as_bytes(), target, "{name}");
            assert!(says.is_empty(), "{name}");
            continue;
        }
        assert_eq!(fs::read(&path).unwrap(), target, "{name}");
        assert!(says.starts_with(name.as_bytes()), "{name}");
        assert!(says.ends_with(b" (a symbolic link, shown as a text)"), "{name}");
        if (1..4096).contains(&target.len()) {
            assert!(says.windows(target.len()).any(|window| window == target), "{name}");
        }
    }
    assert_eq!(fs::read_to_string(dir.join("plain/through")).unwrap(), "inner");
    assert_eq!(fs::read_to_string(dir.join("plain/up-and-down")).unwrap(), "here");
}

#[test]
fn names_that_are_alike_are_told_apart_in_time_in_proportion_to_their_number() {
    let place = Place::new();
    craft(&place, &["alike", "conflicts"]);
    for (name, files) in [("alike", 100_000), ("conflicts", 100_001)] {
        let store = place.root().join(name);
        fs::create_dir(&store).unwrap();
        let part = format!("export-{name}.zip.smime");
        fs::rename(place.store().join(&part), store.join(&part)).unwrap();
        let opened = artifact::open(
            &corpus::parts(&store),
            &corpus::identities(&["k1.pem"]),
            false,
            &cddsfs::io::Budget::unlimited(),
        )
        .unwrap();
        let OpenedSet::Zip(zip) = opened else { panic!("{name} is not whole") };
        let started = Instant::now();
        let members =
            Members::open(Arc::new(zip), SystemTime::now(), &cddsfs::io::Budget::unlimited()).unwrap();
        // It takes a second; if each name were compared with all others it would be many minutes.
        assert!(started.elapsed() < Duration::from_secs(20), "{name}: {:?}", started.elapsed());
        let children = members.children(ROOT).unwrap();
        assert_eq!(children.len(), files, "{name}");
        assert!(
            children.iter().all(|&id| members.child(ROOT, members.name(id).unwrap()).unwrap() == Some(id))
        );
        eprintln!("{name}: {:?}", started.elapsed());
    }
}
