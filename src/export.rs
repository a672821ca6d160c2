//! Exports: how they are written.

pub mod writer;
