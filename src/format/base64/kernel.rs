//! Decodes base64 text in full lines of equal length, as in the body of an S/MIME file.
//!
//! Each step turns a vector of characters into their six-bit values by table look-ups within registers, joins four
//! values to 24 bits by two multiply-add instructions, and moves the bytes together by a permutation. Errors are only
//! gathered on the way and reported at the end.
//!
//! Source: W. Muła and D. Lemire, "Faster Base64 Encoding and Decoding using AVX2 Instructions"
//! (2018) and "Base64 encoding and decoding at almost the speed of a memory copy" (2020).

use std::sync::LazyLock;

use base64_simd::{Out, STANDARD_NO_PAD};

/// Describes regular base64 lines: characters per line and the line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LineShape {
    /// Characters per line without the line end, a positive multiple of 4.
    pub(crate) width: usize,
    /// `b"\n"` or `b"\r\n"`.
    pub(crate) eol: &'static [u8],
}

impl LineShape {
    /// Returns the distance in bytes between the starts of two lines.
    fn stride(self) -> usize {
        self.width + self.eol.len()
    }

    /// Returns the number of bytes that one line decodes to.
    fn decoded(self) -> usize {
        self.width / 4 * 3
    }
}

/// Decodes full lines and tells whether every byte of them was good.
///
/// `src` holds n lines of `shape.width` characters of the alphabet, each followed by `shape.eol`,
/// except that the last line end may be missing. Where a byte is bad the content of `dst` is
/// unspecified.
///
/// # Panics
///
/// Panics if `shape` is not as documented or `dst.len()` is not n times `shape.width / 4 * 3`.
pub(crate) fn decode_lines(src: &[u8], shape: LineShape, dst: &mut [u8]) -> bool {
    static FASTEST: LazyLock<Kernel> = LazyLock::new(|| kernels()[0]);
    run(*FASTEST, src, shape, dst)
}

/// Decodes as [`decode_lines`] does, given lengths that fit, and tells whether all bytes were good.
type Kernel = fn(&[u8], LineShape, &mut [u8]) -> bool;

/// Returns the kernels that this machine can run, the fastest first.
fn kernels() -> Vec<Kernel> {
    let mut kernels: Vec<Kernel> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi")
        {
            // SAFETY: the processor has the features that the function is compiled for.
            kernels.push(|src, shape, dst| unsafe { x86::avx512(src, shape, dst) });
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the feature that the function is compiled for.
            kernels.push(|src, shape, dst| unsafe { x86::avx2(src, shape, dst) });
        }
    }
    kernels.extend([portable as Kernel]);
    kernels
}

/// Checks the lengths and runs `kernel`.
fn run(kernel: Kernel, src: &[u8], shape: LineShape, dst: &mut [u8]) -> bool {
    let LineShape { width, eol } = shape;
    let regular = width.is_multiple_of(4) && matches!(eol, b"\n" | b"\r\n");
    let whole = regular && dst.len().is_multiple_of(shape.decoded());
    let full = dst.len() / shape.decoded() * shape.stride();
    let fits = src.len() == full || src.len() + eol.len() == full;
    assert!(whole && fits, "lengths do not fit {shape:?}");
    kernel(src, shape, dst)
}

/// Returns the characters, the line end and the place for the decoded bytes of each line.
#[inline(always)]
fn lines<'a>(
    src: &'a [u8],
    shape: LineShape,
    dst: &'a mut [u8],
) -> impl Iterator<Item = (&'a [u8], &'a [u8], &'a mut [u8])> {
    src.chunks(shape.stride()).zip(dst.chunks_exact_mut(shape.decoded())).map(move |(line, out)| {
        let (text, end) = line.split_at(shape.width);
        (text, end, out)
    })
}

/// Tells whether `end`, a whole line end or nothing at all, is what the shape promises.
#[inline(always)]
fn is_end(end: &[u8], shape: LineShape) -> bool {
    // Comparing the slices would call `memcmp` for every line.
    match (end, shape.eol) {
        ([byte], [lf]) => byte == lf,
        ([first, second], [cr, lf]) => (first == cr) & (second == lf),
        _ => end.is_empty(),
    }
}

/// Decodes line by line with `base64_simd`.
fn portable(src: &[u8], shape: LineShape, dst: &mut [u8]) -> bool {
    lines(src, shape, dst).all(|(text, end, out)| {
        is_end(end, shape) && STANDARD_NO_PAD.decode(text, Out::from_slice(out)).is_ok()
    })
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{ALPHABET, LineShape, is_end, lines, portable};

    /// Maps each ASCII character to its six-bit value, or to `0x80` if not in the alphabet.
    const VALUE: [[u8; 64]; 2] = {
        let mut table = [[0x80; 64]; 2];
        let mut value = 0;
        while value < 64 {
            let char = ALPHABET[value] as usize;
            table[char / 64][char % 64] = value as u8;
            value += 1;
        }
        table
    };

    /// Maps each byte of the output to its place among little-endian 24-bit groups in four bytes
    /// each. The places beyond three quarters of a vector mean nothing.
    const PACK: [u8; 64] = {
        let mut table = [0; 64];
        let mut at = 0;
        while at < 64 {
            table[at] = (at / 3 * 4 + 2 - at % 3) as u8;
            at += 1;
        }
        table
    };

    /// Decodes 64 characters, or what is left of the line, per step.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    pub(crate) fn avx512(src: &[u8], shape: LineShape, dst: &mut [u8]) -> bool {
        // SAFETY: the arrays hold 64, 64 and 64 bytes.
        let [pack, low, high] =
            [&PACK, &VALUE[0], &VALUE[1]].map(|table| unsafe { _mm512_loadu_epi8(table.as_ptr().cast()) });
        let (mut bad, mut ends) = (_mm512_setzero_si512(), true);
        for (text, end, out) in lines(src, shape, dst) {
            ends &= is_end(end, shape);
            for (text, out) in text.chunks(64).zip(out.chunks_mut(48)) {
                // SAFETY: the mask has `text.len()` bits, 1 to 64, and selects as many bytes.
                let chars = unsafe {
                    let mask = u64::MAX >> (64 - text.len());
                    _mm512_mask_loadu_epi8(_mm512_set1_epi8(b'A' as i8), mask, text.as_ptr().cast())
                };
                let values = _mm512_permutex2var_epi8(low, chars, high);
                // The look-up ignores the top bit of a character: `bad` gathers both top bits.
                bad = _mm512_ternarylogic_epi32::<0xfe>(bad, chars, values);
                let pairs = _mm512_maddubs_epi16(values, _mm512_set1_epi32(0x0140_0140));
                let groups = _mm512_madd_epi16(pairs, _mm512_set1_epi32(0x0001_1000));
                let bytes = _mm512_permutexvar_epi8(pack, groups);
                // SAFETY: the mask has `out.len()` bits, 1 to 48, and selects as many bytes.
                unsafe {
                    let mask = u64::MAX >> (64 - out.len());
                    _mm512_mask_storeu_epi8(out.as_mut_ptr().cast(), mask, bytes);
                }
            }
        }
        ends && _mm512_movepi8_mask(bad) == 0
    }

    /// Maps each high nibble to a bit of its own if the alphabet has it, otherwise to the top bit.
    const ROW: [u8; 16] = *b"\x80\x80\x01\x02\x04\x08\x10\x20\x80\x80\x80\x80\x80\x80\x80\x80";

    /// Maps each low nibble to the bits of the rows in which it is not in the alphabet.
    const GAPS: [u8; 16] = *b"\x95\x81\x81\x81\x81\x81\x81\x81\x81\x81\x83\xaa\xab\xab\xab\xaa";

    /// Maps each high nibble to what takes a character to its value, added modulo 256. `/`, which
    /// shares the nibble of `+`, uses the entry before.
    const SHIFT: [u8; 16] = [0, 16, 19, 4, 191, 191, 185, 185, 0, 0, 0, 0, 0, 0, 0, 0];

    /// Decodes 32 characters per step; the last step of a line overlaps the one before.
    #[target_feature(enable = "avx2")]
    pub(crate) fn avx2(src: &[u8], shape: LineShape, dst: &mut [u8]) -> bool {
        if shape.width < 32 {
            return portable(src, shape, dst);
        }
        let (mut bad, mut ends) = (_mm256_setzero_si256(), true);
        for (text, end, out) in lines(src, shape, dst) {
            ends &= is_end(end, shape);
            let (steps, rest) = text.as_chunks();
            for (text, out) in steps.iter().zip(out.as_chunks_mut().0) {
                bad = _mm256_or_si256(bad, step(text, out));
            }
            let last = (text.last_chunk(), out.last_chunk_mut(), rest.is_empty());
            if let (Some(text), Some(out), false) = last {
                bad = _mm256_or_si256(bad, step(text, out));
            }
        }
        ends && _mm256_testz_si256(bad, bad) == 1
    }

    /// Decodes 32 characters and returns zero if all are in the alphabet.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn step(text: &[u8; 32], out: &mut [u8; 24]) -> __m256i {
        // SAFETY: the array holds 32 bytes.
        let chars = unsafe { _mm256_loadu_si256(text.as_ptr().cast()) };
        let nibble = _mm256_set1_epi8(0x0f);
        let low = _mm256_and_si256(chars, nibble);
        let high = _mm256_and_si256(_mm256_srli_epi32::<4>(chars), nibble);
        let rows = _mm256_shuffle_epi8(twice(&ROW), high);
        let gaps = _mm256_shuffle_epi8(twice(&GAPS), low);
        let slash = _mm256_cmpeq_epi8(chars, _mm256_set1_epi8(b'/' as i8));
        let shift = _mm256_shuffle_epi8(twice(&SHIFT), _mm256_add_epi8(high, slash));
        let values = _mm256_add_epi8(chars, shift);
        let pairs = _mm256_maddubs_epi16(values, _mm256_set1_epi32(0x0140_0140));
        let groups = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x0001_1000));
        // Packs 12 bytes within each half, then joins the halves.
        let halves = _mm256_shuffle_epi8(groups, twice(const { PACK.first_chunk().unwrap() }));
        let join = _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7);
        let bytes = _mm256_permutevar8x32_epi32(halves, join);
        let tail = _mm256_extracti128_si256::<1>(bytes);
        // SAFETY: the stores write the first 16 and the last 8 bytes of 24.
        unsafe {
            _mm_storeu_si128(out.as_mut_ptr().cast(), _mm256_castsi256_si128(bytes));
            _mm_storel_epi64(out.as_mut_ptr().add(16).cast(), tail);
        }
        _mm256_and_si256(rows, gaps)
    }

    /// Returns a table for look-ups in both halves of a vector.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn twice(table: &[u8; 16]) -> __m256i {
        // SAFETY: the array holds 16 bytes.
        _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(table.as_ptr().cast()) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EOLS: [&[u8]; 2] = [b"\n", b"\r\n"];

    /// Returns lines of characters that `seed` selects.
    fn sample(shape: LineShape, lines: usize, mut seed: u64) -> Vec<u8> {
        let mut src = Vec::new();
        for _ in 0..lines {
            src.extend((0..shape.width).map(|_| {
                seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                ALPHABET[(seed >> 58) as usize]
            }));
            src.extend_from_slice(shape.eol);
        }
        src
    }

    fn naive(src: &[u8], shape: LineShape) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        for content in src.chunks(shape.stride()) {
            for (column, &byte) in content.iter().enumerate() {
                let in_text = column < shape.width;
                if in_text && (byte.is_ascii_alphanumeric() || b"+/".contains(&byte)) {
                    text.push(byte);
                } else if in_text || byte != shape.eol[column - shape.width] {
                    return None;
                }
            }
        }
        Some(base64_simd::STANDARD.decode_to_vec(text).unwrap())
    }

    /// Compares all kernels with `naive`, with and without the last line end, and checks that they
    /// write nothing around `dst`.
    fn check(src: &[u8], shape: LineShape) {
        let len = src.len() / shape.stride() * shape.decoded();
        for src in [src, src.strip_suffix(shape.eol).unwrap_or(src)] {
            let expected = naive(src, shape);
            for kernel in kernels() {
                let mut buffer = vec![0x5a; 64 + len + 64];
                let good = run(kernel, src, shape, &mut buffer[64..][..len]);
                assert_eq!(good.then(|| buffer[64..][..len].to_vec()), expected);
                assert_eq!([&buffer[..64], &buffer[64 + len..]], [&[0x5a; 64]; 2]);
            }
            let mut dst = vec![0; len];
            assert_eq!(decode_lines(src, shape, &mut dst).then_some(dst), expected);
        }
    }

    #[test]
    fn agrees_with_naive_decoder() {
        for width in [4, 8, 28, 32, 60, 64, 72, 76, 128, 1000, 4096] {
            for (eol, lines) in EOLS.into_iter().flat_map(|eol| (0..=5).map(move |n| (eol, n))) {
                let shape = LineShape { width, eol };
                check(&sample(shape, lines, width as u64), shape);
            }
        }
    }

    #[test]
    fn notices_each_bad_byte() {
        for (width, eol) in [(28, EOLS[0]), (64, EOLS[0]), (76, EOLS[1]), (100, EOLS[0])] {
            let shape = LineShape { width, eol };
            let src = sample(shape, 3, 7);
            for (at, byte) in (0..src.len()).flat_map(|at| (0..=u8::MAX).map(move |b| (at, b))) {
                let mut src = src.clone();
                src[at] = byte;
                check(&src, shape);
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_on_any_shape(
            (quads, eol) in (1..100_usize, prop::sample::select(&EOLS)),
            (lines, seed) in (1..20_usize, any::<u64>()),
            changes in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 0..3),
        ) {
            let shape = LineShape { width: quads * 4, eol };
            let mut src = sample(shape, lines, seed);
            for (at, byte) in changes {
                *at.get_mut(&mut src) = byte;
            }
            check(&src, shape);
        }
    }
}
