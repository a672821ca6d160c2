//! How fast a part of an object store is read: `object_rate reader|raw|random URL ENDPOINT`, or `object_rate proxy SERVER MILLISECONDS`
//!
//! `reader` reads the first part of a folder as the mount does, four threads taking the next step each. `raw` is object_store alone, with
//! eight ranges of 8 MiB on their way, of a server that asks for no signature. `random` reads 64 KiB here and there. With each goes the
//! most memory that was taken. `proxy` is a way to a server that takes so long in each direction.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cddsfs::io::Cancel;
use cddsfs::store::address::Reach;
use cddsfs::store::parts::object::Object;
use cddsfs::store::parts::{PartRef, Parts};
use futures_util::{StreamExt, stream};
use object_store::aws::AmazonS3Builder;
use object_store::{ClientOptions, ObjectStoreExt};

use proxy::{Faults, Proxy};

#[allow(dead_code)]
#[path = "../support/proxy.rs"]
mod proxy;

const STEP: usize = 176 << 10;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, mode, url, endpoint] = &arguments[..] else {
        eprintln!("usage: object_rate reader|raw|random URL ENDPOINT, or proxy SERVER MILLISECONDS");
        std::process::exit(2);
    };
    if mode == "proxy" {
        let proxy = Proxy::to(url);
        proxy.set(Faults { delay: Duration::from_millis(endpoint.parse().unwrap()), ..Faults::default() });
        println!("{}", proxy.url());
        loop {
            std::thread::park();
        }
    }
    let options = Reach { endpoint: Some(endpoint.clone()), allow_http: true, ..Reach::default() };
    let object = Object::open(url, &options).unwrap();
    let part = object.list(&Cancel::new()).unwrap().parts.remove(0);
    match mode.as_str() {
        "reader" => rate(&part, || read(&object, &part)),
        "raw" => rate(&part, || raw(url, endpoint, &part)),
        _ => random(&object, &part),
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap());
}

fn rate(part: &PartRef, read: impl FnOnce()) {
    let begun = Instant::now();
    read();
    println!("{:.0} MB/s", part.size as f64 / 1e6 / begun.elapsed().as_secs_f64());
}

fn read(object: &Object, part: &PartRef) {
    let reader = object.open(part, &Cancel::new()).unwrap();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut buf = vec![0; STEP];
                loop {
                    let at = next.fetch_add(STEP, Ordering::Relaxed) as u64;
                    if reader.read_at(&mut buf, at).unwrap() == 0 {
                        return;
                    }
                }
            });
        }
    });
}

fn random(object: &Object, part: &PartRef) {
    let reader = object.open(part, &Cancel::new()).unwrap();
    let (mut seed, mut took, mut buf) = (1u64, Vec::new(), vec![0; 64 << 10]);
    for _ in 0..300 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let at = ((seed >> 20) % (part.size >> 16)) << 16;
        let begun = Instant::now();
        reader.read_exact_at(&mut buf, at).unwrap();
        took.push(begun.elapsed());
    }
    took.sort();
    println!("64 KiB: median {:?}, 99 % {:?}", took[150], took[297]);
}

fn raw(url: &str, endpoint: &str, part: &PartRef) {
    const RANGE: u64 = 8 << 20;
    let client = ClientOptions::new().with_allow_http(true);
    let (bucket, prefix) = url.trim_start_matches("s3://").split_once('/').unwrap();
    let builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_endpoint(endpoint);
    let builder = builder.with_client_options(client).with_skip_signature(true);
    let store = builder.build().unwrap();
    let path = object_store::path::Path::parse(format!("{prefix}/{}", part.name)).unwrap();
    let ranges = (0..part.size.div_ceil(RANGE)).map(|n| n * RANGE..part.size.min((n + 1) * RANGE));
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(
        async {
            let all = stream::iter(ranges.map(|range| store.get_range(&path, range))).buffered(8);
            all.for_each(|bytes| async { drop(bytes.unwrap()) }).await;
        },
    );
}
