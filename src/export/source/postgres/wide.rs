//! The columns of a file as they are asked for, so that a row takes a bounded amount of memory; and values that are read in
//! pieces, over a second connection with the same snapshot.
//!
//! Beside its values a row has a note, which is NULL but for a row with a value that is too wide to be held:
//!
//! ```text
//! 16391;(12,3);,524288,       tableoid, ctid, and the lengths of all values that have no bound
//! ```

use std::cell::RefCell;

use tokio_postgres::Row;

use super::form::{Form, Raw};
use super::open::{Said, open_same};
use super::schema::{Table, get, quoted};
use crate::error::{At, Error, Kind, Result};
use crate::export::source::row::Pieces;
use crate::io::Cancel;
use crate::postgresql::{Client, Url};

/// A value of more bytes is not held as a whole.
const WIDE: usize = 256 << 10;
/// What the values of a row take at most that are held at once.
const AT_ONCE: usize = 16 << 20;
/// Divided by 3 for base64.
const PIECE: usize = 192 << 10;

/// The columns of a file.
pub(crate) struct Fields {
    /// The table's name, and as SQL.
    table: String,
    sql: String,
    has_places: bool,
    pub(crate) fields: Vec<Field>,
    /// A value of more bytes is too wide.
    most: usize,
}

pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) form: Form,
    /// Which column of the table it is.
    place: usize,
    is_unbounded: bool,
}

impl Fields {
    /// `order` has the names of the columns as they are exported.
    pub(crate) fn new(table: &Table, order: &[&str]) -> Fields {
        let field = |name: &&str| {
            let place = table.columns.iter().position(|column| column.name == **name)?;
            let column = table.columns.get(place)?;
            let (name, is_unbounded) = (column.name.clone(), column.is_unbounded);
            Some(Field { name, form: column.form, place, is_unbounded })
        };
        let fields: Vec<Field> = order.iter().filter_map(field).collect();
        let unbounded = fields.iter().filter(|field| field.is_unbounded).count();
        let most = if table.has_places { WIDE.min(AT_ONCE / unbounded.max(1)) } else { AT_ONCE };
        let (sql, has_places) = (table.sql.clone(), table.has_places);
        Fields { table: table.name.clone(), sql, has_places, fields, most }
    }

    /// Returns the statement that asks for the fields of rows, which are given as a statement, and for the note.
    pub(crate) fn select(&self, rows: &str) -> String {
        let most = self.most;
        let field = |field: &Field| {
            let asked = field.asked();
            match field.is_unbounded {
                true => format!("CASE WHEN octet_length({asked}) <= {most} THEN {asked} END"),
                false => asked,
            }
        };
        let fields: Vec<String> = self.fields.iter().map(field).collect();
        format!("SELECT {}, {} FROM ({rows}) AS s", fields.join(", "), self.note())
    }

    fn note(&self) -> String {
        let length = |field: &Field| format!("octet_length({})", field.asked());
        let lengths: Vec<String> = self.unbounded().map(length).collect();
        if lengths.is_empty() {
            return "NULL::text".to_owned();
        }
        let (place, condition) = match self.has_places {
            true => (
                "s.of::text || ';' || s.at::text",
                format!("GREATEST({}) > {}", lengths.join(", "), self.most),
            ),
            // Such a row is refused.
            false => {
                let sum: Vec<String> =
                    lengths.iter().map(|length| format!("coalesce({length}, 0)::int8")).collect();
                ("';'", format!("{} > {AT_ONCE}", sum.join(" + ")))
            }
        };
        let lengths = format!("array_to_string(ARRAY[{}], ',', '')", lengths.join(", "));
        format!("CASE WHEN {condition} THEN {place} || ';' || {lengths} END")
    }

    fn unbounded(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| field.is_unbounded)
    }

    /// Returns the values of a row that are too wide: the numbers of their fields, and how they are read.
    pub(crate) fn wide<'r>(&'r self, row: &'r Row, helper: &'r Helper) -> Result<Vec<(usize, Cell<'r>)>> {
        let Some(note) = Raw::of(row, self.fields.len())?.0 else { return Ok(Vec::new()) };
        let note = std::str::from_utf8(note).map_err(|_| unreadable())?;
        let (place, lengths) = note.rsplit_once(';').ok_or_else(unreadable)?;
        let (of, at) = place.split_once(';').ok_or_else(unreadable)?;
        if !self.has_places {
            let text = format!(
                "{} has a row of more than {} MiB, which PostgreSQL gives in pieces only from a table",
                self.table,
                AT_ONCE >> 20
            );
            return Err(Error::new(Kind::Unsupported, text));
        }
        let fields = self.fields.iter().enumerate().filter(|(_, field)| field.is_unbounded);
        let mut cells = Vec::new();
        for ((index, field), length) in fields.zip(lengths.split(',')) {
            let bytes = length.parse().unwrap_or(0);
            if bytes > self.most as u64 {
                cells.push((index, Cell { table: &self.sql, field, of, at, bytes, helper }));
            }
        }
        Ok(cells)
    }
}

impl Field {
    fn asked(&self) -> String {
        self.form.asked(&format!("s.c{}", self.place))
    }

    pub(crate) fn is_text(&self) -> bool {
        self.form != Form::Bytes
    }
}

fn unreadable() -> Error {
    Error::damaged("the server gives a row another form than asked for")
}

/// What a snapshot is seen again by.
pub(crate) struct Opener {
    pub(crate) url: Url,
    pub(crate) id: String,
}

/// The second connection, which is there once a value has been too wide.
pub(crate) struct Helper {
    opener: Opener,
    cancel: Cancel,
    client: RefCell<Option<Client>>,
}

impl Helper {
    pub(crate) fn new(opener: Opener, cancel: &Cancel) -> Helper {
        Helper { opener, cancel: cancel.clone(), client: RefCell::new(None) }
    }

    pub(crate) fn url(&self) -> &Url {
        &self.opener.url
    }
}

/// A text or a blob that is read in pieces.
pub(crate) struct Cell<'r> {
    table: &'r str,
    pub(crate) field: &'r Field,
    of: &'r str,
    at: &'r str,
    bytes: u64,
    helper: &'r Helper,
}

impl Cell<'_> {
    /// The value is made whole once, by the server, and cut there.
    fn statement(&self) -> String {
        format!(
            "SELECT i, substring(b FROM i * {PIECE} + 1 FOR {PIECE}) FROM
               (SELECT {} AS b FROM {} AS p WHERE tableoid = $1::text::oid AND ctid = $2::text::tid OFFSET 0) AS s,
               LATERAL generate_series(0, (octet_length(b) - 1) / {PIECE}) AS i",
            self.field.form.bytes(&format!("p.{}", quoted(&self.field.name))),
            self.table
        )
    }

    fn each_piece(&self, piece: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let Helper { opener, cancel, client } = self.helper;
        let mut client = client.borrow_mut();
        let client = match &mut *client {
            Some(client) => client,
            none => none.insert(open_same(&opener.url, &opener.id, cancel)?),
        };
        let rows = client.rows(&self.statement(), &[&self.of, &self.at]).said().at(&opener.url)?;
        let (mut number, mut bytes) = (0, 0);
        for row in rows {
            let row = row.said().at(&opener.url)?;
            let taken = Raw::of(&row, 1)?.0.unwrap_or_default();
            if get::<i32>(&row, 0)? != number {
                return Err(unreadable());
            }
            piece(taken)?;
            number += 1;
            bytes += taken.len() as u64;
        }
        if bytes == self.bytes { Ok(()) } else { Err(Error::damaged("a row has other values than it had")) }
    }
}

impl Pieces for Cell<'_> {
    fn each(&self, piece: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.each_piece(piece)
    }
}
