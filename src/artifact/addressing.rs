//! The two ways to find an octet in a stored part.

/// A way to find lines and segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// Computed from their shape, which is learnt from beginning and end and checked wherever a read steps on them.
    Regular,
    /// Looked up in an index of all of them, which is made beforehand.
    Indexed,
}
