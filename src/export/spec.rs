//! A job spec: what to export, how often, how split. Strict JSON; what is wrong is said by field.
//!
//! | key | value |
//! |---|---|
//! | `title` | required, 1 to 200 characters |
//! | `description` | text |
//! | `source` | `"Contact History"` (the default) |
//! | `type` | required: `"Interaction"` or `"Contact"` |
//! | `media_types` | list of at least one; absent = all; only with Interaction |
//! | `run` | absent = once; `{"every":"hour","interval":4}`, `{"every":"day","at":"02:00"}`, `{"every":"week","on":"Monday","at":"02:00"}`, `{"every":"month","on":1,"at":"02:00"}`; in UTC |
//! | `start` | absent = now; an RFC 3339 instant |
//! | `timeframe` | absent = all data; `{"start": instant, "end": instant}` on the start date, start included, end excluded; a date stands for its midnight; `"since_last_run"` for what a recurring job has not exported yet |
//! | `split_size` | absent = one file; bytes, or a text such as `"100 MiB"`; at least 64 KiB |

use jiff::Timestamp;
use serde_json::Value;

use super::json::Object;
use super::refusal::{Refusal, distance, shown, shown_value};
use super::schedule::Recurrence;
use super::source::Kind;

pub(crate) const SOURCE: &str = "Contact History";
/// A longer spec is refused.
pub(crate) const MAX_BYTES: usize = 1 << 20;
const MAX_TITLE: usize = 200;
const MIN_SPLIT: u64 = 64 << 10;

/// Keys of a spec, in the order in which they are written.
pub(crate) const KEYS: [&str; 9] =
    ["title", "description", "source", "type", "media_types", "run", "start", "timeframe", "split_size"];
/// Keys that only the record of a run has (`crate::record` compares them); they are ignored, so that a history file can
/// be copied to `jobs/new`.
const RUN_KEYS: [&str; 20] = [
    "id",
    "job",
    "status",
    "scheduled",
    "queued",
    "started",
    "finished",
    "progress",
    "artifact",
    "parts",
    "missing",
    "rows",
    "bytes",
    "certificate",
    "warning",
    "warnings",
    "mtime",
    "expires",
    "remaining_days",
    "error",
];

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum SpecTimeframe {
    #[default]
    All,
    Between {
        start: Option<Timestamp>,
        end: Option<Timestamp>,
    },
    SinceLastRun,
}

/// A spec that has been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    pub(crate) title: String,
    pub(crate) export_type: Kind,
    pub(crate) media_types: Option<Vec<String>>,
    /// `None`: once.
    pub run: Option<Recurrence>,
    pub(crate) start: Option<Timestamp>,
    pub(crate) timeframe: SpecTimeframe,
    /// Bytes of a segment.
    pub(crate) split_size: Option<u64>,
    /// The keys of a spec as they were given, in the order of [`KEYS`].
    pub(crate) given: Object,
}

type Checked<T> = Result<T, Refusal>;

/// An example that is a valid spec, with comments where a spec can have them.
pub const EXAMPLE: &str = r#"{
  "title": "Chats of January",
  "description": "An example: cp jobs/new my.json, edit it, cp my.json jobs/new. Other keys: media_types (absent: all), run (absent: once; or {\"every\":\"day\",\"at\":\"02:00\"}, hour with interval, week and month with on; UTC), start (absent: now), timeframe (absent: all data; or \"since_last_run\"), split_size (absent: one file).",
  "source": "Contact History",
  "type": "Interaction",
  "media_types": ["chat"],
  "timeframe": {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"},
  "split_size": "100 MiB"
}
"#;

impl Spec {
    /// Reads and checks a spec.
    pub fn parse(text: &[u8]) -> Checked<Spec> {
        let object = parse_object(text)?;
        if let Some((key, _)) = object.0.iter().find(|(key, _)| !is_known(key)) {
            return Err(unknown_key("", key, &KEYS));
        }
        let export_type = export_type(object.get("type"))?;
        let run = object.get("run").map(recurrence).transpose()?;
        let start = object.get("start").map(|v| instant("start", v)).transpose()?;
        if let (Some(run), Some(start)) = (&run, start)
            && run.first_from(start).is_none()
        {
            return Err(Refusal::new(
                "start",
                "is so late that the job would never run: its first time is beyond the year 9999",
                "give an earlier instant",
            ));
        }
        let timeframe = timeframe(object.get("timeframe"))?;
        if timeframe == SpecTimeframe::SinceLastRun && run.is_none() {
            return Err(Refusal::new(
                "timeframe",
                "\"since_last_run\" is for a job that runs more than once",
                "add \"run\", or give {\"start\": ..., \"end\": ...}",
            ));
        }
        source(object.get("source"))?;
        if let Some(description) = object.get("description") {
            text_of("description", description, "a text")?;
        }
        Ok(Spec {
            title: title(object.get("title"))?,
            export_type,
            media_types: media_types(object.get("media_types"), export_type)?,
            run,
            start,
            timeframe,
            split_size: object.get("split_size").map(split_size).transpose()?,
            given: object.picked(&KEYS),
        })
    }

    /// Returns the spec as JSON of one line, which [`Spec::parse`] reads.
    pub(crate) fn to_json(&self) -> String {
        self.given.to_string()
    }
}

/// Reads text that is one JSON object.
fn parse_object(text: &[u8]) -> Checked<Object> {
    const RIGHT: &str = "one JSON object, such as {\"title\": \"Chats\", \"type\": \"Interaction\"}";
    // What editors of another system put first.
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    let object: Object = serde_json::from_slice(text).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        let mut refusal = match error.classify() {
            serde_json::error::Category::Data => {
                Refusal::new("", "this is JSON, but no object", format!("give {RIGHT}"))
            }
            serde_json::error::Category::Eof if text.trim_ascii().is_empty() => {
                Refusal::new("", "there is no spec", format!("write {RIGHT}"))
            }
            serde_json::error::Category::Eof => {
                Refusal::new("", format!("the JSON breaks off at {place}"), format!("write {RIGHT}"))
            }
            _ => Refusal::new("", format!("this is no JSON, from {place} on"), format!("write {RIGHT}")),
        };
        refusal.incomplete = error.is_eof();
        refusal
    })?;
    for (i, (key, _)) in object.0.iter().enumerate() {
        if object.0[..i].iter().any(|(earlier, _)| earlier == key) {
            return Err(Refusal::new(&shown(key), "is given twice", "give it once"));
        }
    }
    Ok(object)
}

fn is_known(key: &str) -> bool {
    KEYS.contains(&key) || RUN_KEYS.contains(&key)
}

/// Refuses a key that is none of `known`, and names the nearest one.
fn unknown_key(field: &str, key: &str, known: &[&str]) -> Refusal {
    let nearest = known.iter().min_by_key(|known| distance(key, known)).copied().unwrap_or_default();
    let place = if field.is_empty() { shown(key) } else { format!("{field}.{}", shown(key)) };
    let right = if distance(key, nearest) <= 1 + nearest.len() / 3 {
        format!("did you mean {nearest:?}?")
    } else {
        format!("the keys are {}", known.join(", "))
    };
    Refusal::new(&place, "is not a key of a job spec", right)
}

fn missing(field: &str, right: &str) -> Refusal {
    Refusal::new(field, "is missing", format!("give {right}"))
}

fn not_a(field: &str, value: &Value, right: &str) -> Refusal {
    Refusal::new(field, format!("is {}", shown_value(value)), format!("it should be {right}"))
}

fn text_of<'a>(field: &str, value: &'a Value, right: &str) -> Checked<&'a str> {
    value.as_str().ok_or_else(|| not_a(field, value, right))
}

fn title(value: Option<&Value>) -> Checked<String> {
    const RIGHT: &str = "a text of 1 to 200 characters";
    let value = value.ok_or_else(|| missing("title", RIGHT))?;
    let title = text_of("title", value, RIGHT)?;
    let count = title.chars().count();
    if title.trim().is_empty() {
        return Err(Refusal::new("title", "is empty", format!("it should be {RIGHT}")));
    }
    if count > MAX_TITLE {
        return Err(Refusal::new(
            "title",
            format!("has {count} characters"),
            format!("it should be {RIGHT}"),
        ));
    }
    if title.chars().any(char::is_control) {
        return Err(Refusal::new("title", "has line ends or other control characters", "leave them out"));
    }
    Ok(title.into())
}

fn source(value: Option<&Value>) -> Checked<()> {
    const RIGHT: &str = "\"Contact History\"";
    match value {
        Some(value) if text_of("source", value, RIGHT)? != SOURCE => Err(not_a("source", value, RIGHT)),
        _ => Ok(()),
    }
}

fn export_type(value: Option<&Value>) -> Checked<Kind> {
    const RIGHT: &str = "\"Interaction\" or \"Contact\"";
    let value = value.ok_or_else(|| missing("type", RIGHT))?;
    match text_of("type", value, RIGHT)? {
        "Interaction" => Ok(Kind::Interaction),
        "Contact" => Ok(Kind::Contact),
        _ => Err(not_a("type", value, RIGHT)),
    }
}

fn media_types(value: Option<&Value>, of: Kind) -> Checked<Option<Vec<String>>> {
    const RIGHT: &str = "a list of at least one media type, such as [\"chat\", \"email\"]";
    let Some(value) = value else { return Ok(None) };
    if of == Kind::Contact {
        return Err(Refusal::new(
            "media_types",
            "goes with type \"Interaction\" only",
            "leave it out: contacts have no media type",
        ));
    }
    let list = value.as_array().ok_or_else(|| not_a("media_types", value, RIGHT))?;
    if list.is_empty() {
        return Err(Refusal::new(
            "media_types",
            "is an empty list",
            format!("give {RIGHT}, or leave it out"),
        ));
    }
    let mut types = Vec::with_capacity(list.len());
    for item in list {
        let text = text_of("media_types", item, RIGHT)?;
        if text.is_empty() {
            return Err(Refusal::new("media_types", "has an empty text in it", format!("give {RIGHT}")));
        }
        types.push(text.to_string());
    }
    Ok(Some(types))
}

fn instant(field: &str, value: &Value) -> Checked<Timestamp> {
    const RIGHT: &str = "an RFC 3339 instant, such as \"2026-01-31T02:00:00Z\"";
    let text = text_of(field, value, RIGHT)?;
    text.parse().map_err(|_| not_a(field, value, RIGHT))
}

/// An instant, or a date, which stands for its midnight in UTC.
fn bound(field: &str, value: &Value) -> Checked<Timestamp> {
    const RIGHT: &str =
        "an RFC 3339 instant, such as \"2026-01-31T02:00:00Z\", or a date, such as \"2026-01-31\"";
    let text = text_of(field, value, RIGHT)?;
    let midnight = || {
        let date = jiff::civil::Date::strptime("%Y-%m-%d", text).ok().filter(|_| text.len() == 10)?;
        jiff::tz::Offset::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok()
    };
    text.parse().ok().or_else(midnight).ok_or_else(|| not_a(field, value, RIGHT))
}

fn timeframe(value: Option<&Value>) -> Checked<SpecTimeframe> {
    const RIGHT: &str = "{\"start\": instant, \"end\": instant} or \"since_last_run\"";
    match value {
        None => Ok(SpecTimeframe::All),
        Some(Value::String(text)) if text == "since_last_run" => Ok(SpecTimeframe::SinceLastRun),
        Some(Value::Object(object)) => {
            known_keys("timeframe", object, &["start", "end"])?;
            let get = |key: &str| object.get(key).map(|v| bound(&format!("timeframe.{key}"), v)).transpose();
            let (start, end) = (get("start")?, get("end")?);
            if start.is_none() && end.is_none() {
                return Err(Refusal::new("timeframe", "is empty", format!("give {RIGHT}, or leave it out")));
            }
            if let (Some(start), Some(end)) = (start, end)
                && start >= end
            {
                return Err(Refusal::new(
                    "timeframe",
                    "ends before it begins",
                    "the end, which is excluded, should be later than the start",
                ));
            }
            Ok(SpecTimeframe::Between { start, end })
        }
        Some(value) => Err(not_a("timeframe", value, RIGHT)),
    }
}

fn known_keys(field: &str, object: &serde_json::Map<String, Value>, known: &[&str]) -> Checked<()> {
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(unknown_key(field, key, known)),
        None => Ok(()),
    }
}

fn recurrence(value: &Value) -> Checked<Recurrence> {
    const RIGHT: &str = "an object such as {\"every\": \"day\", \"at\": \"02:00\"}";
    const EVERY: &str = "\"hour\", \"day\", \"week\" or \"month\"";
    let object = value.as_object().ok_or_else(|| not_a("run", value, RIGHT))?;
    let every = object.get("every").ok_or_else(|| missing("run.every", EVERY))?;
    let unit = text_of("run.every", every, EVERY)?;
    match unit {
        "hour" => {
            const HOURS: &str = "a number of hours from 1 to 24";
            known_keys("run", object, &["every", "interval"])?;
            let hours = match object.get("interval") {
                None => 1,
                Some(n) => n
                    .as_u64()
                    .and_then(|n| u8::try_from(n).ok())
                    .filter(|n| (1..=24).contains(n))
                    .ok_or_else(|| not_a("run.interval", n, HOURS))?,
            };
            Ok(Recurrence::Hours(hours))
        }
        "day" => {
            known_keys("run", object, &["every", "at"])?;
            Ok(Recurrence::Day { at: time_of_day(object.get("at"))? })
        }
        "week" => {
            const DAYS: &str = "a day from \"Monday\" to \"Sunday\"";
            known_keys("run", object, &["every", "on", "at"])?;
            let on = object.get("on").ok_or_else(|| missing("run.on", DAYS))?;
            let on =
                Recurrence::weekday(text_of("run.on", on, DAYS)?).ok_or_else(|| not_a("run.on", on, DAYS))?;
            Ok(Recurrence::Week { on, at: time_of_day(object.get("at"))? })
        }
        "month" => {
            const DAYS: &str = "a day of the month from 1 to 31 (in shorter months the last one is taken)";
            known_keys("run", object, &["every", "on", "at"])?;
            let on = object.get("on").ok_or_else(|| missing("run.on", DAYS))?;
            let day =
                on.as_u64().filter(|n| (1..=31).contains(n)).ok_or_else(|| not_a("run.on", on, DAYS))?;
            Ok(Recurrence::Month { on: day as i8, at: time_of_day(object.get("at"))? })
        }
        _ => Err(not_a("run.every", every, EVERY)),
    }
}

fn time_of_day(value: Option<&Value>) -> Checked<jiff::civil::Time> {
    const RIGHT: &str = "a time of day in UTC from \"00:00\" to \"23:59\"";
    let value = value.ok_or_else(|| missing("run.at", RIGHT))?;
    let text = text_of("run.at", value, RIGHT)?;
    let parsed = jiff::civil::Time::strptime("%H:%M", text).ok().filter(|_| text.len() == 5);
    parsed.ok_or_else(|| not_a("run.at", value, RIGHT))
}

fn split_size(value: &Value) -> Checked<u64> {
    const RIGHT: &str = "a number of bytes or a text such as \"100 MiB\", at least 64 KiB";
    let size = match value {
        Value::Number(n) => n.as_u64(),
        Value::String(text) => parse_size(text),
        _ => None,
    };
    let size = size.ok_or_else(|| not_a("split_size", value, RIGHT))?;
    if size < MIN_SPLIT {
        return Err(Refusal::new(
            "split_size",
            format!("is {size} bytes"),
            "it should be at least 64 KiB (65536)",
        ));
    }
    Ok(size)
}

/// Reads a number with a unit: KB and the like count in thousands, KiB and the like in 1024.
fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim_start().to_ascii_lowercase();
    let factor: u64 = match unit.as_str() {
        "" | "b" | "byte" | "bytes" => 1,
        "kb" => 1000,
        "mb" => 1000 * 1000,
        "gb" => 1000 * 1000 * 1000,
        "tb" => 1000 * 1000 * 1000 * 1000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Spec::parse(text.as_bytes()).unwrap_err().to_string()
    }

    fn with(rest: &str) -> String {
        format!(r#"{{"title": "t", "type": "Interaction", {rest}}}"#)
    }

    #[test]
    fn the_example_is_valid() {
        let spec = Spec::parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(spec.split_size, Some(100 << 20));
        assert_eq!(spec.media_types, Some(vec!["chat".to_string()]));
        assert_eq!(Spec::parse(spec.to_json().as_bytes()).unwrap(), spec);
    }

    #[test]
    fn a_refusal_says_field_fault_and_remedy() {
        let table = [
            (r#"{"type":"Contact"}"#.to_string(), "title: is missing; give a text of 1 to 200 characters"),
            (r#"{"title":"t"}"#.into(), "type: is missing; give \"Interaction\" or \"Contact\""),
            (
                r#"{"title":"t","type":"contact"}"#.into(),
                "type: is \"contact\"; it should be \"Interaction\" or \"Contact\"",
            ),
            (with(r#""titel": 1"#), "titel: is not a key of a job spec; did you mean \"title\"?"),
            (
                with(r#""split-size": 1"#),
                "split-size: is not a key of a job spec; did you mean \"split_size\"?",
            ),
            (with(r#""split_size": 100"#), "split_size: is 100 bytes; it should be at least 64 KiB (65536)"),
            (
                with(r#""media_types": []"#),
                "media_types: is an empty list; give a list of at least one media type, such as [\"chat\", \"email\"], or leave it out",
            ),
            (
                with(r#""run": {"every":"year"}"#),
                "run.every: is \"year\"; it should be \"hour\", \"day\", \"week\" or \"month\"",
            ),
            (
                with(r#""run": {"every":"day","at":"25:00"}"#),
                "run.at: is \"25:00\"; it should be a time of day in UTC from \"00:00\" to \"23:59\"",
            ),
            (
                with(r#""run": {"every":"day","att":"02:00"}"#),
                "run.att: is not a key of a job spec; did you mean \"at\"?",
            ),
            (
                with(r#""timeframe": "since_last_run""#),
                "timeframe: \"since_last_run\" is for a job that runs more than once; add \"run\", or give {\"start\": ..., \"end\": ...}",
            ),
            (
                with(r#""start": "2026-01-01""#),
                "start: is \"2026-01-01\"; it should be an RFC 3339 instant, such as \"2026-01-31T02:00:00Z\"",
            ),
            (with(r#""title": "again""#), "title: is given twice; give it once"),
        ];
        for (text, expected) in table {
            assert_eq!(refusal(&text), expected, "{text}");
        }
        let contact = r#"{"title":"t","type":"Contact","media_types":["chat"]}"#;
        assert!(refusal(contact).starts_with("media_types: goes with"), "{}", refusal(contact));
        assert!(
            refusal(&format!(r#"{{"title":"{}","type":"Contact"}}"#, "ü".repeat(201)))
                .contains("201 characters")
        );
    }

    #[test]
    fn more_text_may_still_make_it_right_or_not() {
        let incomplete = |text: &str| Spec::parse(text.as_bytes()).unwrap_err().incomplete;
        assert!(incomplete("") && incomplete("  ") && incomplete("{\"title\": \"x") && incomplete("{\"a\":"));
        assert!(
            !incomplete("{} x")
                && !incomplete("nonsense")
                && !incomplete("{\"title\" 1}")
                && !incomplete("[]")
        );
    }

    #[test]
    fn the_record_of_a_run_is_a_spec() {
        let record = r#"{"id":"x","status":"Completed","title":"t","type":"Contact","progress":{"percent":100},
            "parts":[{"name":"a"}],"rows":7,"certificate":{"serial":"1"},"remaining_days":30}"#;
        let spec = Spec::parse(record.as_bytes()).unwrap();
        assert_eq!(spec.to_json(), r#"{"title":"t","type":"Contact"}"#);
    }

    #[test]
    fn a_date_stands_for_its_midnight() {
        let timeframe = |text: &str| Spec::parse(with(text).as_bytes()).map(|spec| spec.timeframe);
        let dates = timeframe(r#""timeframe": {"start":"2026-01-31","end":"2026-02-01"}"#).unwrap();
        let instants =
            timeframe(r#""timeframe": {"start":"2026-01-31T00:00:00Z","end":"2026-02-01T01:00:00+01:00"}"#);
        assert_eq!(dates, instants.unwrap());
        for odd in ["2026-02-30", "2026-2-1", "tomorrow", "26-02-01", "9999-12-31"] {
            let refusal = timeframe(&format!(r#""timeframe": {{"start":"{odd}"}}"#)).unwrap_err();
            assert!(refusal.to_string().ends_with("or a date, such as \"2026-01-31\""), "{refusal}");
        }
    }

    #[test]
    fn sizes() {
        let table = [("100 MiB", 100 << 20), ("65536", 65536), ("1 GB", 1_000_000_000), ("64k", 64 << 10)];
        for (text, bytes) in table {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        assert!(
            ["", "MiB", "1.5 GiB", "-1", "1 parsec", "99999999999 TiB"]
                .iter()
                .all(|t| parse_size(t).is_none())
        );
    }
}
