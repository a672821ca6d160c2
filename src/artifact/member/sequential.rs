//! Members of any other method that the zip crate knows: decoded from the beginning on, in a thread of their own.
//!
//! There is no way into the middle of such a member but through what comes before. Blocks that were decoded lately
//! are kept (see [`super::blocks`]), so that the kernel's reads may come a little out of order.

use parking_lot::Mutex;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use zip::ZipArchive;

use super::blocks::{BLOCK, Block, Decode};
use crate::error::{Error, Kind, Result};
use crate::format::rejoin::{write_end, write_entry};
use crate::format::zip::{End, Entry, FLAG_DATA_DESCRIPTOR, LOCAL_HEADER, LOCAL_HEADER_LEN};
use crate::io::{Buffer, Joined, Pool, Reader, available};

/// Blocks that a thread decodes ahead of its reader.
const AHEAD: usize = 1;

/// The decoder of a member that can only be read from the beginning on.
pub struct Sequential {
    /// A zip that holds this member alone.
    archive: Reader,
    len: u64,
    pool: Arc<Pool>,
    stream: Option<Stream>,
}

/// A thread on its way through the member.
struct Stream {
    /// Number of the next block.
    next: u64,
    blocks: Receiver<Result<Buffer>>,
}

impl Sequential {
    /// `compressed` is the data of the member that `entry` describes.
    pub fn new(compressed: Reader, entry: &Entry<'_>, pool: Arc<Pool>) -> Sequential {
        Sequential { archive: alone(compressed, entry), len: entry.size, pool, stream: None }
    }

    /// Starts a thread that decodes all blocks; it ends when nobody takes them any more.
    fn start(&self) -> Result<Receiver<Result<Buffer>>> {
        let (sender, receiver) = sync_channel(AHEAD);
        let (archive, len, pool) = (self.archive.clone(), self.len, self.pool.clone());
        thread::Builder::new().name("decoder".into()).spawn(move || {
            let outcome = decode(archive, len, &pool, |block| sender.send(Ok(block)).is_ok());
            if let Err(error) = outcome {
                // Nobody may be there to hear it.
                let _ = sender.send(Err(error));
            }
        })?;
        Ok(receiver)
    }
}

impl Decode for Mutex<Sequential> {
    fn decode(&self, wanted: u64, keep: &mut dyn FnMut(u64, Block)) -> Result<Block> {
        let mut decoder = self.lock();
        let mut stream = match decoder.stream.take().filter(|stream| stream.next <= wanted) {
            Some(stream) => stream,
            None => Stream { next: 0, blocks: decoder.start()? },
        };
        loop {
            let stopped = |_| Error::damaged("the decoder has stopped");
            let block = Arc::new(stream.blocks.recv().map_err(stopped)??);
            let n = stream.next;
            stream.next += 1;
            if n == wanted {
                decoder.stream = Some(stream);
                return Ok(block);
            }
            keep(n, block);
        }
    }
}

/// Makes a zip of one member out of its data and its directory header.
fn alone(compressed: Reader, entry: &Entry<'_>) -> Reader {
    let fixed = {
        let mut fixed = entry.fixed.to_vec();
        // Sizes stand in the header here.
        let flags = entry.flags & !FLAG_DATA_DESCRIPTOR;
        fixed[8..10].copy_from_slice(&flags.to_le_bytes());
        fixed[28..30].copy_from_slice(&1u16.to_le_bytes());
        fixed[32..34].fill(0);
        fixed
    };
    let entry = Entry { fixed: &fixed, name: b"m", extra: &[], comment: &[], ..*entry };
    let mut header = vec![0; LOCAL_HEADER_LEN];
    header[..4].copy_from_slice(&LOCAL_HEADER);
    header[4..26].copy_from_slice(&fixed[6..28]);
    header[26..28].copy_from_slice(&1u16.to_le_bytes());
    header.push(b'm');
    let directory_at = header.len() as u64 + compressed.len();
    let mut tail = Vec::new();
    write_entry(&mut tail, &entry, 0);
    let end = End {
        disk: 0,
        directory_disk: 0,
        entries: 1,
        directory_size: 0,
        directory_offset: 0,
        comment: Vec::new(),
        is_zip64: false,
    };
    write_end(&mut tail, &end, 1, directory_at);
    Arc::new(Joined::new(vec![Arc::new(header), compressed, Arc::new(tail)]))
}

fn decode(archive: Reader, len: u64, pool: &Arc<Pool>, mut take: impl FnMut(Buffer) -> bool) -> Result<()> {
    let failed = |error: zip::result::ZipError| Error::unsupported(format!("this member: {error}"));
    let mut zip = ZipArchive::new(Cursor { reader: archive, at: 0 }).map_err(failed)?;
    let mut member = zip.by_index(0).map_err(failed)?;
    let mut at = 0;
    while at < len {
        let mut block = pool.take(available(len, at, BLOCK as usize));
        member.read_exact(&mut block).map_err(damaged)?;
        at += block.len() as u64;
        if at == len {
            // The read that finds the end also checks the CRC-32.
            if member.read(&mut [0]).map_err(damaged)? > 0 {
                return Err(Error::damaged("the member is longer than the directory says"));
            }
        }
        if !take(block) {
            break;
        }
    }
    Ok(())
}

fn damaged(error: io::Error) -> Error {
    Error::new(Kind::Damaged, format!("the compressed data is damaged: {error}"))
}

/// A reader with a position, as the zip crate wants it.
struct Cursor {
    reader: Reader,
    at: u64,
}

impl Read for Cursor {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read_at(buf, self.at).map_err(io::Error::other)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for Cursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.reader.len().checked_add_signed(by),
        };
        self.at = to.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}
