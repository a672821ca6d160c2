//! When exports of a plain store were made, and how many days that leaves.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::support::corpus;
use crate::support::mount::{Mount, Place, python, run, succeed};
use serde_json::Value;

const KEYS: [&str; 1] = ["k1.pem"];

/// Writes a zip: arguments are the path, the age of its members in hours, and that of what its manifest says (or `-`).
const MAKE: &str = r#"
import datetime, json, sys, zipfile
path, members, manifest = sys.argv[1:]
ago = lambda hours: datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=float(hours))
with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z:
    for i, age in enumerate(members.split(',')):
        z.writestr(zipfile.ZipInfo(f'UCS/{i}.json', ago(age).timetuple()[:6]), '{}\n' * 99)
    if manifest != '-':
        text = {'generator': 'somebody', 'created': ago(manifest).isoformat(), 'files': ['x'] * 9}
        z.writestr(zipfile.ZipInfo('manifest.json', ago(members.split(',')[0]).timetuple()[:6]), json.dumps(text))
"#;

/// Stores an export of one part, just downloaded.
fn store(place: &Place, stem: &str, members: &str, manifest: &str) {
    let zip = place.root().join(format!("{stem}.zip"));
    python(MAKE, [zip.to_str().unwrap(), members, manifest]);
    corpus::encrypt(&zip, &place.store().join(format!("{stem}.zip.smime")));
}

fn record(mount: &Mount, stem: &str) -> Value {
    serde_json::from_slice(&fs::read(mount.path(&format!("history/{stem}.json"))).unwrap()).unwrap()
}

fn hours_old(path: &Path) -> f64 {
    let age = fs::metadata(path).unwrap().modified().unwrap().elapsed();
    (age.unwrap().as_secs_f64() / 360.0).round() / 10.0
}

fn attribute(path: &Path, name: &str) -> String {
    let arguments = ["--absolute-names", "--only-values", "-n", &format!("user.cddsfs.{name}")];
    let output = run(std::process::Command::new("getfattr").args(arguments).arg(path));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn days_count_from_when_the_export_was_made_and_not_from_its_download() {
    let place = Place::new();
    let hours = |days: u32| (days * 24 + 1).to_string();
    // Members' ages in hours, that of the manifest, the age that is shown, and the days that are left.
    let table = [
        ("manifest", hours(3), hours(25), 601.0, 5),
        ("members", format!("{},{},{}", hours(20), hours(10), hours(15)), "-".into(), 241.0, 20),
        ("future", hours(2), "-100".into(), 0.0, 30),
        ("gone", hours(400), "-".into(), 9601.0, 0),
    ];
    for (stem, members, manifest, ..) in &table {
        store(&place, stem, members, manifest);
    }
    // The second mount knows it from the first.
    for _ in 0..2 {
        let mount = place.mount(&KEYS, &[]);
        for (stem, _, _, age, left) in &table {
            let zip = mount.zip(stem);
            let record = record(&mount, stem);
            assert_eq!(hours_old(&zip), *age, "{stem}");
            assert_eq!(hours_old(&mount.path(&format!("history/{stem}.json"))), *age, "{stem}");
            assert_eq!(
                (&record["remaining_days"], record.get("estimated").is_some()),
                // A time that is far off tells nothing.
                (&(*left).into(), *stem == "future"),
                "{stem}"
            );
            let expires: jiff::Timestamp = record["expires"].as_str().unwrap().parse().unwrap();
            let made: jiff::Timestamp = record["mtime"].as_str().unwrap().parse().unwrap();
            assert_eq!(expires.duration_since(made).as_hours(), 30 * 24, "{stem}");
            assert_eq!(attribute(&zip, "remaining_days"), left.to_string(), "{stem}");
            let estimated = if *stem == "future" { "true" } else { "" };
            assert_eq!(attribute(&zip, "estimated"), estimated, "{stem}");
        }
        let old =
            succeed("find", [mount.path("artifacts").to_str().unwrap(), "-mtime", "+24", "-name", "*.zip"]);
        let mut old: Vec<&str> = old.lines().filter_map(|line| line.rsplit('/').next()).collect();
        old.sort();
        assert_eq!(old, ["gone.zip", "manifest.zip"]);
        let csv = fs::read_to_string(mount.path("artifacts/index.csv")).unwrap();
        let line = csv.lines().find(|line| line.starts_with("manifest.zip,")).unwrap();
        assert!(line.ends_with(",5,"), "{csv}");
        mount.unmount();
    }
    let key = corpus::private_copy("k1.pem");
    let mut command = place.cddsfs(["artifacts", "--json", "--key"]);
    let output = run(command.arg(key).arg(place.store()));
    let said = String::from_utf8(output.stdout).unwrap();
    let manifest = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let manifest = manifest.into_iter().find(|artifact| artifact["run"] == "manifest").unwrap();
    assert_eq!((&manifest["remaining_days"], manifest.get("estimated")), (&5.into(), None), "{said}");
}

#[test]
fn without_a_key_the_days_are_said_to_be_at_most_so_many() {
    let place = Place::new();
    store(&place, "export-1", "601", "601");
    let stored = place.store().join("export-1.zip.smime");
    let file = fs::File::options().append(true).open(&stored).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(10 * 86_400 + 3600)).unwrap();
    let mount = place.mount(&[], &[]);
    let zip = mount.zip("export-1");
    let record = record(&mount, "export-1");
    assert_eq!((&record["remaining_days"], &record["estimated"]), (&20.into(), &true.into()), "{record:#}");
    assert_eq!((hours_old(&zip), attribute(&zip, "estimated").as_str()), (241.0, "true"));
    let csv = fs::read_to_string(mount.path("history/index.csv")).unwrap();
    assert!(csv.lines().any(|line| line.ends_with(",true")), "{csv}");
    mount.unmount();
    let text = |args: &[&str]| {
        let output = run(place.cddsfs(["artifacts"]).args(args).arg(place.store()));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(text(&[]).contains("at most 20"), "{}", text(&[]));
    assert!(text(&["--json"]).contains("\"estimated\":true"), "{}", text(&["--json"]));
}
