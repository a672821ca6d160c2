//! Opening files in a directory that strangers may write to: only regular files are opened, opening one never waits,
//! and it never leads to a place that whoever mounts has not chosen.
//!
//! A symbolic link is followed only where it, every further link on the way, and its target belong to whoever mounts
//! (the effective user); links among the directories of a target may be root's too. So that nobody else can put another
//! link or file in its place, every directory in which a name is looked up, that of the link first, must belong to one
//! of those two and not be writable by others, unless it is sticky.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::Mode;
use nix::unistd::geteuid;

use super::FileVersion;
use crate::error::{Error, Kind, Result};

/// Links that are followed in a row, as many as Linux follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// The device of the mount that this process serves; 0 for none. A process that has a file of its own mount open never
/// ends.
static OWN_DEVICE: AtomicU64 = AtomicU64::new(0);

/// Sets the device of the mount that this process serves, as (major, minor).
pub(crate) fn set_own_device(major: u32, minor: u32) {
    OWN_DEVICE.store(nix::libc::makedev(major, minor), Ordering::Relaxed);
}

/// Opens a regular file.
pub(crate) fn open(path: &Path) -> Result<(File, FileVersion)> {
    let resolved = follow(path)?;
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = openat(&resolved.dir, &resolved.name, flags, Mode::empty()).map_err(|errno| match errno {
        // It has become a link, or a socket, since it was looked at.
        Errno::ELOOP | Errno::ENXIO => changed(),
        other => failed(other),
    })?;
    let file = File::from(file);
    let meta = file.metadata()?;
    check_is_regular(&meta)?;
    if resolved.is_target {
        check_owner(&meta, "the target of a symbolic link")?;
    }
    Ok((file, FileVersion::of(&meta)))
}

/// Returns the version of a regular file, without opening it.
pub(crate) fn version_of(path: &Path) -> Result<FileVersion> {
    Ok(FileVersion::of(&follow(path)?.meta))
}

/// Where a file is once all links are followed.
struct Resolved {
    dir: File,
    name: PathBuf,
    meta: Metadata,
    /// True if links have led there.
    is_target: bool,
}

fn follow(path: &Path) -> Result<Resolved> {
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let dir = directory_as_named(parent)?;
    let name = Path::new(path.file_name().ok_or_else(|| not_regular("a directory"))?);
    let (found, meta) = path_handle(dir.as_fd(), name)?;
    if !meta.is_symlink() {
        check_is_regular(&meta)?;
        return Ok(Resolved { dir, name: name.into(), meta, is_target: false });
    }
    check_owner(&meta, "a symbolic link")?;
    check_directory(&dir)?;
    resolve(dir, &target_of(&found)?)
}

/// Opens a directory by its absolute path, which was canonical when it was chosen. No link on the way is followed,
/// where the kernel can refuse that: somebody who can write to one of the directories could have put it there to lead
/// elsewhere.
pub(crate) fn directory_as_named(path: &Path) -> Result<File> {
    if !path.is_absolute() {
        return directory(AT_FDCWD, path);
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(AT_FDCWD, path, how) {
        Ok(dir) => Ok(File::from(dir)),
        Err(Errno::ELOOP) => Err(refused("a symbolic link has come into its path")),
        // Before Linux 5.6, and where system calls are filtered.
        Err(Errno::ENOSYS | Errno::EPERM) => directory(AT_FDCWD, path),
        Err(errno) => Err(failed(errno)),
    }
}

/// Walks from a directory to the target of a link.
fn resolve(start: File, target: &OsStr) -> Result<Resolved> {
    let (mut dir, mut left, mut links) = (start, VecDeque::new(), 1);
    push_front(&mut left, target);
    while let Some(name) = left.pop_front() {
        let name = Path::new(&name);
        // Nobody else can change what these mean.
        if matches!(name.as_os_str().as_bytes(), b"/" | b"..") {
            dir = directory(dir.as_fd(), name)?;
            continue;
        }
        check_directory(&dir)?;
        let (found, meta) = path_handle(dir.as_fd(), name)?;
        if meta.is_symlink() {
            links += 1;
            if links > MAX_LINKS {
                return Err(failed(Errno::ELOOP));
            }
            if left.is_empty() || meta.uid() != 0 {
                check_owner(&meta, "a symbolic link on the way")?;
            }
            push_front(&mut left, &target_of(&found)?);
        } else if left.is_empty() {
            check_is_regular(&meta)?;
            check_owner(&meta, "the target of a symbolic link")?;
            return Ok(Resolved { dir, name: name.into(), meta, is_target: true });
        } else {
            dir = found;
        }
    }
    Err(not_regular("a directory"))
}

fn push_front(left: &mut VecDeque<OsString>, target: &OsStr) {
    for component in Path::new(target).components().rev().filter(|c| *c != Component::CurDir) {
        left.push_front(component.as_os_str().to_owned());
    }
}

/// Returns a handle (O_PATH) to what a name stands for, be it a link, without opening it.
fn path_handle(dir: BorrowedFd<'_>, name: &Path) -> Result<(File, Metadata)> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let found = File::from(openat(dir, name, flags, Mode::empty()).map_err(failed)?);
    let meta = found.metadata()?;
    if meta.dev() == OWN_DEVICE.load(Ordering::Relaxed) {
        return Err(refused("it leads into the mount that this process serves"));
    }
    Ok((found, meta))
}

fn target_of(link: &File) -> Result<OsString> {
    readlinkat(link, "").map_err(|errno| match errno {
        Errno::ENOENT => changed(),
        other => failed(other),
    })
}

fn directory(dir: BorrowedFd<'_>, path: &Path) -> Result<File> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat(dir, path, flags, Mode::empty()).map(File::from).map_err(failed)
}

fn check_is_regular(meta: &Metadata) -> Result<()> {
    let kind = meta.file_type();
    if kind.is_file() {
        return Ok(());
    }
    Err(not_regular(match () {
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () if kind.is_symlink() => "a symbolic link",
        () => "a device",
    }))
}

fn not_regular(what: &str) -> Error {
    refused(format!("it is {what}, and only regular files are read"))
}

fn check_owner(meta: &Metadata, what: &str) -> Result<()> {
    let owner = meta.uid();
    if owner == geteuid().as_raw() {
        return Ok(());
    }
    Err(refused(format!(
        "{what} belongs to user {owner}: links are followed only if they and their targets belong to whoever mounts"
    )))
}

/// Fails for a directory in which others could replace a file.
fn check_directory(dir: &File) -> Result<()> {
    let meta = dir.metadata()?;
    let others_write = meta.mode() & (libc::S_IWGRP | libc::S_IWOTH) != 0 && meta.mode() & libc::S_ISVTX == 0;
    if others_write || ![0, geteuid().as_raw()].contains(&meta.uid()) {
        return Err(refused(
            "it is a symbolic link in a directory that others can write, or leads through one",
        ));
    }
    Ok(())
}

fn refused(what: impl Into<String>) -> Error {
    Error::new(Kind::Os(libc::EACCES), what)
}

fn changed() -> Error {
    Error::new(Kind::Stale, "it was replaced while it was opened")
}

fn failed(errno: Errno) -> Error {
    std::io::Error::from(errno).into()
}

#[cfg(test)]
mod tests;
