//! Values of records as cells of a table.

use console::Color;
use serde_json::Value;

use super::show;
use super::table::{Cell, Output};
use crate::export::json::Object;
use crate::store::retention::DEFAULT_DAYS;

/// What stands where there is nothing, so that a line always has as many columns.
const NOTHING: &str = "-";
/// Width of the bar of remaining days.
const DAYS_BAR: usize = 6;
const FEW_DAYS: u64 = 3;
const NOT_MANY_DAYS: u64 = 7;

pub fn nothing() -> Cell {
    Cell::from(NOTHING.to_string())
}

pub fn text(record: &Object, key: &str) -> Cell {
    match record.get(key).and_then(Value::as_str) {
        Some(text) if !text.trim().is_empty() => Cell::from(show::clean(text)),
        _ => nothing(),
    }
}

pub fn instant(record: &Object, key: &str, output: &Output) -> Cell {
    match record.get(key).and_then(Value::as_str) {
        Some(instant) if output.is_terminal() => Cell::from(show::minute(instant)),
        Some(instant) => Cell::from(instant.to_string()),
        None => nothing(),
    }
}

pub fn number(value: Option<u64>) -> Cell {
    value.map_or_else(nothing, |value| Cell::from(value.to_string()))
}

pub fn size(value: Option<u64>) -> Cell {
    value.map_or_else(nothing, |value| Cell::from(show::size(value)))
}

/// The days that are left, the fewer the redder.
pub fn days(record: &Object, output: &Output) -> Cell {
    let Some(days) = record.get("remaining_days").and_then(Value::as_u64) else { return nothing() };
    let color = if days <= FEW_DAYS {
        Color::Red
    } else if days <= NOT_MANY_DAYS {
        Color::Yellow
    } else {
        Color::Green
    };
    let text = match output.is_terminal() {
        true => {
            let bar = show::bar(days as f64 / f64::from(DEFAULT_DAYS), DAYS_BAR);
            format!("{days:>3} {bar}")
        }
        false => days.to_string(),
    };
    // The export may be older than its files.
    let text = match record.get("estimated") {
        Some(Value::Bool(true)) => format!("at most {text}"),
        _ => text,
    };
    Cell::colored(text, color)
}

/// Ids: whole, but on a terminal only as much of each as tells them apart (and no less than of a short commit hash).
pub fn ids(records: &[Object], output: &Output) -> Vec<Cell> {
    const SHORTEST: usize = 8;
    let ids: Vec<&str> = records
        .iter()
        .map(|r| r.get("id").or(r.get("run")).and_then(Value::as_str).unwrap_or(NOTHING))
        .collect();
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

/// Orders values of records: numbers by size, texts by their letters; what is missing comes last.
pub fn compare(a: Option<&Value>, b: Option<&Value>) -> std::cmp::Ordering {
    use std::cmp::Ordering;
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => a.as_str().map(str::to_lowercase).cmp(&b.as_str().map(str::to_lowercase)),
        },
    }
}
