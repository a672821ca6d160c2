//! The machine as if the program were installed on it, for one shell script: a private mount namespace with a layer over
//! /usr. Nothing of it is left when the script has ended.

use std::path::Path;
use std::process::{Command, Output};

use nix::unistd::geteuid;

/// What the script finds in $PROGRAM is /usr/local/bin/cddsfs and /usr/bin/cddsfs too, and mount(8)'s helper.
const PRELUDE: &str = r#"
    mount -t tmpfs none "$LAYER"
    mkdir "$LAYER/upper" "$LAYER/work"
    mount -t overlay -o "lowerdir=/usr,upperdir=$LAYER/upper,workdir=$LAYER/work" none /usr
    for name in /usr/local/bin/cddsfs /usr/bin/cddsfs; do
        touch $name
        mount --bind "$PROGRAM" $name
    done
    ln -sf /usr/local/bin/cddsfs /usr/sbin/mount.cddsfs
    trap 'umount -l "$POINT" 2>/dev/null || true' EXIT
"#;

/// Returns the command that runs a script there, as root or as what a user namespace calls root. `$POINT` is
/// unmounted in the end.
pub fn shell(root: &Path, point: &Path, script: &str) -> Command {
    let layer = root.join("layer");
    std::fs::create_dir_all(&layer).unwrap();
    let mut command = Command::new("unshare");
    command.args((!geteuid().is_root()).then_some("--map-root-user"));
    command.args(["--mount", "sh", "-euc", &format!("{PRELUDE}\n{script}")]);
    command
        .env("LAYER", layer)
        .env("PROGRAM", env!("CARGO_BIN_EXE_cddsfs"))
        .env("POINT", point)
        .env("ROOT", root);
    command
}

/// Standard output of a script that must succeed.
pub fn text(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}
