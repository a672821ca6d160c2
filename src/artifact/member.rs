//! One file inside a zip, readable at any place.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::error::{Error, Kind, Result};
use crate::format::seek_table::SeekTable;
use crate::format::zip::{self, Entry, LOCAL_HEADER, LOCAL_HEADER_LEN};
use crate::io::{Pool, Reader, Slice};

mod blocks;
mod coded;
mod cursor;
mod decoders;
mod deflated;
mod grouped;
mod inflate;
mod input;
mod sequential;
mod stored;
mod stream;

pub(crate) use blocks::BlockCache;
use blocks::Blockwise;
use decoders::Decoders;
use deflated::Deflated;
use grouped::Grouped;
use sequential::Sequential;

/// Compression methods (APPNOTE 4.4.5).
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// What all open members share.
pub struct MemberResources {
    pub(crate) blocks: BlockCache,
    /// Buffers for decoded blocks.
    pool: Arc<Pool>,
    /// Buffers into which many blocks are decoded at once.
    leaps: Arc<Pool>,
    decoders: Decoders,
    /// Members that are being decoded ahead of their readers.
    members_ahead: AtomicUsize,
    /// Bytes that each of them is decoded ahead.
    bytes_ahead: u64,
}

/// Bytes for [`MemberResources`] by default.
pub(crate) const DEFAULT_CACHE: usize = 56 << 20;

impl MemberResources {
    /// Divides `bytes` among decoded blocks and decoders.
    pub(crate) fn new(bytes: usize) -> MemberResources {
        let blocks = bytes / 7 * 2;
        MemberResources {
            blocks: BlockCache::new(blocks),
            pool: Pool::new(blocks / 8),
            leaps: Pool::new(cursor::MAX_LEAP),
            decoders: Decoders::new(bytes - blocks),
            members_ahead: AtomicUsize::new(0),
            // The blocks ahead of two readers must not drive out those that they are reading.
            bytes_ahead: blocks as u64 / 4,
        }
    }
}

impl Default for MemberResources {
    fn default() -> MemberResources {
        MemberResources::new(DEFAULT_CACHE)
    }
}

/// Opens the member that a central directory header describes, whose local header is at `at`.
///
/// The directory decides: sizes, method and CRC-32 of the local header are not looked at.
pub fn open(archive: &Reader, entry: &Entry<'_>, at: u64, shared: &Arc<MemberResources>) -> Result<Reader> {
    const MASKED: u16 = 1 << 13;
    if entry.flags & (zip::FLAG_ENCRYPTED | MASKED) != 0 {
        return Err(Error::new(Kind::Encrypted, "the member is encrypted inside the zip"));
    }
    let header = archive.read_vec(at, LOCAL_HEADER_LEN)?;
    if header.len() < LOCAL_HEADER_LEN || !header.starts_with(&LOCAL_HEADER) {
        return Err(Error::damaged(format!("no local header at byte {at} of the zip")));
    }
    let before =
        LOCAL_HEADER_LEN as u64 + u64::from(zip::u16_at(&header, 26)) + u64::from(zip::u16_at(&header, 28));
    let data = at.checked_add(before);
    let data = data.filter(|at| at.checked_add(entry.compressed).is_some_and(|end| end <= archive.len()));
    let data = data.ok_or_else(|| Error::damaged("the member reaches beyond the end of the zip"))?;
    let compressed: Reader = Arc::new(Slice::new(archive.clone(), data, entry.compressed));
    match entry.method() {
        STORED if entry.compressed == entry.size => {
            Ok(Arc::new(stored::StoredMember::new(compressed, entry.crc)))
        }
        STORED => Err(Error::damaged("a stored member with two different sizes")),
        DEFLATED => {
            let table = SeekTable::of(entry);
            if let Some(decoder) = table
                .and_then(|table| Grouped::new(compressed.clone(), entry.size, &table, shared.pool.clone()))
            {
                return Ok(Arc::new(Blockwise::new(entry.size, shared.clone(), decoder)));
            }
            let decoder = Deflated::shared(compressed, entry.size, entry.crc, shared.clone());
            Ok(Arc::new(Blockwise::new(entry.size, shared.clone(), decoder)))
        }
        method if coded::is_known(method) => {
            let decoder = Sequential::new(compressed, entry, shared.clone());
            Ok(Arc::new(Blockwise::new(entry.size, shared.clone(), decoder)))
        }
        other => Err(Error::unsupported(format!("compression method {}", method_name(other)))),
    }
}

/// Returns true if a member with little content takes little time to decode.
pub(crate) fn is_small_work(entry: &Entry<'_>) -> bool {
    matches!(entry.method(), STORED | DEFLATED) && entry.compressed <= 8 << 10
}

fn method_name(method: u16) -> String {
    let name = match method {
        1 => "shrink",
        6 => "implode",
        19 => "LZ77",
        99 => "AES encryption",
        _ => return method.to_string(),
    };
    format!("{name} ({method})")
}

#[cfg(test)]
mod tests;
