//! The stored parts of a managed store, byte for byte against the catalogue.

use super::{ProgressListener, on_all_cores};
use crate::crypto::Sha256;
use crate::error::Result;
use crate::format::block_hashes::{self, BLOCK, BlockHash};
use crate::format::text::hex;
use crate::io::{Cancel, Reader};
use crate::store::catalogue::{PART_BLOCK_HASHES, StoredPartRecord};
use crate::store::managed::Managed;

/// How much is read at a time: whole blocks.
const STEP: usize = 16 * BLOCK;

/// Returns what is wrong with parts, each with its name.
///
/// SHA-256 of a part takes one core; another one works out the block hashes of the same part.
pub(crate) fn check(
    store: &Managed,
    run: &str,
    parts: &[StoredPartRecord],
    watch: &dyn ProgressListener,
) -> Result<Vec<(String, String)>> {
    let total = parts.iter().fold(0u64, |total, part| total.saturating_add(part.size));
    watch.stage("stored parts", total.saturating_mul(2));
    let stop = Cancel::new();
    let found = on_all_cores(2 * parts.len(), |i| {
        let part = &parts[i / 2];
        let found =
            store.parts.find(&part.key).map(|found| found.map(|found| store.parts.open(&found, &stop)));
        let file = match found.and_then(Option::transpose) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(Some("is missing".into())),
            Err(error) => return Ok(Some(error.to_string())),
        };
        if file.len() != part.size {
            let what = format!("it has {} bytes, but was written with {}", file.len(), part.size);
            return Ok(Some(what));
        }
        let work = || {
            if i % 2 == 0 {
                blocks(store, run, i as u32 / 2 + 1, part, &file, watch)
            } else {
                sha256(part, &file, watch)
            }
        };
        // A part that cannot be read is a fault; a catalogue that cannot be read is an error.
        work()
    });
    let mut faults: Vec<(String, String)> = Vec::new();
    for (i, fault) in found.into_iter().enumerate() {
        let name = &parts[i / 2].name;
        // Of two faults of a part that of the block hashes, which comes first, says more.
        if let Some(what) = fault?
            && faults.last().is_none_or(|(last, _)| last != name)
        {
            faults.push((name.clone(), what));
        }
    }
    Ok(faults)
}

fn sha256(part: &StoredPartRecord, file: &Reader, watch: &dyn ProgressListener) -> Result<Option<String>> {
    let mut hash = Sha256::default();
    let read = each_step(file, |_, bytes| {
        hash.update(bytes);
        watch.done(bytes.len() as u64);
    });
    if let Err(what) = read {
        return Ok(Some(what));
    }
    let found = hash.finish();
    let what = || format!("its SHA-256 is {}, the catalogue has {}", hex(&found), hex(&part.sha256));
    Ok((found != part.sha256).then(what))
}

/// Compares the blocks, and names the first range of bytes that differs.
fn blocks(
    store: &Managed,
    run: &str,
    number: u32,
    part: &StoredPartRecord,
    file: &Reader,
    watch: &dyn ProgressListener,
) -> Result<Option<String>> {
    let count = file.len().div_ceil(BLOCK as u64);
    let mut written: Vec<BlockHash> = Vec::new();
    for piece in 0..count.div_ceil(PART_BLOCK_HASHES as u64) {
        written.extend(store.catalogue.block_hashes(run, number, piece)?);
    }
    if written.len() as u64 != count || block_hashes::root(&written) != part.root {
        return Ok(Some("the catalogue's hashes of its blocks are not those that were written".into()));
    }
    // The first range of blocks that differ.
    let mut differing: Option<(u64, u64)> = None;
    let read = each_step(file, |at, bytes| {
        for (block, from) in bytes.chunks(BLOCK).zip((at..).step_by(BLOCK)) {
            let end = from + block.len() as u64;
            let in_a_row = differing.is_none_or(|(_, last)| last == from);
            if in_a_row && block_hashes::block(block) != written[(from / BLOCK as u64) as usize] {
                differing = Some((differing.map_or(from, |(first, _)| first), end));
            }
        }
        watch.done(bytes.len() as u64);
    });
    let what = |(from, end)| format!("the bytes from {from} to {end} are not those that were written");
    Ok(read.err().or(differing.map(what)))
}

/// Reads a file from beginning to end; the error says where that failed.
fn each_step(file: &Reader, mut each: impl FnMut(u64, &[u8])) -> std::result::Result<(), String> {
    let mut buf = vec![0; STEP];
    let mut at = 0;
    while at < file.len() {
        match file.read_at(&mut buf, at) {
            Ok(0) => return Err(format!("it ends at byte {at}")),
            Ok(n) => {
                each(at, &buf[..n]);
                at += n as u64;
            }
            Err(error) => return Err(format!("at byte {at}: {error}")),
        }
    }
    Ok(())
}
