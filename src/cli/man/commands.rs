//! cddsfs(1): the commands as --help has them, and pages of the manual.

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::roff::{self, Levels, verbatim};
use crate::cli::exit::MEANINGS;
use crate::manual;

/// The pages of the manual that stand below the commands.
const TOPICS: [&str; 5] = ["mounting", "errors", "troubleshooting", "limits", "security"];

const DESCRIPTION: [&str; 3] = [
    "A store is a directory with encrypted exports: a folder of downloads (.smime files), or one that cddsfs init has \
     made and exports are written to. Mounted, each export is one plain zip in artifacts/, the tree inside it in \
     contents/, what is stored in encrypted/ and what is known of it in history/. A job spec that is written to \
     jobs/new makes an export. Nothing is ever decrypted to disk.",
    "cddsfs mount returns when the mount answers, and goes on in the background. Without the word mount, and under \
     the name mount.cddsfs, the program takes its arguments as mount(8) gives them.",
    "With -o every long option can be given as in fstab: --key FILE --allow-other is -o key=FILE,allow_other. A comma \
     within a value is written \\, and options that only concern mount(8) or systemd are left out.",
];

const FILES: [(&str, &str); 4] = [
    ("/etc/fstab", "may have lines of the type cddsfs or fuse.cddsfs"),
    ("/usr/sbin/mount.cddsfs", "what mount(8) calls for the type cddsfs: a link to the program"),
    ("/etc/fuse.conf", "user_allow_other lets users who are not root give allow_other"),
    (
        "$XDG_CACHE_HOME/cddsfs",
        "remembers sizes: lengths by a hash, no names, no keys (root without HOME: /var/cache/cddsfs)",
    ),
];

const ENVIRONMENT: [(&str, &str); 3] = [
    ("HOME, XDG_CACHE_HOME", "say where sizes are remembered"),
    ("TMPDIR", "is not used: nothing is decrypted to disk"),
    (
        "NOTIFY_SOCKET",
        "in the foreground, where the service manager is told READY and STOPPING (sd_notify(3))",
    ),
];

const EXAMPLES: [(&str, &str); 4] = [
    (
        "Look into what was downloaded:",
        "cddsfs mount ~/Downloads ~/exports --key private.pem\n\
         unzip -l ~/exports/artifacts/export-*.zip\n\
         cddsfs unmount ~/exports",
    ),
    (
        "Make exports:",
        "cddsfs init store --cert cert.pem --source history.db\n\
         cddsfs mount store ~/exports --key private.pem\n\
         cp spec.json ~/exports/jobs/new",
    ),
    (
        "In /etc/fstab; mounted when somebody looks:",
        "/srv/store  /srv/exports  cddsfs  key=/etc/cddsfs/key.pem,allow_other,noauto,x-systemd.automount  0  0",
    ),
    (
        "As a systemd service, with its settings in /etc/cddsfs/exports.conf:",
        "systemctl enable --now cddsfs@exports",
    ),
];

const SEE_ALSO: [(&str, &str); 7] = [
    ("cddsfs-job", "(5)"),
    ("cddsfs-semantics", "(7)"),
    ("mount", "(8)"),
    ("fstab", "(5)"),
    ("fusermount3", "(1)"),
    ("systemd.mount", "(5)"),
    ("openssl-cms", "(1)"),
];

pub(crate) fn page(mut command: Command) -> io::Result<String> {
    // Fills in what is derived, such as the usage of subcommands.
    command.build();
    let whole = Man::new(command.clone()).date("").source(concat!("cddsfs ", env!("CARGO_PKG_VERSION")));
    let mut out = Vec::new();
    whole.manual("User Commands").render_title(&mut out)?;
    let mut roff = Roff::new();
    roff.control("SH", ["NAME"]);
    roff.text([roman("cddsfs - mounts a store of encrypted, split contact-centre data exports")]);
    roff.control("SH", ["SYNOPSIS"]);
    let commands: Vec<&Command> = command.get_subcommands().filter(|c| is_shown(c)).collect();
    for sub in &commands {
        synopsis(&mut roff, sub);
    }
    roff.text([bold("cddsfs"), roman(" "), italic("STORE MOUNTPOINT"), roman(" [-o OPT,...]")]);
    roff.control("SH", ["DESCRIPTION"]);
    for paragraph in DESCRIPTION {
        roff.control("PP", []);
        roff.text([roman(paragraph)]);
    }
    roff.control("SH", ["COMMANDS"]);
    out.extend(roff.to_roff().into_bytes());
    for sub in commands {
        command_section(&mut out, sub)?;
    }
    let mut roff = Roff::new();
    for page in TOPICS.iter().filter_map(|topic| manual::page(topic)) {
        roff::append(&mut roff, page.text, Levels::Section);
    }
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in MEANINGS {
        entry(&mut roff, &code.to_string(), meaning);
    }
    roff.control("PP", []);
    roff.text([roman(
        "As mount.cddsfs, the codes of mount(8): 1 for wrong usage, 32 for a mount that failed.",
    )]);
    roff.control("SH", ["FILES"]);
    FILES.iter().for_each(|(file, what)| entry(&mut roff, file, what));
    roff.control("SH", ["ENVIRONMENT"]);
    ENVIRONMENT.iter().for_each(|(name, what)| entry(&mut roff, name, what));
    roff.control("SH", ["EXAMPLES"]);
    for (what, lines) in EXAMPLES {
        roff.control("PP", []);
        roff.text([roman(what)]);
        verbatim(&mut roff, lines);
    }
    roff.control("SH", ["SEE ALSO"]);
    roff::see(&mut roff, SEE_ALSO);
    roff.control("PP", []);
    roff.text([roman(
        "cddsfs help topics lists the pages of the manual, of which some are no manual pages.",
    )]);
    out.extend(roff.to_roff().into_bytes());
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn is_shown(command: &Command) -> bool {
    !command.is_hide_set() && command.get_name() != "help"
}

fn synopsis(roff: &mut Roff, command: &Command) {
    let mut line = vec![bold(format!("cddsfs {}", command.get_name()))];
    for positional in command.get_positionals() {
        let name = positional.get_value_names().map(|names| names.join(" ")).unwrap_or_default();
        let (open, close) = if positional.is_required_set() { ("", "") } else { ("[", "]") };
        line.extend([roman(format!(" {open}")), italic(name), roman(close)]);
    }
    if command.get_opts().any(|option| !option.is_hide_set()) {
        line.push(roman(" [options]"));
    }
    roff.text(line);
    roff.control("br", []);
}

/// Writes one command: what it is for, its options, its examples.
fn command_section(out: &mut Vec<u8>, command: &Command) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SS", [format!("cddsfs {}", command.get_name()).as_str()]);
    if let Some(about) = command.get_long_about().or(command.get_about()) {
        roff.text([roman(about.to_string())]);
    }
    out.extend(roff.to_roff().into_bytes());
    let mut options = Vec::new();
    let without_help = command.clone().mut_arg("help", |help| help.hide(true));
    Man::new(without_help).render_options_section(&mut options)?;
    let options = String::from_utf8_lossy(&options).replace(".SH OPTIONS\n", "");
    out.extend(options.into_bytes());
    if let Some(after) = command.get_after_help() {
        let mut roff = Roff::new();
        verbatim(&mut roff, &after.to_string());
        out.extend(roff.to_roff().into_bytes());
    }
    Ok(())
}

fn entry(roff: &mut Roff, term: &str, text: &str) {
    roff.control("TP", []);
    roff.text([bold(term)]);
    roff.text([roman(text)]);
}
