//! `cddsfs ls STORE RUN [PATH]` and `cddsfs cat STORE RUN PATH`: the tree without a mount.

use std::io::{self, IsTerminal, Write};

use clap::Args;

use super::exit::{Because, Failure, Reason};
use super::keys::Keys;
use super::show::{self, unless_closed};
use super::store;
use crate::error::{At, Result};
use crate::tree::{Attr, NodeKind, ROOT, Tree};

/// Bytes that are read at a time.
const STEP: usize = 1 << 20;

#[derive(Args)]
#[command(after_help = "Examples:
  cddsfs ls store 7d9f1c52-3a64-4c1b-9e0d-5b8a2f6c4e11 --key private.pem
  cddsfs ls ~/Downloads export-7d9f1c52-3a64-4c1b-9e0d-5b8a2f6c4e11 UCS/Interaction --key private.pem")]
pub(crate) struct ListArguments {
    #[command(flatten)]
    store: store::StoreArguments,
    /// Which export: its id or the beginning of it
    run: String,
    /// Directory or file inside it
    path: Option<String>,
    #[command(flatten)]
    keys: Keys,
}

#[derive(Args)]
#[command(after_help = "Example:
  cddsfs cat store 7d9f1c52-3a64-4c1b-9e0d-5b8a2f6c4e11 manifest.json --key private.pem | jq .files")]
pub(crate) struct CatArguments {
    #[command(flatten)]
    store: store::StoreArguments,
    /// Which export: its id or the beginning of it
    run: String,
    /// File inside it
    path: String,
    #[command(flatten)]
    keys: Keys,
}

pub(crate) fn list(arguments: &ListArguments) -> std::result::Result<(), Failure> {
    let tree = store::tree(&arguments.store, &arguments.keys)?;
    let path = arguments.path.as_deref().unwrap_or_default();
    let found = find(&tree, &arguments.run, path).because(Reason::Store)?;
    unless_closed(write_list(&tree, &found, path)).because(Reason::Store)
}

pub(crate) fn cat(arguments: &CatArguments) -> std::result::Result<(), Failure> {
    let tree = store::tree(&arguments.store, &arguments.keys)?;
    let found = find(&tree, &arguments.run, &arguments.path).because(Reason::Store)?;
    unless_closed(copy(&tree, found.ino)).at(&arguments.path).because(Reason::Store)
}

/// Finds a path inside an export.
fn find(tree: &Tree, run: &str, path: &str) -> Result<Attr> {
    let step = |parent: u64, name: &str| tree.lookup(parent, name.as_ref()).map(|(attr, _)| attr);
    let contents = step(ROOT, "contents")?.ino;
    let listing = tree.listing(tree.opendir(contents)?)?;
    let stems: Vec<String> = listing.entries_from(2).map(|entry| entry.name).collect();
    let mut found = step(contents, store::chosen(stems.iter().map(String::as_str), run)?)?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        found = step(found.ino, name).at(format_args!("{run}: {path}"))?;
    }
    Ok(found)
}

/// Writes size, time and name of what a directory holds, or of a file.
fn write_list(tree: &Tree, found: &Attr, path: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    // As in ls(1), a program gets the names as they are.
    let is_terminal = io::stdout().is_terminal();
    let shown = |name: &str| if is_terminal { show::clean(name) } else { name.into() };
    if found.kind != NodeKind::Directory {
        return Ok(line(&mut out, found, &shown(path))?);
    }
    let handle = tree.opendir(found.ino)?;
    let listing = tree.listing(handle)?;
    // The first two are the directory itself and its parent.
    for entry in listing.entries_from(2) {
        let (attr, _) = tree.attributes_now(&listing, &entry)?;
        line(&mut out, &attr, &shown(&entry.name))?;
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
    let mut at = 0;
    loop {
        let mut written = Ok(());
        let begin = at;
        tree.read(handle, at, STEP, &mut |bytes| {
            written = out.write_all(bytes);
            at += bytes.len() as u64;
        })?;
        written?;
        if at == begin {
            return Ok(());
        }
    }
}
