#!/usr/bin/env python3
"""scripts/bench read: what a mounted store reads like, beside its peers, in one run.

Peers and ours take turns, and a ratio is one of medians. Every sequential read begins on a new mount, so that none of it
is in the page cache of the mount; the stored files are in the page cache for everybody, read again before each turn.
Inputs are made once, by stock tools, and stay in --work: 10 times --size, and 13 times while it runs.
"""
import argparse
import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time

sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])
from bench.common import CDDSFS, MEMFS, MIB, MNT, ROOT, Mount, ReadCounter, Report
from bench.common import clean_up_on_termination, median, read_all, run, say, seconds, touch_memory, warm
from bench.inputs import SETS, Inputs, set_name

RANGE = 64 << 10
STEP = 32 * MIB  # half a part
SPLITZIP = ROOT / "tests/corpus/splitzip.py"
FAST_PER_ROUND = 3  # reads through a mount take a second, openssl ten: they are repeated more often


class Bench:
    def __init__(self, args):
        self.work = args.work.resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        self.rounds, self.reads = args.repeats, args.reads
        self.inputs = Inputs(self.work, args.size)
        self.report = Report("read", self.work, {"size_mib": args.size, "rounds": args.repeats, "random_reads": args.reads})
        self.cache, self.scratch, self.peers = (self.work / name for name in ("cache", "scratch", "peers"))
        self.resident = {}

    def cddsfs(self, store, remembered=False, counter=None):
        """Mounts a store, as for the first time unless `remembered`."""
        if not remembered:
            shutil.rmtree(self.cache, ignore_errors=True)
        command = [CDDSFS, "mount", store, MNT, "--key", self.inputs.key, "-f"]
        command = counter.wrap(command) if counter else command
        return Mount(command, "artifacts", (CDDSFS, "unmount", MNT), {"XDG_CACHE_HOME": str(self.cache)})

    def note_memory(self, what, mount):
        now, peak = mount.memory()
        kept = self.resident.setdefault(what, [0, 0])
        kept[:] = max(kept[0], now), max(kept[1], peak)


def artifact(mount, store):
    return mount.path / "artifacts" / f"{set_name(store.name)}.zip"


def stored_bytes(store):
    return sum(part.stat().st_size for part in store.iterdir())


# ---- peers

def decrypt(bench, store, form, out=None):
    """What a user does today: one openssl for each part."""
    for part in sorted(store.iterdir()):
        run("openssl", "cms", "-decrypt", "-binary", "-inform", form, "-in", part, "-inkey", bench.inputs.key,
            "-recip", bench.inputs.cert, "-out", out / part.stem if out else "/dev/null")


def memfs(bench):
    return Mount([MEMFS, MNT, bench.inputs.whole], "data")


def gocryptfs(bench, *options):
    return Mount(["gocryptfs", "-q", "-fg", "-extpass", "echo bench", *options, bench.peers / "gocryptfs", MNT], ".")


def rclone_settings(bench):
    password = subprocess.run(["rclone", "obscure", "bench"], capture_output=True, check=True, text=True).stdout.strip()
    return {"RCLONE_CONFIG": "/notfound", "RCLONE_CONFIG_BENCH_TYPE": "crypt", "RCLONE_CONFIG_BENCH_PASSWORD": password,
            "RCLONE_CONFIG_BENCH_REMOTE": str(bench.peers / "rclone")}


def rclone(bench):
    return Mount(["rclone", "mount", "bench:", MNT, "--vfs-cache-mode", "off", "--read-only"], "whole.zip",
                 env=rclone_settings(bench))


def fill_peers(bench):
    """Gives the plaintext artifact to the encrypted file systems."""
    say("copying the plaintext into gocryptfs and rclone crypt")
    shutil.rmtree(bench.peers, ignore_errors=True)
    for name in ("gocryptfs", "rclone"):
        (bench.peers / name).mkdir(parents=True)
    run("gocryptfs", "-init", "-q", "-scryptn", "10", "-extpass", "echo bench", bench.peers / "gocryptfs")
    with gocryptfs(bench) as mount:
        shutil.copyfile(bench.inputs.whole, mount.path / "whole.zip")
    run("rclone", "copyto", bench.inputs.whole, "bench:whole.zip", env={**os.environ, **rclone_settings(bench)})


# ---- measurements

def sequential(bench):
    """The artifact from its first byte to its last, and afterwards whether those were the right bytes."""
    stores, whole = bench.inputs.stores, bench.inputs.whole
    fill_peers(bench)
    readers = {form: lambda s=store: through(bench, s) for form, store in stores.items()}
    readers |= {"memfs": lambda: timed_read(memfs(bench), "data"),
                "gocryptfs": lambda: timed_read(gocryptfs(bench, "-ro"), "whole.zip", bench.peers / "gocryptfs"),
                "rclone crypt": lambda: timed_read(rclone(bench), "whole.zip", bench.peers / "rclone")}
    openssl = {f"openssl {form}": lambda s=stores[form], f=inform: timed_decrypt(bench, s, f)
               for form, inform in (("base64", "SMIME"), ("der", "DER"))}
    took = bench.report.figures("sequential_seconds", {name: [] for name in [*readers, *openssl]})
    for _ in range(bench.rounds):
        for name in [*list(readers) * FAST_PER_ROUND, *openssl]:
            took[name].append((readers | openssl)[name]())
            say(f"{name}: {took[name][-1]:.2f} s")
    speed = {name: whole.stat().st_size / 1e6 / median(times) for name, times in took.items()}
    bench.report.figures("sequential_mb_per_s", speed)

    crypt = max("gocryptfs", "rclone crypt", key=speed.get)
    for form, goal in ("base64", 10), ("der", 5):
        throughput_row(bench, speed, form, f"openssl {form}", goal)
        throughput_row(bench, speed, form, "memfs", 0.7, ", stretch 0.9")
        throughput_row(bench, speed, form, crypt, 1.5)
    throughput_row(bench, speed, "streamed", "memfs")
    for form, store in stores.items():
        with bench.cddsfs(store) as mount, open(whole, "rb") as plain:
            try:
                read_all(artifact(mount, store), lambda got: require(got == plain.read(len(got))))
                same = plain.read(1) == b""
            except AssertionError:
                same = False
        bench.report.row(f"bytes of the artifact, {form}", "identical", "identical" if same else "DIFFERENT", passed=same)


def timed_read(mount, name, stored=None):
    with mount as mounted:
        return cold_read(mounted.path / name, stored)


def through(bench, store):
    with bench.cddsfs(store) as mount:
        took = cold_read(artifact(mount, store), store)
        bench.note_memory(f"sequential {store.name}", mount)
        return took


def cold_read(path, stored):
    """Seconds for one reading; what lies in the store is in the page cache, nothing of the mount is."""
    if stored:
        warm(stored)
    touch_memory(path.stat().st_size)
    return seconds(lambda: read_all(path))


def timed_decrypt(bench, store, form):
    warm(store)
    return seconds(lambda: decrypt(bench, store, form))


def throughput_row(bench, speed, form, peer, least=None, remark=""):
    ratio = speed[form] / speed[peer]
    bench.report.row(f"sequential read, {form}, against {peer}", f">= {least} x{remark}" if least else "", f"{speed[form]:.0f} MB/s",
                     f"{speed[peer]:.0f} MB/s", f"{ratio:.2f} x", ratio >= least if least else None)


def require(condition):
    if not condition:
        raise AssertionError


def listing(bench):
    """From nothing to the last line of `unzip -l` on a set of 100 parts."""
    store = bench.inputs.hundred
    require(len(list(store.iterdir())) == 100)
    took = bench.report.figures("listing_seconds", {"cddsfs": [], "decrypt, join, list": [], "decrypt": [], "join": []})
    for _ in range(bench.rounds):
        warm(store)
        for _ in range(FAST_PER_ROUND):
            with bench.cddsfs(store) as mount:
                run("unzip", "-l", artifact(mount, store))
                took["cddsfs"].append(time.monotonic() - mount.started)
                bench.note_memory("unzip -l of 100 parts", mount)
        list_today(bench, store, took)
        say(f"cddsfs {took['cddsfs'][-1]:.3f} s, decrypt + join + unzip -l {took['decrypt, join, list'][-1]:.2f} s")
    ours, peer = median(took["cddsfs"]), median(took["decrypt, join, list"])
    bench.report.row("mount to last line of unzip -l, 100 parts, against decrypt + join + unzip -l", ">= 50 x", f"{ours * 1e3:.0f} ms",
                     f"{peer:.1f} s (decrypt alone {median(took['decrypt']):.1f} s)", f"{peer / ours:.0f} x", peer / ours >= 50)

    counter = ReadCounter(".smime>")
    with bench.cddsfs(store, counter=counter) as mount:
        run("unzip", "-l", artifact(mount, store))
    read, stored = counter.total(), stored_bytes(store)
    bench.report.figures("listing_bytes", {"read": read, "stored": stored})
    bench.report.row("bytes read from the store for it", "< 1 %", f"{read:,} of {stored:,}", ratio=f"{100 * read / stored:.3f} %",
                     passed=0 < read < stored / 100)


def list_today(bench, store, took):
    shutil.rmtree(bench.scratch, ignore_errors=True)
    bench.scratch.mkdir()
    joined = bench.scratch / "joined.zip"
    took["decrypt"].append(seconds(lambda: decrypt(bench, store, "SMIME", bench.scratch)))
    parts = list(bench.scratch.iterdir())
    took["join"].append(seconds(lambda: run(sys.executable, SPLITZIP, "join", "--narrow", "-o", joined, *parts)))
    listed = seconds(lambda: run("unzip", "-l", joined))
    took["decrypt, join, list"].append(took["decrypt"][-1] + took["join"][-1] + listed)
    shutil.rmtree(bench.scratch)


def random_reads(bench):
    """64 KiB at random offsets: how long each takes, and how much is read from the store for it."""
    for form in ("base64", "der"):
        store = bench.inputs.stores[form]
        warm(store)
        with bench.cddsfs(store) as mount:
            took = sorted(random_ranges(artifact(mount, store), bench.reads))
            bench.note_memory(f"random reads {form}", mount)
        bench.report.figures(f"random_read_ms_{form}", took)
        middle = median(took)
        bench.report.row(f"64 KiB at {bench.reads} random offsets, {form}", "median < 1 ms", f"{middle:.3f} ms",
                         ratio=f"p99 {took[len(took) * 99 // 100]:.2f} ms", passed=middle < 1)
        count_random(bench, store, form)


def random_ranges(path, count):
    """Whole pages, as the kernel asks for; no two ranges overlap, nor do they touch what `open_every_part` read."""
    source, buffer, took = random.Random(count), bytearray(RANGE), []
    file = os.open(path, os.O_RDONLY)
    try:
        slots = [slot for slot in range(os.fstat(file).st_size // (2 * RANGE)) if slot * 2 * RANGE % STEP >= MIB]
        for slot in source.sample(slots, count):
            offset = slot * 2 * RANGE + source.randrange(RANGE // 4096) * 4096
            start = time.perf_counter()
            require(os.preadv(file, [buffer], offset) == RANGE)
            took.append((time.perf_counter() - start) * 1e3)
    finally:
        os.close(file)
    return took


def open_every_part(path):
    with open(path, "rb", buffering=0) as file:
        for offset in range(0, path.stat().st_size, STEP):
            os.pread(file.fileno(), 1, offset)


def count_random(bench, store, form):
    """Every part is touched first, so that only the ranges are counted and not the opening of parts."""
    counter, count = ReadCounter(".smime>"), 200
    with bench.cddsfs(store, counter=counter) as mount:
        path = artifact(mount, store)
        open_every_part(path)
        start = time.time()
        random_ranges(path, count)
        end = time.time()
    each = counter.total(start, end) / count
    block, line, per_byte = 16, 65, 4 / 3 * 65 / 64
    needed = RANGE * per_byte if form == "base64" else RANGE
    allowed = needed + 2 * (block * per_byte + line) if form == "base64" else needed + 2 * block
    bench.report.figures(f"random_read_bytes_{form}", {"each": each, "needed": needed, "allowed": allowed})
    bench.report.row(f"bytes read from the store for one of them, {form}", f"<= {allowed:,.0f}: range, block and line each side",
                     f"{each:,.0f}", f"{needed:,.0f} needed", f"{each / needed:.4f} x", 0 < each <= allowed)


def single_part(bench):
    """One S/MIME part, longer than openssl can decrypt, against digests of the plaintext it was made from."""
    store, plain = bench.inputs.single, json.loads(bench.inputs.single_samples.read_text())
    gib = plain["size"] / (1 << 30)
    sha, right = hashlib.sha256(), 0
    with bench.cddsfs(store) as mount:
        with open(artifact(mount, store), "rb", buffering=0) as file:
            for offset, digest in random.Random(0).sample(plain["samples"], len(plain["samples"])):
                right += hashlib.sha256(os.pread(file.fileno(), RANGE, offset)).hexdigest() == digest
        bench.note_memory("random reads, single part", mount)
    bench.report.row(f"one part of {gib:.2f} GiB at random offsets", "the plaintext's bytes", f"{right} of {len(plain['samples'])} right",
                     passed=right == len(plain["samples"]))
    with bench.cddsfs(store) as mount:
        length = read_all(artifact(mount, store), sha.update)
        bench.note_memory("sequential, single part", mount)
    same = length == plain["size"] and sha.hexdigest() == plain["sha256"]
    bench.report.row("the same from end to end", "the plaintext's SHA-256", "the same" if same else "DIFFERENT", passed=same)


def many_sets(bench):
    """Listings of 10,000 sets, when nothing is known of them and when their sizes are remembered."""
    store = bench.inputs.tiny
    took = bench.report.figures("many_sets_seconds", {"first ls": [], "first ls -l": [], "second ls -l": []})
    for _ in range(bench.rounds):
        warm(store)
        with bench.cddsfs(store) as mount:
            for listing_command in "ls", "ls -l":
                list_sets(mount, listing_command.split())
                took[f"first {listing_command}"].append(time.monotonic() - mount.started)
            bench.note_memory("10,000 sets, first mount", mount)
        with bench.cddsfs(store, remembered=True) as mount:
            list_sets(mount, ["ls", "-l"])
            took["second ls -l"].append(time.monotonic() - mount.started)
            bench.note_memory("10,000 sets, second mount", mount)
        say(", ".join(f"{name} {times[-1]:.2f} s" for name, times in took.items()))
    goals = {"first ls": "at once (< 1 s)", "first ls -l": "", "second ls -l": "< 1 s"}
    for name, goal in goals.items():
        middle = median(took[name])
        bench.report.row(f"10,000 sets: start of {name.replace(' ', ' mount to end of ', 1)}", goal, f"{middle:.2f} s",
                         passed=middle < 1 if goal else None)


def list_sets(mount, command):
    lines = subprocess.run([*command, mount.path / "artifacts"], capture_output=True, check=True).stdout.count(b".zip\n")
    if lines != SETS:
        raise SystemExit(f"bench: {' '.join(command)} shows {lines} of {SETS} artifacts")


def memory(bench):
    """The most that a cddsfs process held after any of the readings above."""
    bench.report.figures("resident_mib", bench.resident)
    where = max(bench.resident, key=lambda what: bench.resident[what][0])
    most, peak = bench.resident[where][0], max(kept[1] for kept in bench.resident.values())
    bench.report.row(f"resident memory, most after any of these ({where})", "< 64 MiB", f"{most:.1f} MiB", ratio=f"peak {peak:.1f} MiB",
                     passed=most < 64)


MEASUREMENTS = {"sequential": sequential, "listing": listing, "random": random_reads, "single": single_part, "many": many_sets}


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench read", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, metavar="MIB", help="length of the plaintext artifact (1024)")
    parser.add_argument("--quick", action="store_true", help="256 MiB, one round, 500 random reads: no figures to quote")
    parser.add_argument("--repeats", type=int, metavar="N", help="rounds (3)")
    parser.add_argument("--only", default=",".join(MEASUREMENTS), metavar="LIST", help="some of: %(default)s")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "target/bench", metavar="DIR", help="inputs and figures (target/bench)")
    args = parser.parse_args()
    args.size = args.size or (256 if args.quick else 1024)
    args.repeats = args.repeats or (1 if args.quick else 3)
    args.reads = 500 if args.quick else 2000
    args.only = args.only.split(",")
    if unknown := set(args.only) - set(MEASUREMENTS):
        parser.error(f"no such measurement: {', '.join(unknown)}")
    return args


def main():
    clean_up_on_termination()
    args = arguments()
    bench = Bench(args)
    try:
        for name in args.only:
            say(name)
            MEASUREMENTS[name](bench)
        memory(bench)
    finally:
        for left in bench.cache, bench.scratch, bench.peers:
            shutil.rmtree(left, ignore_errors=True)
    return 0 if bench.report.finish() else 1


if __name__ == "__main__":
    sys.exit(main())
