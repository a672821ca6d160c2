//! Manual pages that are a page of the manual each.

use clap_mangen::roff::{Roff, roman};

use super::roff::{self, Levels};
use crate::manual;

pub struct Topic {
    /// Of the page in src/manual.
    topic: &'static str,
    name: &'static str,
    section: &'static str,
    /// What stands below NAME.
    about: &'static str,
    /// What stands above the page.
    title: &'static str,
}

pub const JOB: Topic = Topic {
    topic: "exporting",
    name: "cddsfs-job",
    section: "5",
    about: "job specs of cddsfs, and what the exports hold that they make",
    title: "File Formats",
};

pub const SEMANTICS: Topic = Topic {
    topic: "semantics",
    name: "cddsfs-semantics",
    section: "7",
    about: "what programs can rely on in a mount of cddsfs",
    title: "Miscellaneous",
};

/// Returns the manual page that a topic has, if it is not a part of cddsfs(1).
pub fn named(topic: &str) -> Option<String> {
    let of_its_own = [JOB, SEMANTICS].into_iter().find(|page| page.topic == topic)?;
    Some(format!("{}({})", of_its_own.name, of_its_own.section))
}

pub fn page(page: &Topic) -> String {
    let mut out = Roff::new();
    let source = concat!("cddsfs ", env!("CARGO_PKG_VERSION"));
    out.control("TH", [page.name, page.section, "", source, page.title]);
    out.control("SH", ["NAME"]);
    out.text([roman(format!("{} - {}", page.name, page.about))]);
    out.control("SH", ["DESCRIPTION"]);
    let text = manual::page(page.topic).map_or("", |page| page.text);
    roff::append(&mut out, text, Levels::Own);
    out.control("SH", ["SEE ALSO"]);
    roff::see(&mut out, [("cddsfs", "(1)")].into_iter().chain(others(page)));
    out.to_roff()
}

fn others(page: &Topic) -> impl Iterator<Item = (&'static str, &'static str)> {
    let others = [(JOB.name, "(5)"), (SEMANTICS.name, "(7)")];
    let this = page.name;
    others.into_iter().filter(move |(name, _)| *name != this)
}
