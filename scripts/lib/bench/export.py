#!/usr/bin/env python3
"""From rows to an encrypted split set, beside sqlite3 | jq | zip | openssl; memory, progress and ETA.

The peer is what one would write in a shell: `sqlite3 -json | jq -c | zip -s`, then `openssl smime -encrypt` on each part. Both get the same rows (without attachments: sqlite3's JSON has no base64).
Ratios are of one run, medians of interleaved rounds. Both write to the same disk and neither is waited for by sync.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])
from bench.common import CDDSFS, MIB, ROOT, Report, clean_up_on_termination, median, require_space, run, say, seconds

SPLIT = "16 MiB"


class Export:
    """One `cddsfs export`, with what it said of its progress and what it took."""

    def __init__(self, store, spec):
        begun = time.monotonic()
        process = subprocess.Popen([CDDSFS, "export", store, "-", "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, text=True)
        process.stdin.write(json.dumps(spec))
        process.stdin.close()
        self.told = []
        for line in process.stdout:
            self.told.append((time.monotonic() - begun, json.loads(line)))
        _, status, usage = os.wait4(process.pid, 0)
        self.wall = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f"bench: cddsfs export ended with {process.returncode}: {self.told[-1:]}")
        self.cpu = usage.ru_utime + usage.ru_stime
        self.peak = usage.ru_maxrss / 1024
        self.record = self.told[-1][1]


class Bench:
    def __init__(self, args):
        args.work.mkdir(parents=True, exist_ok=True)
        require_space(args.work, 8)
        self.args = args
        self.dir = args.work / "export"
        self.dir.mkdir(exist_ok=True)
        self.key, self.cert = self.dir / "key.pem", self.dir / "cert.pem"
        if not self.cert.exists():
            run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=bench", "-keyout", self.key,
                "-out", self.cert)
        self.history = self.sample(f"interactions-{args.interactions}.db", ["--interactions", args.interactions, "--contacts", 1000],
                                   "DELETE FROM attachment; VACUUM;")
        self.report = Report("export", args.work, vars(args) | {"work": str(args.work)})

    def sample(self, name, size, change=""):
        path = self.dir / name
        if not path.exists():
            say("making", name)
            unfinished = path.with_suffix(".tmp")
            unfinished.unlink(missing_ok=True)
            run(CDDSFS, "sample", unfinished, *size)
            run("sqlite3", unfinished, change + "PRAGMA optimize;")
            unfinished.rename(path)
        return path

    def store(self, source):
        store = self.dir / "store"
        shutil.rmtree(store, ignore_errors=True)
        run(CDDSFS, "init", store, "--cert", self.cert, "--source", source)
        return store

    def export(self, source, **spec):
        return Export(self.store(source), {"title": "bench", **spec})


def peer(bench, work):
    """The shell's way; returns the bytes of the zip."""
    shutil.rmtree(work, ignore_errors=True)
    columns = subprocess.run(["sqlite3", bench.history, "SELECT name FROM pragma_table_info('interaction')"], capture_output=True, text=True,
                             check=True).stdout.split()
    select = ", ".join({"id": "id AS IXNID", "contactid": "contactid AS ContactId"}.get(name, name) for name in columns)
    work.mkdir()
    query = f"SELECT {select} FROM interaction"
    lines = "'.[] | with_entries(select(.value != null and .value != \"\"))'"
    run("bash", "-euo", "pipefail", "-c", f"sqlite3 -json {bench.history} '{query}' | jq -c {lines} | zip -q -s 16m {work}/bench.zip -")
    parts = sorted(work.glob("bench.z*"))
    size = sum(part.stat().st_size for part in parts)
    for part in parts:
        run("openssl", "smime", "-encrypt", "-binary", "-aes256", "-in", part, "-out", f"{part}.smime", bench.cert)
    return size


def throughput(bench):
    ours, theirs, busy, peaks = [], [], [], []
    for _ in range(bench.args.repeats):
        export = bench.export(bench.history, type="Interaction", split_size=SPLIT)
        ours.append(export.wall)
        busy.append(export.cpu / export.wall)
        peaks.append(export.peak)
        sizes = []
        theirs.append(seconds(lambda: sizes.append(peer(bench, bench.dir / "peer"))))
    bench.report.figures("throughput", {"cddsfs": ours, "peer": theirs, "cpu": busy, "peak": peaks})
    ratio = median(theirs) / median(ours)
    bench.report.row(f"{bench.args.interactions} interactions to an encrypted split set", "5x", f"{median(ours):.2f} s",
                     f"{median(theirs):.2f} s", f"{ratio:.2f}x", ratio >= 5)
    # The manifest is in ours only, and is part of the price.
    compression = export.record["bytes"] / sizes[0]
    bench.report.row("size of the zip", "within 3 %", f"{export.record['bytes'] / MIB:.1f} MiB", f"{sizes[0] / MIB:.1f} MiB",
                     f"{100 * (compression - 1):+.1f} %", compression <= 1.03)
    cores = os.cpu_count()
    bench.report.row("cores busy", f"of {cores}", f"{median(busy):.2f}", passed=median(busy) > 0.8 * min(cores, 2))
    bench.report.row("peak memory, split", "< 128 MiB", f"{max(peaks):.1f} MiB", passed=max(peaks) < 128)


def many_rows(bench):
    # A contact has four attributes or so: each a row.
    source = bench.sample(f"contacts-{bench.args.contacts}.db", ["--interactions", 1, "--contacts", bench.args.contacts])
    for name, spec in ("split", {"split_size": SPLIT}), ("in one file", {}):
        export = bench.export(source, type="Contact", **spec)
        bench.report.figures(f"rows {name}", {"wall": export.wall, "peak": export.peak, "rows": export.record["rows"]})
        bench.report.row(f"{export.record['rows'] / 1e6:.1f} million rows, {name}", "< 128 MiB", f"{export.peak:.1f} MiB, {export.wall:.1f} s",
                         passed=export.peak < 128)


def progress(bench):
    """A run of some length: at most a second between two figures, and what the ETA said from a quarter of the way on."""
    source = bench.sample(f"chats-{bench.args.chats}.db", ["--interactions", bench.args.chats, "--contacts", 1000],
                          "DELETE FROM attachment; UPDATE interaction SET entitytypeid = 2;")
    export = bench.export(source, type="Interaction", split_size=SPLIT)
    figures = [(at, record["progress"]) for at, record in export.told if record["status"] == "In Progress" and "progress" in record]
    gaps = [later - earlier for (earlier, _), (later, _) in zip(figures, figures[1:])]
    bench.report.row("longest time between two progress figures", "1 s", f"{max(gaps):.2f} s", passed=max(gaps) <= 1.05)
    # The last five seconds are a matter of whole numbers, and of how old a figure is.
    told = [(export.wall - at, p["eta_seconds"]) for at, p in figures if p["percent"] >= 25 and "eta_seconds" in p and export.wall - at > 5]
    wrong = [abs(eta - left) / left for left, eta in told]
    bench.report.figures("eta", told)
    bench.report.row(f"ETA from a quarter on, {len(told)} figures of {export.wall:.0f} s", "within 20 %",
                     f"median {100 * median(wrong):.0f} %, worst {100 * max(wrong):.0f} %", passed=max(wrong) <= 0.2)


def main():
    clean_up_on_termination()
    parser = argparse.ArgumentParser(prog="scripts/bench export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", type=int, default=200_000, metavar="N", help="rows of the comparison (200000)")
    parser.add_argument("--contacts", type=int, default=2_000_000, metavar="N", help="contacts of the long export (2000000)")
    parser.add_argument("--chats", type=int, default=1_600_000, metavar="N", help="rows of the export that is watched (1600000)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="rounds (3)")
    parser.add_argument("--only", choices=["throughput", "many_rows", "progress"], help="one part of it")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "target/bench", metavar="DIR", help="inputs and figures (target/bench)")
    bench = Bench(parser.parse_args())
    for measure in throughput, many_rows, progress:
        if bench.args.only in (None, measure.__name__):
            say(measure.__name__)
            measure(bench)
    return 0 if bench.report.finish() else 1


if __name__ == "__main__":
    sys.exit(main())
