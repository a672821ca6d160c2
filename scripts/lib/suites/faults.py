"""libfiu makes calls of the C library fail at random, or read less than they were asked for, while everything in a mount is
read: what is read is right or an error, and the mount goes on."""
import os

from bench.common import run
from suites.common import Check, files_below

# Only the store is read with pread(2) and opened with open(2); requests of the kernel come by read(2).
FAULTS = {"posix/io/rw/pread": 0.02, "posix/io/rw/pread/reduce": 0.05, "posix/io/oc/open": 0.02}
STEP = 48 << 10


def failing_reads(place):
    forest = place.forest
    pipes = place.root / "fiu"
    right, failed, wrong = 0, 0, []
    with place.mount(forest.store, wrapper=["fiu-run", "-x", "-f", pipes]) as mount:
        for fault, probability in FAULTS.items():
            run("fiu-ctrl", "-f", pipes, "-c", f"enable_random name={fault},probability={probability}", mount.process.pid)
        for name in forest.names[:20]:
            for plain in [forest.plain / f"{name}.zip", *files_below(forest.plain / name)]:
                if plain.suffix == ".zip":
                    if (forest.store / f"{name}.z01.smime").exists():
                        continue
                    ours = mount.path / "artifacts" / plain.name
                else:
                    ours = mount.path / "contents" / plain.relative_to(forest.plain)
                for outcome in slices(ours, plain.read_bytes()):
                    right += outcome == "right"
                    failed += outcome == "failed"
                    if outcome == "wrong":
                        wrong.append(str(ours))
        alive = mount.process.poll() is None and "artifacts" in os.listdir(mount.path)
    outcome = [f"{len(wrong)} wrong, the first in {wrong[0]}"] if wrong else []
    if not alive:
        outcome.append("the mount is gone")
    if not (right and failed):
        outcome.append("nothing was tried")
    yield Check("faults/libfiu", "; ".join(outcome) or "right or an error", f"{right:,} reads right, {failed:,} failed")


def slices(path, expected):
    """What each read of a file comes to; none after one that failed to open it."""
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        yield "failed"
        return
    at = 0
    while at < len(expected):
        try:
            read = os.pread(file, STEP, at)
        except OSError:
            yield "failed"
            at += STEP
            continue
        # The kernel gives what it has before an error; the next read gives the error. Nothing is the end of the file.
        yield "right" if read and read == expected[at:at + len(read)] else "wrong"
        at += len(read) or STEP
    os.close(file)
