//! A desktop of its own for a test: an X server, a session bus, a home directory, and file managers that are used with
//! their keys. All of it ends with the test.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::mount::{run, send, wait};

/// Longer than anything takes that works, on a machine that has other work too.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    Thunar,
    PcManFm,
}

impl Manager {
    /// The command that shows a directory in a new window.
    fn command(self) -> &'static [&'static str] {
        match self {
            Manager::Thunar => &["thunar"],
            Manager::PcManFm => &["pcmanfm", "-n"],
        }
    }

    fn title(self, dir: &Path) -> String {
        let name = dir.file_name().unwrap().to_str().unwrap();
        match self {
            Manager::Thunar => format!("^{name} - Thunar$"),
            Manager::PcManFm => format!("^{name}$"),
        }
    }

    /// How it calls its questions.
    pub fn question(self) -> &'static str {
        match self {
            Manager::Thunar => "^Attention$",
            Manager::PcManFm => "^Confirm$",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    List,
    Icons,
}

pub struct Desktop {
    root: PathBuf,
    display: String,
    buses: Vec<String>,
    /// In the order in which they were started.
    processes: Vec<Child>,
}

impl Desktop {
    /// Starts one with its home directory below this directory.
    pub fn start(root: &Path, view: View) -> Desktop {
        let mut desktop =
            Desktop { root: root.into(), display: String::new(), buses: Vec::new(), processes: Vec::new() };
        // GLib takes no other for a runtime directory.
        fs::DirBuilder::new().mode(0o700).create(desktop.runtime_dir()).unwrap();
        desktop.furnish(view);
        let mut server = desktop.command("Xvfb");
        let number = desktop.first_line(server.args([
            "-displayfd",
            "1",
            "-screen",
            "0",
            "1100x750x24",
            "-nolisten",
            "tcp",
            "-noreset",
        ]));
        desktop.display = format!(":{number}");
        // The first stands for the system bus, so that nothing of the machine's own is asked.
        for name in ["system", "session"] {
            let mut bus = desktop.command("dbus-daemon");
            let address = format!("--address=unix:path={}", desktop.runtime_dir().join(name).display());
            let address =
                desktop.first_line(bus.args(["--session", "--nofork", "--print-address=1", &address]));
            desktop.buses.push(address);
        }
        desktop
    }

    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    fn runtime_dir(&self) -> PathBuf {
        self.root.join("run")
    }

    /// Files that are opened are recorded, but for zips: those get the archive manager.
    fn furnish(&self, view: View) {
        let write = |name: &str, text: &str| {
            let path = self.home().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        };
        let record = write(
            "record",
            "#!/bin/sh\nfor file; do echo \"$(sha256sum <\"$file\" | cut -c 1-64) $file\" >>\"$HOME/opened\"; done\n",
        );
        fs::set_permissions(&record, fs::Permissions::from_mode(0o755)).unwrap();
        write(
            ".local/share/applications/record.desktop",
            &format!("[Desktop Entry]\nType=Application\nName=Record\nExec={} %F\n", record.display()),
        );
        write(
            ".config/mimeapps.list",
            "[Default Applications]\napplication/json=record.desktop\ntext/csv=record.desktop\n\
             application/zip=engrampa.desktop\n",
        );
        let (thunar, pcmanfm) = match view {
            View::List => ("ThunarDetailsView", "list"),
            View::Icons => ("ThunarIconView", "icon"),
        };
        write(
            ".config/pcmanfm/default/pcmanfm.conf",
            &format!("[ui]\nwin_width=1000\nwin_height=600\nview_mode={pcmanfm}\n"),
        );
        let channel = [("last-view", "string", thunar), ("last-window-width", "int", "1000")].map(
            |(name, kind, value)| format!("<property name=\"{name}\" type=\"{kind}\" value=\"{value}\"/>"),
        );
        write(
            ".config/xfce4/xfconf/xfce-perchannel-xml/thunar.xml",
            &format!("<channel name=\"thunar\" version=\"1.0\">{}</channel>", channel.concat()),
        );
    }

    /// A program of this desktop, with nothing of the user's around it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
        command.env("HOME", self.home()).env("XDG_RUNTIME_DIR", self.runtime_dir());
        command.env("DISPLAY", &self.display).env("NO_AT_BRIDGE", "1").env("GDK_BACKEND", "x11");
        for (name, address) in ["DBUS_SYSTEM_BUS_ADDRESS", "DBUS_SESSION_BUS_ADDRESS"].iter().zip(&self.buses)
        {
            command.env(name, address);
        }
        command.current_dir(&self.root).stdin(Stdio::null());
        command
    }

    /// Starts a program that ends with the test, and returns the first line it says.
    fn first_line(&mut self, command: &mut Command) -> String {
        let mut line = String::new();
        let said = self.spawn(command.stdout(Stdio::piped())).unwrap();
        BufReader::new(said).read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "{command:?}");
        line.trim().to_string()
    }

    fn spawn(&mut self, command: &mut Command) -> Option<ChildStdout> {
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        let spawned = command.stderr(Stdio::null()).spawn();
        let mut child = spawned.unwrap_or_else(|e| panic!("{command:?}: {e} (scripts/setup --test)"));
        let stdout = child.stdout.take();
        self.processes.push(child);
        stdout
    }

    /// Shows a directory in a new window of a file manager.
    pub fn open(&mut self, manager: Manager, dir: &Path) -> Window {
        let [program, args @ ..] = manager.command() else { unreachable!() };
        let mut command = self.command(program);
        self.spawn(command.args(args).arg(dir).stdout(Stdio::null()));
        self.window(&manager.title(dir))
    }

    /// Waits for a window whose title matches this regular expression.
    pub fn window(&self, title: &str) -> Window {
        let mut found = None;
        self.until(title, || {
            found = self.windows(title).pop();
            found.is_some()
        });
        Window(found.unwrap())
    }

    fn windows(&self, title: &str) -> Vec<String> {
        let found = self.tool("xdotool", &["search", "--onlyvisible", "--name", title]);
        found.lines().map(str::to_string).collect()
    }

    /// What a tool says, within a time; one that fails says nothing.
    fn tool(&self, program: &str, args: &[&str]) -> String {
        let mut command = self.command("timeout");
        let output = run(command.args(["30", program]).args(args));
        assert_ne!(
            output.status.code(),
            Some(127),
            "{program} is not there (scripts/setup --test installs it)"
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Presses keys in a window. They are sent to it, so that they neither go to a window that takes the focus meanwhile
    /// nor stay pressed when the tool is ended.
    pub fn press(&self, Window(id): &Window, keys: &[&str]) {
        // Without the focus a list of files has no cursor.
        let focus = ["windowraise", id, "windowfocus", id, "key", "--window", id];
        self.tool("xdotool", &[&focus, keys].concat());
    }

    /// Presses keys until something is so, again after a while: a window that has only just come can miss them.
    pub fn press_until(&self, window: &Window, keys: &[&str], what: &str, mut is_so: impl FnMut() -> bool) {
        let mut pressed: Option<Instant> = None;
        self.until(what, || {
            if pressed.is_none_or(|at| at.elapsed() > Duration::from_secs(1)) {
                self.press(window, keys);
                pressed = Some(Instant::now());
            }
            is_so()
        });
    }

    /// Answers a question, which goes away then.
    pub fn answer(&self, question: &str, key: &str) {
        let Window(id) = self.window(question);
        let is_gone = || !self.windows(question).contains(&id);
        self.press_until(&Window(id.clone()), &[key], "an end of the question", is_gone);
    }

    /// Selects everything that a window shows, which has to be these names in this directory.
    pub fn select_all(&self, window: &Window, dir: &Path, names: &[String]) {
        let mut expected: Vec<PathBuf> = names.iter().map(|name| dir.join(name)).collect();
        expected.sort();
        // A window can be there before what it shows.
        self.until("everything", || self.copied(window, &["ctrl+a"]) == expected);
    }

    /// Selects one file. The directory has to have two.
    pub fn select(&self, window: &Window, file: &Path) {
        let rows = fs::read_dir(file.parent().unwrap()).unwrap().count();
        // Each manager has an order of its own.
        let mut row = (0..rows).cycle();
        self.until("the file", || {
            let keys = [vec!["Home", "Down", "Up"], vec!["Down"; row.next().unwrap()]].concat();
            // PCManFM renews what it holds for selected a little later than what it shows.
            let (first, pressed) = (self.copied(window, &keys), Instant::now());
            let mut is_selected = first == [file];
            while is_selected && pressed.elapsed() < Duration::from_millis(500) {
                is_selected = self.copied(window, &[]) == [file];
            }
            is_selected
        });
    }

    /// Presses keys and copies what is selected then; returns the files, sorted.
    fn copied(&self, window: &Window, keys: &[&str]) -> Vec<PathBuf> {
        let before = self.clipboard("TIMESTAMP");
        self.press(window, &[keys, &["ctrl+c"]].concat());
        // A manager that has copied anything before comes to this request after the keys. From others nothing is known.
        if before.is_empty() || self.clipboard("TIMESTAMP") == before {
            return Vec::new();
        }
        let said = self.clipboard("text/uri-list");
        // PCManFM ends the text with a zero byte.
        let lines = said.lines().map(|line| line.trim_end_matches([' ', '\r', '\0']));
        let mut files: Vec<PathBuf> =
            lines.filter_map(|line| line.strip_prefix("file://")).map(PathBuf::from).collect();
        files.sort();
        files
    }

    fn clipboard(&self, target: &str) -> String {
        self.tool("xclip", &["-o", "-selection", "clipboard", "-t", target])
    }

    /// The files that have been opened, with the SHA-256 of what the program read.
    pub fn opened(&self) -> Vec<(String, PathBuf)> {
        let text = fs::read_to_string(self.home().join("opened")).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(sum, path)| (sum.into(), path.into()))
            .collect()
    }

    pub fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let started = Instant::now();
        while !is_so() {
            if started.elapsed() > PATIENCE {
                self.screenshot("failed");
                panic!("{what} has not come; there are windows {:?}", self.titles());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn titles(&self) -> String {
        self.tool("xdotool", &["search", "--onlyvisible", "--name", ".", "getwindowname", "%@"])
    }

    /// Keeps what is on the screen in target/tmp/desktop, to be looked at.
    pub fn screenshot(&self, name: &str) {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("desktop");
        fs::create_dir_all(&dir).unwrap();
        self.tool("import", &["-window", "root", dir.join(format!("{name}.png")).to_str().unwrap()]);
    }

    /// Runs a program of this desktop that must succeed, and returns what it wrote to standard output.
    pub fn succeed<S: AsRef<OsStr>>(&self, program: &str, args: impl IntoIterator<Item = S>) -> String {
        let mut command = self.command(program);
        let output = run(command.args(args));
        assert!(output.status.success(), "{command:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        // What a bus or a file manager has started ends when the bus or the display does.
        for process in self.processes.iter_mut().rev() {
            if process.try_wait().unwrap().is_none() {
                send(process.id(), libc::SIGTERM);
                wait(process);
            }
        }
    }
}

/// By its number.
#[derive(Debug, PartialEq, Eq)]
pub struct Window(String);
