"""What the suites share: a place to work in, stores encrypted by OpenSSL, mounts, and random trees."""
import dataclasses
import os
import pathlib
import random
import shutil
import signal
import subprocess

from bench.common import CDDSFS, MNT, Mount, run

FORMS = [["-outform", "DER"], ["-outform", "SMIME"], ["-stream", "-outform", "SMIME"]]


@dataclasses.dataclass
class Check:
    """What one check of a suite came to: `outcome` is compared with what is pinned, `figures` are only shown."""
    name: str
    outcome: str
    figures: str = ""


class Place:
    """A directory with a key and everything that the suites make; what is mounted is mounted below it."""

    def __init__(self, root, quick, long_load, long):
        self.root, self.quick, self.long_load, self.long = root, quick, long_load, long
        self.key, self.cert = root / "key.pem", root / "cert.pem"
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=suites",
            "-keyout", self.key, "-out", self.cert)
        self.key.chmod(0o600)

    def new(self, name):
        path = self.root / name
        path.mkdir(parents=True)
        return path

    def encrypt(self, part, store, form=0):
        """Puts one part into a store, as an export service would."""
        run("openssl", "cms", "-encrypt", "-binary", "-aes256", *FORMS[form % len(FORMS)], "-in", part,
            "-out", store / f"{part.name}.smime", self.cert)

    def decrypt(self, message, to, form=0):
        inform = "DER" if FORMS[form % len(FORMS)][-1] == "DER" else "SMIME"
        run("openssl", "cms", "-decrypt", "-binary", "-inform", inform, "-in", message, "-inkey", self.key, "-out", to)

    def mount(self, store, *options, wrapper=(), key=None, env=None):
        command = [*wrapper, CDDSFS, "mount", store, MNT, "--key", key or self.key, "-f", *options]
        settings = {"XDG_CACHE_HOME": str(self.root / "cache"), **(env or {})}
        return Mount(command, "artifacts", (CDDSFS, "unmount", MNT), settings)


def output(*command, timeout=None, **options):
    """Runs a program; (exit status, what it wrote to standard output, what to standard error)."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([str(word) for word in command], start_new_session=True, **pipes, **options) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            # With those that it has started: they would keep the mount busy.
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, out, err


def log_of(mount):
    """The log lines of a mount so far."""
    return os.pread(mount.log.fileno(), 1 << 20, 0).decode(errors="replace")


def has_space(work, gib):
    if shutil.disk_usage(work).free < gib * (1 << 30):
        raise SystemExit(f"suites: {work} needs {gib} GiB (TMPDIR puts it elsewhere)")


WORDS = "Guten Tag vielen Dank für Ihre Nachricht order number invoice merci beaucoup 注文 番号".split()
FOLDERS = ["", "UCS/Interaction/Chat/", "UCS/Interaction/EmailIn/", "UCS/Contact/", "日本/Grüße/", "with blanks/x y/", "a/b/c/d/e/f/g/h/"]


def content(source):
    """A file as exports have them: empty, JSON Lines, or bytes that nothing compresses; mostly small."""
    size = int(source.lognormvariate(7, 1.5)) if source.random() > 0.02 else 0
    if source.random() < 0.3:
        return source.randbytes(min(size, 60_000))
    line = '{"IXNID":"%08X","text":"%s"}\n' % (source.getrandbits(32), " ".join(source.choices(WORDS, k=12)))
    return (line.encode() * (size // len(line) + 1))[:min(size, 60_000)]


def random_tree(root, seed, files):
    """Fills a directory with files of odd and ordinary names; every time in it is in 2026."""
    source = random.Random(seed)
    for number in range(files):
        folder = root / source.choice(FOLDERS)
        folder.mkdir(parents=True, exist_ok=True)
        name = source.choice(["f%d.json", "Grüße %d.json", "%d", "mail [%d].eml", "'quoted' %d", "#%d $x.bin"]) % number
        (folder / name).write_bytes(content(source))
    for path in sorted(root.rglob("*"), reverse=True):
        # Even seconds: DOS times know no others.
        stamp = 1_770_000_000 + 2 * source.randrange(5_000_000)
        os.utime(path, (stamp, stamp))


def files_below(root):
    return [path for path in sorted(pathlib.Path(root).rglob("*")) if path.is_file() and not path.is_symlink()]
