#!/usr/bin/env python3
"""Reading members of encrypted split sets through contents/, beside mounts of the plain, joined zip.

One set is made by Info-ZIP and OpenSSL, one by `cddsfs export`, which writes a table of seek points. Peers: fuse-zip and
archivemount from Debian, ratarmount from the Python package index. They are given the zip already decrypted and joined. memfs serves a tree of the same shape from memory.
Ratios are of one run; sequential reads are medians of interleaved rounds on fresh mounts, by a reader who drops what he has read.
"""
import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import sqlite3
import subprocess
import sys
import time
import zipfile

sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])
from bench.common import CDDSFS, MEMFS, MIB, MNT, ROOT, Mount, Report, clean_up_on_termination, median, read_all, require_space, run, say, seconds, warm

SAMPLE = 64 << 10
# archivemount needs minutes for a large member. It is given up after so many seconds, which then count as what it took.
PATIENCE = 20
RUN = "export-11111111-1111-4111-8111-111111111111"


class Archive:
    """A directory with an encrypted split set, `store`, and the same archive plain, `joined.zip`."""

    def __init__(self, directory):
        self.store, self.joined = directory / "store", directory / "joined.zip"
        self.tree = "contents/" + next(self.store.rglob("export-*.zip.smime")).name.removesuffix(".zip.smime")
        with zipfile.ZipFile(self.joined) as zip:
            largest = max(zip.infolist(), key=lambda member: member.file_size)
            self.names = [name for name in zip.namelist() if not name.endswith("/")]
        self.member, self.length = largest.filename, largest.file_size


class Inputs:
    """A JSON Lines member of 1 GB, foreign and our own, and 100,000 small ones; each plain, and as an encrypted split set.

    Our own has the same texts as the foreign one, as attributes of contacts. Another has what such attributes mostly are, names and numbers.
    """

    def __init__(self, work, megabytes):
        self.key, self.cert = work / "key.pem", work / "cert.pem"
        if not self.cert.exists():
            run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=bench", "-keyout", self.key,
                "-out", self.cert)
            self.key.chmod(0o600)
        self.large = self._make(work / f"contents-{megabytes}", lambda to: write_lines(to / "UCS/Interaction/Chat/Chat-1.json", megabytes))
        self.own = self._export(work / f"contents-own-text-{megabytes}", megabytes * 1_000_000 // 1900, write_texts)
        self.attributes = self._export(work / f"contents-own-{megabytes}", megabytes * 1_000_000 // 345)
        self.many = self._make(work / "contents-many", write_many)

    def _make(self, directory, fill):
        if not directory.exists():
            say("making", directory.name)
            unfinished = directory.with_name(directory.name + ".tmp")
            shutil.rmtree(unfinished, ignore_errors=True)
            (unfinished / "tree").mkdir(parents=True)
            (unfinished / "store").mkdir()
            fill(unfinished / "tree")
            for archive, options in ("joined.zip", []), (f"{RUN}.zip", ["-s", "64m"]):
                run("zip", "-q", "-r", *options, unfinished / archive, "UCS", cwd=unfinished / "tree")
            for part in unfinished.glob(f"{RUN}.z*"):
                run("openssl", "smime", "-encrypt", "-binary", "-aes256", "-in", part, "-out", unfinished / "store" / f"{part.name}.smime", self.cert)
                part.unlink()
            shutil.rmtree(unfinished / "tree")
            unfinished.rename(directory)
        return Archive(directory)

    def _export(self, directory, contacts, change=lambda database: None):
        if not directory.exists():
            say("making", directory.name)
            unfinished = directory.with_name(directory.name + ".tmp")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            database, store = unfinished / "history.db", unfinished / "store"
            run(CDDSFS, "sample", database, "--contacts", contacts, "--interactions", 1)
            change(database)
            run(CDDSFS, "init", store, "--cert", self.cert, "--source", database)
            run(CDDSFS, "export", store, "-", input=b'{"title": "bench", "type": "Contact", "split_size": "64 MiB"}')
            with Mount([CDDSFS, "mount", store, MNT, "--key", self.key, "-f"], "artifacts", (CDDSFS, "unmount", MNT)) as mount:
                shutil.copyfile(next((mount.path / "artifacts").glob("*.zip")), unfinished / "joined.zip")
            database.unlink()
            unfinished.rename(directory)
        return Archive(directory)


def texts(source):
    """Texts of 5 to 90 words."""
    words = ["".join(source.choices("abcdefghijklmnopqrstuvwxyz", k=source.randint(2, 10))) for _ in range(2000)]
    while True:
        yield " ".join(source.choices(words, cum_weights=range(1, 2001), k=source.randint(5, 90)))


def write_lines(path, megabytes):
    path.parent.mkdir(parents=True)
    source = random.Random(1)
    text = texts(source)
    with open(path, "wb") as file:
        while file.tell() < megabytes * 1_000_000:
            lines = []
            for _ in range(5000):
                lines.append(json.dumps({"IXNID": f"{source.getrandbits(64):016X}", "status": 3, "mediatypeid": "chat", "typeid": "Inbound",
                                         "startdate": f"2024-06-{source.randint(1, 28):02} 10:{source.randint(0, 59):02}:00.000", "text": next(text)}))
            file.write(("\n".join(lines) + "\n").encode())


def write_texts(database):
    """Makes every attribute of a contact a text."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        (rows,) = connection.execute("SELECT max(rowid) FROM contactattribute").fetchone()
        connection.executemany("UPDATE contactattribute SET attrvalue = ? WHERE rowid = ?", zip(texts(random.Random(1)), range(1, rows + 1)))


def write_many(tree):
    for i in range(100_000):
        path = tree / f"UCS/Interaction/{i // 1000:03}/Chat-{i:06}.json"
        if i % 1000 == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(b'{"IXNID":"%016X"}\n' % (i * 2654435761))


class Bench:
    def __init__(self, args):
        args.work.mkdir(parents=True, exist_ok=True)
        require_space(args.work, 8)
        self.args, self.inputs = args, Inputs(args.work, args.size)
        self.report = Report("contents", args.work, vars(args) | {"work": str(args.work)})
        self.resident = {}

    def mount(self, archive):
        return Mount([CDDSFS, "mount", archive.store, MNT, "--key", self.inputs.key, "-f"], archive.tree, (CDDSFS, "unmount", MNT))

    def mounts(self, archive):
        """Everybody's mount of one archive, with the path of its tree in the mount."""
        yield "cddsfs", self.mount(archive), archive.tree
        yield "fuse-zip", Mount(["fuse-zip", "-f", "-r", archive.joined, MNT], "UCS"), "."
        yield "archivemount", Mount(["archivemount", "-f", "-o", "readonly,nobackup", archive.joined, MNT], "UCS"), "."
        if self.args.ratarmount:
            yield "ratarmount", Mount([self.args.ratarmount, "-f", "--index-file", ":memory:", archive.joined, MNT], "UCS"), "."

    def compare(self, what, goal, least, took, unit="s"):
        """A row of our time against the fastest peer's."""
        self.report.figures(what, took)
        middle = {name: median(values) for name, values in took.items()}
        peer = min((name for name in middle if name != "cddsfs"), key=middle.get)
        ratio = middle[peer] / middle["cddsfs"]
        self.report.row(what, goal, f"{middle['cddsfs']:.3f} {unit}", f"{peer} {middle[peer]:.3f} {unit}", f"{ratio:.2f}x",
                        ratio >= least if least else None)

    def remember(self, what, name, mount):
        if name == "cddsfs":
            self.resident[what] = mount.memory()[1]


def sequential(bench, archive, whose, least):
    took = {}
    for _ in range(bench.args.repeats):
        for name, mount, tree in bench.mounts(archive):
            warm(archive.joined.parent)
            with mount:
                path = mount.path / tree / archive.member
                if name == "archivemount":
                    read = lambda: subprocess.run(["timeout", str(PATIENCE), "cat", path], stdout=subprocess.DEVNULL)
                else:
                    read = lambda: read_all(path, drop=True)
                took.setdefault(name, []).append(seconds(read))
                bench.remember(f"sequential {whose}", name, mount)
    bench.compare(f"{whose}: sequential read of a member of {archive.length / 1e6:.0f} MB", f"{least}x" if least else "", least, took)


def random_foreign(bench):
    archive, cold, later = bench.inputs.large, {}, {}
    for name, mount, tree in bench.mounts(archive):
        if name == "archivemount":  # it would take minutes
            continue
        with mount:
            path = mount.path / tree / archive.member
            # fuse-zip inflates the whole member when it is opened, so that opening counts.
            cold[name] = [seconds(lambda: sample(path, archive.length * 7 // 8))]
            if name != "fuse-zip":  # it holds the whole member in memory
                read_all(path)
                later[name] = uncached(path, last_quarter(archive, 50 if name == "cddsfs" else 5))
            bench.remember("random, foreign", name, mount)
    bench.compare("foreign: first random 64 KiB in the last quarter", "no slower", 1, cold)
    bench.compare("foreign: random 64 KiB there once it was passed over", "100x", 100, later, "ms")


def random_own(bench):
    """The first read of fresh mounts; then later ones, what the kernel had cached dropped before each: they come from the disk."""
    archive, first, later = bench.inputs.own, [], []
    for at in last_quarter(archive, 15):
        with bench.mount(archive) as mount:
            first += uncached(mount.path / archive.tree / archive.member, [at])
            later += uncached(mount.path / archive.tree / archive.member, last_quarter(archive, 30)[15:])
            bench.remember("random, own", "cddsfs", mount)
    bench.report.figures("own: random", {"first": first, "later": later})
    for what, took in ("first random 64 KiB in the last quarter", first), ("random 64 KiB there, later ones", later):
        bench.report.row(f"own: {what}", "< 20 ms", f"{median(took):.2f} ms, worst {max(took):.2f}", passed=median(took) < 20)


def last_quarter(archive, n):
    return [random.Random(i).randrange(archive.length * 3 // 4, archive.length - SAMPLE) for i in range(n)]


def uncached(path, offsets):
    """Milliseconds of reads of 64 KiB, each with nothing of the member in the kernel's page cache."""
    took = []
    for at in offsets:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("1")
        took.append(1000 * seconds(lambda: sample(path, at)))
    return took


def sample(path, at):
    with open(path, "rb", buffering=0) as file:
        require(len(os.pread(file.fileno(), SAMPLE, at)) == SAMPLE)


def require(condition):
    if not condition:
        raise SystemExit("bench: a short read")


def first_listing(bench):
    archive, listed = bench.inputs.many, {}
    for _ in range(bench.args.repeats):
        for name, mount, tree in bench.mounts(archive):
            with mount:
                os.listdir(mount.path / tree / "UCS/Interaction/000")
                listed.setdefault(name, []).append(time.monotonic() - mount.started)
    bench.compare("100,000 members: mount to the first listing", "fastest", 1, listed)


def walks(bench):
    """Each walk on a fresh mount of which one directory has been listed."""
    archive, peers = bench.inputs.many, {"find": {}, "ls": {}}
    paths = bench.args.work / "contents-many.list"
    paths.write_text("".join(f"{name}\n" for name in archive.names))
    # It is fastest with one event loop here.
    shape = lambda: ("memfs", Mount([MEMFS, MNT, "--tree", paths, "--threads", "1"], "UCS"), ".")
    for _ in range(bench.args.repeats):
        for what, command in ("find", ["find", "-size", "+1G"]), ("ls", ["ls", "-lR"]):
            for name, mount, tree in [*bench.mounts(archive), shape()]:
                with mount:
                    os.listdir(mount.path / tree / "UCS/Interaction/000")
                    walk = lambda: run(*command, cwd=mount.path / tree / "UCS")
                    peers[what].setdefault(name, []).append(seconds(walk))
                    bench.remember(what, name, mount)
    for what, name in ("find", "find -size"), ("ls", "ls -lR"):
        ceiling = peers[what].pop("memfs")
        bench.compare(f"100,000 members: {name}", "", None, peers[what])
        bench.report.figures(f"memfs: {name}", ceiling)
        ours, memory = median(peers[what]["cddsfs"]), median(ceiling)
        bench.report.row(f"100,000 members: {name}, against memfs", "<= 1.5 x its time", f"{ours:.3f} s", f"memfs {memory:.3f} s", f"{ours / memory:.2f}x",
                         ours <= 1.5 * memory)


def identical(bench):
    """What is read is what was zipped."""
    for whose, archive in ("foreign", bench.inputs.large), ("own", bench.inputs.own):
        with bench.mount(archive) as mount, zipfile.ZipFile(archive.joined) as plain, plain.open(archive.member) as original:
            def compare(piece):
                if original.read(len(piece)) != piece:
                    raise SystemExit("bench: contents/ differs from the zip")
            read_all(mount.path / archive.tree / archive.member, compare)
        bench.report.row(f"{whose}: the member through contents/", "identical", "identical", passed=True)


MEASURES = {
    "identical": identical,
    "foreign": lambda bench: sequential(bench, bench.inputs.large, "foreign", 2),
    "own": lambda bench: sequential(bench, bench.inputs.own, "own", 3),
    "attributes": lambda bench: sequential(bench, bench.inputs.attributes, "own, names and numbers", None),
    "random_foreign": random_foreign,
    "random_own": random_own,
    "first_listing": first_listing,
    "walks": walks,
}


def main():
    clean_up_on_termination()
    parser = argparse.ArgumentParser(prog="scripts/bench contents", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1000, metavar="MB", help="length of the large member (1000)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="rounds (3)")
    parser.add_argument("--only", default=",".join(MEASURES), metavar="LIST", help="some of: %(default)s")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "target/bench", metavar="DIR", help="inputs and figures (target/bench)")
    parser.add_argument("--ratarmount", default=shutil.which("ratarmount"), metavar="PROGRAM", help="pip install ratarmount")
    args = parser.parse_args()
    args.only = args.only.split(",")
    if unknown := set(args.only) - set(MEASURES):
        parser.error(f"no such measure: {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")
    bench = Bench(args)
    for name, measure in MEASURES.items():
        if name in args.only:
            say(name)
            measure(bench)
    if bench.resident:
        bench.report.figures("resident memory, peak, MiB", bench.resident)
        most = max(bench.resident.values())
        bench.report.row("resident memory, peak", "< 128 MiB", f"{most:.1f} MiB", passed=most < 128)
    return 0 if bench.report.finish() else 1


if __name__ == "__main__":
    sys.exit(main())
