//! What is said once, however often it is found.

use std::collections::HashSet;

use parking_lot::Mutex;

/// Texts beyond this many are not said.
const MAX_SAID: usize = 100;

#[derive(Default)]
pub(crate) struct Said(Mutex<HashSet<String>>);

impl Said {
    pub(crate) fn once(&self, text: &str) {
        let mut said = self.0.lock();
        if said.len() < MAX_SAID && said.insert(text.into()) {
            log::error!("{text}");
        }
    }
}
