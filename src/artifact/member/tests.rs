use std::io::{Cursor, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use ::zip::CompressionMethod::{self, Bzip2, Stored, Xz, Zstd};

use super::*;
use crate::format::deflate::tests::{deflate, letters};
use crate::io::ReadAt;

/// Fails at one of its reads, counted from 1, and never again: with a panic, or an error of the moment.
struct Faulty {
    bytes: Vec<u8>,
    fails_at: Arc<AtomicUsize>,
    panics: bool,
}

impl ReadAt for Faulty {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let less = |left: usize| left.checked_sub(1);
        if self.fails_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) == Ok(1) {
            assert!(!self.panics, "a fault in the reader below");
            return Err(Error::new(Kind::Cancelled, "cancelled"));
        }
        self.bytes.read_at(buf, offset)
    }
}

/// A zip of one member, by the zip crate; of a deflated one, which it does not write here, the directory is changed.
fn archive(method: Option<CompressionMethod>, content: &[u8]) -> Vec<u8> {
    let Some(method) = method else {
        let mut bytes = archive(Some(Stored), &deflate(content, 6));
        let at = memchr::memmem::rfind(&bytes, &zip::CENTRAL_HEADER).unwrap();
        bytes[at + 10] = 8;
        bytes[at + 16..at + 20].copy_from_slice(&crc32fast::hash(content).to_le_bytes());
        bytes[at + 24..at + 28].copy_from_slice(&(content.len() as u32).to_le_bytes());
        return bytes;
    };
    let mut writer = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = ::zip::write::SimpleFileOptions::default().compression_method(method);
    writer.start_file("m", options).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap().into_inner()
}

fn member(archive: Faulty) -> Reader {
    let at = memchr::memmem::rfind(&archive.bytes, &zip::CENTRAL_HEADER).unwrap();
    let directory = archive.bytes[at..].to_vec();
    let entry = zip::entries(&directory).next().unwrap().unwrap();
    // The first read is that of the local header.
    open(&(Arc::new(archive) as Reader), &entry, 0, &Arc::default()).unwrap()
}

#[test]
fn after_a_panic_or_an_interruption_on_the_way_no_method_gives_a_wrong_byte() {
    let content = letters(1_300_000);
    for method in [None, Some(Stored), Some(Bzip2), Some(Xz), Some(Zstd)] {
        let bytes = archive(method, &content);
        for panics in [true, false] {
            for fails_at in (2..20).chain([30, 45]) {
                let bytes = bytes.clone();
                let fails_at = Arc::new(AtomicUsize::new(fails_at));
                let member = member(Faulty { bytes, fails_at: fails_at.clone(), panics });
                let mut failed = 0;
                // In order and, from the middle on, out of it.
                for at in (0..1_300_000).step_by(100_000).chain([700_000, 200_000, 1_250_000]) {
                    let wanted = &content[at..content.len().min(at + 100_000)];
                    let read = catch_unwind(AssertUnwindSafe(|| member.read_vec(at as u64, 100_000)));
                    match read {
                        Ok(Ok(read)) => assert!(read == wanted, "{method:?}: other bytes at {at}"),
                        Ok(Err(error)) if !panics => {
                            assert_eq!(error.kind(), Kind::Cancelled, "{method:?}: {error}");
                            failed += 1;
                        }
                        _ => failed += 1,
                    }
                }
                assert!(failed <= 1, "{method:?}: {failed} reads failed for one fault");
                fails_at.store(0, Ordering::Relaxed);
                assert!(member.read_vec(0, content.len()).unwrap() == content, "{method:?}");
            }
        }
    }
}

#[test]
fn decoders_yield_their_memory_to_those_at_work_and_no_more_is_taken_than_the_budget() {
    let content = letters(3_000_000);
    let shared = Arc::new(MemberResources { decoders: Decoders::new(1 << 20), ..MemberResources::default() });
    let open = |method| {
        let bytes = archive(method, &content);
        let at = memchr::memmem::rfind(&bytes, &zip::CENTRAL_HEADER).unwrap();
        let directory = bytes[at..].to_vec();
        let entry = zip::entries(&directory).next().unwrap().unwrap();
        open(&(Arc::new(bytes) as Reader), &entry, 0, &shared).unwrap()
    };
    // Each of those that are not deflated would have all of it.
    let members = [None, Some(Xz), Some(Zstd), None, Some(Xz), Some(Bzip2)].map(open);
    for at in (0..content.len()).step_by(600_000) {
        for member in &members {
            assert!(member.read_vec(at as u64, 1000).unwrap() == content[at..at + 1000]);
            assert!(shared.decoders.budget.held() <= 1 << 20);
        }
    }
    drop(members);
    let started = std::time::Instant::now();
    while shared.decoders.budget.held() > 0 {
        assert!(started.elapsed().as_secs() < 20, "threads of members that are closed go on");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
