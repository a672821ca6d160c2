//! Sets made by the writer, and other programs that read them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cddsfs::artifact::member::MemberResources;
use cddsfs::artifact::members::{Members, ROOT};
use cddsfs::artifact::{self, OpenedSet, PartFile, Zip};
use cddsfs::crypto::{Certificate, Identity, KeyTransport};
use cddsfs::error::Result;
use cddsfs::export::writer::{Finished, Writer, WriterSettings};
use cddsfs::io::{FileReader, ReadAt, Reader};
use cddsfs::store::names::Attempt;
use cddsfs::store::parts::Parts;
use cddsfs::store::parts::local::Local;
use tempfile::TempDir;

pub const STEM: &str = "export-x";

/// A key pair that all tests of a program share.
pub struct Keys {
    dir: TempDir,
    pub certificate: Arc<Certificate>,
    pub identities: Arc<[Identity]>,
}

impl Keys {
    pub fn key(&self) -> PathBuf {
        self.dir.path().join("key.pem")
    }
}

pub fn keys() -> &'static Keys {
    static KEYS: LazyLock<Keys> = LazyLock::new(|| {
        let dir = tempfile::tempdir().unwrap();
        let (key, cert) = (dir.path().join("key.pem"), dir.path().join("cert.pem"));
        let make =
            ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/O=Example/CN=exports", "-keyout"];
        succeed(Command::new("openssl").args(make).arg(&key).arg("-out").arg(&cert));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let certificate = Certificate::from_pem(&fs::read(&cert).unwrap()).unwrap();
        // The identity knows its certificate, so that it knows what is for it.
        let both = dir.path().join("both.pem");
        fs::write(&both, [fs::read(&key).unwrap(), fs::read(&cert).unwrap()].concat()).unwrap();
        fs::set_permissions(&both, fs::Permissions::from_mode(0o600)).unwrap();
        let identity = Identity::load(&both, &mut |_| Ok(None)).unwrap();
        Keys { dir, certificate: Arc::new(certificate), identities: [identity].into() }
    });
    &KEYS
}

pub fn settings(split_size: Option<u64>) -> WriterSettings {
    WriterSettings {
        certificate: keys().certificate.clone(),
        transport: KeyTransport::Pkcs1,
        split_size,
        threads: 2,
    }
}

pub fn modified() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_001)
}

pub fn create(dir: &Path, settings: &WriterSettings) -> Writer {
    Writer::create(&location(dir), &Attempt::new("x", 1), modified(), settings).unwrap()
}

fn location(dir: &Path) -> Arc<dyn Parts> {
    Arc::new(Local::new(dir))
}

/// A set in a directory of its own.
pub struct Set {
    pub dir: TempDir,
    pub finished: Finished,
}

impl Set {
    /// Writes members, and gives the parts their names.
    pub fn write(members: &[(String, Vec<u8>)], settings: &WriterSettings) -> Set {
        Set::write_by(settings, |writer| {
            for (name, content) in members {
                writer.start_member(name)?;
                writer.write(content)?;
                assert_eq!(writer.finish_member()?.size, content.len() as u64);
            }
            Ok(())
        })
    }

    pub fn write_by(settings: &WriterSettings, work: impl FnOnce(&mut Writer) -> Result<()>) -> Set {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = create(dir.path(), settings);
        work(&mut writer).unwrap();
        let finished = writer.finish().unwrap();
        assert_eq!(names(dir.path()).len(), finished.parts.len());
        let parts: Vec<_> = finished.parts.iter().map(|part| (part.key.clone(), part.name.clone())).collect();
        location(dir.path()).publish(&parts, modified()).unwrap();
        for part in &finished.parts {
            let meta = fs::metadata(dir.path().join(&part.name)).unwrap();
            assert_eq!(meta.permissions().mode() & 0o777, 0o600);
        }
        Set { dir, finished }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Decrypts all parts by `openssl smime` or `openssl cms`; returns the path of the last one.
    pub fn decrypt(&self, command: &str) -> PathBuf {
        let plain = self.path("plain");
        fs::create_dir_all(&plain).unwrap();
        for part in &self.finished.parts {
            let to = plain.join(part.name.strip_suffix(".smime").unwrap());
            let mut openssl = Command::new("openssl");
            openssl.args([command, "-decrypt", "-in"]).arg(self.path(&part.name));
            succeed(openssl.arg("-inkey").arg(keys().key()).arg("-out").arg(&to));
            assert_eq!(fs::metadata(to).unwrap().len(), part.plain_size);
        }
        plain.join(format!("{STEM}.zip"))
    }

    /// Opens the set with our own readers.
    pub fn open(&self) -> Arc<Zip> {
        let file = |part: &cddsfs::export::writer::WrittenPart| {
            let path = self.path(&part.name);
            let open = Arc::new(move || Ok(Arc::new(FileReader::open(&path)?) as Reader));
            PartFile { ordinal: part.ordinal, name: part.name.clone(), open }
        };
        let files: Vec<PartFile> = self.finished.parts.iter().map(file).collect();
        match artifact::open(&files, &keys().identities, false, &cddsfs::io::Budget::unlimited()).unwrap() {
            OpenedSet::Zip(zip) => Arc::new(zip),
            OpenedSet::Incomplete(gaps) => panic!("{gaps:?}"),
        }
    }

    pub fn members(&self) -> Members {
        Members::open(self.open(), SystemTime::now(), &cddsfs::io::Budget::unlimited()).unwrap()
    }
}

/// Opens a member by its path.
pub fn member(members: &Members, path: &str) -> Reader {
    let id = path.split('/').fold(ROOT, |id, name| members.child(id, name).unwrap().expect(path));
    assert_eq!(members.attr(id).unwrap().mtime, modified());
    members.open_member(id, &Arc::new(MemberResources::default())).unwrap()
}

pub fn read_all(reader: &dyn ReadAt) -> Vec<u8> {
    reader.read_vec(0, reader.len() as usize).unwrap()
}

/// Returns the sorted names in a directory.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Runs a program that must succeed, and returns what it wrote to standard output.
pub fn succeed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|e| panic!("{command:?}: {e} (scripts/setup --test installs it)"));
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out
}

/// Bytes that do not deflate.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Lines that deflate as JSON lines do.
pub fn lines(len: usize, seed: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 200);
    let mut row = seed;
    while out.len() < len {
        row += 1;
        let text = row.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let line = format!(
            "{{\"IXNID\":\"{text:016X}\",\"status\":3,\"row\":{row},\"text\":\"waiting {}\"}}\n",
            text % 997
        );
        out.extend(line.as_bytes());
    }
    out.truncate(len);
    out
}
