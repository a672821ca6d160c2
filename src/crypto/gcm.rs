//! AES-GCM, verified whole before its first byte is released, then read anywhere (NIST SP 800-38D, RFC 5084).
//!
//! With a nonce of 12 octets block `i` of the plaintext is the ciphertext XOR AES(nonce || i + 2).

use parking_lot::Mutex;

use openssl::cipher_ctx::CipherCtx;

use super::ContentKey;
use super::cipher::{Operation, evp, failed};
use crate::error::{Error, Kind, Result};
use crate::format::cms::Cipher;
use crate::io::{ReadAt, Reader, available, with_scratch};

const BLOCK: u64 = 16;
/// The counter is 32 bits wide, and its first two values have other uses.
const MAX_LEN: u64 = (u32::MAX as u64 - 1) * BLOCK;
/// Bytes that are verified at a time.
const STEP: usize = 256 << 10;

/// What AES-GCM is verified against (RFC 5083).
#[derive(Debug, Clone, Default)]
pub(crate) struct Authentication {
    pub(crate) tag: Vec<u8>,
    /// DER of the authenticated attributes; empty where there are none.
    pub(crate) attributes: Vec<u8>,
}

pub(crate) struct GcmReader {
    cipher: Cipher,
    keys: Vec<ContentKey>,
    nonce: Vec<u8>,
    ciphertext: Reader,
    authentication: Authentication,
    /// Index of the key whose tag is right, found by the first read; others wait for it.
    verified: Mutex<Option<Result<usize>>>,
}

impl GcmReader {
    /// Opening costs nothing; the first read verifies everything.
    pub(crate) fn new(
        cipher: Cipher,
        keys: Vec<ContentKey>,
        nonce: &[u8],
        ciphertext: Reader,
        authentication: Authentication,
    ) -> Result<GcmReader> {
        if ciphertext.len() > MAX_LEN {
            return Err(Error::damaged("more content than AES-GCM can encrypt"));
        }
        let nonce = nonce.to_vec();
        Ok(GcmReader { cipher, keys, nonce, ciphertext, authentication, verified: Mutex::default() })
    }

    fn verified_key(&self) -> Result<&ContentKey> {
        let mut verified = self.verified.lock();
        let index = match &*verified {
            Some(found) => found.clone()?,
            None => {
                let found = self.find_key();
                // An interruption says nothing about the tag.
                if !found.as_ref().is_err_and(|error| error.kind().is_transient()) {
                    *verified = Some(found.clone());
                }
                found?
            }
        };
        Ok(&self.keys[index])
    }

    fn find_key(&self) -> Result<usize> {
        for (index, key) in self.keys.iter().enumerate() {
            if self.tag_is_right(key)? {
                return Ok(index);
            }
        }
        Err(Error::new(
            Kind::TagMismatch,
            "the authentication tag is wrong: changed, or encrypted to another key",
        ))
    }

    fn tag_is_right(&self, key: &ContentKey) -> Result<bool> {
        let mut ctx = CipherCtx::new().map_err(failed)?;
        ctx.decrypt_init(Some(evp(self.cipher, Operation::Gcm)?), Some(key), Some(&self.nonce))
            .map_err(failed)?;
        ctx.cipher_update(&self.authentication.attributes, None).map_err(failed)?;
        with_scratch(STEP, |buf| {
            let mut at = 0;
            while at < self.ciphertext.len() {
                let n = self.ciphertext.read_at(buf, at)?;
                ctx.cipher_update_inplace(buf, n).map_err(failed)?;
                at += n as u64;
            }
            Ok::<_, Error>(())
        })?;
        ctx.set_tag(&self.authentication.tag).map_err(failed)?;
        Ok(ctx.cipher_final(&mut []).is_ok())
    }
}

impl ReadAt for GcmReader {
    fn len(&self) -> u64 {
        self.ciphertext.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let n = available(self.len(), offset, buf.len());
        if n == 0 {
            return Ok(0);
        }
        let key = self.verified_key()?;
        self.ciphertext.read_exact_at(&mut buf[..n], offset)?;
        let mut counter = self.nonce.clone();
        counter.extend(((offset / BLOCK) as u32 + 2).to_be_bytes());
        let mut ctx = CipherCtx::new().map_err(failed)?;
        ctx.decrypt_init(Some(evp(self.cipher, Operation::Ctr)?), Some(key), Some(&counter))
            .map_err(failed)?;
        let within = (offset % BLOCK) as usize;
        if within > 0 {
            ctx.cipher_update_inplace(&mut [0; BLOCK as usize], within).map_err(failed)?;
        }
        ctx.cipher_update_inplace(&mut buf[..n], n).map_err(failed)?;
        Ok(n)
    }
}
