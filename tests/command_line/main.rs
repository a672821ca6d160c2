//! The program as it is typed: commands, what they print, and what the manual says of them.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod browse;
mod help;
mod jobs;
mod manual;
mod verify;

#[path = "../support"]
mod support {
    pub mod corpus;
    pub mod managed;
    pub mod mount;
}
