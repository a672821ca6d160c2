//! Messages that are logged once, however often there is reason to.

use std::collections::HashSet;

use parking_lot::Mutex;

/// Messages beyond this many are not logged.
const MAX_MESSAGES: usize = 100;

#[derive(Default)]
pub(crate) struct LogOnce(Mutex<HashSet<String>>);

impl LogOnce {
    pub(crate) fn error(&self, text: &str) {
        let mut logged = self.0.lock();
        if logged.len() < MAX_MESSAGES && logged.insert(text.into()) {
            log::error!("{text}");
        }
    }
}
