pub mod artifact;
pub mod crypto;
pub mod error;
pub mod format;
pub mod io;
