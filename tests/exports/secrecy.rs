//! What is exported is nowhere but in the encrypted parts, at no moment.

use std::fs;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::mount::{Mount, names, succeed};
use crate::support::site::{CONTACTS, SPLIT, Site, files, traced};

const CANARY: &str = "Kanarienvogel-7Qx";

fn holds(haystack: &[u8], needle: &str) -> bool {
    memchr::memmem::find(haystack, needle.as_bytes()).is_some()
}

fn add_canary(source: &Path) {
    let sql = format!(
        "UPDATE interaction SET text = '{CANARY}', subject = '{CANARY}' WHERE rowid % 2;
         UPDATE attachment SET thename = '{CANARY}.pdf', description = '{CANARY}';
         UPDATE contactattribute SET attrvalue = '{CANARY}';"
    );
    succeed("sqlite3", [source.as_os_str(), sql.as_ref()]);
}

/// Looks into every file but the source and what is mounted, and what is encrypted also without its base64.
fn assert_nothing_readable(site: &Site) {
    let root = site.place.root();
    let mut parts = 0;
    for file in files_outside(root, &site.place.point()) {
        if file.starts_with(site.source()) || file == site.source() {
            continue;
        }
        // The files of a run that is under way come and go.
        let Ok(bytes) = fs::read(&file) else { continue };
        assert!(!holds(&bytes, CANARY), "{}", file.display());
        if file.starts_with(site.store.artifacts()) {
            let decoded = decoded(&bytes);
            assert!(decoded.len() < 100 || decoded[0] == 0x30, "this is how a message begins");
            for word in [CANARY, "UCS/", "PK\u{3}\u{4}", "IXNID"] {
                assert!(!holds(&decoded, word), "{word} in {}", file.display());
            }
            parts += 1;
        }
    }
    assert!(parts > 0, "the test would see nothing");
    assert_eq!(names(&site.place.tmp()), [""; 0]);
}

/// What is behind the header, without its base64, as Python reads it.
fn decoded(message: &[u8]) -> Vec<u8> {
    let script = "import base64, re, sys
text = sys.stdin.buffer.read().split(b'\\n\\n', 1)[-1].split(b'\\r\\n\\r\\n', 1)[-1]
text = re.sub(rb'[^A-Za-z0-9+/]', b'', text)
sys.stdout.buffer.write(base64.b64decode(text[:len(text) // 4 * 4]))";
    // The file itself may have got another name by now.
    let mut copy = tempfile::tempfile().unwrap();
    copy.write_all(message).unwrap();
    copy.rewind().unwrap();
    let output = Command::new("python3").args(["-c", script]).stdin(copy).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

fn files_outside(root: &Path, point: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path == point {
            continue;
        }
        match path.is_dir() {
            true => found.extend(files(&path).into_iter().map(|file| path.join(file))),
            false => found.push(path),
        }
    }
    found
}

#[test]
fn no_row_reaches_the_disk_or_the_log() {
    let site = Site::new(2000);
    add_canary(&site.source());
    let traces = tempfile::tempdir().unwrap();
    // A file per thread: in a common one, calls of two threads at the same time are lines cut in two.
    let trace = traces.path().join("trace");
    let log = site.place.root().join("log");
    let calls = "trace=open,openat,openat2,creat,memfd_create,mknod,mknodat,rename,renameat,renameat2,link,linkat,symlinkat";
    let mut command = site.strace(["-ff", "--seccomp-bpf", "-y", "-o", trace.to_str().unwrap(), "-e", calls]);
    command.args(["-v", "-v", "--log", log.to_str().unwrap()]);
    let mut mount = Mount::start(command, &site.place.point());
    let split = site.submit(SPLIT);
    // Looked at in the middle, too.
    site.until("progress", || {
        site.run(&split).progress.is_some_and(|p| p.bytes_written > 0) || site.run(&split).status.is_final()
    });
    assert_nothing_readable(&site);
    site.ended(&split);
    let contacts = site.export(CONTACTS).id;
    for id in [&split, &contacts] {
        let zip = mount.zip(&format!("export-{id}"));
        let said = succeed("unzip", ["-p", zip.to_str().unwrap()]);
        assert!(said.matches(CANARY).count() > 100, "the test would see nothing");
        let root = mount.path("contents").join(format!("export-{id}"));
        assert!(files(&root).iter().any(|file| holds(&fs::read(root.join(file)).unwrap(), CANARY)));
        for part in site.parts(id) {
            assert!(!holds(&fs::read(mount.path("encrypted").join(part)).unwrap(), CANARY));
        }
        let record = fs::read(mount.path("history").join(format!("export-{id}.json"))).unwrap();
        assert!(!holds(&record, CANARY));
    }
    assert_no_file_without_a_name(mount.pid());
    let failed =
        site.submit(r#"{"title":"t","type":"Interaction","split_size":"64 KiB","media_types":["telex"]}"#);
    site.ended(&failed);
    assert_nothing_readable(&site);
    fs::remove_file(mount.zip(&format!("export-{split}"))).unwrap();
    let said = mount.unmount();
    assert!(said.iter().all(|line| !line.contains(CANARY)), "{said:#?}");
    assert!(log.exists());
    assert_nothing_readable(&site);
    let threads =
        names(traces.path()).into_iter().map(|name| fs::read_to_string(traces.path().join(name)).unwrap());
    assert_created_where_it_belongs(&site, &threads.collect::<String>(), &log);
}

fn assert_no_file_without_a_name(strace: u32) {
    let pid = traced(strace).unwrap();
    for fd in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let Ok(target) = fs::read_link(fd.unwrap().path()) else { continue };
        let target = target.display().to_string();
        assert!(!target.contains("(deleted)") && !target.contains("memfd"), "{target}");
    }
}

/// Files are made in the store; those outside are the log and the sizes that are remembered.
fn assert_created_where_it_belongs(site: &Site, trace: &str, log: &Path) {
    let creates = |line: &&str| {
        let calls = ["creat(", "memfd_create(", "mknod", "link", "rename"];
        line.contains("O_CREAT") || line.contains("O_TMPFILE") || calls.iter().any(|call| line.contains(call))
    };
    let allowed = [site.place.store(), site.place.cache(), log.to_path_buf()];
    let mut seen = 0;
    for line in trace.lines().filter(creates) {
        // openat(AT_FDCWD</cwd>, "/path", O_WRONLY|O_CREAT, 0600) = 3</path>
        let pieces: Vec<&str> = line.split('"').collect();
        assert!(pieces.len() >= 3, "{line}");
        for piece in pieces.windows(2).step_by(2) {
            let directory =
                piece[0].rsplit_once('<').and_then(|(_, rest)| rest.split_once('>')).unwrap_or_default().0;
            let path = Path::new(directory).join(piece[1]);
            assert!(allowed.iter().any(|place| path.starts_with(place)), "{line}");
        }
        seen += 1;
    }
    assert!(seen >= 5, "the test would see nothing: {trace}");
}
