#[path = "support/corpus.rs"]
mod corpus;
#[path = "support/messages.rs"]
mod messages;
use std::sync::Arc;
use std::time::Instant;
use cddsfs::artifact::{Mode, Part};
use cddsfs::io::Reader;
use messages::{Cipher, Encoding, elements, encrypt, tlv};

fn rss() -> u64 {
    let s = std::fs::read_to_string("/proc/self/status").unwrap();
    s.lines().find(|l| l.starts_with("VmHWM")).unwrap().split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}
fn probe(name: &str, file: Vec<u8>) {
    let n = file.len();
    let t = Instant::now();
    let r = Part::open(Arc::new(file) as Reader, corpus::identities(&["k1+c1.pem"]), Mode::Regular);
    let m = match r { Ok(_) => "ok".to_string(), Err(e) => { let s = e.to_string(); format!("{} long: {}", s.len(), &s[..s.len().min(150)]) } };
    eprintln!("{name}: {n} bytes, {:?}, peak {} MiB, {m}", t.elapsed(), rss());
}
#[test]
fn probes() {
    let keys = corpus::dir().join("keys");
    let dir = tempfile::tempdir().unwrap();
    let der = encrypt(b"PK\x03\x04 hello", Encoding::Der, Cipher::Aes256, &keys, &dir.path().join("work"));
    let info = elements(&der)[0];
    let [oid, explicit] = elements(info.body)[..] else { panic!() };
    let data = elements(explicit.body)[0];
    let [version, set, eci] = elements(data.body)[..] else { panic!() };
    let build = |recips: &[u8]| {
        let d = tlv(0x30, &[version.whole, &tlv(0x31, recips), eci.whole].concat());
        tlv(0x30, &[oid.whole, &tlv(0xA0, &d)].concat())
    };
    let which = std::env::var("PROBE").unwrap_or_default();
    let r = set.body;
    match which.as_str() {
        "same" => for n in [1usize, 100, 1000, 4000] { probe(&format!("{n} times us"), build(&r.repeat(n))); },
        "kari" => probe("kari", build(&[0xA1u8, 0].repeat(7_000_000))),
        "oid" => probe("oid", tlv(0x30, &tlv(6, &vec![1u8; 12_000_000]))),
        "issuer" => {
            let ri = elements(r)[0];
            let f = elements(ri.body);
            let rdn = tlv(0x31, &tlv(0x30, &[&tlv(6, &[0x55, 4, 3])[..], &tlv(0x0C, &[b'x'; 70])].concat()));
            let name = tlv(0x30, &rdn.repeat(100_000));
            let id = tlv(0x30, &[&name[..], &tlv(2, &[1])].concat());
            let other = tlv(0x30, &[f[0].whole, &id, f[2].whole, &tlv(4, &[1; 100])].concat());
            probe("issuer", build(&other));
        }
        "boundary" => {
            let mut e = b"Content-Type: multipart/mixed; boundary=\n\n".to_vec();
            while e.len() < 16 << 10 { e.extend(b"A:--\n"); }
            let m = encrypt(&e, Encoding::Der, Cipher::Aes256, &keys, &dir.path().join("work"));
            probe("boundary", m);
            let mut e = b"Content-Type: multipart/mixed; boundary=\"\"\n\n".to_vec();
            while e.len() < 16 << 10 { e.extend(b"--"); }
            let m = encrypt(&e, Encoding::Der, Cipher::Aes256, &keys, &dir.path().join("work"));
            probe("boundary2", m);
        }
        _ => {}
    }
}
