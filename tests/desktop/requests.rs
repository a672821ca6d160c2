//! What file managers ask of a mount while they show large directories, and where they list the mount.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::desktop::Manager::{PcManFm, Thunar};
use crate::support::desktop::{Desktop, Manager, View};
use crate::support::mount::{self, Mount, Place, names, run, succeed};
use crate::support::requests::{self, OfFile, Requests};
use crate::support::{corpus, private_root};

/// Files of each kind that a directory has.
const FILES: usize = 210;
/// Nothing comes any more when nothing has come for so long.
const QUIET: Duration = Duration::from_secs(2);

/// Copies one set many times into a store, with a run's id of its own each time.
fn fill(place: &Place) {
    let from = place.root().join("set");
    fs::create_dir(&from).unwrap();
    let stem = corpus::copy_set("iz-one", &from);
    for number in 0..FILES {
        for name in names(&from) {
            let copy = name.replace(&stem, &format!("export-00000000-0000-4000-8000-{number:012}"));
            fs::copy(from.join(&name), place.store().join(copy)).unwrap();
        }
    }
}

/// What was asked for while a file manager showed a directory.
struct Shown {
    requests: Requests,
    /// What is in the directory, with the files' sizes and inode numbers.
    files: Vec<(PathBuf, fs::Metadata)>,
}

impl Shown {
    /// Shows a directory until all of it is there, files with these suffixes have been read, and nothing more is asked
    /// for.
    fn by(manager: Manager, place: &Place, dir: &str, read: &[&str]) -> Shown {
        let trace = place.root().join("trace");
        let mut program = place.cddsfs(["mount", "-f"]);
        program.arg(place.store()).arg(place.point()).arg("--key").arg(corpus::private_copy("k1.pem"));
        let mut mount = Mount::start(requests::traced(&program, &trace), &place.point());
        let dir = mount.path(dir);
        let files: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|e| e.unwrap().path())
            .map(|path| (path.clone(), fs::metadata(path).unwrap()))
            .collect();
        let names: Vec<String> =
            files.iter().map(|(path, _)| path.file_name().unwrap().to_str().unwrap().to_string()).collect();
        let mut desktop = Desktop::start(place.root(), View::Icons);
        let window = desktop.open(manager, &dir);
        let mut shown = Shown { requests: Requests::default(), files };
        let mut until_quiet = |is_shown: &dyn Fn(&Shown) -> bool| {
            let (mut len, mut since) = (0, Instant::now());
            desktop.until("the last request", || {
                let now = fs::metadata(&trace).unwrap().len();
                if now != len {
                    (len, since) = (now, Instant::now());
                }
                if since.elapsed() <= QUIET {
                    return false;
                }
                shown.requests = Requests::of(&fs::read_to_string(&trace).unwrap());
                is_shown(&shown)
            });
        };
        // What is selected before its type is known is looked into twice.
        until_quiet(&|shown| shown.requests.count > FILES);
        desktop.select_all(&window, &dir, &names);
        until_quiet(&|shown| read.iter().all(|suffix| shown.of_files(suffix).reads > 0));
        let kind = dir.file_name().unwrap().to_str().unwrap().split('-').next().unwrap();
        desktop.screenshot(&format!("{manager:?}-{FILES}-{kind}"));
        drop(desktop);
        // What the session had started ends a little later.
        mount::within(Duration::from_secs(30), "nobody uses the mount", || {
            run(place.cddsfs(["unmount"]).arg(place.point())).status.success()
        });
        mount.ended();
        shown.requests = Requests::of(&fs::read_to_string(&trace).unwrap());
        let of_files = shown.of_files("");
        println!(
            "{manager:?} {kind}: {} requests, {of_files:?} of {} files",
            shown.requests.count,
            shown.files.len()
        );
        shown
    }

    /// What was asked of the files whose names end so.
    fn of_files(&self, suffix: &str) -> OfFile {
        let those = self.files.iter().filter(|(path, _)| path.to_str().unwrap().ends_with(suffix));
        self.requests.of_nodes(those.map(|(_, meta)| meta.ino()))
    }
}

fn artifacts_are_not_read(manager: Manager) {
    let place = Place::new();
    fill(&place);
    let shown = Shown::by(manager, &place, "artifacts", &[]);
    assert!(shown.files.len() > FILES && shown.requests.count > FILES, "{}", shown.requests.count);
    assert_eq!(shown.of_files(""), OfFile::default());
}

#[test]
fn thunar_reads_nothing_of_the_artifacts_that_it_shows() {
    artifacts_are_not_read(Thunar);
}

#[test]
fn pcmanfm_reads_nothing_of_the_artifacts_that_it_shows() {
    artifacts_are_not_read(PcManFm);
}

/// That a name ends in .smime tells nothing, so what a file is is looked up in its first bytes. They do
/// so with JSON, too.
fn beginnings_are_read(manager: Manager, dir: &str, times: u64) {
    /// As far as the kernel reads ahead of one page at the beginning.
    const BEGINNING: u64 = 32 * 1024;
    let place = Place::new();
    fill(&place);
    let shown = Shown::by(manager, &place, dir, &[]);
    let (asked, files) = (shown.of_files(""), shown.files.len() as u64);
    assert!(asked.reads <= files * times && asked.bytes <= asked.reads * BEGINNING, "{asked:?}");
}

#[test]
fn thunar_reads_the_beginnings_of_parts_once() {
    beginnings_are_read(Thunar, "encrypted", 1);
}

#[test]
fn pcmanfm_reads_the_beginnings_of_parts_once() {
    beginnings_are_read(PcManFm, "encrypted", 1);
}

#[test]
fn thunar_reads_the_beginnings_of_history_once() {
    beginnings_are_read(Thunar, "history", 1);
}

/// It opens each file twice, and what is left of its days may have changed meanwhile.
#[test]
fn pcmanfm_reads_the_beginnings_of_history_twice() {
    beginnings_are_read(PcManFm, "history", 2);
}

/// A page without anything on it.
const PDF: &str = "%PDF-1.4
1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj
2 0 obj <</Type/Pages/Kids[3 0 R]/Count 1>> endobj
3 0 obj <</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>> endobj
trailer <</Root 1 0 R>>
";

/// An export with pictures and documents in it.
fn pictures(place: &Place) -> String {
    let dir = place.root().join("pictures");
    fs::create_dir(&dir).unwrap();
    let picture = dir.join("0.png");
    succeed("convert", ["-size", "160x120", "plasma:red-blue", picture.to_str().unwrap()]);
    for number in 1..FILES / 3 {
        fs::copy(&picture, dir.join(format!("{number}.png"))).unwrap();
    }
    let photo = dir.join("0.jpg");
    succeed("convert", [&picture, &photo]);
    let document = dir.join("0.pdf");
    fs::write(&document, PDF).unwrap();
    for number in 1..FILES / 3 {
        fs::copy(&photo, dir.join(format!("{number}.jpg"))).unwrap();
        fs::copy(&document, dir.join(format!("{number}.pdf"))).unwrap();
        fs::write(dir.join(format!("{number}.json")), "{\"a\":1}\n").unwrap();
    }
    let zip = place.root().join("pictures.zip");
    succeed("zip", ["-qrj".as_ref(), zip.as_os_str(), dir.as_os_str()]);
    corpus::encrypt(&zip, &place.store().join("export-pictures.zip.smime"));
    "contents/export-pictures".into()
}

/// Previews of pictures are what a user who sees them wants, once.
fn previews_read_no_byte_twice(manager: Manager) -> Place {
    let place = Place::new();
    let dir = pictures(&place);
    let shown = Shown::by(manager, &place, &dir, &[".png", ".jpg"]);
    // The kernel keeps pages, and asks for whole ones.
    let sizes: u64 = shown.files.iter().map(|(_, meta)| meta.len().next_multiple_of(4096)).sum();
    assert!(shown.of_files("").bytes <= sizes, "{sizes}");
    place
}

#[test]
fn thunar_reads_no_byte_of_pictures_twice() {
    let place = previews_read_no_byte_twice(Thunar);
    // The manual warns of that.
    let kept = place.root().join("home/.cache/thumbnails");
    assert!(!succeed("find", [kept.to_str().unwrap(), "-name", "*.png"]).is_empty());
}

#[test]
fn pcmanfm_reads_no_byte_of_pictures_twice() {
    previews_read_no_byte_twice(PcManFm);
}

/// What is in the side bar of file managers, as gvfs has it, which is asked through GLib.
#[test]
fn a_mount_is_shown_or_hidden_in_the_side_bar_as_its_options_say() {
    let place = Place::new();
    // Below a directory whose name begins with a dot, as test directories are, nothing is ever shown.
    let visible = tempfile::Builder::new().prefix("visible").tempdir().unwrap();
    let (at_home, elsewhere) = (visible.path().join("home/mnt"), visible.path().join("mnt"));
    fs::create_dir_all(&at_home).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    let listed = |kind: &str, point: &Path, options: &str| {
        // A bus stands for the system's, so that nothing of the machine's own is asked, and neither is its utab.
        let script = r#"mount -t tmpfs none /run
            mount -t "$KIND" -o "$OPTIONS" "$ROOT/store" "$POINT"
            dbus-run-session -- sh -c 'export DBUS_SYSTEM_BUS_ADDRESS=$DBUS_SESSION_BUS_ADDRESS
                exec dbus-run-session -- gio mount -l'
            umount "$POINT""#;
        let mut command = private_root::shell(place.root(), point, script);
        command.env("HOME", visible.path().join("home")).env("XDG_RUNTIME_DIR", place.tmp());
        let said = private_root::text(&run(command.env("KIND", kind).env("OPTIONS", options)));
        said.contains(&format!("file://{}", point.display()))
    };
    for (kind, point, options, expected) in [
        ("cddsfs", &at_home, "ro", true),
        ("cddsfs", &at_home, "ro,x-gvfs-hide", false),
        ("fuse.cddsfs", &at_home, "ro,x-gvfs-hide", false),
        ("cddsfs", &elsewhere, "ro", false),
        ("cddsfs", &elsewhere, "ro,x-gvfs-show", true),
        ("fuse.cddsfs", &elsewhere, "ro,x-gvfs-show", true),
    ] {
        assert_eq!(listed(kind, point, options), expected, "{kind}: {options} on {}", point.display());
    }
}
