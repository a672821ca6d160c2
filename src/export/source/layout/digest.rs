//! What makes a row another one than that which was exported: a hash of it, and the sum of many.
//!
//! A row's hash is of its id, its date and its media type. An id may be given again to another row: that has another
//! date. Where the date is not exact (none, a day, a full minute), the row's columns are in the hash, too: the length
//! of each, and of short ones the value. So are all those of what belongs to a row, an attachment or an attribute,
//! whose hash is added to that of its row: one that comes later, or is replaced, is seen.
//!
//! Marks that stores have kept hold such sums: the bytes that are hashed stay as they are.

use super::instant;
use crate::export::source::row::Value;

/// Of a value of more bytes only the length counts.
pub const SHORT: usize = 256;

/// Of rows in any order: their number, and the sum of the hashes of them and of what belongs to them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Digest {
    pub(crate) rows: u64,
    pub sum: u128,
}

impl Digest {
    pub(crate) fn plus(self, other: Digest) -> Digest {
        Digest { rows: self.rows.saturating_add(other.rows), sum: self.sum.wrapping_add(other.sum) }
    }

    pub fn add_row(&mut self, row: &Fingerprint) {
        *self = self.plus(Digest { rows: 1, sum: row.hash() });
    }

    pub fn add_child(&mut self, child: &Fingerprint) {
        *self = self.plus(Digest { rows: 0, sum: child.hash() });
    }
}

/// What is hashed of a row.
#[derive(Default)]
pub struct Fingerprint(Vec<u8>);

impl Fingerprint {
    /// Begins that of a row. Where the date is not exact, its columns have to follow.
    pub fn begin_row(&mut self, id: Value<'_>, date: Value<'_>, media_type: Value<'_>) {
        self.0.clear();
        self.0.push(b'r');
        [id, date, media_type].into_iter().for_each(|value| self.append(value));
    }

    /// Begins that of what belongs to a row. Its columns have to follow.
    pub fn begin_child(&mut self) {
        self.0.clear();
        self.0.push(b'c');
    }

    /// Adds a column by its name in lower case, with its length in bytes, and its value if that is [`SHORT`] or else
    /// NULL. A column that is added later, and NULL, changes nothing.
    pub fn column(&mut self, name: &str, length: Value<'_>, value: Value<'_>) {
        if length != Value::Null {
            self.append(Value::Text(name.as_bytes()));
            self.append(length);
            self.append(value);
        }
    }

    /// No two sequences of values give the same bytes.
    fn append(&mut self, value: Value<'_>) {
        let bytes = &mut self.0;
        let mut sized = |tag, text: &[u8]| {
            bytes.push(tag);
            bytes.extend_from_slice(&text.len().to_le_bytes());
            bytes.extend_from_slice(text);
        };
        match value {
            Value::Text(text) => sized(b'3', text),
            Value::Blob(blob) => sized(b'4', blob),
            Value::Integer(number) => {
                bytes.push(b'1');
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            Value::Real(number) => {
                bytes.push(b'2');
                bytes.extend_from_slice(&number.to_bits().to_le_bytes());
            }
            // Of a wide one only the length is given.
            Value::Null | Value::Wide(_) => bytes.push(b'0'),
        }
    }

    fn hash(&self) -> u128 {
        let hash = blake3::hash(&self.0);
        let (head, _) = hash.as_bytes().split_at(16);
        head.iter().rev().fold(0, |sum, &byte| sum << 8 | u128::from(byte))
    }
}

/// Returns true for a date that hardly two rows share: it has seconds, and perhaps their fractions.
pub fn is_exact(date: Value<'_>) -> bool {
    let at = instant::read(date).ok().flatten();
    at.is_some_and(|(at, _)| at.second() != 0 || at.subsec_nanosecond() != 0)
}
