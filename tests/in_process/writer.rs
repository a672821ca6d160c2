//! What the writer writes, as other programs read it and as ours does.

use std::fs;
use std::path::Path;
use std::process::Command;

use cddsfs::crypto::KeyTransport;
use cddsfs::error::Kind;
use cddsfs::export::writer::{BLOCK, WriterSettings};
use cddsfs::format::block_hashes;
use proptest::prelude::*;

use crate::support::written::{Set, create, lines, member, names, noise, read_all, settings, succeed};

/// Members of all kinds of sizes around the borders of blocks, some in directories and with other than ASCII names.
fn members() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let near_block = |blocks: usize| blocks * BLOCK - 1..=blocks * BLOCK + 1;
    let size = prop_oneof![Just(0), Just(1), 2..3000usize, near_block(1), near_block(2), 0..3 * BLOCK];
    prop::collection::vec((size, any::<bool>(), any::<u64>()), 0..6).prop_map(|members| {
        let contents = members.into_iter().enumerate();
        contents
            .map(|(n, (size, is_noise, seed))| {
                let name = if n % 2 == 0 {
                    format!("UCS/Contact/{n}.json")
                } else {
                    format!("UCS/Grüße/{n}.json")
                };
                (name, if is_noise { noise(size, seed) } else { lines(size, seed >> 20) })
            })
            .collect()
    })
}

fn assert_tree(dir: &Path, members: &[(String, Vec<u8>)], what: &str) {
    for (name, content) in members {
        let found = fs::read(dir.join(name)).unwrap_or_else(|e| panic!("{what}: {name}: {e}"));
        assert!(found == *content, "{what}: {name} has other bytes");
    }
}

fn extract(set: &Set, members: &[(String, Vec<u8>)], program: &str, command: &mut Command) {
    let to = set.path(program);
    fs::create_dir_all(&to).unwrap();
    succeed(command.current_dir(&to));
    assert_tree(&to, members, program);
    fs::remove_dir_all(&to).unwrap();
}

fn assert_ours(set: &Set, members: &[(String, Vec<u8>)]) {
    let opened = set.members();
    for (name, content) in members {
        let reader = member(&opened, name);
        assert_eq!(reader.len(), content.len() as u64, "{name}");
        assert!(read_all(&*reader) == *content, "{name} has other bytes for us");
        // Random access, without what has been read before.
        let middle = content.len() as u64 / 2;
        let some = member(&set.members(), name).read_vec(middle, 1000).unwrap();
        assert_eq!(some, &content[middle as usize..(middle as usize + 1000).min(content.len())]);
    }
}

fn assert_hashes(set: &Set) {
    for part in &set.finished.parts {
        let stored = fs::read(set.path(&part.name)).unwrap();
        let digest = succeed(Command::new("sha256sum").arg(set.path(&part.name)));
        let hex: String = part.sha256.iter().map(|b| format!("{b:02x}")).collect();
        assert!(digest.contains(&hex), "{digest}");
        let blocks: Vec<[u8; 32]> = stored.chunks(64 << 10).map(|b| *blake3::hash(b).as_bytes()).collect();
        assert_eq!((part.size, &part.blocks), (stored.len() as u64, &blocks));
        assert_eq!(part.root, *blake3::hash(&blocks.concat()).as_bytes());
        assert_eq!(part.root, block_hashes::root(&blocks));
        assert!(stored.ends_with(b"\n\n") && stored.starts_with(b"MIME-Version: 1.0\nContent-Disposition: "));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]
    #[test]
    fn any_set_is_read_by_others_and_by_us(members in members(), split in 0u64..5, threads in 1usize..4) {
        let split_size = [None, Some(64 << 10), Some((64 << 10) + 7), Some(1 << 20), Some(100 << 20)][split as usize];
        let set = Set::write(&members, &WriterSettings { threads, ..settings(split_size) });
        let parts = &set.finished.parts;
        prop_assert!(parts.iter().all(|part| split_size.is_none_or(|size| part.plain_size <= size)));
        prop_assert_eq!(parts.iter().map(|part| part.plain_size).sum::<u64>(), set.finished.bytes);
        assert_hashes(&set);
        assert_ours(&set, &members);
        let zip = set.decrypt("smime");
        if members.is_empty() {
            return Ok(());
        }
        extract(&set, &members, "7z", Command::new("7z").args(["x", "-bd"]).arg(&zip));
        extract(&set, &members, "unar", Command::new("unar").arg("-D").arg(&zip));
        let first = fs::read(set.path("plain").join(parts[0].name.strip_suffix(".smime").unwrap())).unwrap();
        prop_assert_eq!(first.starts_with(b"PK\x07\x08"), parts.len() > 1);
        if parts.len() == 1 {
            extract(&set, &members, "unzip", Command::new("unzip").arg("-q").arg(&zip));
            extract(&set, &members, "bsdtar", Command::new("bsdtar").arg("-xf").arg(&zip));
            extract(&set, &members, "python3", Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&zip).arg("."));
        }
    }
}

#[test]
fn oaep_is_read_by_openssl_cms_and_by_us() {
    let members = [("a.json".to_string(), lines(300_000, 5))];
    let set =
        Set::write(&members, &WriterSettings { transport: KeyTransport::Oaep, ..settings(Some(64 << 10)) });
    assert_ours(&set, &members);
    let zip = set.decrypt("cms");
    extract(&set, &members, "7z", Command::new("7z").args(["x", "-bd"]).arg(&zip));
}

/// unar reads no more than 99 parts, whoever wrote them.
#[test]
fn a_set_of_more_than_a_hundred_parts_goes_on_with_z100() {
    let members = [
        ("a.json".into(), lines(10, 1)),
        ("b.bin".into(), noise(7 << 20, 2)),
        ("c.json".into(), lines(9, 3)),
    ];
    let set = Set::write(&members, &settings(Some(64 << 10)));
    let parts = &set.finished.parts;
    assert!(parts.len() > 110);
    assert_eq!(parts[99].name, "export-x.z100.smime");
    assert_eq!(parts[parts.len() - 1].name, "export-x.zip.smime");
    assert_ours(&set, &members);
    let zip = set.decrypt("smime");
    extract(&set, &members, "7z", Command::new("7z").args(["x", "-bd"]).arg(&zip));
}

/// More than 65,535 members need zip64 end records; split, the directory is in several segments.
#[test]
fn more_members_than_sixteen_bits_can_count() {
    const COUNT: usize = 66_000;
    for split_size in [None, Some(1 << 20)] {
        let set = Set::write_by(&settings(split_size), |writer| {
            for n in 0..COUNT {
                writer.start_member(&format!("d{}/{n}.json", n % 7))?;
                writer.write(n.to_string().as_bytes())?;
                writer.finish_member()?;
            }
            Ok(())
        });
        let opened = set.members();
        for n in [0, 1, 40_000, COUNT - 1] {
            assert_eq!(
                read_all(&*member(&opened, &format!("d{}/{n}.json", n % 7))),
                n.to_string().as_bytes()
            );
        }
        let zip = set.decrypt("smime");
        assert!(
            succeed(Command::new("7z").args(["t", "-bd"]).arg(&zip)).contains(&format!("Files: {COUNT}\n"))
        );
        if split_size.is_none() {
            assert!(succeed(Command::new("unzip").arg("-tq").arg(&zip)).contains("No errors"));
            succeed(Command::new("python3").args(["-m", "zipfile", "-t"]).arg(&zip));
            succeed(Command::new("bsdtar").arg("-tf").arg(&zip));
        } else {
            assert!(set.finished.parts.len() > 5);
        }
    }
}

/// Nobody knows at its local header that a member will need zip64.
#[test]
fn a_member_of_more_than_four_gibibytes() {
    const SIZE: u64 = (4 << 30) + (100 << 20) + 1;
    let piece = vec![b'a'; 1 << 20];
    let set = Set::write_by(&settings(Some(1 << 20)), |writer| {
        writer.start_member("big.json")?;
        for _ in 0..SIZE >> 20 {
            writer.write(&piece)?;
        }
        writer.write(b"z")?;
        assert_eq!(writer.finish_member()?.size, SIZE);
        writer.start_member("small.json")?;
        writer.write(b"{}\n")?;
        writer.finish_member().map(drop)
    });
    let opened = set.members();
    let big = member(&opened, "big.json");
    assert_eq!(big.len(), SIZE);
    assert_eq!(big.read_vec(SIZE - 5, 100).unwrap(), b"aaaaz");
    assert_eq!(read_all(&*member(&opened, "small.json")), b"{}\n");
    let zip = set.decrypt("smime");
    assert!(succeed(Command::new("7z").args(["l", "-slt"]).arg(&zip)).contains(&format!("Size = {SIZE}\n")));
    succeed(Command::new("7z").args(["t", "-bd"]).arg(&zip));
}

/// Each group of blocks of the table by itself, by zlib.
const SEEK: &str = r#"
import struct, sys, zipfile, zlib
for path in sys.argv[1:]:
    archive = zipfile.ZipFile(path)
    for info in archive.infolist():
        extra, at = info.extra, 0
        while extra[at:at + 2] != b"CD":
            at += 4 + struct.unpack_from("<H", extra, at + 2)[0]
        field = extra[at + 4:at + 4 + struct.unpack_from("<H", extra, at + 2)[0]]
        assert field[:5] == b"seek\x01", field[:5]
        group, at, groups = 1 << field[5] + field[6], 7, []
        while at < len(field):
            length = shift = 0
            while True:
                length |= (field[at] & 127) << shift
                shift += 7
                at += 1
                if field[at - 1] < 128:
                    break
            groups.append((length, struct.unpack_from("<I", field, at)[0]))
            at += 4
        content = archive.read(info)
        assert len(groups) == -(-len(content) // group) > 1
        archive.fp.seek(info.header_offset + 26)
        data = archive.fp.tell() + 4 + sum(struct.unpack("<HH", archive.fp.read(4)))
        for n, (length, crc) in enumerate(groups):
            archive.fp.seek(data)
            found = zlib.decompressobj(-15).decompress(archive.fp.read(length))
            assert found == content[n * group:(n + 1) * group] and zlib.crc32(found) == crc, n
            data += length
"#;

#[test]
fn reading_can_begin_at_every_block_of_the_seek_table() {
    let sizes = [BLOCK + 1, 3 * BLOCK, 9 * BLOCK - 5];
    let members: Vec<_> = sizes.iter().map(|&size| (format!("{size}.json"), lines(size, 1))).collect();
    let set = Set::write(&members, &settings(None));
    succeed(Command::new("python3").args(["-c", SEEK]).arg(set.decrypt("smime")));
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    for split_size in [None, Some(64 << 10)] {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = create(dir.path(), &settings(split_size));
        writer.start_member("a").unwrap();
        writer.write(&noise(3 << 20, 1)).unwrap();
        writer.finish_member().unwrap();
        assert!(!names(dir.path()).is_empty());
        assert!(
            names(dir.path()).iter().all(|name| name.starts_with(".export-x.") && name.ends_with(".tmp"))
        );
        drop(writer);
        assert_eq!(names(dir.path()), [""; 0]);
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = create(dir.path(), &settings(None));
    assert_eq!(writer.write(b"x").unwrap_err().kind(), Kind::Invalid);
    assert_eq!(writer.finish_member().unwrap_err().kind(), Kind::Invalid);
    assert_eq!(writer.start_member("").unwrap_err().kind(), Kind::Invalid);
    writer.start_member("a").unwrap();
    assert_eq!(writer.start_member("b").unwrap_err().kind(), Kind::Invalid);
    assert_eq!(writer.finish().unwrap_err().kind(), Kind::Invalid);
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn a_full_disk_is_an_error_that_names_the_part_and_leaves_nothing() {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    let dir = tempfile::tempdir().unwrap();
    let options = Some("size=1m");
    if mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), options).is_err() {
        eprintln!("not tested: only root can mount a disk that is soon full");
        return;
    }
    for split_size in [None, Some(64 << 10)] {
        let mut writer = create(dir.path(), &settings(split_size));
        writer.start_member("a").unwrap();
        let content = noise(1 << 20, 3);
        let error = (0..1000).find_map(|_| writer.write(&content).err()).expect("an error");
        assert_eq!(error.kind(), Kind::Os(libc::ENOSPC), "{error}");
        assert!(
            error.to_string().starts_with("part ") && error.to_string().contains("of export-x: "),
            "{error}"
        );
        assert_eq!(writer.write(&content).unwrap_err().to_string(), error.to_string());
        assert_eq!(names(dir.path()), [""; 0]);
        assert_eq!(writer.finish_member().unwrap_err().kind(), Kind::Os(libc::ENOSPC));
    }
    umount2(dir.path(), MntFlags::MNT_DETACH).unwrap();
}
