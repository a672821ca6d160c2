//! `cddsfs ls STORE RUN [PATH]` and `cddsfs cat STORE RUN PATH`: the tree without a mount.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use super::exit::{Because, Failure, Reason};
use super::keys::Keys;
use super::logging;
use crate::error::{At, Error, Kind, Result};
use crate::store::Store;
use crate::store::clock::SystemClock;
use crate::tree::{Attr, NodeKind, Options, ROOT, Tree};

/// How much is read at a time.
const STEP: usize = 1 << 20;

#[derive(Args)]
#[command(after_help = "Examples:
  cddsfs ls store 7d9f1c52-3a64-4c1b-9e0d-5b8a2f6c4e11 --key private.pem
  cddsfs ls ~/Downloads export-7d9f1c52-3a64-4c1b-9e0d-5b8a2f6c4e11 UCS/Interaction --key private.pem")]
pub struct ListArguments {
    /// Directory with encrypted exports
    store: PathBuf,
    /// Which export: its uuid, or what its file names begin with
    run: String,
    /// Directory or file inside it
    path: Option<String>,
    #[command(flatten)]
    keys: Keys,
}

#[derive(Args)]
#[command(after_help = "Example:
  cddsfs cat store 7d9f1c52-3a64-4c1b-9e0d-5b8a2f6c4e11 manifest.json --key private.pem | jq .files")]
pub struct CatArguments {
    /// Directory with encrypted exports
    store: PathBuf,
    /// Which export: its uuid, or what its file names begin with
    run: String,
    /// File inside it
    path: String,
    #[command(flatten)]
    keys: Keys,
}

pub fn list(arguments: &ListArguments) -> std::result::Result<(), Failure> {
    let tree = open(&arguments.store, &arguments.keys)?;
    let path = arguments.path.as_deref().unwrap_or_default();
    let found = find(&tree, &arguments.run, path).because(Reason::Store)?;
    unless_closed(write_list(&tree, &found, path)).because(Reason::Store)
}

pub fn cat(arguments: &CatArguments) -> std::result::Result<(), Failure> {
    let tree = open(&arguments.store, &arguments.keys)?;
    let found = find(&tree, &arguments.run, &arguments.path).because(Reason::Store)?;
    unless_closed(copy(&tree, found.ino)).at(&arguments.path).because(Reason::Store)
}

fn open(store: &std::path::Path, keys: &Keys) -> std::result::Result<Tree, Failure> {
    logging::start(None, 0).because(Reason::Usage)?;
    let identities = keys.load().because(Reason::Key)?;
    let options = Options { uid: 0, gid: 0, umask: 0o022, read_only: true };
    let store = Store::open(store).because(Reason::Store)?;
    Tree::new(store, identities, None, SystemClock::shared(), options).because(Reason::Store)
}

/// Finds a path inside an export.
fn find(tree: &Tree, run: &str, path: &str) -> Result<Attr> {
    let step = |parent: u64, name: &str| tree.lookup(parent, name.as_ref()).map(|(attr, _)| attr);
    let contents = step(ROOT, "contents")?.ino;
    let export = step(contents, run).or_else(|_| step(contents, &format!("export-{run}")));
    let mut found =
        export.map_err(|_| Error::new(Kind::NotFound, format!("{run}: no such export in this store")))?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        found = step(found.ino, name).at(format_args!("{run}: {path}"))?;
    }
    Ok(found)
}

/// Writes size, time and name of what a directory holds, or of a file.
fn write_list(tree: &Tree, found: &Attr, path: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    if found.kind != NodeKind::Directory {
        return Ok(line(&mut out, found, path)?);
    }
    let handle = tree.open_dir(found.ino)?;
    let listing = tree.listing(handle)?;
    // The first two are the directory itself and its parent.
    for i in 2.. {
        let Some(entry) = listing.entry(i) else { break };
        let (attr, _) = tree.attributes_now(&listing, &entry)?;
        line(&mut out, &attr, &entry.name)?;
    }
    Ok(())
}

fn line(out: &mut impl Write, attr: &Attr, name: &str) -> io::Result<()> {
    let mtime = jiff::Timestamp::try_from(attr.mtime)
        .map_or_else(|_| String::new(), |t| t.strftime("%Y-%m-%d %H:%M").to_string());
    let slash = if attr.kind == NodeKind::Directory { "/" } else { "" };
    writeln!(out, "{:>14}  {mtime:16}  {name}{slash}", attr.size)
}

fn copy(tree: &Tree, ino: u64) -> Result<()> {
    let (handle, _) = tree.open(ino)?;
    let mut out = io::stdout().lock();
    let mut buf = vec![0; STEP];
    let mut at = 0;
    loop {
        let n = tree.read(handle, &mut buf, at)?;
        if n == 0 {
            return Ok(());
        }
        out.write_all(&buf[..n])?;
        at += n as u64;
    }
}

/// A reader that has seen enough, such as `head`, is no failure.
fn unless_closed(result: Result<()>) -> Result<()> {
    result.or_else(|error| if error.kind() == Kind::Os(libc::EPIPE) { Ok(()) } else { Err(error) })
}
