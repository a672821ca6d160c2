//! Cipher block chaining, read anywhere (NIST SP 800-38A section 6.2; padding of RFC 5652 section 6.3).
//!
//! A block of plaintext depends on its own block of ciphertext and the one before, so that any range is decrypted
//! with the block in front of it as initialisation vector. CBC has no integrity: what was changed decrypts to
//! something else without an error.

use openssl::cipher_ctx::CipherCtx;

use super::ContentKey;
use super::cipher::{Operation, evp, failed};
use crate::error::{Error, Result};
use crate::format::cms::Cipher;
use crate::io::{ReadAt, Reader, available, with_scratch};

const MAX_BLOCK: usize = 16;

pub(crate) struct CbcReader {
    cipher: Cipher,
    key: ContentKey,
    iv: Vec<u8>,
    ciphertext: Reader,
    len: u64,
}

impl CbcReader {
    /// Checks the padding of the last block, which also tells the length.
    pub(crate) fn open(
        cipher: Cipher,
        key: ContentKey,
        iv: Vec<u8>,
        ciphertext: Reader,
    ) -> Result<CbcReader> {
        let (total, block) = (ciphertext.len(), cipher.block_len());
        if total == 0 || total % block as u64 != 0 {
            return Err(Error::damaged(format!(
                "an encrypted content of {total} octets, which is no whole number of {block}-octet blocks (cut off?)"
            )));
        }
        let mut reader = CbcReader { cipher, key, iv, ciphertext, len: total };
        let mut last = [0; MAX_BLOCK];
        let last = &mut last[..block];
        reader.read_exact_at(last, total - block as u64)?;
        let padding = usize::from(last[block - 1]);
        if padding == 0
            || padding > block
            || last[block - padding..].iter().any(|&b| usize::from(b) != padding)
        {
            return Err(Error::damaged(
                "the padding is wrong: changed, cut off, or encrypted to another key",
            ));
        }
        reader.len -= padding as u64;
        Ok(reader)
    }

    /// Decrypts whole blocks from `at` on, of which `skip` bytes at the front are left out, into all of `buf`.
    fn decrypt(&self, buf: &mut [u8], at: u64, skip: usize) -> Result<()> {
        let block = self.cipher.block_len();
        let blocks = (skip + buf.len()).next_multiple_of(block);
        // The ciphertext block in front comes along in the same read.
        let lead = if at == 0 { 0 } else { block };
        with_scratch(lead + blocks, |octets| {
            self.ciphertext.read_exact_at(octets, at - lead as u64)?;
            let (before, octets) = octets.split_at(lead);
            let iv = if lead == 0 { &self.iv } else { before };
            let mut ctx = CipherCtx::new().map_err(failed)?;
            ctx.decrypt_init(Some(evp(self.cipher, Operation::Cbc)?), Some(&self.key), Some(iv))
                .map_err(failed)?;
            ctx.set_padding(false);
            BlockDecryptor { ctx, block }.decrypt(octets, skip, buf)
        })
    }
}

/// A decryption that goes from block to block.
struct BlockDecryptor {
    ctx: CipherCtx,
    block: usize,
}

impl BlockDecryptor {
    /// Decrypts `octets`, whose first `skip` bytes of plaintext are left out, into all of `buf`.
    ///
    /// The blocks in the middle go straight to their place; the first and the last ones, of which only a part may be
    /// wanted, by way of a small buffer. (OpenSSL's interface asks for a block of room behind what it writes.)
    fn decrypt(mut self, octets: &[u8], skip: usize, buf: &mut [u8]) -> Result<()> {
        let (mut octets, mut buf) = (octets, buf);
        if skip > 0 && !buf.is_empty() {
            let n = buf.len().min(self.block - skip);
            buf[..n].copy_from_slice(&self.decrypt_block(&octets[..self.block])?[skip..skip + n]);
            (octets, buf) = (&octets[self.block..], &mut buf[n..]);
        }
        let middle = (buf.len() / self.block).saturating_sub(1) * self.block;
        if middle > 0 {
            let done = self.ctx.cipher_update(&octets[..middle], Some(buf)).map_err(failed)?;
            if done != middle {
                return Err(Error::damaged("decryption stopped early"));
            }
            (octets, buf) = (&octets[middle..], &mut buf[middle..]);
        }
        while !buf.is_empty() {
            let n = buf.len().min(self.block);
            buf[..n].copy_from_slice(&self.decrypt_block(&octets[..self.block])?[..n]);
            (octets, buf) = (&octets[self.block..], &mut buf[n..]);
        }
        Ok(())
    }

    fn decrypt_block(&mut self, octets: &[u8]) -> Result<[u8; MAX_BLOCK]> {
        let mut out = [0; 2 * MAX_BLOCK];
        self.ctx.cipher_update(octets, Some(&mut out)).map_err(failed)?;
        let mut block = [0; MAX_BLOCK];
        block.copy_from_slice(&out[..MAX_BLOCK]);
        Ok(block)
    }
}

impl ReadAt for CbcReader {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let n = available(self.len, offset, buf.len());
        if n > 0 {
            let skip = offset % self.cipher.block_len() as u64;
            self.decrypt(&mut buf[..n], offset - skip, skip as usize)?;
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn encrypted(cipher: Cipher, key: &[u8], iv: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut ctx = CipherCtx::new().unwrap();
        ctx.encrypt_init(Some(evp(cipher, Operation::Cbc).unwrap()), Some(key), Some(iv)).unwrap();
        let mut out = Vec::new();
        ctx.cipher_update_vec(plain, &mut out).unwrap();
        ctx.cipher_final_vec(&mut out).unwrap();
        out
    }

    fn open(cipher: Cipher, plain: &[u8]) -> Result<CbcReader> {
        let key = vec![0x5A; cipher.key_len()];
        let iv = vec![0xA5; cipher.block_len()];
        let ciphertext = encrypted(cipher, &key, &iv, plain);
        CbcReader::open(cipher, ContentKey::new(key), iv, Arc::new(ciphertext))
    }

    proptest! {
        #[test]
        fn any_range_equals_the_plaintext(plain in proptest::collection::vec(any::<u8>(), 0..600), des: bool,
                                          offset in 0usize..620, len in 0usize..620) {
            let reader = open(if des { Cipher::TripleDes } else { Cipher::Aes256 }, &plain).unwrap();
            prop_assert_eq!(reader.len(), plain.len() as u64);
            let from = offset.min(plain.len());
            let to = (from + len).min(plain.len());
            prop_assert_eq!(reader.read_vec(offset as u64, len).unwrap(), &plain[from..to]);
        }
    }

    #[test]
    fn bad_lengths_and_paddings_are_refused() {
        let open = |octets: &[u8]| {
            let key = ContentKey::new(vec![1; 32]);
            CbcReader::open(Cipher::Aes256, key, vec![2; 16], Arc::new(octets.to_vec())).map(|r| r.len())
        };
        assert!(open(&[]).is_err());
        assert!(open(&[0; 17]).is_err());
        let good = encrypted(Cipher::Aes256, &[1; 32], &[2; 16], &[3; 16]);
        assert_eq!(open(&good).unwrap(), 16);
        let mut changed = good.clone();
        changed[15] ^= 1;
        assert!(open(&changed).is_err());
    }
}
