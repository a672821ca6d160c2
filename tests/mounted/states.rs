//! What is said of exports that are not whole, cannot be opened, or are there twice; and of how long they are kept.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::support::corpus;
use crate::support::mount::{self, Mount, Place, errno, names, succeed};
use serde_json::{Value, json};

const KEYS: [&str; 1] = ["k1.pem"];

fn history(mount: &Mount, stem: &str) -> Value {
    let text = fs::read(mount.path("history").join(format!("{stem}.json"))).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn text_of(mount: &Mount, stem: &str) -> String {
    fs::read_to_string(mount.path("artifacts").join(format!("{stem}.zip.incomplete"))).unwrap()
}

fn stored_size(place: &Place) -> u64 {
    names(&place.store()).iter().map(|name| fs::metadata(place.store().join(name)).unwrap().len()).sum()
}

/// The fields that an export of this store must have, but for the instants.
fn check_history(mount: &Mount, place: &Place, stem: &str, wanted: &Value) {
    let mut found = history(mount, stem);
    // All members of the corpus have one time, whenever it was downloaded.
    let fields = found.as_object_mut().unwrap();
    assert_eq!(fields.remove("mtime"), Some("2023-05-01T00:00:00Z".into()));
    assert_eq!(fields.remove("expires"), Some("2023-05-31T00:00:00Z".into()));
    assert_eq!(fields.remove("remaining_days"), Some(0.into()));
    let parts: Vec<Value> = fields.remove("parts").unwrap().as_array().unwrap().clone();
    let mut listed: Vec<&str> = parts.iter().map(|part| part["name"].as_str().unwrap()).collect();
    listed.sort();
    assert!(listed.iter().all(|name| names(&place.store()).contains(&name.to_string())));
    for part in &parts {
        let stored = fs::metadata(place.store().join(part["name"].as_str().unwrap())).unwrap();
        assert_eq!(part["size"], stored.len());
    }
    assert_eq!(found, *wanted);
}

#[test]
fn a_whole_export_says_what_it_is() {
    let place = Place::new();
    let stem = corpus::copy_set("iz-basic", &place.store());
    let mount = place.mount(&KEYS, &[]);
    let wanted = json!({
        "id": stem.strip_prefix("export-").unwrap(),
        "status": "Completed",
        "complete": true,
        "artifact": format!("{stem}.zip"),
        "bytes": 432_956,
        "stored_bytes": stored_size(&place),
    });
    check_history(&mount, &place, &stem, &wanted);
    assert_eq!(mount.names("artifacts"), [format!("{stem}.zip")]);
    assert_eq!(mount.names("history"), [format!("{stem}.json")]);
    let folder =
        mount.path(&format!("by-title/2023-05-01 {} (0 days left)", stem.strip_prefix("export-").unwrap()));
    assert_eq!(names(&folder), ["contents", "export.zip", "record.json"]);
    assert_eq!(fs::metadata(folder.join("export.zip")).unwrap().len(), 432_956);
    assert_eq!(fs::canonicalize(folder.join("contents")).unwrap(), mount.path("contents").join(&stem));
    // jq reads it, which is how a user does.
    let jq = succeed(
        "jq",
        [".complete, .remaining_days", mount.path(&format!("history/{stem}.json")).to_str().unwrap()],
    );
    assert_eq!(jq, "true\n0\n");
}

#[test]
fn an_incomplete_export_names_the_parts_it_has_and_those_that_are_missing() {
    let place = Place::new();
    let stem = corpus::copy_set("iz-basic", &place.store());
    for gone in ["z02", "z05"] {
        fs::remove_file(place.store().join(format!("{stem}.{gone}.smime"))).unwrap();
    }
    let mount = place.mount(&KEYS, &[]);
    let wanted = format!(
        "{stem} is not complete.\n\n\
         Parts that are missing:\n  {stem}.z02.smime\n  {stem}.z05.smime\n\n\
         Parts that are here:\n  {stem}.z01.smime\n  {stem}.z03.smime\n  {stem}.z04.smime\n  {stem}.z06.smime\n  \
         {stem}.zip.smime\n"
    );
    assert_eq!(text_of(&mount, &stem), wanted);
    assert_eq!(mount.names("artifacts"), [format!("{stem}.zip.incomplete")]);
    assert_eq!(errno(fs::metadata(mount.zip(&stem))), libc::ENOENT);
    let wanted = json!({
        "id": stem.strip_prefix("export-").unwrap(),
        "status": "Incomplete",
        "complete": false,
        "artifact": format!("{stem}.zip.incomplete"),
        "missing": [format!("{stem}.z02.smime"), format!("{stem}.z05.smime")],
        "stored_bytes": stored_size(&place),
    });
    check_history(&mount, &place, &stem, &wanted);
    let by_title = format!("2023-05-01 {} (Incomplete)", stem.strip_prefix("export-").unwrap());
    assert_eq!(mount.names("by-title"), std::slice::from_ref(&by_title));
    let link = fs::read_link(mount.path("by-title").join(by_title).join("export.zip")).unwrap();
    assert_eq!(link, Path::new("../../artifacts").join(format!("{stem}.zip.incomplete")));
}

#[test]
fn without_a_key_everything_is_listed_and_no_export_can_be_opened() {
    let place = Place::new();
    let stem = corpus::copy_set("iz-basic", &place.store());
    let mount = place.mount(&[], &[]);
    assert_eq!(fs::metadata(mount.zip(&stem)).unwrap().len(), stored_size(&place));
    for _ in 0..3 {
        assert_eq!(errno(File::open(mount.zip(&stem))), libc::ENOKEY);
    }
    let record = history(&mount, &stem);
    assert_eq!(
        (&record["stored_bytes"], &record["status"]),
        (&stored_size(&place).into(), &"Unreadable".into())
    );
    assert!(record["error"].is_string());
    assert_eq!(mount.names("encrypted").len(), 7);
    let log = mount.unmount();
    assert_eq!(log.len(), 2, "{log:#?}");
    assert!(log[0].starts_with("warn: no key given: exports are listed, but none can be opened; give --key"));
    let wanted =
        [format!("errno {}: {stem}.z", libc::ENOKEY), "issuer \"O=corpus, CN=recipient 1\", serial ".into()];
    assert!(wanted.iter().all(|text| log[1].contains(text)), "{log:#?}");
}

#[test]
fn a_key_for_others_opens_nothing_and_says_whose_key_is_wanted() {
    let place = Place::new();
    let stem = corpus::copy_set("iz-one", &place.store());
    let mount = place.mount(&["k2.pem", "kmail.pem"], &[]);
    assert_eq!(errno(File::open(mount.zip(&stem))), libc::ENOKEY);
    assert_eq!(fs::metadata(mount.zip(&stem)).unwrap().len(), stored_size(&place));
    let error = history(&mount, &stem)["error"].as_str().unwrap().to_string();
    assert!(
        error.contains("no key given is for it: recipient with issuer \"O=corpus, CN=recipient 1\""),
        "{error}"
    );
}

#[test]
fn several_keys_open_the_parts_of_several_recipients() {
    let place = Place::new();
    let stem = corpus::copy_set("iz-one", &place.store());
    let shape = |name: &str, stem: &str| {
        let to = place.store().join(format!("{stem}.zip.smime"));
        fs::copy(corpus::dir().join("smime").join(name), to).unwrap();
    };
    shape("gpgsm", "export-mail");
    fs::copy(corpus::dir().join("hostile/cms/wrong-recipient.der"), place.store().join("export-2.zip.smime"))
        .unwrap();
    let mount = place.mount(&["k2.pem", "kmail.pem", "k1.pem"], &[]);
    let one = corpus::sha256(&fs::read(corpus::dir().join("plain/one.zip")).unwrap());
    for stem in ["export-mail", "export-2"] {
        assert_eq!(corpus::sha256(&fs::read(mount.zip(stem)).unwrap()), one);
    }
    assert!(File::open(mount.zip(&stem)).is_ok());
}

#[test]
fn second_downloads_that_are_equal_are_no_obstacle() {
    let place = Place::new();
    let stem = corpus::copy_set("iz-basic", &place.store());
    let copy = |part: &str, name: String| {
        fs::copy(place.store().join(format!("{stem}.{part}.smime")), place.store().join(name)).unwrap();
    };
    copy("z01", format!("{stem} (1).z01.smime"));
    copy("z01", format!("{stem}.z01 (2).smime"));
    copy("z03", format!("{stem}.z03.smime.1"));
    copy("zip", format!("{stem}.zip.smime (1)"));
    // Only the second download is left of this one.
    fs::rename(
        place.store().join(format!("{stem}.z04.smime")),
        place.store().join(format!("{stem}(1).z04.smime")),
    )
    .unwrap();
    let mount = place.mount(&KEYS, &[]);
    let (_, sha256) = corpus::sets().into_iter().find(|(set, _)| set == "iz-basic").unwrap();
    assert_eq!(mount.names("artifacts"), [format!("{stem}.zip")]);
    assert_eq!(corpus::sha256(&fs::read(mount.zip(&stem)).unwrap()), sha256);
    assert_eq!(mount.names("encrypted").len(), 11);
    assert_eq!(mount.unmount(), [""; 0]);
}

#[test]
fn two_downloads_of_a_part_that_differ_are_a_conflict_that_is_named() {
    let place = Place::new();
    let stem = corpus::copy_set("iz-basic", &place.store());
    let (first, second) = (format!("{stem}.z02.smime"), format!("{stem} (1).z02.smime"));
    let mut bytes = fs::read(place.store().join(&first)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(place.store().join(&second), bytes).unwrap();
    let mount = place.mount(&KEYS, &[]);
    let text = text_of(&mount, &stem);
    let wanted = format!(
        "\nTwo files claim to be the same part, but differ (keep the right one):\n  {first}\n  {second}\n"
    );
    assert!(text.contains(&wanted), "{text}");
    let history = history(&mount, &stem);
    assert_eq!((&history["complete"], &history["status"]), (&false.into(), &"Incomplete".into()));
    assert_eq!(history["error"], format!("{first} and {second} claim to be the same part"));
    // What mends it is to take one away.
    fs::remove_file(place.store().join(second)).unwrap();
    mount::within(Duration::from_secs(1), "the conflict is settled", || {
        mount.names("artifacts") == [format!("{stem}.zip")]
    });
}

fn set_age(path: &Path, age: Duration) {
    let file = File::options().append(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

#[test]
fn remaining_days_count_down_from_thirty_to_nought() {
    const DAY: f64 = 86_400.0;
    let place = Place::new();
    // Age in days, and the days that are left; a minute keeps the clock out of it.
    let minute = 60.0 / DAY;
    let table = [
        (0.0, 30),
        (1.0 - minute, 30),
        (1.0 + minute, 29),
        (26.0 + minute, 4),
        (29.0 - minute, 2),
        (29.5, 1),
        (30.0 - minute, 1),
        (30.0, 0),
        (400.0, 0),
        (-2.0, 30),
    ];
    let part = place.root().join("part");
    corpus::encrypt(&corpus::dir().join("hostile/zip/time-zero.zip"), &part);
    let stem = |i: usize| format!("export-{i}");
    for (i, (age, _)) in table.iter().enumerate() {
        let stored = place.store().join(format!("{}.zip.smime", stem(i)));
        fs::copy(&part, &stored).unwrap();
        if *age < 0.0 {
            let file = File::options().append(true).open(&stored).unwrap();
            file.set_modified(SystemTime::now() + Duration::from_secs_f64(-age * DAY)).unwrap();
        } else {
            set_age(&stored, Duration::from_secs_f64(age * DAY));
        }
    }
    let mount = place.mount(&KEYS, &[]);
    for (i, (age, left)) in table.iter().enumerate() {
        assert_eq!(history(&mount, &stem(i))["remaining_days"], *left, "{age} days old");
        let zip = mount.zip(&stem(i)).display().to_string();
        let said = succeed(
            "getfattr",
            ["--absolute-names", "--only-values", "-n", "user.cddsfs.remaining_days", &zip],
        );
        assert_eq!(said, left.to_string(), "{age} days old");
        // Nothing of a plain store is hidden.
        assert!(fs::read(zip).is_ok());
    }
}
