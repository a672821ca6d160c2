//! Sizes of artifacts, remembered between mounts so that listing a plain store does not unwrap every key again.
//!
//! What is kept is a hash of a set's files against the length of its zip: no name, no key, no plaintext.

use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::atomic::write_atomically;
use crate::error::{At, Result};

/// The sizes of one store, as seen with one set of keys.
pub struct Sizes {
    path: Option<PathBuf>,
    state: Mutex<State>,
    /// Held while the file is written: there is one unfinished file.
    saving: Mutex<()>,
}

#[derive(Default)]
struct State {
    known: HashMap<Digest, u64>,
    changed: bool,
}

/// Hash of a set's files.
type Digest = [u8; 16];

fn to_hex(digest: &Digest) -> String {
    format!("{:032x}", u128::from_be_bytes(*digest))
}

fn from_hex(text: &str) -> Option<Digest> {
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

impl Sizes {
    /// Loads what was remembered for a store; nothing is kept where there is no cache directory.
    pub fn load(cache_dir: Option<&Path>, store: &Path, keys: &[[u8; 32]]) -> Sizes {
        let path = cache_dir.map(|dir| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(store.as_os_str().as_encoded_bytes());
            keys.iter().for_each(|key| {
                hasher.update(key);
            });
            let name = hasher.finalize().to_hex();
            dir.join(format!("sizes-{}.json", &name[..32]))
        });
        let text = path.as_ref().and_then(|path| fs::read(path).ok());
        // What cannot be read is worked out again.
        let known: BTreeMap<String, u64> =
            text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let known = known.iter().filter_map(|(digest, len)| Some((from_hex(digest)?, *len))).collect();
        Sizes { path, state: Mutex::new(State { known, changed: false }), saving: Mutex::default() }
    }

    pub fn get(&self, digest: &Digest) -> Option<u64> {
        self.state.lock().known.get(digest).copied()
    }

    pub fn put(&self, digest: &Digest, len: u64) {
        let mut state = self.state.lock();
        state.changed |= state.known.insert(*digest, len) != Some(len);
    }

    /// Forgets a size that turned out to be wrong.
    pub fn forget(&self, digest: &Digest) {
        let mut state = self.state.lock();
        state.changed |= state.known.remove(digest).is_some();
    }

    /// Returns true if there is something to write down.
    pub fn have_changed(&self) -> bool {
        self.state.lock().changed
    }

    /// Writes down what has changed, without the sets that are gone.
    pub fn save(&self, present: &HashSet<Digest>) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let _one_at_a_time = self.saving.lock();
        let json = {
            let mut state = self.state.lock();
            if !std::mem::take(&mut state.changed) {
                return Ok(());
            }
            state.known.retain(|digest, _| present.contains(digest));
            let lines: BTreeMap<String, u64> = state.known.iter().map(|(d, len)| (to_hex(d), *len)).collect();
            serde_json::to_vec(&lines).unwrap_or_default()
        };
        let dir = path.parent().unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).at(dir.display())?;
        write_atomically(path, &json).at(path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_survive_and_those_of_gone_sets_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let load = |keys: &[[u8; 32]]| Sizes::load(Some(dir.path()), Path::new("/store"), keys);
        let sizes = load(&[[1; 32]]);
        sizes.put(&[1; 16], 100);
        sizes.put(&[2; 16], 200);
        sizes.save(&HashSet::from([[1; 16]])).unwrap();
        let again = load(&[[1; 32]]);
        assert_eq!((again.get(&[1; 16]), again.get(&[2; 16])), (Some(100), None));
        assert_eq!(load(&[[2; 32]]).get(&[1; 16]), None, "other keys, other sizes");
    }

    #[test]
    fn a_damaged_file_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let sizes = Sizes::load(Some(dir.path()), Path::new("/s"), &[]);
        sizes.put(&[1; 16], 1);
        sizes.save(&HashSet::from([[1; 16]])).unwrap();
        let file = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        fs::write(&file, "{\"nonsense").unwrap();
        assert_eq!(Sizes::load(Some(dir.path()), Path::new("/s"), &[]).get(&[1; 16]), None);
    }
}
