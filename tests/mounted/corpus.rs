//! Every file of the corpus, through the library and through the kernel: the bytes, or the errno and the log line.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::support::corpus;
use crate::support::exports::{self, Case, Expected, KEYS};
use crate::support::mount::{self, Place, names, python, run};
use libc::{EBADMSG, EIO, EKEYREJECTED, ENOKEY, EOPNOTSUPP};

/// What a row of the tables below stands for.
enum Is {
    /// The plaintext that everything was made from, or the zip that was encrypted.
    Sound,
    /// What OpenSSL decrypts it to, although that is no sound zip: CBC cannot tell.
    WhatOpensslSays,
    Refused(i32, &'static str),
    /// Damaged in the middle: the rest can be read.
    DamagedInside(i32, &'static str),
    Incomplete(&'static [&'static str]),
    /// Nothing that is listed.
    NoExport,
    /// Sound but for this member: a wrong part that lies wholly inside it shows in its CRC-32 alone.
    AllBut(&'static str),
}
use Is::*;

const NO_END: &str = "no end of central directory record: not a zip, or its end is missing";
const REJECTED: &str = "the key is for this recipient, but does not open the message: \
                        recipient with issuer \"O=corpus, CN=recipient 1\", serial ";
const TOO_SHORT: &str = "shorter than its own length says (cut off?)";
const BLOCKS: &str = "which is no whole number of 16-octet blocks (cut off?)";
const PADDING: &str = "the padding is wrong: changed, cut off, or encrypted to another key";

/// Messages that are not `Sound`; all others are.
const MESSAGES: [(&str, Is); 55] = [
    ("cms/b64-bad-char", DamagedInside(EIO, "no base64 at character 3250 of the text")),
    ("cms/b64-empty-body", Refused(EIO, "a mail header without a body")),
    ("cms/b64-truncated-line", Refused(EIO, "not a multiple of 4 (cut off?)")),
    ("cms/b64-truncated-line-boundary", Refused(EIO, TOO_SHORT)),
    ("cms/cek-0.der", Refused(EKEYREJECTED, REJECTED)),
    ("cms/cek-16-for-aes256.der", Refused(EKEYREJECTED, REJECTED)),
    ("cms/child-overruns-parent.der", Refused(EIO, "an element that is longer than what holds it")),
    ("cms/chunk-past-eof.ber", Refused(EIO, "longer than what is left (cut off?)")),
    ("cms/cipher-unknown.der", Refused(EOPNOTSUPP, "content cipher 1.2.3.4.5")),
    ("cms/ct-absent.der", Refused(EIO, "the encrypted content is detached (absent)")),
    ("cms/ct-empty.der", Refused(EIO, BLOCKS)),
    ("cms/ct-not-multiple.der", Refused(EIO, BLOCKS)),
    ("cms/data.der", Refused(EOPNOTSUPP, "content type data (1.2.840.113549.1.7.1)")),
    ("cms/deep-nesting-outer.ber", Refused(EIO, "no object identifier where one belongs")),
    ("cms/deep-nesting-recipient.ber", Refused(EIO, "elements nested too deeply")),
    ("cms/deep-nesting.ber", Refused(EIO, "segments nested too deeply")),
    ("cms/ek-garbage.der", Refused(EKEYREJECTED, REJECTED)),
    ("cms/ek-short.der", Refused(EKEYREJECTED, REJECTED)),
    // A name that is kept for a download.
    ("cms/empty", NoExport),
    ("cms/gcm-tampered.der", Refused(EBADMSG, "the authentication tag is wrong")),
    ("cms/gcm-truncated.der", Refused(EIO, TOO_SHORT)),
    ("cms/header-only-1MB", Refused(EIO, "not an encrypted message, but some other text")),
    ("cms/html.smime", Refused(EIO, "an HTML page (a login or error page of the download server)")),
    ("cms/indef-primitive.ber", Refused(EIO, "indefinite length on a primitive element")),
    ("cms/iv-0.der", Refused(EIO, "an initialisation vector of the wrong length")),
    ("cms/iv-8.der", Refused(EIO, "an initialisation vector of the wrong length")),
    ("cms/len-8byte-max.der", Refused(EIO, "a length beyond 2^64")),
    ("cms/len-of-len-126.der", Refused(EIO, "a length of more than 8 octets")),
    ("cms/len-past-eof.der", Refused(EIO, TOO_SHORT)),
    ("cms/len-reserved-ff.der", Refused(EIO, "a length of more than 8 octets")),
    ("cms/no-eoc.ber", Refused(EIO, "breaks off at octet 68723 (cut off?)")),
    ("cms/one-byte", Refused(EIO, "breaks off before its content (cut off?)")),
    ("cms/pad-00.der", Refused(EIO, PADDING)),
    ("cms/pad-17.der", Refused(EIO, PADDING)),
    // Legal, but what was encrypted lacks its last four bytes.
    ("cms/pad-block.der", Refused(EIO, NO_END)),
    ("cms/pad-inconsistent.der", Refused(EIO, PADDING)),
    ("cms/plaintext-mime-header-1MB.der", Refused(EIO, NO_END)),
    ("cms/plaintext-text.der", Refused(EIO, NO_END)),
    ("cms/recipients-none.der", Refused(EIO, "the message has no recipients")),
    ("cms/right-serial-wrong-key.der", Refused(EKEYREJECTED, REJECTED)),
    ("cms/s3-error.smime", Refused(EIO, "an XML error page of the download server")),
    ("cms/signed-data.der", Refused(EOPNOTSUPP, "content type signedData (1.2.840.113549.1.7.2)")),
    ("cms/tamper-block-swap.der", WhatOpensslSays),
    ("cms/tamper-iv.der", WhatOpensslSays),
    ("cms/tamper-middle.der", WhatOpensslSays),
    ("cms/tamper-splice.der", WhatOpensslSays),
    ("cms/text", Refused(EIO, "not an encrypted message, but some other text")),
    ("cms/truncated-1.der", Refused(EIO, TOO_SHORT)),
    ("cms/truncated-16.der", Refused(EIO, TOO_SHORT)),
    ("cms/truncated-chunked.ber", Refused(EIO, "longer than what is left (cut off?)")),
    ("cms/truncated-half.der", Refused(EIO, TOO_SHORT)),
    (
        "cms/wrong-recipient.der",
        Refused(ENOKEY, "recipient with issuer \"O=corpus, CN=recipient 2\", serial "),
    ),
    (
        "cms/zip-not-encrypted.smime",
        Refused(EIO, "not an encrypted message, but a zip that is not encrypted"),
    ),
    ("odd/b64-padding-inside", Refused(EIO, "base64 goes on after its padding at character 46846")),
    ("odd/plaintext-empty.der", Refused(EIO, NO_END)),
];

/// Zips that are not shown as they were encrypted; what is wrong in the others is for the reader of their members.
const ZIPS: [(&str, Is); 8] = [
    ("eocd-cdoff-past-eof.zip", Refused(EIO, "no central directory where the end record says")),
    ("eocd-cdsize-lie.zip", Refused(EIO, "no central directory where the end record says")),
    ("eocd-comment-len-lie.zip", Refused(EIO, NO_END)),
    ("eocd-count-more.zip", Refused(EIO, "more members than its central directory can hold")),
    (
        "eocd-disk-7.zip",
        Incomplete(&["export-eocd-disk-7.zip.z01.smime", "export-eocd-disk-7.zip.z07.smime"]),
    ),
    ("eocd-missing.zip", Refused(EIO, NO_END)),
    ("zip64-count-huge.zip", Refused(EIO, "more members than its central directory can hold")),
    ("zip64-locator-wild.zip", Refused(EIO, "the zip64 locator does not lead to a zip64 record")),
];

/// All damaged sets: parts missing, cut off, swapped, foreign or oddly named.
const SETS: [(&str, Is); 15] = [
    (
        "both-names",
        Incomplete(&["Parts that do not belong to it, by what the last part says:", "both-names.z99.smime"]),
    ),
    ("duplicate", AllBut("interactions-0025.bin")),
    ("empty-middle", AllBut("interactions-0025.bin")),
    (
        "extra-part",
        Incomplete(&["Parts that do not belong to it, by what the last part says:", "extra-part.z04.smime"]),
    ),
    (
        "foreign-last",
        Incomplete(&["foreign-last.z04.smime", "foreign-last.z05.smime", "foreign-last.z06.smime"]),
    ),
    ("foreign-part", AllBut("interactions-0025.bin")),
    ("missing-first", Incomplete(&["Parts that are missing:", "missing-first.z01.smime"])),
    ("missing-last", Incomplete(&["missing-last.zip.smime", "and there may be more"])),
    ("missing-last-two", Incomplete(&["missing-last-two.zip.smime", "and there may be more"])),
    ("missing-middle", Incomplete(&["Parts that are missing:", "missing-middle.z02.smime"])),
    ("name-z010", Sound),
    ("swapped", AllBut("interactions-0025.bin")),
    ("truncated-last", Refused(EIO, NO_END)),
    ("truncated-middle", AllBut("interactions-0025.bin")),
    ("upper-case", Sound),
];

fn sha256_of(path: &Path) -> String {
    corpus::sha256(&fs::read(path).unwrap())
}

fn one_zip() -> String {
    sha256_of(&corpus::dir().join("plain/one.zip"))
}

fn expected(is: &Is, sound: &str, file: &Path) -> Expected {
    match is {
        Sound => Expected::Sha256(sound.into()),
        WhatOpensslSays => Expected::Sha256(corpus::sha256(&decrypt(file))),
        Refused(errno, text) => Expected::Errno(*errno, text.to_string()),
        DamagedInside(errno, text) => {
            let sound = fs::metadata(corpus::dir().join("plain/one.zip")).unwrap();
            Expected::ErrnoInside(*errno, text.to_string(), sound.len())
        }
        Incomplete(lines) => Expected::Incomplete(lines.iter().map(|line| line.to_string()).collect()),
        AllBut(member) => Expected::AllBut(member.to_string()),
        NoExport => unreachable!("it is not listed"),
    }
}

fn decrypt(file: &Path) -> Vec<u8> {
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["cms", "-decrypt", "-binary", "-inform", "DER", "-in"]).arg(file);
    let output = run(openssl.arg("-inkey").arg(corpus::dir().join("keys/k1.pem")));
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

fn row<'a>(table: &'a [(&str, Is)], file: &str) -> &'a Is {
    table.iter().find(|(name, _)| *name == file).map_or(&Sound, |(_, is)| is)
}

#[test]
fn every_split_set_is_the_one_zip_that_it_was_split_from() {
    let place = Place::new();
    let case = |(set, sha256): (String, String)| Case {
        stem: corpus::copy_set(&set, &place.store()),
        expected: Expected::Sha256(sha256),
    };
    let cases: Vec<Case> = corpus::sets().into_iter().map(case).collect();
    assert!(cases.len() >= 29);
    exports::check(&place, &cases);
}

#[test]
fn every_message_shape_is_read_or_refused_by_its_name() {
    let place = Place::new();
    let one = one_zip();
    let mut cases = Vec::new();
    for row in corpus::table("MANIFEST.tsv") {
        let (name, verdict) = (row[0].as_str(), row[15].as_str());
        fs::copy(
            corpus::dir().join("smime").join(name),
            place.store().join(format!("export-{name}.zip.smime")),
        )
        .unwrap();
        let refused = |errno, text: &str| Expected::Errno(errno, text.into());
        let expected = match (name, verdict) {
            // The beginning of a zip.
            (name, "ok") if name.starts_with("len-") => refused(EIO, NO_END),
            // OpenSSL's own label, which the reference script cannot pass on.
            (_, "ok" | "nonstandard") | ("ossl-cms-oaep256-label", "unsupported") => {
                Expected::Sha256(one.clone())
            }
            ("bc-smime-rc2", "unsupported") => refused(EOPNOTSUPP, "content cipher RC2-CBC"),
            ("ossl-cms-UNSUP-ec-only", "unsupported") => refused(EOPNOTSUPP, "recipient by key agreement"),
            // Destroyed before they were encrypted.
            ("bc-smime-qp", "CORRUPT-INPUT") => refused(EOPNOTSUPP, "quoted-printable inside the encryption"),
            (name, "CORRUPT-INPUT") if name.contains("nobinary") => refused(EIO, NO_END),
            _ => panic!("nothing is said of {name}, which is {verdict}"),
        };
        cases.push(Case { stem: format!("export-{name}"), expected });
    }
    assert!(cases.len() >= 120);
    exports::check(&place, &cases);
}

#[test]
fn every_odd_message_is_read_and_every_hostile_one_refused() {
    let place = Place::new();
    let one = one_zip();
    let mut cases = Vec::new();
    for dir in ["cms", "odd"] {
        for name in names(&corpus::dir().join("hostile").join(dir)) {
            let file = corpus::dir().join("hostile").join(dir).join(&name);
            let stem = format!("export-{dir}-{name}");
            fs::copy(&file, place.store().join(format!("{stem}.zip.smime"))).unwrap();
            let is = row(&MESSAGES, &format!("{dir}/{name}"));
            if matches!(is, NoExport) {
                continue;
            }
            cases.push(Case { stem, expected: expected(is, &one, &file) });
        }
    }
    assert!(MESSAGES.iter().all(|(name, _)| corpus::dir().join("hostile").join(name).exists()));
    assert!(cases.len() >= 88);
    exports::check(&place, &cases);
}

#[test]
fn a_damaged_character_costs_only_the_bytes_around_it() {
    let place = Place::new();
    let file = corpus::dir().join("hostile/cms/b64-bad-char");
    fs::copy(file, place.store().join("export-bad.zip.smime")).unwrap();
    let one = fs::read(corpus::dir().join("plain/one.zip")).unwrap();
    let mount = place.mount(&KEYS, &[]);
    let zip = File::open(mount.zip("export-bad")).unwrap();
    let mut buf = vec![0; one.len() - 8192];
    zip.read_exact_at(&mut buf, 8192).unwrap();
    assert!(buf == one[8192..]);
    assert_eq!(mount::errno(zip.read_at(&mut buf, 2000)), EIO);
    drop(zip);
    assert_eq!(mount.unmount().len(), 1);
}

#[test]
fn every_hostile_zip_is_shown_as_it_is_or_refused() {
    let place = Place::new();
    let dir = corpus::dir().join("hostile/zip");
    let mut cases = Vec::new();
    for name in names(&dir) {
        let mut zip = dir.join(&name);
        if name.ends_with(".z") {
            let script = "import sys, zlib; open(sys.argv[2], 'wb').write(zlib.decompress(open(sys.argv[1], 'rb').read()))";
            let inflated = place.root().join(&name);
            python(script, [&zip, &inflated]);
            zip = inflated;
        }
        let stem = format!("export-{name}");
        corpus::encrypt(&zip, &place.store().join(format!("{stem}.zip.smime")));
        let sound = if name.starts_with("marker-") {
            // A spanning marker is cut off, and the offset of the one member behind it corrected.
            sha256_of(&without_marker(&zip, &place.root().join(&name)))
        } else {
            sha256_of(&zip)
        };
        cases.push(Case { stem, expected: expected(row(&ZIPS, &name), &sound, &zip) });
    }
    assert!(ZIPS.iter().all(|(name, _)| dir.join(name).exists()));
    assert!(cases.len() >= 50);
    exports::check(&place, &cases);
}

fn without_marker(zip: &Path, to: &Path) -> std::path::PathBuf {
    let mut bytes = fs::read(zip).unwrap().split_off(4);
    let at = |signature: &[u8], bytes: &[u8]| bytes.windows(4).rposition(|w| w == signature).unwrap();
    for (signature, field) in [(b"PK\x01\x02", 42), (b"PK\x05\x06", 16)] {
        let field = at(signature, &bytes) + field;
        let offset = u32::from_le_bytes(bytes[field..field + 4].try_into().unwrap()) - 4;
        bytes[field..field + 4].copy_from_slice(&offset.to_le_bytes());
    }
    fs::write(to, bytes).unwrap();
    to.into()
}

#[test]
fn every_damaged_set_says_what_is_wrong_with_it() {
    let place = Place::new();
    let lite = corpus::table("expected/JOINED.tsv").into_iter().find(|row| row[0] == "lite").unwrap();
    let dir = corpus::dir().join("badsets");
    let mut cases = Vec::new();
    assert_eq!(names(&dir), SETS.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>());
    for (stem, is) in &SETS {
        for part in names(&dir.join(stem)) {
            let (_, ending) = part.split_once('.').unwrap();
            let ending =
                if *stem == "upper-case" { format!("{ending}.SMIME") } else { format!("{ending}.smime") };
            corpus::encrypt(&dir.join(stem).join(&part), &place.store().join(format!("{stem}.{ending}")));
        }
        cases.push(Case { stem: stem.to_string(), expected: expected(is, &lite[5], &dir) });
    }
    exports::check(&place, &cases);
}

#[test]
fn every_member_of_every_set_has_the_bytes_that_were_zipped() {
    const SCRIPT: &str = "
import hashlib, sys, zipfile
artifacts, expected = sys.argv[1:3]
for pair in sys.argv[3:]:
    name, stem = pair.split('=')
    with open(f'{expected}/{name}.tsv', encoding='utf-8') as table:
        rows = [line.rstrip('\\n').split('\\t') for line in table][1:]
    members = {}
    with zipfile.ZipFile(f'{artifacts}/{stem}.zip') as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            # Info-ZIP writes UTF-8 without saying so.
            name = info.filename if info.flag_bits & 0x800 else info.filename.encode('cp437').decode('utf-8')
            members[name] = hashlib.sha256(archive.read(info)).hexdigest()
    assert members == {row[0]: row[3] for row in rows if not row[0].endswith('/')}, (pair, members.keys())
";
    let place = Place::new();
    let sets = corpus::sets().into_iter().map(|(set, _)| set);
    let stems: Vec<(String, String)> = sets
        .map(|set| (corpus::copy_set(&set, &place.store()), set))
        .map(|(stem, set)| (set, stem))
        .collect();
    let mount = place.mount(&KEYS, &[]);
    let expected = corpus::dir().join("expected");
    let mut args = vec![mount.path("artifacts").display().to_string(), expected.display().to_string()];
    // Python does not know AES; 7-Zip does.
    let (aes, others): (Vec<_>, Vec<_>) = stems.into_iter().partition(|(set, _)| set == "z4-AES");
    args.extend(others.iter().map(|(set, stem)| format!("{set}={stem}")));
    python(SCRIPT, args);
    for row in corpus::table("expected/z4-AES.tsv") {
        let mut extract = std::process::Command::new("7z");
        let member = run(extract.args(["x", "-so", "-psecret"]).arg(mount.zip(&aes[0].1)).arg(&row[0]));
        assert_eq!(corpus::sha256(&member.stdout), row[3], "{}", row[0]);
    }
}
