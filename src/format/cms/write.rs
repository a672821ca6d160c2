//! EnvelopedData for one recipient, written before the length of its content is known: indefinite lengths, and the
//! content in OCTET STRING segments, as `openssl smime -encrypt -stream` does.

use super::algorithm::{write_content_encryption, write_key_transport};
use super::{CONTEXT_0, ContentEncryption, KeyTransportAlgorithm, RecipientId};
use crate::format::{ber, oid};

/// Octets of encrypted content in each segment; the last may have fewer.
pub(crate) const SEGMENT: usize = 4096;

/// What closes the content, EncryptedContentInfo, EnvelopedData, `[0]` and ContentInfo.
pub(crate) const TAIL: [u8; 5 * ber::END_OF_CONTENTS.len()] = [0; 10];

/// Appends everything before the first segment. `recipient` names a certificate by issuer and serial number, or by
/// key identifier; `None` for a key transport or cipher that is never written.
pub(crate) fn head(
    out: &mut Vec<u8>,
    recipient: &RecipientId,
    transport: &KeyTransportAlgorithm,
    encrypted_key: &[u8],
    encryption: &ContentEncryption,
) -> Option<()> {
    let (version, id) = match recipient {
        RecipientId::IssuerSerial { issuer, serial } => {
            let mut names = issuer.clone();
            ber::write(&mut names, ber::INTEGER, serial);
            (0, (ber::SEQUENCE, names))
        }
        RecipientId::KeyIdentifier(identifier) => (2, (CONTEXT_0, identifier.clone())),
    };
    let mut info = Vec::new();
    ber::write(&mut info, ber::INTEGER, &[version]);
    ber::write(&mut info, id.0, &id.1);
    write_key_transport(&mut info, transport)?;
    ber::write(&mut info, ber::OCTET_STRING, encrypted_key);
    let mut infos = Vec::new();
    ber::write(&mut infos, ber::SEQUENCE, &info);

    ber::write_indefinite(out, ber::SEQUENCE);
    ber::write(out, ber::OID, &oid::octets(oid::ENVELOPED_DATA));
    ber::write_indefinite(out, CONTEXT_0);
    ber::write_indefinite(out, ber::SEQUENCE);
    ber::write(out, ber::INTEGER, &[version]);
    ber::write(out, ber::SET, &infos);
    ber::write_indefinite(out, ber::SEQUENCE);
    ber::write(out, ber::OID, &oid::octets(oid::DATA));
    write_content_encryption(out, encryption)?;
    ber::write_indefinite(out, CONTEXT_0);
    Some(())
}

/// Appends the header of a segment of `len` octets.
pub(crate) fn segment_header(out: &mut Vec<u8>, len: usize) {
    ber::write_header(out, ber::OCTET_STRING, len);
}

#[cfg(test)]
mod tests {
    use super::super::{Cipher, CipherMode, HashFunction, Recipient, parse, parse_closing};
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let issuer = [0x30, 0x02, 0x31, 0x00].to_vec();
        let ids = [
            RecipientId::IssuerSerial { issuer, serial: vec![0, 0x90, 1] },
            RecipientId::KeyIdentifier(vec![7; 20]),
        ];
        let oaep = KeyTransportAlgorithm::RsaOaep {
            hash: HashFunction::Sha256,
            mask_hash: HashFunction::Sha256,
            label: Vec::new(),
        };
        for id in ids {
            for transport in [KeyTransportAlgorithm::RsaPkcs1, oaep.clone()] {
                let mode = CipherMode::Cbc { iv: vec![9; 16] };
                let encryption = ContentEncryption { cipher: Cipher::Aes256, mode };
                let mut out = Vec::new();
                head(&mut out, &id, &transport, &[5; 384], &encryption).unwrap();
                let start = out.len() as u64;
                segment_header(&mut out, 200);
                out.extend([3; 200]);
                let end = out.len();
                out.extend(TAIL);
                let envelope = parse(&out, out.len() as u64).unwrap();
                let encrypted_key = vec![5; 384];
                let (id, transport) = (id.clone(), transport.clone());
                assert_eq!(envelope.recipients, [Recipient::KeyTransport { id, transport, encrypted_key }]);
                assert_eq!(envelope.encryption, encryption);
                assert_eq!((envelope.content.start, envelope.content.len), (start, None));
                let total = out.len() as u64;
                let closing = parse_closing(&envelope, &out[end..], end as u64, total).unwrap();
                assert_eq!(closing.len, TAIL.len());
            }
        }
    }
}
