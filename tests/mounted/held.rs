//! What somebody holds while the store changes: open texts, and names that were listed.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::support::corpus;
use crate::support::mount::{self, Place, names, python, succeed};
use crate::support::site::{CONTACTS, Site};

/// A text that is open: read to its end it is what `fstat` says.
struct Held {
    path: PathBuf,
    file: File,
    text: String,
}

impl Held {
    fn open(path: PathBuf) -> Held {
        let text = fs::read_to_string(&path).unwrap();
        let file = File::open(&path).unwrap();
        // Only its beginning is read before it changes.
        file.read_at(&mut [0; 10], 0).unwrap();
        Held { path, file, text }
    }

    /// After the store has changed.
    fn check(&mut self) {
        let shown = self.path.display();
        let now = fs::metadata(&self.path).unwrap().len();
        let fresh = fs::read_to_string(&self.path).unwrap();
        assert_ne!(fresh, self.text, "{shown} has changed");
        assert_eq!(now, fresh.len() as u64, "{shown}");
        assert_eq!(self.file.metadata().unwrap().len(), self.text.len() as u64, "{shown}: its own size");
        assert_eq!(self.file.seek(SeekFrom::End(0)).unwrap(), self.text.len() as u64, "{shown}");
        self.file.seek(SeekFrom::Start(0)).unwrap();
        let mut read = String::new();
        self.file.read_to_string(&mut read).unwrap();
        assert_eq!(read, self.text, "{shown}: what was opened is read to its end");
        assert_eq!(fs::metadata(&self.path).unwrap().len(), fresh.len() as u64, "{shown}");
    }
}

#[test]
fn an_open_text_is_read_whole_whatever_becomes_of_its_run() {
    let site = Site::new(200);
    let mount = site.mount();
    let refuse = |spec: &str| assert!(fs::write(mount.path("jobs/new"), spec).is_err());
    refuse("{\"titel\":\"x\"}");
    let completed = site.export(CONTACTS);
    let scheduled = site.submit(
        r#"{"title":"a title that is long enough to be seen","type":"Contact","start":"2999-01-01T00:00:00Z"}"#,
    );
    let record = |id: &str| mount.path(&format!("history/export-{id}.json"));
    mount::within(std::time::Duration::from_secs(20), "the record", || record(&scheduled).exists());
    let paths = [
        record(&completed.id),
        record(&scheduled),
        mount.path("history/index.csv"),
        mount.path("artifacts/index.csv"),
        mount.path("jobs/errors"),
    ];
    let mut held: Vec<Held> = paths.iter().cloned().map(Held::open).collect();
    // A second reader of the same text shares its inode.
    let second = File::open(&paths[0]).unwrap();
    fs::remove_file(mount.zip(&completed.stem())).unwrap();
    fs::remove_file(record(&scheduled)).unwrap();
    refuse("{\"title\":\"x\",\"type\":\"Contacts\"}");
    let cancelled = &held[1];
    assert_eq!(cancelled.file.metadata().unwrap().len(), cancelled.text.len() as u64);
    let mut read = vec![0; cancelled.text.len()];
    cancelled.file.read_exact_at(&mut read, 0).unwrap();
    assert_eq!(read, cancelled.text.as_bytes());
    held.remove(1);
    held.iter_mut().for_each(Held::check);
    assert_eq!(second.metadata().unwrap().len(), held[0].text.len() as u64);
    serde_json::from_str::<serde_json::Value>(&held[0].text).unwrap();
}

#[test]
fn programs_read_and_map_texts_as_before() {
    let site = Site::new(200);
    let mount = site.mount();
    let run = site.export(CONTACTS);
    let record = mount.path(&format!("history/{}.json", run.stem()));
    let text = fs::read_to_string(&record).unwrap();
    const MAP: &str = "
import mmap, sys
with open(sys.argv[1], 'rb') as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE) as memory:
    sys.stdout.write(memory[:].decode())";
    let path = record.to_str().unwrap();
    assert_eq!(python(MAP, [path]), text);
    assert_eq!(succeed("jq", ["-r", ".status", path]), "Completed\n");
    let copy = site.place.root().join("copy");
    succeed("cp", [path, copy.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(&copy).unwrap(), text);
    // While it is open elsewhere, the same text is the same inode.
    let _open = File::open(&record).unwrap();
    assert_eq!(python(MAP, [path]), text);
    assert_eq!(succeed("tail", ["-n", "3", path]), succeed("tail", ["-n", "3", copy.to_str().unwrap()]));
}

/// Names in the order in which they are listed.
fn listed(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_name_that_was_listed_resolves() {
    const SETS: usize = 400;
    let place = Place::new();
    let one = place.root().join("one");
    fs::create_dir(&one).unwrap();
    let stem = corpus::copy_set("iz-basic", &one);
    // By the names it looks whole, the last part knows better.
    fs::remove_file(one.join(format!("{stem}.z06.smime"))).unwrap();
    for i in 0..SETS {
        for name in names(&one) {
            let to = name.replace(&stem, &format!("export-{i:04}"));
            fs::hard_link(one.join(name), place.store().join(to)).unwrap();
        }
    }
    let mount = place.mount(&["k1.pem"], &[]);
    let names = listed(&mount.path("artifacts"));
    assert_eq!(names.len(), SETS + 1);
    let wrong = names.iter().filter(|name| name.ends_with(".zip")).count();
    assert!(wrong > 0, "all sets are known already: there is nothing to be seen");
    for name in &names {
        let path = mount.path("artifacts").join(name);
        assert!(fs::metadata(&path).is_ok(), "{name} was listed");
        let text = fs::read_to_string(&path).unwrap();
        assert!(name == "index.csv" || text.contains("is not complete"), "{name}");
    }
    // Now that all are known they are listed as what they are.
    let names = listed(&mount.path("artifacts"));
    assert_eq!(names.iter().filter(|name| name.ends_with(".zip.incomplete")).count(), SETS);
    eprintln!("{wrong} of {SETS} were listed before they were known");
}
