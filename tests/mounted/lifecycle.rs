//! A mount from its beginning to its end: foreground and background, signals, unmounting, and what a dead or a hung
//! process leaves behind.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::corpus;
use crate::support::mount::{self, Mount, Place, errno, is_mounted, run, succeed, take_away, within};

const PROGRAM: &str = env!("CARGO_BIN_EXE_cddsfs");
const SECOND: Duration = Duration::from_secs(1);
const KEYS: [&str; 1] = ["k1.pem"];

/// A store with one set.
fn store(set: &str) -> (Place, String) {
    let place = Place::new();
    let stem = corpus::copy_set(set, &place.store());
    (place, stem)
}

fn key() -> String {
    corpus::private_copy("k1.pem").display().to_string()
}

/// The processes that have this path among their arguments.
fn processes_with(path: &Path) -> Vec<u32> {
    let is_one = |pid: &u32| {
        let args = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        args.split(|&b| b == 0).any(|arg| arg == path.as_os_str().as_encoded_bytes())
    };
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(is_one).collect()
}

fn unmount(point: &Path) {
    succeed(PROGRAM, [Path::new("unmount"), point]);
}

#[test]
fn in_the_background_the_program_returns_when_the_mount_answers() {
    let (place, stem) = store("iz-one");
    for _ in 0..10 {
        let mut command = place.cddsfs(["mount", "--key", &key()]);
        let output = run(command.arg(place.store()).arg(place.point()));
        assert!(
            output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(),
            "{output:?}"
        );
        assert!(fs::read(place.point().join(format!("artifacts/{stem}.zip"))).is_ok());
        let servers = processes_with(&place.point());
        assert_eq!(servers.len(), 1);
        assert_eq!(fs::read_link(format!("/proc/{}/cwd", servers[0])).unwrap(), Path::new("/"));
        let stdin = fs::read_link(format!("/proc/{}/fd/0", servers[0])).unwrap();
        assert_eq!(stdin, Path::new("/dev/null"));
        unmount(&place.point());
        within(5 * SECOND, "the program ends", || processes_with(&place.point()).is_empty());
    }
}

#[test]
fn paths_may_be_relative_and_have_blanks() {
    let place = Place::new();
    let dir = place.root().join("my files");
    let (store, point) = (dir.join("the store, mine"), dir.join("mount point"));
    [&dir, &store, &point].iter().for_each(|path| fs::create_dir(path).unwrap());
    let stem = corpus::copy_set("iz-one", &store);
    fs::copy(corpus::private_copy("k1.pem"), dir.join("my key.pem")).unwrap();
    let mut command = place.cddsfs(["mount", "the store, mine", "mount point", "--key", "my key.pem"]);
    let output = run(command.current_dir(&dir));
    assert!(output.status.success(), "{output:?}");
    assert!(fs::read(point.join(format!("artifacts/{stem}.zip"))).is_ok());
    let mut command = place.cddsfs(["unmount", "mount point"]);
    assert!(run(command.current_dir(&dir)).status.success());
    within(5 * SECOND, "it is unmounted", || fs::read_dir(&point).unwrap().next().is_none());
}

#[test]
fn mount_8_and_fstab_call_it_with_options() {
    let (place, stem) = store("iz-one");
    let options = format!("key={},ro,noauto,nofail,_netdev,user,x-systemd.automount,x-foo,uid=1234", key());
    let mut command = place.cddsfs([place.store(), place.point()]);
    let output = run(command.args(["-o", &options]));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let zip = place.point().join(format!("artifacts/{stem}.zip"));
    assert!(fs::read(&zip).is_ok());
    assert_eq!(succeed("stat", ["-c", "%u", zip.to_str().unwrap()]), "1234\n");
    let shown = succeed("findmnt", ["-nr", "-t", "fuse.cddsfs", "-o", "TARGET,SOURCE,OPTIONS"]);
    let line = shown.lines().find(|line| line.starts_with(place.point().to_str().unwrap())).unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words[1], place.store().to_str().unwrap());
    let flags: Vec<&str> = words[2].split(',').collect();
    assert!(
        ["ro", "nosuid", "nodev", "noexec", "noatime"].iter().all(|flag| flags.contains(flag)),
        "{flags:?}"
    );
    assert!(!flags.contains(&"allow_other"));
    unmount(&place.point());
}

#[test]
fn others_are_let_in_only_when_that_is_asked_for() {
    let (place, stem) = store("iz-one");
    succeed("chmod", ["755", place.root().to_str().unwrap()]);
    let as_another = |path: PathBuf| {
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "cat"]);
        run(setpriv.arg(path)).status.success()
    };
    let zip = |mount: &Mount| mount.zip(&stem);
    let mount = place.mount(&KEYS, &[]);
    assert!(!as_another(zip(&mount)));
    mount.unmount();
    let mount = place.mount(&KEYS, &["-o", "allow_other"]);
    assert!(as_another(zip(&mount)));
    mount.unmount();
    // Permissions are checked then.
    let mount = place.mount(&KEYS, &["--allow-other", "--umask", "077"]);
    assert!(!as_another(zip(&mount)));
}

/// As gvfsd-trash and volume monitors do, which look into every new mount.
#[test]
fn somebody_who_looks_for_a_moment_does_not_stop_an_unmount() {
    let (place, stem) = store("iz-one");
    let mut mount = place.mount(&KEYS, &[]);
    let reader = File::open(mount.zip(&stem)).unwrap();
    let looking = thread::spawn(move || {
        thread::sleep(SECOND / 3);
        drop(reader);
    });
    let mut command = place.cddsfs(["unmount"]);
    assert!(run(command.arg(place.point())).status.success());
    assert!(!is_mounted(&place.point()));
    looking.join().unwrap();
    assert_eq!(mount.ended(), [""; 0]);
}

#[test]
fn a_signal_unmounts_and_the_program_ends_well() {
    let (place, stem) = store("iz-one");
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut mount = place.mount(&KEYS, &[]);
        assert!(fs::read(mount.zip(&stem)).is_ok());
        mount.signal(signal);
        assert_eq!(mount.ended(), [""; 0]);
        assert!(!is_mounted(&place.point()));
    }
}

#[test]
fn a_hangup_only_has_it_look_at_the_store() {
    let (place, stem) = store("iz-one");
    let mut mount = place.mount(&KEYS, &[]);
    mount.signal(libc::SIGHUP);
    thread::sleep(SECOND / 3);
    assert!(fs::read(mount.zip(&stem)).is_ok());
    assert_eq!(mount.unmount(), [""; 0]);
}

#[test]
fn a_signal_unmounts_what_is_in_use_and_open_files_can_be_read_to_the_end() {
    let (place, stem) = store("iz-basic");
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut mount = place.mount(&KEYS, &[]);
        let file = File::open(mount.zip(&stem)).unwrap();
        mount.signal(signal);
        within(5 * SECOND, "it is unmounted", || !is_mounted(&place.point()));
        assert!(mount::names(&place.point()).is_empty());
        let mut bytes = vec![0; 432_956];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let (_, sha256) = corpus::sets().into_iter().find(|(set, _)| set == "iz-basic").unwrap();
        assert_eq!(corpus::sha256(&bytes), sha256);
        drop(file);
        let log = mount.ended();
        assert_eq!(log.len(), 1, "{log:#?}");
        assert!(log[0].contains("unmounting it as soon as it is not in use any more"), "{log:#?}");
    }
}

#[test]
fn unmounting_lazily_works_on_what_is_in_use() {
    let (place, stem) = store("iz-one");
    let mut mount = place.mount(&KEYS, &[]);
    let file = File::open(mount.zip(&stem)).unwrap();
    let mut command = place.cddsfs(["unmount", "--lazy"]);
    assert!(run(command.arg(place.point())).status.success());
    assert!(!is_mounted(&place.point()));
    file.read_at(&mut [0; 100], 100_000).unwrap();
    drop(file);
    assert_eq!(mount.ended(), [""; 0]);
}

#[test]
fn the_end_of_a_mount_does_not_take_the_next_one_with_it() {
    let (place, stem) = store("iz-one");
    let mut first = place.mount(&KEYS, &[]);
    let file = File::open(first.zip(&stem)).unwrap();
    first.signal(libc::SIGTERM);
    within(5 * SECOND, "the first is unmounted", || !is_mounted(&place.point()));
    let second = place.mount(&KEYS, &[]);
    drop(file);
    first.ended();
    assert!(is_mounted(&place.point()));
    assert!(fs::read(second.zip(&stem)).is_ok());
    second.unmount();
}

#[test]
fn it_can_be_mounted_again_at_once() {
    let (place, stem) = store("iz-one");
    for _ in 0..20 {
        let mut command = place.cddsfs(["mount", "--key", &key()]);
        let output = run(command.arg(place.store()).arg(place.point()));
        assert!(output.status.success(), "{output:?}");
        assert!(fs::read(place.point().join(format!("artifacts/{stem}.zip"))).is_ok());
        unmount(&place.point());
    }
}

/// Processes that another one has started.
fn children(parent: u32) -> Vec<u32> {
    let output = Command::new("pgrep").args(["-P", &parent.to_string()]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(|pid| pid.parse().unwrap()).collect()
}

#[test]
fn a_mount_whose_program_was_killed_is_taken_away() {
    let (place, stem) = store("iz-one");
    for options in [&[][..], &["-f"]] {
        let mut command = place.cddsfs(["mount", "--key", &key()]);
        command.args(options).arg(place.store()).arg(place.point());
        let mut started = command.spawn().unwrap();
        within(10 * SECOND, "it is mounted", || is_mounted(&place.point()));
        let reader = fs::File::open(place.point().join(format!("artifacts/{stem}.zip"))).unwrap();
        for server in processes_with(&place.point()) {
            mount::send(server, libc::SIGKILL);
        }
        within(3 * SECOND, "it is gone", || !is_mounted(&place.point()));
        drop(reader);
        started.wait().unwrap();
    }
}

#[test]
fn what_is_left_of_a_mount_is_replaced_by_the_next_one() {
    let (place, stem) = store("iz-one");
    let mut command = place.cddsfs(["mount", "--key", &key()]);
    assert!(run(command.arg(place.store()).arg(place.point())).status.success());
    let [server] = processes_with(&place.point())[..] else { panic!("one server") };
    let [watcher] = children(server)[..] else { panic!("one watcher") };
    let reader = fs::File::open(place.point().join(format!("artifacts/{stem}.zip"))).unwrap();
    mount::send(watcher, libc::SIGKILL);
    mount::send(server, libc::SIGKILL);
    // The kernel believes what it knows of the root for a second.
    within(3 * SECOND, "it is dead", || errno(fs::metadata(place.point())) == libc::ENOTCONN);
    let mut again = place.cddsfs(["mount", "--key", &key()]);
    let output = run(again.arg(place.store()).arg(place.point()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("has died; it is replaced"), "{said}");
    assert!(fs::read(place.point().join(format!("artifacts/{stem}.zip"))).is_ok());
    drop(reader);
    unmount(&place.point());
}

/// Names that end in what is trimmed elsewhere, or that mountinfo writes as escapes.
const ODD_NAMES: [&[u8]; 6] = [b"blank ", b"line\n", b"tab\tand\\", b"\\040", b"\xff\xfe,\xe9", b"#x\\134"];

#[test]
fn the_name_of_a_mount_point_is_taken_byte_for_byte() {
    let (place, stem) = store("iz-one");
    for name in ODD_NAMES {
        let point = place.root().join(OsStr::from_bytes(name));
        fs::create_dir(&point).unwrap();
        let mount = || {
            within(10 * SECOND, "the last one has ended", || processes_with(&point).is_empty());
            let mut command = place.cddsfs(["mount", "--key", &key()]);
            let output = run(command.arg(place.store()).arg(&point));
            assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
            assert!(fs::read(point.join(format!("artifacts/{stem}.zip"))).is_ok());
            let [server] = processes_with(&point)[..] else { panic!("one server") };
            server
        };
        mount();
        unmount(&point);
        assert!(!is_mounted(&point));
        let server = mount();
        mount::send(server, libc::SIGTERM);
        within(10 * SECOND, "it is unmounted", || !is_mounted(&point));
        let server = mount();
        mount::send(server, libc::SIGKILL);
        within(10 * SECOND, "it is taken away", || !is_mounted(&point));
        assert_eq!(fs::read_dir(&point).unwrap().count(), 0);
    }
}

/// Line of a mount in /proc/mounts: source, type and options.
fn mounts_line(text: &[u8], point: &Path) -> (Vec<u8>, String, String) {
    let lines = text.split(|&b| b == b'\n').map(|line| line.split(|&b| b == b' ').collect::<Vec<_>>());
    let line = lines.into_iter().find(|line| line.get(1) == Some(&point.as_os_str().as_bytes())).unwrap();
    let text = |field: &[u8]| String::from_utf8(field.to_vec()).unwrap();
    (mount::without_escapes(line[0]), text(line[2]), text(line[3]))
}

#[test]
fn the_name_of_the_source_is_shown_as_it_was_given() {
    // Where root runs the tests there may be no udev, which is what lets everybody use this device.
    const AS_NOBODY: &str = "set -e
        mknod -m 666 fuse c 10 229
        mount --bind fuse /dev/fuse
        exec setpriv --reuid 65534 --regid 65534 --clear-groups sh -c \"$@\"";
    const SCRIPT: &str =
        "\"$0\" mount store mnt --fsname=\"$1\" && cat /proc/self/mounts && \"$0\" unmount mnt";
    let place = Place::new();
    let program = place.root().join("cddsfs");
    fs::copy(PROGRAM, &program).unwrap();
    for path in [place.root(), &place.point(), &place.tmp()] {
        std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).unwrap();
    }
    for name in [r"a\", "x,y", "b c\td", "line\nline", r"\,\\,", "#é"] {
        let direct = place.mount(&[], &["--fsname", name]);
        let (source, kind, options) = mounts_line(&fs::read("/proc/self/mounts").unwrap(), &place.point());
        assert_eq!((&source[..], kind.as_str()), (name.as_bytes(), "fuse.cddsfs"));
        assert!(options.contains("nosuid") && options.contains("nodev"), "{options}");
        direct.unmount();
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", AS_NOBODY, "sh", SCRIPT]).arg(&program).arg(name);
        let output = run(command.current_dir(place.root()).env("XDG_CACHE_HOME", place.cache()));
        assert!(output.status.success(), "{name}: {output:?}");
        let (source, kind, options) = mounts_line(&output.stdout, &place.point());
        assert_eq!((&source[..], kind.as_str()), (name.as_bytes(), "fuse.cddsfs"), "by fusermount3");
        assert!(options.contains("nosuid") && options.contains("nodev"), "{options}");
        fs::remove_file(place.root().join("fuse")).unwrap();
    }
}

/// A copy of the store's directory that can be stopped: bindfs, in a process of its own.
struct Stoppable {
    point: PathBuf,
    bindfs: Child,
}

impl Stoppable {
    fn mount(from: &Path, point: &Path) -> Stoppable {
        fs::create_dir(point).unwrap();
        let mut bindfs = Command::new("bindfs");
        bindfs.args(["-f", "--no-allow-other"]).arg(from).arg(point).stdin(Stdio::null());
        let bindfs = bindfs.spawn().expect("bindfs (scripts/setup --test installs it)");
        within(5 * SECOND, "bindfs is there", || is_mounted(point) && fs::read_dir(point).is_ok());
        Stoppable { point: point.into(), bindfs }
    }
}

/// Stops it until this is dropped.
struct Stopped(u32);

impl Stopped {
    fn new(stoppable: &Stoppable) -> Stopped {
        mount::send(stoppable.bindfs.id(), libc::SIGSTOP);
        Stopped(stoppable.bindfs.id())
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        mount::send(self.0, libc::SIGCONT);
    }
}

impl Drop for Stoppable {
    fn drop(&mut self) {
        take_away(&self.point);
        let _ = self.bindfs.kill();
        let _ = self.bindfs.wait();
    }
}

#[test]
fn a_store_that_hangs_keeps_nobody_waiting_for_ever() {
    let (place, stem) = store("iz-one");
    let mount = place.mount(&KEYS, &[]);
    let wanted = fs::read(mount.zip(&stem)).unwrap();
    mount.unmount();
    let hanging = Stoppable::mount(&place.store(), &place.root().join("hanging"));
    let mut command = place.cddsfs(["mount", "-f", "--key", &key()]);
    command.arg(&hanging.point).arg(place.point());
    let mount = Mount::start(command, &place.point());
    let zip = File::open(mount.zip(&stem)).unwrap();
    let stopped = Stopped::new(&hanging);
    let read = |offset: u64| {
        let started = Instant::now();
        (errno(zip.read_at(&mut [0; 1000], offset)), started.elapsed())
    };
    let answers = thread::scope(|scope| {
        let reads: Vec<_> =
            [150_000, 200_000, 250_000, 300_000].map(|at| scope.spawn(move || read(at))).into();
        let space = scope.spawn(|| run(Command::new("df").arg(place.point())).status.success());
        // Meanwhile everything that needs no look at the store answers as ever.
        let started = Instant::now();
        let mut slowest = Duration::ZERO;
        while started.elapsed() < 25 * SECOND {
            let asked = Instant::now();
            assert_eq!(mount.names("artifacts"), [format!("{stem}.zip")]);
            assert_eq!(mount.names("encrypted").len(), 1);
            assert_eq!(fs::metadata(mount.zip(&stem)).unwrap().len(), wanted.len() as u64);
            assert!(fs::read(mount.path("history").join(format!("{stem}.json"))).is_ok());
            slowest = slowest.max(asked.elapsed());
            thread::sleep(SECOND / 4);
        }
        assert!(slowest < mount::allowed(SECOND), "{slowest:?}");
        assert!(!space.join().unwrap());
        reads.into_iter().map(|read| read.join().unwrap()).collect::<Vec<_>>()
    });
    for (errno, waited) in answers {
        assert_eq!(errno, libc::ETIMEDOUT);
        assert!(waited > 25 * SECOND && waited < 40 * SECOND, "{waited:?}");
    }

    drop(stopped);
    within(5 * SECOND, "it goes on", || {
        let mut buf = [0; 1000];
        zip.read_exact_at(&mut buf, 250_000).is_ok_and(|()| buf == wanted[250_000..251_000])
    });
    assert!(fs::read(mount.zip(&stem)).unwrap() == wanted);
    drop(zip);
    mount.unmount();
}
