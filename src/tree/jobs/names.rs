//! Names in `jobs/`: those of jobs, our own (`new`, `errors`), and temporary ones.

use crate::error::{Error, Kind, Result};

pub(crate) const NEW: &str = "new";
pub(crate) const ERRORS: &str = "errors";
const SUFFIX: &str = ".json";
/// NAME_MAX
const MAX: usize = 255;

/// What a name in `jobs/` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    New,
    Errors,
    /// The name of a job, without `.json`.
    Job(&'a str),
    Scratch,
}

pub(crate) fn classify(name: &str) -> Name<'_> {
    match (name, name.strip_suffix(SUFFIX)) {
        (NEW, _) => Name::New,
        (ERRORS, _) => Name::Errors,
        (_, Some(job)) if is_job(job) => Name::Job(job),
        _ => Name::Scratch,
    }
}

/// Returns true if a job can be shown under this name.
pub(crate) fn is_job(job: &str) -> bool {
    let is_plain = |c: char| !c.is_control() && c != '/';
    !job.is_empty() && !job.starts_with('.') && job.len() + SUFFIX.len() <= MAX && job.chars().all(is_plain)
}

pub(crate) fn file_of(job: &str) -> String {
    format!("{job}{SUFFIX}")
}

/// Fails for what cannot be the name of a new file.
pub(crate) fn check(name: &str) -> Result<()> {
    if name.len() > MAX {
        return Err(Error::new(Kind::Os(libc::ENAMETOOLONG), "the name is longer than 255 bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(classify("a b.json"), Name::Job("a b"));
        assert_eq!(classify("new.json"), Name::Job("new"));
        for name in [".json", ".a.json", ".a.json.swp", "a.json~", "4913", "a\nb.json", "A.JSON"] {
            assert_eq!(classify(name), Name::Scratch, "{name}");
        }
        assert_eq!(classify(&format!("{}.json", "x".repeat(250))), Name::Job(&"x".repeat(250)));
        assert_eq!(classify(&format!("{}.json", "x".repeat(251))), Name::Scratch);
        assert!(check(&"x".repeat(255)).is_ok() && check(&"x".repeat(256)).is_err());
    }
}
