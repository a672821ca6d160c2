//! What stat, readdir and the like say of a mounted store: attributes, inodes, extended attributes, open files.

use std::ffi::{CStr, CString};
use std::fs::{self, File, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::support::corpus;
use crate::support::mount::{Mount, Place, errno, names, succeed, within};

const KEYS: [&str; 1] = ["k1.pem"];
const SECOND: Duration = Duration::from_secs(1);

fn c(text: impl AsRef<std::ffi::OsStr>) -> CString {
    CString::new(text.as_ref().as_bytes()).unwrap()
}

/// A store with one set of each kind: whole, with a part missing, and one that the key does not open.
fn mixed_store() -> (Place, String) {
    let place = Place::new();
    let stem = corpus::copy_set("iz-basic", &place.store());
    let other = corpus::copy_set("cc-basic", &place.store());
    fs::remove_file(place.store().join(format!("{other}.z02.smime"))).unwrap();
    let foreign = corpus::dir().join("hostile/cms/wrong-recipient.der");
    fs::copy(foreign, place.store().join("export-foreign.zip.smime")).unwrap();
    (place, stem)
}

fn all_paths(mount: &Mount) -> Vec<PathBuf> {
    let mut paths = vec![mount.path("")];
    for dir in ["artifacts", "encrypted", "history"] {
        paths.push(mount.path(dir));
        paths.extend(mount.names(dir).iter().map(|name| mount.path(dir).join(name)));
    }
    paths
}

fn set_mtime(path: &Path, time: SystemTime) {
    File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn owner_and_permissions_are_as_the_options_say() {
    let (place, _) = mixed_store();
    let me = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let table: [(&[&str], (u32, u32), u32); 4] = [
        (&["--umask", "0"], me, 0),
        (&["--umask", "027", "--uid", "1234"], (1234, me.1), 0o027),
        (&["-o", "umask=077,gid=4321"], (me.0, 4321), 0o077),
        (&["-o", "uid=5,gid=6,umask=0777"], (5, 6), 0o777),
    ];
    for (options, (uid, gid), umask) in table {
        let mount = place.mount(&KEYS, options);
        for path in all_paths(&mount) {
            let meta = fs::metadata(&path).unwrap();
            let mode = if meta.is_dir() { 0o040_755 } else { 0o100_644 } & !umask;
            assert_eq!(
                (meta.mode(), meta.uid(), meta.gid()),
                (mode, uid, gid),
                "{options:?} {}",
                path.display()
            );
        }
    }
}

#[test]
fn permissions_are_less_the_umask_of_who_mounts() {
    let place = Place::new();
    let mut sh = Command::new("sh");
    let key = corpus::private_copy("k1.pem");
    sh.args(["-c", "umask 026; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_cddsfs"), "mount", "-f"]);
    sh.arg(place.store()).arg(place.point()).arg("--key").arg(key).env("XDG_CACHE_HOME", place.cache());
    let mount = Mount::start(sh, &place.point());
    assert_eq!(fs::metadata(mount.path("artifacts")).unwrap().mode() & 0o777, 0o751);
}

#[test]
fn sizes_blocks_links_and_times_are_those_of_the_export() {
    let (place, stem) = mixed_store();
    let oldest = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
    for (i, name) in names(&place.store()).iter().enumerate() {
        let later = Duration::from_secs(if name == &format!("{stem}.z03.smime") { 0 } else { 10 + i as u64 });
        set_mtime(&place.store().join(name), oldest + later);
    }
    let mount = place.mount(&KEYS, &[]);
    for path in all_paths(&mount) {
        let meta = fs::metadata(&path).unwrap();
        let shown = path.display();
        if meta.is_dir() {
            let dirs =
                fs::read_dir(&path).unwrap().filter(|e| e.as_ref().unwrap().file_type().unwrap().is_dir());
            assert_eq!(meta.nlink(), 2 + dirs.count() as u64, "{shown}");
            assert_eq!(meta.modified().unwrap(), fs::metadata(place.store()).unwrap().modified().unwrap());
            continue;
        }
        assert_eq!(meta.nlink(), 1, "{shown}");
        assert!(meta.size() > 0 && meta.blocks() == meta.size().div_ceil(512), "{shown}");
        assert!(meta.blksize().is_power_of_two() && meta.blksize() >= 4096, "{shown}");
        assert_eq!((meta.atime(), meta.ctime()), (meta.mtime(), meta.mtime()), "{shown}");
    }
    let mtimes = |mount: &Mount| {
        let history = mount.path("history").join(format!("{stem}.json"));
        [mount.zip(&stem), history].map(|path| fs::metadata(path).unwrap().modified().unwrap())
    };
    // All members of the corpus have one time; without a key there is none but that of the files.
    assert_eq!(mtimes(&mount), [SystemTime::UNIX_EPOCH + Duration::from_secs(1_682_899_200); 2]);
    for name in names(&place.store()) {
        let stored = fs::metadata(place.store().join(&name)).unwrap();
        let shown = fs::metadata(mount.path("encrypted").join(&name)).unwrap();
        assert_eq!((shown.size(), shown.modified().unwrap()), (stored.size(), stored.modified().unwrap()));
    }
    mount.unmount();
    assert_eq!(mtimes(&place.mount(&[], &[])), [oldest; 2]);
}

#[test]
fn stored_parts_are_shown_byte_for_byte() {
    let (place, _) = mixed_store();
    let mount = place.mount(&[], &[]);
    assert_eq!(mount.names("encrypted"), names(&place.store()));
    for name in names(&place.store()) {
        let shown = fs::read(mount.path("encrypted").join(&name)).unwrap();
        assert!(shown == fs::read(place.store().join(&name)).unwrap(), "{name}");
    }
}

fn inodes(mount: &Mount) -> Vec<(PathBuf, u64)> {
    all_paths(mount).into_iter().map(|path| (path.clone(), fs::metadata(&path).unwrap().ino())).collect()
}

#[test]
fn inode_numbers_are_the_same_in_the_next_mount_and_no_two_are_equal() {
    let (place, _) = mixed_store();
    let mount = place.mount(&KEYS, &[]);
    let first = inodes(&mount);
    mount.unmount();
    assert_eq!(inodes(&place.mount(&KEYS, &[])), first);
    let mut numbers: Vec<u64> = first.iter().map(|(_, ino)| *ino).collect();
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), first.len());
}

#[test]
fn other_bytes_under_an_old_name_are_another_inode() {
    let (place, stem) = mixed_store();
    let mount = place.mount(&KEYS, &[]);
    let (zip, part) = (mount.zip(&stem), format!("{stem}.z02.smime"));
    let before = inodes(&mount);
    let old = File::options().read(true).custom_flags(libc::O_PATH).open(&zip).unwrap();
    // Encrypted anew, the same zip is other bytes.
    let again = place.root().join("again");
    corpus::encrypt(&corpus::dir().join("split/iz-basic/plain/x.z02"), &again);
    fs::rename(&again, place.store().join(&part)).unwrap();
    within(SECOND, "the new inode", || {
        let now = fs::metadata(&zip).unwrap().ino();
        !before.contains(&(zip.clone(), now))
    });
    let after = inodes(&mount);
    let changed: Vec<&PathBuf> =
        before.iter().filter(|pair| !after.contains(pair)).map(|(path, _)| path).collect();
    assert_eq!(changed, [&zip, &mount.path("encrypted").join(&part)]);
    let (_, sha256) = corpus::sets().into_iter().find(|(set, _)| set == "iz-basic").unwrap();
    assert_eq!(corpus::sha256(&fs::read(&zip).unwrap()), sha256);
    // The inode that was is not mistaken for the one that is.
    let by_old = format!("/proc/self/fd/{}", old.as_raw_fd());
    assert_eq!(errno(File::open(by_old)), libc::ESTALE);
}

fn getxattr(path: &Path, name: &str, size: usize) -> Result<String, i32> {
    let mut value = vec![0u8; size];
    let (path, name) = (c(path), c(name));
    let n = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), size) };
    if n < 0 {
        return Err(std::io::Error::last_os_error().raw_os_error().unwrap());
    }
    value.truncate(n as usize);
    Ok(String::from_utf8(value).unwrap())
}

#[test]
fn extended_attributes_say_what_is_known_of_an_export() {
    let (place, stem) = mixed_store();
    let mount = place.mount(&KEYS, &[]);
    let mtime = fs::metadata(mount.zip(&stem)).unwrap().mtime();
    let expires = succeed("date", ["-u", "-d", &format!("@{}", mtime + 30 * 86_400), "+%FT%TZ"]);
    for path in [mount.zip(&stem), mount.path("history").join(format!("{stem}.json"))] {
        let said = succeed("getfattr", ["--absolute-names", "-d", path.to_str().unwrap()]);
        let lines: Vec<&str> = said.lines().skip(1).filter(|line| !line.is_empty()).collect();
        let wanted = [
            format!("user.cddsfs.expires=\"{}\"", expires.trim()),
            "user.cddsfs.parts=\"7\"".into(),
            "user.cddsfs.remaining_days=\"0\"".into(),
            format!("user.cddsfs.run=\"{}\"", stem.strip_prefix("export-").unwrap()),
            "user.cddsfs.status=\"Completed\"".into(),
        ];
        assert_eq!(lines, wanted);
    }
    let status = |name: &str| getxattr(&mount.path("artifacts").join(name), "user.cddsfs.status", 100);
    let incomplete = mount.names("artifacts").into_iter().find(|name| name.ends_with(".incomplete")).unwrap();
    assert_eq!(status(&incomplete), Ok("Incomplete".into()));
    assert_eq!(status("export-foreign.zip"), Ok("Unreadable".into()));
    assert_eq!(getxattr(&mount.zip(&stem), "user.cddsfs.status", 3), Err(libc::ERANGE));
    assert_eq!(getxattr(&mount.zip(&stem), "user.cddsfs.status", 0), Ok("".into()));
}

#[test]
fn an_unknown_extended_attribute_is_unknown_on_every_node() {
    let (place, _) = mixed_store();
    let mount = place.mount(&KEYS, &[]);
    for path in all_paths(&mount) {
        for name in
            ["user.unknown", "user.cddsfs.", "user.cddsfs.unknown", "security.capability", "trusted.x"]
        {
            assert_eq!(getxattr(&path, name, 100), Err(libc::ENODATA), "{name} of {}", path.display());
        }
        for name in ["security.selinux", "system.posix_acl_access", "system.posix_acl_default"] {
            assert_eq!(getxattr(&path, name, 100), Err(libc::EOPNOTSUPP), "{name} of {}", path.display());
        }
        if path.starts_with(mount.path("encrypted")) || path.is_dir() {
            let said = succeed("getfattr", ["--absolute-names", "-d", "-m-", path.to_str().unwrap()]);
            assert_eq!(said, "", "{}", path.display());
        }
    }
}

#[test]
fn a_long_listing_asks_for_labels_and_acls_but_once() {
    let (place, _) = mixed_store();
    let mount = place.mount(&KEYS, &[]);
    let dir = mount.path("encrypted");
    assert!(names(&dir).len() > 5);
    let log = tempfile::NamedTempFile::new().unwrap();
    let [log, dir] = [log.path(), &dir].map(|path| path.to_str().unwrap());
    succeed("strace", ["-qq", "-e", "trace=getxattr,lgetxattr", "-o", log, "ls", "-l", dir]);
    let asked = fs::read_to_string(log).unwrap().lines().count();
    assert!(asked <= 2, "{asked} requests for extended attributes");
}

#[test]
fn the_filesystem_is_read_only_and_trusts_nobody() {
    let place = Place::new();
    let mount = place.mount(&KEYS, &[]);
    let (fs, store) = (
        nix::sys::statvfs::statvfs(&mount.path("artifacts")).unwrap(),
        nix::sys::statvfs::statvfs(&place.store()).unwrap(),
    );
    use nix::sys::statvfs::FsFlags;
    assert!(fs.flags().contains(
        FsFlags::ST_RDONLY
            | FsFlags::ST_NOSUID
            | FsFlags::ST_NODEV
            | FsFlags::ST_NOEXEC
            | FsFlags::ST_NOATIME
    ));
    assert_eq!((fs.blocks(), fs.block_size()), (store.blocks(), store.block_size()));
    assert_eq!((fs.files(), fs.name_max()), (store.files(), store.name_max()));
}

/// A directory as readdir(3) gives it: name, inode, type, and where the next entry begins.
struct Dir(*mut libc::DIR);

impl Dir {
    fn open(path: &Path) -> Dir {
        let dir = unsafe { libc::opendir(c(path).as_ptr()) };
        assert!(!dir.is_null());
        Dir(dir)
    }

    fn next(&self) -> Option<(String, u64, u8, libc::c_long)> {
        unsafe {
            let entry = libc::readdir(self.0).as_ref()?;
            let name = CStr::from_ptr(entry.d_name.as_ptr()).to_str().unwrap().to_string();
            Some((name, entry.d_ino, entry.d_type, libc::telldir(self.0)))
        }
    }

    fn rest(&self) -> Vec<(String, u64, u8, libc::c_long)> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        unsafe { libc::closedir(self.0) };
    }
}

#[test]
fn directories_are_listed_with_types_and_can_be_taken_up_anywhere() {
    let place = Place::new();
    let part = place.root().join("part");
    corpus::encrypt(&corpus::dir().join("hostile/zip/time-zero.zip"), &part);
    for i in 0..500 {
        fs::copy(&part, place.store().join(format!("export-{i:036}.zip.smime"))).unwrap();
    }
    let mount = place.mount(&KEYS, &[]);
    for name in ["artifacts", "encrypted", "history"] {
        let dir = Dir::open(&mount.path(name));
        let all = dir.rest();
        assert_eq!(all.len(), if name == "encrypted" { 502 } else { 503 });
        assert_eq!((all[0].0.as_str(), all[1].0.as_str()), (".", ".."));
        assert!(all[..2].iter().all(|entry| entry.2 == libc::DT_DIR));
        assert!(all[2..].iter().all(|entry| entry.2 == libc::DT_REG));
        for (name, ino, ..) in all[2..].iter().step_by(50).chain([&all[0]]) {
            let meta: Metadata = fs::metadata(mount.path("").join(dir_name(&mount, &all, name))).unwrap();
            assert_eq!(meta.ino(), *ino, "{name}");
        }
        for at in [0, 1, 77, 250, 500] {
            unsafe { libc::seekdir(dir.0, all[at].3) };
            assert_eq!(dir.rest(), all[at + 1..]);
        }
        unsafe { libc::rewinddir(dir.0) };
        assert_eq!(dir.rest(), all);
    }
    let root = Dir::open(&mount.path("")).rest();
    let found = |wanted: &str| root.iter().any(|(name, _, kind, _)| name == wanted && *kind == libc::DT_DIR);
    assert!(["artifacts", "encrypted", "history", ".", ".."].into_iter().all(found));
}

/// Where an entry of one of the three directories is.
fn dir_name(mount: &Mount, all: &[(String, u64, u8, libc::c_long)], name: &str) -> PathBuf {
    let last = &all.iter().rfind(|(name, ..)| name != "index.csv").unwrap().0;
    let dirs = ["artifacts", "encrypted", "history"].map(|dir| mount.path(dir));
    dirs.into_iter().find(|dir| dir.join(last).exists()).unwrap().join(name)
}

#[test]
fn an_open_file_goes_on_after_its_parts_were_deleted() {
    let (place, stem) = mixed_store();
    let mount = place.mount(&KEYS, &[]);
    let paths = [
        mount.zip(&stem),
        mount.path("history").join(format!("{stem}.json")),
        mount.path("encrypted").join(format!("{stem}.z03.smime")),
    ];
    let wanted = paths.each_ref().map(|path| fs::read(path).unwrap());
    mount.unmount();
    let mount = place.mount(&KEYS, &[]);
    let files = paths.each_ref().map(|path| File::open(path).unwrap());
    let dir = Dir::open(&mount.path("artifacts"));
    names(&place.store()).iter().for_each(|name| fs::remove_file(place.store().join(name)).unwrap());
    for path in &paths {
        within(SECOND, "a name that is gone", || errno(fs::metadata(path)) == libc::ENOENT);
        assert_eq!(errno(File::open(path)), libc::ENOENT);
    }
    // Attributes of what changes are kept for a second; a read up to the end asks for them again.
    std::thread::sleep(SECOND + SECOND / 5);
    for (file, wanted) in files.iter().zip(&wanted) {
        let mut read = vec![0; wanted.len() + 1];
        let mut at = 0;
        loop {
            match file.read_at(&mut read[at..], at as u64).unwrap() {
                0 => break,
                n => at += n,
            }
        }
        assert!(read[..at] == *wanted);
        let mut stat: libc::statx = unsafe { std::mem::zeroed() };
        let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_FORCE_SYNC;
        let done =
            unsafe { libc::statx(file.as_raw_fd(), c"".as_ptr(), flags, libc::STATX_BASIC_STATS, &mut stat) };
        assert_eq!((done, stat.stx_size), (0, wanted.len() as u64), "{}", std::io::Error::last_os_error());
    }
    // What has gone is left out.
    let left: Vec<String> = dir.rest().into_iter().map(|(name, ..)| name).collect();
    assert_eq!(left, [".", "..", "index.csv"]);
}

#[test]
fn an_open_file_never_gives_bytes_that_were_written_later() {
    let (place, stem) = mixed_store();
    let mount = place.mount(&KEYS, &[]);
    let (_, sha256) = corpus::sets().into_iter().find(|(set, _)| set == "iz-basic").unwrap();
    let zip = File::open(mount.zip(&stem)).unwrap();
    let stored = File::open(mount.path("encrypted").join(format!("{stem}.z02.smime"))).unwrap();
    let mut buf = vec![0; 1000];
    // The same plaintext, encrypted anew and written over the old part: as long, but with another content key.
    let (again, part) = (place.root().join("again"), place.store().join(format!("{stem}.z02.smime")));
    let plain = corpus::dir().join("split/iz-basic/plain/x.z02");
    let (plain, certificate) = (plain.to_str().unwrap(), corpus::dir().join("keys/c1.pem"));
    let args = ["smime", "-encrypt", "-binary", "-aes256", "-in", plain, "-out", again.to_str().unwrap()];
    succeed("openssl", args.iter().map(Path::new).chain([&*certificate]));
    assert_eq!(fs::metadata(&again).unwrap().len(), fs::metadata(&part).unwrap().len());
    fs::write(&part, fs::read(&again).unwrap()).unwrap();
    assert_eq!(errno(zip.read_at(&mut buf, 100_000)), libc::ESTALE);
    assert_eq!(errno(stored.read_at(&mut buf, 50_000)), libc::ESTALE);
    within(SECOND, "the new bytes", || {
        fs::read(mount.zip(&stem)).is_ok_and(|bytes| corpus::sha256(&bytes) == sha256)
    });
}
