//! Reading all of a zip to see whether it is sound: its structure, and the CRC-32 of every member.
//!
//! Members are counted from 0, in the order of the central directory.

use parking_lot::Mutex;
use std::sync::Arc;

use super::directory::entry_at;
use super::member::{self, MemberResources};
use super::set::Zip;
use crate::error::{Error, Result};
use crate::format::member_name;
use crate::format::zip::{self, Entry, LOCAL_HEADER_LEN, ZIP64_EXTRA};
use crate::io::{ReadAt, Reader};

/// Bytes of a member that are read at a time: one block of those that are decoded in blocks.
const STEP: usize = 256 << 10;

/// Members that are audited, at most: each takes some bytes of memory.
const MAX_MEMBERS: usize = 1 << 20;

/// A zip that is being audited.
pub(crate) struct Audit {
    zip: Arc<Zip>,
    shared: Arc<MemberResources>,
    /// Positions of the headers in the directory, and sizes of the members.
    entries: Vec<(u64, u64)>,
    /// Bytes of all members, decoded.
    content: u64,
    /// What is wrong with the directory itself.
    wrong: Vec<Error>,
    /// Begin, end and number of each member that has been read.
    taken: Mutex<Vec<(u64, u64, usize)>>,
}

impl Audit {
    /// Reads the central directory.
    pub fn open(zip: Arc<Zip>) -> Result<Audit> {
        let mut entries = Vec::new();
        let mut content = 0u64;
        let end = zip.each_entry(|entry, at| {
            if entries.len() == MAX_MEMBERS {
                return Err(Error::unsupported(format!("a zip with more than {MAX_MEMBERS} members")));
            }
            entries.push((at, entry.size));
            content = content.saturating_add(entry.size);
            Ok(())
        })?;
        let directory = zip.directory();
        let mut wrong = Vec::new();
        if let Some(error) = zip.broken_off(end)? {
            wrong.push(error);
        } else if !directory.announces(entries.len() as u64) {
            wrong.push(Error::damaged(format!(
                "the end record says {} members, the central directory has {}",
                directory.entries,
                entries.len()
            )));
        }
        Ok(Audit { zip, shared: Arc::default(), entries, content, wrong, taken: Mutex::default() })
    }

    /// Number of members, directories included.
    pub(crate) fn members(&self) -> usize {
        self.entries.len()
    }

    /// Returns all members, the largest first, so that on several cores none of the large ones is begun last.
    pub(crate) fn largest_first(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.entries.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(self.entries[i].1));
        order
    }

    /// Bytes of all members, as the directory states them.
    pub(crate) fn content(&self) -> u64 {
        self.content
    }

    /// Returns a member's name as it is shown.
    pub(crate) fn name(&self, i: usize) -> Result<String> {
        self.with_entry(i, |entry| Ok(member_name::decode(entry)))
    }

    /// Finds the last member of that name.
    pub(crate) fn find(&self, name: &str) -> Result<Option<usize>> {
        let (mut found, mut i) = (None, 0);
        self.zip.each_entry(|entry, _| {
            if entry.name == name.as_bytes() {
                found = Some(i);
            }
            i += 1;
            Ok(())
        })?;
        Ok(found)
    }

    /// Reads a member from one end to the other; fails if anything about it is wrong.
    pub(crate) fn read(&self, i: usize, mut each: impl FnMut(&[u8])) -> Result<()> {
        self.with_entry(i, |entry| {
            let archive: Reader = self.zip.clone();
            let header = entry.offset.checked_add(self.zip.directory().shift);
            let header = header.ok_or_else(|| Error::damaged("an offset beyond 2^64"))?;
            let member = member::open(&archive, entry, header, &self.shared)?;
            let end = self.compare(entry, header)?;
            self.taken.lock().push((header, end, i));
            let mut crc = crc32fast::Hasher::new();
            let mut buf = vec![0; STEP];
            let mut at = 0;
            while at < entry.size {
                let n = member.read_at(&mut buf, at)?;
                if n == 0 {
                    return Err(Error::damaged("the member is shorter than the directory says"));
                }
                crc.update(&buf[..n]);
                each(&buf[..n]);
                at += n as u64;
            }
            if crc.finalize() != entry.crc {
                return Err(Error::damaged("the CRC-32 of the member is wrong"));
            }
            Ok(())
        })
    }

    /// Returns what is wrong with the zip apart from its members. Call it after they have been read.
    pub(crate) fn structure(self) -> Vec<Error> {
        let mut wrong = self.wrong;
        let mut taken = self.taken.into_inner();
        taken.sort_unstable();
        taken.dedup();
        if let Some(pair) = taken.windows(2).find(|pair| pair[0].1 > pair[1].0) {
            wrong.push(Error::damaged(format!("two members share the bytes from {} on", pair[1].0)));
        }
        let directory = self.zip.directory().start;
        if taken.iter().any(|(_, end, _)| *end > directory) {
            wrong.push(Error::damaged(format!(
                "a member reaches into the central directory at byte {directory}"
            )));
        }
        wrong
    }

    fn with_entry<T>(&self, i: usize, work: impl FnOnce(&Entry<'_>) -> Result<T>) -> Result<T> {
        let (at, _) = self.entries.get(i).ok_or_else(|| Error::damaged("no such member"))?;
        entry_at(&*self.zip, *at, work)
    }

    /// Compares the local header, and what stands behind the data, with the directory. Returns where the data ends.
    fn compare(&self, entry: &Entry<'_>, at: u64) -> Result<u64> {
        let fixed = self.zip.read_vec(at, LOCAL_HEADER_LEN)?;
        let names = (LOCAL_HEADER_LEN as u64).saturating_add(at);
        let (name_len, extra_len) = (zip::u16_at(&fixed, 26), zip::u16_at(&fixed, 28));
        let rest = self.zip.read_vec(names, usize::from(name_len) + usize::from(extra_len))?;
        let local = LocalHeader::new(&fixed, &rest);
        if let Some(what) = local.difference(entry) {
            return Err(Error::damaged(format!("the local header and the directory differ in {what}")));
        }
        let end = names.checked_add(rest.len() as u64).and_then(|end| end.checked_add(entry.compressed));
        let end = end.ok_or_else(|| Error::damaged("the member reaches beyond the end of the zip"))?;
        if local.flags & zip::FLAG_DATA_DESCRIPTOR != 0 {
            let descriptor = self.zip.read_vec(end, 8)?;
            let crc = entry.crc.to_le_bytes();
            let with_signature = descriptor.starts_with(b"PK\x07\x08") && descriptor[4..] == crc;
            if !with_signature && !descriptor.starts_with(&crc) {
                return Err(Error::damaged("the data descriptor has another CRC-32 than the directory"));
            }
        }
        Ok(end)
    }
}

/// The fields of a local header.
struct LocalHeader<'a> {
    flags: u16,
    method: u16,
    crc: u32,
    compressed: u64,
    size: u64,
    name: &'a [u8],
}

impl<'a> LocalHeader<'a> {
    /// `rest` is the name and the extra field.
    fn new(fixed: &[u8], rest: &'a [u8]) -> LocalHeader<'a> {
        let (name, extra) = rest.split_at(rest.len().min(zip::u16_at(fixed, 26).into()));
        let mut local = LocalHeader {
            flags: zip::u16_at(fixed, 6),
            method: zip::u16_at(fixed, 8),
            crc: zip::u32_at(fixed, 14),
            compressed: zip::u32_at(fixed, 18).into(),
            size: zip::u32_at(fixed, 22).into(),
            name,
        };
        let wide = zip::extra_fields(extra).find(|(id, _)| *id == ZIP64_EXTRA).map(|(_, field)| field);
        let mut wide = wide.unwrap_or_default();
        for value in [&mut local.size, &mut local.compressed] {
            if *value == 0xFFFF_FFFF
                && let Some((first, after)) = wide.split_at_checked(8)
            {
                *value = zip::u64_at(first, 0);
                wide = after;
            }
        }
        local
    }

    /// Returns the first field that differs from the directory.
    fn difference(&self, entry: &Entry<'_>) -> Option<&'static str> {
        // Sizes and CRC-32 may be left to the descriptor behind the data.
        let left_out = self.flags & zip::FLAG_DATA_DESCRIPTOR != 0;
        let differs = |local: u64, central: u64| local != central && !(left_out && local == 0);
        let encrypted = (self.flags ^ entry.flags) & zip::FLAG_ENCRYPTED != 0;
        [
            (self.name != entry.name, "the name"),
            (self.method != entry.method(), "the method"),
            (encrypted, "whether it is encrypted"),
            (differs(self.crc.into(), entry.crc.into()), "the CRC-32"),
            (differs(self.compressed, entry.compressed), "the compressed size"),
            (differs(self.size, entry.size), "the size"),
        ]
        .into_iter()
        .find_map(|(is_so, what)| is_so.then_some(what))
    }
}
