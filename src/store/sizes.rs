//! Sizes of artifacts and when they were made, remembered between mounts so that listing a plain store does not unwrap
//! every key again.
//!
//! A hash of a set's files is kept with the length of its zip and an instant: no name, no key, no plaintext.
//!
//! ```json
//! {"version": 2, "sets": {"<32 hexadecimal digits>": [1048576, 1769824800000]}}
//! ```
//!
//! Instants are milliseconds since 1970, `null` where nothing in the zip tells. A file of another version is ignored.

use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::atomic::write_atomically;
use crate::error::{At, Result};

/// The sizes of one store, as seen with one set of keys.
pub(crate) struct SizeCache {
    path: Option<PathBuf>,
    known_sets: Mutex<KnownSets>,
    /// Held while the file is written: there is one unfinished file.
    saving: Mutex<()>,
}

#[derive(Default)]
struct KnownSets {
    known: HashMap<SetDigest, Known>,
    changed: bool,
}

/// Length and time of a whole set, as they are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known(pub u64, Option<i64>);

impl Known {
    pub(crate) fn new(len: u64, made: Option<SystemTime>) -> Known {
        let ms = |made: SystemTime| match made.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).ok(),
            Err(before) => i64::try_from(before.duration().as_millis()).ok().map(|ms| -ms),
        };
        Known(len, made.and_then(ms))
    }

    pub(crate) fn made(&self) -> Option<SystemTime> {
        let ms = self.1?;
        let since = Duration::from_millis(ms.unsigned_abs());
        if ms < 0 { UNIX_EPOCH.checked_sub(since) } else { UNIX_EPOCH.checked_add(since) }
    }
}

/// The file as it is written.
#[derive(Serialize, Deserialize)]
struct CacheFile {
    version: u32,
    sets: BTreeMap<String, Known>,
}

const VERSION: u32 = 2;

/// Hash of a set's files.
type SetDigest = [u8; 16];

fn to_hex(digest: &SetDigest) -> String {
    format!("{:032x}", u128::from_be_bytes(*digest))
}

fn from_hex(text: &str) -> Option<SetDigest> {
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

impl SizeCache {
    /// Loads what was remembered for a store; nothing is kept where there is no cache directory.
    pub(crate) fn load(cache_dir: Option<&Path>, store: &Path, keys: &[[u8; 32]]) -> SizeCache {
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
        let saved: Option<CacheFile> = text.and_then(|text| serde_json::from_slice(&text).ok());
        let sets = saved.filter(|saved| saved.version == VERSION).map(|saved| saved.sets).unwrap_or_default();
        let known = sets.iter().filter_map(|(digest, known)| Some((from_hex(digest)?, *known))).collect();
        SizeCache {
            path,
            known_sets: Mutex::new(KnownSets { known, changed: false }),
            saving: Mutex::default(),
        }
    }

    pub(crate) fn get(&self, digest: &SetDigest) -> Option<Known> {
        self.known_sets.lock().known.get(digest).copied()
    }

    pub(crate) fn put(&self, digest: &SetDigest, known: Known) {
        let mut known_sets = self.known_sets.lock();
        known_sets.changed |= known_sets.known.insert(*digest, known) != Some(known);
    }

    /// Forgets what turned out to be wrong.
    pub(crate) fn forget(&self, digest: &SetDigest) {
        let mut known_sets = self.known_sets.lock();
        known_sets.changed |= known_sets.known.remove(digest).is_some();
    }

    /// Returns true if there is something to write down.
    pub(crate) fn have_changed(&self) -> bool {
        self.known_sets.lock().changed
    }

    /// Writes down what has changed, without the sets that are gone.
    pub(crate) fn save(&self, present: &HashSet<SetDigest>) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let _one_at_a_time = self.saving.lock();
        let json = {
            let mut known_sets = self.known_sets.lock();
            if !std::mem::take(&mut known_sets.changed) {
                return Ok(());
            }
            known_sets.known.retain(|digest, _| present.contains(digest));
            let sets = known_sets.known.iter().map(|(digest, known)| (to_hex(digest), *known)).collect();
            serde_json::to_vec(&CacheFile { version: VERSION, sets }).unwrap_or_default()
        };
        let dir = path.parent().unwrap_or(Path::new("."));
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).at(dir.display());
        let written = made.and_then(|()| write_atomically(path, &json).at(path.display()));
        // What could not be written still has to be.
        self.known_sets.lock().changed |= written.is_err();
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_survive_and_those_of_gone_sets_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let load = |keys: &[[u8; 32]]| SizeCache::load(Some(dir.path()), Path::new("/store"), keys);
        let sizes = load(&[[1; 32]]);
        let made = UNIX_EPOCH + Duration::from_millis(1_769_824_800_123);
        sizes.put(&[1; 16], Known::new(100, Some(made)));
        sizes.put(&[2; 16], Known::new(200, None));
        sizes.save(&HashSet::from([[1; 16]])).unwrap();
        let again = load(&[[1; 32]]);
        assert_eq!((again.get(&[1; 16]), again.get(&[2; 16])), (Some(Known::new(100, Some(made))), None));
        assert_eq!(again.get(&[1; 16]).unwrap().made(), Some(made));
        assert_eq!(load(&[[2; 32]]).get(&[1; 16]), None, "other keys, other sizes");
    }

    #[test]
    fn a_damaged_file_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let sizes = SizeCache::load(Some(dir.path()), Path::new("/s"), &[]);
        sizes.put(&[1; 16], Known::new(1, None));
        sizes.save(&HashSet::from([[1; 16]])).unwrap();
        let file = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        let digest = to_hex(&[1; 16]);
        // Nonsense, the first version, and a later one.
        for text in [
            "{\"nonsense",
            &format!("{{\"{digest}\":7}}"),
            &format!("{{\"version\":3,\"sets\":{{\"{digest}\":[7,null]}}}}"),
        ] {
            fs::write(&file, text).unwrap();
            assert_eq!(SizeCache::load(Some(dir.path()), Path::new("/s"), &[]).get(&[1; 16]), None, "{text}");
        }
    }

    #[test]
    fn what_could_not_be_written_down_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let sizes = SizeCache::load(Some(&cache), Path::new("/s"), &[]);
        sizes.put(&[1; 16], Known::new(1, None));
        // A file is where the directory should be.
        fs::write(&cache, "").unwrap();
        assert!(sizes.save(&HashSet::from([[1; 16]])).is_err() && sizes.have_changed());
        fs::remove_file(&cache).unwrap();
        sizes.save(&HashSet::from([[1; 16]])).unwrap();
        assert!(!sizes.have_changed());
        assert!(SizeCache::load(Some(&cache), Path::new("/s"), &[]).get(&[1; 16]).is_some());
    }
}
