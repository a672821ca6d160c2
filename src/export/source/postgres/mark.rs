//! What a job has exported, and what the next run has to: rows by the date of their last change, or of their beginning.
//!
//! PostgreSQL gives rows no numbers that grow. So a mark has the latest date that is not in the database's future, and what
//! is later than that by less than nothing but [`OVERLAP`] is exported: rows that were committed late come, and some
//! rows come again, which is said. A row without a date, or with one in the future, comes every time until it has another.
//!
//! ```json
//! {"engine":"postgres","version":1,"database":"postgres://user@host/db","table":16391,"name":"interaction",
//!  "column":"modifieddate","media_types":["chat"],"until":821788200250000,"later":0}
//! ```

use serde::{Deserialize, Serialize};

use super::dates::{instant, no_date};
use super::form::{EPOCH, Form};
use super::open::Said;
use super::plan::{Filter, Parent, named};
use super::schema::{Column, get};
use crate::error::{Error, Kind, Result};
use crate::export::source::layout::since::{Asked, NO_PROOF, everything_again, overlapping, unproved};
use crate::export::source::selection::Mark;
use crate::postgresql::{Client, Url};

const ENGINE: &str = "postgres";
const VERSION: u32 = 1;

/// Microseconds by which rows may be committed later than their dates say.
const OVERLAP: i64 = 10 * 60 * 1_000_000;

/// The column of a table that says when a row was changed, if there is one.
const CHANGED: &str = "modifieddate";

/// What is asked for in the table.
pub(crate) struct Marked<'a> {
    pub(crate) url: &'a Url,
    pub(crate) parent: &'a Parent<'a>,
    pub(crate) media_types: Option<&'a [String]>,
}

/// What a job exports since its last run.
pub(crate) struct Since {
    /// For the next run.
    pub(crate) mark: Option<Mark>,
    pub(crate) warnings: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Proof {
    engine: String,
    version: u32,
    database: String,
    table: u32,
    name: String,
    /// That of which the date is.
    column: String,
    media_types: Option<Vec<String>>,
    /// Microseconds since 2000.
    until: i64,
    /// Rows with a later date, which was in the future.
    later: u64,
}

/// The columns that a row's date is in.
struct Dates<'a> {
    changed: Option<&'a Column>,
    begun: Option<&'a Column>,
}

impl Marked<'_> {
    /// Finds out what has not been exported up to a mark, and restricts the filter to it.
    pub(crate) fn since(
        &self,
        client: &mut Client,
        old: Option<&Mark>,
        filter: &mut Filter,
    ) -> Result<Since> {
        let dates = self.dates()?;
        let (proof, mut warnings) = match old.map(|mark| self.proof(mark, &dates)) {
            None => (None, Vec::new()),
            Some(Ok(proof)) => (Some(proof), Vec::new()),
            Some(Err(why)) => (None, vec![everything_again(&why)]),
        };
        let until = proof.as_ref().map(|proof| proof.until);
        filter.conditions.extend(until.map(|until| dates.from(until.saturating_sub(OVERLAP))));
        let found = self.look(client, &dates, until, filter)?;
        if let Some(proof) = &proof {
            let again = found.again.saturating_add(proof.later.min(found.rows));
            warnings
                .extend((again > 0).then(|| overlapping(again.min(found.rows), &proof.name, &proof.column)));
            // A row may well come later than another that has begun after it.
            let is_unproved = dates.changed.is_none();
            warnings.extend(is_unproved.then(|| unproved(&proof.name, &proof.column, CHANGED)));
        }
        let mark = match found.until.max(until) {
            Some(until) => Some(self.mark(&dates, until, found.later)?),
            None => old.filter(|_| proof.is_some()).cloned(),
        };
        Ok(Since { mark, warnings })
    }

    fn dates(&self) -> Result<Dates<'_>> {
        let table = self.parent.table;
        let is_usable = |column: &&Column| column.form.is_instant();
        let changed = table.column(CHANGED).filter(is_usable);
        let begun = self.parent.date.filter(|date| changed.is_none() || date.form.is_instant());
        match (changed, begun) {
            (None, None) => {
                let text = format!(
                    "{} has no column {CHANGED} and no date by which what is new could be told; give a timeframe \
                     instead of \"since_last_run\"",
                    table.name
                );
                Err(Error::new(Kind::Unsupported, text))
            }
            (None, Some(date)) if !date.form.is_instant() => Err(no_date(table, date)),
            _ => Ok(Dates { changed, begun }),
        }
    }

    /// Reads a mark, or says why it proves nothing here.
    fn proof(&self, mark: &Mark, dates: &Dates<'_>) -> std::result::Result<Proof, String> {
        let proof: Proof = serde_json::from_str(mark.as_str())
            .ok()
            .filter(|proof: &Proof| proof.engine == ENGINE && proof.version == VERSION)
            .ok_or(NO_PROOF)?;
        let table = self.parent.table;
        let before = Asked { table: &proof.name, media_types: proof.media_types.as_deref() };
        Asked { table: &table.name, media_types: self.media_types }.check_covered(before)?;
        if proof.database != self.url.to_string() || proof.table != table.oid {
            return Err("the last run exported from another database, or the table has been made anew".into());
        }
        if proof.column != dates.name() {
            return Err(format!("the last run went by the column {}", proof.column));
        }
        Ok(proof)
    }

    fn look(
        &self,
        client: &mut Client,
        dates: &Dates<'_>,
        until: Option<i64>,
        filter: &Filter,
    ) -> Result<Found> {
        let date = dates.sql();
        let overlap =
            until.map_or("false".to_owned(), |until| format!("d <= {}", instant(Form::Timestamp, until)));
        let conditions = filter.conditions.join(" AND ");
        let filtered = if conditions.is_empty() { String::new() } else { format!(" WHERE {conditions}") };
        let sql = format!(
            "SELECT (extract(epoch FROM max(d) FILTER (WHERE isfinite(d) AND d <= now() AT TIME ZONE 'UTC')) * 1000000)::int8,
               count(*), count(*) FILTER (WHERE d > now() AT TIME ZONE 'UTC'), count(*) FILTER (WHERE d IS NULL OR {overlap})
             FROM (SELECT {date} AS d FROM {} AS p{filtered}) AS s",
            self.parent.table.sql
        );
        let rows = match &filter.media {
            Some(media) => client.query(&sql, &[media]),
            None => client.query(&sql, &[]),
        };
        let rows = rows.said()?;
        let row = rows.first().ok_or_else(|| Error::damaged("the server counts no rows"))?;
        let count = |column| get::<i64>(row, column).map(|count| count.unsigned_abs());
        Ok(Found {
            until: get::<Option<i64>>(row, 0)?.map(|at| at.saturating_sub(EPOCH)),
            rows: count(1)?,
            later: count(2)?,
            again: count(3)?,
        })
    }

    fn mark(&self, dates: &Dates<'_>, until: i64, later: u64) -> Result<Mark> {
        let proof = Proof {
            engine: ENGINE.to_owned(),
            version: VERSION,
            database: self.url.to_string(),
            table: self.parent.table.oid,
            name: self.parent.table.name.clone(),
            column: dates.name().to_owned(),
            media_types: self.media_types.map(<[String]>::to_vec),
            until,
            later,
        };
        let text = serde_json::to_string(&proof).map_err(|e| Error::new(Kind::Invalid, e.to_string()))?;
        Ok(Mark::from(text))
    }
}

/// What the rows that are exported are.
struct Found {
    /// The latest date that is not in the future, in microseconds since 2000.
    until: Option<i64>,
    rows: u64,
    /// With a date in the future.
    later: u64,
    /// That the run before had, too, or may have had.
    again: u64,
}

impl Dates<'_> {
    fn name(&self) -> &str {
        self.changed.or(self.begun).map(|column| column.name.as_str()).unwrap_or_default()
    }

    /// The date of a row, without a zone.
    fn sql(&self) -> String {
        let one = |column: &Column| match column.form {
            Form::TimestampWithZone => format!("({} AT TIME ZONE 'UTC')", named("p", column)),
            _ => format!("{}::timestamp", named("p", column)),
        };
        let both: Vec<String> = self.changed.into_iter().chain(self.begun).map(one).collect();
        format!("coalesce({})", both.join(", "))
    }

    /// The condition that the date of a row is not before an instant, or that it has none; spelled so that an index on the
    /// first column leads to them.
    fn from(&self, at: i64) -> String {
        let mut from = String::from("true");
        for column in self.begun.into_iter().chain(self.changed) {
            let name = named("p", column);
            from = format!("({name} >= {} OR ({name} IS NULL AND {from}))", instant(column.form, at));
        }
        from
    }
}
