//! Topics of the manual that have a manual page of their own.

pub(crate) struct Topic {
    /// Topic of the page in src/manual.
    pub(crate) topic: &'static str,
    pub(crate) name: &'static str,
    pub(crate) section: &'static str,
    /// What stands below NAME.
    pub(crate) about: &'static str,
    /// What stands above the page.
    pub(crate) title: &'static str,
}

pub(crate) const JOB: Topic = Topic {
    topic: "exporting",
    name: "cddsfs-job",
    section: "5",
    about: "job specs of cddsfs, and what the exports hold that they make",
    title: "File Formats",
};

pub(crate) const SEMANTICS: Topic = Topic {
    topic: "semantics",
    name: "cddsfs-semantics",
    section: "7",
    about: "what programs can rely on in a mount of cddsfs",
    title: "Miscellaneous",
};

/// Returns the manual page that a topic has, if it is not a part of cddsfs(1).
pub(crate) fn named(topic: &str) -> Option<String> {
    let of_its_own = [JOB, SEMANTICS].into_iter().find(|page| page.topic == topic)?;
    Some(format!("{}({})", of_its_own.name, of_its_own.section))
}

/// Returns the other manual pages of topics, with their sections.
pub(crate) fn others(page: &Topic) -> impl Iterator<Item = (&'static str, &'static str)> {
    let others = [(JOB.name, "(5)"), (SEMANTICS.name, "(7)")];
    let this = page.name;
    others.into_iter().filter(move |(name, _)| *name != this)
}
