//! File managers and an archive manager on a mount, on a screen of their own.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::corpus;
use crate::support::desktop::Manager::{PcManFm, Thunar};
use crate::support::desktop::{self, Desktop, Manager, View};
use crate::support::mount::{self, Mount};
use crate::support::site::{self, SPLIT, Site, files};
use cddsfs::store::catalogue::Status;

/// A managed store with two exports, mounted, and a desktop.
struct Scene {
    desktop: Desktop,
    mount: Mount,
    runs: [String; 2],
    site: Site,
}

impl Scene {
    fn new() -> Scene {
        let site = Site::new(60);
        let mount = site.mount();
        let runs = [site.export(SPLIT).id, site.export(SPLIT).id];
        let desktop = Desktop::start(site.place.root(), View::List);
        Scene { desktop, mount, runs, site }
    }

    fn zip(&self, run: usize) -> PathBuf {
        self.mount.zip(&format!("export-{}", self.runs[run]))
    }

    fn contents(&self, run: usize) -> PathBuf {
        self.mount.path("contents").join(format!("export-{}", self.runs[run]))
    }

    /// A member of the export, in a directory with two.
    fn member(&self, run: usize) -> PathBuf {
        self.contents(run).join(format!("UCS/Interaction/EmailIn/EmailIn-{}.json", self.runs[run]))
    }

    /// A directory outside of the mount.
    fn outside(&self, name: &str) -> PathBuf {
        let dir = self.site.place.root().join(name);
        fs::create_dir(&dir).unwrap();
        dir
    }

    fn show(&mut self, manager: Manager, dir: &Path) -> desktop::Window {
        self.desktop.open(manager, dir)
    }

    fn assert_no_trash(&self) {
        for dir in [self.mount.path(""), self.site.place.store()] {
            let names = mount::names(&dir);
            assert!(names.iter().all(|name| !name.to_lowercase().contains("trash")), "{names:?}");
        }
    }
}

/// Names in a directory, `index.csv` among them.
fn listing(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn sha256(path: &Path) -> String {
    corpus::sha256(&fs::read(path).unwrap())
}

fn directories_are_shown(manager: Manager) {
    let mut scene = Scene::new();
    let below = scene.member(0).parent().unwrap().to_path_buf();
    let dirs = ["", "artifacts", "encrypted", "history", "jobs"].map(|name| scene.mount.path(name));
    for dir in dirs.iter().chain([&scene.contents(0), &below]) {
        let window = scene.show(manager, dir);
        let names = listing(dir);
        assert!(names.len() >= 2);
        scene.desktop.select_all(&window, dir, &names);
        let name = dir.file_name().unwrap().to_str().unwrap();
        scene.desktop.screenshot(&format!("{manager:?}-{}", name.split('-').next().unwrap()));
    }
    // What both ask GLib for, and show in their status bars.
    let point = scene.mount.path("");
    let said = scene.desktop.succeed("gio", ["info".as_ref(), "-f".as_ref(), point.as_os_str()]);
    let value = |name: &str| -> u64 {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(&format!("filesystem::{name}: ")));
        line.unwrap_or_else(|| panic!("{said}")).parse().unwrap()
    };
    let of_store = nix::sys::statvfs::statvfs(&scene.site.place.store()).unwrap();
    let (size, free) = (
        of_store.blocks() * of_store.fragment_size(),
        of_store.blocks_available() * of_store.fragment_size(),
    );
    assert_eq!(value("size"), size);
    // Others write to the same disk meanwhile.
    assert!(value("free").abs_diff(free) <= size / 20, "{said}");
}

#[test]
fn thunar_shows_directories() {
    directories_are_shown(Thunar);
}

#[test]
fn pcmanfm_shows_directories() {
    directories_are_shown(PcManFm);
}

/// Opens a record, a member and an artifact; the latter in the archive manager.
fn files_are_opened(manager: Manager) {
    let mut scene = Scene::new();
    let record = scene.mount.path("history").join(format!("export-{}.json", scene.runs[1]));
    for file in [&record, &scene.member(0)] {
        let window = scene.show(manager, file.parent().unwrap());
        scene.desktop.select(&window, file);
        scene.desktop.press(&window, &["Return"]);
        let expected = (sha256(file), file.clone());
        scene.desktop.until("the program", || scene.desktop.opened().contains(&expected));
    }
    assert_eq!(scene.desktop.opened().len(), 2);
    let zip = scene.zip(1);
    let window = scene.show(manager, &scene.mount.path("artifacts"));
    scene.desktop.select(&window, &zip);
    scene.desktop.press(&window, &["Return"]);
    let archive = scene.desktop.window(&format!("^export-{}[.]zip", scene.runs[1]));
    scene.desktop.screenshot(&format!("{manager:?}-archive"));
    // The manifest is the last thing in it; opening it shows that it is listed and can be extracted.
    let manifest = sha256(&scene.contents(1).join("manifest.json"));
    scene.desktop.press_until(&archive, &["End", "Return"], "the manifest", || {
        scene.desktop.opened().iter().any(|(sum, _)| *sum == manifest)
    });
    scene.assert_no_trash();
}

#[test]
fn thunar_opens_files() {
    files_are_opened(Thunar);
}

#[test]
fn pcmanfm_opens_files() {
    files_are_opened(PcManFm);
}

#[test]
fn the_archive_manager_extracts_what_contents_shows() {
    let scene = Scene::new();
    let out = scene.outside("extracted");
    let to = format!("--extract-to={}", out.display());
    scene.desktop.succeed("engrampa", [to.as_ref(), scene.zip(0).as_os_str()]);
    let root = scene.contents(0);
    let members = files(&root);
    assert_eq!(files(&out), members);
    for member in &members {
        assert_eq!(sha256(&out.join(member)), sha256(&root.join(member)), "{}", member.display());
    }
}

fn copies_are_equal(manager: Manager) {
    let mut scene = Scene::new();
    let out = scene.outside("copies");
    // Into a window that does not show its directory yet nothing is pasted.
    fs::write(out.join("shown"), "").unwrap();
    let to = scene.show(manager, &out);
    scene.desktop.select_all(&to, &out, &["shown".into()]);
    let expected = [scene.zip(0), scene.member(0)];
    for file in &expected {
        let from = scene.show(manager, file.parent().unwrap());
        scene.desktop.select(&from, file);
        scene.desktop.press(&to, &["ctrl+v"]);
        let copy = out.join(file.file_name().unwrap());
        let sum = sha256(file);
        scene.desktop.until("the copy", || fs::read(&copy).is_ok_and(|bytes| corpus::sha256(&bytes) == sum));
    }
    // A whole tree.
    let from = scene.show(manager, &scene.mount.path("contents"));
    let tree = scene.contents(1);
    scene.desktop.select(&from, &tree);
    scene.desktop.press(&to, &["ctrl+v"]);
    let copy = out.join(tree.file_name().unwrap());
    let same = |file: &PathBuf| {
        fs::read(copy.join(file)).is_ok_and(|bytes| bytes == fs::read(tree.join(file)).unwrap())
    };
    scene.desktop.until("the tree", || files(&tree).iter().all(same));
    assert_eq!(files(&copy), files(&tree));
    scene.assert_no_trash();
}

#[test]
fn thunar_copies_files_and_trees() {
    copies_are_equal(Thunar);
}

#[test]
fn pcmanfm_copies_files_and_trees() {
    copies_are_equal(PcManFm);
}

fn deleting_is_for_good_and_makes_no_trash(manager: Manager) {
    let mut scene = Scene::new();
    let (gone, stays) = (scene.zip(0), scene.zip(1));
    let sum = sha256(&stays);
    let parts = scene.site.parts(&scene.runs[0]);
    let window = scene.show(manager, &scene.mount.path("artifacts"));
    // To the trash: there is none, which the user is asked about.
    scene.desktop.select(&window, &gone);
    scene.desktop.press(&window, &["Delete"]);
    if manager == PcManFm {
        scene.desktop.answer(manager.question(), "alt+y");
    }
    scene.desktop.window(manager.question());
    scene.desktop.screenshot(&format!("{manager:?}-trash"));
    scene.desktop.answer(manager.question(), "alt+n");
    assert_eq!(scene.mount.names("artifacts").len(), 2);
    // For good.
    scene.desktop.select(&window, &gone);
    scene.desktop.press(&window, &["shift+Delete"]);
    // Not by Return, which is what is meant to be the answer only once the question has the focus.
    scene.desktop.answer(manager.question(), if manager == Thunar { "alt+d" } else { "alt+y" });
    scene.desktop.until("the end of the artifact", || !gone.exists());
    scene.desktop.select_all(
        &window,
        &scene.mount.path("artifacts"),
        &listing(&scene.mount.path("artifacts")),
    );
    assert_eq!(scene.mount.names("artifacts"), [stays.file_name().unwrap().to_str().unwrap()]);
    assert_eq!(sha256(&stays), sum);
    scene.desktop.until("the end of its parts", || parts.iter().all(|part| !scene.site.part(part).exists()));
    scene.site.assert_nothing_but(&[&scene.runs[1]]);
    // Its record is still there; now that is deleted too, with an answer to the question for the trash.
    let record = scene.mount.path("history").join(format!("export-{}.json", scene.runs[0]));
    let window = scene.show(manager, &scene.mount.path("history"));
    scene.desktop.select(&window, &record);
    scene.desktop.press(&window, &["Delete"]);
    if manager == PcManFm {
        scene.desktop.answer(manager.question(), "alt+y");
    }
    scene.desktop.answer(manager.question(), "alt+y");
    scene.desktop.until("the end of the record", || !record.exists());
    assert_eq!(scene.mount.names("history"), [format!("export-{}.json", scene.runs[1])]);
    scene.assert_no_trash();
}

#[test]
fn thunar_deletes_for_good_and_makes_no_trash() {
    deleting_is_for_good_and_makes_no_trash(Thunar);
}

#[test]
fn pcmanfm_deletes_for_good_and_makes_no_trash() {
    deleting_is_for_good_and_makes_no_trash(PcManFm);
}

fn a_spec_is_dropped(manager: Manager) {
    let mut scene = Scene::new();
    let specs = scene.outside("specs");
    let spec = specs.join("contacts.json");
    fs::write(&spec, site::CONTACTS).unwrap();
    fs::write(specs.join("other.json"), site::SPLIT).unwrap();
    let jobs = scene.mount.path("jobs");
    let (from, to) = (scene.show(manager, &specs), scene.show(manager, &jobs));
    // Into a window that does not show its directory yet nothing is pasted.
    scene.desktop.select_all(&to, &jobs, &["errors", "new"].map(String::from));
    scene.desktop.select(&from, &spec);
    scene.desktop.press(&to, &["ctrl+v"]);
    scene.site.until("the run", || scene.site.store.catalogue.runs().unwrap().len() == 3);
    let runs = scene.site.store.catalogue.runs().unwrap();
    let new = runs.iter().find(|run| !scene.runs.contains(&run.id)).unwrap();
    assert_eq!(scene.site.ended(&new.id).status, Status::Completed);
    assert_eq!(fs::read_to_string(jobs.join("contacts.json")).unwrap(), site::CONTACTS);
    assert_eq!(site::rows_in(&scene.mount, &new.id), scene.site.rows(&["contact", "contactattribute"]));
    scene.desktop.select_all(&to, &jobs, &["contacts.json", "errors", "new"].map(String::from));
    scene.desktop.screenshot(&format!("{manager:?}-dropped"));
    // One spec is one run, however the manager writes it.
    assert_eq!(scene.site.store.catalogue.runs().unwrap().len(), 3);
    assert!(scene.site.store.catalogue.refusals().unwrap().is_empty());
}

#[test]
fn a_spec_that_thunar_pastes_into_jobs_is_run() {
    a_spec_is_dropped(Thunar);
}

#[test]
fn a_spec_that_pcmanfm_pastes_into_jobs_is_run() {
    a_spec_is_dropped(PcManFm);
}
