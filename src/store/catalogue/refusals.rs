//! The last specs that were refused.

use std::time::SystemTime;

use crate::error::Result;

/// A spec that was refused, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedSpec {
    pub at: SystemTime,
    /// The file in `jobs/` that it was written to.
    pub target: String,
    pub field: String,
    pub wrong: String,
    pub remedy: String,
    /// As it was received.
    pub spec: Vec<u8>,
}

pub trait Refusals: Send + Sync {
    /// Keeps a refusal; of all the last 20 are kept.
    fn add_refusal(&self, refused: &RefusedSpec) -> Result<()>;

    /// Returns the last refusals, the latest first.
    fn refusals(&self) -> Result<Vec<RefusedSpec>>;
}
