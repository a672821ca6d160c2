//! A folder of the object store that `scripts/servers` has started, and what another program puts into it.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use cddsfs::store::address::Reach;
use cddsfs::store::parts::object::Object;

const BUCKET: &str = "cddsfs-tests";

fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run scripts/test, or eval \"$(scripts/servers start DIR)\" first")
    })
}

pub fn s3() -> String {
    setting("CDDSFS_S3")
}

pub fn s3_with_tls() -> String {
    setting("CDDSFS_S3_TLS")
}

pub fn ca() -> String {
    setting("CDDSFS_S3_CA")
}

/// An empty folder of its own.
pub struct Folder {
    prefix: String,
}

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static MADE: Once = Once::new();
        MADE.call_once(|| drop(curl(&["--request", "PUT", &format!("{}/{BUCKET}", s3())], b"")));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Folder { prefix: format!("test-{}-{number}", std::process::id()) }
    }

    pub fn url(&self) -> String {
        format!("s3://{BUCKET}/{}", self.prefix)
    }

    /// The same folder by WebDAV.
    pub fn webdav(&self) -> String {
        format!("{}/buckets/{BUCKET}/{}", setting("CDDSFS_WEBDAV"), self.prefix)
    }

    pub fn open(&self) -> Object {
        self.open_by(&s3())
    }

    /// By another way, or another server.
    pub fn open_by(&self, endpoint: &str) -> Object {
        Object::open(&self.url(), &options(endpoint)).unwrap()
    }

    fn address(&self, key: &str) -> String {
        format!("{}/{BUCKET}/{}/{key}", s3(), self.prefix)
    }

    /// Puts an object there, whose key is written as in a URL.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        curl(&["--path-as-is", "--upload-file", "-", &self.address(key)], bytes);
    }

    /// Puts one content there under many keys.
    pub fn put_all(&self, keys: &[String], bytes: &[u8]) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let path = file.path().to_str().unwrap();
        for keys in keys.chunks(200) {
            let mut arguments = vec!["--parallel".to_owned()];
            for key in keys {
                arguments.extend(["--upload-file".into(), path.into(), self.address(key)]);
            }
            curl(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), b"");
        }
    }

    pub fn delete(&self, key: &str) {
        curl(&["--request", "DELETE", &self.address(key)], b"");
    }
}

pub fn options(endpoint: &str) -> Reach {
    Reach { endpoint: Some(endpoint.into()), allow_http: true, ..Reach::default() }
}

/// A client that is not ours.
fn curl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let user = format!("{}:{}", setting("AWS_ACCESS_KEY_ID"), setting("AWS_SECRET_ACCESS_KEY"));
    let mut child = Command::new("curl")
        .args([
            "--silent",
            "--no-progress-meter",
            "--show-error",
            "--fail",
            "--aws-sigv4",
            "aws:amz:us-east-1:s3",
            "--user",
            &user,
        ])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl: run scripts/setup --test");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() || arguments[0] == "--request", "curl {arguments:?}");
    output.stdout
}
