//! Stores on disk: what files are there, which sets they make, when they change, what is remembered of them.

pub mod plain;
pub mod retention;
pub mod sizes;
pub mod watch;
