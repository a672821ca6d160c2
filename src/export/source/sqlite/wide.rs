//! Values that are read in pieces (`sqlite3_blob_open`), so that memory grows neither with the widest value nor with
//! the number of wide values in a row.

use std::cell::{RefCell, RefMut};

use rusqlite::Connection;

use super::open::{SqliteResult, WIDE, value};
use super::plan::quoted;
use crate::error::{Error, Result};
use crate::export::source::row::{Pieces, Value};

/// Bytes of a piece: a multiple of 3 for base64, and of 2 for UTF-16.
const PIECE: usize = 192 << 10;

/// The encoding of a database's texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Utf8,
    Utf16(ByteOrder),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByteOrder {
    Little,
    Big,
}

impl Encoding {
    pub(crate) fn of(connection: &Connection) -> Result<Encoding> {
        let name: String = connection.pragma_query_value(None, "encoding", |row| row.get(0)).sqlite()?;
        Ok(match name.as_str() {
            "UTF-16le" => Encoding::Utf16(ByteOrder::Little),
            "UTF-16be" => Encoding::Utf16(ByteOrder::Big),
            _ => Encoding::Utf8,
        })
    }
}

/// Columns that are read at once of a row whose values are too wide together.
const GROUP: usize = 32;

/// A row whose values are not all read at once.
pub(crate) struct WideRow<'c> {
    pub(crate) connection: &'c Connection,
    pub(crate) table: &'c str,
    pub(crate) columns: &'c [String],
    pub(crate) encoding: Encoding,
    /// Name and value of the rowid.
    pub(crate) rowid: (&'static str, i64),
    held: RefCell<HeldGroup>,
}

/// Values of one group of columns, each of no more than [`WIDE`] bytes.
#[derive(Default)]
struct HeldGroup {
    group: Option<usize>,
    values: Vec<Option<Vec<u8>>>,
}

/// A text or a blob of a wide row.
pub(crate) struct WideCell<'c> {
    pub(crate) row: &'c WideRow<'c>,
    /// Index of the column.
    pub(crate) column: usize,
    pub(crate) is_text: bool,
    /// Length in the database's encoding.
    pub(crate) bytes: u64,
}

impl<'c> WideRow<'c> {
    pub(crate) fn new(
        connection: &'c Connection,
        table: &'c str,
        columns: &'c [String],
        encoding: Encoding,
        rowid: (&'static str, i64),
    ) -> WideRow<'c> {
        WideRow { connection, table, columns, encoding, rowid, held: RefCell::default() }
    }

    /// Reads the group of columns that a column is in. To get at a value SQLite passes through all values before it in
    /// the row: reading many of them one by one would take time in proportion to the square of their number.
    fn hold(&self, column: usize) -> Result<RefMut<'_, HeldGroup>> {
        let mut held = self.held.borrow_mut();
        let group = column / GROUP;
        if held.group != Some(group) {
            held.values.clear();
            let short = |name: &String| {
                let name = quoted(name);
                format!("CASE WHEN octet_length({name}) <= {WIDE} THEN {name} END")
            };
            let columns: Vec<String> =
                self.columns.iter().skip(group * GROUP).take(GROUP).map(short).collect();
            let (name, rowid) = self.rowid;
            let sql = format!("SELECT {} FROM {} WHERE {name} = ?1", columns.join(", "), quoted(self.table));
            let mut statement = self.connection.prepare(&sql).sqlite()?;
            let mut rows = statement.query([rowid]).sqlite()?;
            if let Some(row) = rows.next().sqlite()? {
                for i in 0..columns.len() {
                    held.values.push(match value(row.get_ref(i).sqlite()?) {
                        Value::Text(bytes) | Value::Blob(bytes) => Some(bytes.to_vec()),
                        _ => None,
                    });
                }
            }
            held.group = Some(group);
        }
        Ok(held)
    }
}

impl WideCell<'_> {
    fn each_of_blob(&self, piece: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let WideRow { connection, table, columns, encoding, rowid, .. } = self.row;
        let blob =
            connection.blob_open("main", *table, columns[self.column].as_str(), rowid.1, true).sqlite()?;
        let order = match encoding {
            Encoding::Utf16(order) if self.is_text => Some(*order),
            _ => None,
        };
        let mut buffer = vec![0; PIECE.min(blob.len())];
        let mut text = Utf16::default();
        let mut at = 0;
        while at < blob.len() {
            let len = PIECE.min(blob.len() - at);
            blob.read_at_exact(&mut buffer[..len], at).sqlite()?;
            at += len;
            match order {
                None => piece(&buffer[..len])?,
                Some(order) => piece(text.decode(&buffer[..len], order).as_bytes())?,
            }
        }
        if text.high.is_some() { piece("\u{fffd}".as_bytes()) } else { Ok(()) }
    }
}

impl Pieces for WideCell<'_> {
    fn each(&self, piece: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if self.bytes > WIDE as u64 {
            return self.each_of_blob(piece);
        }
        let held = self.row.hold(self.column)?;
        let found = held.values.get(self.column % GROUP).and_then(Option::as_deref);
        piece(found.ok_or_else(|| Error::damaged("a row has other values than it had"))?)
    }
}

/// Decodes UTF-16 piece by piece; what is not a character becomes U+FFFD.
#[derive(Default)]
struct Utf16 {
    /// The first half of a surrogate pair at the end of the last piece.
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
