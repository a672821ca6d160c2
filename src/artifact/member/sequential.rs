//! Members of the methods of [`super::coded`]: decoded from the beginning on, in a thread of their own.
//!
//! There is no way into the middle of such a member but through what comes before. Blocks that were decoded lately are
//! kept (see [`super::blocks`]), so that the kernel's reads may come a little out of order; and so is the decoder, for
//! as long as others do not need its memory.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use super::MemberResources;
use super::blocks::{BLOCK, Decode, DecodedBlock};
use super::coded::{self, Coded};
use super::decoders::{Decoders, MemberId};
use super::stream::{AHEAD, Stream};
use crate::error::{Error, Kind, Result};
use crate::format::zip::Entry;
use crate::io::{Buffer, Pool, Reader, available};

/// How long to wait for memory that other decoders use.
const PATIENCE: Duration = Duration::from_secs(20);

/// The decoder of a member that can only be read from the beginning on.
pub(crate) struct Sequential {
    id: MemberId,
    compressed: Reader,
    method: u16,
    size: u64,
    crc: u32,
    shared: Arc<MemberResources>,
}

impl Sequential {
    /// `compressed` is the data of the member that `entry` describes.
    pub(crate) fn new(compressed: Reader, entry: &Entry<'_>, shared: Arc<MemberResources>) -> Sequential {
        let (method, size, crc) = (entry.method(), entry.size, entry.crc);
        Sequential { id: Decoders::member_id(), compressed, method, size, crc, shared }
    }

    /// Starts a thread that decodes all blocks; it ends when nobody takes them any more.
    fn start(&self) -> Result<Stream> {
        let head = self.compressed.read_vec(0, coded::HEAD)?;
        let coded = Coded::learn(self.method, &head, self.size)?;
        let budget = &self.shared.decoders.budget;
        let memory = coded.memory().saturating_add((AHEAD + 1) * BLOCK as usize);
        let mut share = budget.share();
        // A single decoder may take more than a small budget has.
        if !share.resize(memory.min(budget.limit()), PATIENCE) {
            return Err(Error::new(
                Kind::Os(libc::ENOMEM),
                "other members are being decoded with all the memory",
            ));
        }
        let (compressed, size, crc, pool) =
            (self.compressed.clone(), self.size, self.crc, self.shared.pool.clone());
        Stream::start(move |take| {
            let done = decode(&coded, compressed, size, crc, &pool, take);
            drop(share);
            done
        })
    }
}

impl Decode for Sequential {
    fn decode(&self, wanted: u64, keep: &mut dyn FnMut(u64, DecodedBlock)) -> Result<DecodedBlock> {
        // The decoder is taken out for as long as it is used: after an error or a panic a new one begins.
        let mut kept = self.shared.decoders.take(self.id).filter(|stream| stream.next() <= wanted);
        loop {
            let was_kept = kept.is_some();
            let mut stream = match kept.take() {
                Some(stream) => stream,
                None => self.start()?,
            };
            while let Some((n, block)) = stream.block() {
                let block = Arc::new(block?);
                if n == wanted {
                    self.shared.decoders.leave(self.id, stream);
                    return Ok(block);
                }
                keep(n, block);
            }
            // A decoder that was kept may have given up waiting.
            if !was_kept {
                return Err(Error::damaged("the decoder has stopped"));
            }
        }
    }
}

impl Drop for Sequential {
    fn drop(&mut self) {
        drop(self.shared.decoders.take(self.id));
    }
}

fn decode(
    coded: &Coded,
    compressed: Reader,
    size: u64,
    crc: u32,
    pool: &Arc<Pool>,
    take: &mut dyn FnMut(Buffer) -> bool,
) -> Result<()> {
    let mut member = coded.decoder(PositionedReader { reader: compressed, at: 0 })?;
    let mut sum = crc32fast::Hasher::new();
    let mut at = 0;
    while at < size {
        let mut block = pool.take(available(size, at, BLOCK as usize));
        member.read_exact(&mut block).map_err(|error| coded.failed(error))?;
        sum.update(&block);
        at += block.len() as u64;
        if at == size {
            if member.read(&mut [0]).map_err(|error| coded.failed(error))? > 0 {
                return Err(Error::damaged("the member is longer than the directory says"));
            }
            if sum.clone().finalize() != crc {
                return Err(Error::damaged("the CRC-32 of the member is wrong"));
            }
        }
        if !take(block) {
            break;
        }
    }
    Ok(())
}

/// A reader with a position.
struct PositionedReader {
    reader: Reader,
    at: u64,
}

impl Read for PositionedReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read_at(buf, self.at).map_err(io::Error::other)?;
        self.at += n as u64;
        Ok(n)
    }
}
