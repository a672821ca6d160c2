//! Exports that a mount makes of a database, from the spec to the expiry.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod content;
mod crash;
mod expiry;
mod faults;
mod secrecy;
mod shared;
mod verified;

#[path = "../support"]
mod support {
    pub mod corpus;
    pub mod managed;
    pub mod mount;
    pub mod site;
}
