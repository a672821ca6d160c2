//! Object identifiers that occur in encrypted messages, by their dotted forms.

/// Content types (RFC 5652, RFC 5083, RFC 3274).
pub(crate) const DATA: &str = "1.2.840.113549.1.7.1";
pub(crate) const SIGNED_DATA: &str = "1.2.840.113549.1.7.2";
pub(crate) const ENVELOPED_DATA: &str = "1.2.840.113549.1.7.3";
pub(crate) const AUTH_ENVELOPED_DATA: &str = "1.2.840.113549.1.9.16.1.23";
pub(crate) const COMPRESSED_DATA: &str = "1.2.840.113549.1.9.16.1.9";

/// Key transport (RFC 8017).
pub(crate) const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";
pub(crate) const RSA_OAEP: &str = "1.2.840.113549.1.1.7";
pub(crate) const MGF1: &str = "1.2.840.113549.1.1.8";
pub(crate) const P_SPECIFIED: &str = "1.2.840.113549.1.1.9";

/// The content cipher that is written (RFC 3565).
pub(crate) const AES_256_CBC: &str = "2.16.840.1.101.3.4.1.42";

/// Hashes (RFC 8017 appendix B.1).
pub(crate) const SHA1: &str = "1.3.14.3.2.26";
pub(crate) const SHA224: &str = "2.16.840.1.101.3.4.2.4";
pub(crate) const SHA256: &str = "2.16.840.1.101.3.4.2.1";
pub(crate) const SHA384: &str = "2.16.840.1.101.3.4.2.2";
pub(crate) const SHA512: &str = "2.16.840.1.101.3.4.2.3";

/// No identifier in use is longer; as a text, a huge one would fill memory and log.
const MAX_OCTETS: usize = 64;

/// Returns the dotted form of the content octets of an OBJECT IDENTIFIER (X.690 section 8.19), of the first
/// `MAX_OCTETS` of them.
pub(crate) fn dotted(content: &[u8]) -> String {
    let mut arcs: Vec<u64> = Vec::new();
    let mut value = 0u64;
    for &octet in content.iter().take(MAX_OCTETS) {
        value = value.wrapping_shl(7) | u64::from(octet & 0x7F);
        if octet & 0x80 == 0 {
            if arcs.is_empty() {
                let first = (value / 40).min(2);
                arcs.push(first);
                value -= first * 40;
            }
            arcs.push(value);
            value = 0;
        }
    }
    arcs.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

/// Returns the content octets of the identifier with this dotted form: the inverse of [`dotted`] for all that are
/// named here.
pub(crate) fn octets(dotted: &str) -> Vec<u8> {
    let mut arcs = dotted.split('.').map(|arc| arc.parse().unwrap_or(0));
    let (first, second): (u64, u64) = (arcs.next().unwrap_or(0), arcs.next().unwrap_or(0));
    let mut out = Vec::new();
    for arc in std::iter::once(first * 40 + second).chain(arcs) {
        let groups = (64 - arc.leading_zeros()).div_ceil(7).max(1);
        for group in (0..groups).rev() {
            let more = if group > 0 { 0x80 } else { 0 };
            out.push((arc >> (7 * group)) as u8 & 0x7F | more);
        }
    }
    out
}

/// Returns the dotted form behind the name of the identifier, or alone where that is not known.
pub(crate) fn with_name(dotted: &str) -> String {
    let name = match dotted {
        DATA => "data",
        SIGNED_DATA => "signedData",
        ENVELOPED_DATA => "envelopedData",
        AUTH_ENVELOPED_DATA => "authEnvelopedData",
        COMPRESSED_DATA => "compressedData",
        "1.2.840.113549.3.2" => "RC2-CBC",
        "1.2.840.113549.3.4" => "RC4",
        "1.3.14.3.2.7" => "DES-CBC",
        "1.2.840.113533.7.66.10" => "CAST5-CBC",
        "1.2.410.200004.1.4" => "SEED-CBC",
        "2.16.840.1.101.3.4.1.7" => "AES-128-CCM",
        "2.16.840.1.101.3.4.1.27" => "AES-192-CCM",
        "2.16.840.1.101.3.4.1.47" => "AES-256-CCM",
        "1.2.840.113549.1.9.16.3.18" => "ChaCha20-Poly1305",
        _ => return dotted.to_string(),
    };
    format!("{name} ({dotted})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotted_forms() {
        assert_eq!(dotted(&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 7, 3]), ENVELOPED_DATA);
        assert_eq!(dotted(&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1]), SHA256);
        assert_eq!(dotted(&[]), "");
        assert_eq!(dotted(&[0x80; 40]), "");
    }

    #[test]
    fn octets_are_the_inverse() {
        for name in [DATA, ENVELOPED_DATA, RSA_ENCRYPTION, RSA_OAEP, MGF1, AES_256_CBC, SHA1, SHA256] {
            assert_eq!(dotted(&octets(name)), name);
        }
    }

    #[test]
    fn a_huge_identifier_does_not_become_a_huge_text() {
        assert!(dotted(&vec![1; 1 << 20]).len() < 1000);
    }
}
