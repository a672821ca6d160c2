//! What is mounted, as the kernel and other programs see it.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod contents;
mod corpus;
mod failures;
mod final_errors;
mod fstab;
mod hanging;
mod held;
mod instants;
mod jobs;
mod keys;
mod lifecycle;
mod live;
mod log;
mod readonly;
mod secrecy;
mod semantics;
mod states;
mod strangers;
mod systemd;
mod tools;

#[path = "../support"]
mod support {
    pub mod corpus;
    pub mod exports;
    pub mod managed;
    pub mod mount;
    pub mod private_root;
    pub mod site;
}
