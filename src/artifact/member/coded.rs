//! The methods that can only be decoded from the beginning on, and the memory that each takes. It is checked before a
//! decoder is made, because what a header asks for cannot be trusted.
//!
//! | method | header of the data | window |
//! |---|---|---|
//! | deflate64 (9) | | 64 KiB |
//! | bzip2 (12) | `BZh1` to `BZh9` | blocks of 100 to 900 kB |
//! | LZMA (14) | version, u16 5, properties, u32 dictionary (APPNOTE 5.8.8) | no more than the member is long |
//! | zstd (93) | frame header (RFC 8878 section 3.1.1.1) | of the first frame |
//! | xz (95) | block header (The .xz File Format 3.1, 5.3.1) | of the first block |
//! | PPMd (98) | u16: order, memory in MiB, restoration (APPNOTE 5.10) | that memory |

use std::io::{self, BufRead, BufReader, Read};

use crate::error::{Error, Result};
use crate::format::seek_table::take_varint;
use crate::format::zip::{u16_at, u32_at};

const DEFLATE64: u16 = 9;
const BZIP2: u16 = 12;
const LZMA: u16 = 14;
const ZSTD: u16 = 93;
const XZ: u16 = 95;
const PPMD: u16 = 98;

/// Decoders that look back further than this are refused: the default of 7-Zip, and twice that of zstd -19 and xz.
pub(crate) const MAX_WINDOW: u64 = 32 << 20;
/// Memory of a decoder besides its window: tables, buffers. Those of LZMA grow with the properties.
const TABLES: u64 = 512 << 10;
/// Bytes of the data that [`Coded::learn`] looks at.
pub(crate) const HEAD: usize = 64;

/// A method, and what its data says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Coded {
    method: u16,
    /// Bytes of content.
    size: u64,
    /// Bytes that it looks back.
    window: u64,
    tables: u64,
}

/// Returns true for a method that this module knows.
pub(crate) fn is_known(method: u16) -> bool {
    name(method).is_some()
}

fn name(method: u16) -> Option<&'static str> {
    Some(match method {
        DEFLATE64 => "deflate64",
        BZIP2 => "bzip2",
        LZMA => "LZMA",
        ZSTD => "zstd",
        XZ => "xz",
        PPMD => "PPMd",
        _ => return None,
    })
}

impl Coded {
    /// `head` is the beginning of the data; `size` is that of the content. A malformed header is left to the decoder to
    /// refuse.
    pub(crate) fn learn(method: u16, head: &[u8], size: u64) -> Result<Coded> {
        let mut tables = TABLES;
        let window = match method {
            DEFLATE64 => 64 << 10,
            BZIP2 => 4_500_000,
            LZMA => {
                let properties = head.get(4).map_or(0, |&byte| u32::from(byte % 45));
                // lc + lp, of at most 8 + 4.
                tables += 0x600 << (properties % 9 + properties / 9);
                head.get(5..9).map_or(0, |dictionary| u64::from(u32_at(dictionary, 0))).min(size.max(4096))
            }
            ZSTD => zstd_window(head).unwrap_or(MAX_WINDOW),
            XZ => xz_dictionary(head).unwrap_or(MAX_WINDOW),
            PPMD => head.get(..2).map_or(0, |head| (u64::from(u16_at(head, 0)) >> 4 & 0xFF) + 1) << 20,
            _ => return Err(Error::unsupported(format!("compression method {method}"))),
        };
        if window > MAX_WINDOW {
            return Err(too_large(method, &format!("a window of {} MiB", window.div_ceil(1 << 20))));
        }
        Ok(Coded { method, size, window, tables })
    }

    /// Bytes that its decoder takes.
    pub(crate) fn memory(&self) -> usize {
        // A window is not used further than there is content; the memory of PPMd holds something else.
        let used = if self.method == PPMD { self.window } else { self.window.min(self.size) };
        used.saturating_add(self.tables) as usize
    }

    /// Returns a decoder of the data.
    pub(crate) fn decoder(&self, data: impl Read + 'static) -> Result<Box<dyn Read>> {
        let mut data = BufReader::with_capacity(64 << 10, data);
        let made: io::Result<Box<dyn Read>> = match self.method {
            DEFLATE64 => Ok(Box::new(deflate64::Deflate64Decoder::with_buffer(data))),
            BZIP2 => Ok(Box::new(bzip2::bufread::BzDecoder::new(data))),
            LZMA => self.lzma(data),
            ZSTD => zstd::Decoder::with_buffer(data).and_then(|mut decoder| {
                decoder.window_log_max(self.window.max(128 << 10).next_power_of_two().ilog2())?;
                Ok(Box::new(decoder) as _)
            }),
            XZ => {
                let limit = lzma_rust2::lzma2_get_memory_usage(self.window as u32);
                Ok(Box::new(lzma_rust2::XzReader::new_mem_limit(data, false, limit)))
            }
            _ => read_array(&mut data).and_then(|header: [u8; 2]| {
                let header = u32::from(u16::from_le_bytes(header));
                let (order, restoration) = ((header & 15) + 1, (header >> 12) as u8);
                ppmd_rust::Ppmd8Decoder::new(data, order, self.window as u32, restoration.into())
                    .map(|decoder| Box::new(decoder) as _)
                    .map_err(io::Error::other)
            }),
        };
        made.map_err(|error| self.failed(error))
    }

    fn lzma(&self, mut data: impl BufRead + 'static) -> io::Result<Box<dyn Read>> {
        let header: [u8; 9] = read_array(&mut data)?;
        if header[2..4] != [5, 0] {
            return Err(io::Error::other("other properties than LZMA has"));
        }
        let dictionary = self.window as u32;
        Ok(Box::new(lzma_rust2::LzmaReader::new_with_props(data, self.size, header[4], dictionary, None)?))
    }

    /// Says why decoding failed; an error of the reader below stays what it was.
    pub(crate) fn failed(&self, error: io::Error) -> Error {
        match error.downcast::<Error>() {
            Ok(error) => error,
            // From zstd and xz: a later frame or block wants more than the first.
            Err(error)
                if error.kind() == io::ErrorKind::OutOfMemory
                    || error.to_string().contains("too much memory") =>
            {
                too_large(self.method, "a window that grows on the way")
            }
            Err(error) => Error::damaged(format!("the compressed data is damaged: {error}")),
        }
    }
}

fn too_large(method: u16, what: &str) -> Error {
    let name = name(method).unwrap_or_default();
    Error::unsupported(format!("{name} with {what}: no more than {} MiB are read", MAX_WINDOW >> 20))
}

fn read_array<const N: usize>(data: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    data.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Returns the window of the frame that begins here, if one does.
fn zstd_window(head: &[u8]) -> Option<u64> {
    let rest = head.strip_prefix(&[0x28, 0xB5, 0x2F, 0xFD])?;
    let (&descriptor, rest) = rest.split_first()?;
    let is_single = descriptor & 0x20 != 0;
    if !is_single {
        let byte = u64::from(*rest.first()?);
        let base = 1u64 << (10 + (byte >> 3));
        return Some(base + base / 8 * (byte & 7));
    }
    // The window is the content.
    let rest = rest.get([0, 1, 2, 4][usize::from(descriptor & 3)]..)?;
    let width = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    let size = rest.get(..width)?.iter().rev().fold(0, |size, &byte| size << 8 | u64::from(byte));
    Some(if width == 2 { size + 256 } else { size })
}

/// Returns the largest dictionary of LZMA2 that may be meant by the block that begins behind the stream header.
fn xz_dictionary(head: &[u8]) -> Option<u64> {
    const LZMA2: u64 = 0x21;
    let (flags, mut rest) = head.strip_prefix(b"\xFD7zXZ\0")?.get(7..)?.split_first()?;
    for _ in 0..(flags >> 6 & 1) + (flags >> 7) {
        take_varint(&mut rest)?;
    }
    for _ in 0..=flags & 3 {
        let (id, len) = (take_varint(&mut rest)?, take_varint(&mut rest)?);
        let (properties, after) = rest.split_at_checked(usize::try_from(len).ok()?)?;
        if id == LZMA2 {
            let bits = u32::from(*properties.first()?).min(40);
            return Some(if bits == 40 {
                u64::from(u32::MAX)
            } else {
                u64::from(2 | bits & 1) << (bits / 2 + 11)
            });
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(method: u16, head: &[u8]) -> Result<u64> {
        Coded::learn(method, head, u64::MAX).map(|coded| coded.window)
    }

    #[test]
    fn windows_are_those_that_the_formats_say() {
        // zstd --long=27, -19 and of a small file of known length; xz -6 and -9e; 7z -mm=LZMA:d=24 and PPMd:mem=16m.
        assert_eq!(window(ZSTD, b"\x28\xB5\x2F\xFD\x04\x68").unwrap(), 8 << 20);
        assert_eq!(window(ZSTD, b"\x28\xB5\x2F\xFD\x24\x64").unwrap(), 100);
        assert_eq!(window(ZSTD, b"\x28\xB5\x2F\xFD\x64\x00\x01").unwrap(), 512);
        let xz = |bits| [&b"\xFD7zXZ\0\0\x04\xE6\xD6\xB4\x46\x02\0\x21\x01"[..], &[bits]].concat();
        assert_eq!(window(XZ, &xz(22)).unwrap(), 8 << 20);
        assert_eq!(window(LZMA, b"\x10\x02\x05\0\x5D\0\0\0\x01").unwrap(), 16 << 20);
        assert_eq!(window(PPMD, b"\xF5\x00").unwrap(), 16 << 20);
        for (method, head) in [
            (ZSTD, b"\x28\xB5\x2F\xFD\x04\x88".to_vec()),
            (XZ, xz(28)),
            (LZMA, b"\x10\x02\x05\0\x5D\0\0\0\x04".to_vec()),
            (PPMD, b"\xF5\x0F".to_vec()),
        ] {
            let error = window(method, &head).unwrap_err().to_string();
            assert!(
                error.starts_with(name(method).unwrap()) && error.contains("no more than 32 MiB"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_window_is_never_larger_than_the_member() {
        let coded = Coded::learn(LZMA, b"\x10\x02\x05\0\x5D\xFF\xFF\xFF\xFF", 10_000).unwrap();
        assert_eq!(coded.window, 10_000);
        assert!(coded.memory() < 1 << 20);
    }

    #[test]
    fn no_header_is_no_panic() {
        for method in [DEFLATE64, BZIP2, LZMA, ZSTD, XZ, PPMD] {
            for len in 0..HEAD {
                let _ = Coded::learn(method, &vec![0xFF; len], 10).map(|coded| coded.memory());
                let _ = Coded::learn(method, &vec![0; len], 10).map(|coded| coded.memory());
            }
        }
    }
}
