//! Zips that were opened lately stay open for a while: `unzip -l` and then `unzip -p` unwrap the keys once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::artifact::Zip;

type Key = ([u8; 16], bool);

/// Every part of an open zip holds a file descriptor, so they are what is counted.
const MAX_PARTS: usize = 256;
/// Memory of all rewritten directories together, in bytes.
const MAX_MEMORY: usize = 8 << 20;

/// The latest zips, the last used at the back.
#[derive(Default)]
pub struct Recent {
    zips: Mutex<VecDeque<(Key, Arc<Zip>)>>,
}

impl Recent {
    pub fn get(&self, key: &Key) -> Option<Arc<Zip>> {
        let mut zips = self.zips.lock().unwrap();
        let at = zips.iter().position(|(k, _)| k == key)?;
        let found = zips.remove(at)?;
        let zip = found.1.clone();
        zips.push_back(found);
        Some(zip)
    }

    pub fn insert(&self, key: Key, zip: Arc<Zip>) {
        let mut zips = self.zips.lock().unwrap();
        zips.retain(|(k, _)| *k != key);
        zips.push_back((key, zip));
        let cost = |zips: &VecDeque<(Key, Arc<Zip>)>| {
            zips.iter().fold((0, 0), |(parts, memory), (_, zip)| (parts + zip.parts(), memory + zip.memory()))
        };
        // The newest stays, whatever it costs: it is about to be used.
        while zips.len() > 1 {
            let (parts, memory) = cost(&zips);
            if parts <= MAX_PARTS && memory <= MAX_MEMORY {
                break;
            }
            zips.pop_front();
        }
    }

    /// Closes the zips of sets that are gone: deleted files would go on taking space.
    pub fn retain(&self, present: impl Fn(&[u8; 16]) -> bool) {
        self.zips.lock().unwrap().retain(|((digest, _), _)| present(digest));
    }
}
