//! Exports: where their rows come from, and a database to try them on.
//!
//! [`source`] is the interface to what is exported and its embedded default, a contact-history database;
//! [`sample`] makes such a database; [`cancel`] is how one thread ends the work of another.

pub mod cancel;
pub mod sample;
pub mod source;
