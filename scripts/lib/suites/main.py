#!/usr/bin/env python3
"""scripts/suites: test suites that others wrote, against a mounted store; what each comes to is compared with scripts/lib/suites/expected.tsv.

A row of that table is a check, or with * at its end several; where more than one row fits, the first one counts. A check that
comes to anything else than its row says is a difference, better or worse; so are a check without a row, and a row without a check.
A suite that breaks off is a check of its own name.
"""
import argparse
import fnmatch
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])
from bench.common import clean_up_on_termination, say
from suites.common import Check, Place, has_space
from suites import clients, faults, fio, foreign, kills, overlay, simulation, soak, trees

# In the order in which they run: some use what earlier ones have made.
SUITES = {
    "fio": [fio.verified, fio.control],
    "stress": [fio.under_stress],
    "load": [fio.load],
    "trees": [trees.same, trees.control],
    "clients": [clients.matrix, clients.control],
    "memory": [clients.in_little_memory],
    "overlay": [overlay.fsx, overlay.pjdfstest],
    "faults": [faults.failing_reads],
    "soak": [soak.soak],
    "kills": [kills.kills],
    "simulation": [simulation.simulation],
    "zips": [foreign.odd_zips],
    "vectors": [foreign.cms_vectors],
}
NEEDS = {"stress": ["fio"], "load": ["fio"], "clients": ["trees"], "memory": ["fio", "trees"], "overlay": ["trees"], "faults": ["trees"]}
WIDEST = 60
TABLE = pathlib.Path(__file__).with_name("expected.tsv")


def pinned():
    """Rows of the table: pattern, expected outcome, reason."""
    lines = [line for line in TABLE.read_text().splitlines() if line and not line.startswith("#")]
    return [(line.split("\t") + [""])[:3] for line in lines]


def row_of(rows, name):
    return next((i for i, (pattern, _, _) in enumerate(rows) if fnmatch.fnmatchcase(name, pattern)), None)


def report(rows, checks, complete):
    """One line for each row of the table, and one for each difference; the number of differences."""
    found = {}
    for check in checks:
        found.setdefault(row_of(rows, check.name), []).append(check)
    lines, differences = [], []
    for i, (pattern, expected, why) in enumerate(rows):
        if not found.get(i):
            if complete:
                differences.append(f"{pattern}: no such check was run, expected: {expected}")
            continue
        wrong = [check for check in found[i] if check.outcome != expected]
        differences += [f"{check.name}: {check.outcome}, expected: {expected}" for check in wrong]
        figures = f"{len(found[i])} checks" if "*" in pattern else found[i][0].figures
        lines.append(("DIFFERS" if wrong else "ok", pattern, expected, figures + (f" [{why}]" if why else "")))
    differences += [f"{check.name}: {check.outcome}, no row expects it" for check in found.get(None, [])]
    widths = [min(max(map(len, column)), WIDEST) for column in list(zip(*lines))[:3]]
    for line in lines:
        print("  ".join([cell.ljust(width) for cell, width in zip(line, widths)] + [line[3]]).rstrip())
    for difference in differences:
        print(f"DIFFERS  {difference}")
    return len(differences)


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/suites", description="Test suites that others wrote, against a mounted store.",
                                     epilog="What is expected of each, and why, is in scripts/lib/suites/expected.tsv.")
    parser.add_argument("--quick", action="store_true", help="less of everything: minutes")
    parser.add_argument("--long-load", action="store_true", help="ten minutes of 256 clients instead of one")
    parser.add_argument("--long", action="store_true", help="the soak for an hour instead of five minutes")
    parser.add_argument("--only", metavar="SUITE,...", help=f"some of {', '.join(SUITES)}; what one builds on runs too")
    return parser.parse_args()


def selected(only):
    if only is None:
        return list(SUITES)
    wanted = set(only.split(","))
    if unknown := wanted - set(SUITES):
        raise SystemExit(f"suites: there is no {', '.join(sorted(unknown))}")
    wanted |= {need for name in wanted for need in NEEDS.get(name, [])}
    return [name for name in SUITES if name in wanted]


def main():
    args = arguments()
    chosen = selected(args.only)
    if os.geteuid() != 0:
        raise SystemExit("suites: overlays, cgroups and other users take root")
    clean_up_on_termination()
    # DOS times in zips know no time zone; cddsfs takes them for UTC.
    os.environ |= {"LC_ALL": "C.UTF-8", "TZ": "UTC"}
    os.umask(0o022)
    root = pathlib.Path(tempfile.mkdtemp(prefix="cddsfs-suites-"))
    root.chmod(0o711)
    tempfile.tempdir = str(root)
    has_space(root, 2 if args.quick else 5)
    checks, ended = [], False
    try:
        place = Place(root, args.quick, args.long_load, args.long)
        for suite in chosen:
            for part in SUITES[suite]:
                started = time.monotonic()
                for check in outcomes(suite, part, place):
                    say(f"{check.name}: {check.outcome}; {check.figures}")
                    checks.append(check)
                say(f"{suite}: {time.monotonic() - started:.0f} s")
        ended = True
    finally:
        # First the report: what cannot be cleaned up must not take it along, and who interrupts a long run still gets it.
        try:
            differences = report(pinned(), checks, ended and args.only is None)
            print(f"suites: {'' if ended else 'interrupted after '}{len(checks)} checks, {differences} differ from what is pinned", flush=True)
        finally:
            clean_up(root)
    return 1 if differences else 0


def outcomes(suite, part, place):
    """The checks of a part. That it breaks off is one too, and the other parts go on."""
    try:
        yield from part(place)
    except (Exception, SystemExit) as error:
        # A SystemExit without a text is SIGTERM.
        if isinstance(error, SystemExit) and not isinstance(error.code, str):
            raise
        traceback.print_exc()
        said = " ".join(str(error).split())[:300]
        yield Check(suite, f"broke off: {part.__name__}: {type(error).__name__}: {said}")


def clean_up(root):
    """Unmounts what a suite that broke off has left below `root`, innermost first, and removes it."""
    for point in reversed(mounted_below(root)):
        subprocess.run(["umount", "-l", point], check=False)
    if not mounted_below(root):
        shutil.rmtree(root)


def mounted_below(root):
    lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    return [point for point in (line.split()[4] for line in lines) if point.startswith(f"{root}/")]


if __name__ == "__main__":
    sys.exit(main())
