"""Suites for writable file systems, on an overlay of which the lower layer is the mount: they must come to the same as on
one of which it is a plain directory with the same content. What both fail is overlayfs's and tmpfs's own."""
import contextlib
import hashlib
import pathlib
import re
import tempfile

from bench.common import run
from suites.common import Check, files_below, output
from suites import tools

# Seconds between calls whose times must differ, what Linux has, and users that the tests of permissions become.
SETTINGS = """
[settings]
naptime = 0.02
[features]
posix_fallocate = {}
rename_ctime = {}
utime_now = {}
utimensat = {}
[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"]]
"""


@contextlib.contextmanager
def overlay(lower):
    """A writable layer in memory over a directory."""
    # A short path: those of sockets have 107 bytes.
    base = pathlib.Path(tempfile.mkdtemp(prefix="o"))
    mounted = []
    try:
        run("mount", "-t", "tmpfs", "-o", "size=512m", "none", base)
        mounted.append(base)
        for name in ("upper", "work", "m"):
            (base / name).mkdir()
        base.chmod(0o755)
        options = f"lowerdir={lower},upperdir={base}/upper,workdir={base}/work"
        run("mount", "-t", "overlay", "-o", options, "none", base / "m")
        mounted.append(base / "m")
        yield base / "m"
    finally:
        for point in reversed(mounted):
            run("umount", point)
        base.rmdir()


def both(place, work):
    """What `work` comes to on an overlay over the mount, and on one over the plain tree."""
    forest = place.forest
    with place.mount(forest.store, "--allow-other") as mount, overlay(mount.path / "contents" / forest.names[0]) as merged:
        ours = work(merged)
    with overlay(forest.plain / forest.names[0]) as merged:
        plain = work(merged)
    return ours, plain


def digests(root):
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files_below(root)}


def fsx(place):
    """fsx writes, truncates, maps and reads the largest file of the tree at random, and checks each read against its own copy."""
    operations = 20_000 if place.quick else 100_000

    def work(merged):
        victim = max(files_below(merged), key=lambda path: (path.stat().st_size, path))
        status, out, err = output(tools.program("fsx"), "-N", operations, "-S", 42, victim, cwd=place.root)
        return status, (out + err).decode(errors="replace").replace(str(merged), ""), digests(merged)

    ours, plain = both(place, work)
    said = "no difference" if ours == plain and ours[0] == 0 else f"{ours[:2]} instead of {plain[:2]}"[:400]
    yield Check("overlay/fsx", said, f"{operations:,} operations, {len(ours[2])} files the same afterwards")


def pjdfstest(place):
    settings = place.root / "pjdfstest.toml"
    settings.write_text(SETTINGS)

    def work(merged):
        """Results by the names of the tests. They run in a directory of the lower layer."""
        below = merged / "UCS"
        below.chmod(0o755)
        _, out, err = output(tools.program("pjdfstest"), "-c", settings, "-p", below)
        text = re.sub(r"\x1b\[[0-9;]*m", "", out.decode(errors="replace"))
        return dict(re.findall(r"^(\S+::\S+)\s+(\w+)", text, re.M)), (text + err.decode(errors="replace"))[-300:]

    (ours, said), (plain, _) = both(place, work)
    names = sorted(name for name in ours.keys() | plain.keys() if ours.get(name) != plain.get(name))
    counts = ", ".join(f"{list(ours.values()).count(word)} {word}" for word in sorted(set(ours.values())))
    outcome = f"no difference: {counts}"
    if names:
        outcome = f"{names[:5]} differ"
    elif len(ours) < 300:
        outcome = f"only {len(ours)} results: {said}"
    yield Check("overlay/pjdfstest", outcome, f"{len(ours)} tests")
