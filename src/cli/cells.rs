//! Values of records as cells of a table.

use console::Color;

use super::show;
use super::table::{Cell, Output};
use crate::format::text::Instant;
use crate::record::Record;
use crate::store::retention::DEFAULT_DAYS;

/// Stands for a value that is missing, so that every line has the same number of columns.
const NOTHING: &str = "-";
/// Width of the bar of remaining days.
const DAYS_BAR: usize = 6;
const FEW_DAYS: u32 = 3;
const NOT_MANY_DAYS: u32 = 7;

pub(crate) fn nothing() -> Cell {
    Cell::from(NOTHING.to_string())
}

pub(crate) fn text(text: Option<&str>) -> Cell {
    match text {
        Some(text) if !text.trim().is_empty() => Cell::from(show::clean(text)),
        _ => nothing(),
    }
}

pub(crate) fn instant(instant: Option<Instant>, output: &Output) -> Cell {
    match instant.map(|instant| instant.to_string()) {
        Some(instant) if output.is_terminal() => Cell::from(show::minute(&instant)),
        Some(instant) => Cell::from(instant),
        None => nothing(),
    }
}

pub(crate) fn number(value: Option<u64>) -> Cell {
    value.map_or_else(nothing, |value| Cell::from(value.to_string()))
}

pub(crate) fn size(value: Option<u64>) -> Cell {
    value.map_or_else(nothing, |value| Cell::from(show::size(value)))
}

/// Returns the days that are left, coloured by how few they are.
pub(crate) fn days(record: &Record, output: &Output) -> Cell {
    let Some(days) = record.remaining_days else { return nothing() };
    let color = if days <= FEW_DAYS {
        Color::Red
    } else if days <= NOT_MANY_DAYS {
        Color::Yellow
    } else {
        Color::Green
    };
    let text = match output.is_terminal() {
        true => {
            let bar = show::bar(f64::from(days) / f64::from(DEFAULT_DAYS), DAYS_BAR);
            format!("{days:>3} {bar}")
        }
        false => days.to_string(),
    };
    // The export may be older than its files.
    let text = if record.estimated { format!("at most {text}") } else { text };
    Cell::colored(text, color)
}

/// Returns ids: whole, or on a terminal only as much of each as tells them apart, but at least 8 characters.
pub(crate) fn ids(records: &[Record], output: &Output) -> Vec<Cell> {
    const SHORTEST: usize = 8;
    let ids: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    let common = |pair: &[&str]| pair[0].bytes().zip(pair[1].bytes()).take_while(|(a, b)| a == b).count();
    let needed = sorted.windows(2).map(common).max().unwrap_or(0) + 1;
    let cut = |id: &&str| {
        let short = id.get(..needed.max(SHORTEST)).filter(|_| output.is_terminal());
        Cell::from(show::clean(short.unwrap_or(id)))
    };
    ids.iter().map(cut).collect()
}

/// What a table is sorted by.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SortKey {
    Number(u64),
    Instant(Instant),
    /// Without regard to case.
    Text(String),
}

impl SortKey {
    pub(crate) fn text(text: &str) -> SortKey {
        SortKey::Text(text.to_lowercase())
    }
}

/// Sorts by a key; records without one come last.
pub(crate) fn sort(records: &mut [Record], key: impl Fn(&Record) -> Option<SortKey>) {
    records.sort_by_cached_key(|record| {
        let key = key(record);
        (key.is_none(), key)
    });
}
