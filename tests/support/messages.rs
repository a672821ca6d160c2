//! Encrypted messages made by the `openssl` command, and the same message written in the ways of other producers.

// Not every kind of test uses all of it.
#![allow(dead_code)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use base64_simd::STANDARD;

/// How the content is encrypted, by the option of `openssl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cipher {
    Aes128,
    Aes192,
    Aes256,
    Des3,
    Gcm,
}

impl Cipher {
    pub const ALL: [Cipher; 5] = [Cipher::Aes128, Cipher::Aes192, Cipher::Aes256, Cipher::Des3, Cipher::Gcm];

    fn option(self) -> &'static str {
        match self {
            Cipher::Aes128 => "-aes-128-cbc",
            Cipher::Aes192 => "-aes-192-cbc",
            Cipher::Aes256 => "-aes-256-cbc",
            Cipher::Des3 => "-des-ede3-cbc",
            Cipher::Gcm => "-aes-256-gcm",
        }
    }

    /// `openssl smime` knows no AuthEnvelopedData.
    fn command(self) -> &'static str {
        if self == Cipher::Gcm { "cms" } else { "smime" }
    }
}

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Smime,
    /// 4096-byte segments, as with all streamed ones.
    StreamedSmime,
    CrlfEol,
    Pem,
    StreamedPem,
    Der,
    StreamedDer,
    /// The rest is what OpenSSL's DER is turned into.
    Base64Crlf76,
    Base64OneLine,
    Base64Width1000,
    Segments1000,
    /// What is encrypted is a MIME entity.
    InnerBase64,
    InnerBinary,
}

impl Encoding {
    pub const ALL: [Encoding; 13] = [
        Encoding::Smime,
        Encoding::StreamedSmime,
        Encoding::CrlfEol,
        Encoding::Pem,
        Encoding::StreamedPem,
        Encoding::Der,
        Encoding::StreamedDer,
        Encoding::Base64Crlf76,
        Encoding::Base64OneLine,
        Encoding::Base64Width1000,
        Encoding::Segments1000,
        Encoding::InnerBase64,
        Encoding::InnerBinary,
    ];

    fn options(self) -> &'static [&'static str] {
        match self {
            Encoding::Smime => &["-outform", "SMIME"],
            Encoding::StreamedSmime => &["-outform", "SMIME", "-stream"],
            Encoding::CrlfEol => &["-outform", "SMIME", "-crlfeol"],
            Encoding::Pem => &["-outform", "PEM"],
            Encoding::StreamedPem => &["-outform", "PEM", "-stream"],
            Encoding::StreamedDer => &["-outform", "DER", "-stream"],
            _ => &["-outform", "DER"],
        }
    }

    fn form(self) -> &'static str {
        self.options()[1]
    }

    /// Returns what is given to OpenSSL for `plain`.
    fn wrapped(self, plain: &[u8]) -> Vec<u8> {
        let entity = |coding: &str, body: &[u8]| {
            let mut entity = format!(
                "Content-Type: application/octet-stream; name=part.bin\r\nContent-Transfer-Encoding: {coding}\r\n\r\n"
            )
            .into_bytes();
            entity.extend_from_slice(body);
            entity
        };
        match self {
            Encoding::InnerBase64 => entity("base64", &base64_lines(plain, 76, "\r\n")),
            Encoding::InnerBinary => entity("binary", plain),
            _ => plain.to_vec(),
        }
    }

    /// Rewrites what came from OpenSSL.
    fn rewritten(self, message: Vec<u8>) -> Vec<u8> {
        match self {
            Encoding::Base64Crlf76 => smime_text(&message, 76, "\r\n"),
            Encoding::Base64OneLine => smime_text(&message, usize::MAX, "\n"),
            Encoding::Base64Width1000 => smime_text(&message, 1000, "\n"),
            Encoding::Segments1000 => segmented(&message, 1000),
            _ => message,
        }
    }
}

/// Encrypts `plain` for the corpus key `c1.pem` and checks that OpenSSL decrypts what it wrote to the same bytes.
///
/// `work` is an empty path that files may be made at.
pub fn encrypt(plain: &[u8], encoding: Encoding, cipher: Cipher, keys: &Path, work: &Path) -> Vec<u8> {
    let path = |what: &str| work.with_extension(what).into_os_string().into_string().unwrap();
    let (input, message, output) = (path("in"), path("message"), path("out"));
    let key = |name: &str| keys.join(name).into_os_string().into_string().unwrap();
    let wrapped = encoding.wrapped(plain);
    fs::write(&input, &wrapped).unwrap();
    let mut options = vec![cipher.command(), "-encrypt", "-binary", cipher.option()];
    options.extend(encoding.options());
    openssl(&[&options[..], &["-in", &input, "-out", &message, &key("c1.pem")]].concat());
    let form = encoding.form();
    let private = key("k1.pem");
    openssl(&[
        cipher.command(),
        "-decrypt",
        "-inform",
        form,
        "-in",
        &message,
        "-inkey",
        &private,
        "-out",
        &output,
    ]);
    assert!(
        fs::read(&output).unwrap() == wrapped,
        "openssl does not decrypt its own {encoding:?} {cipher:?}"
    );
    let message_bytes = fs::read(&message).unwrap();
    for file in [input, message, output] {
        fs::remove_file(file).unwrap();
    }
    encoding.rewritten(message_bytes)
}

fn openssl(arguments: &[&str]) {
    run("openssl", arguments, Path::new("."));
}

/// Runs a program, which must succeed, in a directory.
pub fn run(program: &str, arguments: &[&str], dir: &Path) {
    let output =
        Command::new(program).args(arguments).current_dir(dir).stdin(Stdio::null()).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

/// Base64 in lines; the last one has no end.
pub fn base64_lines(bytes: &[u8], width: usize, eol: &str) -> Vec<u8> {
    let text = STANDARD.encode_to_string(bytes).into_bytes();
    let lines: Vec<&[u8]> = text.chunks(width).collect();
    lines.join(eol.as_bytes())
}

/// S/MIME text around a message.
pub fn smime_text(message: &[u8], width: usize, eol: &str) -> Vec<u8> {
    let mut text = [
        "MIME-Version: 1.0",
        "Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=\"smime.p7m\"",
        "Content-Transfer-Encoding: base64",
        "",
        "",
    ]
    .join(eol)
    .into_bytes();
    text.extend(base64_lines(message, width, eol));
    text.extend_from_slice(eol.as_bytes());
    text
}

/// PEM around a message.
pub fn pem(message: &[u8]) -> Vec<u8> {
    [b"-----BEGIN CMS-----\n", &base64_lines(message, 64, "\n")[..], b"\n-----END CMS-----\n"].concat()
}

/// Rewrites a DER message with indefinite lengths, and its content in segments of `size` octets, as BouncyCastle does.
pub fn segmented(der: &[u8], size: usize) -> Vec<u8> {
    const SEQUENCE: u8 = 0x30;
    const CONTENT: u8 = 0x80;
    const EXPLICIT: u8 = 0xA0;
    let [info] = elements(der)[..] else { panic!("no ContentInfo") };
    let [kind, explicit] = elements(info.body)[..] else { panic!("no content") };
    let [data] = elements(explicit.body)[..] else { panic!("no EnvelopedData") };
    let mut fields = Vec::new();
    for field in elements(data.body) {
        let inner = if field.tag == SEQUENCE { elements(field.body) } else { Vec::new() };
        let Some((content, before)) = inner.split_last().filter(|(last, _)| last.tag == CONTENT) else {
            fields.extend_from_slice(field.whole);
            continue;
        };
        let segments: Vec<u8> = content.body.chunks(size).flat_map(|s| tlv(0x04, s)).collect();
        let before: Vec<u8> = before.iter().flat_map(|e| e.whole).copied().collect();
        fields.extend(indefinite(SEQUENCE, &[&before, &indefinite(CONTENT | 0x20, &[&segments])]));
    }
    let explicit = indefinite(EXPLICIT, &[&indefinite(SEQUENCE, &[&fields])]);
    indefinite(SEQUENCE, &[kind.whole, &explicit])
}

/// One DER element.
#[derive(Debug, Clone, Copy)]
pub struct Tlv<'a> {
    pub tag: u8,
    pub whole: &'a [u8],
    pub body: &'a [u8],
}

/// Takes a sequence of DER elements apart.
pub fn elements(der: &[u8]) -> Vec<Tlv<'_>> {
    let mut rest = der;
    let mut found = Vec::new();
    while let [tag, first, ..] = *rest {
        let long = if first < 0x80 { 0 } else { usize::from(first & 0x7F) };
        let len = rest[2..2 + long].iter().fold(0, |len, &octet| len << 8 | usize::from(octet));
        let (start, len) = (2 + long, if long == 0 { usize::from(first) } else { len });
        let (whole, after) = rest.split_at(start + len);
        found.push(Tlv { tag, whole, body: &whole[start..] });
        rest = after;
    }
    found
}

/// One DER element with a definite length.
pub fn tlv(tag: u8, body: &[u8]) -> Vec<u8> {
    let octets = body.len().to_be_bytes();
    let significant = &octets[octets.iter().take_while(|&&o| o == 0).count()..];
    let mut out = vec![tag];
    match body.len() {
        0..=0x7F => out.push(body.len() as u8),
        _ => {
            out.push(0x80 | significant.len() as u8);
            out.extend_from_slice(significant);
        }
    }
    out.extend_from_slice(body);
    out
}

fn indefinite(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    [&[tag, 0x80], &parts.concat()[..], &[0, 0]].concat()
}
