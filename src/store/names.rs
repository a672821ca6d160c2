//! What the files of a run are called: `export-<uuid>.z01.smime` and so on, and in a directory
//! `.export-<uuid>.<fence>.<n>.tmp` while they are written. A name from a catalogue or a directory is used only if it
//! is one of these.

use super::parts::Key;
use crate::error::Result;
use crate::format::part_name::{self, Ordinal, file_name};

const PREFIX: &str = "export-";
const UNFINISHED: &str = ".tmp";

/// Returns what the names of a run's files begin with.
pub fn stem_of(id: &str) -> String {
    format!("{PREFIX}{id}")
}

/// Returns the run's id: the stem without the word that CDDS puts before it.
pub(crate) fn id_of(stem: &str) -> &str {
    stem.strip_prefix(PREFIX).unwrap_or(stem)
}

/// Returns what a file of a run is called until it gets its name. `of` begins with the run's id.
pub(crate) fn unfinished(of: &str) -> String {
    format!(".{PREFIX}{of}{UNFINISHED}")
}

/// One attempt at a run: what its parts are called, and by which keys they are reached while they are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    run: String,
    fence: u32,
}

impl Attempt {
    pub fn new(run: &str, fence: u32) -> Attempt {
        Attempt { run: run.into(), fence }
    }

    pub(crate) fn stem(&self) -> String {
        stem_of(&self.run)
    }

    /// Returns the key of a part that is being made: no other attempt has it.
    pub fn key(&self, number: u32) -> Result<Key> {
        Key::new(format!("{}/{}/{number}", self.run, self.fence))
    }

    pub fn name(&self, ordinal: Ordinal) -> String {
        file_name(&self.stem(), ordinal)
    }
}

/// Bytes of a run's id.
const ID: usize = 36;

/// Returns what a file is called in a directory that several hosts share: no other attempt has that name, so that a worker
/// whose claim is lost cannot replace a file of its successor.
pub(crate) fn fenced(name: &str, fence: u32) -> Option<String> {
    let (stem, rest) = name.split_at_checked(PREFIX.len() + ID)?;
    Some(format!("{stem}.{fence}{rest}"))
}

/// Takes such a name apart: the name without the fence, and the fence.
fn unfenced(file: &str) -> Option<(String, u32)> {
    let (stem, rest) = file.split_at_checked(PREFIX.len() + ID)?;
    let (fence, rest) = rest.strip_prefix('.')?.split_once('.')?;
    let number = fence.parse().ok().filter(|number: &u32| number.to_string() == fence)?;
    Some((format!("{stem}.{rest}"), number))
}

/// Returns true for a key that a part of that run and that name can have.
pub(crate) fn is_key_of(id: &str, name: &str, key: &Key) -> bool {
    let is_of_attempt = || key.as_str().strip_prefix(id).is_some_and(|rest| rest.starts_with('/'));
    let is_fenced = || unfenced(key.as_str()).is_some_and(|(unfenced, _)| unfenced == name);
    is_run_id(id) && (key.as_str() == name || is_of_attempt() || is_fenced())
}

/// Returns true for an id that a run can have: a UUID in lower case with hyphens.
pub(crate) fn is_run_id(id: &str) -> bool {
    uuid::Uuid::parse_str(id).is_ok_and(|uuid| uuid.hyphenated().to_string() == id)
}

/// Returns which part of a run a file is, if it has exactly the name of that part.
pub(crate) fn part_of(id: &str, file: &str) -> Option<Ordinal> {
    let part = part_name::parse(file)?;
    let is_ours = is_run_id(id) && file == file_name(&stem_of(id), part.ordinal);
    is_ours.then_some(part.ordinal)
}

/// A file that some run has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunFile<'a> {
    /// The id of the run.
    pub(crate) id: &'a str,
    /// True if it does not have its final name yet, or one that does not tell whether an artifact has it.
    pub(crate) is_unfinished: bool,
    /// The fence of the attempt that has made it, if its name has it.
    pub(crate) fence: Option<u32>,
}

/// Takes the name of a run's file apart; `None` for a file that no run has made.
pub(crate) fn parse(file: &str) -> Option<RunFile<'_>> {
    let is_unfinished = file.starts_with('.') && file.ends_with(UNFINISHED);
    let id = file.strip_prefix('.').unwrap_or(file).strip_prefix(PREFIX)?.get(..ID)?;
    if let Some((name, fence)) = unfenced(file)
        && part_of(id, &name).is_some()
    {
        // Only the catalogue knows which attempt's files make the artifact.
        return Some(RunFile { id, is_unfinished: true, fence: Some(fence) });
    }
    let is_ours = if is_unfinished { is_run_id(id) } else { part_of(id, file).is_some() };
    // `.<fence>.<n>`; 0.1.0 had no fence.
    let rest = file.get(1 + PREFIX.len() + ID + 1..file.len() - UNFINISHED.len()).filter(|_| is_unfinished);
    let fence = rest.and_then(|rest| rest.split_once('.')?.0.parse().ok());
    is_ours.then_some(RunFile { id, is_unfinished, fence })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "302a38f0-b493-4921-b8e4-61c1e18a0655";

    #[test]
    fn only_names_of_a_run_are_taken_for_files_of_it() {
        assert_eq!(part_of(ID, &format!("export-{ID}.z01.smime")), Some(Ordinal::Split(1)));
        assert_eq!(part_of(ID, &format!("export-{ID}.zip.smime")), Some(Ordinal::Last));
        for name in [
            "/etc/passwd".to_string(),
            format!("../export-{ID}.zip.smime"),
            format!("export-{ID}.zip.smime/../../x"),
            format!("export-{ID} (1).zip.smime"),
            format!("export-{ID}.z1.smime"),
            format!("export-{ID}.ZIP.smime"),
            "export-.zip.smime".into(),
            String::new(),
        ] {
            assert_eq!(part_of(ID, &name), None, "{name}");
        }
        assert_eq!(part_of("../x", "export-../x.zip.smime"), None);
        assert!(!is_run_id(&ID.to_uppercase()) && !is_run_id(&ID.replace('-', "")));
    }

    #[test]
    fn files_tell_their_run() {
        let of = |name: &str| parse(name).map(|file| (file.id.to_string(), file.is_unfinished));
        let fence = |name: &str| parse(name).unwrap().fence;
        assert_eq!(fence(&unfinished(&format!("{ID}.12.3"))), Some(12));
        assert_eq!(fence(&format!(".export-{ID}.3.tmp")), None);
        assert_eq!(fence(&format!("export-{ID}.z12.smime")), None);
        assert_eq!(of(&format!("export-{ID}.z12.smime")), Some((ID.into(), false)));
        assert_eq!(of(&format!(".export-{ID}.3.tmp")), Some((ID.into(), true)));
        let shared = fenced(&format!("export-{ID}.zip.smime"), 7).unwrap();
        assert_eq!((of(&shared), fence(&shared)), (Some((ID.into(), true)), Some(7)));
        let is_key = |key: &str| is_key_of(ID, &format!("export-{ID}.zip.smime"), &Key::new(key).unwrap());
        assert!(
            is_key(&shared)
                && !is_key(&shared.replace(".7.", ".07."))
                && !is_key(&shared.replace("zip", "z01"))
        );
        for name in [".export-x.3.tmp", "export-x.zip.smime", "holiday.jpg", ".export-", ""] {
            assert_eq!(of(name), None, "{name}");
        }
    }
}
