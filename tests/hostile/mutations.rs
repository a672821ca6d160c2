//! Truncated, changed and lying messages: an error, or the bytes that were encrypted; never a panic, and no more memory
//! or time than the message is worth.
//!
//! CBC cannot tell that its ciphertext was changed, so only AES-GCM is held to its plaintext after any change.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::support::corpus;
use crate::support::messages::{
    Cipher, Encoding, base64_lines, elements, encrypt, pem, segmented, smime_text, tlv,
};
use cddsfs::artifact::{Addressing, PartReader};
use cddsfs::crypto::Identity;
use cddsfs::error::Result;
use cddsfs::io::{ReadAt, Reader};

/// Counts what the thread holds, and the most that it ever held.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    let _ = HELD.try_with(|held| {
        held.set(held.get() + change);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A message of a few thousand octets is never worth more. (Indexing works with buffers of 256 KiB and 64 KiB.)
const MOST_MEMORY: isize = 2 << 20;
/// Processor time for opening and reading one message several times.
const MOST_TIME: Duration = Duration::from_secs(1);
const MUTATIONS: u32 = 2000;

fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every Linux, and the pointer is to a timespec.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Pseudo-random numbers, the same in every run (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % limit.max(1) as u64) as usize
    }
}

/// The processor time and the memory that opening and reading a file take.
fn cost(file: Vec<u8>, identities: &Arc<[Identity]>) -> (Result<Vec<u8>>, Duration, isize) {
    let (before, held) = (processor_time(), HELD.get());
    MOST.set(held);
    let part = PartReader::open(
        Arc::new(file) as Reader,
        identities.clone(),
        Addressing::Regular,
        &cddsfs::io::Budget::unlimited(),
    );
    let result = part.and_then(|part| corpus::read_all(&part));
    (result, processor_time() - before, MOST.get() - held)
}

/// What stands around the octets of a message.
#[derive(Debug, Clone, Copy)]
enum Armour {
    None,
    Smime,
    SmimeCrlf76,
    OneLine,
    Pem,
    Bare,
}

impl Armour {
    fn around(self, message: &[u8]) -> Vec<u8> {
        match self {
            Armour::None => message.to_vec(),
            Armour::Smime => smime_text(message, 64, "\n"),
            Armour::SmimeCrlf76 => smime_text(message, 76, "\r\n"),
            Armour::OneLine => smime_text(message, usize::MAX, "\n"),
            Armour::Pem => pem(message),
            Armour::Bare => base64_lines(message, 64, "\n"),
        }
    }
}

struct Message {
    name: String,
    plain: Arc<Vec<u8>>,
    octets: Vec<u8>,
    armour: Armour,
    /// Its octets are DER, so that its headers are known.
    is_der: bool,
    is_authenticated: bool,
}

impl Message {
    fn file(&self) -> Vec<u8> {
        self.armour.around(&self.octets)
    }
}

static IDENTITIES: LazyLock<Arc<[Identity]>> = LazyLock::new(|| corpus::identities(&["k1.pem"]));

static MESSAGES: LazyLock<Vec<Message>> = LazyLock::new(|| {
    // As every part of a zip it must not look like text.
    let plain: Vec<u8> =
        b"PK\x03\x04".iter().copied().chain((0..2100u32).map(|i| ((i * i) >> 3) as u8)).collect();
    let plain = Arc::new(plain);
    let keys = corpus::dir().join("keys");
    let dir = tempfile::tempdir().unwrap();
    let der = |encoding, cipher| encrypt(&plain, encoding, cipher, &keys, &dir.path().join("work"));
    let mut messages = Vec::new();
    for cipher in [Cipher::Aes256, Cipher::Gcm] {
        let mut add = |what: &str, octets: &[u8], armour, is_der| {
            messages.push(Message {
                name: format!("{cipher:?} {what} {armour:?}"),
                plain: plain.clone(),
                octets: octets.to_vec(),
                armour,
                is_der,
                is_authenticated: cipher == Cipher::Gcm,
            });
        };
        let primitive = der(Encoding::Der, cipher);
        for armour in [Armour::None, Armour::Smime, Armour::OneLine, Armour::Pem, Armour::Bare] {
            add("primitive", &primitive, armour, true);
        }
        // So many segments that they are taken for regular without being looked at.
        let segments = segmented(&primitive, 24);
        add("segments", &segments, Armour::None, false);
        add("segments", &segments, Armour::SmimeCrlf76, false);
        add("inner base64", &der(Encoding::InnerBase64, cipher), Armour::None, true);
        add("inner binary", &der(Encoding::InnerBinary, cipher), Armour::Smime, true);
    }
    messages
});

/// Opens a file and reads all of it, once in one piece and once in small ones from the back.
fn read(file: Vec<u8>, addressing: Addressing) -> Result<Vec<u8>> {
    const STEP: usize = 333;
    let part = PartReader::open(
        Arc::new(file) as Reader,
        IDENTITIES.clone(),
        addressing,
        &cddsfs::io::Budget::unlimited(),
    )?;
    let whole = corpus::read_all(&part)?;
    for start in (0..whole.len()).step_by(STEP).rev() {
        let piece = part.read_vec(start as u64, STEP)?;
        assert_eq!(piece, whole[start..][..piece.len()], "two reads of the same bytes differ at {start}");
    }
    Ok(whole)
}

/// Reads a file in both modes within the limits; `must_be` is what it gives if it gives anything.
fn check(file: &[u8], must_be: Option<&[u8]>, what: &dyn Fn() -> String) {
    for addressing in [Addressing::Regular, Addressing::Indexed] {
        let file = file.to_vec();
        let (before, held) = (processor_time(), HELD.get());
        MOST.set(held);
        let result = catch_unwind(AssertUnwindSafe(|| read(file, addressing)));
        let (took, used) = (processor_time() - before, MOST.get() - held);
        assert!(took < MOST_TIME, "{} {addressing:?}: {took:?}", what());
        assert!(used < MOST_MEMORY, "{} {addressing:?}: {used} bytes", what());
        let Ok(result) = result else { panic!("{} {addressing:?}: panics", what()) };
        if let (Ok(bytes), Some(wanted)) = (result, must_be) {
            assert!(bytes == wanted, "{} {addressing:?}: {} bytes that are others", what(), bytes.len());
        }
    }
}

#[test]
fn what_is_not_changed_is_read() {
    for message in MESSAGES.iter() {
        for addressing in [Addressing::Regular, Addressing::Indexed] {
            let bytes = read(message.file(), addressing)
                .unwrap_or_else(|e| panic!("{} {addressing:?}: {e}", message.name));
            assert!(bytes == *message.plain, "{} {addressing:?}", message.name);
        }
    }
}

#[test]
fn what_is_cut_off_is_whole_or_an_error() {
    for message in MESSAGES.iter() {
        let file = message.file();
        // Near both ends every position matters, in between only where it stands to lines and segments.
        let positions = (0..file.len()).filter(|&at| at < 1200 || file.len() - at < 300 || at % 7 == 0);
        for at in positions {
            check(&file[..at], Some(&message.plain), &|| format!("{}: cut off at {at}", message.name));
        }
    }
}

#[test]
fn changed_octets_do_no_harm() {
    for (i, message) in MESSAGES.iter().enumerate() {
        let mut random = Random(0x1234_5678_9ABC_DEF1 + i as u64);
        for round in 0..MUTATIONS / MESSAGES.len() as u32 {
            // In the file, or inside its armour.
            let armoured = random.below(2) == 0;
            let mut bytes = if armoured { message.file() } else { message.octets.clone() };
            for _ in 0..=random.below(3) {
                // Most of what can go wrong is in the first few hundred octets.
                let reach = if random.below(3) == 0 { bytes.len() } else { bytes.len().min(600) };
                let at = random.below(reach);
                match random.below(6) {
                    0 | 1 => bytes[at] ^= 1 << random.below(8),
                    2 => bytes[at] = random.below(256) as u8,
                    3 => bytes[at] = [0x00, 0x80, 0xFF, 0x30, b'\n', b'='][random.below(6)],
                    4 => bytes.insert(at, random.below(256) as u8),
                    _ => drop(bytes.remove(at)),
                }
            }
            let file = if armoured { bytes } else { message.armour.around(&bytes) };
            let must_be = message.is_authenticated.then_some(&message.plain[..]);
            check(&file, must_be, &|| format!("{}: change {round}", message.name));
        }
    }
}

#[test]
fn every_single_bit_of_an_authenticated_message_counts_or_does_not_matter() {
    for message in MESSAGES.iter().filter(|m| m.is_authenticated && matches!(m.armour, Armour::None)) {
        // Every seventh, which meets each bit of an octet.
        for bit in (0..message.octets.len() * 8).step_by(7) {
            let mut file = message.octets.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            check(&file, Some(&message.plain), &|| format!("{}: bit {bit}", message.name));
        }
    }
}

/// Positions of the length octets of all elements, at any depth.
fn length_octets(der: &[u8], base: usize, found: &mut Vec<std::ops::Range<usize>>) {
    for element in elements(der) {
        let start = base + (element.whole.as_ptr() as usize - der.as_ptr() as usize);
        let body = start + (element.whole.len() - element.body.len());
        found.push(start + 1..body);
        if element.tag & 0x20 != 0 {
            length_octets(element.body, body, found);
        }
    }
}

#[test]
fn lying_lengths_do_no_harm() {
    let lies: [&[u8]; 14] = [
        &[0x00],
        &[0x01],
        &[0x7F],
        &[0x80],
        &[0x81, 0x00],
        &[0x82, 0x00, 0x00],
        &[0x82, 0xFF, 0xFF],
        &[0x84, 0x7F, 0xFF, 0xFF, 0xFF],
        &[0x84, 0xFF, 0xFF, 0xFF, 0xFF],
        &[0x88, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        &[0x88, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        &[0x89, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0xFE],
        &[0xFF],
    ];
    for message in MESSAGES.iter().filter(|m| m.is_der) {
        let mut lengths = Vec::new();
        length_octets(&message.octets, 0, &mut lengths);
        let must_be = message.is_authenticated.then_some(&message.plain[..]);
        for range in lengths {
            let tell = |lie: &[u8]| {
                let mut octets = message.octets.clone();
                octets.splice(range.clone(), lie.iter().copied());
                check(&message.armour.around(&octets), must_be, &|| {
                    format!("{}: length at {} is {lie:02X?}", message.name, range.start)
                });
            };
            lies.into_iter().for_each(tell);
            for step in [1, 2, 16, 0xFF, 0xFE] {
                let mut near = message.octets[range.clone()].to_vec();
                let last = near.len() - 1;
                near[last] = near[last].wrapping_add(step);
                tell(&near);
            }
        }
    }
}

#[test]
fn large_and_hostile_takes_no_more_than_its_size() {
    const SIZE: usize = 12 << 20;
    let primitive = MESSAGES.iter().find(|m| m.is_der && !m.is_authenticated).unwrap();
    let [info] = elements(&primitive.octets)[..] else { panic!() };
    let [kind, explicit] = elements(info.body)[..] else { panic!() };
    let [data] = elements(explicit.body)[..] else { panic!() };
    let [version, recipients, content] = elements(data.body)[..] else { panic!() };
    let [data_type, cipher, _] = elements(content.body)[..] else { panic!() };
    let message = |recipients: &[u8], segments: &[u8]| {
        let content = tlv(0x30, &[data_type.whole, cipher.whole, &tlv(0xA0, segments)].concat());
        let data = tlv(0x30, &[version.whole, &tlv(0x31, recipients), &content].concat());
        tlv(0x30, &[kind.whole, &tlv(0xA0, &data)].concat())
    };
    let name = tlv(0x31, &tlv(0x30, &[&tlv(0x06, &[0x55, 4, 3])[..], &tlv(0x0C, &[b'x'; 70])].concat()));
    let [recipient] = elements(recipients.body)[..] else { panic!() };
    let [_, _, transport, _] = elements(recipient.body)[..] else { panic!() };
    let id = tlv(0x30, &[tlv(0x30, &name.repeat(10_000)), tlv(0x02, &[1])].concat());
    let foreign = tlv(0x30, &[version.whole, &id, transport.whole, &tlv(0x04, &[1; 100])].concat());
    let repeated = |bytes: &[u8]| bytes.repeat(SIZE / bytes.len());
    let files = [
        ("recipients", message(&repeated(&[0xA1, 0]), &[])),
        ("recipients for us", message(&repeated(recipients.body), &[])),
        ("names of a recipient", message(&foreign, &tlv(0x04, &[7; 16]))),
        ("identifier", tlv(0x30, &tlv(0x06, &repeated(&[1])))),
        ("empty segments", message(recipients.body, &repeated(&[4, 0]))),
        ("segments of one octet", message(recipients.body, &repeated(&[4, 1, 7]))),
        ("unequal segments", message(recipients.body, &repeated(&[4, 1, 7, 4, 2, 7, 7]))),
        ("nested segments", message(recipients.body, &repeated(&[0x24, 0x80]))),
        ("unequal lines", [&b"MIIC"[..], &repeated(b"AAAA\nBBBBCCCC\n")].concat()),
        ("header lines", repeated(b"Content-Type: text/plain\n")),
        ("blank lines", repeated(b"\n")),
    ];
    for (what, file) in files {
        let (result, took, used) = cost(file, &IDENTITIES);
        let said = result.err().unwrap_or_else(|| panic!("{what}: no error")).to_string();
        assert!(said.len() < 3000, "{what}: {} bytes for the log", said.len());
        assert!(took < 2 * MOST_TIME, "{what}: {took:?}");
        assert!(used < 4 * SIZE as isize, "{what}: {used} bytes");
    }
}

#[test]
fn where_a_certificate_tells_the_recipient_the_others_are_not_tried() {
    let file = std::fs::read(corpus::dir().join("hostile/odd/recipients-2000.der")).unwrap();
    let (result, took, _) = cost(file, &corpus::identities(&["k1+c1.pem"]));
    assert!(result.is_ok());
    assert!(took < Duration::from_millis(200), "{took:?}");
}
