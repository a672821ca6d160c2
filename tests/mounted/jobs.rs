//! `jobs/` as shells, copying programs and editors write to it, through the kernel.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::mount::{self, Mount, Place, errno, python, run, within};
use cddsfs::export::spec::EXAMPLE;
use cddsfs::store::managed::Managed;

const SPEC: &str = "{\n  \"title\": \"Chats\",\n  \"type\": \"Interaction\"\n}\n";
const NIGHTLY: &str =
    "{\"title\": \"Nightly\", \"type\": \"Contact\", \"run\": {\"every\": \"day\", \"at\": \"02:00\"}}\n";
const BAD: &str = "{\"titel\": \"Chats\", \"type\": \"Interaction\"}\n";

/// A managed store that is mounted, with specs in a directory beside it.
struct Site {
    mount: Mount,
    work: PathBuf,
    place: Place,
}

fn site() -> Site {
    site_with(&[])
}

fn site_with(options: &[&str]) -> Site {
    let place = Place::new();
    drop(Managed::init(&place.store()).unwrap());
    let work = place.root().join("work");
    fs::create_dir(&work).unwrap();
    for (name, text) in
        [("spec", SPEC), ("nightly", NIGHTLY), ("bad", BAD), ("a", &SPEC[..20]), ("b", &SPEC[20..])]
    {
        fs::write(work.join(name), text).unwrap();
    }
    Site { mount: place.mount(&[], options), work, place }
}

impl Site {
    fn job(&self, name: &str) -> PathBuf {
        self.mount.path("jobs").join(name)
    }

    /// Names in `jobs/` but for `new` and `errors`.
    fn jobs(&self) -> Vec<String> {
        let names = self.mount.names("jobs");
        assert!(names.iter().any(|name| name == "new") && names.iter().any(|name| name == "errors"));
        names.into_iter().filter(|name| name != "new" && name != "errors").collect()
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.job(name)).unwrap()
    }

    fn runs(&self) -> usize {
        self.mount.names("history").len()
    }

    fn store(&self) -> Managed {
        Managed::open(&self.place.store()).unwrap()
    }

    fn refusals(&self) -> usize {
        self.store().catalogue.refusals().unwrap().len()
    }

    /// Runs a script of bash; `$J` is `jobs/`, and it is run beside the specs.
    fn bash(&self, script: &str) -> Output {
        let mut bash = Command::new("bash");
        bash.args(["-c", script]).current_dir(&self.work).env("J", self.mount.path("jobs"));
        bash.env("H", self.mount.path("history")).env("LC_ALL", "C").env("HOME", &self.work);
        run(&mut bash)
    }

    fn succeed(&self, script: &str) -> String {
        let output = self.bash(script);
        assert!(output.status.success(), "{script}: {output:?}\n{:#?}", self.mount.log());
        String::from_utf8(output.stdout).unwrap()
    }

    fn fail(&self, script: &str, text: &str) {
        let output = self.bash(script);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(text), "{script}: {output:?}");
    }
}

fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// Ways to write the file `$S` to `$T`.
const WAYS: [(&str, &str); 17] = [
    ("echo", "echo \"$(<$S)\" > $T"),
    ("printf", "printf '%s\\n' \"$(<$S)\" > $T"),
    ("cat", "cat $S > $T"),
    ("append", "cat $S >> $T"),
    ("tee", "tee $T < $S > /dev/null"),
    ("dd", "dd status=none if=$S of=$T"),
    ("dd in small pieces", "dd status=none bs=7 if=$S of=$T"),
    ("dd with fsync", "dd status=none bs=7 conv=fsync if=$S of=$T"),
    ("cp", "cp $S $T"),
    ("cp -p", "cp -p $S $T"),
    ("cp -a", "cp -a $S $T"),
    ("install by cat", "cat < $S | sh -c 'cat > $0' $T"),
    ("rsync --inplace", "rsync --inplace $S $T"),
    ("gio copy", "gio copy $S $T"),
    ("python", "python3 -c 'import sys, shutil; shutil.copy(*sys.argv[1:])' $S $T"),
    (
        "python with",
        "python3 -c 'import sys\nwith open(sys.argv[2], \"w\") as f: f.write(open(sys.argv[1]).read())' $S $T",
    ),
    ("rsync", "rsync -t $S $T"),
];

#[test]
fn whoever_writes_to_new_hands_in_one_spec() {
    let site = site();
    for (i, (name, way)) in WAYS.iter().enumerate() {
        site.succeed(&format!("S=spec T=$J/new; {way}"));
        assert_eq!((site.runs(), site.jobs()), (i + 1, vec![]), "{name}");
    }
    let more = [
        "( cat a; cat b ) > $J/new",
        "( cat a; sleep 0.1; cat b; echo ) > $J/new",
        "exec 5> $J/new 6>&5; cat a >&5; exec 5>&-; cat b >&6; exec 6>&-",
        "exec 3<> $J/new; cat spec >&3; exec 3>&-",
        "{ echo -n; :; cat spec; echo; echo; } > $J/new",
    ];
    for (i, way) in more.iter().enumerate() {
        site.succeed(way);
        assert_eq!(site.runs(), WAYS.len() + i + 1, "{way}");
    }
    assert_eq!(site.refusals(), 0);
    assert_eq!(site.text("errors"), "No spec has been refused.\n");
    let runs = site.store().catalogue.runs().unwrap();
    assert_eq!(runs.len(), WAYS.len() + more.len());
    assert!(runs.iter().all(|run| run.spec == r#"{"title":"Chats","type":"Interaction"}"#));
}

#[test]
fn whoever_writes_a_bad_spec_is_told() {
    let site = site();
    for (i, (name, way)) in WAYS.iter().enumerate() {
        for (target, n) in [("new", 1), ("a.json", 2)] {
            site.fail(&format!("S=bad T=$J/{target}; {way}"), "");
            assert_eq!(
                (site.runs(), site.refusals().min(20)),
                (0, (2 * i + n).min(20)),
                "{name} to {target}"
            );
            // Temporary files of who does not clean up.
            site.succeed("find $J -name '.*' -type f -delete");
            assert_eq!(site.jobs(), [""; 0], "{name} to {target}");
        }
    }
    for way in
        ["echo \"$(<bad)\" > $J/new", "cat bad > $J/a.json", "dd if=bad of=$J/new bs=7", "cp bad $J/new"]
    {
        site.fail(way, "Invalid argument");
    }
    let errors = site.text("errors");
    let latest: Vec<&str> = errors.lines().take(6).collect();
    assert!(latest[0].ends_with("Z  jobs/new"), "{errors}");
    assert_eq!(
        latest[1..],
        [
            "  field: titel",
            "  wrong: is not a key of a job spec",
            "  right: did you mean \"title\"?",
            "  spec as it was received, 42 bytes:",
            "    {\"titel\": \"Chats\", \"type\": \"Interaction\"}",
        ]
    );
    assert_eq!(fs::metadata(site.job("errors")).unwrap().len(), errors.len() as u64);
    let log = site.mount.unmount();
    assert!(!log.iter().any(|line| line.contains("Chats")), "{log:#?}");
}

#[test]
fn what_breaks_off_is_said_by_close_and_kept() {
    let site = site();
    site.fail("cat a > $J/new", "Invalid argument");
    site.fail("cp a $J/x.json", "Invalid argument");
    within(Duration::from_secs(2), "both are kept", || site.refusals() == 2);
    assert!(site.text("errors").contains("wrong: the JSON breaks off at line"));
    assert_eq!((site.runs(), site.jobs()), (0, vec![]));
    site.succeed(": > $J/new; : > $J/y.json; touch $J/new $J/z.json; exec 3<> $J/new; exec 3>&-");
    assert_eq!((site.runs(), site.jobs(), site.refusals()), (0, vec![], 2));
    // The first program cannot know that another one goes on, and is told; so && ends it, and ; does not.
    site.fail("( cat a && cat b ) > $J/new", "Invalid argument");
    within(Duration::from_secs(2), "it is kept too", || site.refusals() == 3);
    site.succeed("( cat a; cat b ) > $J/new");
    assert_eq!((site.runs(), site.refusals()), (1, 3));
}

#[test]
fn too_much_is_refused() {
    let site = site();
    for target in ["new", "a.json"] {
        site.fail(&format!("head -c 1100000 /dev/zero | tr '\\0' ' ' > $J/{target}"), "File too large");
    }
    site.fail("(cat spec; head -c 2000000 /dev/zero | tr '\\0' ' ') > $J/new", "File too large");
    site.succeed("(cat spec; head -c 1000000 /dev/zero | tr '\\0' ' ') > $J/b.json");
    assert_eq!(site.text("b.json").len(), 1_000_000 + SPEC.len());
    assert!(site.text("errors").contains("wrong: this is longer than 1 MiB"));
    assert_eq!(site.jobs(), ["b.json"]);
}

#[test]
fn the_runs_id_is_read_behind_the_spec() {
    let site = site();
    let id = site.succeed("exec 3<> $J/new; cat spec >&3; cat <&3");
    let mut ids = vec![id.trim().to_string()];
    ids.push(python(
        "
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
spec = open(sys.argv[2], 'rb').read()
assert os.write(fd, spec) == len(spec)
print(os.read(fd, 100).decode(), end='')
assert os.read(fd, 100) == b''
assert os.pread(fd, 5, 0) == spec[:5]
try:
    os.write(fd, spec)
    raise SystemExit('one spec per open')
except OSError as e:
    assert e.errno == 22
os.close(fd)",
        [site.job("new"), site.work.join("spec")],
    ));
    let files: Vec<String> = ids.iter().map(|id| format!("export-{}.json", id.trim())).collect();
    let mut history = site.mount.names("history");
    history.sort_by_key(|name| name != &files[0]);
    assert_eq!(history, files);
    assert_eq!(site.succeed("exec 3<> $J/new; cat <&3"), EXAMPLE);
}

#[test]
fn the_example_can_be_copied() {
    let site = site();
    site.succeed("cp $J/new my.json; cp -p $J/new p.json; cat $J/new > c.json; cp my.json $J/new");
    for copy in ["my.json", "p.json", "c.json"] {
        assert_eq!(fs::read_to_string(site.work.join(copy)).unwrap(), EXAMPLE);
    }
    assert_eq!(fs::metadata(site.job("new")).unwrap().len(), EXAMPLE.len() as u64);
    assert_eq!(site.runs(), 1);
}

#[test]
fn jobs_are_files() {
    let site = site();
    for (i, (name, way)) in WAYS.iter().enumerate() {
        if *name == "append" {
            continue;
        }
        let file = format!("{i}.json");
        let before = site.runs();
        site.succeed(&format!("S=nightly T=$J/{file}; {way}"));
        assert_eq!((site.text(&file), site.runs()), (NIGHTLY.into(), before + 1), "{name}");
        let changed = NIGHTLY.replace("Nightly", "No");
        fs::write(site.work.join("changed"), &changed).unwrap();
        site.succeed(&format!("touch changed; S=changed T=$J/{file}; {way}"));
        assert_eq!((site.text(&file), site.runs()), (changed.clone(), before + 1), "{name}: edited");
        site.fail(&format!("S=bad T=$J/{file}; {way}"), "");
        assert_eq!(site.text(&file), changed, "{name}: what was there stays");
        assert_eq!(fs::metadata(site.job(&file)).unwrap().len(), changed.len() as u64);
        site.succeed("find $J -name '.*' -type f -delete");
        let job = site.store().catalogue.job(&i.to_string()).unwrap().unwrap();
        let shown = fs::metadata(site.job(&file)).unwrap();
        assert_eq!((shown.modified().unwrap(), shown.permissions().mode() & 0o777), (job.modified, 0o644));
    }
    site.succeed(
        "install -m 600 nightly $J/installed.json; cp $J/installed.json $J/copy.json; rm $J/installed.json",
    );
    assert_eq!(site.text("copy.json"), NIGHTLY);
    let runs = site.runs();
    site.succeed("rm $J/*.json");
    assert_eq!((site.jobs(), site.runs()), (vec![], 0), "of {runs} that were scheduled");
    assert!(site.store().catalogue.jobs().unwrap().is_empty());
}

#[test]
fn runs_and_jobs_are_cloned_by_copying() {
    let site = site();
    site.succeed("cat spec > $J/new; cp $H/*.json $J/new");
    assert_eq!(site.runs(), 2);
    site.succeed(
        "cat nightly > $J/a.json; cp $J/a.json $J/b.json; cp $J/a.json $J/new; mv $J/a.json $J/c.json",
    );
    assert_eq!(site.jobs(), ["b.json", "c.json", "nightly.json"]);
    assert_eq!(site.runs(), 5);
    let specs: Vec<String> = site.store().catalogue.runs().unwrap().into_iter().map(|run| run.spec).collect();
    assert_eq!(specs.iter().filter(|spec| spec.contains("Chats")).count(), 2);
}

#[test]
fn truncating_and_closing_loses_no_job() {
    let site = site();
    site.succeed("cat nightly > $J/a.json; : > $J/a.json; truncate -s 0 $J/a.json; cat $J/a.json > copy");
    assert_eq!(fs::read_to_string(site.work.join("copy")).unwrap(), NIGHTLY);
    let mut file = OpenOptions::new().write(true).truncate(true).open(site.job("a.json")).unwrap();
    file.write_all(b"{").unwrap();
    assert_eq!(site.text("a.json"), NIGHTLY, "a reader has the old one meanwhile");
    let path = c(&site.job("a.json"));
    assert_eq!(unsafe { libc::truncate(path.as_ptr(), 0) }, 0);
    assert_eq!(unsafe { libc::truncate(path.as_ptr(), 3) }, -1);
    drop(file);
    assert_eq!((site.text("a.json"), site.runs()), (NIGHTLY.into(), 1));
    site.fail("echo junk >> $J/a.json", "Invalid argument");
    assert_eq!(site.text("a.json"), NIGHTLY);
}

/// Gives the job something that only it has: how far it has exported.
fn set_mark(site: &Site, job: &str) {
    let catalogue = rusqlite::Connection::open(site.place.store().join("cddsfs.db")).unwrap();
    catalogue.execute("UPDATE job SET mark = 'm' WHERE name = ?1", [job]).unwrap();
}

fn check_edited(site: &Site, editor: &str) {
    let job = site.store().catalogue.job("a").unwrap();
    let job = job.unwrap_or_else(|| panic!("{editor}: the job has gone\n{}", site.text("errors")));
    assert!(job.text.contains("Weekly") && !job.text.contains("Nightly"), "{editor}: {}", job.text);
    assert_eq!((site.text("a.json"), job.mark), (job.text, Some("m".into())), "{editor}");
    assert_eq!((site.jobs(), site.runs(), site.refusals()), (vec!["a.json".into()], 1, 0), "{editor}");
}

#[test]
fn editors_edit_jobs() {
    let editors = [
        "vim -es -u NONE -c '%s/Nightly/Weekly/' -c wq $J/a.json",
        "vim -n -u NONE -es -c '%s/Nightly/Weekly/' -c wq $J/a.json",
        "vim -es -u NONE -c 'set backupcopy=yes' -c '%s/Nightly/Weekly/' -c wq $J/a.json",
        "vim -es -u NONE -c 'set backupcopy=no writebackup' -c '%s/Nightly/Weekly/' -c w -c '%s/Weekly/Weekly1/' -c wq $J/a.json",
        "printf '%s\\n' ',s/Nightly/Weekly/' w q | ed -s $J/a.json",
        "sed -i s/Nightly/Weekly/ $J/a.json",
        "perl -pi -e s/Nightly/Weekly/ $J/a.json",
        "sed -i.bak s/Nightly/Weekly/ $J/a.json; rm $J/a.json.bak",
        "perl -pi.bak -e s/Nightly/Weekly/ $J/a.json; rm $J/a.json.bak",
        "cp $J/a.json $J/a.json.part; perl -e 'local $/; open F, \"+<\", $ARGV[0]; $_ = <F>; s/Nightly/Weekly/; \
         seek F, 0, 0; truncate F, 0; print F $_; close F or die' $J/a.json.part; mv $J/a.json.part $J/a.json",
        "python3 -c 'import sys; f = open(sys.argv[1], \"r+\"); t = f.read(); f.seek(0); \
         f.write(t.replace(\"Nightly\", \"Weekly\")); f.truncate(); f.close()' $J/a.json",
        "sed s/Nightly/Weekly/ $J/a.json | python3 -c 'import os, sys; \
         p = sys.argv[1]; open(p + \".tmp\", \"w\").write(sys.stdin.read()); os.replace(p + \".tmp\", p)' $J/a.json",
    ];
    for editor in editors {
        let site = site();
        site.succeed("cat nightly > $J/a.json");
        set_mark(&site, "a");
        site.succeed(editor);
        check_edited(&site, editor);
    }
}

#[test]
fn an_editor_that_writes_nonsense_is_told_and_nothing_is_lost() {
    let site = site();
    site.succeed("cat nightly > $J/a.json");
    set_mark(&site, "a");
    for editor in [
        "sed -i s/title/titel/ $J/a.json",
        "vim -es -u NONE -c '%s/title/titel/' -c wq $J/a.json",
        "vim -es -u NONE -c 'set backupcopy=yes' -c '%s/title/titel/' -c wq $J/a.json",
    ] {
        site.fail(editor, "");
        site.bash("rm -f $J/sed* $J/.a.json.sw* $J/a.json~");
        assert_eq!((site.jobs(), site.text("a.json")), (vec!["a.json".into()], NIGHTLY.into()), "{editor}");
        assert_eq!(site.store().catalogue.job("a").unwrap().unwrap().mark, Some("m".into()), "{editor}");
    }
    assert!(site.refusals() >= 3);
}

/// Types into an editor that needs a terminal.
fn type_into(site: &Site, name: &str, editor: &str, keys: &[&str]) {
    let socket = format!("cddsfs-{name}-{}", std::process::id());
    let job = site.job("a.json");
    let tmux = |args: &[&str]| {
        let mut command = Command::new("tmux");
        command.args(["-L", &socket, "-f", "/dev/null"]).args(args);
        command.env("TERM", "xterm").env("HOME", &site.work).env("LC_ALL", "C");
        run(&mut command)
    };
    let command = format!("{editor} {}", job.display());
    let started = tmux(&["new-session", "-d", "-s", "s", "-x", "200", "-y", "50", &command]);
    assert!(started.status.success(), "{started:?}");
    let shown = || String::from_utf8_lossy(&tmux(&["capture-pane", "-p", "-t", "s"]).stdout).into_owned();
    within(Duration::from_secs(20), "the editor shows the job", || shown().contains("Nightly"));
    for key in keys {
        tmux(&["send-keys", "-t", "s", key]);
        std::thread::sleep(Duration::from_millis(300));
    }
    let started = Instant::now();
    while tmux(&["has-session", "-t", "s"]).status.success() {
        if started.elapsed() > Duration::from_secs(20) {
            let screen = shown();
            tmux(&["kill-server"]);
            panic!("{name} does not end:\n{screen}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn editors_on_a_terminal_edit_jobs() {
    let nano_replace = ["C-\\", "Nightly", "Enter", "Weekly", "Enter", "a", "C-o", "Enter", "C-x"];
    let vim_replace = [":%s/Nightly/Weekly/", "Enter", ":wq", "Enter"];
    let editors: [(&str, &str, &[&str]); 4] = [
        ("nano", "nano --ignorercfiles", &nano_replace),
        ("nano-backup", "nano --ignorercfiles --backup", &nano_replace),
        ("vim", "vim -u NONE", &vim_replace),
        ("vim-defaults", "vim", &vim_replace),
    ];
    for (name, editor, keys) in editors {
        let site = site();
        site.succeed("cat nightly > $J/a.json");
        set_mark(&site, "a");
        type_into(&site, name, editor, keys);
        site.bash("rm -f $J/a.json~");
        check_edited(&site, name);
    }
}

#[test]
fn many_at_once_are_as_many_runs() {
    let site = site();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut new = OpenOptions::new().read(true).write(true).open(site.job("new")).unwrap();
                SPEC.as_bytes().chunks(9).for_each(|piece| new.write_all(piece).unwrap());
                let mut id = String::new();
                new.read_to_string(&mut id).unwrap();
                let record = site.mount.path("history").join(format!("export-{}.json", id.trim()));
                assert!(fs::read_to_string(record).unwrap().contains("Queued"));
            });
        }
    });
    assert_eq!(site.runs(), 8);
}

#[test]
fn a_job_that_is_being_made_is_seen() {
    let site = site();
    let mut file = File::create_new(site.job("a.json")).unwrap();
    file.write_all(&NIGHTLY.as_bytes()[..10]).unwrap();
    let (made, size) = (fs::metadata(site.job("a.json")).unwrap().ino(), 10);
    assert_eq!((site.jobs(), fs::metadata(site.job("a.json")).unwrap().len()), (vec!["a.json".into()], size));
    file.write_all(&NIGHTLY.as_bytes()[10..]).unwrap();
    file.sync_all().unwrap();
    assert_eq!(site.store().catalogue.jobs().unwrap().len(), 1);
    drop(file);
    assert_eq!(fs::metadata(site.job("a.json")).unwrap().ino(), made);
    // What another process changes.
    let store = site.store();
    store.catalogue.rename_job("a", "b").unwrap();
    within(Duration::from_secs(1), "the other name", || site.jobs() == ["b.json"]);
    assert_eq!(errno(fs::metadata(site.job("a.json"))), libc::ENOENT);
}

#[test]
fn what_cannot_be_done_is_refused() {
    let site = site();
    site.succeed("cat nightly > $J/a.json; echo x > $J/scratch");
    for script in [
        "mv spec $J/new",
        "mv $J/a.json $J/new",
        "mv $J/scratch $J/new",
        "mv $J/scratch $J/errors",
        "mv $J/new $J/old",
        "rm $J/new",
        "rm $J/errors",
        "echo x > $J/errors",
        "mkdir $J/dir",
        "rmdir $J",
        "ln -s x $J/link",
        "ln $J/a.json $J/b.json",
        "mkfifo $J/fifo",
        "mv $J/a.json $H/",
        "chmod 600 $H",
    ] {
        site.fail(script, "Operation not permitted");
    }
    site.fail("cp spec $J/$(printf 'x%.0s' {1..256})", "File name too long");
    site.fail("mv -T --exchange $J/a.json $J/scratch 2>/dev/null || exit 1", "");
    let (from, to) = (c(&site.job("a.json")), c(&site.job("scratch")));
    for (flag, expected) in [(libc::RENAME_EXCHANGE, libc::EINVAL), (libc::RENAME_NOREPLACE, libc::EEXIST)] {
        let done =
            unsafe { libc::renameat2(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), flag) };
        assert_eq!((done, std::io::Error::last_os_error().raw_os_error()), (-1, Some(expected)));
    }
    assert_eq!(site.jobs(), ["a.json", "scratch"]);
    assert_eq!(
        site.succeed("cat $J/scratch; chmod 600 $J/*; chown 0:0 $J/new; touch $J/a.json $J/scratch"),
        "x\n"
    );
    site.succeed("rm $J/scratch");
    assert_eq!((site.jobs(), site.runs()), (vec!["a.json".into()], 1));
}

#[test]
fn a_read_only_mount_shows_jobs_and_takes_none() {
    let site = site();
    site.succeed("cat nightly > $J/a.json");
    let Site { mount, work, place } = site;
    mount.unmount();
    let site = Site { mount: place.mount(&[], &["-o", "ro"]), work, place };
    assert_eq!((site.jobs(), site.text("a.json")), (vec!["a.json".into()], NIGHTLY.into()));
    assert_eq!(site.text("new"), EXAMPLE);
    for script in
        ["echo x > $J/new", "echo x > $J/b.json", "rm $J/a.json", "mv $J/a.json $J/b", "touch $J/a.json"]
    {
        site.fail(script, "Read-only file system");
    }
}

#[test]
fn a_plain_store_has_no_jobs() {
    let place = Place::new();
    let mount = place.mount(&[], &[]);
    assert!(!mount.names("").contains(&"jobs".to_string()));
    assert_eq!(errno(fs::metadata(mount.path("jobs"))), libc::ENOENT);
    assert_eq!(fs::metadata(mount.path("")).unwrap().nlink(), 7);
    mount.unmount();
    let site = site();
    assert!(site.mount.names("").contains(&"jobs".to_string()));
    let meta = fs::metadata(site.mount.path("jobs")).unwrap();
    assert_eq!((meta.mode(), fs::metadata(site.mount.path("")).unwrap().nlink()), (0o040_755, 8));
}

#[test]
fn runs_are_found_by_their_titles() {
    let site = site();
    for title in ["Alle / Gespräche", "Chats", "Chats"] {
        fs::write(site.job("new"), SPEC.replace("Chats", title)).unwrap();
    }
    // There is no source.
    let by_title = || site.mount.names("by-title");
    within(Duration::from_secs(10), "the runs fail", || {
        by_title().iter().filter(|name| name.ends_with(" (Failed)")).count() == 3
    });
    let names = by_title();
    assert!(names.iter().any(|name| name.ends_with(" Alle _ Gespräche (Failed)")), "{names:?}");
    let mut records = Vec::new();
    for name in names {
        let folder = site.mount.path("by-title").join(&name);
        assert_eq!(mount::names(&folder), ["record.json"]);
        let link = fs::read_link(folder.join("record.json")).unwrap();
        assert!(link.starts_with("../../history"));
        let record: serde_json::Value =
            serde_json::from_slice(&fs::read(folder.join("record.json")).unwrap()).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().ino(), fs::metadata(folder.join(".")).unwrap().ino());
        let id = record["id"].as_str().unwrap();
        let is_told_apart = name.contains(&format!(" Chats {} ", &id[..8]));
        assert!(name[10..] == *" Chats (Failed)" || is_told_apart || record["title"] != "Chats", "{name}");
        records.push(id.to_string());
    }
    records.sort();
    records.dedup();
    assert_eq!(records.len(), 3);
    let missing = site.mount.path("by-title").join("2026-01-01 nothing (Failed)");
    assert_eq!(errno(fs::metadata(missing)), libc::ENOENT);
    // What has gone has no name, also for whoever has listed it.
    let folder = site.mount.path("by-title").join(by_title().pop().unwrap());
    fs::remove_file(folder.join(fs::read_link(folder.join("record.json")).unwrap())).unwrap();
    within(Duration::from_secs(10), "it has no name", || errno(fs::metadata(&folder)) == libc::ENOENT);
    assert_eq!(by_title().len(), 2);
}

#[test]
fn what_is_open_at_the_end_is_handed_in_or_kept() {
    let mut site = site();
    let write = |target: &str, text: &str| {
        let mut sh = Command::new("sh");
        sh.args(["-c", "printf %s \"$1\" >&3; exec sleep 60", "sh", text]).stdin(Stdio::null());
        let path = site.job(target);
        let mut with_file = Command::new("bash");
        with_file.args([
            "-c",
            "exec 3> \"$0\"; exec sh -c 'printf %s \"$1\" >&3; exec sleep 60' sh \"$1\"",
            path.to_str().unwrap(),
            text,
        ]);
        with_file.stdin(Stdio::null()).spawn().unwrap()
    };
    let mut children = [write("new", SPEC), write("b.json", NIGHTLY), write("c.json", &NIGHTLY[..20])];
    let sizes = || {
        [("b.json", NIGHTLY.len()), ("c.json", 20)]
            .iter()
            .all(|(name, size)| fs::metadata(site.job(name)).is_ok_and(|meta| meta.len() == *size as u64))
    };
    within(Duration::from_secs(10), "all is written", sizes);
    std::thread::sleep(Duration::from_millis(300));
    mount::take_away(&site.mount.path(""));
    children.iter_mut().for_each(|child| {
        child.kill().unwrap();
        child.wait().unwrap();
    });
    site.mount.ended();
    let store = site.store();
    let names: Vec<String> = store.catalogue.jobs().unwrap().into_iter().map(|job| job.name).collect();
    assert_eq!((names, store.catalogue.runs().unwrap().len()), (vec!["b".to_string()], 2));
    assert_eq!(store.catalogue.refusals().unwrap()[0].target, "jobs/c.json");
}
