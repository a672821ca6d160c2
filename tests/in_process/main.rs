//! The library, called by the tests themselves: nothing is mounted with it.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod contents;
mod contents_generated;
mod contents_methods;
mod corpus;
mod engine;
mod postgres_source;
mod ranges;
mod recovery;
mod source;
mod source_conformance;
mod tree_refresh;
mod writer;

#[path = "../support"]
mod support {
    pub mod corpus;
    pub mod managed;
    pub mod memory_source;
    pub mod messages;
    #[allow(dead_code, reason = "the tests of catalogues need more of it")]
    pub mod postgres;
    pub mod source_suite;
    pub mod written;
}
