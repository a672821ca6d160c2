//! Topics of the manual that have a manual page of their own.

pub struct Topic {
    /// Of the page in src/manual.
    pub topic: &'static str,
    pub name: &'static str,
    pub section: &'static str,
    /// What stands below NAME.
    pub about: &'static str,
    /// What stands above the page.
    pub title: &'static str,
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

/// Returns the other ones, with their sections.
pub fn others(page: &Topic) -> impl Iterator<Item = (&'static str, &'static str)> {
    let others = [(JOB.name, "(5)"), (SEMANTICS.name, "(7)")];
    let this = page.name;
    others.into_iter().filter(move |(name, _)| *name != this)
}
