//! Reading what was planned: rows in their order, whole ones quickly, wide ones in pieces.

use std::path::{Path, PathBuf};

use rusqlite::limits::Limit;
use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, ErrorCode, params_from_iter};

use super::media::Media;
use super::open::{Sqlite, WIDE, value};
use super::plan::Statement;
use super::row::{Columns, Row, Value, Wide};
use super::wide::{Cell, Encoding};
use super::{FileInfo, Mark, Snapshot};
use crate::error::{self, At, Error, Result};
use crate::io::Cancel;

/// What a snapshot has found out before its first row.
pub struct Planned {
    pub files: Vec<FileInfo>,
    /// Of each file.
    pub walks: Vec<FileWalk>,
    /// What is bound to every statement.
    pub values: Vec<SqlValue>,
    pub mark: Option<Mark>,
    pub warnings: Vec<String>,
    pub media: Option<Media>,
}

/// Where the rows of a file come from.
pub struct FileWalk {
    pub keys: Columns,
    /// As the database calls them.
    pub table: String,
    pub columns: Vec<String>,
    /// A value of more bytes than [`WIDE`] is read in pieces; else one of more than [`WIDEST`] is refused.
    pub in_pieces: bool,
    /// The column with the media type.
    pub media: Option<usize>,
    pub statements: Vec<Statement>,
}

/// What is held at most of a value of a table that cannot be read in pieces.
pub const WIDEST: i32 = 16 << 20;

pub struct Reading {
    /// Its read transaction ends with it.
    pub connection: Connection,
    pub path: PathBuf,
    pub cancel: Cancel,
    pub planned: Planned,
}

/// Takes the values of a row.
type Take<'t> = dyn FnMut(&[Value<'_>]) -> Result<()> + 't;

impl Snapshot for Reading {
    fn files(&self) -> &[FileInfo] {
        &self.planned.files
    }

    fn rows(&mut self, file: usize, row: &mut dyn FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
        let Reading { connection, path, cancel, planned } = self;
        let Planned { walks, values, media, .. } = planned;
        let walk = walks
            .get(file)
            .ok_or_else(|| Error::new(error::Kind::Invalid, format!("there is no file {file}")))?;
        let reader = Reader { connection, path, cancel, walk, values };
        let mut take = |values: &[Value<'_>]| {
            cancel.check()?;
            if let (Some(media), Some(column)) = (media.as_mut(), walk.media) {
                values.get(column).into_iter().for_each(|value| media.meet(*value));
            }
            row(&Row::new(&walk.keys, values))
        };
        walk.statements.iter().try_for_each(|statement| reader.rows(statement, &mut take))
    }

    fn mark(&self) -> Option<Mark> {
        self.planned.mark.clone()
    }

    fn warnings(&self) -> Result<Vec<String>> {
        let mut warnings = self.planned.warnings.clone();
        if let Some(media) = &self.planned.media {
            warnings.extend(media.warning(&self.connection).at(self.path.display())?);
        }
        Ok(warnings)
    }
}

struct Reader<'r> {
    connection: &'r Connection,
    path: &'r Path,
    cancel: &'r Cancel,
    walk: &'r FileWalk,
    values: &'r [SqlValue],
}

impl Reader<'_> {
    fn rows(&self, statement: &Statement, take: &mut Take<'_>) -> Result<()> {
        let taken = self.whole(&statement.whole, take)?;
        match taken {
            None => Ok(()),
            Some(taken) if self.walk.in_pieces => self.careful(&statement.careful, taken, take),
            Some(taken) => {
                let widen = |limit| self.connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, limit).sqlite();
                widen(WIDEST)?;
                let result = self.careful(&statement.careful, taken, take);
                widen(WIDE)?;
                result
            }
        }
    }

    /// Gives rows until there are no more, or until one has a value that is too wide: then their number is returned.
    fn whole(&self, sql: &str, take: &mut Take<'_>) -> Result<Option<u64>> {
        let width = self.walk.columns.len();
        let mut statement = self.connection.prepare(sql).sqlite().at(self.path.display())?;
        let mut rows = statement.query(params_from_iter(self.values)).sqlite().at(self.path.display())?;
        let mut room = Vec::with_capacity(width);
        let mut taken = 0;
        loop {
            let found = match rows.next() {
                Ok(Some(found)) => found,
                Ok(None) => return Ok(None),
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::TooBig) => return Ok(Some(taken)),
                Err(error) => return Err(error).sqlite().at(self.path.display()),
            };
            let mut values = emptied(room);
            for i in 0..width {
                values.push(value(found.get_ref(i).sqlite().at(self.path.display())?));
            }
            take(&values)?;
            taken += 1;
            room = emptied(values);
        }
    }

    /// Gives all rows after so many.
    fn careful(&self, sql: &str, taken: u64, take: &mut Take<'_>) -> Result<()> {
        let FileWalk { table, columns, in_pieces, .. } = self.walk;
        let encoding = Encoding::of(self.connection)?;
        let mut statement = self
            .connection
            .prepare(&format!("{sql} LIMIT -1 OFFSET {taken}"))
            .sqlite()
            .at(self.path.display())?;
        let mut rows = statement.query(params_from_iter(self.values)).sqlite().at(self.path.display())?;
        while let Some(found) = rows.next().sqlite().at(self.path.display())? {
            self.cancel.check()?;
            let mut cells = Vec::new();
            for (i, column) in columns.iter().enumerate() {
                let Value::Text(kind) = value(found.get_ref(2 + 2 * i).sqlite().at(self.path.display())?)
                else {
                    continue;
                };
                let rowid: Option<i64> = found.get(0).sqlite().at(self.path.display())?;
                let (true, Some(rowid)) = (*in_pieces, rowid) else {
                    return Err(too_wide(table, column)).at(self.path.display());
                };
                let is_text = kind == b"text";
                let utf16 = match encoding {
                    Encoding::Utf16(order) if is_text => Some(order),
                    _ => None,
                };
                cells.push((i, is_text, Cell::open(self.connection, table, column, rowid, utf16)?));
            }
            let mut values = Vec::with_capacity(columns.len());
            for i in 0..columns.len() {
                values.push(value(found.get_ref(1 + 2 * i).sqlite().at(self.path.display())?));
            }
            for (i, is_text, cell) in &cells {
                values[*i] = Value::Wide(Wide { is_text: *is_text, pieces: cell });
            }
            take(&values)?;
        }
        Ok(())
    }
}

fn too_wide(table: &str, column: &str) -> Error {
    let text = format!(
        "{table}.{column} has a value of more than {} MiB, which SQLite gives in pieces only from a table that has \
         rowids and no generated columns",
        WIDEST >> 20
    );
    Error::new(error::Kind::Unsupported, text)
}

/// The same allocation for values of another row.
fn emptied<'b>(mut values: Vec<Value<'_>>) -> Vec<Value<'b>> {
    values.clear();
    values.into_iter().map(|_| Value::Null).collect()
}
