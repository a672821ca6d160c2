//! The trees inside the exports, through the kernel and everyday programs.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::corpus;
use crate::support::mount::{self, Place};

/// Copies the parts of a set of the corpus into the store; returns what their names begin with.
fn copy_set(place: &Place, set: &str) -> String {
    let dir = corpus::dir().join("split").join(set).join("smime");
    for part in corpus::parts(&dir) {
        fs::copy(dir.join(&part.name), place.store().join(&part.name)).unwrap();
    }
    let rows = corpus::table("split/SETS.tsv");
    format!("export-{}", rows.into_iter().find(|row| row[0] == set).unwrap()[1])
}

/// Encrypts a hostile zip of the corpus into the store; returns its stem.
fn encrypt_hostile(place: &Place, name: &str) -> String {
    let status = Command::new("openssl")
        .args(["cms", "-encrypt", "-binary", "-aes256", "-outform", "DER", "-in"])
        .arg(corpus::dir().join("hostile/zip").join(format!("{name}.zip")))
        .arg("-out")
        .arg(place.store().join(format!("export-{name}.zip.smime")))
        .arg(corpus::dir().join("keys/c1.pem"))
        .status()
        .unwrap();
    assert!(status.success());
    format!("export-{name}")
}

fn stdout(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn files_below(dir: &Path) -> Vec<String> {
    let found =
        stdout(Command::new("find").args([".", "!", "-type", "d", "-printf", "%P\n"]).current_dir(dir));
    let mut files: Vec<String> = found.lines().map(str::to_string).collect();
    files.sort();
    files
}

#[test]
fn every_set_is_a_tree_with_the_members_that_stock_tools_extract() {
    let place = Place::new();
    let sets = ["iz-basic", "iz-many-zip64", "z4-folder", "z4-LOST", "z4-many", "cc-many", "7z-v", "wide-z4"];
    let stems: Vec<String> = sets.iter().map(|set| copy_set(&place, set)).collect();
    let mount = place.mount(&["k1.pem"], &[]);
    for (set, stem) in sets.iter().zip(&stems) {
        let dir = mount.path("contents").join(stem);
        let rows = corpus::table(&format!("expected/{set}.tsv"));
        let rows: Vec<_> = rows.iter().filter(|row| !row[0].ends_with('/')).collect();
        for row in &rows {
            let bytes = fs::read(dir.join(&row[0])).unwrap_or_else(|e| panic!("{set}: {}: {e}", row[0]));
            assert_eq!(corpus::sha256(&bytes), row[3], "{set}: {}", row[0]);
        }
        let mut names: Vec<_> = rows.iter().map(|row| row[0].clone()).collect();
        names.sort();
        assert_eq!(files_below(&dir), names, "{set}");
    }
}

#[test]
fn everyday_programs_read_members_as_if_they_lay_on_disk() {
    let place = Place::new();
    let stem = copy_set(&place, "iz-basic");
    let mount = place.mount(&["k1.pem"], &[]);
    let dir = mount.path("contents").join(&stem);
    let file = dir.join("interactions-006.json");
    let plain = fs::read(&file).unwrap();
    let lines = plain.iter().filter(|&&b| b == b'\n').count();
    assert_eq!(stdout(Command::new("jq").args(["-s", "length"]).arg(&file)).trim(), lines.to_string());
    assert_eq!(stdout(Command::new("wc").arg("-l").arg(&file)).split(' ').next().unwrap(), lines.to_string());
    let tail = Command::new("tail").args(["-c", "100"]).arg(&file).output().unwrap().stdout;
    assert_eq!(tail, plain[plain.len() - 100..]);
    assert_ne!(stdout(Command::new("grep").args(["-c", "voice"]).arg(&file)).trim(), "0");
    let copy = place.root().join("copy");
    stdout(Command::new("cp").arg("-a").arg(&dir).arg(&copy));
    stdout(Command::new("diff").arg("-r").arg(&dir).arg(&copy));
    let second = stdout(
        Command::new("rsync").args(["-a", "--itemize-changes"]).arg(format!("{}/", dir.display())).arg(&copy),
    );
    assert_eq!(second, "", "times and sizes are those of the zip, and stay");
    stdout(Command::new("tar").arg("-C").arg(&dir).args(["-cf", "/dev/null", "."]));
    assert_eq!(stdout(Command::new("rg").args(["-c", ""]).arg(&file)).trim(), lines.to_string());
    assert_eq!(stdout(Command::new("rg").args(["--mmap", "-c", ""]).arg(&file)).trim(), lines.to_string());
    assert!(stdout(Command::new("file").arg("-b").arg(&file)).contains("JSON"), "file(1)");
}

#[test]
fn pagers_and_editors_show_the_last_line() {
    let place = Place::new();
    let stem = copy_set(&place, "iz-basic");
    let mount = place.mount(&["k1.pem"], &[]);
    let file = mount.path("contents").join(&stem).join("interactions-006.json");
    let plain = fs::read_to_string(&file).unwrap();
    let last = plain.lines().next_back().unwrap();
    let print = ["-R", "-e", "-s", "-u", "NONE", "-c", "$print", "-c", "qa!"];
    assert_eq!(stdout(Command::new("vim").args(print).arg(&file)).trim(), last);
    let begin = &last[..20];
    let less = format!("LESSCHARSET=utf-8 less -S +G '{}'", file.display());
    show_on_a_terminal(&place, &less, begin);
    let vim =
        format!("vim -R -u NONE --cmd 'set nowrap shortmess=aoOtTIF' -c 'normal G' '{}'", file.display());
    show_on_a_terminal(&place, &vim, begin);
}

/// Runs a program on a terminal until it shows something.
fn show_on_a_terminal(place: &Place, command: &str, shows: &str) {
    // A server that is ending would take the next session with it.
    let socket = place.root().join(format!("tmux-{}", command.len()));
    let tmux = |args: &[&str]| {
        let output = Command::new("tmux").arg("-S").arg(&socket).args(args).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    tmux(&["new-session", "-d", "-x", "100", "-y", "30", command]);
    let started = Instant::now();
    let mut screen = String::new();
    while !screen.contains(shows) && started.elapsed() < Duration::from_secs(20) {
        screen = tmux(&["capture-pane", "-p"]);
        thread::sleep(Duration::from_millis(50));
    }
    tmux(&["kill-server"]);
    assert!(screen.contains(shows), "{command}: {shows} is not on the screen:\n{screen}");
}

#[test]
fn random_reads_from_many_threads_equal_slices_of_the_member() {
    let place = Place::new();
    let stem = copy_set(&place, "iz-basic");
    let mount = place.mount(&["k1.pem"], &[]);
    let path = mount.path("contents").join(&stem).join("interactions-006.json");
    let plain = fs::read(&path).unwrap();
    thread::scope(|scope| {
        for seed in 0..8usize {
            let (path, plain) = (&path, &plain);
            scope.spawn(move || {
                let file = fs::File::open(path).unwrap();
                for i in 0..50 {
                    let at = (seed * 7919 + i * 104_729) % plain.len();
                    let mut buf = vec![0; (1 + i * 997 % 40_000).min(plain.len() - at)];
                    file.read_exact_at(&mut buf, at as u64).unwrap();
                    assert!(buf == plain[at..at + buf.len()], "{} bytes at {at}", buf.len());
                }
            });
        }
    });
}

#[test]
fn hostile_names_stay_inside_under_names_that_are_safe() {
    let place = Place::new();
    let table: [(&str, &[&str]); 5] = [
        (
            "names-traversal",
            &[
                "%00",
                "%2E%2E/%2E%2E/etc/passwd",
                "%2E%2E~1",
                "a/%2E%2E/%2E%2E/b",
                "a/%2E%2E~1",
                "c",
                "d/e",
                "good.json",
            ],
        ),
        ("names-absolute", &["C:/x", "C:\\Windows\\x", "\\\\srv\\share", "etc/passwd", "good.json", "x/y"]),
        ("names-duplicate", &["DUP.JSON", "dup.json", "dup.json~1", "good.json"]),
        ("names-file-and-dir", &["good.json", "x/y", "x~1", "z~1"]),
        ("mode-symlink", &["big.link", "good.json", "link.link", "loop", "rel.link"]),
    ];
    let stems: Vec<String> = table.iter().map(|(name, _)| encrypt_hostile(&place, name)).collect();
    let mount = place.mount(&["k1.pem"], &[]);
    for ((name, expected), stem) in table.iter().zip(&stems) {
        assert_eq!(files_below(&mount.path("contents").join(stem)), *expected, "{name}");
    }
    let dir = mount.path("contents/export-mode-symlink");
    assert_eq!(fs::read_to_string(dir.join("link.link")).unwrap(), "/etc/passwd", "a text, for it leads out");
    assert!(fs::symlink_metadata(dir.join("link.link")).unwrap().is_file());
    let last = fs::read(mount.path("contents/export-names-duplicate/dup.json")).unwrap();
    assert_eq!(last, b"second\n", "the last one has the name, as after unzip -o");
    let original = stdout(
        Command::new("getfattr")
            .args(["--only-values", "-n", "user.cddsfs.original_name", "a/%2E%2E~1"])
            .current_dir(mount.path("contents/export-names-traversal")),
    );
    assert_eq!(original, "a/..");
}

#[test]
fn members_that_cannot_be_read_say_why_and_leave_the_others_alone() {
    let place = Place::new();
    let table = [
        ("flag-encrypted", "classic", libc::EACCES),
        ("method-unsupported", "method-1", libc::EOPNOTSUPP),
        ("crc-wrong", "x", libc::EIO),
        ("crc-wrong", "s", libc::EIO),
        ("deflate-garbage", "x", libc::EIO),
        ("deflate-truncated", "x", libc::EIO),
        ("size-csize-past-eof", "x", libc::EIO),
        ("size-offset-into-cd", "x", libc::EIO),
        ("bomb-usize-lie", "small-says-cd", libc::EIO),
        ("bomb-usize-lie", "huge-says-cd", libc::EIO),
    ];
    table.iter().for_each(|(zip, ..)| drop(encrypt_hostile(&place, zip)));
    let mount = place.mount(&["k1.pem"], &[]);
    for (zip, member, errno) in table {
        let dir = mount.path("contents").join(format!("export-{zip}"));
        let failed = fs::read(dir.join(member)).unwrap_err();
        assert_eq!(failed.raw_os_error(), Some(errno), "{zip}: {member}");
        assert_eq!(fs::read(dir.join("good.json")).unwrap().len(), 180, "{zip}");
    }
    let log = mount.log().join("\n");
    assert!(!log.contains("small-says-cd"), "names of members are not logged: {log}");
}

#[test]
fn a_directory_that_breaks_off_is_refused_and_not_shown_in_part() {
    let place = Place::new();
    let mut zip = fs::read(corpus::dir().join("plain/one.zip")).unwrap();
    // The end record says that the directory is 16 bytes shorter, as in test-baddirsz.zip of Go's archive/zip.
    let size = zip.len() - 22 + 12;
    assert_eq!(zip[size - 12..size - 8], *b"PK\x05\x06");
    let shorter = u32::from_le_bytes(zip[size..size + 4].try_into().unwrap()) - 16;
    zip[size..size + 4].copy_from_slice(&shorter.to_le_bytes());
    let plain = place.root().join("plain.zip");
    fs::write(&plain, &zip).unwrap();
    corpus::encrypt(&plain, &place.store().join("export-short.zip.smime"));
    let mount = place.mount(&["k1.pem"], &[]);
    assert_eq!(mount::errno(fs::read_dir(mount.path("contents/export-short"))), libc::EIO);
    assert!(fs::read(mount.zip("export-short")).unwrap() == zip, "what reads it all the same may do so");
    let log = mount.unmount().join("\n");
    assert!(log.contains("no header at byte ") && log.contains("of the central directory"), "{log}");
}

#[test]
fn what_lies_in_parts_that_are_there_is_read_from_an_incomplete_set() {
    let place = Place::new();
    let stem = copy_set(&place, "lite");
    fs::remove_file(place.store().join(format!("{stem}.z02.smime"))).unwrap();
    let mount = place.mount(&["k1.pem"], &[]);
    assert_eq!(mount.names("artifacts"), [format!("{stem}.zip.incomplete")]);
    let dir = mount.path("contents").join(&stem);
    let (mut saved, mut lost) = (0, 0);
    for row in corpus::table("expected/lite.tsv") {
        match fs::read(dir.join(&row[0])) {
            Ok(bytes) => {
                assert_eq!(corpus::sha256(&bytes), row[3]);
                saved += 1;
            }
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EIO));
                let mut getfattr = Command::new("getfattr");
                getfattr.args(["--only-values", "-n", "user.cddsfs.needs"]).arg(&row[0]).current_dir(&dir);
                assert_eq!(stdout(&mut getfattr), ".z02");
                lost += 1;
            }
        }
    }
    assert!(saved >= 2 && lost >= 1, "{saved} saved, {lost} lost");
}
