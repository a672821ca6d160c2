//! The manual: what users are told, once. `cddsfs help TOPIC` shows its pages on the terminal, `cddsfs man` makes
//! manual pages of them, and the modules here show them in `cargo doc`.

/// A page, in Markdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The topic of `cddsfs help TOPIC`, and the name of the file without `.md`.
    pub topic: &'static str,
    /// What it is about, in a line.
    pub summary: &'static str,
    pub text: &'static str,
}

macro_rules! pages {
    ($($module:ident $topic:literal $summary:literal)*) => {
        $(
            #[doc = include_str!(concat!("manual/", $topic, ".md"))]
            pub mod $module {}
        )*

        /// All pages, in the order in which one would read them.
        pub const PAGES: &[Page] = &[$(Page {
            topic: $topic,
            summary: $summary,
            text: include_str!(concat!("manual/", $topic, ".md")),
        }),*];
    };
}

pages! {
    installing "installing" "from a package, and without one"
    mounting "mounting" "stores, what a mount shows, what is read, options, signals, fstab, systemd"
    exporting "exporting" "job specs, what an export holds, the database, the store and its backup"
    scaling "scaling" "stores in buckets, stores of several hosts, and what that costs"
    semantics "semantics" "what programs can rely on, with examples"
    commands "commands" "all commands, and their exit codes"
    errors "errors" "what opening an export gives, and what the log says then"
    troubleshooting "troubleshooting" "what to do, by what is printed and by what happens"
    limits "limits" "budgets for what comes from outside"
    security "security" "where plaintext is, and who can do what"
    performance "performance" "figures, beside other programs"
    tested_with "tested-with" "the suites of others, and what they came to"
    developing "developing" "tests, corpus, benchmarks, fuzzing; how to add something"
    changes "changes" "what is new, breaking changes first"
}

/// Returns the page of a topic.
pub fn page(topic: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.topic == topic)
}
