//! Values that are read in pieces (`sqlite3_blob_open`), so that memory does not grow with the widest.

use rusqlite::Connection;
use rusqlite::blob::Blob;

use super::open::Sqlite;
use super::row::Pieces;
use crate::error::Result;

/// Divided by 3 for base64, and by 2 for UTF-16.
const PIECE: usize = 192 << 10;

/// How a database has its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Utf8,
    Utf16(ByteOrder),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    Little,
    Big,
}

impl Encoding {
    pub fn of(connection: &Connection) -> Result<Encoding> {
        let name: String = connection.pragma_query_value(None, "encoding", |row| row.get(0)).sqlite()?;
        Ok(match name.as_str() {
            "UTF-16le" => Encoding::Utf16(ByteOrder::Little),
            "UTF-16be" => Encoding::Utf16(ByteOrder::Big),
            _ => Encoding::Utf8,
        })
    }
}

/// A text or a blob that stands in a row.
pub struct Cell<'c> {
    blob: Blob<'c>,
    /// The order of the bytes of a UTF-16 text.
    utf16: Option<ByteOrder>,
}

impl<'c> Cell<'c> {
    pub fn open(
        connection: &'c Connection,
        table: &str,
        column: &str,
        rowid: i64,
        utf16: Option<ByteOrder>,
    ) -> Result<Cell<'c>> {
        Ok(Cell { blob: connection.blob_open("main", table, column, rowid, true).sqlite()?, utf16 })
    }
}

impl Pieces for Cell<'_> {
    fn each(&self, piece: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut buffer = vec![0; PIECE.min(self.blob.len())];
        let mut text = Utf16::default();
        let mut at = 0;
        while at < self.blob.len() {
            let len = PIECE.min(self.blob.len() - at);
            self.blob.read_at_exact(&mut buffer[..len], at).sqlite()?;
            at += len;
            match self.utf16 {
                None => piece(&buffer[..len])?,
                Some(order) => piece(text.decode(&buffer[..len], order).as_bytes())?,
            }
        }
        if text.high.is_some() { piece("\u{fffd}".as_bytes()) } else { Ok(()) }
    }
}

/// UTF-16 as it comes; what is no character becomes U+FFFD.
#[derive(Default)]
struct Utf16 {
    /// The first half of a pair, whose second half comes next.
    high: Option<u16>,
    out: String,
}

impl Utf16 {
    fn decode(&mut self, bytes: &[u8], order: ByteOrder) -> &str {
        self.out.clear();
        let unit = |pair: &[u8]| match (pair, order) {
            (&[a, b], ByteOrder::Little) => u16::from_le_bytes([a, b]),
            (&[a, b], ByteOrder::Big) => u16::from_be_bytes([a, b]),
            _ => 0xFFFD,
        };
        let mut units = self.high.take().into_iter().chain(bytes.chunks(2).map(unit)).peekable();
        while let Some(first) = units.next() {
            let is_high = (0xD800..0xDC00).contains(&first);
            match units.peek() {
                None if is_high => self.high = Some(first),
                Some(low) if is_high && (0xDC00..0xE000).contains(low) => {
                    let low = u32::from(*low);
                    units.next();
                    let code = 0x1_0000 + ((u32::from(first) - 0xD800) << 10) + (low - 0xDC00);
                    self.out.push(char::from_u32(code).unwrap_or('\u{fffd}'));
                }
                _ => self.out.push(char::from_u32(first.into()).unwrap_or('\u{fffd}')),
            }
        }
        &self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf_16_is_decoded_wherever_it_is_cut() {
        let text = "a😀ü\u{2028}日本😀";
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let bytes = |unit: u16| match order {
                ByteOrder::Little => unit.to_le_bytes(),
                ByteOrder::Big => unit.to_be_bytes(),
            };
            let bytes: Vec<u8> = text.encode_utf16().chain([0xD83D]).flat_map(bytes).collect();
            for cut in (0..=bytes.len()).step_by(2) {
                let mut utf16 = Utf16::default();
                let mut decoded = utf16.decode(&bytes[..cut], order).to_owned();
                decoded.push_str(utf16.decode(&bytes[cut..], order));
                assert_eq!((decoded.as_str(), utf16.high), (text, Some(0xD83D)), "{cut}");
            }
        }
    }
}
