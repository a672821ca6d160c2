//! A decoder on its way through a deflated member.
//!
//! zlib-rs can stop and be copied anywhere. libdeflate, made for speed, takes whole streams only. For a sequential
//! reader the compressed data is cut where a block seems to begin (see [`super::input`]), and what lies between two
//! cuts becomes a stream of its own, for libdeflate. A secret text, compressed with codes of its own, is put at its
//! end: if no block begins at the cut, something else comes out, and zlib-rs goes on from where it was.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};

use libdeflater::{CompressionLvl, Compressor, Decompressor};

use super::MemberResources;
use super::blocks::{BLOCK, DecodedBlock};
use super::inflate::Inflate;
use super::input::Input;
use crate::error::{Error, Result};
use crate::format::deflate::{Excerpt, PendingBits, WINDOW};
use crate::io::{Buffer, Reader, available, with_scratch};

/// Less compressed data is not worth a stream of its own.
const MIN_LEAP: usize = 64 << 10;
/// Content of such a stream at most, with the window before it. Data that grows to more is decoded fast by zlib-rs,
/// too.
pub(crate) const MAX_LEAP: usize = 3 << 20;

/// The member that is decoded.
pub(crate) struct CompressedMember {
    pub(crate) compressed: Reader,
    pub(crate) len: u64,
    pub(crate) crc: u32,
    pub(crate) shared: Arc<MemberResources>,
}

pub(crate) struct Cursor {
    inflate: Inflate,
    /// Position in the content.
    at: u64,
    /// CRC-32 of everything before.
    crc: crc32fast::Hasher,
    /// Known if a deflate block begins here.
    pending: Option<PendingBits>,
    input: Input,
    /// The block of content that `at` is in, up to there.
    partial: Option<PartialBlock>,
}

struct PartialBlock {
    content: Buffer,
    filled: usize,
    /// False if the decoder began in the middle of it.
    is_whole: bool,
}

impl Cursor {
    pub(crate) fn new() -> Result<Cursor> {
        Ok(Cursor {
            inflate: Inflate::new()?,
            at: 0,
            crc: crc32fast::Hasher::new(),
            pending: Some(PendingBits::default()),
            input: Input::default(),
            partial: None,
        })
    }

    /// Returns a decoder at the same place, without what has been read and decoded.
    pub(crate) fn copy(&self) -> Result<Cursor> {
        Ok(Cursor {
            inflate: self.inflate.copy()?,
            at: self.at,
            crc: self.crc.clone(),
            pending: self.pending,
            input: self.input.copy(),
            partial: None,
        })
    }

    /// Returns the position in the content.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Returns the first position of the content that it can still give.
    pub(crate) fn gives_from(&self) -> u64 {
        match &self.partial {
            Some(partial) if partial.is_whole => self.at - partial.filled as u64,
            _ => self.at,
        }
    }

    /// Gives back the memory for compressed data, which can be read again.
    pub(crate) fn forget_input(&mut self) {
        self.input.forget();
    }

    /// Gives back the memory for what has been read and decoded, all of which can be had again.
    pub(crate) fn forget_data(&mut self) {
        self.input.forget();
        self.partial = None;
    }

    /// Decodes on, and passes blocks of content that are complete to `emit`, with their numbers.
    pub(crate) fn advance(
        &mut self,
        member: &CompressedMember,
        emit: &mut dyn FnMut(u64, DecodedBlock),
    ) -> Result<()> {
        self.input.fill(&member.compressed)?;
        if !self.may_leap(member) || !self.leap(member, emit)? {
            self.walk(member, emit)?;
        }
        Ok(())
    }

    /// Returns true if a leap is worth trying.
    fn may_leap(&self, member: &CompressedMember) -> bool {
        let is_wanted = member.shared.bytes_ahead >= MAX_LEAP as u64;
        is_wanted && self.input.surplus().is_some() && self.input.bytes().len() >= MIN_LEAP
    }

    /// Decodes to the end of the block of content, or only of a deflate block if a leap may be possible from there.
    fn walk(&mut self, member: &CompressedMember, emit: &mut dyn FnMut(u64, DecodedBlock)) -> Result<()> {
        let stop = self.may_leap(member);
        let mut partial = self.partial(member);
        while partial.filled < partial.content.len() {
            self.input.fill(&member.compressed)?;
            let out = &mut partial.content[partial.filled..];
            let step = self.inflate.step(self.input.bytes(), out, stop)?;
            self.crc.update(&out[..step.produced]);
            self.input.consume(step.consumed);
            self.at += step.produced as u64;
            partial.filled += step.produced;
            self.pending = step.pending;
            if stop && self.pending.is_some() {
                break;
            }
            let is_stuck = step.ended || (step.produced == 0 && step.consumed == 0);
            if is_stuck && partial.filled < partial.content.len() {
                return Err(Error::damaged("the member is shorter than the directory says"));
            }
        }
        if self.at == member.len {
            self.finish(member)?;
        }
        self.pass_on(partial, emit);
        Ok(())
    }

    /// Decodes all of the input at once; returns false if that is not possible.
    fn leap(&mut self, member: &CompressedMember, emit: &mut dyn FnMut(u64, DecodedBlock)) -> Result<bool> {
        let (Some(pending), Some(surplus)) = (self.pending, self.input.surplus()) else { return Ok(false) };
        let Some(window) = self.inflate.window() else { return Ok(false) };
        let Some(secret) = Secret::of_this_process() else { return Ok(false) };
        let data = self.input.bytes();
        let next = PendingBits::of(data[data.len() - 1], surplus);
        let blocks = Excerpt { window: &window, pending, data, surplus };
        let mut content = member.shared.leaps.take(MAX_LEAP);
        let decoded = with_scratch(blocks.stream_len(&secret.stream), |stream| {
            blocks.write(&secret.stream, stream);
            Decompressor::new().deflate_decompress(stream, &mut content).ok()
        });
        let all = decoded.and_then(|len| content[..len].strip_suffix(&*secret.text)).unwrap_or_default();
        // At the end of the member there is more to check.
        let fits = |content: &&[u8]| self.at + (content.len() as u64) < member.len;
        let Some(mut content) = all.get(window.len()..).filter(fits) else {
            self.input.forget_cut();
            return Ok(false);
        };
        self.inflate = Inflate::behind(&all[all.len().saturating_sub(WINDOW)..], next)?;
        self.pending = Some(next);
        self.input.consume(data.len());
        self.crc.update(content);
        while !content.is_empty() {
            let mut partial = self.partial(member);
            let rest = &mut partial.content[partial.filled..];
            let (now, later) = content.split_at(rest.len().min(content.len()));
            rest[..now.len()].copy_from_slice(now);
            partial.filled += now.len();
            self.at += now.len() as u64;
            self.pass_on(partial, emit);
            content = later;
        }
        Ok(true)
    }

    fn partial(&mut self, member: &CompressedMember) -> PartialBlock {
        self.partial.take().unwrap_or_else(|| {
            let filled = (self.at % BLOCK) as usize;
            let len = available(member.len, self.at - filled as u64, BLOCK as usize);
            PartialBlock { content: member.shared.pool.take(len), filled, is_whole: filled == 0 }
        })
    }

    /// Passes the block that ends here on if it is complete.
    fn pass_on(&mut self, partial: PartialBlock, emit: &mut dyn FnMut(u64, DecodedBlock)) {
        if partial.filled < partial.content.len() {
            self.partial = Some(partial);
        } else if partial.is_whole {
            emit((self.at - 1) / BLOCK, Arc::new(partial.content));
        }
    }

    /// Checks that nothing comes after the last byte, and the CRC-32 of them all.
    fn finish(&mut self, member: &CompressedMember) -> Result<()> {
        loop {
            self.input.fill(&member.compressed)?;
            let step = self.inflate.step(self.input.bytes(), &mut [0], false)?;
            self.input.consume(step.consumed);
            if step.produced > 0 {
                return Err(Error::damaged("the member is longer than the directory says"));
            }
            if step.ended {
                break;
            }
            if step.consumed == 0 {
                return Err(Error::damaged("the compressed data breaks off"));
            }
        }
        if self.crc.clone().finalize() == member.crc {
            return Ok(());
        }
        Err(Error::damaged("the CRC-32 of the member is wrong"))
    }
}

/// What is put behind a cut. Decoded as the rest of a block of another kind, or with other codes, it gives another
/// text.
struct Secret {
    text: Vec<u8>,
    /// One block with codes of its own, which are secret, too.
    stream: Vec<u8>,
}

impl Secret {
    fn of_this_process() -> Option<&'static Secret> {
        static SECRET: OnceLock<Option<Secret>> = OnceLock::new();
        SECRET.get_or_init(Secret::new).as_ref()
    }

    fn new() -> Option<Secret> {
        /// BFINAL 1, BTYPE 10 (RFC 1951 section 3.2.3).
        const LAST_DYNAMIC: u8 = 0b101;
        let state = RandomState::new();
        // Some bytes are more frequent than others, so that codes of its own are worth while.
        let byte =
            |i: u32| state.hash_one(i).to_le_bytes()[..3].iter().fold(0xFF, |byte, random| byte & random);
        let text: Vec<u8> = (0..512).map(byte).collect();
        let mut compressor = Compressor::new(CompressionLvl::default());
        let mut stream = vec![0; compressor.deflate_compress_bound(text.len())];
        let len = compressor.deflate_compress(&text, &mut stream).ok()?;
        stream.truncate(len);
        (stream[0] & 7 == LAST_DYNAMIC).then_some(Secret { text, stream })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::deflate::find_block;
    use crate::format::deflate::tests::{deflate, text};

    /// Decodes all of a member; returns what came out before an error, how often more than a step was made, and the
    /// error.
    fn decoded(compressed: Vec<u8>, len: usize, crc: u32) -> (Vec<u8>, usize, Option<Error>) {
        let member = CompressedMember {
            compressed: Arc::new(compressed),
            len: len as u64,
            crc,
            shared: Arc::default(),
        };
        let (mut content, mut leaps) = (Vec::new(), 0);
        let mut cursor = Cursor::new().unwrap();
        while content.len() < len {
            let mut count = 0;
            let result = cursor.advance(&member, &mut |n, block| {
                assert_eq!(n * BLOCK, content.len() as u64);
                content.extend_from_slice(&block);
                count += 1;
            });
            leaps += usize::from(count > 1);
            if let Err(error) = result {
                return (content, leaps, Some(error));
            }
            if content.len() < len {
                let copy = cursor.copy().unwrap();
                assert_eq!((copy.at(), copy.gives_from()), (cursor.at(), cursor.at()));
                assert_eq!(cursor.gives_from(), content.len() as u64);
            }
        }
        (content, leaps, None)
    }

    #[test]
    fn who_goes_on_leaps_and_gets_the_same() {
        let content = text(1, 12 << 20);
        let (decoded, leaps, error) = decoded(deflate(&content, 6), content.len(), crc32fast::hash(&content));
        assert!(decoded == content && error.is_none());
        assert!(leaps > 5, "{leaps}");
    }

    #[test]
    fn a_wrong_crc_after_leaps_is_noticed() {
        let content = text(1, 12 << 20);
        let (decoded, leaps, error) = decoded(deflate(&content, 6), content.len(), 1);
        assert!(leaps > 5 && content.starts_with(&decoded));
        assert_eq!(error.unwrap().to_string(), "the CRC-32 of the member is wrong");
    }

    #[test]
    fn the_secret_has_codes_of_its_own() {
        assert!((0..50).all(|_| Secret::new().is_some()));
    }

    #[test]
    fn what_looks_like_a_block_inside_of_another_is_none() {
        // Deflated data is stored when it is deflated again, and it has beginnings of blocks inside.
        let content = deflate(&text(1, 24 << 20), 6);
        let compressed = deflate(&content, 6);
        assert!(compressed.len() > content.len());
        assert!(find_block(&compressed, 8 << 20).is_some());
        let (decoded, leaps, error) = decoded(compressed, content.len(), crc32fast::hash(&content));
        assert!(decoded == content && error.is_none());
        assert_eq!(leaps, 0);
    }

    #[test]
    fn behind_the_last_block_is_nothing() {
        let content = text(1, 12 << 20);
        let mut compressed = deflate(&content[..10 << 20], 6);
        compressed.extend_from_slice(&deflate(&content[10 << 20..], 6));
        let (decoded, leaps, error) = decoded(compressed, content.len(), crc32fast::hash(&content));
        assert!(leaps > 5 && decoded == content[..10 << 20]);
        assert_eq!(error.unwrap().to_string(), "the member is shorter than the directory says");
    }
}
