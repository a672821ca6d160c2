//! A mount from its beginning to its end.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::mem;
use std::path::Path;
use std::sync::{Arc, Once};
use std::thread;

use fuser::{BackgroundSession, Config, INodeNo, MountOption, Notifier, Session, SessionACL};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::adapter::Adapter;
use super::mountpoint::{device_of, is_mounted};
use super::ticker::Ticker;
use super::unmount::{unmount, unmount_patiently};
use crate::error::{At, Error, Kind, Result};
use crate::store::watch::Watch;
use crate::tree::{Gone, Sizer, Tree};

/// Who may use the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    #[default]
    Owner,
    OwnerAndRoot,
    Everybody,
}

/// What a service manager is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The mount answers.
    Serving,
    /// It is not there any more, but programs may have files open.
    Unmounted,
}

/// What is asked of the kernel.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Shown as the source in /proc/mounts.
    pub name: String,
    pub access: Access,
    pub default_permissions: bool,
    /// Number of event loops.
    pub threads: usize,
}

fn config(settings: &Settings, writable: bool) -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        // Commas would end the option.
        MountOption::FSName(settings.name.replace(',', "_")),
        // The kernel knows this option, and fusermount3 passes it on; fuser's own Subtype is lost without the latter.
        MountOption::CUSTOM("subtype=cddsfs".into()),
        if writable { MountOption::RW } else { MountOption::RO },
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::NoExec,
        MountOption::NoAtime,
    ];
    if settings.default_permissions || settings.access == Access::Everybody {
        config.mount_options.push(MountOption::DefaultPermissions);
    }
    config.acl = match settings.access {
        Access::Owner => SessionACL::Owner,
        Access::OwnerAndRoot => SessionACL::RootAndOwner,
        Access::Everybody => SessionACL::All,
    };
    config.n_threads = Some(settings.threads);
    config.clone_fd = true;
    config
}

/// Mounts the tree and serves it until it is unmounted. `tell` is told of each phase when it has begun.
pub fn serve(
    tree: Tree,
    mountpoint: &Path,
    settings: &Settings,
    tell: impl Fn(Phase) + Send + Sync + 'static,
) -> Result<()> {
    let (tree, tell) = (Arc::new(tree), Arc::new(tell));
    // It is seen by whoever unmounts and by whoever serves.
    let unmounted = {
        let (tell, once) = (tell.clone(), Once::new());
        Arc::new(move || once.call_once(|| tell(Phase::Unmounted)))
    };
    // Signals must not end the program while a mount is there, so they are caught before.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let session = Session::new(
        Adapter::new(tree.clone(), settings.threads),
        mountpoint,
        &config(settings, tree.is_writable()),
    )
    .map_err(|e| mount_failed(e, mountpoint))?;
    let notifier = session.notifier();
    let sizer = Arc::new(Sizer::start(tree.clone()));
    let watch = {
        let (watched, sizer) = (tree.clone(), sizer.clone());
        Watch::new(&tree.store().files_dir(), move || update(&sizer, &notifier, watched.refresh().map(Some)))?
    };
    let catalogue = {
        let (watched, sizer, notifier) = (tree.clone(), sizer.clone(), session.notifier());
        Ticker::start(move || update(&sizer, &notifier, watched.refresh_if_changed()))?
    };
    tree.when_names_go(catalogue.waker());

    let control = signals.handle();
    let (point, on_signal) = (mountpoint.to_path_buf(), unmounted.clone());
    let unmounter = thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                watch.trigger();
                continue;
            }
            let unmounted = unmount_patiently(&point).or_else(|error| {
                log::warn!("{error}: unmounting it as soon as it is not in use any more");
                unmount(&point, true)
            });
            match unmounted {
                Ok(()) => on_signal(),
                Err(error) => log::error!("not unmounted: {error}"),
            }
        }
    })?;
    let serving = session.spawn()?;
    widen_readahead(mountpoint);
    tell(Phase::Serving);
    let ended = until_unmounted(serving, mountpoint);
    unmounted();
    control.close();
    let _ = unmounter.join();
    // A request may have been cut off.
    tree.finish();
    drop(sizer);
    ended.at("the mount ended")
}

/// Waits for the end of the mount.
///
/// fuser's own way would unmount the path once more, and with it whatever has been mounted there since.
fn until_unmounted(mut serving: BackgroundSession, mountpoint: &Path) -> io::Result<()> {
    let other = thread::spawn(|| Ok(()));
    let ended = mem::replace(&mut serving.guard, other).join().map(|ended| match ended {
        // So ends an unmount while a request is under way. Where the mount is still there, somebody has broken it.
        Err(e) if e.raw_os_error() == Some(libc::ECONNABORTED) && !is_mounted(mountpoint) => Ok(()),
        other => other,
    });
    if let Ok(Ok(())) = ended {
        mem::forget(serving);
    }
    ended.unwrap_or_else(|_| Err(io::Error::other("a thread has failed with a panic (see above)")))
}

/// How far the kernel reads ahead of a sequential reader. Tried by hand with 128 (the default), 512 and 1024 on one
/// machine that had other work too: 1 GiB of base64 took 0.81, 0.73 and 0.69 s (mean of four), of DER 0.72, 0.62 and 0.66 s.
const READAHEAD_KIB: u32 = 512;

/// Only root may do this; everybody else has the default.
fn widen_readahead(mountpoint: &Path) {
    let Some(device) = device_of(mountpoint) else { return };
    let setting = format!("/sys/class/bdi/{device}/read_ahead_kb");
    let set = OpenOptions::new().write(true).open(setting);
    if let Err(error) = set.and_then(|mut file| file.write_all(READAHEAD_KIB.to_string().as_bytes())) {
        log::debug!("the kernel reads ahead as far as it likes: {error}");
    }
}

/// Passes on what has changed in the tree.
fn update(sizer: &Sizer, notifier: &Notifier, refreshed: Result<Option<Vec<Gone>>>) {
    let gone = match refreshed {
        Ok(Some(gone)) => gone,
        Ok(None) => return,
        Err(error) => return log::warn!("the store cannot be looked at: {error}"),
    };
    sizer.restart();
    for Gone { parent, name } in gone {
        if let Err(error) = notifier.inval_entry(INodeNo(parent), name.as_ref()) {
            log::debug!("the kernel does not forget {name}: {error}");
        }
    }
}

fn mount_failed(error: std::io::Error, mountpoint: &Path) -> Error {
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    // What fusermount3 says ends in a line break.
    let said = error.to_string();
    let said = said.trim_end();
    let failed = Error::new(Kind::Os(errno), format!("{}: cannot mount: {said}", mountpoint.display()));
    match errno {
        libc::ENOENT => failed.with_hint("is /dev/fuse there? On Debian: apt install fuse3"),
        libc::EPERM | libc::EACCES => failed.with_hint("may you use /dev/fuse?"),
        _ if said.contains("user_allow_other") => {
            failed.with_hint("for that root has to write the line user_allow_other into /etc/fuse.conf")
        }
        _ if said.contains("no write access") => failed.with_hint("take a directory that is yours"),
        _ => failed,
    }
}
