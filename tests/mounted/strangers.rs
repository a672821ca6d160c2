//! A store that others can write to: they get nothing out of the mount that they could not read, and do not hold it up.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::corpus;
use crate::support::mount::{Place, errno, run, within};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

const SECOND: Duration = Duration::from_secs(1);
const SECRET: &str = "top secret";

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn nobody_reads_through_links_what_he_could_not_read_himself() {
    let place = Place::new();
    let secret = place.root().join("secret");
    fs::write(&secret, SECRET).unwrap();
    chmod(&secret, 0o600);
    chmod(&place.store(), 0o777);
    chmod(place.root(), 0o755);
    let link = |name: &str, target: &Path, owner: u32| {
        symlink(target, place.store().join(name)).unwrap();
        lchown(place.store().join(name), Some(owner), Some(owner)).unwrap();
    };
    link("strangers.zip.smime", &secret, 65534);
    link("own.zip.smime", &secret, 0);
    link("chain.zip.smime", &place.store().join("own.zip.smime"), 65534);
    link("device.zip.smime", Path::new("/dev/zero"), 0);
    let mount = place.mount(&["k1.pem"], &["--allow-other"]);
    for name in ["strangers", "own", "chain", "device"] {
        let path = mount.path(&format!("encrypted/{name}.zip.smime"));
        let said = run(Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "cat"])
            .arg(path));
        assert!(!said.status.success() && said.stdout.is_empty(), "{name}: {said:?}");
    }
    assert_eq!(mount.names("encrypted"), [""; 0]);
    let log = mount.unmount();
    let why = |name: &str| log.iter().find(|line| line.contains(&format!("{name}.zip.smime"))).unwrap();
    assert!(why("strangers").contains("belongs to user 65534"), "{log:#?}");
    assert!(why("own").contains("a directory that others can write"), "{log:#?}");
    assert!(!log.iter().any(|line| line.contains(SECRET)), "{log:#?}");
}

#[test]
fn links_of_whoever_mounts_are_followed_in_a_store_of_his_own() {
    let place = Place::new();
    let elsewhere = place.root().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let stem = corpus::copy_set("iz-one", &elsewhere);
    let name = format!("{stem}.zip.smime");
    symlink(Path::new("../elsewhere").join(&name), place.store().join(&name)).unwrap();
    let mount = place.mount(&["k1.pem"], &[]);
    let (_, sha256) = corpus::sets().into_iter().find(|(set, _)| set == "iz-one").unwrap();
    assert_eq!(corpus::sha256(&fs::read(mount.zip(&stem)).unwrap()), sha256);
    // One that is swapped later is not even opened.
    mount.unmount();
    let mount = place.mount(&["k1.pem"], &[]);
    lchown(elsewhere.join(&name), Some(65534), None).unwrap();
    within(SECOND * 20, "it is refused", || fs::read(mount.path("encrypted").join(&name)).is_err());
}

#[test]
fn a_part_that_is_swapped_for_a_fifo_holds_up_nobody() {
    let place = Place::new();
    let stem = corpus::copy_set("iz-one", &place.store());
    let part = place.store().join(format!("{stem}.zip.smime"));
    let mount = place.mount(&[], &[]);
    let shown = mount.path("encrypted").join(format!("{stem}.zip.smime"));
    assert!(fs::read(&shown).is_ok());
    fs::remove_file(&part).unwrap();
    mkfifo(&part, Mode::S_IRWXU).unwrap();
    let begun = Instant::now();
    let opened = errno(File::open(&shown));
    assert!([libc::EACCES, libc::ESTALE, libc::ENOENT].contains(&opened), "{opened}");
    let _ = fs::read(mount.zip(&stem));
    assert!(begun.elapsed() < 5 * SECOND, "{:?}", begun.elapsed());
    within(20 * SECOND, "it is no part any more", || mount.names("encrypted").is_empty());
    // The program ends, which the helper waits for.
    let log = mount.unmount();
    assert!(
        log.iter().any(|line| line.contains("it is a FIFO, and only regular files are read")),
        "{log:#?}"
    );
}

#[test]
fn sets_that_are_called_like_directories_are_shown_under_other_names() {
    let place = Place::new();
    let zip = corpus::dir().join("hostile/zip/time-zero.zip");
    for name in ["..zip.smime", "...zip.smime", "a\nb.zip.smime"] {
        corpus::encrypt(&zip, &place.store().join(name));
    }
    let mount = place.mount(&["k1.pem"], &[]);
    assert_eq!(mount.names("contents"), ["%2E", "%2E%2E", "a%0Ab"]);
    assert_eq!(mount.names("artifacts"), ["%2E%2E.zip", "%2E.zip", "a%0Ab.zip"]);
    assert_eq!(mount.names("history"), ["%2E%2E.json", "%2E.json", "a%0Ab.json"]);
    let bytes = fs::read(zip).unwrap();
    for name in mount.names("artifacts") {
        assert!(fs::read(mount.path("artifacts").join(&name)).unwrap() == bytes, "{name}");
        let contents = mount.path("contents").join(name.strip_suffix(".zip").unwrap());
        assert!(fs::read_dir(contents).unwrap().count() > 0, "{name}");
    }
    assert_eq!(mount.unmount(), [""; 0]);
}

#[test]
fn a_placeholder_of_a_download_is_a_part_that_is_missing() {
    let place = Place::new();
    let stem = corpus::copy_set("iz-basic", &place.store());
    let part = |suffix: &str| place.store().join(format!("{stem}.{suffix}"));
    let whole = fs::read(part("z02.smime")).unwrap();
    fs::write(part("z02.smime"), "").unwrap();
    fs::write(part("z02.Xk3fQz.smime.part"), &whole[..100]).unwrap();
    fs::write(part("z05.smime"), "").unwrap();
    fs::write(place.store().join("other.zip.smime"), "").unwrap();
    let mount = place.mount(&["k1.pem"], &[]);
    let incomplete = format!("{stem}.zip.incomplete");
    assert_eq!(mount.names("artifacts"), [incomplete.as_str()]);
    let text = fs::read_to_string(mount.path("artifacts").join(&incomplete)).unwrap();
    let missing = format!(
        "Parts that are missing:\n  {stem}.z02.smime (it is being downloaded)\n  {stem}.z05.smime\n\n"
    );
    assert!(text.contains(&missing), "{text}");
    // It comes to its end.
    fs::write(part("z02.Xk3fQz.smime.part"), &whole).unwrap();
    fs::rename(part("z02.Xk3fQz.smime.part"), part("z02.smime")).unwrap();
    within(20 * SECOND, "the part", || {
        let text = fs::read_to_string(mount.path("artifacts").join(&incomplete));
        text.is_ok_and(|text| text.contains(&format!("missing:\n  {stem}.z05.smime\n\n")))
    });
}
