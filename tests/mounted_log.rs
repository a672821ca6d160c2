//! What the log says, where it goes, and how that is changed while a mount is there.

#[path = "support/corpus.rs"]
mod corpus;
#[path = "support/mount.rs"]
mod mount;

use std::fs;
use std::path::Path;
use std::time::Duration;

use mount::{Place, errno, python, within};

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
