//! Nothing in a mount can be changed, by whatever system call, and none of them is said not to exist.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::ptr::null;

use crate::support::corpus;
use crate::support::mount::{self, Mount, Place, succeed};
use libc::{AT_FDCWD, EROFS};

type Call = (&'static str, fn(&CStr, &CStr) -> i32);

/// Calls that change what is there; the second path is a free name in the same directory.
const ON_ALL: [Call; 9] = [
    ("chmod", |path, _| unsafe { libc::chmod(path.as_ptr(), 0o600) }),
    ("chown", |path, _| unsafe { libc::chown(path.as_ptr(), 1, 1) }),
    ("lchown", |path, _| unsafe { libc::lchown(path.as_ptr(), 1, 1) }),
    ("utimensat", |path, _| unsafe { libc::utimensat(AT_FDCWD, path.as_ptr(), null(), 0) }),
    ("utimensat to a time", |path, _| {
        let times = [libc::timespec { tv_sec: 1, tv_nsec: 1 }; 2];
        unsafe { libc::utimensat(AT_FDCWD, path.as_ptr(), times.as_ptr(), 0) }
    }),
    ("setxattr", |path, _| unsafe {
        libc::setxattr(path.as_ptr(), c"user.mine".as_ptr(), c"1".as_ptr().cast(), 1, 0)
    }),
    ("setxattr of ours", |path, _| unsafe {
        libc::setxattr(path.as_ptr(), c"user.cddsfs.status".as_ptr(), c"1".as_ptr().cast(), 1, 0)
    }),
    ("removexattr", |path, _| unsafe { libc::removexattr(path.as_ptr(), c"user.cddsfs.status".as_ptr()) }),
    ("rename", |path, free| unsafe { libc::rename(path.as_ptr(), free.as_ptr()) }),
];

const ON_FILES: [Call; 7] = [
    ("open for writing", |path, _| unsafe { libc::open(path.as_ptr(), libc::O_WRONLY) }),
    ("open for both", |path, _| unsafe { libc::open(path.as_ptr(), libc::O_RDWR) }),
    ("open and truncate", |path, _| unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_TRUNC) }),
    ("open to append", |path, _| unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_APPEND) }),
    ("truncate", |path, _| unsafe { libc::truncate(path.as_ptr(), 0) }),
    ("unlink", |path, _| unsafe { libc::unlink(path.as_ptr()) }),
    ("link", |path, free| unsafe { libc::link(path.as_ptr(), free.as_ptr()) }),
];

const ON_DIRECTORIES: [Call; 1] = [("rmdir", |path, _| unsafe { libc::rmdir(path.as_ptr()) })];

/// Calls that make something under a free name.
const ON_FREE_NAMES: [Call; 6] = [
    ("creat", |_, free| unsafe { libc::creat(free.as_ptr(), 0o644) }),
    ("open to create", |_, free| unsafe { libc::open(free.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o644) }),
    ("mkdir", |_, free| unsafe { libc::mkdir(free.as_ptr(), 0o755) }),
    ("symlink", |_, free| unsafe { libc::symlink(c"/etc".as_ptr(), free.as_ptr()) }),
    ("mknod", |_, free| unsafe { libc::mknod(free.as_ptr(), libc::S_IFREG | 0o644, 0) }),
    ("mkfifo", |_, free| unsafe { libc::mkfifo(free.as_ptr(), 0o644) }),
];

fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// A mount with something of every kind in it, and one path of each kind.
fn mount_all_kinds(place: &Place) -> (Mount, Vec<PathBuf>) {
    let whole = corpus::copy_set("iz-basic", &place.store());
    let incomplete = corpus::copy_set("lite", &place.store());
    fs::remove_file(place.store().join(format!("{incomplete}.z02.smime"))).unwrap();
    let mount = place.mount(&["k1.pem"], &[]);
    let kinds = [
        "artifacts".to_string(),
        "encrypted".into(),
        "history".into(),
        "contents".into(),
        format!("contents/{whole}"),
        format!("contents/{whole}/blob.bin"),
        format!("artifacts/{whole}.zip"),
        format!("artifacts/{incomplete}.zip.incomplete"),
        format!("encrypted/{whole}.z03.smime"),
        format!("history/{whole}.json"),
    ];
    let paths = kinds.iter().map(|kind| mount.path(kind)).collect();
    (mount, paths)
}

/// Everything that can be seen of a tree.
fn seen(dir: &Path, into: &mut BTreeMap<PathBuf, (u32, u64, i64, u64, Vec<u8>)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_file() { fs::read(&path).unwrap_or_default() } else { Vec::new() };
        into.insert(path.clone(), (meta.mode(), meta.ino(), meta.mtime(), meta.size(), content));
        if meta.is_dir() {
            seen(&path, into);
        }
    }
}

fn snapshot(dirs: [&Path; 2]) -> BTreeMap<PathBuf, (u32, u64, i64, u64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    dirs.iter().for_each(|dir| seen(dir, &mut all));
    all
}

/// The one line is about a member in the part that is not there.
fn check_log(log: Vec<String>) {
    assert!(log.len() <= 1 && log.iter().all(|line| line.ends_with(".z02 is missing")), "{log:#?}");
}

/// Makes all calls on all kinds of paths; returns those that did not fail with EROFS.
fn not_refused(mount: &Mount, paths: &[PathBuf]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut make = |(name, call): &Call, path: &Path, free: &Path| {
        let done = call(&c(path), &c(free));
        let errno = io::Error::last_os_error().raw_os_error().unwrap();
        if done != -1 || errno != EROFS {
            wrong.push(format!("{name} {}: {done}, errno {errno}", path.display()));
        }
    };
    for path in paths {
        let free = path.with_file_name("free-name.json");
        ON_ALL.iter().for_each(|call| make(call, path, &free));
        let calls: &[Call] = if path.is_dir() { &ON_DIRECTORIES } else { &ON_FILES };
        calls.iter().for_each(|call| make(call, path, &free));
        ON_FREE_NAMES.iter().for_each(|call| make(call, path, &free));
        if path.is_dir() {
            let free = path.join("free-name.zip");
            ON_FREE_NAMES.iter().for_each(|call| make(call, path, &free));
        }
    }
    // The root cannot be moved or removed in any filesystem.
    let (root, free) = (mount.path(""), mount.path("free-name"));
    ON_ALL.iter().filter(|(name, _)| *name != "rename").for_each(|call| make(call, &root, &free));
    ON_FREE_NAMES.iter().for_each(|call| make(call, &root, &free));
    wrong
}

#[test]
fn every_call_that_would_change_something_is_refused_with_erofs() {
    let place = Place::new();
    let (mount, paths) = mount_all_kinds(&place);
    let (point, store) = (mount.path(""), place.store());
    let before = snapshot([&point, &store]);
    let wrong = not_refused(&mount, &paths);
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(snapshot([&point, &store]) == before);
    check_log(mount.unmount());
}

#[test]
fn a_remount_for_writing_makes_nothing_writable() {
    let place = Place::new();
    let (mount, paths) = mount_all_kinds(&place);
    let (point, store) = (mount.path(""), place.store());
    let before = snapshot([&point, &store]);
    // As root can; the kernel then passes on what it refused before.
    let remount = ["mount", "-i", "-o", "remount,rw", point.to_str().unwrap()];
    if nix::unistd::geteuid().is_root() {
        succeed("mount", &remount[1..]);
    } else {
        succeed("sudo", ["-n"].iter().chain(&remount));
    }
    let wrong = not_refused(&mount, &paths);
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(snapshot([&point, &store]) == before);
    check_log(mount.unmount());
}

#[test]
fn calls_that_have_no_meaning_here_say_so_and_leave_no_trace() {
    const SCRIPT: &str = "
import errno, fcntl, os, select, sys
for path in sys.argv[1:]:
    fd = os.open(path, os.O_RDONLY)
    size = os.fstat(fd).st_size
    try:
        fcntl.ioctl(fd, 0x5401)
        raise AssertionError('a terminal')
    except OSError as e:
        assert e.errno == errno.ENOTTY, e
    assert not os.isatty(fd)
    # All is data.
    assert os.lseek(fd, 0, os.SEEK_DATA) == 0
    assert os.lseek(fd, 5, os.SEEK_DATA) == 5
    assert os.lseek(fd, 5, os.SEEK_HOLE) == size
    for whence in (os.SEEK_DATA, os.SEEK_HOLE):
        try:
            os.lseek(fd, size, whence)
            raise AssertionError('behind the end')
        except OSError as e:
            assert e.errno == errno.ENXIO, e
    ready = select.poll()
    ready.register(fd, select.POLLIN)
    assert ready.poll(1000) == [(fd, select.POLLIN)]
    fcntl.flock(fd, fcntl.LOCK_SH)
    fcntl.lockf(fd, fcntl.LOCK_SH)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    assert os.access(path, os.R_OK) and not os.access(path, os.W_OK)
    for call in (lambda: os.posix_fallocate(fd, 0, 10), lambda: os.ftruncate(fd, 1), lambda: os.write(fd, b'x')):
        try:
            call()
            raise AssertionError('written')
        except OSError as e:
            assert e.errno in (errno.EBADF, errno.EINVAL, errno.EROFS), e
    os.close(fd)
";
    let place = Place::new();
    let (mount, paths) = mount_all_kinds(&place);
    mount::python(SCRIPT, paths.iter().filter(|path| path.is_file()));
    assert_eq!(mount.unmount(), [""; 0]);
}
