//! `cddsfs verify STORE [RUN]...`: reads everything and says what is damaged.

use std::time::SystemTime;

use clap::Args;
use console::Color;
use serde_json::{Value, json};

use super::exit::{Because, Failure, Reason};
use super::keys::Keys;
use super::show;
use super::store;
use super::table::Output;
use crate::error::Result;
use crate::export::json::Object;
use crate::export::verify::{Fault, FaultPlace, Report, Subject, Verdict, subjects, verify};
use crate::store::names::id_of;

mod bar;

use bar::Bar;

#[derive(Args)]
#[command(after_help = "Examples:
  cddsfs verify ~/exports-store --key private.pem
  cddsfs verify ~/Downloads 1b4e28ba --key private.pem

What is checked of every artifact: in a store that was made by cddsfs init size, SHA-256 and block hashes of every part;
everywhere that all parts are there and can be decrypted, that the zip's directory and local headers agree, the CRC-32
of every member, and rows, bytes and SHA-256 of every file that a manifest.json of cddsfs lists. Without a key only the
parts of a store that was made by cddsfs init can be checked.

One line for each artifact: ok, bad or unchecked, and below it what is bad. Names of members may be personal: they are
only shown on a terminal, or with --names.

Exit codes:
    0  everything is ok
    3  a key cannot be used
    4  the store cannot be read, or has no such export
   10  something is bad
   11  nothing is bad, but something could not be checked (no fitting key, an unknown method)")]
pub(crate) struct Arguments {
    #[command(flatten)]
    store: store::StoreArguments,
    /// Which exports: their ids or the beginnings of them (default: all)
    run: Vec<String>,
    /// Show names of members also where standard output is no terminal
    #[arg(long)]
    names: bool,
    /// One JSON object for each artifact
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    keys: Keys,
}

pub(crate) fn run(arguments: &Arguments) -> std::result::Result<(), Failure> {
    super::logging::start();
    let identities = arguments.keys.load().because(Reason::Key)?;
    let store = arguments.store.open(&arguments.store.reach(), false)?;
    let subjects = chosen(arguments, subjects(&store, SystemTime::now()).because(Reason::Store)?)?;
    let output = Output::stdout();
    let mut worst = Verdict::Ok;
    let mut counts = [0; 3];
    for subject in &subjects {
        let bar = Bar::new(&subject.stem);
        let report = verify(&store, subject, &identities, &bar).because(Reason::Store)?;
        bar.clear();
        let verdict = report.verdict();
        counts[verdict as usize] += 1;
        if worst != Verdict::Bad && verdict != Verdict::Ok {
            worst = verdict;
        }
        let names = arguments.names || output.is_terminal();
        let lines = match arguments.json {
            true => show::json_lines(&[to_json(subject, &report, names)]),
            false => to_text(subject, &report, names, output.colored),
        };
        if !show::write_lines(&lines).because(Reason::Other)? {
            break;
        }
    }
    let [ok, bad, unchecked] = counts;
    let summary = format!("{ok} ok, {bad} bad, {unchecked} unchecked");
    match worst {
        Verdict::Ok => {
            super::output::say(&summary);
            Ok(())
        }
        Verdict::Bad => Err(Failure::new(Reason::Bad, summary)),
        Verdict::Unchecked => Err(Failure::new(Reason::Unchecked, summary)),
    }
}

fn chosen(arguments: &Arguments, mut subjects: Vec<Subject>) -> std::result::Result<Vec<Subject>, Failure> {
    if !arguments.run.is_empty() {
        let find = |run: &String| {
            store::chosen(subjects.iter().map(|subject| subject.stem.as_str()), run).map(str::to_string)
        };
        let wanted =
            arguments.run.iter().map(find).collect::<Result<Vec<String>>>().because(Reason::Store)?;
        subjects.retain(|subject| wanted.contains(&subject.stem));
    }
    Ok(subjects)
}

fn word(verdict: Verdict) -> (&'static str, Color) {
    match verdict {
        Verdict::Ok => ("ok", Color::Green),
        Verdict::Bad => ("bad", Color::Red),
        Verdict::Unchecked => ("unchecked", Color::Yellow),
    }
}

fn fault_place(fault: &Fault, names: bool) -> String {
    match &fault.place {
        FaultPlace::Part(name) => name.clone(),
        FaultPlace::Zip => "zip".into(),
        FaultPlace::Member { name, .. } if names => name.clone(),
        FaultPlace::Member { number, .. } => format!("member {number}"),
    }
}

fn to_text(subject: &Subject, report: &Report, names: bool, colored: bool) -> Vec<String> {
    let (word, color) = word(report.verdict());
    let verdict = console::Style::new().fg(color).force_styling(colored).apply_to(format!("{word:<9}"));
    let mut head = format!("{verdict}  {}  {}", show::clean(&subject.stem), count(report.parts, "part"));
    head += &format!(", {} stored", show::size(report.stored));
    if report.members > 0 {
        head += &format!(", {} of {}", count(report.members, "member"), show::size(report.content));
    }
    if report.has_manifest {
        head += ", manifest";
    }
    if let Some(left_out) = report.left_out {
        head += &format!(" ({left_out})");
    }
    let fault = |fault: &Fault| show::clean(&format!("{}: {}", fault_place(fault, names), fault.what));
    let faults = report.faults.iter().map(|f| format!("           {}", fault(f)));
    let more = (report.more > 0).then(|| format!("           and {} more", report.more));
    let unchecked =
        report.unchecked.iter().map(|why| format!("           not checked: {}", show::clean(why)));
    std::iter::once(head).chain(faults).chain(more).chain(unchecked).collect()
}

fn count(number: usize, what: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {what}{s}")
}

fn to_json(subject: &Subject, report: &Report, names: bool) -> Object {
    let fault = |fault: &Fault| {
        let key = match fault.place {
            FaultPlace::Part(_) => "part",
            FaultPlace::Member { .. } if names => "member",
            FaultPlace::Member { .. } => "number",
            FaultPlace::Zip => "zip",
        };
        let value = match &fault.place {
            FaultPlace::Member { number, .. } if !names => json!(number),
            _ => json!(fault_place(fault, names)),
        };
        json!({ key: value, "what": fault.what })
    };
    let entries = [
        ("run", json!(id_of(&subject.stem))),
        ("verdict", json!(word(report.verdict()).0)),
        ("parts", json!(report.parts)),
        ("stored_bytes", json!(report.stored)),
        ("members", json!(report.members)),
        ("content_bytes", json!(report.content)),
        ("manifest", json!(report.has_manifest)),
        ("faults", report.faults.iter().map(fault).collect()),
        ("more_faults", json!(report.more)),
        ("unchecked", json!(report.unchecked)),
        ("left_out", json!(report.left_out)),
    ];
    let is_there = |value: &Value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty());
    Object(entries.into_iter().filter(|(_, v)| is_there(v)).map(|(k, v)| (k.to_string(), v)).collect())
}
