//! Stores: every kind of location, catalogue and queue on the suite of its trait, and a managed store against a model of it.
//!
//! They are a program of their own: what another test starts has, for a moment, the files that are open here, and a small disk
//! stays full as long as a deleted file is open.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod conformance;
mod model;
#[cfg(feature = "object-store")]
mod object;
#[cfg(feature = "object-store")]
mod object_hostile;
mod postgres_catalogue;
mod simulation;

#[path = "../support"]
mod support {
    #[cfg(feature = "object-store")]
    pub mod bucket;
    pub mod catalogue_suite;
    pub mod history;
    #[cfg(feature = "object-store")]
    pub mod http;
    pub mod invariants;
    pub mod link;
    pub mod managed;
    pub mod memory;
    pub mod parts_suite;
    pub mod postgres;
    #[cfg(feature = "object-store")]
    pub mod proxy;
    pub mod simulator;
    pub mod way;
    pub mod worlds;
}
