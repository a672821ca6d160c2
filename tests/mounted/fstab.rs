//! mount(8) and umount(8) on lines of fstab, as the types cddsfs and fuse.cddsfs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::support::corpus;
use crate::support::mount::{Place, run};
use crate::support::private_root::{shell, text};
use nix::unistd::geteuid;

const NOBODY: u32 = 65_534;

/// A store, a mount point and a key in places with blanks and commas in their names.
struct Machine {
    place: Place,
    dir: PathBuf,
}

impl Machine {
    fn new() -> Machine {
        let place = Place::new();
        let dir = place.root().join("my files, all");
        let machine = Machine { place, dir };
        for dir in [&machine.dir, &machine.store(), &machine.point()] {
            fs::create_dir(dir).unwrap();
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        }
        corpus::copy_set("iz-one", &machine.store());
        fs::copy(corpus::private_copy("k1.pem"), machine.key()).unwrap();
        machine
    }

    fn store(&self) -> PathBuf {
        self.dir.join("the store, mine")
    }

    fn point(&self) -> PathBuf {
        self.dir.join("mount point, mine")
    }

    fn key(&self) -> PathBuf {
        self.dir.join("my key, mine.pem")
    }

    /// Writes an fstab with one line, escaped as fstab(5) and the option grammar want it.
    fn fstab(&self, kind: &str, options: &str) -> PathBuf {
        let octal = |path: &Path| path.display().to_string().replace(' ', "\\040");
        let key = octal(&self.key()).replace(',', "\\,");
        let line =
            format!("{} {} {kind} key={key},{options} 0 0\n", octal(&self.store()), octal(&self.point()),);
        let path = self.place.root().join("fstab");
        fs::write(&path, line).unwrap();
        path
    }

    fn run(&self, script: &str) -> Output {
        run(shell(self.place.root(), &self.point(), script).env("XDG_CACHE_HOME", self.place.cache()))
    }
}

const OPTIONS: &str = "ro,user,exec,noauto,nofail,_netdev,uid=1234,x-systemd.automount,x-systemd.idle-timeout=1min,\
                       X-mount.mkdir,x-gvfs-show,comment=mine";

#[test]
fn a_line_of_fstab_is_mounted_and_unmounted() {
    let machine = Machine::new();
    for kind in ["cddsfs", "fuse.cddsfs"] {
        machine.fstab(kind, OPTIONS);
        // With nothing in the environment, as at boot.
        let output = machine.run(
            r#"env -i /usr/bin/mount --fstab "$ROOT/fstab" "$POINT"
            findmnt -no FSTYPE,OPTIONS --mountpoint "$POINT"
            findmnt -rno SOURCE --mountpoint "$POINT"
            unzip -tq "$POINT"/artifacts/*.zip
            stat -c %u "$POINT"/artifacts/*.zip
            env -i /usr/bin/umount "$POINT"
            ! findmnt --mountpoint "$POINT""#,
        );
        let said = text(&output);
        assert!(output.stderr.is_empty(), "{output:?}");
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines[0].starts_with("fuse.cddsfs ro,nosuid,nodev,noexec"), "{kind}: {said}");
        assert!(lines[1].ends_with("/the\\x20store,\\x20mine"), "{kind}: {said}");
        assert!(lines[2].starts_with("No errors detected"), "{kind}: {said}");
        assert_eq!(lines[3..], ["1234"], "{kind}");
    }
}

#[test]
fn mount_a_mounts_what_is_to_be_mounted_at_boot() {
    let machine = Machine::new();
    for (options, mounted) in [("ro,_netdev", "yes"), ("ro,noauto", "no")] {
        machine.fstab("cddsfs", options);
        let output = machine.run(
            r#"mount --all --fstab "$ROOT/fstab"
            if findmnt "$POINT" >/dev/null; then echo yes; umount "$POINT"; else echo no; fi"#,
        );
        assert_eq!(text(&output), format!("{mounted}\n"), "{options}");
    }
}

#[test]
fn the_flags_of_mount_8_mean_what_they_mean_there() {
    let machine = Machine::new();
    machine.fstab("cddsfs", "ro");
    let output = machine.run(
        r#"is_mounted() { if findmnt --mountpoint "$POINT" >/dev/null; then umount "$POINT"; echo mounted; else echo not; fi; }
        mount="mount --fstab $ROOT/fstab"
        status=0; $mount --fake "$POINT" || status=$?; echo fake $status $(is_mounted)
        status=0; $mount --fake -o key=/nowhere "$POINT" 2>/dev/null || status=$?; echo fake without a key $status $(is_mounted)
        status=0; $mount -o kee=x "$POINT" 2>/dev/null || status=$?; echo unknown $status $(is_mounted)
        status=0; $mount -s -o kee=x "$POINT" || status=$?; echo sloppy $status $(is_mounted)
        status=0; $mount -n -v "$POINT" >/dev/null 2>&1 || status=$?; echo verbose $status $(is_mounted)
        status=0; $mount -o key=/nowhere "$POINT" 2>"$ROOT/said" || status=$?; echo without a key $status $(is_mounted)
        grep -q 'cddsfs: /nowhere: No such file' "$ROOT/said"
        status=0; $mount -o remount,ro "$POINT" 2>"$ROOT/said" || status=$?; echo remount $status
        grep -q 'umount it and mount it again' "$ROOT/said""#,
    );
    let expected = "fake 0 not\nfake without a key 32 not\nunknown 1 not\nsloppy 0 mounted\nverbose 0 mounted\n\
                    without a key 32 not\nremount 1\n";
    assert_eq!(text(&output), expected, "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn it_is_mounted_in_another_namespace() {
    let machine = Machine::new();
    let output = machine.run(
        r#"unshare --mount --propagation unchanged sh -c 'echo $$; exec sleep 60' >"$ROOT/pid" &
        until test -s "$ROOT/pid"; do sleep 0.05; done
        other=$(cat "$ROOT/pid")
        key=$(printf %s "$ROOT/my files, all/my key, mine.pem" | sed 's/,/\\,/g')
        mount --make-rprivate /
        mount -N "$other" -t cddsfs -o "ro,key=$key" "$ROOT/my files, all/the store, mine" "$POINT"
        ! findmnt --mountpoint "$POINT"
        nsenter --mount -t "$other" findmnt -no FSTYPE --mountpoint "$POINT"
        nsenter --mount -t "$other" sh -c 'unzip -tq "$POINT"/artifacts/*.zip' | cut -c 1-9
        nsenter --mount -t "$other" umount "$POINT"
        kill "$other""#,
    );
    assert_eq!(text(&output), "fuse.cddsfs\nNo errors\n", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn users_mount_and_unmount_what_fstab_lets_them() {
    let machine = Machine::new();
    let everything =
        [machine.place.root().into(), machine.dir.clone(), machine.store(), machine.point(), machine.key()];
    let as_user = if geteuid().is_root() {
        everything.iter().for_each(|path| chown(path, Some(NOBODY), Some(NOBODY)).unwrap());
        "setpriv --reuid 65534 --regid 65534 --clear-groups env -i"
    } else {
        "env -i"
    };
    for kind in ["cddsfs", "fuse.cddsfs"] {
        machine.fstab(kind, "ro,user,noauto");
        let script = format!(
            r#"mknod -m 666 "$LAYER/fuse" c 10 229 && mount --bind "$LAYER/fuse" /dev/fuse || test $(stat -c %a /dev/fuse) = 666
            mount --bind "$ROOT/fstab" /etc/fstab
            {as_user} /usr/bin/mount "$POINT"
            {as_user} /usr/bin/findmnt -no FSTYPE --mountpoint "$POINT"
            {as_user} /usr/bin/sh -c '/usr/bin/unzip -tq "$0"/artifacts/*.zip' "$POINT" | cut -c 1-9
            {as_user} /usr/bin/umount "$POINT"
            ! findmnt --mountpoint "$POINT""#
        );
        let output = machine.run(&script);
        assert_eq!(text(&output), "fuse.cddsfs\nNo errors\n", "{kind}: {output:?}");
    }
}

/// What systemd does at an automount point: autofs of the kernel, and a process that mounts when it is asked to.
const AUTOMOUNT: &str = r#"
import ctypes, fcntl, os, select, signal, subprocess, sys, time
point, options = os.environ["POINT"], os.environ["OPTIONS"]
READY, PACKET, MISSING = 0x9360, 304, 5
os.setpgid(0, 0)
inlet, outlet = os.pipe2(os.O_DIRECT)
told = f"fd={outlet},pgrp={os.getpgrp()},minproto=5,maxproto=5,direct".encode()
libc = ctypes.CDLL(None, use_errno=True)
assert libc.mount(b"automount", os.fsencode(point), b"autofs", 0, told) == 0, os.strerror(ctypes.get_errno())
os.close(outlet)
root = os.open(point, os.O_RDONLY)

def asked(seconds):
    """Mounts if somebody looks within that time."""
    if not select.select([inlet], [], [], seconds)[0]:
        return False
    packet = os.read(inlet, PACKET)
    assert int.from_bytes(packet[4:8], "little") == MISSING
    subprocess.run(["mount", "-t", "cddsfs", "-o", options, os.environ["STORE"], point], check=True, timeout=20)
    fcntl.ioctl(root, READY, int.from_bytes(packet[8:12], "little"))
    return True

for _ in range(2):
    look = subprocess.Popen(["ls", point + "/contents"], start_new_session=True, stdout=subprocess.PIPE, text=True)
    assert asked(20), "nobody asked"
    print(look.communicate(timeout=20)[0], end="")
    subprocess.run(["umount", "-t", "fuse.cddsfs", point], check=True)
    assert not asked(2), "the program has looked at its own mount point"
os.close(root)
subprocess.run(["umount", point], check=True)
"#;

#[test]
fn an_automount_point_is_mounted_on_and_left_alone_afterwards() {
    let machine = Machine::new();
    let place = &machine.place;
    let stem = corpus::copy_set("iz-one", &place.store());
    let key = corpus::private_copy("k1.pem");
    let mut command = shell(place.root(), &place.point(), "timeout 60 python3 -B -c \"$AUTOMOUNT\"");
    command.env("AUTOMOUNT", AUTOMOUNT).env("OPTIONS", format!("ro,key={}", key.display()));
    let output = run(command.env("STORE", place.store()).env("XDG_CACHE_HOME", place.cache()));
    assert_eq!(text(&output), format!("{stem}\n{stem}\n"), "{output:?}");
}
