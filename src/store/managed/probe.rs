//! Is a directory a managed store? Only what `cddsfs init` has made for the current user is one: a catalogue says which
//! files are deleted, so that nobody else may be able to write to it.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::geteuid;

use super::layout::{ARTIFACTS, CATALOGUE, CERTIFICATE, LOCK};
use crate::error::{Error, Kind};
use crate::store::catalogue::sqlite::{DatabaseKind, identify};

/// A kind of directory, as far as stores are concerned.
#[derive(Debug)]
pub(crate) enum DirectoryKind {
    Managed,
    /// A store whose making was interrupted, which only `cddsfs init` can finish; for everybody else files that are
    /// read.
    Unfinished,
    /// Files that are only ever read.
    Plain,
    /// There is a catalogue, but it is not to be believed: it is taken for a plain store.
    Refused(Error),
}

/// Looks at a directory. Links are not followed: what they lead to may be somebody else's.
pub(crate) fn probe(dir: &Path) -> DirectoryKind {
    let catalogue = dir.join(CATALOGUE);
    if fs::symlink_metadata(&catalogue).is_err() {
        return DirectoryKind::Plain;
    }
    let refused = |why: String| {
        let text =
            format!("{}: {why}, so that this is no store that cddsfs init has made for you", dir.display());
        DirectoryKind::Refused(
            Error::new(Kind::NotPermitted, text)
                .with_hint("it is taken for a folder with downloads, which is only read"),
        )
    };
    if !fs::symlink_metadata(dir.join(ARTIFACTS)).is_ok_and(|meta| meta.is_dir()) {
        return refused(format!("there is a {CATALOGUE}, but no directory {ARTIFACTS} beside it"));
    }
    let all = [(".", true), (CATALOGUE, false), (ARTIFACTS, true), (CERTIFICATE, false), (LOCK, false)];
    let beside = ["-wal", "-shm", "-journal"].map(|suffix| format!("{CATALOGUE}{suffix}"));
    for (name, is_dir) in all.into_iter().chain(beside.iter().map(|name| (name.as_str(), false))) {
        let path = if name == "." { dir.to_path_buf() } else { dir.join(name) };
        // What is missing will be made by us.
        let looked = if name == "." { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
        let Ok(meta) = looked else { continue };
        let shown = if name == "." { "the directory" } else { name };
        if let Some(wrong) = fault(&meta, is_dir) {
            return refused(format!("{shown} {wrong}"));
        }
    }
    match identify(&catalogue) {
        DatabaseKind::Catalogue => DirectoryKind::Managed,
        DatabaseKind::Empty => DirectoryKind::Unfinished,
        DatabaseKind::SomethingElse => refused(format!("{CATALOGUE} is no catalogue of cddsfs")),
    }
}

/// Returns what is wrong with the owner or the mode of something in a store.
fn fault(meta: &Metadata, is_dir: bool) -> Option<String> {
    if is_dir != meta.is_dir() || !(meta.is_dir() || meta.is_file()) {
        return Some(format!("is no {}", if is_dir { "directory" } else { "regular file" }));
    }
    if meta.uid() != geteuid().as_raw() && meta.uid() != 0 {
        return Some(format!("belongs to another user (uid {})", meta.uid()));
    }
    (meta.mode() & 0o022 != 0)
        .then(|| format!("can be written by others (mode {:04o})", meta.mode() & 0o7777))
}

#[cfg(test)]
mod tests {
    use super::super::Managed;
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    fn why(dir: &Path) -> String {
        match probe(dir) {
            DirectoryKind::Refused(error) => error.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn only_what_init_made_for_the_user_is_a_managed_store() {
        let root = tempfile::tempdir().unwrap();
        let made = |name: &str| {
            let dir = root.path().join(name);
            drop(Managed::init(&dir).unwrap());
            assert!(matches!(probe(&dir), DirectoryKind::Managed));
            dir
        };
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        for (name, path) in [("a", "."), ("b", CATALOGUE), ("c", ARTIFACTS)] {
            let dir = made(name);
            mode(&dir.join(path), 0o777);
            assert!(why(&dir).contains("can be written by others"), "{path}: {}", why(&dir));
        }
        // Becoming somebody else takes root.
        if geteuid().is_root() {
            for (name, path) in [("d", "."), ("e", CATALOGUE), ("f", ARTIFACTS)] {
                let dir = made(name);
                chown(dir.join(path), Some(65534), None).unwrap();
                assert!(why(&dir).contains("belongs to another user"), "{path}: {}", why(&dir));
            }
        }
        let dir = made("g");
        fs::rename(dir.join(CATALOGUE), root.path().join("elsewhere")).unwrap();
        symlink(root.path().join("elsewhere"), dir.join(CATALOGUE)).unwrap();
        assert!(why(&dir).contains("no regular file"));
        let dir = made("h");
        fs::write(dir.join(CATALOGUE), "this is not what anybody would call a database").unwrap();
        assert!(why(&dir).contains("no catalogue of cddsfs"));
        // Somebody else's database is not migrated, and what was never finished can be.
        let dir = made("i");
        for name in ["cddsfs.db", "cddsfs.db-wal", "cddsfs.db-shm"] {
            let _ = fs::remove_file(dir.join(name));
        }
        let other = rusqlite::Connection::open(dir.join(CATALOGUE)).unwrap();
        other.execute_batch("CREATE TABLE song (title TEXT)").unwrap();
        assert!(why(&dir).contains("no catalogue of cddsfs"), "{}", why(&dir));
        drop(other);
        fs::write(dir.join(CATALOGUE), "").unwrap();
        assert!(matches!(probe(&dir), DirectoryKind::Unfinished));
        drop(Managed::init(&dir).unwrap());
        assert!(matches!(probe(&dir), DirectoryKind::Managed));
        let dir = root.path().join("downloads");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(CATALOGUE), "junk").unwrap();
        assert!(why(&dir).contains("no directory artifacts"));
        assert!(matches!(probe(root.path()), DirectoryKind::Plain));
    }

    #[test]
    fn a_catalogue_is_for_its_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let store = Managed::init(&root.path().join("s")).unwrap();
        for name in ["cddsfs.db", "cddsfs.db-wal", "cddsfs.db-shm"] {
            let mode = fs::metadata(store.dir().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
}
