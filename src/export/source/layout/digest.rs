//! Tells whether rows are those that were exported: by a hash of each, and the sum of many.
//!
//! A row's hash is of its id, its date and its media type. An id may be used again for another row, which then has
//! another date. If the date is not exact (none, a day, a full minute), the hash also has the row's columns: the length
//! of each, and the value if it is short. The same goes for all columns of an attachment or attribute, whose hash is
//! added to that of its row: so one that is added later, or replaced, is noticed.
//!
//! Marks that stores have kept hold such sums: the bytes that are hashed stay as they are.

use super::instant;
use crate::export::source::row::Value;

/// Of a value of more bytes than this only the length is hashed.
pub const SHORT: usize = 256;

/// The number of rows, in any order, and the sum of the hashes of them and of what belongs to them.
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

/// The bytes of a row that are hashed.
#[derive(Default)]
pub struct Fingerprint(Vec<u8>);

impl Fingerprint {
    /// Begins the fingerprint of a row. If the date is not exact, its columns have to follow.
    pub fn begin_row(&mut self, id: Value<'_>, date: Value<'_>, media_type: Value<'_>) {
        self.0.clear();
        self.0.push(b'r');
        [id, date, media_type].into_iter().for_each(|value| self.append(value));
    }

    /// Begins the fingerprint of an attachment or attribute. Its columns have to follow.
    pub fn begin_child(&mut self) {
        self.0.clear();
        self.0.push(b'c');
    }

    /// Adds a column: its name in lower case, its length in bytes, and its value or, if that is longer than [`SHORT`],
    /// NULL. A NULL, whose length is NULL, adds nothing: a column that is added to the table later changes no hash
    /// until it has values.
    pub fn column(&mut self, name: &str, length: Value<'_>, value: Value<'_>) {
        if length != Value::Null {
            self.append(Value::Text(name.as_bytes()));
            self.append(length);
            self.append(value);
        }
    }

    /// Appends a value so that no two sequences of values give the same bytes.
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
            // Of a wide value only the length is hashed.
            Value::Null | Value::Wide(_) => bytes.push(b'0'),
        }
    }

    fn hash(&self) -> u128 {
        let hash = blake3::hash(&self.0);
        let (head, _) = hash.as_bytes().split_at(16);
        head.iter().rev().fold(0, |sum, &byte| sum << 8 | u128::from(byte))
    }
}

/// Returns true for a date that hardly two rows share: one with seconds, or fractions of them.
pub fn is_exact(date: Value<'_>) -> bool {
    let at = instant::read(date).ok().flatten();
    at.is_some_and(|(at, _)| at.second() != 0 || at.subsec_nanosecond() != 0)
}
