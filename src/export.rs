//! Exports: from a job spec to an encrypted, split artifact.
//!
//! ```text
//! source rows -> JSON Lines -> deflate in blocks, on all cores -> zip segments -> CMS EnvelopedData -> S/MIME
//!             -> temporary files -> fsync -> rename -> catalogue
//! ```

pub mod disposal;
pub mod jobs;
pub mod json;
pub mod record;
pub mod schedule;
pub mod spec;
pub mod writer;
