//! When the tree looks at its store again: nothing that has changed stays unseen, whatever goes wrong meanwhile.

use std::fs::{self, File};
use std::path::Path;

use crate::support::managed::{Bench, DAY};
use cddsfs::error::{Kind, Result};
use cddsfs::store::Store;
use cddsfs::store::clock::SystemClock;
use cddsfs::store::managed::Managed;
use cddsfs::tree::{Attr, Options, ROOT, Tree};
use std::sync::Arc;

const CONTACTS: &str = r#"{"title":"contacts","type":"Contact"}"#;

/// The tree of the store as another process sees it.
fn tree(bench: &Bench) -> Tree {
    let store = Store::Managed(Arc::new(Managed::open(bench.store.dir()).unwrap()));
    Tree::new(store, Arc::new([]), None, bench.clock.shared(), Options::default()).unwrap()
}

fn lookup(tree: &Tree, dir: &str, name: &str) -> Result<Attr> {
    let dir = tree.lookup(ROOT, dir.as_ref())?.0.ino;
    Ok(tree.lookup(dir, name.as_ref())?.0)
}

/// What `encrypted/` lists.
fn listed(tree: &Tree) -> usize {
    let handle = tree.opendir(lookup_dir(tree, "encrypted")).unwrap();
    let count = tree.listing(handle).unwrap().entries_from(2).count();
    tree.release(handle);
    count
}

fn lookup_dir(tree: &Tree, dir: &str) -> u64 {
    tree.lookup(ROOT, dir.as_ref()).unwrap().0.ino
}

#[test]
fn what_could_not_be_looked_at_is_not_taken_for_seen() {
    let bench = Bench::new(100);
    let tree = tree(&bench);
    assert_eq!(tree.refresh_if_changed().unwrap(), None);
    bench.export(CONTACTS);
    let (parts, away) = (bench.store.artifacts(), bench.path("away"));
    fs::rename(&parts, &away).unwrap();
    assert!(tree.refresh_if_changed().is_err());
    fs::rename(&away, &parts).unwrap();
    // Nothing else changes from now on.
    assert!(tree.refresh_if_changed().unwrap().is_some());
    assert_eq!(listed(&tree), 1);
    assert_eq!(tree.refresh_if_changed().unwrap(), None);
}

#[test]
fn a_clock_that_is_put_forward_and_back_hides_nothing() {
    let bench = Bench::new(100);
    bench.export(CONTACTS);
    let tree = tree(&bench);
    assert_eq!(listed(&tree), 1);
    // Listing a directory looks again by itself, and so does the thread that calls this.
    bench.clock.step(40 * DAY);
    let gone = tree.refresh_if_changed().unwrap().unwrap();
    assert!(!gone.is_empty(), "the kernel is told");
    assert_eq!(listed(&tree), 0);
    bench.clock.step_back(40 * DAY);
    assert!(tree.refresh_if_changed().unwrap().is_some());
    assert_eq!(listed(&tree), 1);
    // Time that passes is no step.
    bench.clock.advance(DAY);
    assert_eq!(tree.refresh_if_changed().unwrap(), None);
    bench.clock.step_back(40 * DAY);
    assert_eq!(listed(&tree), 1);
}

/// Two downloads of one part that have the same bytes.
fn store_of_downloads(dir: &Path) {
    for name in ["e.zip.smime", "e.zip (1).smime"] {
        File::create(dir.join(name)).unwrap().set_len(1 << 20).unwrap();
    }
}

#[test]
fn what_a_stopped_tree_reads_is_cancelled_and_remembered_as_nothing() {
    let dir = tempfile::tempdir().unwrap();
    store_of_downloads(dir.path());
    let cache = dir.path().join("cache");
    let store = || Store::plain(dir.path());
    let (clock, options) = (SystemClock::shared(), Options::default());
    let tree = Tree::new(store(), Arc::new([]), Some(&cache), clock, options).unwrap();
    let file = lookup(&tree, "encrypted", "e.zip.smime").unwrap();
    let handle = tree.open(file.ino).unwrap().0;
    tree.read(handle, 0, 100, &mut |_| ()).unwrap();
    tree.stop();
    let zip = lookup(&tree, "artifacts", "e.zip").unwrap();
    let cancelled = |result: Result<()>| assert_eq!(result.unwrap_err().kind(), Kind::Cancelled);
    cancelled(tree.read(handle, 0, 100, &mut |_| ()));
    cancelled(tree.open(file.ino).map(drop));
    // It would be damaged, for whoever could read it; nobody may say so now.
    cancelled(tree.open(zip.ino).map(drop));
    cancelled(tree.open(zip.ino).map(drop));
    tree.save_sizes().unwrap();
    assert!(!cache.exists());
}
