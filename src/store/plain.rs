//! A plain store: any directory with encrypted parts in it. It is only ever read.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::{At, Result};
use crate::format::part_name::{self, Ordinal};
use crate::io::{BlockHashes, FileReader, ReadAt, with_scratch};

/// A stored file as it was when the directory was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    pub name: String,
    pub path: PathBuf,
    pub size: u64,
    pub mtime: SystemTime,
    /// Changes whenever the file may hold other bytes than before.
    pub version: Version,
    /// What is known of a part that we wrote.
    pub written: Option<Written>,
}

/// A part as it was written.
#[derive(Clone)]
pub struct Written {
    pub size: u64,
    /// Hash of all block hashes.
    pub root: [u8; 32],
    pub hashes: Arc<dyn BlockHashes>,
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

/// Identity, size and times of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    inode: u64,
    size: u64,
    mtime_ns: i128,
    ctime_ns: i128,
}

impl Version {
    fn of(meta: &Metadata) -> Version {
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        Version {
            inode: meta.ino(),
            size: meta.len(),
            mtime_ns: ns(meta.mtime(), meta.mtime_nsec()),
            ctime_ns: ns(meta.ctime(), meta.ctime_nsec()),
        }
    }

    pub fn hash_into(&self, hasher: &mut blake3::Hasher) {
        hasher.update(&self.inode.to_le_bytes());
        hasher.update(&self.size.to_le_bytes());
        hasher.update(&self.mtime_ns.to_le_bytes());
        hasher.update(&self.ctime_ns.to_le_bytes());
    }
}

/// The files of a set by their place, each with whether its name is that of a further download.
type Downloads = BTreeMap<Ordinal, Vec<(bool, Arc<StoredFile>)>>;

/// One part of a set, with further downloads of it, if there are any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPart {
    pub ordinal: Ordinal,
    pub file: Arc<StoredFile>,
    pub copies: Vec<Arc<StoredFile>>,
}

/// All parts of one export that are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSet {
    /// What the names of all parts begin with: `export-<uuid>`.
    pub stem: String,
    /// In the order of their ordinals.
    pub parts: Vec<StoredPart>,
    /// Hash of names and versions of all files of the set.
    pub digest: [u8; 16],
    /// When the export was made; as far as its files tell, that is their oldest modification time.
    pub made: SystemTime,
    /// The run that it is of, where the catalogue knows.
    pub run: Option<String>,
}

impl StoredSet {
    fn new(stem: String, mut files: Downloads) -> StoredSet {
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
        let mut digest = [0; 16];
        digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        let made = parts.iter().map(|part| part.file.mtime).min().unwrap_or(SystemTime::UNIX_EPOCH);
        StoredSet { stem, parts, digest, made, run: None }
    }

    /// Returns the same set as that of a run, made when the run ended.
    ///
    /// `is_deleted` and `written` tell what is known of each part by its name.
    pub fn of_run(
        &self,
        run: String,
        made: SystemTime,
        is_deleted: impl Fn(&str) -> bool,
        written: impl Fn(&str) -> Option<Written>,
    ) -> StoredSet {
        let mut set = self.clone();
        set.parts.retain(|part| !is_deleted(&part.file.name));
        for part in &mut set.parts {
            let written = written(&part.file.name);
            part.file = Arc::new(StoredFile { mtime: made, written, ..(*part.file).clone() });
        }
        (set.made, set.run) = (made, Some(run));
        set
    }

    /// Size of all stored parts in bytes.
    pub fn stored_size(&self) -> u64 {
        self.parts.iter().map(|part| part.file.size).sum()
    }

    /// Finds two files that claim to be the same part and differ.
    ///
    /// Files of the same size are compared byte by byte; sets with second downloads are rare.
    pub fn conflict(&self) -> Result<Option<(Arc<StoredFile>, Arc<StoredFile>)>> {
        for part in &self.parts {
            for copy in &part.copies {
                if part.file.size != copy.size || !same_content(&part.file.path, &copy.path)? {
                    return Ok(Some((part.file.clone(), copy.clone())));
                }
            }
        }
        Ok(None)
    }
}

fn same_content(a: &Path, b: &Path) -> Result<bool> {
    const STEP: usize = 128 << 10;
    let (a, b) = (FileReader::open(a)?, FileReader::open(b)?);
    if a.len() != b.len() {
        return Ok(false);
    }
    let mut at = 0;
    while at < a.len() {
        let (n, same) = with_scratch(STEP, |left| {
            with_scratch(STEP, |right| {
                let n = a.read_at(left, at)?;
                b.read_exact_at(&mut right[..n], at)?;
                Ok::<_, crate::error::Error>((n, left[..n] == right[..n]))
            })
        })?;
        if !same {
            return Ok(false);
        }
        at += n as u64;
    }
    Ok(true)
}

/// What a directory holds at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub sets: BTreeMap<String, Arc<StoredSet>>,
    /// Every encrypted file, by its name.
    pub files: BTreeMap<String, Arc<StoredFile>>,
    pub mtime: SystemTime,
}

/// Looks at a directory. What cannot be looked at (it may just have vanished) is left out.
pub fn scan(dir: &Path) -> Result<Found> {
    let place = dir.display();
    let mtime = fs::metadata(dir).and_then(|meta| meta.modified()).at(&place)?;
    let mut files = BTreeMap::new();
    let mut sets: BTreeMap<String, Downloads> = BTreeMap::new();
    for entry in fs::read_dir(dir).at(&place)? {
        let entry = entry.at(&place)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let part = part_name::parse(&name);
        if part.is_none() && !part_name::is_encrypted(&name) {
            continue;
        }
        let path = entry.path();
        let Some(meta) = followed(&entry).filter(Metadata::is_file) else { continue };
        let file = Arc::new(StoredFile {
            name: name.clone(),
            path,
            size: meta.len(),
            mtime: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            version: Version::of(&meta),
            written: None,
        });
        if let Some(part) = part {
            let set = sets.entry(part.stem.to_string()).or_default();
            set.entry(part.ordinal).or_default().push((part.is_copy, file.clone()));
        }
        files.insert(name, file);
    }
    let sets =
        sets.into_iter().map(|(stem, files)| (stem.clone(), Arc::new(StoredSet::new(stem, files)))).collect();
    Ok(Found { sets, files, mtime })
}

/// Looks at what an entry is or, for a symbolic link, leads to.
fn followed(entry: &fs::DirEntry) -> Option<Metadata> {
    let own = entry.metadata().ok()?;
    if own.is_symlink() { fs::metadata(entry.path()).ok() } else { Some(own) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(files: &[(&str, &str)]) -> (tempfile::TempDir, Found) {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(dir.path().join(name), content).unwrap();
        }
        let snapshot = scan(dir.path()).unwrap();
        (dir, snapshot)
    }

    #[test]
    fn files_are_grouped_and_ordered() {
        let (_dir, snapshot) = store(&[
            ("export-1.z10.smime", ""),
            ("export-1.z02.smime", ""),
            ("export-1.zip.smime", ""),
            ("export-2.zip.smime", ""),
            ("export-2.zip.smime.crdownload", ""),
            ("holiday.jpg", ""),
            ("other.smime", ""),
        ]);
        let names: Vec<_> = snapshot.sets["export-1"].parts.iter().map(|p| p.ordinal.to_string()).collect();
        assert_eq!(names, [".z02", ".z10", ".zip"]);
        assert_eq!(snapshot.sets.len(), 2);
        assert_eq!(snapshot.files.len(), 5);
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
        assert_eq!(scan(dir.path()).unwrap(), before);
        fs::write(dir.path().join("e.zip.smime"), "two").unwrap();
        assert_ne!(scan(dir.path()).unwrap().sets["e"].digest, before.sets["e"].digest);
    }
}
