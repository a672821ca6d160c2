//! Stores that are more than one directory: what one host does the others see, and what is away for a while comes back.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::bucket::{self, Folder};
use crate::support::managed::{make_key, make_source};
use crate::support::mount::{Mount, Place, errno, run, succeed, within};
use crate::support::postgres::Database;
use crate::support::proxy::{self, Faults};
use crate::support::site::{CONTACTS, SPLIT, files};
use crate::support::way;

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(60);
/// What happens on one host shows on the others after this at the latest.
const SEEN: Duration = Duration::from_secs(2);

/// A store by its name, and hosts that have it mounted.
struct Shared {
    place: Place,
    name: String,
    _database: Option<Database>,
}

impl Shared {
    /// Makes a store. `name` is a directory or a database; `reach` says how its parts are reached.
    fn new(name: Option<Database>, parts: &str, reach: &[&str]) -> Shared {
        let place = Place::new();
        make_key(place.root());
        make_source(&place.root().join("history.db"), 600);
        let url = name.as_ref().map(Database::url);
        let shared = Shared {
            name: url.unwrap_or_else(|| place.root().join("made").display().to_string()),
            place,
            _database: name,
        };
        let (cert, source) = (shared.path("cert.pem"), shared.path("history.db"));
        let settings = ["--cert", cert.to_str().unwrap(), "--source", source.to_str().unwrap()];
        let parts = parts.replace("HERE", shared.place.root().to_str().unwrap());
        let made = run(shared.cddsfs("init").args(settings).args(["--parts", &parts]).args(reach));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        shared
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.root().join(name)
    }

    fn cddsfs(&self, command: &str) -> Command {
        let mut cddsfs = self.place.cddsfs([command]);
        cddsfs.arg(&self.name);
        cddsfs
    }

    fn mount(&self, point: &str) -> Mount {
        self.mount_by(&self.name, point)
    }

    fn mount_by(&self, name: &str, point: &str) -> Mount {
        let point = self.path(point);
        fs::create_dir_all(&point).unwrap();
        let mut command = self.place.cddsfs(["mount", "-f", name]);
        command.arg(&point).arg("--key").arg(self.path("key.pem"));
        Mount::start(command, &point)
    }

    fn verify(&self) {
        let verified = run(self.cddsfs("verify").arg("--key").arg(self.path("key.pem")));
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    }
}

/// Hands in a spec, and returns the name of the zip that it leads to.
fn export(mount: &Mount, spec: &str) -> String {
    let before = zips(mount);
    fs::write(mount.path("jobs").join("new"), spec).unwrap();
    within(PATIENCE, "it is exported", || zips(mount).len() > before.len());
    zips(mount).into_iter().find(|zip| !before.contains(zip)).unwrap()
}

fn zips(mount: &Mount) -> Vec<String> {
    mount.names("artifacts").into_iter().filter(|name| name.ends_with(".zip")).collect()
}

fn content(mount: &Mount, zip: &str) -> Vec<u8> {
    fs::read(mount.path("artifacts").join(zip)).unwrap()
}

/// Two hosts use a store: what one does, the other one sees.
fn hosts_share(store: &Shared) {
    let (one, other) = (store.mount("one"), store.mount("other"));
    let zip = export(&other, SPLIT);
    within(SEEN, "the other host sees it", || zips(&one) == std::slice::from_ref(&zip));
    assert_eq!(content(&one, &zip), content(&other, &zip));
    succeed("unzip", ["-tqq", one.path("artifacts").join(&zip).to_str().unwrap()]);
    store.verify();
    // A job that one defines, the other one sees, and one of them executes it.
    fs::write(one.path("jobs").join("daily.json"), CONTACTS).unwrap();
    within(SEEN, "the other host has the job", || other.names("jobs").contains(&"daily.json".into()));
    // What is open is read to its end, whoever deletes it.
    let whole = content(&one, &zip);
    let mut open = File::open(other.path("artifacts").join(&zip)).unwrap();
    let mut read = vec![0; 1000];
    open.read_exact(&mut read).unwrap();
    fs::remove_file(one.path("artifacts").join(&zip)).unwrap();
    assert!(!zips(&one).contains(&zip));
    within(SEEN, "it is gone on the other host", || !zips(&other).contains(&zip));
    open.read_to_end(&mut read).unwrap();
    assert!(read == whole);
    drop(open);
    one.unmount();
    other.unmount();
    // A copy is a store in one directory.
    let backup = store.path("backup");
    let copied = run(store.cddsfs("backup").arg(&backup));
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let verified = run(store.place.cddsfs(["verify"]).arg(&backup).arg("--key").arg(store.path("key.pem")));
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[test]
fn hosts_share_a_database_and_a_bucket() {
    let folder = Folder::new();
    hosts_share(&Shared::new(
        Some(Database::new()),
        &folder.url(),
        &["--endpoint", &bucket::s3(), "--allow-http"],
    ));
}

#[test]
fn hosts_share_a_database_and_a_directory() {
    let store = Shared::new(Some(Database::new()), "HERE/parts", &[]);
    hosts_share(&store);
    // Nothing is left of what was deleted; the job's artifact has the fence of its attempt in its name.
    let names: Vec<String> =
        files(&store.path("parts")).iter().map(|path| path.display().to_string()).collect();
    assert!(names.iter().all(|name| name.contains(".1.")), "{names:?}");
}

#[test]
fn a_directory_has_its_parts_in_a_bucket() {
    let folder = Folder::new();
    let store = Shared::new(None, &folder.url(), &["--endpoint", &bucket::s3(), "--allow-http"]);
    let mount = store.mount("one");
    let zip = export(&mount, SPLIT);
    succeed("unzip", ["-tqq", mount.path("artifacts").join(&zip).to_str().unwrap()]);
    mount.unmount();
    store.verify();
    assert!(files(Path::new(&store.name).join("artifacts").as_path()).is_empty());
}

/// Downloads in a bucket look like those in a folder.
#[test]
fn a_bucket_is_mounted_like_a_folder_of_downloads() {
    let store = Shared::new(None, "HERE/parts", &[]);
    let mount = store.mount("one");
    let zip = export(&mount, SPLIT);
    let (whole, folder) = (content(&mount, &zip), Folder::new());
    mount.unmount();
    let parts = files(&store.path("parts"));
    for part in &parts {
        folder.put(
            part.file_name().unwrap().to_str().unwrap(),
            &fs::read(store.path("parts").join(part)).unwrap(),
        );
    }
    let point = store.path("bucket");
    fs::create_dir(&point).unwrap();
    let mut command = store.place.cddsfs(["mount", "-f", &folder.url(), "--allow-http", "--poll", "1"]);
    command.args(["--endpoint", &bucket::s3()]).arg(&point).arg("--key").arg(store.path("key.pem"));
    let mount = Mount::start(command, &point);
    assert_eq!(zips(&mount), std::slice::from_ref(&zip));
    assert!(content(&mount, &zip) == whole);
    assert!(!mount.names(".").contains(&"jobs".into()));
    assert_eq!(errno(fs::remove_file(mount.path("artifacts").join(&zip))), libc::EROFS);
    // What goes there goes here.
    folder.delete(parts[0].file_name().unwrap().to_str().unwrap());
    within(PATIENCE, "it is not whole any more", || zips(&mount).is_empty());
    mount.unmount();
}

#[test]
fn a_store_goes_on_when_its_database_is_away_for_a_while() {
    let (folder, database) = (Folder::new(), Database::new());
    let to_database = way::Proxy::to(&database.server());
    let url = database.url_by(to_database.address);
    let store = Shared::new(Some(database), &folder.url(), &["--endpoint", &bucket::s3(), "--allow-http"]);
    let mount = store.mount_by(&url, "one");
    let zip = export(&mount, SPLIT);
    let (whole, path) = (content(&mount, &zip), mount.path("artifacts").join(&zip));
    let mut open = File::open(&path).unwrap();
    for way in [way::Way::Frozen, way::Way::Closed] {
        to_database.set(way);
        let since = Instant::now();
        assert_eq!(zips(&mount), std::slice::from_ref(&zip), "{way:?}");
        assert!(since.elapsed() < SEEN, "{way:?}: a listing took {:?}", since.elapsed());
        let mut read = Vec::new();
        std::io::Seek::rewind(&mut open).unwrap();
        open.read_to_end(&mut read).unwrap();
        assert!(read == whole, "{way:?}");
        let refused = File::create(mount.path("jobs").join("new"))
            .and_then(|mut file| file.write_all(CONTACTS.as_bytes()).and_then(|()| file.sync_all()));
        let refused = errno(refused);
        assert!([libc::EAGAIN, libc::ETIMEDOUT].contains(&refused), "{way:?}: errno {refused}");
        assert!(since.elapsed() < Duration::from_secs(60), "{way:?}: it took {:?}", since.elapsed());
        to_database.set(way::Way::Open);
        within(PATIENCE, "it is there again", || fs::write(mount.path("jobs").join("new"), CONTACTS).is_ok());
    }
    within(PATIENCE, "what was handed in is exported", || zips(&mount).len() >= 3);
    drop(open);
    mount.unmount();
    store.verify();
}

#[test]
fn a_store_goes_on_when_its_bucket_is_away_for_a_while() {
    let folder = Folder::new();
    let to_bucket = proxy::Proxy::to(&bucket::s3());
    let store =
        Shared::new(Some(Database::new()), &folder.url(), &["--endpoint", &to_bucket.url(), "--allow-http"]);
    let mount = store.mount("one");
    let zip = export(&mount, SPLIT);
    let path = mount.path("artifacts").join(&zip);
    let whole = content(&mount, &zip);
    mount.unmount();
    let mount = store.mount("one");
    to_bucket.set(Faults { is_frozen: true, ..Faults::default() });
    let since = Instant::now();
    assert_eq!(zips(&mount), std::slice::from_ref(&zip));
    let read = errno(fs::read(&path));
    assert_eq!(read, libc::ETIMEDOUT);
    assert!(since.elapsed() < Duration::from_secs(32), "it took {:?}", since.elapsed());
    assert_eq!(zips(&mount), std::slice::from_ref(&zip), "unreachable is not deleted");
    to_bucket.set(Faults::default());
    within(PATIENCE, "it is there again", || fs::read(&path).is_ok_and(|read| read == whole));
    mount.unmount();
}
