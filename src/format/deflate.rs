//! Raw deflate (RFC 1951) seen from outside: where a block may begin, and blocks taken out of the middle of a stream.
//!
//! Bits are counted from the lowest of each byte (section 3.1.1).

/// Bytes of content that a block may refer back to (section 3.2.5).
pub(crate) const WINDOW: usize = 32 << 10;

/// BFINAL 0, BTYPE 10: a block with codes of its own that is not the last (section 3.2.3).
const DYNAMIC: u64 = 0b100;
/// Code lengths of literals, lengths and distances that can be used (section 3.2.7).
const MAX_LITERALS: usize = 286;
const MAX_DISTANCES: usize = 30;
/// The literal that ends a block.
const END_OF_BLOCK: usize = 256;
/// In which order the code lengths for the code length alphabet are stored.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Bytes at the end of `data` in which no beginning is looked for: a header would not fit.
const LOAD: usize = 16;

/// Returns the first bit from bit `from` on at which a block with codes of its own seems to begin.
///
/// Everything in its header is checked, so that a wrong guess is rare; only decoding up to that bit shows whether it is
/// one.
pub(crate) fn find_block(data: &[u8], from: usize) -> Option<usize> {
    let end = data.len().checked_sub(LOAD)? * 8;
    (from..end).find(|&at| {
        let head = bits_at(data, at);
        // HLIT and HDIST of 30 and 31 do not exist.
        head & 7 == DYNAMIC && head >> 4 & 15 != 15 && head >> 9 & 15 != 15 && begins_block(data, at, head)
    })
}

/// Returns at least 57 bits from bit `at` on.
fn bits_at(data: &[u8], at: usize) -> u64 {
    let bytes = data[at / 8..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    bytes >> (at % 8)
}

/// Checks the codes of a block whose first bits are `head`.
fn begins_block(data: &[u8], at: usize, head: u64) -> bool {
    let literals = (head >> 3 & 31) as usize + 257;
    let distances = (head >> 8 & 31) as usize + 1;
    let count = (head >> 13 & 15) as usize + 4;
    let packed = bits_at(data, at + 17) & ((1 << (3 * count)) - 1);
    if !is_complete_precode(packed) {
        return false;
    }
    let mut lengths = [0u8; 19];
    ORDER.iter().enumerate().for_each(|(i, &symbol)| lengths[symbol] = (packed >> (3 * i) & 7) as u8);
    let mut all = [0u8; MAX_LITERALS + MAX_DISTANCES];
    let all = &mut all[..literals + distances];
    if !read_lengths(data, at + 17 + 3 * count, &precode(&lengths), all) {
        return false;
    }
    let (literals, distances) = all.split_at(literals);
    // There may be a single distance, of one bit, or none.
    let is_trivial = distances.iter().map(|&length| u32::from(length)).sum::<u32>() <= 1;
    literals[END_OF_BLOCK] > 0 && space(literals) == FULL && (space(distances) == FULL || is_trivial)
}

/// A code uses all of its space if the sum of 2^(15 - length) is this.
const FULL: u32 = 1 << 15;

fn space(lengths: &[u8]) -> u32 {
    lengths.iter().filter(|&&length| length > 0).map(|&length| FULL >> length).sum()
}

/// Returns true if code lengths of three bits each make a code that uses all of its space.
fn is_complete_precode(packed: u64) -> bool {
    /// What four of them use, in units of 2^-7; what is not a code by itself counts as 255.
    static OF_FOUR: [u8; 4096] = {
        let mut sums = [0; 4096];
        let mut i = 0;
        while i < 4096 {
            let (mut sum, mut j) = (0, 0);
            while j < 4 {
                let length = i >> (3 * j) & 7;
                sum += if length > 0 { 128 >> length } else { 0 };
                j += 1;
            }
            sums[i] = if sum > 128 { 255 } else { sum as u8 };
            i += 1;
        }
        sums
    };
    (0..5).map(|i| u32::from(OF_FOUR[(packed >> (12 * i) & 0xFFF) as usize])).sum::<u32>() == 128
}

/// Returns symbol and length by the next seven bits, for a complete code (section 3.2.2).
fn precode(lengths: &[u8; 19]) -> [(u8, u8); 128] {
    let mut table = [(0, 0); 128];
    let mut code = 0u8;
    for length in 1..=7 {
        for symbol in (0..19).filter(|&symbol| lengths[symbol] == length) {
            let first = code.reverse_bits() >> 1;
            (first..128).step_by(1 << length).for_each(|i| table[usize::from(i)] = (symbol as u8, length));
            // In units of the longest code.
            code = code.wrapping_add(128 >> length);
        }
    }
    table
}

/// Reads run-length coded code lengths (section 3.2.7); returns false if they are malformed.
fn read_lengths(data: &[u8], mut at: usize, precode: &[(u8, u8); 128], lengths: &mut [u8]) -> bool {
    let mut done = 0;
    while done < lengths.len() {
        if at / 8 + 8 > data.len() {
            return false;
        }
        let bits = bits_at(data, at);
        let (symbol, length) = precode[(bits & 127) as usize];
        let bits = bits >> length;
        let (value, repeat, extra) = match symbol {
            16 if done == 0 => return false,
            16 => (lengths[done - 1], 3 + (bits & 3), 2),
            17 => (0, 3 + (bits & 7), 3),
            18 => (0, 11 + (bits & 127), 7),
            length => (length, 1, 0),
        };
        let Some(run) = lengths.get_mut(done..done + repeat as usize) else { return false };
        run.fill(value);
        done += run.len();
        at += usize::from(length) + extra;
    }
    true
}

/// The highest bits of a byte: those with which a block begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PendingBits {
    /// The byte; its other bits are 0.
    byte: u8,
    /// At most 7.
    count: u8,
}

impl PendingBits {
    pub(crate) fn of(byte: u8, count: u8) -> PendingBits {
        debug_assert!(count < 8);
        PendingBits { byte: byte & !low_bits(8 - count), count }
    }

    pub(crate) fn value(self) -> u8 {
        (u16::from(self.byte) >> (8 - self.count)) as u8
    }

    pub(crate) fn count(self) -> u8 {
        self.count
    }
}

fn low_bits(count: u8) -> u8 {
    ((1u16 << count) - 1) as u8
}

/// Whole blocks from the middle of a stream.
#[derive(Clone, Copy)]
pub(crate) struct Excerpt<'a> {
    /// Content before them, as far as they may refer to it.
    pub(crate) window: &'a [u8],
    /// Their first bits.
    pub(crate) pending: PendingBits,
    /// The bytes that follow.
    pub(crate) data: &'a [u8],
    /// Bits at the end of `data` that are not theirs, at most 7.
    pub(crate) surplus: u8,
}

/// A block without content, with fixed codes: 10 bits (section 3.2.6).
const EMPTY_FIXED: (u128, u32) = (0b010, 10);
/// The same with codes of its own, for the literal 0 and the end of the block: 97 bits. HCLEN is 15. In the code length
/// alphabet 1 has the code 0, 0 and 18 have 10 and 11. The lengths are 1, 138 and 117 times 0, 1; and 0 for distances.
const EMPTY_DYNAMIC: (u128, u32) = {
    let fields: [(u128, u32); 14] = [
        (DYNAMIC as u128, 3),
        (0, 5),
        (0, 5),
        (15, 4),
        (0, 6),
        (2, 3),
        (2, 3),
        (0, 39),
        (1, 3),
        (0, 3),
        // 1; 18 with 138 - 11; 18 with 117 - 11.
        (0b11 << 1 | 127 << 3, 10),
        (0b11 | 106 << 2, 9),
        // 1; 0, its code from the highest bit on.
        (0b01 << 1, 3),
        // The end of the block.
        (1, 1),
    ];
    let (mut bits, mut at, mut i) = (0, 0, 0);
    while i < fields.len() {
        bits |= fields[i].0 << at;
        at += fields[i].1;
        i += 1;
    }
    (bits, at)
};

impl Excerpt<'_> {
    /// Returns blocks without content that end where `pending` begins in its byte, because stored blocks begin on a
    /// byte.
    fn filler(&self) -> (u128, u32) {
        let wanted = (8 - u32::from(self.pending.count)) % 8;
        let (mut bits, mut len) = if wanted % 2 == 1 { EMPTY_DYNAMIC } else { (0, 0) };
        while len % 8 != wanted {
            bits |= EMPTY_FIXED.0 << len;
            len += EMPTY_FIXED.1;
        }
        (bits, len)
    }

    /// Returns the length of what [`Self::write`] writes.
    pub(crate) fn stream_len(&self, tail: &[u8]) -> usize {
        let window = if self.window.is_empty() { 0 } else { STORED + self.window.len() };
        // The first bits of the tail replace the surplus bits of the last byte.
        window + self.filler().1.div_ceil(8) as usize + self.data.len() + tail.len()
    }

    /// Writes a complete stream, whose content is the window, the content of the blocks, and that of `tail`, a stream
    /// without stored blocks.
    pub(crate) fn write(&self, tail: &[u8], out: &mut [u8]) {
        let mut out = out;
        if !self.window.is_empty() {
            let len = self.window.len() as u16;
            put(&mut out, &[0]);
            put(&mut out, &len.to_le_bytes());
            put(&mut out, &(!len).to_le_bytes());
            put(&mut out, self.window);
        }
        let (bits, len) = self.filler();
        let mut filler = bits.to_le_bytes();
        let filler = &mut filler[..len.div_ceil(8) as usize];
        if let Some(last) = filler.last_mut() {
            *last |= self.pending.byte;
        }
        put(&mut out, filler);
        if self.surplus == 0 {
            put(&mut out, self.data);
            return out.copy_from_slice(tail);
        }
        let (last, data) = self.data.split_last().unwrap_or((&0, &[]));
        put(&mut out, data);
        let count = 8 - self.surplus;
        let mut carry = last & low_bits(count);
        for (to, from) in out.iter_mut().zip(tail.iter().chain(&[0])) {
            let word = u16::from(*from) << count;
            *to = carry | word as u8;
            carry = (word >> 8) as u8;
        }
    }
}

/// Bytes of a stored block before its content, beginning with a byte for the header (section 3.2.4).
const STORED: usize = 5;

fn put(out: &mut &mut [u8], bytes: &[u8]) {
    let (head, rest) = std::mem::take(out).split_at_mut(bytes.len());
    head.copy_from_slice(bytes);
    *out = rest;
}

#[cfg(test)]
pub mod tests;
