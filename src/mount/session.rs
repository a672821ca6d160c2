//! A mount from its beginning to its end.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Once, mpsc};
use std::thread;
use std::time::Duration;

use fuser::{BackgroundSession, Config, INodeNo, MountOption, Notifier, Session, SessionACL};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::adapter::Adapter;
use super::deadline::Deadline;
use super::mountinfo::{device_of, is_mounted};
use super::signals::OnSignals;
use super::unmount::{unmount, unmount_patiently};
use crate::error::{At, Error, Kind, Result};
use crate::io::{Background, Cancel, Next, Task, set_own_device};
use crate::tree::{GoneName, Sizer, Tree};

/// Who may use the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Access {
    #[default]
    Owner,
    OwnerAndRoot,
    Everybody,
}

/// What a service manager is told about a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The mount answers.
    Serving,
    /// It is not there any more, but programs may have files open.
    Unmounted,
}

/// What is asked of the kernel.
#[derive(Debug, Clone)]
pub(crate) struct MountSettings {
    /// Shown as the source in /proc/mounts.
    pub(crate) name: String,
    pub(crate) access: Access,
    pub(crate) default_permissions: bool,
    /// Number of event loops.
    pub(crate) threads: usize,
}

/// Returns the name as it has to be given: mount(2) takes it as it is; fusermount3, which everybody else has to ask,
/// takes it out of a list of options, where a comma or a backslash needs a backslash before it.
fn source(name: &str, is_direct: bool) -> String {
    if is_direct { name.into() } else { name.replace('\\', r"\\").replace(',', r"\,") }
}

/// Returns true if this process may call mount(2): if it has CAP_SYS_ADMIN (capabilities(7)).
fn may_mount() -> bool {
    const SYS_ADMIN: u32 = 21;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = capabilities.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    bits.is_some_and(|bits| bits & (1 << SYS_ADMIN) != 0)
}

fn config(settings: &MountSettings, writable: bool) -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName(source(&settings.name, may_mount())),
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

/// Mounts the tree and serves it until it is unmounted. `tell` is called when a phase has begun. `companions` are
/// dropped at the end. What is left to do then has a moment, and does not keep this from returning.
pub(crate) fn serve(
    tree: Tree,
    mountpoint: &Path,
    settings: &MountSettings,
    tell: impl Fn(Phase) + Send + Sync + 'static,
    companions: impl Send + 'static,
) -> Result<()> {
    let (tree, tell) = (Arc::new(tree), Arc::new(tell));
    // Both the signal handler that unmounts and the server see it; it is told once.
    let unmounted = {
        let (tell, once) = (tell.clone(), Once::new());
        Arc::new(move || once.call_once(|| tell(Phase::Unmounted)))
    };
    // Signals must not end the program while a mount is there, so they are caught before.
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let deadline = Deadline::start(settings.threads);
    let session = Session::new(
        Adapter::new(tree.clone(), deadline.clone()),
        mountpoint,
        &config(settings, tree.is_writable()),
    )
    .map_err(|e| mount_failed(e, mountpoint))?;
    let notifier = session.notifier();
    let sizer = Arc::new(Sizer::start(tree.clone()));
    let watch = {
        let (watched, sizer) = (tree.clone(), sizer.clone());
        let changed = move || update(&sizer, &notifier, watched.refresh().map(Some));
        tree.watch(Box::new(changed))?
    };
    let catalogue = tree.pace().map(|pace| {
        let (watched, sizer, notifier) = (tree.clone(), sizer.clone(), session.notifier());
        Background::start("catalogue", Next::After(pace), move |_: &Cancel| {
            update(&sizer, &notifier, watched.refresh_if_changed());
            Next::After(pace)
        })
    });
    let catalogue = catalogue.transpose()?;
    if let Some(waker) = catalogue.as_ref().map(Background::waker) {
        tree.when_names_go(move || waker.wake());
    }

    let (point, on_signal) = (mountpoint.to_path_buf(), unmounted.clone());
    let on_signals = OnSignals::start("signals", signals, move |signal| {
        if signal == SIGHUP {
            return watch.trigger();
        }
        // Programs that wait for a store that hangs keep the mount in use.
        deadline.hurry(true);
        let unmounted = unmount_patiently(&point).or_else(|error| {
            log::warn!("{error}: unmounting it as soon as it is not in use any more");
            unmount(&point, true)
        });
        match unmounted {
            Ok(()) => on_signal(),
            Err(error) => {
                deadline.hurry(false);
                log::error!("not unmounted: {error}");
            }
        }
    })?;
    let device = session.as_fd().try_clone_to_owned()?;
    let serving = session.spawn()?;
    widen_readahead(mountpoint);
    let number = device_of(mountpoint);
    if let Some((major, minor)) = number.as_deref().and_then(|device| device.split_once(':'))
        && let (Ok(major), Ok(minor)) = (major.parse(), minor.parse())
    {
        set_own_device(major, minor);
    }
    tell(Phase::Serving);
    let ended = until_unmounted(serving, &device, mountpoint);
    unmounted();
    tree.stop();
    // Requests may have been cut off, and their handles not released.
    let finish = AtEnd::start("finish", move || tree.finish());
    let rest = AtEnd::start("end", move || drop((companions, on_signals, catalogue, sizer)));
    Background::end_all([finish, rest].into_iter().flatten());
    ended.at("the mount ended")
}

/// Work that is done once, when the thread ends.
struct AtEnd<F>(Option<F>);

impl<F: FnOnce() + Send + 'static> AtEnd<F> {
    fn start(name: &str, work: F) -> Option<Background> {
        let started = Background::start(name, Next::WhenWoken, AtEnd(Some(work)));
        started.inspect_err(|error| log::error!("what is left to do in the end is not done: {error}")).ok()
    }
}

impl<F: FnOnce() + Send + 'static> Task for AtEnd<F> {
    fn step(&mut self, _: &Cancel) -> Next {
        Next::WhenWoken
    }

    fn end(&mut self) {
        self.0.take().into_iter().for_each(|work| work());
    }
}

/// Time between looks whether the mount has ended although event loops have not: they may wait for the store.
const LOOK: Duration = Duration::from_millis(250);

/// Waits for the end of the mount.
///
/// fuser's own way would unmount the path once more, and with it whatever has been mounted there since; and it would
/// wait for all event loops.
fn until_unmounted(mut serving: BackgroundSession, device: &OwnedFd, mountpoint: &Path) -> io::Result<()> {
    let other = thread::spawn(|| Ok(()));
    let guard = mem::replace(&mut serving.guard, other);
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().name("serving".into()).spawn(move || sender.send(guard.join()))?;
    let ended = loop {
        match receiver.recv_timeout(LOOK) {
            Ok(joined) => break joined,
            Err(_) if !is_disconnected(device) => {}
            // Event loops that do not wait for the store are about to end, too.
            Err(_) => break receiver.recv_timeout(LOOK).unwrap_or(Ok(Ok(()))),
        }
    };
    let ended = ended.map(|ended| match ended {
        // An unmount while a request is under way ends like this. If the mount is still there, somebody has broken the
        // connection.
        Err(e) if e.raw_os_error() == Some(libc::ECONNABORTED) && !is_mounted(mountpoint) => Ok(()),
        other => other,
    });
    if let Ok(Ok(())) = ended {
        mem::forget(serving);
    }
    ended.unwrap_or_else(|_| Err(io::Error::other("a thread has failed with a panic (see above)")))
}

/// Returns true if the kernel asks nothing any more (fuse_dev_poll in the kernel).
fn is_disconnected(device: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(device.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|count| count > 0)
}

/// How far the kernel reads ahead of a sequential reader. Tried by hand with 128 (the default), 512 and 1024 on one
/// machine that had other work too: 1 GiB of base64 took 0.81, 0.73 and 0.69 s (mean of four), of DER 0.72, 0.62 and
/// 0.66 s.
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
fn update(sizer: &Sizer, notifier: &Notifier, refreshed: Result<Option<Vec<GoneName>>>) {
    let gone = match refreshed {
        Ok(Some(gone)) => gone,
        Ok(None) => return,
        Err(error) => return log::warn!("the store cannot be looked at: {error}"),
    };
    sizer.restart();
    for GoneName { parent, name } in gone {
        if let Err(error) = notifier.inval_entry(INodeNo(parent), name.as_ref()) {
            log::debug!("the kernel does not forget {name}: {error}");
        }
    }
}

fn mount_failed(error: std::io::Error, mountpoint: &Path) -> Error {
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    // What fusermount3 prints ends in a line break.
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
