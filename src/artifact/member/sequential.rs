//! Members of any other method that the zip crate knows: decoded from the beginning on, in a thread of their own.
//!
//! There is no way into the middle of such a member but through what comes before. Blocks that were decoded lately
//! are kept (see [`super::blocks`]), so that the kernel's reads may come a little out of order.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use zip::ZipArchive;

use super::Shared;
use super::blocks::BLOCK;
use crate::error::{Error, Kind, Result};
use crate::format::rejoin::{write_end, write_entry};
use crate::format::zip::{End, Entry, FLAG_DATA_DESCRIPTOR, LOCAL_HEADER, LOCAL_HEADER_LEN};
use crate::io::{Joined, ReadAt, Reader, available};

/// Blocks that a thread decodes ahead of its reader.
const AHEAD: usize = 1;

pub struct Sequential {
    id: u64,
    /// A zip that holds this member alone.
    archive: Reader,
    len: u64,
    shared: Arc<Shared>,
    stream: Mutex<Option<Stream>>,
}

/// A decoder on its way through the member.
struct Stream {
    /// Position of the next block.
    at: u64,
    blocks: Receiver<Result<Vec<u8>>>,
}

impl Sequential {
    /// `compressed` is the data of the member that `entry` describes.
    pub fn new(id: u64, compressed: Reader, entry: &Entry<'_>, shared: Arc<Shared>) -> Sequential {
        let archive = alone(compressed, entry);
        Sequential { id, archive, len: entry.size, shared, stream: Mutex::new(None) }
    }

    fn block(&self, n: u64) -> Result<Arc<Vec<u8>>> {
        let key = (self.id, n);
        if let Some(block) = self.shared.blocks.get(&key) {
            return Ok(block);
        }
        let mut slot = self.stream.lock().unwrap();
        if let Some(block) = self.shared.blocks.get(&key) {
            return Ok(block);
        }
        let wanted = n * BLOCK;
        let mut stream = match slot.take().filter(|stream| stream.at <= wanted) {
            Some(stream) => stream,
            None => Stream { at: 0, blocks: start(self.archive.clone(), self.len)? },
        };
        loop {
            let stopped = |_| Error::damaged("the decoder has stopped");
            let block = Arc::new(stream.blocks.recv().map_err(stopped)??);
            let at = stream.at;
            stream.at += BLOCK;
            self.shared.blocks.insert((self.id, at / BLOCK), block.clone(), block.len());
            if at == wanted {
                *slot = Some(stream);
                return Ok(block);
            }
        }
    }
}

impl ReadAt for Sequential {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let wanted = available(self.len, offset, buf.len());
        let mut done = 0;
        while done < wanted {
            let at = offset + done as u64;
            done += self.block(at / BLOCK)?.read_at(&mut buf[done..wanted], at % BLOCK)?;
        }
        Ok(done)
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

/// Starts a thread that decodes all blocks; it ends when nobody takes them any more.
fn start(archive: Reader, len: u64) -> Result<Receiver<Result<Vec<u8>>>> {
    let (sender, receiver) = sync_channel(AHEAD);
    thread::Builder::new().name("decoder".into()).spawn(move || {
        let outcome = decode(archive, len, |block| sender.send(Ok(block)).is_ok());
        if let Err(error) = outcome {
            // Nobody may be there to hear it.
            let _ = sender.send(Err(error));
        }
    })?;
    Ok(receiver)
}

fn decode(archive: Reader, len: u64, mut take: impl FnMut(Vec<u8>) -> bool) -> Result<()> {
    let failed = |error: zip::result::ZipError| Error::unsupported(format!("this member: {error}"));
    let mut zip = ZipArchive::new(Cursor { reader: archive, at: 0 }).map_err(failed)?;
    let mut member = zip.by_index(0).map_err(failed)?;
    let mut at = 0;
    while at < len {
        let mut block = vec![0; available(len, at, BLOCK as usize)];
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
