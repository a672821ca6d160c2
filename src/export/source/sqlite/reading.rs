//! Reads rows as planned, in their order: whole rows quickly, wide values in pieces.

use std::path::{Path, PathBuf};

use rusqlite::limits::Limit;
use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, ErrorCode, params_from_iter};

use super::open::{SqliteResult, WIDE, WIDEST, value};
use super::plan::{Statement, quoted};
use super::planning::{AskedMedia, FileWalk, Planned};
use super::wide::{Encoding, WideCell, WideRow};
use crate::error::{self, At, Error, Result};
use crate::export::source::layout::{FileInfo, media};
use crate::export::source::row::{Row, Value, Wide};
use crate::export::source::selection::Mark;
use crate::export::source::snapshot::Snapshot;
use crate::io::Cancel;

/// Bytes of the values of a row that are read at once.
const AT_ONCE: usize = 16 << 20;

/// Bytes of a row of a table that cannot be read in pieces.
const WIDEST_ROW: u64 = 32 << 20;

pub(crate) struct SqliteSnapshot {
    /// The read transaction ends when the connection is closed.
    pub(crate) connection: Connection,
    pub(crate) path: PathBuf,
    pub(crate) cancel: Cancel,
    pub(crate) planned: Planned,
}

/// Takes the values of a row.
type Take<'t> = dyn FnMut(&[Value<'_>]) -> Result<()> + 't;

impl Snapshot for SqliteSnapshot {
    fn files(&self) -> &[FileInfo] {
        &self.planned.files
    }

    fn rows(&mut self, file: usize, row: &mut dyn FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
        let SqliteSnapshot { connection, path, cancel, planned } = self;
        let Planned { walks, values, media, .. } = planned;
        let walk = walks
            .get(file)
            .ok_or_else(|| Error::new(error::Kind::Invalid, format!("there is no file {file}")))?;
        let reader = RowReader { connection, path, cancel, walk, values };
        let mut take = |values: &[Value<'_>]| {
            cancel.check()?;
            if let (Some(asked), Some(column)) = (media.as_mut(), walk.media) {
                values.get(column).into_iter().for_each(|value| asked.media.meet(*value));
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
        if let Some(asked) = &self.planned.media {
            warnings.extend(missing(&self.connection, asked).at(self.path.display())?);
        }
        Ok(warnings)
    }
}

/// Returns a warning about media types that were asked for and do not occur. The whole table is read only if no
/// exported row had one of them.
fn missing(connection: &Connection, asked: &AskedMedia) -> Result<Option<String>> {
    let Some(mut survey) = asked.media.survey() else { return Ok(None) };
    let column = quoted(&asked.column);
    let sql = format!(
        "SELECT CASE WHEN octet_length({column}) <= {} THEN {column} END FROM {}",
        media::MAX_BYTES,
        quoted(&asked.table)
    );
    let mut statement = connection.prepare(&sql).sqlite()?;
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next().sqlite()? {
        if survey.look(value(row.get_ref(0).sqlite()?)) {
            return Ok(None);
        }
    }
    Ok(Some(survey.warning()))
}

struct RowReader<'r> {
    connection: &'r Connection,
    path: &'r Path,
    cancel: &'r Cancel,
    walk: &'r FileWalk,
    values: &'r [SqlValue],
}

impl RowReader<'_> {
    fn rows(&self, statement: &Statement, take: &mut Take<'_>) -> Result<()> {
        // All values of a row are in memory together: the more columns, the smaller each value may be.
        let most = i32::try_from(AT_ONCE / self.walk.columns.len().max(1)).unwrap_or(WIDE).min(WIDE);
        let limit = |bytes| self.connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, bytes).sqlite();
        limit(most)?;
        let taken = self.whole(&statement.values(), take);
        limit(WIDE)?;
        match (taken?, self.walk.in_pieces_by) {
            (None, _) => Ok(()),
            (Some(taken), Some(rowid)) => self.in_pieces(statement, taken, most, rowid, take),
            (Some(taken), None) => {
                limit(WIDEST)?;
                let result = self.within_limits(statement, taken, take);
                limit(WIDE)?;
                result
            }
        }
    }

    /// Passes on rows until the end, or until one has a value that is too wide: then returns how many rows were passed
    /// on.
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

    /// Passes on all rows after the first `taken`, values of more than `most` bytes in pieces.
    fn in_pieces(
        &self,
        statement: &Statement,
        taken: u64,
        most: i32,
        rowid: &'static str,
        take: &mut Take<'_>,
    ) -> Result<()> {
        let FileWalk { table, columns, .. } = self.walk;
        let encoding = Encoding::of(self.connection)?;
        self.measured(statement, taken, most, &mut |measured, values| {
            let row = WideRow::new(self.connection, table, columns, encoding, (rowid, measured.rowid));
            let wide = measured.lengths.iter().enumerate().filter(|(_, length)| length.bytes > most as u64);
            let cell = |(column, length): (usize, &Length)| WideCell {
                row: &row,
                column,
                is_text: length.is_text,
                bytes: length.bytes,
            };
            let cells: Vec<WideCell<'_>> = wide.map(cell).collect();
            let mut values = values.to_vec();
            for cell in &cells {
                values[cell.column] = Value::Wide(Wide { is_text: cell.is_text, pieces: cell });
            }
            take(&values)
        })
    }

    /// Passes on all rows after the first `taken`, and refuses one that is too wide.
    fn within_limits(&self, statement: &Statement, taken: u64, take: &mut Take<'_>) -> Result<()> {
        self.measured(statement, taken, WIDEST, &mut |_, values| take(values))
    }

    /// Passes on all rows after the first `taken`, with the lengths of their values; values of more than `most` bytes
    /// are NULL.
    fn measured(
        &self,
        statement: &Statement,
        taken: u64,
        most: i32,
        each: &mut dyn FnMut(&Measured, &[Value<'_>]) -> Result<()>,
    ) -> Result<()> {
        let width = self.walk.columns.len();
        let prepare = |sql: &str| self.connection.prepare(sql).sqlite().at(self.path.display());
        let mut lengths = prepare(&statement.lengths(taken))?;
        let mut lengths = lengths.query(params_from_iter(self.values)).sqlite().at(self.path.display())?;
        let mut values = prepare(&statement.values_up_to(most, taken))?;
        let mut values = values.query(params_from_iter(self.values)).sqlite().at(self.path.display())?;
        let mut measured = Measured { rowid: 0, lengths: Vec::with_capacity(width) };
        let mut room = Vec::with_capacity(width);
        while let Some(found) = lengths.next().sqlite().at(self.path.display())? {
            self.cancel.check()?;
            measured.rowid = found.get::<_, Option<i64>>(0).sqlite().at(self.path.display())?.unwrap_or(0);
            measured.lengths.clear();
            for i in 1..=width {
                let length: Option<i64> = found.get(i).sqlite().at(self.path.display())?;
                let length = length.unwrap_or(0);
                measured.lengths.push(Length { is_text: length > 0, bytes: length.unsigned_abs() });
            }
            if self.walk.in_pieces_by.is_none() {
                self.check_width(&measured.lengths).at(self.path.display())?;
            }
            let Some(found) = values.next().sqlite().at(self.path.display())? else { break };
            let mut row = emptied(room);
            for i in 0..width {
                row.push(value(found.get_ref(i).sqlite().at(self.path.display())?));
            }
            each(&measured, &row)?;
            room = emptied(row);
        }
        Ok(())
    }

    fn check_width(&self, lengths: &[Length]) -> Result<()> {
        let FileWalk { table, columns, .. } = self.walk;
        let refuse = |what: String, most: u64| {
            let text = format!(
                "{what} of more than {} MiB, which SQLite gives in pieces only from a table that has rowids and no \
                 generated columns",
                most >> 20
            );
            Err(Error::new(error::Kind::Unsupported, text))
        };
        let widest = columns.iter().zip(lengths).find(|(_, length)| length.bytes > WIDEST as u64);
        if let Some((column, _)) = widest {
            return refuse(format!("{table}.{column} has a value"), WIDEST as u64);
        }
        if lengths.iter().map(|length| length.bytes).sum::<u64>() > WIDEST_ROW {
            return refuse(format!("{table} has a row"), WIDEST_ROW);
        }
        Ok(())
    }
}

/// The lengths of a row's values, known before the values are read.
struct Measured {
    /// 0 for a table without rowids.
    rowid: i64,
    lengths: Vec<Length>,
}

/// The length of a text or a blob in the database's encoding; 0 for other values.
struct Length {
    is_text: bool,
    bytes: u64,
}

/// Returns the same allocation, empty, for the values of another row.
fn emptied<'b>(mut values: Vec<Value<'_>>) -> Vec<Value<'b>> {
    values.clear();
    values.into_iter().map(|_| Value::Null).collect()
}
