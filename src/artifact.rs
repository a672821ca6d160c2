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

mod addressing;
pub mod audit;
mod ber_segments;
mod creation_hints;
mod directory;
pub mod member;
pub mod members;
mod part;
mod rejoined;
mod set;
mod transfer;

pub use addressing::Addressing;
pub(crate) use creation_hints::creation_hints;
pub use part::PartReader;
pub use rejoined::{Rejoined, rejoin};
pub use set::{Gaps, OpenPart, OpenedSet, PartFile, Zip, may_be_whole, open, open_rest};

/// Bytes of memory that all open archives may take together: the largest tree, and some more for rewritten directories
/// and the indexes of irregular parts.
pub(crate) const MAX_OPEN: usize = members::MAX_TREE + (8 << 20);
