"""Days of use in minutes: readers, submissions, deletions, a purge, kills and remounts, all at once, on one managed store.

Every artifact that is read is compared with what it was when it was read first, every record has to be JSON, an error has to
be one that somebody's deletion or a mount that is being replaced explains; memory, descriptors and threads of the mount
must not grow.
"""
import errno
import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import threading
import time
import zipfile

from bench.common import CDDSFS, run
from suites.common import Check, output

READERS = 16
SECONDS, QUICK_SECONDS, LONG_SECONDS = 300, 60, 3600
MOST_MIB = 128
# What a reader may be told of a name that somebody has just deleted, or by a mount that is just going.
GONE = {errno.ENOENT, errno.ESTALE}
GOING = {errno.ENOTCONN, errno.ECONNABORTED, errno.EIO, errno.ENODEV, errno.EBADF, errno.EINVAL, errno.ETIMEDOUT}
SPECS = [
    {"title": "contacts", "type": "Contact"},
    {"title": "all", "type": "Interaction", "split_size": "256 KiB"},
    {"title": "chats", "type": "Interaction", "media_types": ["chat"], "split_size": "64 KiB"},
]
# More artifacts than this are not kept: the disk is not what is tried.
MOST_ARTIFACTS = 40


class Soak:
    def __init__(self, place, seconds):
        self.place, self.until = place, time.monotonic() + seconds
        self.store, self.point = place.root / "soak-store", place.new("soak-mnt")
        self.log = open(place.root / "soak.log", "w+b")
        source = place.root / "soak.db"
        run(CDDSFS, "sample", source, "--interactions", 4000, "--contacts", 400)
        run(CDDSFS, "init", self.store, "--cert", place.cert, "--source", source)
        self.lock = threading.Lock()
        self.wrong, self.sums, self.deleted, self.cut = [], {}, set(), set()
        self.count = dict.fromkeys(["files read", "records", "submitted", "deleted", "remounts", "kills"], 0)
        self.most, self.grown, self.peaks = 0, [], {"descriptors": 0, "threads": 0}
        self.mount, self.generation, self.is_going = None, 0, False

    def say_wrong(self, what):
        with self.lock:
            if len(self.wrong) < 20:
                self.wrong.append(what)

    def counted(self, what):
        with self.lock:
            self.count[what] += 1

    def goes_on(self):
        return time.monotonic() < self.until and len(self.wrong) < 20

    def explains(self, error, path, generation):
        """Whether what somebody has done meanwhile explains an error."""
        stem = next((part for part in pathlib.Path(path).parts if part.startswith("export-")), "")[:43]
        with self.lock:
            was_going = self.is_going or generation != self.generation
            was_deleted = stem in self.deleted
            was_cut = stem in self.cut
        needs_what_is_gone = was_cut and error.errno == errno.EIO and "contents" in pathlib.Path(path).parts
        return (was_going and error.errno in GOING | GONE) or (was_deleted and error.errno in GONE) or needs_what_is_gone

    def reader(self, seed):
        source = random.Random(seed)
        while self.goes_on():
            generation = self.generation
            path = self.point
            try:
                directory = self.point / source.choice(["artifacts", "encrypted", "contents", "history"])
                path = directory
                names = os.listdir(directory)
                if not names:
                    time.sleep(0.05)
                    continue
                path = directory / source.choice(names)
                if path.is_dir():
                    files = [pathlib.Path(at) / name for at, _, names in os.walk(path, onerror=self.raised) for name in names]
                    if not files:
                        continue
                    path = source.choice(files)
                self.look(path, source)
            except OSError as error:
                if not self.explains(error, path, generation):
                    self.say_wrong(f"{path.relative_to(self.point)}: {error.strerror}")
                time.sleep(0.02)
            except Exception as error:
                self.say_wrong(f"a reader: {type(error).__name__}: {error}")

    def raised(self, error):
        raise error

    def look(self, path, source):
        data = path.read_bytes()
        relative = path.relative_to(self.point)
        if relative.parts[0] == "history":
            if path.suffix == ".json":
                try:
                    record = json.loads(data)
                    assert record["status"]
                except (ValueError, AssertionError, KeyError) as error:
                    self.say_wrong(f"{relative}: invalid JSON: {error}: {data[-60:]!r}")
                self.counted("records")
            return
        if path.name == "index.csv" or path.name.endswith(".incomplete"):
            return
        digest = hashlib.sha256(data).hexdigest()
        with self.lock:
            first = self.sums.setdefault(relative, digest)
        if first != digest:
            self.say_wrong(f"{relative}: other bytes than before")
        if relative.parts[0] == "artifacts" and source.random() < 0.2:
            with zipfile.ZipFile(path) as archive:
                if bad := archive.testzip():
                    self.say_wrong(f"{relative}: {bad} is damaged")
        self.counted("files read")

    def submitter(self):
        source = random.Random(1)
        while self.goes_on():
            generation = self.generation
            try:
                (self.point / "jobs/new").write_text(json.dumps(source.choice(SPECS)))
                self.counted("submitted")
            except OSError as error:
                if not self.explains(error, self.point / "jobs", generation):
                    self.say_wrong(f"jobs/new: {error.strerror}")
            time.sleep(source.uniform(0.2, 2))

    def deleter(self):
        source = random.Random(2)
        while self.goes_on():
            time.sleep(source.uniform(0.2, 2))
            generation, path = self.generation, self.point
            try:
                names = [name for name in os.listdir(self.point / "artifacts") if name.startswith("export-")]
                many = len(names) > MOST_ARTIFACTS
                if not names or (not many and source.random() < 0.5):
                    continue
                stem = source.choice(names).removesuffix(".incomplete").removesuffix(".zip")
                with self.lock:
                    self.deleted.add(stem)
                parts = [name for name in os.listdir(self.point / "encrypted") if name.startswith(stem)]
                by_part = parts and not many and source.random() < 0.3
                path = self.point / "encrypted" / source.choice(parts) if by_part else self.point / "artifacts" / f"{stem}.zip"
                if by_part:
                    with self.lock:
                        self.cut.add(stem)
                if not by_part and not path.exists():
                    path = path.with_name(f"{stem}.zip.incomplete")
                path.unlink()
                self.counted("deleted")
                if source.random() < 0.3:
                    run(CDDSFS, "purge", self.store)
            except OSError as error:
                if not self.explains(error, path, generation):
                    self.say_wrong(f"deleting {path.relative_to(self.point)}: {error.strerror}")

    def start(self):
        command = [CDDSFS, "mount", self.store, self.point, "--key", self.place.key, "-f"]
        settings = {**os.environ, "XDG_CACHE_HOME": str(self.place.root / "cache")}
        self.mount = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=self.log,
                                      stderr=self.log, env=settings)
        until = time.monotonic() + 60
        while not os.path.ismount(self.point):
            if self.mount.poll() is not None or time.monotonic() > until:
                self.say_wrong("it does not mount")
                return
            time.sleep(0.01)
        self.early, self.mounted = {}, time.monotonic()
        with self.lock:
            self.is_going = False
            self.generation += 1

    def remounter(self):
        """Once or twice a minute the mount is taken away, or its process is killed, and there is another one."""
        source = random.Random(3)
        while self.goes_on():
            end = time.monotonic() + source.uniform(20, 90)
            while self.goes_on() and time.monotonic() < end:
                self.measure()
                time.sleep(0.5)
            with self.lock:
                self.is_going = True
            if source.random() < 0.5:
                self.mount.kill()
                self.mount.wait()
                self.counted("kills")
                time.sleep(0.5)
                output("umount", "-l", self.point)
            else:
                # Somebody may have a file open: it goes when he closes it.
                output(CDDSFS, "unmount", "--lazy", self.point)
                self.counted("remounts")
            time.sleep(1)
            if self.goes_on():
                self.start()

    def measure(self):
        """Memory at its most; descriptors and threads at most twice what they were in the first ten seconds, and some."""
        process = pathlib.Path("/proc") / str(self.mount.pid)
        try:
            status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line)
            now = {"descriptors": len(os.listdir(process / "fd")), "threads": int(status["Threads"])}
            self.most = max(self.most, int(status["VmHWM"].split()[0]) / 1024)
        except (OSError, KeyError):
            return
        is_early = time.monotonic() < self.mounted + 10
        for what, value in now.items():
            self.peaks[what] = max(self.peaks[what], value)
            if is_early:
                self.early[what] = max(self.early.get(what, 0), value)
            elif value > 2 * self.early.get(what, value) + 100:
                self.grown.append(f"{value} {what}")


def soak(place):
    seconds = QUICK_SECONDS if place.quick else LONG_SECONDS if place.long else SECONDS
    world = Soak(place, seconds)
    world.start()
    workers = [threading.Thread(target=world.reader, args=(seed,)) for seed in range(READERS)]
    workers += [threading.Thread(target=work) for work in (world.submitter, world.deleter, world.remounter)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if not os.path.ismount(world.point):
        world.start()
    # What lacks a part would not be whole.
    for name in os.listdir(world.point / "artifacts"):
        if name.endswith(".incomplete"):
            (world.point / "artifacts" / name).unlink()
    output(CDDSFS, "unmount", "--lazy", world.point)
    world.mount.wait(30)
    world.log.seek(0)
    if b"panicked" in (log := world.log.read()):
        world.say_wrong(f"a panic: {log[-300:]}")
    outcome = "; ".join(world.wrong[:5]) if world.wrong else "nothing wrong"
    figures = ", ".join(f"{count} {what}" for what, count in world.count.items())
    yield Check("soak", outcome, f"{seconds} s: {figures}")
    status, out, err = output(CDDSFS, "verify", world.store, "--key", place.key)
    yield Check("soak/verify", f"exit status {status}", (out + err).decode(errors="replace").strip().splitlines()[-1][:80])
    if world.most >= MOST_MIB:
        world.grown.append(f"{world.most:.0f} MiB resident")
    peaks = ", ".join(f"{value} {what}" for what, value in world.peaks.items())
    yield Check("soak/growth", f"too many: {', '.join(world.grown[-3:])}" if world.grown else "none",
                f"at most {world.most:.0f} MiB resident, {peaks}")
