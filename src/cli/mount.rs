//! `cddsfs mount STORE MOUNTPOINT`

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{getegid, geteuid};

use super::exit::{Because, Failure, Reason};
use super::keys::Keys;
use super::store::{StoreArguments, cache_dir};
use super::watcher::Watcher;
use super::{background, logging, supervisor};
use crate::error::{At, Error};
use crate::export::engine::Engine;
use crate::export::source::SourceSpec;
use crate::mount::{Access, MountSettings, Needed, Phase, check_hides_nothing, check_mountpoint, serve};
use crate::store::Store;
use crate::store::address::Reach;
use crate::store::clock::SystemClock;
use crate::tree::{DEFAULT_CACHE, Options, Tree};

#[derive(Args)]
#[command(after_help = "Examples:
  cddsfs mount ~/Downloads ~/exports --key private.pem
  cddsfs mount store mnt -o key=private.pem,allow_other,uid=1000      (every long option can be given so)
  cddsfs store mnt -o key=private.pem,ro                              (as mount(8) and fstab call it)

Without a key the mount shows what is there; opening an export then fails with ENOKEY.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    store: StoreArguments,
    /// Empty directory to mount on
    mountpoint: PathBuf,
    #[command(flatten)]
    keys: Keys,
    /// Stay in the foreground
    #[arg(short, long)]
    foreground: bool,
    /// Owner of all files (default: you)
    #[arg(long, value_name = "UID")]
    uid: Option<u32>,
    /// Group of all files (default: yours)
    #[arg(long, value_name = "GID")]
    gid: Option<u32>,
    /// Permissions to take away, in octal (default: yours)
    #[arg(long, value_name = "MASK", value_parser = parse_octal)]
    umask: Option<u32>,
    /// Let all users in (permissions are checked)
    #[arg(long)]
    allow_other: bool,
    /// Let root in
    #[arg(long, conflicts_with = "allow_other")]
    allow_root: bool,
    /// Have the kernel check permissions
    #[arg(long)]
    default_permissions: bool,
    /// Mount over a directory that is not empty
    #[arg(long)]
    nonempty: bool,
    /// Change nothing: no jobs are run, nothing can be deleted
    #[arg(long)]
    ro: bool,
    /// What df and /proc/mounts show as the source (default: the store)
    #[arg(long, value_name = "NAME")]
    fsname: Option<OsString>,
    /// Threads that answer requests (default: two for each core, 4 to 16)
    #[arg(long, value_name = "N", default_value_t = default_threads(), hide_default_value = true, value_parser = clap::value_parser!(u8).range(2..=64))]
    threads: u8,
    /// Memory for what is kept of decompressing, in MiB
    #[arg(long, value_name = "N", default_value_t = (DEFAULT_CACHE >> 20) as u32, value_parser = clap::value_parser!(u32).range(16..=4096))]
    cache_mb: u32,
    /// Memory for what is read ahead of an object store, in MiB
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(8..=4096))]
    readahead_mb: u32,
    /// Seconds between two listings of an object store (SIGHUP has it listed at once)
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    poll: u32,
    /// Append log lines to a file
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Name the members of zips in log lines, which may be personal; otherwise their numbers are given
    #[arg(long)]
    log_names: bool,
    /// Say more; twice: everything
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// mount(8) options, as in fstab
    #[arg(short, value_name = "OPT,...")]
    o: Vec<String>,
    #[arg(long, hide = true)]
    in_background: bool,
    /// Only check whether it could be mounted (mount -f)
    #[arg(long, hide = true)]
    fake: bool,
    /// Mount namespace to mount in (mount -N)
    #[arg(long, hide = true, value_name = "FILE")]
    namespace: Option<PathBuf>,
}

fn parse_octal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|&mask| mask <= 0o777)
        .ok_or_else(|| "an octal number up to 777".into())
}

fn default_threads() -> u8 {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    (2 * cores).clamp(4, 16) as u8
}

pub(crate) fn run(arguments: &Arguments, args: &[OsString]) -> Result<(), Failure> {
    if !(arguments.foreground || arguments.in_background || arguments.fake) {
        return background::start(args);
    }
    if let Some(namespace) = &arguments.namespace {
        enter(namespace).at(namespace.display()).because(Reason::MountPoint)?;
    }
    let log = arguments.log.as_deref().map(std::path::absolute).transpose().because(Reason::Usage)?;
    let log = logging::start_to(log.as_deref(), arguments.verbose).because(Reason::Usage)?;
    allow_many_open_files();
    let store = match arguments.store.address.directory() {
        Some(dir) => std::fs::canonicalize(dir).map_err(|e| store_missing(e, dir)).because(Reason::Store)?,
        None => arguments.store.address.as_path().to_path_buf(),
    };
    let mountpoint =
        check_mountpoint(&arguments.mountpoint, &store, arguments.nonempty).because(Reason::MountPoint)?;
    let identities = arguments.keys.load().because(Reason::Key)?;
    // From here on there are no prompts that a signal would have to end.
    let log = log.obey_signals().because(Reason::Other)?;
    let has_keys = !identities.is_empty();
    let opened = arguments.store.open(&reach(arguments), !arguments.ro)?;
    let needed = needed(&opened, arguments).because(Reason::Store)?;
    check_hides_nothing(&mountpoint, &needed).because(Reason::MountPoint)?;
    let managed = opened.managed().cloned();
    let tree =
        Tree::new(opened, identities, cache_dir().as_deref(), SystemClock::shared(), options(arguments))
            .because(Reason::Store)?;
    if !has_keys {
        log::warn!("no key given: exports are listed, but none can be opened; give --key FILE");
    }
    if arguments.fake {
        return Ok(());
    }
    let watcher = Watcher::start(&mountpoint).inspect_err(|error| {
        log::warn!("nobody takes the mount away if this process is killed: {error}");
    });
    let (in_background, shown) = (arguments.in_background, (store.clone(), mountpoint.clone()));
    let tell = move |phase| match (in_background, phase) {
        (true, Phase::Serving) => background::ready(),
        (true, Phase::Unmounted) => {}
        (false, phase) => supervisor::tell(phase, &shown.0, &shown.1),
    };
    let engine = match managed.filter(|_| tree.is_writable()) {
        Some(store) => Some(Engine::start(store, SystemClock::shared(), None).because(Reason::Store)?),
        None => None,
    };
    let companions = (engine, watcher, log);
    serve(tree, &mountpoint, &settings(arguments, &store), tell, companions).because(Reason::MountPoint)
}

/// Returns the paths that the server goes on to use while the mount is there.
fn needed(store: &Store, arguments: &Arguments) -> Result<Vec<Needed>, Error> {
    let source = store.managed().map(|store| store.catalogue.source()).transpose()?.flatten();
    let source = source.and_then(|source| match SourceSpec::parse(&source) {
        SourceSpec::Sqlite(path) => Some(path),
        SourceSpec::Postgres(_) => None,
    });
    let paths = [
        ("store", arguments.store.address.directory().map(|_| store.place().to_path_buf())),
        ("store", store.parts().dir()),
        ("source of exports", source),
        ("log", arguments.log.clone()),
        ("cache", cache_dir()),
    ];
    let absolute = |(what, path): (_, Option<PathBuf>)| {
        path.map(|path| Ok(Needed { what, path: std::path::absolute(path)? }))
    };
    paths.into_iter().filter_map(absolute).collect()
}

fn reach(arguments: &Arguments) -> Reach {
    Reach {
        poll: Some(Duration::from_secs(arguments.poll.into())),
        readahead: (arguments.readahead_mb as usize) << 20,
        ..arguments.store.reach()
    }
}

fn store_missing(error: std::io::Error, store: &Path) -> Error {
    let is_missing = error.kind() == std::io::ErrorKind::NotFound;
    let error = Error::from(error).at(store.display());
    match is_missing {
        true => error.with_hint("give a folder of downloads, or make a store with cddsfs init"),
        false => error,
    }
}

/// Enters another mount namespace, which is possible only before there are threads.
fn enter(namespace: &Path) -> Result<(), Error> {
    let file = File::open(namespace)?;
    Ok(setns(file, CloneFlags::CLONE_NEWNS).map_err(std::io::Error::from)?)
}

/// Every part of an open zip holds a descriptor.
fn allow_many_open_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        log::info!("no more than {soft} open files: {error}");
    }
}

fn options(arguments: &Arguments) -> Options {
    Options {
        uid: arguments.uid.unwrap_or_else(|| geteuid().as_raw()),
        gid: arguments.gid.unwrap_or_else(|| getegid().as_raw()),
        umask: arguments.umask.unwrap_or_else(own_umask),
        read_only: arguments.ro,
        cache: (arguments.cache_mb as usize) << 20,
        log_names: arguments.log_names,
    }
}

/// Returns the process's umask, which can only be read by setting it.
fn own_umask() -> u32 {
    let mask = umask(Mode::empty());
    umask(mask);
    mask.bits()
}

fn settings(arguments: &Arguments, store: &Path) -> MountSettings {
    MountSettings {
        name: arguments.fsname.as_deref().unwrap_or(store.as_os_str()).to_string_lossy().into_owned(),
        access: match (arguments.allow_other, arguments.allow_root) {
            (true, _) => Access::Everybody,
            (false, true) => Access::OwnerAndRoot,
            (false, false) => Access::Owner,
        },
        default_permissions: arguments.default_permissions,
        threads: arguments.threads.into(),
    }
}
