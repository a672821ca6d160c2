//! Exports that a mount makes of a database, from the spec to the expiry.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod content;
mod crash;
#[cfg(all(feature = "object-store", feature = "postgres"))]
mod elsewhere;
mod expiry;
mod faults;
mod secrecy;
mod shared;
mod verified;

#[path = "../support"]
mod support {
    #[allow(dead_code, reason = "the tests of locations need more of it")]
    pub mod bucket;
    pub mod corpus;
    pub mod managed;
    pub mod mount;
    #[allow(dead_code, reason = "the tests of catalogues need more of it")]
    pub mod postgres;
    #[allow(dead_code, reason = "the tests of locations need more of it")]
    pub mod proxy;
    pub mod site;
    #[allow(dead_code, reason = "the tests of catalogues need more of it")]
    pub mod way;
}
