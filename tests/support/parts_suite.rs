//! What every location of parts does, whatever kind it is. Whoever adds a kind calls [`check`] with it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cddsfs::error::Kind;
use cddsfs::format::part_name::Ordinal;
use cddsfs::io::Cancel;
use cddsfs::store::names::Attempt;
use cddsfs::store::parts::{Key, PartRef, Parts, Version};

const RUN: &str = "302a38f0-b493-4921-b8e4-61c1e18a0655";
const OTHER: &str = "302a38f0-b493-4921-b8e4-61c1e18a0656";

/// Checks a kind. `make` makes an empty location each time.
pub fn check<L: Parts + 'static, G>(make: impl Fn() -> (L, G)) {
    let all: [fn(&Arc<dyn Parts>); 9] = [
        what_is_finished_is_there_and_reads_back,
        what_is_dropped_leaves_nothing,
        a_part_that_is_begun_again_has_only_the_new_bytes,
        published_parts_are_found_by_the_keys_that_are_returned,
        deleting_what_is_not_there_is_fine,
        another_version_is_stale,
        attempts_do_not_meet,
        what_runs_have_left_is_told_by_run,
        a_raised_flag_ends_listing_and_reading,
    ];
    for one in all {
        let (parts, _guard) = make();
        one(&(Arc::new(parts) as Arc<dyn Parts>));
    }
    keys_lead_nowhere_else();
}

fn write(parts: &Arc<dyn Parts>, key: &Key, bytes: &[u8]) {
    let mut sink = parts.create(key).unwrap();
    bytes.chunks(1000).for_each(|piece| sink.write(piece).unwrap());
    sink.finish().unwrap();
}

fn found(parts: &Arc<dyn Parts>, key: &Key) -> PartRef {
    parts.find(key).unwrap().unwrap_or_else(|| panic!("{key} is not there"))
}

fn bytes(parts: &Arc<dyn Parts>, part: &PartRef) -> Vec<u8> {
    let reader = parts.open(part, &Cancel::new()).unwrap();
    assert_eq!(reader.len(), part.size);
    reader.read_vec(0, part.size as usize).unwrap()
}

fn content(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i * 7 % 251) as u8 ^ seed).collect()
}

/// Publishes parts of an attempt and returns their keys.
fn publish(parts: &Arc<dyn Parts>, attempt: &Attempt, count: u32, made: SystemTime) -> Vec<Key> {
    let ordinal = |n| if n == count { Ordinal::Last } else { Ordinal::Split(n) };
    let named: Vec<_> = (1..=count).map(|n| (attempt.key(n).unwrap(), attempt.name(ordinal(n)))).collect();
    parts.publish(&named, made).unwrap()
}

fn what_is_finished_is_there_and_reads_back(parts: &Arc<dyn Parts>) {
    let key = Attempt::new(RUN, 1).key(1).unwrap();
    assert_eq!(parts.find(&key).unwrap(), None);
    for len in [0, 1, 1000, 300_000] {
        write(parts, &key, &content(len, 3));
        let part = found(parts, &key);
        assert_eq!(part.size, len as u64);
        assert_eq!(bytes(parts, &part), content(len, 3));
        let reader = parts.open(&part, &Cancel::new()).unwrap();
        let middle = len as u64 / 2;
        assert_eq!(
            reader.read_vec(middle, 10).unwrap(),
            content(len, 3)[len / 2..].iter().take(10).copied().collect::<Vec<_>>()
        );
    }
}

fn what_is_dropped_leaves_nothing(parts: &Arc<dyn Parts>) {
    let key = Attempt::new(RUN, 1).key(1).unwrap();
    let mut sink = parts.create(&key).unwrap();
    sink.write(&content(5000, 1)).unwrap();
    drop(sink);
    assert_eq!(parts.find(&key).unwrap(), None);
    assert_eq!(parts.left(None).unwrap(), []);
}

fn a_part_that_is_begun_again_has_only_the_new_bytes(parts: &Arc<dyn Parts>) {
    let key = Attempt::new(RUN, 1).key(1).unwrap();
    write(parts, &key, &content(5000, 1));
    write(parts, &key, &content(10, 2));
    assert_eq!(bytes(parts, &found(parts, &key)), content(10, 2));
}

fn published_parts_are_found_by_the_keys_that_are_returned(parts: &Arc<dyn Parts>) {
    let attempt = Attempt::new(RUN, 1);
    (1..=3).for_each(|n| write(parts, &attempt.key(n).unwrap(), &content(100, n as u8)));
    let keys = publish(parts, &attempt, 3, SystemTime::now() - Duration::from_secs(100));
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 3);
    for (n, key) in (1..).zip(&keys) {
        assert_eq!(bytes(parts, &found(parts, key)), content(100, n));
    }
    // As a catalogue has them.
    let recorded: Vec<PartRef> = keys
        .iter()
        .map(|key| PartRef {
            version: Version::new(&[9; 32]),
            name: key.as_str().into(),
            ..found(parts, key)
        })
        .collect();
    let looked = parts.look(&recorded, &Cancel::new()).unwrap();
    for (n, key) in (1..).zip(&keys) {
        let part = looked.parts.iter().find(|part| part.key == *key).unwrap();
        assert_eq!(bytes(parts, part), content(100, n));
    }
}

fn deleting_what_is_not_there_is_fine(parts: &Arc<dyn Parts>) {
    let attempt = Attempt::new(RUN, 1);
    let keys: Vec<Key> = (1..=3).map(|n| attempt.key(n).unwrap()).collect();
    write(parts, &keys[1], b"x");
    parts.delete(&keys).unwrap();
    parts.delete(&keys).unwrap();
    parts.delete(&[]).unwrap();
    assert_eq!(parts.find(&keys[1]).unwrap(), None);
    let part = PartRef {
        key: keys[1].clone(),
        name: "x".into(),
        size: 1,
        version: Version::new(&[0; 32]),
        mtime: SystemTime::now(),
    };
    assert!(parts.open(&part, &Cancel::new()).is_err());
}

fn another_version_is_stale(parts: &Arc<dyn Parts>) {
    let key = Attempt::new(RUN, 1).key(1).unwrap();
    write(parts, &key, &content(100, 1));
    let before = found(parts, &key);
    let reader = parts.open(&before, &Cancel::new()).unwrap();
    assert_eq!(found(parts, &key), before, "nothing has changed");
    // Times of files are no finer than this.
    std::thread::sleep(Duration::from_millis(20));
    write(parts, &key, &content(100, 2));
    let after = found(parts, &key);
    assert_ne!(before.version, after.version);
    assert_eq!(parts.open(&before, &Cancel::new()).err().unwrap().kind(), Kind::Stale);
    assert_eq!(bytes(parts, &after), content(100, 2));
    // Whoever has it open reads what it was, or nothing.
    match reader.read_vec(0, 100) {
        Ok(read) => assert_eq!(read, content(100, 1)),
        Err(error) => assert_eq!(error.kind(), Kind::Stale),
    }
    let same = |a: &PartRef, b: &PartRef| parts.same(a, b, &Cancel::new()).unwrap();
    let other = Attempt::new(RUN, 1).key(2).unwrap();
    write(parts, &other, &content(100, 2));
    assert!(same(&after, &found(parts, &other)));
    write(parts, &other, &content(100, 3));
    assert!(!same(&after, &found(parts, &other)));
    write(parts, &other, &content(99, 2));
    assert!(!same(&after, &found(parts, &other)));
}

fn attempts_do_not_meet(parts: &Arc<dyn Parts>) {
    let (first, second) = (Attempt::new(RUN, 1).key(1).unwrap(), Attempt::new(RUN, 2).key(1).unwrap());
    write(parts, &first, b"first");
    write(parts, &second, b"second");
    parts.delete(std::slice::from_ref(&first)).unwrap();
    assert_eq!(bytes(parts, &found(parts, &second)), b"second");
    let left = parts.left(Some(RUN)).unwrap();
    assert_eq!(left.iter().map(|left| left.fence).collect::<Vec<_>>(), [Some(2)]);
}

fn what_runs_have_left_is_told_by_run(parts: &Arc<dyn Parts>) {
    for run in [RUN, OTHER] {
        let attempt = Attempt::new(run, 1);
        (1..=3).for_each(|n| write(parts, &attempt.key(n).unwrap(), &content(50, 1)));
    }
    publish(parts, &Attempt::new(OTHER, 1), 3, SystemTime::now());
    let runs = |of: Option<&str>| {
        let left = parts.left(of).unwrap();
        assert!(left.iter().all(|left| left.size == 50));
        left.into_iter().map(|left| left.run).collect::<Vec<_>>()
    };
    assert_eq!(
        (runs(Some(RUN)), runs(Some(OTHER)), runs(None).len()),
        (vec![RUN.into(); 3], vec![OTHER.into(); 3], 6)
    );
    let left = parts.left(Some(RUN)).unwrap();
    assert!(left.iter().all(|left| left.is_unfinished));
    parts.delete(&left.into_iter().map(|left| left.key).collect::<Vec<_>>()).unwrap();
    assert_eq!(runs(None), vec![OTHER; 3]);
}

fn a_raised_flag_ends_listing_and_reading(parts: &Arc<dyn Parts>) {
    let attempt = Attempt::new(RUN, 1);
    write(parts, &attempt.key(1).unwrap(), &content(50, 1));
    let key = publish(parts, &attempt, 1, SystemTime::now()).remove(0);
    let (part, stop) = (found(parts, &key), Cancel::new());
    let reader = parts.open(&part, &stop).unwrap();
    // What of it a store without a catalogue would have is the location's matter.
    assert!(parts.list(&stop).unwrap().parts.len() <= 1);
    stop.cancel();
    let cancelled = |kind: Option<Kind>| assert_eq!(kind, Some(Kind::Cancelled));
    cancelled(reader.read_vec(0, 1).err().map(|error| error.kind()));
    cancelled(parts.open(&part, &stop).err().map(|error| error.kind()));
    cancelled(parts.list(&stop).err().map(|error| error.kind()));
}

fn keys_lead_nowhere_else() {
    for text in ["", ".", "..", "/x", "x/", "x//y", "../x", "x/../y", "x/./y", "a\0b", &"x".repeat(2000)] {
        assert!(Key::new(text).is_err(), "{text:?}");
    }
    assert_eq!(Key::new("x/1/2").unwrap().as_str(), "x/1/2");
}
