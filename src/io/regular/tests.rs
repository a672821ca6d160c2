use super::*;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, lchown, symlink};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

const STRANGER: Option<u32> = Some(65534);

/// A store, and another directory.
struct Dirs {
    _dir: tempfile::TempDir,
    store: PathBuf,
    own: PathBuf,
}

impl Dirs {
    fn new() -> Dirs {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs { store: dir.path().join("store"), own: dir.path().join("own"), _dir: dir };
        fs::create_dir(&dirs.store).unwrap();
        fs::create_dir(&dirs.own).unwrap();
        fs::write(dirs.own.join("x"), "own").unwrap();
        dirs
    }

    /// Makes a link in the store, and returns what opening it gives: the text, or the error.
    fn open(&self, target: impl AsRef<Path>, owner: Option<u32>) -> std::result::Result<String, String> {
        let link = self.store.join("x.zip.smime");
        let _ = fs::remove_file(&link);
        symlink(target, &link).unwrap();
        lchown(&link, owner, None).unwrap();
        let opened = open(&link).map(|(file, _)| std::io::read_to_string(file).unwrap());
        let looked_at = version_of(&link).map(drop).map_err(|e| e.to_string());
        let opened = opened.map_err(|e| e.to_string());
        assert_eq!(looked_at.err(), opened.as_ref().err().cloned(), "scan and open agree");
        opened
    }
}

fn refused(opened: std::result::Result<String, String>, why: &str) {
    let error = opened.unwrap_err();
    assert!(error.contains(why), "{error}");
}

#[test]
fn a_link_is_followed_only_if_it_and_its_target_belong_to_whoever_mounts() {
    let dirs = Dirs::new();
    assert_eq!(dirs.open(dirs.own.join("x"), None).unwrap(), "own");
    assert_eq!(dirs.open("../own/./../own/x", None).unwrap(), "own");
    refused(dirs.open(dirs.own.join("x"), STRANGER), "belongs to user 65534");
    lchown(dirs.own.join("x"), STRANGER, None).unwrap();
    refused(dirs.open(dirs.own.join("x"), None), "the target of a symbolic link belongs to user 65534");
}

#[test]
fn every_link_of_a_chain_has_to_be_of_whoever_mounts() {
    let dirs = Dirs::new();
    symlink("x", dirs.own.join("second")).unwrap();
    symlink("second", dirs.own.join("first")).unwrap();
    assert_eq!(dirs.open(dirs.own.join("first"), None).unwrap(), "own");
    lchown(dirs.own.join("second"), STRANGER, None).unwrap();
    refused(dirs.open(dirs.own.join("first"), None), "belongs to user 65534");
    // The same for a link in the dirs of a directory.
    symlink(&dirs.own, dirs.own.join("directory")).unwrap();
    assert_eq!(dirs.open(dirs.own.join("directory/x"), None).unwrap(), "own");
    lchown(dirs.own.join("directory"), STRANGER, None).unwrap();
    refused(dirs.open(dirs.own.join("directory/x"), None), "belongs to user 65534");
    symlink("round", dirs.own.join("round")).unwrap();
    refused(dirs.open(dirs.own.join("round"), None), "Too many levels of symbolic links");
}

#[test]
fn a_link_does_not_lead_through_directories_that_others_can_write() {
    let dirs = Dirs::new();
    // Somebody else may have moved another link, or another file of ours, there.
    for dir in [&dirs.store, &dirs.own] {
        for (mode, is_followed) in [(0o755, true), (0o775, false), (0o1777, true), (0o777, false)] {
            fs::set_permissions(dir, Permissions::from_mode(mode)).unwrap();
            assert_eq!(dirs.open(dirs.own.join("x"), None).is_ok(), is_followed, "{mode:o}");
        }
        fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
        lchown(dir, STRANGER, None).unwrap();
        refused(dirs.open(dirs.own.join("x"), None), "a directory that others can write");
        lchown(dir, Some(0), None).unwrap();
    }
}

#[test]
fn only_regular_files_are_opened_and_nothing_is_waited_for() {
    let dirs = Dirs::new();
    let fifo = dirs.own.join("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dirs.own.join("socket")).unwrap();
    let table = [
        (fifo.as_path(), "a FIFO"),
        (&dirs.own.join("socket"), "a socket"),
        (Path::new("/dev/null"), "a device"),
        (&dirs.own, "a directory"),
    ];
    for (path, what) in table {
        let error = open(path).err().unwrap();
        assert_eq!(error.kind(), Kind::Os(libc::EACCES));
        assert!(error.to_string().contains(what), "{error}");
        refused(dirs.open(path, None), what);
    }
    assert_eq!(open(&dirs.own.join("no")).err().unwrap().kind(), Kind::Os(libc::ENOENT));
}
