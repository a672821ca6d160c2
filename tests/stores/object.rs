//! Parts in an object store: what is listed, that bytes are those of one version, and what is said when the store does not answer.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::bucket::{self, Folder};
use crate::support::proxy::{Faults, Proxy};
use cddsfs::error::Kind;
use cddsfs::io::{Cancel, Reader};
use cddsfs::store::address::Reach;
use cddsfs::store::parts::object::Object;
use cddsfs::store::parts::{Key, PartRef, Parts};

const MIB: usize = 1 << 20;
/// What a request to the filesystem may take.
const LIMIT: Duration = Duration::from_secs(30);

fn content(len: usize, seed: u64) -> Vec<u8> {
    (0..len as u64).map(|i| ((i ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 37) as u8).collect()
}

fn names(object: &Object) -> Vec<String> {
    let mut names: Vec<_> = listed(object).into_iter().map(|part| part.name).collect();
    names.sort();
    names
}

fn listed(object: &Object) -> Vec<PartRef> {
    object.list(&Cancel::new()).unwrap().parts
}

fn open(object: &Object, part: &PartRef) -> Reader {
    object.open(part, &Cancel::new()).unwrap()
}

fn only(object: &Object) -> PartRef {
    listed(object).remove(0)
}

#[test]
fn what_is_directly_in_the_folder_is_listed_whoever_has_put_it_there() {
    let folder = Folder::new();
    assert_eq!(names(&folder.open()), Vec::<String>::new());
    for key in [
        "export-a.zip.smime",
        "%C3%BC%20b%2525.smime",
        "holiday.jpg",
        "below/c.smime",
        "x.z01.smime.part",
        "c.smime",
    ] {
        folder.put(key, b"0123456789");
    }
    let object = folder.open();
    let listing = object.list(&Cancel::new()).unwrap();
    assert_eq!(names(&object), ["c.smime", "export-a.zip.smime", "ü b%25.smime"]);
    assert_eq!((listing.unfinished, listing.refused.len()), (vec!["x.z01.smime.part".to_string()], 0));
    assert!(listing.mtime.elapsed().unwrap() < Duration::from_secs(600));
    for part in listing.parts {
        assert_eq!((part.size, part.key.as_str()), (10, part.name.as_str()));
        assert_eq!(open(&object, &part).read_vec(3, 100).unwrap(), b"3456789");
        assert_eq!(
            object.find(&part.key).unwrap().unwrap(),
            PartRef { mtime: object.find(&part.key).unwrap().unwrap().mtime, ..part }
        );
    }
    // The whole bucket is a folder, too.
    let all = Object::open("s3://cddsfs-tests", &bucket::options(&bucket::s3())).unwrap();
    assert!(!names(&all).contains(&"c.smime".into()));
}

#[test]
fn all_pages_of_a_long_list_are_asked_for() {
    let folder = Folder::new();
    let keys: Vec<String> = (0..1203).map(|n| format!("export-{n}.zip.smime")).collect();
    folder.put_all(&keys, b"x");
    let mut expected = keys;
    expected.sort();
    assert_eq!(names(&folder.open()), expected);
}

#[test]
fn names_that_nobody_can_have_do_not_keep_the_others_from_being_listed() {
    let folder = Folder::new();
    for key in ["a.smime", "b%0Ac.smime", "%01.smime", "/d.smime", "e//f.smime", "..smime", "...smime"] {
        folder.put(key, b"x");
    }
    let object = folder.open();
    let listing = object.list(&Cancel::new()).unwrap();
    let names: Vec<_> = listing.parts.iter().map(|part| part.name.as_str()).collect();
    assert!(names.contains(&"a.smime"), "{names:?}");
    assert!(names.iter().all(|name| !name.contains(['\n', '\u{1}', '/'])), "{names:?}");
}

#[test]
fn any_bytes_are_the_right_ones_and_are_fetched_once() {
    let folder = Folder::new();
    let bytes = content(40 * MIB + 7, 1);
    folder.put("x.smime", &bytes);
    let proxy = Proxy::to(&bucket::s3());
    let object = folder.open_by(&proxy.url());
    let reader = open(&object, &only(&object));
    let before = proxy.brought();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(176 << 10, Ordering::Relaxed);
                    if at >= bytes.len() {
                        return;
                    }
                    let end = bytes.len().min(at + (176 << 10));
                    assert!(reader.read_vec(at as u64, 176 << 10).unwrap() == bytes[at..end], "{at}");
                }
            });
        }
    });
    let fetched = (proxy.brought() - before) as f64 / bytes.len() as f64;
    assert!(fetched <= 1.05, "{fetched}");
    thread::scope(|scope| {
        for thread in 1..5 {
            let (reader, bytes) = (&reader, &bytes);
            scope.spawn(move || {
                let mut seed = thread;
                for _ in 0..40 {
                    seed = (seed * 48271) % 0x7fff_ffff;
                    let (at, len) = (seed % bytes.len(), seed % 200_000);
                    let end = bytes.len().min(at + len);
                    assert!(reader.read_vec(at as u64, len).unwrap() == bytes[at..end], "{len} at {at}");
                }
            });
        }
    });
}

#[test]
fn a_part_that_is_replaced_while_it_is_read_is_stale_and_never_mixed() {
    let (old, new) = (content(24 * MIB, 1), content(24 * MIB, 2));
    for step in [128 << 10, MIB] {
        let folder = Folder::new();
        folder.put("x.smime", &old);
        let object = folder.open();
        let part = only(&object);
        let reader = open(&object, &part);
        let mut stale = 0;
        for (n, at) in (0..old.len()).step_by(step).enumerate() {
            if n == 10 {
                folder.put("x.smime", &new);
            }
            match reader.read_vec(at as u64, step) {
                Ok(read) => assert!(read == old[at..at + step], "{at}"),
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Stale, "{error}");
                    stale += 1;
                }
            }
        }
        assert!(stale > 0);
        assert_eq!(object.open(&part, &Cancel::new()).err().unwrap().kind(), Kind::Stale);
        assert!(open(&object, &only(&object)).read_vec(0, 100).unwrap() == new[..100]);
    }
}

#[test]
fn a_part_that_is_gone_is_not_there_rather_than_stale() {
    let folder = Folder::new();
    folder.put("x.smime", b"0123456789");
    let object = folder.open();
    let part = only(&object);
    folder.delete("x.smime");
    assert_eq!(object.open(&part, &Cancel::new()).err().unwrap().kind(), Kind::NotFound);
    assert_eq!(object.find(&part.key).unwrap(), None);
    let missing = Object::open("s3://no-such-bucket-anywhere/x", &bucket::options(&bucket::s3())).unwrap();
    assert_eq!(missing.list(&Cancel::new()).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn beginnings_and_ends_are_fetched_for_many_parts_together() {
    let folder = Folder::new();
    let bytes = content(300_000, 5);
    folder.put_all(&(0..40).map(|n| format!("{n}.smime")).collect::<Vec<_>>(), &bytes);
    let proxy = Proxy::to(&bucket::s3());
    let object = folder.open_by(&proxy.url());
    let parts = listed(&object);
    proxy.set(Faults { delay: Duration::from_millis(100), ..Faults::default() });
    let begun = Instant::now();
    object.warm(&parts);
    for part in &parts {
        let reader = open(&object, part);
        assert!(reader.read_vec(0, 1000).unwrap() == bytes[..1000]);
        assert!(reader.read_vec(299_000, 1000).unwrap() == bytes[299_000..]);
    }
    // One after the other they would take 16 seconds.
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

/// Reads a part while things go wrong: the right bytes, or an error in time.
fn read_in_time(reader: &Reader, bytes: &[u8]) -> Result<(), Kind> {
    let step = 176 << 10;
    for at in (0..bytes.len()).step_by(step) {
        let begun = Instant::now();
        let read = reader.read_vec(at as u64, step);
        assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
        let read = read.map_err(|error| error.kind())?;
        assert!(read == bytes[at..bytes.len().min(at + step)], "{at}");
    }
    Ok(())
}

#[test]
fn what_breaks_now_and_then_is_asked_for_again() {
    let folder = Folder::new();
    let bytes = content(16 * MIB, 3);
    folder.put("x.smime", &bytes);
    let cut = Faults { cut_after: Some(512 << 10), every: 2, ..Faults::default() };
    let unavailable =
        Faults { is_unavailable: true, every: 3, cut_after: Some(2 << 20), ..Faults::default() };
    let slow = Faults { rate: Some(3 << 20), delay: Duration::from_millis(50), ..Faults::default() };
    for faults in [cut, unavailable, slow] {
        let proxy = Proxy::to(&bucket::s3());
        proxy.set(faults.clone());
        let object = folder.open_by(&proxy.url());
        assert_eq!(read_in_time(&open(&object, &only(&object)), &bytes), Ok(()), "{faults:?}");
    }
}

#[test]
fn a_store_that_does_not_answer_is_an_error_in_time_and_then_goes_on() {
    let folder = Folder::new();
    let bytes = content(8 * MIB, 4);
    folder.put("x.smime", &bytes);
    let proxies: Vec<Proxy> = (0..3).map(|_| Proxy::to(&bucket::s3())).collect();
    let frozen = Faults { is_frozen: true, ..Faults::default() };
    let closed = Faults { is_closed: true, cut_after: Some(0), ..Faults::default() };
    let unavailable = Faults { is_unavailable: true, cut_after: Some(0), ..Faults::default() };
    thread::scope(|scope| {
        for (proxy, faults) in proxies.iter().zip([frozen, closed, unavailable]) {
            let (folder, bytes) = (&folder, &bytes);
            scope.spawn(move || {
                let object = folder.open_by(&proxy.url());
                let part = only(&object);
                let reader = open(&object, &part);
                assert!(reader.read_vec(0, 100_000).unwrap() == bytes[..100_000]);
                proxy.set(faults.clone());
                thread::scope(|scope| {
                    let listing = scope.spawn(|| object.list(&Cancel::new()).map(drop));
                    let finding = scope.spawn(|| object.find(&part.key).map(drop));
                    let reading = scope.spawn(|| reader.read_vec(5 << 20, 1000).map(drop));
                    let opening = scope.spawn(|| object.open(&part, &Cancel::new()).map(drop));
                    let begun = Instant::now();
                    for one in [listing, finding, reading, opening] {
                        let error = one.join().unwrap().unwrap_err();
                        assert_eq!(error.kind(), Kind::TimedOut, "{error} with {faults:?}");
                        assert!(begun.elapsed() < LIMIT, "{faults:?}");
                    }
                });
                proxy.set(Faults::default());
                assert_eq!(read_in_time(&reader, bytes), Ok(()), "{faults:?}");
            });
        }
        // Nobody listens there.
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let object = folder.open_by(&format!("http://{nobody}"));
        let begun = Instant::now();
        assert_eq!(object.list(&Cancel::new()).unwrap_err().kind(), Kind::TimedOut);
        assert!(
            begun.elapsed() > Duration::from_secs(20) && begun.elapsed() < LIMIT,
            "{:?}",
            begun.elapsed()
        );
    });
}

#[test]
fn a_raised_flag_ends_what_waits_for_a_store_that_hangs() {
    let folder = Folder::new();
    folder.put("x.smime", &content(MIB, 1));
    let proxy = Proxy::to(&bucket::s3());
    let object = folder.open_by(&proxy.url());
    let (part, stop) = (only(&object), Cancel::new());
    let reader = object.open(&part, &stop).unwrap();
    proxy.set(Faults { is_frozen: true, ..Faults::default() });
    thread::scope(|scope| {
        let listing = scope.spawn(|| object.list(&stop).map(drop));
        let reading = scope.spawn(|| reader.read_vec(500_000, 10).map(drop));
        thread::sleep(Duration::from_millis(300));
        let begun = Instant::now();
        stop.cancel();
        for one in [listing, reading] {
            assert_eq!(one.join().unwrap().unwrap_err().kind(), Kind::Cancelled);
        }
        assert!(begun.elapsed() < Duration::from_secs(2));
    });
    proxy.set(Faults::default());
}

#[test]
fn changes_are_told_and_nothing_else_is_also_while_the_store_is_away() {
    let folder = Folder::new();
    folder.put("x.smime", b"1");
    let proxy = Proxy::to(&bucket::s3());
    let options = Reach { poll: Some(Duration::from_millis(200)), ..bucket::options(&proxy.url()) };
    let object = Arc::new(Object::open(&folder.url(), &options).unwrap());
    assert_eq!(names(&object), ["x.smime"]);
    let (told, looks) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
    let watch = {
        let (object, told, looks) = (object.clone(), told.clone(), looks.clone());
        object.clone().watch(Box::new(move || {
            told.fetch_add(1, Ordering::Relaxed);
            if looks.load(Ordering::Relaxed) {
                drop(object.list(&Cancel::new()));
            }
        }))
    }
    .unwrap();
    assert!(!watch.polls());
    let is_told = |before: usize| {
        (0..100).any(|_| {
            thread::sleep(Duration::from_millis(100));
            told.load(Ordering::Relaxed) > before
        })
    };
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(told.load(Ordering::Relaxed), 0);
    proxy.set(Faults { is_closed: true, cut_after: Some(0), ..Faults::default() });
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(told.load(Ordering::Relaxed), 0);
    proxy.set(Faults::default());
    folder.put("y.smime", b"2");
    assert!(is_told(0));
    let before = told.load(Ordering::Relaxed);
    folder.put("y.smime", b"3");
    assert!(is_told(before));
    let before = told.load(Ordering::Relaxed);
    folder.delete("y.smime");
    assert!(is_told(before));
    let before = told.load(Ordering::Relaxed);
    watch.trigger();
    assert!(is_told(before));
}

#[test]
fn a_secure_connection_needs_a_certificate_that_is_trusted() {
    let folder = Folder::new();
    folder.put("x.smime", b"0123456789");
    let tls = |ca_file: Option<&str>| {
        let options = Reach {
            endpoint: Some(bucket::s3_with_tls()),
            ca_file: ca_file.map(Into::into),
            ..Reach::default()
        };
        Object::open(&folder.url(), &options)
    };
    let object = tls(Some(&bucket::ca())).unwrap();
    assert_eq!(open(&object, &only(&object)).read_vec(0, 10).unwrap(), b"0123456789");
    let other = std::env::var("CDDSFS_POSTGRES_CA").unwrap();
    for ca_file in [None, Some(other.as_str())] {
        let begun = Instant::now();
        let error = tls(ca_file).unwrap().list(&Cancel::new()).unwrap_err();
        assert_eq!(error.errno(), libc::EIO, "{error}");
        assert!(error.to_string().contains("certificate"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(10), "it is no use to try again");
    }
    assert!(tls(Some("/dev/null")).is_err() && tls(Some("/nowhere")).is_err());
    // Plain connections have to be allowed.
    let plain = Reach { allow_http: false, ..bucket::options(&bucket::s3()) };
    let refused = Object::open(&folder.url(), &plain).and_then(|object| object.list(&Cancel::new()));
    assert!(refused.is_err());
}

/// In a process of its own, whose environment has none.
#[test]
fn a_machine_without_credentials_says_so_at_once() {
    const CHILD: &str = "CDDSFS_TEST_WITHOUT_CREDENTIALS";
    if std::env::var_os(CHILD).is_none() {
        let this = std::env::current_exe().unwrap();
        let name = "object::a_machine_without_credentials_says_so_at_once";
        let mut child = std::process::Command::new(this);
        child.args(["--exact", name]).env(CHILD, "1");
        child.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        assert!(child.status().unwrap().success());
        return;
    }
    let object = Object::open("s3://bucket/x", &bucket::options(&bucket::s3())).unwrap();
    let begun = Instant::now();
    let error = object.list(&Cancel::new()).unwrap_err();
    assert_eq!(error.errno(), libc::EACCES, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_webdav_folder_is_read() {
    let folder = Folder::new();
    let bytes = content(3 * MIB, 9);
    for key in ["x.smime", "%C3%BC%20b.smime", "below/y.smime", "c.txt"] {
        folder.put(key, &bytes);
    }
    let options = Reach { allow_http: true, ..Reach::default() };
    let object = Object::open(&folder.webdav(), &options).unwrap();
    assert_eq!(names(&object), ["x.smime", "ü b.smime"]);
    for part in listed(&object) {
        let reader = open(&object, &part);
        assert!(reader.read_vec(0, bytes.len()).unwrap() == bytes);
        assert!(reader.read_vec(2_000_001, 5).unwrap() == bytes[2_000_001..2_000_006]);
        assert!(object.find(&part.key).unwrap().is_some());
    }
    let part = only(&object);
    folder.put("x.smime", &content(3 * MIB, 10));
    folder.put("%C3%BC%20b.smime", &content(3 * MIB, 10));
    assert_eq!(object.open(&part, &Cancel::new()).err().unwrap().kind(), Kind::Stale);
    let key = Key::new("302a38f0-b493-4921-b8e4-61c1e18a0655/1/1").unwrap();
    assert_eq!(object.create(&key).err().unwrap().kind(), Kind::ReadOnly);
    assert_eq!(object.delete(&[key]).unwrap_err().kind(), Kind::ReadOnly);
}

#[test]
fn large_parts_are_sent_in_pieces_and_what_is_dropped_leaves_nothing() {
    let (folder, bytes) = (Folder::new(), content(21 * MIB + 5, 11));
    let object = folder.open();
    let key = |n| Key::new(format!("302a38f0-b493-4921-b8e4-61c1e18a0655/1/{n}")).unwrap();
    let write = |n| {
        let mut sink = object.create(&key(n)).unwrap();
        bytes.chunks(1_000_003).for_each(|piece| sink.write(piece).unwrap());
        sink
    };
    write(1).finish().unwrap();
    drop(write(2));
    assert_eq!(object.find(&key(2)).unwrap(), None);
    let part = object.find(&key(1)).unwrap().unwrap();
    assert_eq!(part.size, bytes.len() as u64);
    assert!(open(&object, &part).read_vec(0, bytes.len()).unwrap() == bytes);
    assert_eq!(object.left(None).unwrap().len(), 1);
}
