use proptest::prelude::*;
use zlib_rs::{Deflate, DeflateFlush};

use super::*;

/// Numbers of 32 bits, of which the highest are the most random.
fn numbers(seed: u32) -> impl Iterator<Item = u32> {
    let next = |x: &u32| Some(x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    std::iter::successors(Some(seed | 1), next).skip(1)
}

/// Letters, each as likely as the others.
pub(crate) fn letters(len: usize) -> Vec<u8> {
    numbers(1).map(|x| b'a' + (x >> 28) as u8).take(len).collect()
}

/// Words, so that blocks have codes of their own (zlib-rs gives them fixed ones at level 1).
pub(crate) fn text(seed: u32, len: usize) -> Vec<u8> {
    let mut numbers = numbers(seed).map(|x| x >> 24);
    let mut text = Vec::new();
    while let (true, Some(a), Some(b)) = (text.len() < len, numbers.next(), numbers.next()) {
        text.extend_from_slice(format!("{:x} ", a * b / 16).as_bytes());
    }
    text.truncate(len);
    text
}

fn noise(seed: u32, bytes: &mut [u8]) {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).finalize_xof().fill(bytes);
}

/// Compresses as any writer does.
pub(crate) fn deflate(content: &[u8], level: i32) -> Vec<u8> {
    let mut out = vec![0; content.len() + content.len() / 100 + 1000];
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

/// Makes a stream of blocks, and behind them the content "tail".
fn stream_of(blocks: &Excerpt<'_>) -> Vec<u8> {
    let tail = deflate(b"tail", 6);
    let mut stream = vec![0xA5; blocks.stream_len(&tail)];
    blocks.write(&tail, &mut stream);
    stream
}

/// The blocks of `data` from one bit to another.
fn cut<'a>(data: &'a [u8], window: &'a [u8], from: usize, to: usize) -> Excerpt<'a> {
    let begin = from.div_ceil(8);
    let pending = match begin * 8 - from {
        0 => PendingBits::default(),
        count => PendingBits::of(data[begin - 1], count as u8),
    };
    let data = &data[begin..to.div_ceil(8)];
    Excerpt { window, pending, data, surplus: ((8 - to % 8) % 8) as u8 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn blocks_that_are_found_can_be_taken_out(seed: u32, len in 300_000usize..900_000, level in 3i32..10, noisy: bool) {
        let mut content = text(seed, len);
        if noisy {
            // It is stored, in blocks that begin on a byte.
            content.chunks_exact_mut(70_000).for_each(|piece| noise(seed, &mut piece[..len % 40_000]));
        }
        let stream = deflate(&content, level);
        let (mut at, mut from, mut done, mut right, mut wrong) = (0, 1, 0, 0, 0);
        while let Some(next) = find_block(&stream, from) {
            let window = &content[done.max(WINDOW) - WINDOW..done];
            let taken = inflate(&stream_of(&cut(&stream, window, at, next)));
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
        let taken = inflate(&stream_of(&cut(&stream, &[], 0, wrong)));
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
fn blocks_stay_where_they_are_in_their_bytes() {
    // Wherever the first of them begins: an empty one with fixed codes, in some bits of two bytes; then a stored one.
    for at in 0..8u8 {
        let bits = 0b010u16 << at;
        let mut data = bits.to_le_bytes().to_vec();
        let header = usize::from(at + EMPTY_FIXED.1 as u8);
        data.resize((header + 3).div_ceil(8), 0);
        data.extend_from_slice(&[3, 0, !3, 0xFF, b'a', b'b', b'c']);
        let blocks = cut(&data, b"window", at.into(), 8 * data.len());
        assert_eq!(inflate(&stream_of(&blocks)).unwrap(), b"windowabctail", "{at}");
    }
}

#[test]
fn a_cut_can_be_at_any_bit() {
    // A stored block, and some empty ones with fixed codes.
    let mut data = vec![0, 3, 0, !3, 0xFF, b'a', b'b', b'c'];
    data.extend_from_slice(&(0..4).fold(0u64, |bits, i| bits | 0b010 << (10 * i)).to_le_bytes()[..5]);
    for to in [64, 74, 84, 94, 104] {
        assert_eq!(inflate(&stream_of(&cut(&data, b"", 0, to))).unwrap(), b"abctail", "{to}");
    }
}
