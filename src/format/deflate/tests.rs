use proptest::prelude::*;
use zlib_rs::{Deflate, DeflateFlush};

use super::*;

/// Words, so that blocks have codes of their own (zlib-rs gives them fixed ones at level 1).
fn text(seed: u32, len: usize) -> Vec<u8> {
    let mut x = seed | 1;
    let mut next = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        x >> 24
    };
    let mut text = Vec::new();
    while text.len() < len {
        text.extend_from_slice(format!("{:x} ", next() * next() / 16).as_bytes());
    }
    text.truncate(len);
    text
}

fn deflate(content: &[u8], level: i32) -> Vec<u8> {
    let mut out = vec![0; content.len() + 1000];
    let mut deflate = Deflate::new(level, false, 15);
    deflate.compress(content, &mut out, DeflateFlush::Finish).unwrap();
    out.truncate(deflate.total_out() as usize);
    out
}

fn inflate(stream: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0; 8 << 20];
    let len = libdeflater::Decompressor::new().deflate_decompress(stream, &mut out).ok()?;
    out.truncate(len);
    Some(out)
}

fn stream_of(blocks: &Blocks<'_>, tail: &[u8]) -> Vec<u8> {
    let mut stream = vec![0xA5; blocks.stream_len(tail)];
    blocks.write(tail, &mut stream);
    stream
}

/// The blocks of `data` from one bit to another.
fn cut<'a>(data: &'a [u8], window: &'a [u8], from: usize, to: usize) -> Blocks<'a> {
    let begin = from.div_ceil(8);
    let held = match begin * 8 - from {
        0 => Held::default(),
        count => Held::of(data[begin - 1], count as u8),
    };
    let data = &data[begin..to.div_ceil(8)];
    Blocks { window, held, data, surplus: ((8 - to % 8) % 8) as u8 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn blocks_that_are_found_can_be_taken_out(seed: u32, len in 300_000usize..900_000, level in 3i32..10) {
        let content = text(seed, len);
        let stream = deflate(&content, level);
        let (mut at, mut from, mut done, mut right, mut wrong) = (0, 1, 0, 0, 0);
        while let Some(next) = find_block(&stream, from) {
            let window = &content[done.max(WINDOW) - WINDOW..done];
            let taken = inflate(&stream_of(&cut(&stream, window, at, next), b"tail"));
            if let Some(taken) = taken.as_ref().and_then(|taken| taken.strip_suffix(b"tail")) {
                let taken = taken.strip_prefix(window).unwrap();
                prop_assert!(content[done..].starts_with(taken));
                (at, done, right) = (next, done + taken.len(), right + 1);
            } else {
                wrong += 1;
            }
            from = next + 1;
        }
        // The last block may be long, and is not looked for.
        prop_assert!(right > wrong && done > len / 2, "{right} right, {wrong} wrong, {done} of {len}");
    }

    #[test]
    fn a_cut_where_no_block_begins_is_noticed(seed: u32, wrong in 100usize..50_000) {
        let content = text(seed, 200_000);
        let stream = deflate(&content, 6);
        let next = find_block(&stream, wrong).unwrap();
        prop_assume!(next != wrong);
        let taken = inflate(&stream_of(&cut(&stream, &[], 0, wrong), b"tail"));
        prop_assert!(taken.is_none_or(|taken| !taken.ends_with(b"tail")));
    }

    #[test]
    fn nothing_is_found_in_noise_and_nothing_panics(noise in proptest::collection::vec(any::<u8>(), 0..3000), from in 0usize..30_000) {
        if let Some(at) = find_block(&noise, from) {
            prop_assert!(at >= from && at < noise.len() * 8);
        }
    }
}

#[test]
fn a_stream_is_written_bit_by_bit() {
    // 1 01 is a last block with fixed codes; 0000000 ends it.
    let fixed = |held, data, surplus| Blocks { window: b"", held, data, surplus };
    for (blocks, expected) in [
        (
            fixed(Held::default(), &[0b0000_0010, 0], 6),
            vec![0b0000_0010, 0b0000_0100, 1, 0, 0xFE, 0xFF, b'x'],
        ),
        (fixed(Held::of(0b0100_0000, 2), &[0], 0), vec![1, 0b0000_0100, 1, 0, 0xFE, 0xFF, b'x']),
    ] {
        assert_eq!(stream_of(&blocks, b"x"), expected);
    }
    let behind = Blocks { window: b"ab", held: Held::default(), data: &[0b0000_0010, 0], surplus: 6 };
    assert_eq!(inflate(&stream_of(&behind, b"x")).unwrap(), b"abx");
}
