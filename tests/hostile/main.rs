//! Messages and archives that somebody made to do harm, or that no program would write.
//!
//! `mutations` counts what each thread allocates, and brings an allocator for that, which a whole program has to have.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod contents;
mod fuzz_replay;
mod mutations;

#[path = "../support"]
mod support {
    pub mod corpus;
    pub mod messages;
    pub mod mount;
}
