#!/usr/bin/env python3
"""Reading a member of an encrypted split set through contents/, beside mounts of the plain, joined zip.

Peers: fuse-zip and archivemount from Debian, ratarmount from the Python package index. They are given the zip already
decrypted and joined. Ratios are of one run; sequential reads are medians of interleaved rounds on fresh mounts.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from bench_common import CDDSFS, MIB, MNT, ROOT, Mount, Report, clean_up_on_termination, median, read_all, require_space, run, say, seconds, warm

SAMPLE = 64 << 10
RUN = "export-11111111-1111-4111-8111-111111111111"
MEMBER = "UCS/Interaction/Chat/Chat-1.json"


class Inputs:
    """A 1 GB JSON Lines member, and 100,000 small ones; each plain, and as an encrypted split set."""

    def __init__(self, work, megabytes):
        self.key, self.cert = work / "key.pem", work / "cert.pem"
        if not self.cert.exists():
            run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=bench", "-keyout", self.key,
                "-out", self.cert)
            self.key.chmod(0o600)
        self.large = self._make(work / f"contents-{megabytes}", lambda to: write_lines(to / MEMBER, megabytes))
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
        return directory


def write_lines(path, megabytes):
    path.parent.mkdir(parents=True)
    source = random.Random(1)
    words = ["".join(source.choices("abcdefghijklmnopqrstuvwxyz", k=source.randint(2, 10))) for _ in range(2000)]
    with open(path, "wb") as file:
        while file.tell() < megabytes * 1_000_000:
            lines = []
            for _ in range(5000):
                text = " ".join(source.choices(words, cum_weights=range(1, 2001), k=source.randint(5, 90)))
                lines.append(json.dumps({"IXNID": f"{source.getrandbits(64):016X}", "status": 3, "mediatypeid": "chat", "typeid": "Inbound",
                                         "startdate": f"2024-06-{source.randint(1, 28):02} 10:{source.randint(0, 59):02}:00.000", "text": text}))
            file.write(("\n".join(lines) + "\n").encode())


def write_many(tree):
    for i in range(100_000):
        path = tree / f"UCS/Interaction/{i // 1000:03}/Chat-{i:06}.json"
        if i % 1000 == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(b'{"IXNID":"%016X"}\n' % (i * 2654435761))


class Bench:
    def __init__(self, args):
        args.work.mkdir(parents=True, exist_ok=True)
        require_space(args.work, 5)
        self.args, self.inputs = args, Inputs(args.work, args.size)
        self.report = Report("contents", args.work, vars(args) | {"work": str(args.work)})
        self.resident = {}

    def mounts(self, directory):
        """Everybody's mount of one archive, with the path of its tree in the mount."""
        joined = directory / "joined.zip"
        yield "cddsfs", Mount([CDDSFS, "mount", directory / "store", MNT, "--key", self.inputs.key, "-f"], f"contents/{RUN}",
                              (CDDSFS, "unmount", MNT)), f"contents/{RUN}"
        yield "fuse-zip", Mount(["fuse-zip", "-f", "-r", joined, MNT], "UCS"), "."
        yield "archivemount", Mount(["archivemount", "-f", "-o", "readonly", joined, MNT], "UCS"), "."
        if self.args.ratarmount:
            yield "ratarmount", Mount([self.args.ratarmount, "-f", "--index-file", ":memory:", joined, MNT], "UCS"), "."

    def compare(self, what, goal, least, took, unit="s"):
        """A row of our time against the fastest peer's."""
        self.report.figures(what, took)
        middle = {name: median(values) for name, values in took.items()}
        peer = min((name for name in middle if name != "cddsfs"), key=middle.get)
        ratio = middle[peer] / middle["cddsfs"]
        self.report.row(what, goal, f"{middle['cddsfs']:.3f} {unit}", f"{peer} {middle[peer]:.3f} {unit}", f"{ratio:.2f}x",
                        ratio >= least if least else None)


def sequential(bench):
    took = {}
    for _ in range(bench.args.repeats):
        for name, mount, tree in bench.mounts(bench.inputs.large):
            if name == "archivemount":
                continue  # 2 MB/s: the reference's figure; a round would take ten minutes
            warm(bench.inputs.large)
            with mount:
                path = mount.path / tree / MEMBER
                took.setdefault(name, []).append(seconds(lambda: read_all(path)))
                if name == "cddsfs":
                    bench.resident["sequential"] = mount.memory()[1]
    bench.compare(f"sequential read of a member of {bench.args.size} MB", "2x", 2, took)


def random_reads(bench):
    cold, later = {}, {}
    for name, mount, tree in bench.mounts(bench.inputs.large):
        if name == "archivemount":
            continue
        with mount:
            path = mount.path / tree / MEMBER
            length = path.stat().st_size
            # fuse-zip inflates the whole member when it is opened, so that opening counts.
            cold[name] = [seconds(lambda: sample(path, length * 7 // 8))]
            if name != "fuse-zip":  # it holds the whole member in memory
                read_all(path)
                offsets = [random.Random(i).randrange(length * 3 // 4, length - SAMPLE) for i in range(50 if name == "cddsfs" else 5)]
                later[name] = []
                for at in offsets:
                    pathlib.Path("/proc/sys/vm/drop_caches").write_text("1")
                    later[name].append(1000 * seconds(lambda: sample(path, at)))
            if name == "cddsfs":
                bench.resident["random"] = mount.memory()[1]
    bench.compare("first random 64 KiB in the last quarter", "no slower", 1, cold)
    bench.compare("random 64 KiB there once it was passed over", "100x", 100, later, "ms")


def sample(path, at):
    with open(path, "rb", buffering=0) as file:
        require(len(os.pread(file.fileno(), SAMPLE, at)) == SAMPLE)


def require(condition):
    if not condition:
        raise SystemExit("bench: a short read")


def many(bench):
    listed, walked = {}, {}
    for name, mount, tree in bench.mounts(bench.inputs.many):
        if name == "archivemount":
            continue
        with mount:
            first = mount.path / tree / "UCS/Interaction/000"
            os.listdir(first)
            listed[name] = [time.monotonic() - mount.started]
            walked[name] = [seconds(lambda: subprocess.run(["find", mount.path / tree, "-size", "+1G"], check=True))]
            if name == "cddsfs":
                bench.resident["many"] = mount.memory()[1]
    bench.compare("100,000 members: mount to the first listing", "fastest", 1, listed)
    bench.compare("100,000 members: find -size", "", None, walked)


def identical(bench):
    """What is read is what was zipped."""
    name, mount, tree = next(bench.mounts(bench.inputs.large))
    with mount, zipfile.ZipFile(bench.inputs.large / "joined.zip") as plain, plain.open(MEMBER) as original:
        def compare(piece):
            if original.read(len(piece)) != piece:
                raise SystemExit("bench: contents/ differs from the zip")
        read_all(mount.path / tree / MEMBER, compare)
    bench.report.row("the member through contents/", "identical", "identical", passed=True)


def main():
    clean_up_on_termination()
    parser = argparse.ArgumentParser(prog="scripts/bench contents", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1000, metavar="MB", help="length of the large member (1000)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="rounds (3)")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "target/bench", metavar="DIR", help="inputs and figures (target/bench)")
    parser.add_argument("--ratarmount", default=shutil.which("ratarmount"), metavar="PROGRAM", help="pip install ratarmount")
    bench = Bench(parser.parse_args())
    for measure in identical, sequential, random_reads, many:
        say(measure.__name__)
        measure(bench)
    most = max(bench.resident.values())
    bench.report.row("resident memory, peak", "< 128 MiB", f"{most:.1f} MiB", passed=most < 128)
    return 0 if bench.report.finish() else 1


if __name__ == "__main__":
    sys.exit(main())
