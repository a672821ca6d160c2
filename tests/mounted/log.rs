//! What the log says, where it goes, and how that is changed while a mount is there.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support::corpus;
use crate::support::mount::{Place, errno, python, succeed, within};

const LIMIT: Duration = Duration::from_secs(10);

/// An export that cannot be opened, which is worth a line.
fn add_broken(place: &Place, stem: &str) {
    let plain = place.root().join("plain");
    fs::write(&plain, "no zip at all").unwrap();
    corpus::encrypt(&plain, &place.store().join(format!("{stem}.zip.smime")));
}

/// An export with one member, of which a byte was changed.
fn add_changed_member(place: &Place, stem: &str, member: &str) {
    let plain = place.root().join("plain");
    let script = "import sys, zipfile\n\
        with zipfile.ZipFile(sys.argv[1], 'w') as z: z.writestr(sys.argv[2], b'some content')\n\
        b = open(sys.argv[1], 'rb').read()\n\
        open(sys.argv[1], 'wb').write(b.replace(b'some content', b'same content'))";
    python(script, [plain.to_str().unwrap(), member]);
    corpus::encrypt(&plain, &place.store().join(format!("{stem}.zip.smime")));
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_hangup_opens_the_log_file_anew() {
    let place = Place::new();
    add_broken(&place, "export-a");
    let (log, moved) = (place.root().join("log"), place.root().join("log.1"));
    let mut mount = place.mount(&["k1.pem"], &["--log", log.to_str().unwrap()]);
    within(LIMIT, "the first line", || text(&log).contains("export-a"));
    // As logrotate(8) does it.
    fs::rename(&log, &moved).unwrap();
    mount.signal(libc::SIGHUP);
    within(LIMIT, "a new file", || log.exists());
    add_broken(&place, "export-b");
    within(LIMIT, "the second line", || text(&log).contains("export-b"));
    assert!(!text(&moved).contains("export-b"));
    mount.unmount();
}

#[test]
fn a_signal_has_more_said_and_then_less_again() {
    let place = Place::new();
    let mut mount = place.mount(&["k1.pem"], &[]);
    for level in ["info", "debug", "warn"] {
        mount.signal(libc::SIGUSR1);
        within(LIMIT, level, || {
            mount.log().iter().any(|line| line.ends_with(&format!("log level: {level}")))
        });
    }
    mount.unmount();
}

#[test]
fn names_forge_no_lines_and_steer_no_terminal() {
    const NAME: &str = "a\ncddsfs: error: all is lost \u{1b}[31m\u{202e}gpj\u{9b}2J";
    let place = Place::new();
    add_broken(&place, NAME);
    let file = place.root().join("log");
    for options in [&[][..], &["--log", file.to_str().unwrap()]] {
        let mount = place.mount(&["k1.pem"], options);
        // Control characters are not shown as they are in names either.
        let zip = mount.names("artifacts").into_iter().find(|name| name.ends_with(".zip")).unwrap();
        assert_eq!(errno(fs::read(mount.path("artifacts").join(zip))), libc::EIO);
        let said = mount.unmount();
        let log = text(&file);
        let lines: Vec<&str> =
            if options.is_empty() { said.iter().map(|s| &**s).collect() } else { log.lines().collect() };
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].contains("all is lost") && lines[0].contains(": errno 5: "), "{lines:#?}");
        assert!(!lines[0].chars().any(|c| c.is_control() || c == '\u{202e}'), "{lines:#?}");
    }
    // Commands, on a terminal, which script(1) makes.
    let program = env!("CARGO_BIN_EXE_cddsfs");
    let key = corpus::private_copy("k1.pem");
    let [store, key] = [place.store(), key].map(|path| path.display().to_string());
    for command in [
        format!("history {store} --key {key}"),
        format!("history {store} --key {key} --json"),
        format!("artifacts {store} --key {key}"),
        format!("verify {store} --key {key}"),
        format!("verify {store} --key {key} --json"),
        format!("cat {store} \"$NAME\" x --key {key}"),
        format!("ls {store} a --key {key}"),
        "ls /nowhere \"$NAME\"".to_string(),
        "history /nowhere --status \"$NAME\"".to_string(),
        "unmount \"/nowhere/$NAME\"".to_string(),
    ] {
        let mut script = std::process::Command::new("script");
        script.args(["-qec", &format!("stty cols 400; {program} {command}"), "/dev/null"]);
        let output = script.env("NAME", NAME).env("XDG_CACHE_HOME", place.cache()).output().unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        // Colours are our own.
        for harm in ["[31m\u{202e}", "\u{202e}", "\u{9b}", "lost \u{1b}", "\ncddsfs: error: all"] {
            assert!(!shown.contains(harm), "{command}: {shown:?}");
        }
        assert!(!shown.is_empty(), "{command}");
    }
    // Names for programs are as they are.
    let archive = place.root().join("archive.zip");
    python(
        "import sys, zipfile\nzipfile.ZipFile(sys.argv[1], 'w').writestr('b\\u202ec', b'x')",
        [archive.to_str().unwrap()],
    );
    corpus::encrypt(&archive, &place.store().join("b.zip.smime"));
    let listed = succeed(program, ["ls", &store, "b", "--key", &key]);
    assert!(listed.contains('\u{202e}'), "{listed:?}");
}

#[test]
fn members_are_named_in_the_log_only_when_that_is_asked_for() {
    const MEMBER: &str = "UCS/Interaction/Chat with Jane Roe.json";
    let place = Place::new();
    add_changed_member(&place, "export-a", MEMBER);
    for (options, said, unsaid) in [(&[][..], "member ", "Jane"), (&["-o", "log_names"], MEMBER, "member 1")]
    {
        let mount = place.mount(&["k1.pem"], options);
        let path = mount.path("contents/export-a").join(MEMBER);
        // The second time it is known already.
        for _ in 0..2 {
            assert_eq!(errno(fs::read(&path)), libc::EIO);
        }
        let log = mount.unmount();
        assert_eq!(log.len(), 1, "once: {log:#?}");
        assert!(log[0].contains(said) && !log[0].contains(unsaid), "{log:#?}");
        assert!(log[0].contains("the CRC-32 of the member is wrong"), "{log:#?}");
    }
}
