//! The two ways to find where an octet is in a stored part.

/// How lines and segments are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Learnt from beginning and end, checked wherever a read steps on them.
    Regular,
    /// All of them looked at beforehand.
    Indexed,
}
