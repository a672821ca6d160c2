//! The directory with a store's parts. Everything in it is reached from an open descriptor of it, by a name without a
//! slash, so that nothing outside can be meant.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::error::{Error, Kind, Result};

/// An open directory.
pub(crate) struct Files(File);

impl Files {
    pub(crate) fn open(dir: &Path) -> Result<Files> {
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        Ok(Files(File::options().read(true).custom_flags(flags).open(dir)?))
    }

    /// Returns the names of what is there.
    pub(crate) fn names(&self) -> Result<Vec<OsString>> {
        // A descriptor of its own: the position in the directory belongs to whoever reads it.
        let own = openat(&self.0, ".", OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
        let mut dir = Dir::from_fd(own.map_err(os)?).map_err(os)?;
        let name = |entry: nix::Result<nix::dir::Entry>| {
            entry.map(|entry| OsStr::from_bytes(entry.file_name().to_bytes()).to_os_string()).map_err(os)
        };
        let names: Result<Vec<OsString>> = dir.iter().map(name).collect();
        names.map(|mut names| {
            names.retain(|name| name != "." && name != "..");
            names
        })
    }

    /// Deletes a file; one that is not there is fine. Returns true if it was.
    pub(crate) fn remove(&self, name: &str) -> Result<bool> {
        match unlinkat(&self.0, &*plain(name)?, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(os(errno).at(name)),
        }
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        renameat(&self.0, &*plain(from)?, &self.0, &*plain(to)?).map_err(|errno| os(errno).at(to))
    }

    /// Opens a file for changing its attributes.
    pub(crate) fn open_file(&self, name: &str) -> Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file =
            openat(&self.0, &*plain(name)?, flags, Mode::empty()).map_err(|errno| os(errno).at(name))?;
        Ok(File::from(file))
    }

    /// Returns the size of a file in bytes; `None` if it is not there.
    pub(crate) fn size(&self, name: &str) -> Result<Option<u64>> {
        match fstatat(&self.0, &*plain(name)?, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(FileStat { st_size, .. }) => Ok(Some(u64::try_from(st_size).unwrap_or_default())),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(os(errno).at(name)),
        }
    }

    /// Makes names that were created, renamed or removed durable.
    pub(crate) fn sync(&self) -> Result<()> {
        Ok(self.0.sync_all()?)
    }
}

impl AsFd for Files {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Returns a name that stays within its directory.
fn plain(name: &str) -> Result<CString> {
    let is_plain = !name.is_empty() && name != "." && name != ".." && !name.contains('/');
    let refused = || Error::new(Kind::Invalid, "a name of a stored file is no file name");
    CString::new(name).ok().filter(|_| is_plain).ok_or_else(refused)
}

fn os(errno: Errno) -> Error {
    std::io::Error::from(errno).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_of_the_directory_can_be_meant() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("artifacts");
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(dir.path().join("victim"), "x").unwrap();
        std::fs::write(inside.join("file"), "x").unwrap();
        let files = Files::open(&inside).unwrap();
        let absolute = dir.path().join("victim");
        for name in ["../victim", absolute.to_str().unwrap(), "..", ".", "", "a\0b", "./../victim"] {
            assert!(files.remove(name).is_err(), "{name:?}");
            assert!(files.rename("file", name).is_err(), "{name:?}");
        }
        assert!(dir.path().join("victim").exists());
        assert_eq!(files.names().unwrap(), ["file"]);
        assert!(files.remove("file").unwrap() && !files.remove("file").unwrap());
        std::os::unix::fs::symlink(&inside, dir.path().join("link")).unwrap();
        assert!(Files::open(&dir.path().join("link")).is_err());
    }
}
