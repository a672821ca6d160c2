//! The library, called by the tests themselves: nothing is mounted with it.

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
    pub mod corpus;
    pub mod invariants;
    pub mod managed;
    pub mod messages;
    pub mod written;
}
