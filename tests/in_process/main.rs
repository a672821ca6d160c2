//! The library, called by the tests themselves: nothing is mounted with it.

/// Every implementation of a trait on the suite of that trait: the next one only names itself.
mod conformance {
    mod sources;
    mod stores;
}
mod contents;
mod contents_generated;
mod contents_methods;
mod corpus;
mod engine;
mod model;
mod ranges;
mod recovery;
mod source;
mod tree_refresh;
mod writer;

#[path = "../support"]
mod support {
    pub mod catalogue_suite;
    pub mod corpus;
    pub mod invariants;
    pub mod managed;
    pub mod memory;
    pub mod memory_source;
    pub mod messages;
    pub mod parts_suite;
    pub mod source_suite;
    pub mod worlds;
    pub mod written;
}
