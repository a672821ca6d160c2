//! What systemd is given, run as systemd would: the units, what its generator makes of fstab, and what it is told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::corpus;
use crate::support::mount::{self, Mount, Place, is_mounted, run, within};
use crate::support::private_root::{shell, text};

const GENERATOR: &str = "/usr/lib/systemd/system-generators/systemd-fstab-generator";

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/lib/package/systemd")
}

/// The value of a setting in a unit file.
fn setting(unit: &str, name: &str) -> String {
    let line = unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("no {name} in {unit}")).to_string()
}

/// What a service manager listens on.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(place: &Place) -> Manager {
        let path = place.root().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Manager { socket, path }
    }

    fn told(&self) -> String {
        let mut buf = [0; 4096];
        let len = self.socket.recv(&mut buf).expect("a notification");
        String::from_utf8(buf[..len].to_vec()).unwrap()
    }

    fn told_nothing_more(&self) {
        self.socket.set_nonblocking(true).unwrap();
        assert!(self.socket.recv(&mut [0; 4096]).is_err());
        self.socket.set_nonblocking(false).unwrap();
    }
}

/// The command in the service's ExecStart, as systemd would run it with these settings.
fn exec_start(place: &Place, options: &str) -> Command {
    let unit = fs::read_to_string(units().join("cddsfs@.service")).unwrap();
    assert_eq!(setting(&unit, "Type"), "notify");
    let line = setting(&unit, "ExecStart");
    let mut words = line.split(' ').map(|word| match word {
        "${STORE}" => place.store().display().to_string(),
        "${MOUNTPOINT}" => place.point().display().to_string(),
        "${OPTIONS}" => options.to_string(),
        "/usr/bin/cddsfs" => env!("CARGO_BIN_EXE_cddsfs").to_string(),
        other => other.to_string(),
    });
    // NoNewPrivileges=
    assert_eq!(setting(&unit, "NoNewPrivileges"), "yes");
    let privileged = nix::unistd::geteuid().is_root();
    let mut command = Command::new(if privileged { "setpriv" } else { "env" });
    command.args(privileged.then_some("--no-new-privs")).arg(words.next().unwrap()).args(words);
    // What a service has in its environment, without HOME.
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin");
    command.env("XDG_CACHE_HOME", place.cache());
    command
}

#[test]
fn the_service_is_ready_when_the_mount_answers_and_says_when_it_stops() {
    let place = Place::new();
    let stem = corpus::copy_set("iz-one", &place.store());
    let options = format!("ro,key={}", corpus::private_copy("k1.pem").display());
    for in_use in [false, true] {
        let manager = Manager::new(&place);
        let mut command = exec_start(&place, &options);
        command.env("NOTIFY_SOCKET", &manager.path);
        let mut mount = Mount::start(command, &place.point());
        let (store, point) = (place.store(), place.point());
        let (store, point) = (store.display(), point.display());
        assert_eq!(manager.told(), format!("READY=1\nSTATUS=serving {store} on {point}\n"));
        let file = fs::File::open(mount.zip(&stem)).unwrap();
        // ExecReload=
        mount.signal(libc::SIGHUP);
        assert!(fs::read(mount.zip(&stem)).is_ok());
        let open = in_use.then_some(file);
        mount.signal(libc::SIGTERM);
        let waiting = "is unmounted; waiting for programs that have files open";
        assert_eq!(manager.told(), format!("STOPPING=1\nSTATUS={point} {waiting}\n"));
        drop(open);
        mount.ended();
        manager.told_nothing_more();
        fs::remove_file(&manager.path).unwrap();
    }
}

#[test]
fn it_is_never_ready_when_it_cannot_be_mounted() {
    let place = Place::new();
    let manager = Manager::new(&place);
    let output = run(exec_start(&place, "key=/nowhere").env("NOTIFY_SOCKET", &manager.path));
    assert_eq!(output.status.code(), Some(3));
    manager.told_nothing_more();
}

#[test]
fn in_the_background_nobody_is_told() {
    let place = Place::new();
    let manager = Manager::new(&place);
    let mut command = place.cddsfs(["mount"]);
    command.arg(place.store()).arg(place.point()).env("NOTIFY_SOCKET", &manager.path);
    assert!(run(&mut command).status.success());
    assert!(run(place.cddsfs(["unmount"]).arg(place.point())).status.success());
    within(Duration::from_secs(5), "it is gone", || !is_mounted(&place.point()));
    manager.told_nothing_more();
}

#[test]
fn systemd_takes_the_units() {
    let place = Place::new();
    let script = format!(
        "cp {}/* /usr/lib/systemd/system/
        systemd-analyze verify --man=no cddsfs@exports.service srv-exports.mount srv-exports.automount 2>&1
        systemd-escape --path --suffix=mount /srv/exports",
        units().display()
    );
    let output = run(&mut shell(place.root(), &place.point(), &script));
    assert_eq!(text(&output), "srv-exports.mount\n");
}

#[test]
fn what_systemd_makes_of_a_line_of_fstab_can_be_mounted() {
    assert!(Path::new(GENERATOR).exists(), "no {GENERATOR} (scripts/setup --test installs it)");
    let place = Place::new();
    let dir = place.root().join("my files, all");
    let (store, point, key) = (dir.join("the store"), dir.join("mount point"), dir.join("my key, mine.pem"));
    [&dir, &store, &point].iter().for_each(|path| fs::create_dir(path).unwrap());
    corpus::copy_set("iz-one", &store);
    fs::copy(corpus::private_copy("k1.pem"), &key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let octal = |path: &Path| path.display().to_string().replace(' ', "\\040");
    for kind in ["cddsfs", "fuse.cddsfs"] {
        let options = "noauto,nofail,_netdev,user,x-systemd.automount,x-systemd.idle-timeout=10min";
        let key = octal(&key).replace(',', "\\,");
        let line = format!("{} {} {kind} ro,key={key},{options} 0 0\n", octal(&store), octal(&point));
        fs::write(place.root().join("fstab"), line).unwrap();
        let out = place.root().join(format!("units-{kind}"));
        fs::create_dir(&out).unwrap();
        let mut generator = Command::new(GENERATOR);
        generator.args([&out, &out, &out]).env("SYSTEMD_FSTAB", place.root().join("fstab"));
        let output = run(generator.env("SYSTEMD_LOG_TARGET", "console"));
        assert!(output.status.success(), "{output:?}");
        let unit = |kind: &str| {
            let name = mount::succeed(
                "systemd-escape",
                ["--path", &format!("--suffix={kind}"), point.to_str().unwrap()],
            );
            fs::read_to_string(out.join(name.trim_end())).unwrap()
        };
        assert_eq!(setting(&unit("automount"), "TimeoutIdleSec"), "10min");
        let unit = unit("mount");
        assert_eq!(setting(&unit, "Type"), kind);
        // mount WHAT WHERE -t TYPE -o OPTIONS is what systemd runs; %% stands for % in units.
        let script = r#"env -i /usr/bin/mount "$WHAT" "$WHERE" -t "$TYPE" -o "$OPTIONS"
            findmnt -no FSTYPE --mountpoint "$POINT"
            unzip -tq "$POINT"/artifacts/*.zip | cut -c 1-9
            umount "$POINT""#;
        let mut command = shell(place.root(), &point, script);
        for name in ["What", "Where", "Type", "Options"] {
            command.env(name.to_uppercase(), setting(&unit, name).replace("%%", "%"));
        }
        assert_eq!(text(&run(&mut command)), "fuse.cddsfs\nNo errors\n", "{unit}");
    }
}
