"""What every verb of scripts/bench needs, and in part scripts/suites: programs, mounts, timing, counting of bytes read, and the table."""
import json
import mmap
import os
import pathlib
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

PROGRAM = pathlib.Path(sys.argv[0]).resolve().parent.name  # bench or suites
ROOT = pathlib.Path(__file__).resolve().parents[3]
RELEASE = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
CDDSFS = os.environ.get("CDDSFS", RELEASE / "cddsfs")
MEMFS = os.environ.get("MEMFS", RELEASE / "examples" / "memfs")
MIB = 1 << 20
MNT = "{mountpoint}"  # stands for the mount point in a Mount's command


def say(*words):
    print(f"{PROGRAM}:", *words, file=sys.stderr, flush=True)


def run(*command, **options):
    """Runs a program, silent unless it fails."""
    options.setdefault("stdout", subprocess.DEVNULL)
    done = subprocess.run([str(word) for word in command], stderr=subprocess.PIPE, **options)
    if done.returncode != 0:
        raise SystemExit(f"{PROGRAM}: {command[0]} failed ({done.returncode}): {done.stderr.decode(errors='replace')[-2000:]}")


def clean_up_on_termination():
    """Makes SIGTERM leave through the same `finally` blocks as Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def seconds(work):
    start = time.monotonic()
    work()
    return time.monotonic() - start


def median(values):
    return statistics.median(values)


class Mount:
    """A file system served by a process of ours; on leaving the block it is unmounted and the process is gone."""

    def __init__(self, command, ready, unmount=("fusermount3", "-u", MNT), env=None):
        self.command, self.ready, self.unmount, self.env = command, ready, unmount, env

    def __enter__(self):
        if not shutil.which(self.command[0]):
            raise SystemExit(f"{PROGRAM}: there is no {self.command[0]}")
        self.path = pathlib.Path(tempfile.mkdtemp(prefix=f"cddsfs-{PROGRAM}-"))
        self.log = tempfile.TemporaryFile()
        self.started = time.monotonic()
        self.process = subprocess.Popen(self._fill(self.command), stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log, env={**os.environ, **(self.env or {})})
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for _ in range(20):
            if not os.path.ismount(self.path):
                break
            if subprocess.run(self._fill(self.unmount), capture_output=True).returncode != 0:
                time.sleep(0.1)
        else:
            say("still busy, detached:", self.path)
            subprocess.run(["umount", "-l", self.path], check=False)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self.path.rmdir()

    def _fill(self, command):
        return [str(self.path if word == MNT else word) for word in command]

    def _wait(self):
        while not (os.path.ismount(self.path) and (self.path / self.ready).exists()):
            if self.process.poll() is not None or time.monotonic() > self.started + 120:
                self.log.seek(0)
                raise SystemExit(f"{PROGRAM}: {self.command[0]} does not mount: {self.log.read()[-2000:].decode(errors='replace')}")
            time.sleep(0.0005)

    def memory(self):
        """Resident memory now and at its peak, in MiB."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return [int(re.search(rf"{key}:\s+(\d+)", status)[1]) / 1024 for key in ("VmRSS", "VmHWM")]


class ReadCounter:
    """Counts the bytes that a program gets from files of which the name contains `part`, with strace."""

    def __init__(self, part):
        self.part = part
        self.dir = tempfile.TemporaryDirectory(prefix="cddsfs-strace-")

    def wrap(self, command):
        return ["strace", "-ff", "-ttt", "-y", "-s", "0", "-e", "trace=read,pread64,preadv,preadv2,mmap",
                "-o", f"{self.dir.name}/thread", *command]

    def total(self, start=0.0, end=float("inf")):
        """Bytes read between two instants of time.time()."""
        count = 0
        for log in pathlib.Path(self.dir.name).iterdir():
            for line in log.read_text(errors="replace").splitlines():
                if self.part not in line:
                    continue
                call = re.match(r"([\d.]+) (\w+)\(.* = (\d+)", line)
                if call and call[2] == "mmap":
                    raise SystemExit(f"{PROGRAM}: a stored part is mapped, its reads cannot be counted: {line}")
                if call and start <= float(call[1]) <= end:
                    count += int(call[3])
        return count


class Report:
    """Rows of one table, and the raw figures behind them."""

    def __init__(self, verb, work, settings):
        self.path = work / f"{verb}.json"
        self.rows = []
        self.data = {"verb": verb, "settings": settings, "machine": machine(), "figures": {}, "rows": self.rows}

    def figures(self, name, values):
        self.data["figures"][name] = values
        return values

    def row(self, what, goal, ours, peer="", ratio="", passed=None):
        verdict = {True: "PASS", False: "miss", None: ""}[passed]
        self.rows.append([what, goal, ours, peer, ratio, verdict])
        say(" | ".join(self.rows[-1]))

    def finish(self):
        """Prints the table; true when no goal was missed."""
        table = [["measured", "goal", "cddsfs", "peer", "ratio", ""], *self.rows]
        width = [max(len(row[i]) for row in table) for i in range(6)]
        table.insert(1, ["-" * w for w in width])
        for row in table:
            print("| " + " | ".join(cell.ljust(w) for cell, w in zip(row, width)) + " |")
        self.path.write_text(json.dumps(self.data, indent=1) + "\n")
        say("raw figures:", self.path)
        return all(row[5] != "miss" for row in self.rows)


def machine():
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return {"kernel": platform.release(), "cpus": os.cpu_count(), "cpu": model[1] if model else "", "load": os.getloadavg(),
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def read_all(path, each=None, drop=False):
    """Reads a file to its end in steps of 1 MiB, as `dd bs=1M` does; its length.

    With `drop` what has been read leaves the page cache, so that its memory is used again. Otherwise the host of a virtual machine
    may have to find memory for every page, which takes longer than reading does, and not always the same time.
    """
    buffer, length = memoryview(bytearray(MIB)), 0
    with open(path, "rb", buffering=0) as file:
        while n := file.readinto(buffer):
            length += n
            if each:
                each(buffer[:n])
            if drop and length % (64 * MIB) < n:
                os.posix_fadvise(file.fileno(), 0, length, os.POSIX_FADV_DONTNEED)
    return length


def touch_memory(length):
    """Makes free memory real: the host of a virtual machine takes back what is unused, and the next reader would pay."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    mmap.mmap(-1, length, flags=flags).close()


def warm(directory):
    """Brings the stored bytes into the page cache, and what was just written out of the way of the next reader."""
    os.sync()
    for path in sorted(pathlib.Path(directory).rglob("*")):
        if path.is_file():
            read_all(path)


def require_space(work, gib):
    """Refuses to start what cannot be finished; what an earlier run left there counts as available."""
    mine = sum(f.stat().st_blocks * 512 for f in work.rglob("*") if f.is_file())
    if shutil.disk_usage(work).free + mine < gib * (1 << 30):
        raise SystemExit(f"{PROGRAM}: {work} needs {gib:.1f} GiB (--work DIR puts it elsewhere, --quick needs a quarter)")
