//! A desktop without a screen: file managers, and what they ask.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod managers;
mod requests;

#[path = "../support"]
mod support {
    pub mod corpus;
    pub mod desktop;
    pub mod managed;
    pub mod mount;
    pub mod private_root;
    pub mod requests;
    pub mod site;
}
