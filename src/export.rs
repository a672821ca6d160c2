//! Exports: from a job spec to an encrypted, split artifact.
//!
//! ```text
//! jobs      a spec is handed in and becomes a run in the catalogue
//! engine    starts what is due, stops what is cancelled, clears away what has expired
//! run       one execution:
//!   source rows -> JSON Lines -> deflate in blocks, on all cores -> zip segments -> CMS EnvelopedData -> S/MIME
//!               -> temporary files -> fsync -> rename -> catalogue
//! verify    reads all of an artifact, stored and decrypted, and says what is wrong with it
//! ```

pub mod certificate;
mod clock_trust;
pub mod disposal;
pub mod engine;
pub mod jobs;
pub mod json;
mod manifest;
pub mod progress;
pub mod refusal;
pub mod run;
pub mod sample;
pub mod schedule;
pub mod source;
pub mod spec;
pub mod stored_set;
pub mod verify;
pub mod writer;
