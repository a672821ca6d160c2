//! Inode numbers: hashes of what a node is and of the version of its bytes, so that they stay the same in the next
//! mount, and differ for other bytes.

/// An inode number.
pub type Ino = u64;

/// The root of the mount.
pub const ROOT: Ino = 1;

/// Returns the inode number of the node that these pieces identify.
pub(crate) fn hash_number(pieces: &[&[u8]]) -> Ino {
    let mut hasher = blake3::Hasher::new();
    for piece in pieces {
        hasher.update(piece);
    }
    number(&hasher)
}

/// Returns the inode number that a hash gives. 0 means no inode, and 1 is the root.
pub(crate) fn number(hasher: &blake3::Hasher) -> Ino {
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first).max(ROOT + 1)
}

/// The lower bits of a member's inode number are its number in the zip, the upper ones a hash of the set: so hundreds
/// of thousands of members need no table.
const MEMBER_BITS: u32 = 24;

/// Returns an inode number with room behind it for the numbers of what is inside.
pub(crate) fn base(pieces: &[&[u8]]) -> Ino {
    base_of(hash_number(pieces)).max(1 << MEMBER_BITS)
}

/// Returns the inode number of what this one is inside of.
pub(crate) fn base_of(ino: Ino) -> Ino {
    ino & !((1 << MEMBER_BITS) - 1)
}
