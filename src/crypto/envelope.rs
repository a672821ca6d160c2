//! EnvelopedData for one certificate, encrypted as its content comes: AES-256-CBC under a key made for it alone.

use openssl::cipher::Cipher as Evp;
use openssl::cipher_ctx::CipherCtx;
use openssl::error::ErrorStack;
use openssl::md::Md;
use openssl::pkey_ctx::PkeyCtx;
use openssl::rand::{rand_bytes, rand_priv_bytes};
use openssl::rsa::Padding;
use zeroize::Zeroizing;

use super::{Certificate, ContentKey};
use crate::error::{Error, Kind, Result};
use crate::format::cms::{self, Cipher, CipherMode, ContentEncryption, HashFunction, write};

/// How the content key is encrypted to the recipient's RSA key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyTransport {
    /// PKCS#1 v1.5, which every reader knows.
    #[default]
    Pkcs1,
    /// RSAES-OAEP with SHA-256 and MGF1-SHA-256, which `openssl smime` does not know, but `openssl cms` does.
    Oaep,
}

const BLOCK: usize = 16;

/// A message that is being written.
pub struct EnvelopeWriter {
    ctx: CipherCtx,
    /// Content that does not fill a segment yet.
    pending: Zeroizing<Vec<u8>>,
}

impl EnvelopeWriter {
    /// Appends the beginning of a message to `certificate`.
    pub(crate) fn start(
        certificate: &Certificate,
        transport: KeyTransport,
        out: &mut Vec<u8>,
    ) -> Result<EnvelopeWriter> {
        let cipher = Cipher::Aes256;
        let mut key = ContentKey::new(vec![0; cipher.key_len()]);
        let mut iv = vec![0; cipher.block_len()];
        rand_priv_bytes(&mut key).map_err(failed)?;
        rand_bytes(&mut iv).map_err(failed)?;
        let mut ctx = CipherCtx::new().map_err(failed)?;
        ctx.encrypt_init(Some(Evp::aes_256_cbc()), Some(&key), Some(&iv)).map_err(failed)?;
        let encrypted_key = encrypt_key(certificate, transport, &key)?;
        let transport = match transport {
            KeyTransport::Pkcs1 => cms::KeyTransportAlgorithm::RsaPkcs1,
            KeyTransport::Oaep => {
                let (hash, mask_hash) = (HashFunction::Sha256, HashFunction::Sha256);
                cms::KeyTransportAlgorithm::RsaOaep { hash, mask_hash, label: Vec::new() }
            }
        };
        let encryption = ContentEncryption { cipher, mode: CipherMode::Cbc { iv } };
        write::head(out, &certificate.recipient_id(), &transport, &encrypted_key, &encryption)
            .ok_or_else(|| Error::unsupported("an algorithm that is not written"))?;
        Ok(EnvelopeWriter { ctx, pending: Zeroizing::new(Vec::with_capacity(write::SEGMENT)) })
    }

    /// Appends the segments that `content` fills.
    pub(crate) fn update(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let mut content = content;
        if !self.pending.is_empty() {
            let (head, tail) = content.split_at(content.len().min(write::SEGMENT - self.pending.len()));
            self.pending.extend_from_slice(head);
            content = tail;
            if self.pending.len() < write::SEGMENT {
                return Ok(());
            }
            segment(&mut self.ctx, &self.pending, out)?;
            self.pending.clear();
        }
        let segments = content.chunks_exact(write::SEGMENT);
        self.pending.extend_from_slice(segments.remainder());
        for whole in segments {
            segment(&mut self.ctx, whole, out)?;
        }
        Ok(())
    }

    /// Appends the last segment, padded, and the end of the message.
    pub(crate) fn finish(mut self, out: &mut Vec<u8>) -> Result<()> {
        // Less than a segment is pending, so that the padding still fits.
        write::segment_header(out, self.pending.len() / BLOCK * BLOCK + BLOCK);
        self.ctx.cipher_update_vec(&self.pending, out).map_err(failed)?;
        self.ctx.cipher_final_vec(out).map_err(failed)?;
        out.extend_from_slice(&write::TAIL);
        Ok(())
    }
}

/// Encrypts whole blocks, so that all of them come out at once.
fn segment(ctx: &mut CipherCtx, content: &[u8], out: &mut Vec<u8>) -> Result<()> {
    write::segment_header(out, content.len());
    ctx.cipher_update_vec(content, out).map_err(failed)?;
    Ok(())
}

fn encrypt_key(certificate: &Certificate, transport: KeyTransport, key: &ContentKey) -> Result<Vec<u8>> {
    let public = certificate.key()?;
    let encrypt = || {
        let mut ctx = PkeyCtx::new(public)?;
        ctx.encrypt_init()?;
        match transport {
            KeyTransport::Pkcs1 => ctx.set_rsa_padding(Padding::PKCS1)?,
            KeyTransport::Oaep => {
                ctx.set_rsa_padding(Padding::PKCS1_OAEP)?;
                ctx.set_rsa_oaep_md(Md::sha256())?;
                ctx.set_rsa_mgf1_md(Md::sha256())?;
            }
        }
        let mut encrypted = Vec::new();
        ctx.encrypt_to_vec(key, &mut encrypted)?;
        Ok(encrypted)
    };
    encrypt().map_err(failed)
}

fn failed(error: ErrorStack) -> Error {
    Error::new(Kind::Invalid, format!("OpenSSL cannot encrypt: {error}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::certificate::tests::made;
    use crate::format::{ber, oid};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn segments_are_full_but_for_the_last(lengths in proptest::collection::vec(0usize..9000, 0..5)) {
            let (certificate, _) = made("rsa:2048", &[]);
            let certificate = Certificate::from_pem(&certificate).unwrap();
            let mut out = Vec::new();
            let mut writer = EnvelopeWriter::start(&certificate, KeyTransport::Oaep, &mut out).unwrap();
            let start = out.len();
            for &len in &lengths {
                writer.update(&vec![7; len], &mut out).unwrap();
            }
            writer.finish(&mut out).unwrap();
            let mut sizes = Vec::new();
            let mut at = start;
            while out[at] == ber::OCTET_STRING {
                let header = ber::header(&out[at..]).unwrap();
                sizes.push(header.len.unwrap() as usize);
                at += header.size + header.len.unwrap() as usize;
            }
            prop_assert_eq!(&out[at..], &write::TAIL);
            let content: usize = lengths.iter().sum();
            prop_assert_eq!(sizes.iter().sum::<usize>(), content / BLOCK * BLOCK + BLOCK);
            prop_assert!(sizes.iter().rev().skip(1).all(|&size| size == write::SEGMENT));
            prop_assert!(out.windows(9).any(|w| w == oid::octets(oid::RSA_OAEP)));
        }
    }
}
