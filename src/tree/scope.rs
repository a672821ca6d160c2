//! What a question about the tree is answered from.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::attr::TTL_FINISHED;
use super::context::Context;
use super::shown::ShownSet;
use super::view::View;

/// One view for the length of a question. Only what is asked of the catalogue can change meanwhile.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(crate) context: Arc<Context>,
    pub(crate) view: Arc<View>,
}

impl Scope {
    pub(crate) fn now(&self) -> SystemTime {
        self.context.now()
    }

    /// Returns when an export was made, as far as that is known.
    pub(crate) fn made(&self, set: &ShownSet) -> SystemTime {
        set.made(&self.context, self.now()).at
    }

    /// Returns how long the attributes of a set hold: at most until it expires.
    pub(crate) fn ttl(&self, set: &ShownSet) -> Duration {
        let expires = self.view.retention.expires(set.stored().made);
        self.ttl_until(expires.filter(|_| self.context.managed().is_some()))
    }

    pub(crate) fn ttl_until(&self, end: Option<SystemTime>) -> Duration {
        let left = end.map(|at| at.duration_since(self.now()).unwrap_or_default());
        left.unwrap_or(TTL_FINISHED).min(TTL_FINISHED)
    }
}
