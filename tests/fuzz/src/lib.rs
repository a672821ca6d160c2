//! What each fuzz target does with an input. An input that breaks a promise panics.
//!
//! tests/hostile/fuzz_replay.rs includes this file and runs all inputs that are kept, on any toolchain.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, LazyLock};

use cddsfs::artifact::{Addressing, PartReader, Rejoined, rejoin};
use cddsfs::crypto::Identity;
use cddsfs::format::base64::{Lines, TextIndex, TextIndexer, decode_quanta};
use cddsfs::format::ber::{self, Children};
use cddsfs::format::cms::{self, CmsError};
use cddsfs::format::mime::{self, Body, Coding, Headers};
use cddsfs::format::part_name;
use cddsfs::format::rejoin::{write_end, write_entry};
use cddsfs::format::zip::{self, EndRecord, ZIP64_EXTRA};
use cddsfs::io::{ReadAt, Reader};

/// Takes one input.
pub type Target = fn(&[u8]);

/// Every target, by the name of its program in fuzz_targets.
pub const TARGETS: [(&str, Target); 8] = [
    ("ber", ber),
    ("cms", cms),
    ("mime", mime),
    ("base64", base64),
    ("part_name", part_name),
    ("zip_end", zip_end),
    ("part", part),
    ("rejoin_set", rejoin_set),
];

/// Takes numbers from the front of an input; all zero after its end.
fn numbers<const N: usize>(data: &mut &[u8]) -> [u16; N] {
    std::array::from_fn(|_| match data.split_first_chunk() {
        Some((octets, rest)) => {
            *data = rest;
            u16::from_le_bytes(*octets)
        }
        None => {
            *data = &[];
            0
        }
    })
}

/// Input: position, then the octets.
pub fn ber(data: &[u8]) {
    let mut bytes = data;
    let [at] = numbers(&mut bytes).map(usize::from);
    for limit in [bytes.len() as u64, bytes.len() as u64 / 2, u64::MAX] {
        let found = ber::skip(bytes, at, limit).ok();
        assert_eq!(found, end_of(bytes, at, limit, 0), "skip from {at} within {limit}");
        let Ok(element) = ber::element(bytes, at, limit) else { continue };
        assert!(element.start == at && element.body <= bytes.len());
        assert!(element.end.is_none_or(|end| element.body as u64 <= end && end <= limit));
        if let Ok(content) = ber::content(bytes, &element) {
            assert_eq!(Some((element.body + content.len()) as u64), element.end);
        }
        let mut children = Children::new(bytes, &element, limit);
        let mut next = element.body;
        while let Ok(Some(child)) = children.take() {
            assert_eq!(child.start, next, "children do not stand side by side");
            next = children.position();
            assert!(child.body <= next && next <= bytes.len());
        }
        if let (Ok(None), Some(end)) = (children.peek(), found) {
            assert_eq!(children.finish(), end, "the children do not fill their parent");
        }
    }
}

/// Where the element at `at` ends, by recursion.
fn end_of(bytes: &[u8], at: usize, limit: u64, depth: usize) -> Option<usize> {
    let header = ber::header(bytes.get(at..)?).ok()?;
    let mut at = at + header.size;
    if depth == 0 && header.is_end_of_contents() {
        return None;
    }
    if let Some(len) = header.len {
        let end = (at as u64).checked_add(len).filter(|&end| end <= limit)?;
        return usize::try_from(end).ok().filter(|&end| end <= bytes.len());
    }
    // As many as `ber` follows.
    if depth == 16 {
        return None;
    }
    loop {
        let header = ber::header(bytes.get(at..)?).ok()?;
        at = if header.is_end_of_contents() {
            return (at as u64 + 2 <= limit).then_some(at + 2);
        } else {
            end_of(bytes, at, limit, depth + 1)?
        };
    }
}

/// Input: how much is cut off, how much is missing, where the content ends if only its segments tell; the message.
pub fn cms(data: &[u8]) {
    let mut bytes = data;
    let [beginning, missing, end] = numbers(&mut bytes).map(usize::from);
    let total = (bytes.len() + missing % 4) as u64;
    let result = cms::parse(bytes, total);
    let first = cms::parse(&bytes[..beginning.min(bytes.len())], total);
    assert!(first == Err(CmsError::Short) || first == result, "a beginning is read otherwise than the whole");
    let Ok(envelope) = result else { return };
    let content = envelope.content;
    assert!(content.start <= bytes.len() as u64);
    assert!(content.len.is_none_or(|len| content.start + len <= total));
    let from = content.start + content.len.unwrap_or(end as u64);
    let rest = bytes.get(from as usize..).unwrap_or_default();
    if let Ok(closing) = cms::parse_closing(&envelope, rest, from, total) {
        assert!(closing.len <= rest.len());
        assert_eq!(envelope.authenticated, closing.mac.is_some());
    }
}

/// Input: a file, or a decrypted part.
pub fn mime(data: &[u8]) {
    let len = data.len() as u64;
    let head = |max: usize| &data[..data.len().min(max)];
    let tail = &data[data.len().saturating_sub(mime::TAIL)..];
    if let Some(headers) = Headers::parse(data, mime::MAX_OUTER_HEADER) {
        assert!(headers.body <= data.len());
    }
    let inside = |body: Body| assert!(body.start <= body.end && body.end <= len, "{body:?} of {len}");
    mime::armour(head(mime::MAX_OUTER_HEADER), tail, len).map(inside).ok();
    let entity = mime::entity(head(mime::MAX_INNER_HEADER), tail, len);
    let is_raw = entity == Ok(Body { start: 0, end: len, coding: Coding::Binary });
    if !is_raw && data.iter().position(|&b| b == b'\n').is_some_and(|at| at < 512) {
        assert!(mime::may_be_entity(head(512)), "an entity that would not be looked for");
    }
    entity.map(inside).ok();
}

fn index(text: &[u8], uuencoded: bool, step: usize) -> Result<TextIndex, String> {
    let mut indexer = TextIndexer::new(uuencoded);
    text.chunks(step).try_for_each(|piece| indexer.feed(piece))?;
    indexer.finish()
}

/// Decodes all of a text by its index.
fn decode_by_index(text: &[u8], index: &TextIndex) -> Option<Vec<u8>> {
    let pieces = index.chars.range(0, u64::MAX);
    let mut chars: Vec<u8> =
        pieces.flat_map(|p| &text[p.physical as usize..(p.physical + p.len) as usize]).copied().collect();
    index.to_base64(&mut chars);
    assert!(index.len <= chars.len() as u64);
    let mut bytes = vec![0; index.len as usize];
    decode_quanta(&chars, 0, &mut bytes).ok().map(|()| bytes)
}

/// Input: how much of both ends is looked at, two ranges, the text.
pub fn base64(data: &[u8]) {
    let mut text = data;
    let [head, tail, ranges @ ..] = numbers::<6>(&mut text).map(usize::from);
    for uuencoded in [false, true] {
        let whole = index(text, uuencoded, usize::MAX);
        let pieces = index(text, uuencoded, 1 + head % 50);
        assert_eq!(whole.as_ref().map(|i| (&i.chars, i.len)), pieces.as_ref().map(|i| (&i.chars, i.len)));
        if let Ok(index) = whole {
            decode_by_index(text, &index);
        }
    }

    let (head, tail) = (head.min(text.len()), text.len().saturating_sub(tail));
    let Some(lines) = Lines::learn(&text[..head], &text[tail..], text.len() as u64) else { return };
    assert!(lines.len() <= text.len() as u64);
    let decode = |offset: usize, len: usize| {
        let mut bytes = vec![0; len];
        let span = lines.span(offset as u64, len);
        lines.decode(&text[span.start as usize..span.end as usize], &mut bytes, offset as u64).map(|()| bytes)
    };
    let total = lines.len() as usize;
    let whole = decode(0, total);
    if let Ok(whole) = &whole {
        let naive = index(text, false, usize::MAX).ok().and_then(|index| decode_by_index(text, &index));
        assert_eq!(naive.as_ref(), Some(whole), "what is regular throughout is read otherwise by its index");
    }
    for range in ranges.chunks(2) {
        let offset = range[0] % total;
        let len = (1 + range[1]).min(total - offset);
        let read = decode(offset, len);
        if let Ok(whole) = &whole {
            assert_eq!(read.as_deref(), Ok(&whole[offset..offset + len]), "{len} bytes at {offset}");
        }
    }
}

/// Input: a file name.
pub fn part_name(data: &[u8]) {
    let name = String::from_utf8_lossy(data);
    let Some(parsed) = part_name::parse(&name) else { return };
    assert!(!parsed.stem.is_empty() && name.starts_with(parsed.stem));
    if !parsed.is_copy {
        let plain = format!("{}{}.smime", parsed.stem, parsed.ordinal);
        let again = part_name::parse(&plain);
        assert_eq!(again.as_ref(), Some(&parsed), "{plain} is another part than {name}");
    }
}

/// Input: an offset, then the end of a zip or a directory.
pub fn zip_end(data: &[u8]) {
    let (offset, bytes) = data.split_first_chunk().unwrap_or((&[0; 8], data));
    // A position in a zip, with room behind it for the directory.
    let offset = u64::from_le_bytes(*offset) >> 1;

    let mut written = Vec::new();
    let mut count = 0;
    for entry in zip::entries(bytes).map_while(Result::ok) {
        let start = written.len();
        write_entry(&mut written, &entry, offset);
        let again = zip::entries(&written[start..]).next().and_then(Result::ok).expect("a header");
        assert_eq!((again.disk, again.offset), (0, offset));
        assert_eq!((again.name, again.comment), (entry.name, entry.comment));
        assert_eq!((again.crc, again.flags), (entry.crc, entry.flags));
        assert_eq!((again.size, again.compressed), (entry.size, entry.compressed));
        let is_other = |(id, _): &(u16, &[u8])| *id != ZIP64_EXTRA && *id != 0xA11E;
        let others = |extra| zip::extra_fields(extra).filter(is_other);
        assert!(others(again.extra).eq(others(entry.extra)));
        count += 1;
    }
    assert_eq!(zip::entries(&written).map_while(Result::ok).count(), count);

    for at in zip::end_candidates(bytes) {
        let end = EndRecord::parse(&bytes[at..]).expect("an end record");
        let mut tail = written.clone();
        write_end(&mut tail, &end, count as u64, offset);
        let found = zip::end_candidates(&tail);
        let record = tail.len() - zip::END_RECORD_LEN - end.comment.len();
        assert!(found.contains(&record));
        let mut again = EndRecord::parse(&tail[record..]).expect("an end record");
        if tail[written.len()..].starts_with(&zip::ZIP64_RECORD) {
            let record = tail[written.len()..].first_chunk().expect("a zip64 record");
            again.widen(record);
        }
        assert_eq!((again.disk, again.directory_disk, &again.comment), (0, 0, &end.comment));
        assert_eq!((again.directory_offset, again.directory_size), (offset, written.len() as u64));
        assert!(again.agrees_with(count as u64));
    }
}

static IDENTITIES: LazyLock<Arc<[Identity]>> = LazyLock::new(|| {
    // A key file is read only if nobody else can, and git does not keep that.
    let path = std::env::temp_dir().join(format!("cddsfs-fuzz-key.{}", std::process::id()));
    fs::remove_file(&path).ok();
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).expect("a key file");
    file.write_all(include_bytes!("../key.pem")).expect("a key file");
    let identity = Identity::load(&path, &mut |_| Ok(None)).expect("a key");
    fs::remove_file(&path).expect("no key file");
    [identity].into()
});

/// Reads everything, or nothing where there is an error.
fn read_all(reader: &dyn ReadAt) -> Option<Vec<u8>> {
    let len = usize::try_from(reader.len()).expect("a length that fits into memory");
    reader.read_vec(0, len).ok()
}

/// Reads some ranges, of which all but a first whole one may fail.
fn read_ranges(reader: &dyn ReadAt, whole: Option<&[u8]>, seed: u64) {
    let len = reader.len();
    let mut seed = seed | 1;
    for _ in 0..4 {
        seed = seed.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        let (offset, wanted) = ((seed >> 20) % (len + 2), (seed >> 50) as usize % 600);
        let Ok(bytes) = reader.read_vec(offset, wanted) else { continue };
        assert_eq!(bytes.len() as u64, len.saturating_sub(offset).min(wanted as u64));
        if let Some(whole) = whole {
            let from = whole.len().min(offset as usize);
            assert_eq!(bytes, whole[from..from + bytes.len()], "two reads of the same bytes differ");
        }
    }
}

/// Input: the file of a stored part, encrypted to the key beside this package.
pub fn part(data: &[u8]) {
    let file: Reader = Arc::new(data.to_vec());
    let [regular, indexed] = [Addressing::Regular, Addressing::Indexed].map(|addressing| {
        let part =
            PartReader::open(file.clone(), IDENTITIES.clone(), addressing, &cddsfs::io::Budget::unlimited())
                .ok()?;
        assert!(part.len() <= data.len() as u64);
        let whole = read_all(&part);
        // What is not regular may show only in a read of the whole.
        let same = whole.as_deref().filter(|_| addressing == Addressing::Indexed);
        read_ranges(&part, same, data.len() as u64 ^ 0x9E37_79B9);
        whole
    });
    if let (Some(regular), Some(indexed)) = (regular, indexed) {
        assert_eq!(regular, indexed, "what is regular throughout is read otherwise by its index");
    }
}

/// Input: number of cuts, as many lengths, the segments.
pub fn rejoin_set(data: &[u8]) {
    let mut rest = data;
    let [cuts] = numbers(&mut rest);
    let lengths: Vec<usize> = (0..cuts % 8).map(|_| usize::from(numbers::<1>(&mut rest)[0])).collect();
    let mut segments: Vec<Reader> = Vec::new();
    for len in lengths {
        let (segment, after) = rest.split_at(len.min(rest.len()));
        segments.push(Arc::new(segment.to_vec()));
        rest = after;
    }
    segments.push(Arc::new(rest.to_vec()));

    let Ok(Rejoined::Zip(zip)) = rejoin(segments, &cddsfs::io::Budget::unlimited()) else { return };
    let (reader, memory) = (zip.reader, zip.share.bytes());
    assert!(memory <= 2 * data.len() + 100 && reader.len() <= (data.len() + memory) as u64);
    let whole = read_all(&*reader).expect("all of a zip in memory");
    read_ranges(&*reader, Some(&whole), data.len() as u64);
    // Members or comments that look like end records make a zip that readers disagree on; and behind the marker that is
    // cut off there may be what looks like one more.
    let occurs = |signature: [u8; 4]| whole.windows(4).filter(|bytes| **bytes == signature).count();
    let begins_with_marker = zip::SPANNING_MARKERS.iter().any(|marker| whole.starts_with(marker));
    if begins_with_marker || occurs(zip::END_RECORD) > 1 || occurs(zip::ZIP64_LOCATOR) > 0 {
        return;
    }
    match rejoin(vec![Arc::new(whole.clone())], &cddsfs::io::Budget::unlimited()) {
        Ok(Rejoined::Zip(again)) => assert_eq!(read_all(&*again.reader), Some(whole), "another zip"),
        Ok(Rejoined::OtherDisk(disk)) => panic!("the rejoined zip says disk {disk}"),
        Err(error) => panic!("the rejoined zip is none: {error}"),
    }
}
