//! Comparing two stored files.

use crate::error::Result;
use crate::io::{FileReader, ReadAt, with_scratch};

/// Bytes that are compared at a time.
const STEP: usize = 128 << 10;
/// Files that differ mostly do so in one of these pieces, which are looked at first.
const SAMPLES: u64 = 16;

/// Returns true if two files have the same bytes. What is a hole in both of them is not read.
pub(crate) fn same_content(a: &FileReader, b: &FileReader) -> Result<bool> {
    let len = a.len();
    if len != b.len() {
        return Ok(false);
    }
    if a.is_same_file(b)? {
        return Ok(true);
    }
    let last = len.saturating_sub(STEP as u64);
    // The last first: two exports under one name have other keys and other ends.
    for sample in (0..=SAMPLES).rev() {
        if same_piece(a, b, last / SAMPLES * sample)?.is_none() {
            return Ok(false);
        }
    }
    let mut at = 0;
    while at < len {
        at = a.next_data(at)?.min(b.next_data(at)?);
        match same_piece(a, b, at)? {
            Some(n) => at += n,
            None => return Ok(false),
        }
    }
    Ok(true)
}

/// Returns how many bytes were compared at a position, `None` if they differ.
fn same_piece(a: &FileReader, b: &FileReader, at: u64) -> Result<Option<u64>> {
    with_scratch(STEP, |left| {
        with_scratch(STEP, |right| {
            let n = a.read_at(left, at)?;
            b.read_exact_at(&mut right[..n], at)?;
            Ok((left[..n] == right[..n]).then_some(n as u64))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::io::{Cancel, version_of};
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    /// Makes a sparse file of that length with some bytes at positions.
    fn sparse(path: PathBuf, len: u64, bytes: &[(u64, &[u8])]) -> PathBuf {
        let file = File::create(&path).unwrap();
        file.set_len(len).unwrap();
        bytes.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());
        path
    }

    fn open(path: &Path) -> FileReader {
        FileReader::open(path).unwrap()
    }

    const HUGE: u64 = 1 << 42;

    #[test]
    fn holes_in_both_files_cost_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[(u64, &[u8])]| sparse(dir.path().join(name), HUGE, bytes);
        let begun = Instant::now();
        let (a, b) = (file("a", &[(HUGE / 3, b"x")]), file("b", &[(HUGE / 3, b"x")]));
        assert!(same_content(&open(&a), &open(&b)).unwrap());
        let c = file("c", &[(HUGE / 3, b"x"), (HUGE / 3 * 2 + 12345, b"y")]);
        assert!(!same_content(&open(&a), &open(&c)).unwrap());
        // Zeros that are written are the same as a hole.
        let d = file("d", &[(HUGE / 3, b"x"), (HUGE / 7, &[0; 70000])]);
        assert!(same_content(&open(&a), &open(&d)).unwrap());
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }

    #[test]
    fn files_that_differ_here_and_there_are_told_apart_by_a_few_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let len = 64 << 20;
        let write = |name: &str, byte: u8| {
            let path = dir.path().join(name);
            std::fs::write(&path, vec![byte; len]).unwrap();
            path
        };
        let (a, b) = (write("a", 1), write("b", 2));
        let begun = Instant::now();
        for _ in 0..1000 {
            assert!(!same_content(&open(&a), &open(&b)).unwrap());
        }
        // All of them would be 64 GiB.
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        let c = write("c", 1);
        File::options().write(true).open(&c).unwrap().write_all_at(b"z", len as u64 / 3).unwrap();
        assert!(!same_content(&open(&a), &open(&c)).unwrap(), "one byte anywhere is found");
    }

    #[test]
    fn a_comparison_ends_when_the_flag_is_raised() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (sparse(dir.path().join("a"), 1 << 20, &[]), sparse(dir.path().join("b"), 1 << 20, &[]));
        let stop = Cancel::new();
        let open =
            |path: &PathBuf| FileReader::open_version(path, &version_of(path).unwrap(), &stop).unwrap();
        let readers = [&a, &b].map(open);
        stop.cancel();
        assert_eq!(same_content(&readers[0], &readers[1]).unwrap_err().kind(), Kind::Cancelled);
    }
}
