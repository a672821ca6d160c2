//! Servers that do not keep to what they are asked for: never a wrong byte, and no answer without an end.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::bucket;
use crate::support::http::{Request, answer, serve};
use cddsfs::error::{Error, Kind, Result};
use cddsfs::io::{Cancel, Reader};
use cddsfs::store::parts::object::Object;
use cddsfs::store::parts::{PartRef, Parts};

const DATE: &str = "Wed, 25 Nov 2026 10:00:00 GMT";

fn object(handle: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Object {
    let endpoint = format!("http://{}", serve(handle));
    Object::open("s3://bucket/a", &bucket::options(&endpoint)).unwrap()
}

/// A page of a list with one part of that name.
fn page(name: &str, size: usize, e_tag: &str, token: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><ListBucketResult><Contents><Key>a/{name}</Key><Size>{size}</Size>\
         <LastModified>2026-11-25T10:00:00.500Z</LastModified>{e_tag}</Contents>{token}</ListBucketResult>"
    )
}

fn is_list(request: &Request) -> bool {
    request.path.contains("list-type=2")
}

fn list(to: &mut TcpStream, size: usize, e_tag: &str) {
    answer(to, "200 OK", &[], page("x.smime", size, e_tag, "").as_bytes());
}

/// The range that is asked for.
fn part(request: &Request, to: &mut TcpStream, bytes: &[u8], e_tag: &str) {
    let (first, last) = request.range().unwrap_or((0, bytes.len() - 1));
    let range = format!("bytes {first}-{last}/{}", bytes.len());
    let headers = [("Content-Range", range.as_str()), ("ETag", e_tag), ("Last-Modified", DATE)];
    answer(to, "206 Partial Content", &headers, &bytes[first..=last]);
}

fn only(object: &Object) -> PartRef {
    object.list(&Cancel::new()).unwrap().parts.remove(0)
}

fn open(object: &Object) -> Result<Reader> {
    object.open(&only(object), &Cancel::new())
}

fn error_of<T>(result: Result<T>) -> Error {
    result.err().expect("it is taken")
}

#[test]
fn a_server_that_ignores_if_match_cannot_mix_versions() {
    let versions = [vec![1u8; 3 << 20], vec![2u8; 3 << 20]];
    let asked = Arc::new(AtomicUsize::new(0));
    let object = object({
        let (asked, versions) = (asked.clone(), versions.clone());
        move |request, to| {
            if is_list(request) {
                return list(to, 3 << 20, "<ETag>&quot;v0&quot;</ETag>");
            }
            assert_eq!(request.header("if-match"), Some("\"v0\""));
            // From the fifth request on it is another one.
            let version = usize::from(asked.fetch_add(1, Ordering::Relaxed) >= 4);
            part(request, to, &versions[version], &format!("\"v{version}\""));
        }
    });
    let reader = open(&object).unwrap();
    let mut stale = 0;
    for at in (0..3 << 20).step_by(64 << 10) {
        match reader.read_vec(at, 64 << 10) {
            Ok(read) => assert!(read.iter().all(|&byte| byte == 1), "{at}"),
            Err(error) => {
                assert_eq!(error.kind(), Kind::Stale);
                stale += 1;
            }
        }
    }
    assert!(stale > 0);
}

#[test]
fn answers_that_are_not_what_was_asked_for_are_errors() {
    type Handle = fn(&Request, &mut TcpStream);
    let with = |handle: Handle| {
        object(move |request, to| match is_list(request) {
            true => list(to, 1000, "<ETag>\"v0\"</ETag>"),
            false => handle(request, to),
        })
    };
    let cases: [(&str, Handle, i32); 10] = [
        ("another length", |request, to| part(request, to, &[1; 1001], "\"v0\""), libc::ESTALE),
        (
            "another range",
            |_, to| {
                answer(
                    to,
                    "206 Partial Content",
                    &[("Content-Range", "bytes 1-999/1000"), ("ETag", "\"v0\""), ("Last-Modified", DATE)],
                    &[1; 999],
                )
            },
            libc::EIO,
        ),
        (
            "no range",
            |_, to| {
                answer(to, "206 Partial Content", &[("ETag", "\"v0\""), ("Last-Modified", DATE)], &[1; 1000])
            },
            libc::EIO,
        ),
        (
            "the whole",
            |_, to| answer(to, "200 OK", &[("ETag", "\"v0\""), ("Last-Modified", DATE)], &[1; 1000]),
            libc::EIO,
        ),
        (
            "no ETag",
            |_, to| {
                answer(
                    to,
                    "206 Partial Content",
                    &[("Content-Range", "bytes 0-999/1000"), ("Last-Modified", DATE)],
                    &[1; 1000],
                )
            },
            libc::ESTALE,
        ),
        ("403", |_, to| answer(to, "403 Forbidden", &[], &[0xff; 100]), libc::EACCES),
        ("401", |_, to| answer(to, "401 Unauthorized", &[], b"geheim"), libc::EACCES),
        ("404", |_, to| answer(to, "404 Not Found", &[], b""), libc::ENOENT),
        ("416", |_, to| answer(to, "416 Range Not Satisfiable", &[], b""), libc::ESTALE),
        ("400", |_, to| answer(to, "400 Bad Request", &[], b"geheim"), libc::EIO),
    ];
    for (what, handle, errno) in cases {
        let begun = Instant::now();
        let error = error_of(open(&with(handle)));
        assert_eq!(error.errno(), errno, "{what}: {error}");
        assert!(!error.to_string().contains("geheim"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
    }
}

#[test]
fn an_answer_that_does_not_end_is_left() {
    let endless = |to: &mut TcpStream, head: &str| {
        let _ = to.write_all(head.as_bytes());
        while to.write_all(&[b'x'; 64 << 10]).is_ok() {}
    };
    let object = object(move |request, to| match is_list(request) {
        true if request.path.contains("prefix=a")
            && request.method == "GET"
            && request.header("x-none").is_none() =>
        {
            endless(to, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        }
        _ => answer(to, "404 Not Found", &[], b""),
    });
    let begun = Instant::now();
    let error = error_of(object.list(&Cancel::new()));
    assert!([Kind::Os(libc::EIO), Kind::TimedOut].contains(&error.kind()), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_body_that_is_longer_than_its_range_is_an_error() {
    let object = object(move |request, to| match is_list(request) {
        true => list(to, 1000, "<ETag>\"v0\"</ETag>"),
        false => {
            let head = format!(
                "HTTP/1.1 206 Partial Content\r\nConnection: close\r\nContent-Range: bytes 0-999/1000\r\nETag: \"v0\"\r\n\
                 Last-Modified: {DATE}\r\nTransfer-Encoding: chunked\r\n\r\n"
            );
            let _ = to.write_all(head.as_bytes());
            while to
                .write_all(b"400\r\n")
                .and_then(|()| to.write_all(&[1; 1024]))
                .and_then(|()| to.write_all(b"\r\n"))
                .is_ok()
            {}
        }
    });
    let begun = Instant::now();
    assert_eq!(error_of(open(&object)).errno(), libc::EIO);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_list_without_an_end_is_an_error() {
    let object = object(|_, to| {
        let token = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>";
        answer(to, "200 OK", &[], page("x.smime", 1, "<ETag>\"v0\"</ETag>", token).as_bytes());
    });
    let stop = Cancel::new();
    std::thread::scope(|scope| {
        let listing = scope.spawn(|| object.list(&stop).map(drop));
        std::thread::sleep(Duration::from_secs(1));
        stop.cancel();
        let kind = listing.join().unwrap().unwrap_err().kind();
        assert!([Kind::Cancelled, Kind::Os(libc::EIO)].contains(&kind), "{kind:?}");
    });
}

#[test]
fn what_is_no_list_is_an_error_and_not_an_empty_store() {
    for body in ["", "<html>Please log in</html>", "<ListBucketResult><Contents><Key>a/x.smime", "{}"] {
        let object = object(move |_, to| answer(to, "200 OK", &[], body.as_bytes()));
        assert_eq!(error_of(object.list(&Cancel::new())).errno(), libc::EIO, "{body:?}");
    }
}

#[test]
fn a_list_that_is_refused_says_why() {
    let cases = [
        ("401 Unauthorized", libc::EACCES),
        ("403 Forbidden", libc::EACCES),
        ("404 Not Found", libc::ENOENT),
        ("400 Bad Request", libc::EIO),
    ];
    for (status, errno) in cases {
        let object = object(move |_, to| answer(to, status, &[], b"geheim"));
        let error = error_of(object.list(&Cancel::new()));
        assert_eq!(error.errno(), errno, "{error}");
        assert!(!error.to_string().contains("geheim"), "{error}");
    }
}

#[test]
fn a_name_that_no_file_can_have_is_refused() {
    let long = format!("{}.smime", "x".repeat(300));
    let object = object({
        let long = long.clone();
        move |_, to| answer(to, "200 OK", &[], page(&long, 1, "<ETag>\"v0\"</ETag>", "").as_bytes())
    });
    let listing = object.list(&Cancel::new()).unwrap();
    assert_eq!((listing.parts.len(), listing.refused.keys().collect::<Vec<_>>()), (0, vec![&long]));
}

#[test]
fn without_etags_time_and_length_tell_versions_apart() {
    let asked = Arc::new(AtomicUsize::new(0));
    let object = object({
        let asked = asked.clone();
        move |request, to| match is_list(request) {
            true => list(to, 200_000, ""),
            false => {
                let tag = if asked.fetch_add(1, Ordering::Relaxed) == 0 { "\"a\"" } else { "\"b\"" };
                part(request, to, &[1; 200_000], tag);
            }
        }
    });
    // The first answer has an ETag, which is kept to from then on.
    let reader = open(&object).unwrap();
    assert_eq!(error_of(reader.read_vec(100_000, 10)).kind(), Kind::Stale);
}
