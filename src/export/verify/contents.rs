//! What is inside: every member is read as a whole, and compared with the central directory and the manifest.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{FaultPlace, MAX_FAULTS, ProgressListener, Report, on_all_cores};
use crate::artifact::Zip;
use crate::artifact::audit::Audit;
use crate::crypto::Sha256;
use crate::error::{Error, Kind, Result};
use crate::export::manifest::{self, ManifestFile};
use crate::format::text::hex;

/// cddsfs writes no longer manifest.
const MAX_MANIFEST: usize = 64 << 20;

/// Reads all members, and adds to the report what is wrong. Fails with [`Kind::Irregular`] if the zip has to be opened
/// again by a full index.
pub(crate) fn check(zip: &Arc<Zip>, watch: &dyn ProgressListener, report: &mut Report) -> Result<()> {
    let audit = Audit::open(zip.clone())?;
    let listed = manifest_of(&audit)?;
    watch.stage("contents", audit.content());
    let found: Mutex<BTreeMap<String, ManifestFile>> = Mutex::default();
    let wrong: Mutex<Wrong> = Mutex::default();
    let order = audit.largest_first();
    on_all_cores(order.len(), |n| {
        let i = order[n];
        let mut sum = Sum { hash: listed.is_some().then(Sha256::default), rows: 0, bytes: 0 };
        let read = audit.read(i, |bytes| {
            sum.add(bytes);
            watch.done(bytes.len() as u64);
        });
        match (read, listed.is_some()) {
            (Ok(()), false) => {}
            (Ok(()), true) => {
                if let Ok(name) = audit.name(i).map(|name| name.to_string()) {
                    found.lock().insert(name, sum.finish());
                }
            }
            (Err(error), _) => wrong.lock().add(i, error),
        }
    });
    let wrong = wrong.into_inner();
    if let Some(error) = wrong.irregular {
        return Err(error);
    }
    let member = |i: usize| FaultPlace::Member { number: i + 1, name: audit.name(i).unwrap_or_default() };
    for (i, error) in &wrong.first {
        report.add_error(member(*i), error);
    }
    report.more += wrong.more;
    report.members = audit.members();
    report.content = audit.content();
    // If members could not be read, that has been reported; that they then differ from the manifest adds nothing.
    if let (Some(listed), true) = (listed, wrong.first.is_empty()) {
        report.has_manifest = true;
        let mut found = found.into_inner();
        found.retain(|name, _| name != manifest::NAME && !name.ends_with('/'));
        let numbers: BTreeMap<String, usize> =
            (0..audit.members()).filter_map(|i| Some((audit.name(i).ok()?, i + 1))).collect();
        for (name, what) in manifest::differences(&listed?, &found) {
            let number = numbers.get(&name).copied().unwrap_or(0);
            report.add(FaultPlace::Member { number, name }, what);
        }
    }
    for error in audit.structure() {
        report.add_error(FaultPlace::Zip, &error);
    }
    Ok(())
}

/// The members that are wrong: the first of them, and how many more there are.
#[derive(Default)]
struct Wrong {
    first: BTreeMap<usize, Error>,
    more: usize,
    /// The zip has to be opened again by a full index.
    irregular: Option<Error>,
}

impl Wrong {
    fn add(&mut self, member: usize, error: Error) {
        if error.kind() == Kind::Irregular {
            self.irregular = Some(error);
            return;
        }
        self.first.insert(member, error);
        if self.first.len() > MAX_FAULTS {
            self.first.pop_last();
            self.more += 1;
        }
    }
}

/// Returns the files of the manifest, if there is one of ours that can be read.
fn manifest_of(audit: &Audit) -> Result<Option<Result<BTreeMap<String, ManifestFile>>>> {
    let Some(i) = audit.find(manifest::NAME)? else { return Ok(None) };
    let mut text = Vec::new();
    let read = audit.read(i, |bytes| {
        if text.len() <= MAX_MANIFEST {
            text.extend_from_slice(bytes);
        }
    });
    match read {
        Err(error) if error.kind() == Kind::Irregular => Err(error),
        Ok(()) if text.len() <= MAX_MANIFEST => Ok(manifest::parse(&text)),
        // The fault is reported when it is read again with the other members.
        _ => Ok(None),
    }
}

/// Works out of a file what a manifest says about it.
struct Sum {
    hash: Option<Sha256>,
    rows: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
            self.rows += memchr::memchr_iter(b'\n', bytes).count() as u64;
            self.bytes += bytes.len() as u64;
        }
    }

    fn finish(self) -> ManifestFile {
        let sha256 = self.hash.map(|hash| hex(&hash.finish())).unwrap_or_default();
        ManifestFile { rows: self.rows, bytes: self.bytes, sha256 }
    }
}
