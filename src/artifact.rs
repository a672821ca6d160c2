//! The readers put together: from the stored parts of a set to the bytes of one zip.
//!
//! ```text
//! rejoined          the zip's tail, rewritten for one disk, served from memory
//! joined            parts end to end
//! part              one stored file, decrypted: what follows is inside it
//!   entity          the zip octets inside a MIME entity, if there is one
//!   content         decryption of a byte range (crate::crypto)
//!   segments        BER segments of the encrypted content
//!   transfer        base64 or uuencoded lines, or nothing
//!   stored          what the store hands out
//! ```

pub mod audit;
mod directory;
pub mod member;
pub mod members;
mod mode;
mod part;
mod rejoined;
mod segments;
mod set;
mod survey;
mod transfer;

pub use mode::Mode;
pub use part::Part;
pub use rejoined::{Rejoined, rejoin};
pub use set::{Gaps, OpenPart, OpenedSet, PartFile, Zip, may_be_whole, open, open_rest};
pub(crate) use survey::survey;

/// Bytes that archives which are open together may take in memory: the largest tree, and some more for rewritten directories
/// and the indexes of irregular parts.
pub(crate) const MAX_OPEN: usize = members::MAX_TREE + (8 << 20);
