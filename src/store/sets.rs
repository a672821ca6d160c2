//! Stored files, grouped into sets by their names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::parts::{Key, Listing, PartRef, Parts, Version};
use super::verified::{BlockHashes, Verified};
use crate::error::{At, Result};
use crate::format::part_name::{self, Ordinal};
use crate::io::{Cancel, Reader};

/// A stored file as it was when the location was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    pub name: String,
    key: Key,
    size: u64,
    pub(crate) mtime: SystemTime,
    /// Changes whenever the file may hold other bytes than before.
    pub(crate) version: Version,
    /// What is known about a part that we wrote.
    pub(crate) written: Option<Box<Written>>,
    access: Arc<ReadAccess>,
}

/// Access to the files of a location, shared by all of them.
struct ReadAccess {
    parts: Arc<dyn Parts>,
    stop: Cancel,
}

impl fmt::Debug for ReadAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadAccess").finish_non_exhaustive()
    }
}

/// Files are compared with others of the same store only.
impl PartialEq for ReadAccess {
    fn eq(&self, _other: &ReadAccess) -> bool {
        true
    }
}

impl Eq for ReadAccess {}

impl StoredFile {
    pub fn size(&self) -> u64 {
        self.size
    }

    fn part(&self) -> PartRef {
        PartRef {
            key: self.key.clone(),
            name: self.name.clone(),
            size: self.size,
            version: self.version.clone(),
            mtime: self.mtime,
        }
    }

    /// Opens the file, if it has not changed since it was looked at. What we wrote is verified as it is read.
    pub(crate) fn open(&self) -> Result<Reader> {
        let reader = self.access.parts.open(&self.part(), &self.access.stop)?;
        match &self.written {
            None => Ok(reader),
            Some(written) => {
                let verified = Verified::open(reader, written.hashes.clone(), written.size);
                Ok(Arc::new(verified.at(&self.name)?))
            }
        }
    }

    fn is_same(&self, other: &StoredFile) -> Result<bool> {
        let ReadAccess { parts, stop } = &*self.access;
        Ok(self.size == other.size && parts.same(&self.part(), &other.part(), stop)?)
    }
}

/// A part as it was written.
#[derive(Clone)]
pub(crate) struct Written {
    pub(crate) size: u64,
    /// Hash of all block hashes.
    pub(crate) root: [u8; 32],
    pub(crate) hashes: Arc<dyn BlockHashes>,
}

impl PartialEq for Written {
    fn eq(&self, other: &Written) -> bool {
        self.size == other.size && self.root == other.root
    }
}

impl Eq for Written {}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written").field("size", &self.size).finish_non_exhaustive()
    }
}

/// The files of a set by their ordinal, each with whether its name is that of a further download.
type Downloads = BTreeMap<Ordinal, Vec<(bool, Arc<StoredFile>)>>;

/// One part of a set, with further downloads of it, if there are any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPart {
    pub(crate) ordinal: Ordinal,
    pub file: Arc<StoredFile>,
    pub(crate) copies: Vec<Arc<StoredFile>>,
}

/// All parts of one export that are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSet {
    /// The beginning of the names of all parts: `export-<uuid>`.
    pub(crate) stem: String,
    /// In the order of their ordinals. An empty file is no part: a browser makes one to keep the name for a download.
    pub parts: Vec<StoredPart>,
    /// Parts that are missing, but being downloaded.
    pub(crate) downloading: BTreeSet<Ordinal>,
    /// Hash of names and versions of all files of the set.
    pub(crate) digest: [u8; 16],
    /// When the export was made; as far as its files tell, that is their oldest modification time.
    pub(crate) made: SystemTime,
    /// The run that has made it, if a catalogue knows one.
    pub run: Option<String>,
}

impl StoredSet {
    fn new(stem: String, mut files: Downloads, downloading: BTreeSet<Ordinal>) -> StoredSet {
        let mut hasher = blake3::Hasher::new();
        let mut parts = Vec::with_capacity(files.len());
        for (ordinal, versions) in &mut files {
            // The name without a browser's number comes first, then the others in their order.
            versions.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
            for (_, file) in versions.iter() {
                hasher.update(file.name.as_bytes()).update(&[0]);
                file.version.hash_into(&mut hasher);
            }
            let mut versions = versions.drain(..).map(|(_, file)| file);
            if let Some(file) = versions.next() {
                parts.push(StoredPart { ordinal: *ordinal, file, copies: versions.collect() });
            }
        }
        for ordinal in &downloading {
            hasher.update(ordinal.to_string().as_bytes()).update(&[1]);
        }
        let mut digest = [0; 16];
        digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        let made = parts.iter().map(|part| part.file.mtime).min().unwrap_or(SystemTime::UNIX_EPOCH);
        StoredSet { stem, parts, downloading, digest, made, run: None }
    }

    /// Tells the location that all parts are about to be opened.
    pub(crate) fn warm(&self) {
        if let Some(part) = self.parts.first() {
            let parts: Vec<PartRef> = self.parts.iter().map(|part| part.file.part()).collect();
            part.file.access.parts.warm(&parts);
        }
    }

    /// Returns the same set as the artifact of a run, made when the run ended.
    ///
    /// `is_deleted` and `written` tell what is known about each part by its name.
    pub(crate) fn of_run(
        &self,
        run: String,
        made: SystemTime,
        is_deleted: impl Fn(&str) -> bool,
        written: impl Fn(&str) -> Option<Written>,
    ) -> StoredSet {
        let mut set = self.clone();
        set.parts.retain(|part| !is_deleted(&part.file.name));
        for part in &mut set.parts {
            let written = written(&part.file.name).map(Box::new);
            part.file = Arc::new(StoredFile { mtime: made, written, ..(*part.file).clone() });
        }
        (set.made, set.run) = (made, Some(run));
        set
    }

    /// Size of all stored parts in bytes.
    pub(crate) fn stored_size(&self) -> u64 {
        self.parts.iter().map(|part| part.file.size()).sum()
    }

    /// Finds two files that claim to be the same part and differ.
    pub(crate) fn conflict(&self) -> Result<Option<(Arc<StoredFile>, Arc<StoredFile>)>> {
        for part in &self.parts {
            for copy in &part.copies {
                if !part.file.is_same(copy)? {
                    return Ok(Some((part.file.clone(), copy.clone())));
                }
            }
        }
        Ok(None)
    }
}

/// The files of a location at one moment, and the sets that they make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupedFiles {
    pub(crate) sets: BTreeMap<String, Arc<StoredSet>>,
    /// Every encrypted file, by its name.
    pub(crate) files: BTreeMap<String, Arc<StoredFile>>,
}

/// The origin of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// They are downloaded: an empty file keeps the name for a part that is being downloaded.
    Downloads,
    /// We have written them: an empty file is damaged.
    Exports,
}

/// Groups what is listed. Reading the files fails once `stop` is raised.
pub(crate) fn group(
    parts: &Arc<dyn Parts>,
    listing: &Listing,
    origin: Origin,
    stop: &Cancel,
) -> GroupedFiles {
    let access = Arc::new(ReadAccess { parts: parts.clone(), stop: stop.clone() });
    let mut files = BTreeMap::new();
    let mut sets: BTreeMap<String, Downloads> = BTreeMap::new();
    for listed in &listing.parts {
        let PartRef { key, name, size, version, mtime } = listed.clone();
        let file = StoredFile { name, key, size, mtime, version, written: None, access: access.clone() };
        let file = Arc::new(file);
        let part = part_name::parse(&listed.name).filter(|_| origin == Origin::Exports || size > 0);
        if let Some(part) = part {
            let set = sets.entry(part.stem.to_string()).or_default();
            set.entry(part.ordinal).or_default().push((part.is_copy, file.clone()));
        }
        files.insert(file.name.clone(), file);
    }
    let unfinished = listing.unfinished.iter().flat_map(|name| part_name::unfinished(name));
    let unfinished: Vec<_> = unfinished.map(|part| (part.stem, part.ordinal)).collect();
    GroupedFiles { sets: by_shown_stem(sets, &unfinished), files }
}

/// Makes sets of files, by the stems that they are shown with.
fn by_shown_stem(
    mut sets: BTreeMap<String, Downloads>,
    unfinished: &[(String, Ordinal)],
) -> BTreeMap<String, Arc<StoredSet>> {
    let mut downloading: BTreeMap<String, BTreeSet<Ordinal>> = BTreeMap::new();
    for (stem, ordinal) in unfinished {
        if sets.get(stem).is_some_and(|set| !set.contains_key(ordinal)) {
            downloading.entry(stem.clone()).or_default().insert(*ordinal);
        }
    }
    let unsafe_stems = sets.extract_if(.., |stem, _| part_name::shown(stem) != *stem).collect::<Vec<_>>();
    let mut named = BTreeMap::new();
    for (stem, files) in sets.into_iter().chain(unsafe_stems) {
        let downloading = downloading.remove(&stem).unwrap_or_default();
        let shown = part_name::shown(&stem);
        let free = (1..).map(|n| part_name::numbered(&shown, n)).find(|name| !named.contains_key(name));
        let stem = if named.contains_key(&shown) { free.unwrap_or(shown) } else { shown };
        named.insert(stem.clone(), Arc::new(StoredSet::new(stem, files, downloading)));
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::parts::local::Local;
    use std::fs;

    fn scan(dir: &std::path::Path) -> GroupedFiles {
        let (parts, stop): (Arc<dyn Parts>, _) = (Arc::new(Local::new(dir)), Cancel::new());
        group(&parts, &parts.list(&stop).unwrap(), Origin::Downloads, &stop)
    }

    fn store(files: &[(&str, &str)]) -> (tempfile::TempDir, GroupedFiles) {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(dir.path().join(name), content).unwrap();
        }
        let snapshot = scan(dir.path());
        (dir, snapshot)
    }

    #[test]
    fn files_are_grouped_and_ordered() {
        let (_dir, snapshot) = store(&[
            ("export-1.z10.smime", "x"),
            ("export-1.z02.smime", "x"),
            ("export-1.zip.smime", "x"),
            ("export-2.zip.smime", "x"),
            ("export-2.zip.smime.crdownload", "x"),
            ("holiday.jpg", "x"),
            ("other.smime", "x"),
        ]);
        let names: Vec<_> = snapshot.sets["export-1"].parts.iter().map(|p| p.ordinal.to_string()).collect();
        assert_eq!(names, [".z02", ".z10", ".zip"]);
        assert_eq!(snapshot.sets.len(), 2);
        assert_eq!(snapshot.files.len(), 5);
    }

    #[test]
    fn a_file_of_no_bytes_is_a_part_that_is_missing() {
        let (_dir, snapshot) = store(&[
            ("e.z01.smime", "x"),
            ("e.z02.smime", ""),
            ("e.z02.Xk3fQz.smime.part", "x"),
            ("e.z03.smime.crdownload", "x"),
            ("e.z04.smime", ""),
            ("e.zip (1).smime", ""),
            ("e.zip.smime", "x"),
            ("e.zip.smime.download", "x"),
            ("only.zip.smime", ""),
            ("only.Ab12cD.zip.smime.part", "x"),
        ]);
        let set = &snapshot.sets["e"];
        let parts: Vec<_> = set.parts.iter().map(|part| part.ordinal).collect();
        assert_eq!(parts, [Ordinal::Split(1), Ordinal::Last]);
        assert_eq!(set.downloading, BTreeSet::from([Ordinal::Split(2), Ordinal::Split(3)]));
        assert!(set.parts.iter().all(|part| part.copies.is_empty()), "an empty second download is none");
        assert_eq!(snapshot.sets.len(), 1, "nothing but empty files is no export");
        assert_eq!(snapshot.files.len(), 6, "they are still shown as files");
    }

    #[test]
    fn stems_that_are_no_names_are_shown_as_hostile_names_inside_zips_are() {
        let long = "x".repeat(244);
        let (_dir, snapshot) = store(&[
            ("..zip.smime", "x"),
            ("...zip.smime", "x"),
            ("....zip.smime", "x"),
            ("%2E.zip.smime", "x"),
            ("a\nb.zip.smime", "x"),
            (&format!("{long}.zip.smime"), "x"),
        ]);
        let stems: Vec<_> = snapshot.sets.keys().map(String::as_str).collect();
        let cut = stems[stems.len() - 1];
        assert_eq!(stems[..stems.len() - 1], ["%2E", "%2E%2E", "%2E~1", "...", "a%0Ab"]);
        assert!(cut.starts_with("xxx") && cut.len() + ".zip.incomplete".len() <= 255, "{cut}");
        assert!(snapshot.sets.iter().all(|(stem, set)| *stem == set.stem));
    }

    #[test]
    fn second_downloads_are_no_conflict_unless_they_differ() {
        let (_dir, snapshot) =
            store(&[("e (1).z01.smime", "same"), ("e.z01.smime", "same"), ("e.zip.smime", "z")]);
        let set = &snapshot.sets["e"];
        assert_eq!(set.parts[0].file.name, "e.z01.smime");
        assert_eq!(set.conflict().unwrap(), None);
        let (_dir, snapshot) = store(&[("e (1).z01.smime", "same"), ("e.z01.smime", "some")]);
        let (a, b) = snapshot.sets["e"].conflict().unwrap().unwrap();
        assert_eq!((a.name.as_str(), b.name.as_str()), ("e.z01.smime", "e (1).z01.smime"));
    }

    #[test]
    fn other_bytes_are_another_digest() {
        let (dir, before) = store(&[("e.zip.smime", "one")]);
        assert_eq!(scan(dir.path()), before);
        fs::write(dir.path().join("e.zip.smime"), "two").unwrap();
        assert_ne!(scan(dir.path()).sets["e"].digest, before.sets["e"].digest);
    }
}
