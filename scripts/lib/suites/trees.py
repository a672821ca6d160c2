"""Many archives of several producers: what contents/ shows of each, beside what stock readers make of the plain, joined zip.

The plain zip is not the one that was encrypted, but what OpenSSL decrypts from the store and Info-ZIP joins. Its specification
is libarchive's, its extracted tree 7-Zip's; mtree, rsync, hashdeep, diff and cmp do the comparing.
"""
import concurrent.futures
import os
import shutil
import sqlite3
import time

from bench.common import run
from suites.common import Check, files_below, output, random_tree

FILES = 500
# Each makes x.zip, maybe with other parts, of what is in the directory `tree`.
PRODUCERS = [
    "cd tree && zip -qr ../x.zip .",
    "cd tree && zip -qr -0 ../x.zip .",
    "cd tree && zip -qr -Z bzip2 ../x.zip .",
    "cd tree && zip -qr -s 256k ../x.zip .",
    "cd tree && zip -qr - . | cat >../x.zip",
    "cd tree && bsdtar -c --format zip -f ../x.zip *",
    "cd tree && 7z a -bso0 -bsp0 -tzip ../x.zip .",
    "cd tree && 7z a -bso0 -bsp0 -tzip -mm=LZMA ../x.zip .",
    "cd tree && zip -qr ../whole.zip . && cd .. && split -b 300k -a 3 --numeric-suffixes=1 whole.zip x.zip.",
    "cd tree && python3 -m zipfile -c ../x.zip *",
]
MTREE_KEYWORDS = "mtree:!all,mtree:sha256,mtree:size,mtree:type"


class Forest:
    """A store of `count` archives, and for each of them NAME.zip, NAME.mtree and the extracted NAME/ in `plain`."""

    def __init__(self, place, count):
        self.place, self.count = place, count
        self.store, self.plain = place.new("forest"), place.new("forest-plain")
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as workers:
            list(workers.map(self._archive, range(count)))
        self.names = sorted(path.stem for path in self.plain.glob("*.zip"))

    def _archive(self, number):
        name, work = f"export-{number:03}", self.place.new(f"making-{number}")
        tree, decrypted = work / "tree", work / "decrypted"
        tree.mkdir()
        decrypted.mkdir()
        random_tree(tree, number, FILES)
        if number == 0:
            database(tree / "numbers.sqlite")
        shell(work, PRODUCERS[number % len(PRODUCERS)])
        for part in sorted(work.glob("x.z*")):
            part = part.rename(work / part.name.replace("x.", f"{name}.", 1))
            self.place.encrypt(part, self.store, number)
            self.place.decrypt(self.store / f"{part.name}.smime", decrypted / part.name, number)
        shell(decrypted, f"""
            if [ -e {name}.zip.001 ]; then cat {name}.zip.* >../joined.zip
            elif [ -e {name}.z01 ]; then zip -q -s 0 {name}.zip --out ../joined.zip
            else mv {name}.zip ../joined.zip; fi""")
        plain = self.plain / f"{name}.zip"
        (work / "joined.zip").rename(plain)
        run("7z", "x", "-bso0", "-bsp0", f"-o{self.plain / name}", plain)
        # mtree wants to hear of the directory itself, and of it first.
        shell(self.plain, f"""(echo '#mtree'; echo '. type=dir'
            bsdtar -cf - --format=mtree --options='{MTREE_KEYWORDS}' @{name}.zip | sed 1d) >{name}.mtree""")
        shutil.rmtree(work)


def database(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY, square INTEGER)")
        connection.executemany("INSERT INTO numbers VALUES (?, ?)", ((n, n * n) for n in range(5000)))
    connection.close()
    os.utime(path, (1_770_000_000, 1_770_000_000))


def shell(directory, script):
    run("bash", "-euo", "pipefail", "-c", script, cwd=directory)


COMPARISONS = {
    # Quiet when they find no difference; {ours} is in the mount, {plain} the extracted tree, {spec} libarchive's of the zip.
    "mtree": "mtree -f {spec} -p {ours}",
    # The root of an archive is not in it, and has no time there.
    "rsync": "touch -r {ours} {plain}; rsync -nac --delete --itemize-changes {ours}/ {plain}/",
    "hashdeep": "cd {plain} && hashdeep -rl . >{sums} && cd {ours} && hashdeep -rla -k {sums} . >/dev/null",
    "diff": "diff -r --no-dereference {ours} {plain}",
}


def compared(tool, forest, ours, name):
    """What a tool has to say against a tree, if anything."""
    paths = {"ours": ours / "contents" / name, "plain": forest.plain / name, "spec": forest.plain / f"{name}.mtree",
             "sums": forest.place.root / "sums"}
    status, out, err = output("bash", "-c", COMPARISONS[tool].format(**paths))
    return (status != 0 or out + err != b"") and f"{name}: exit {status}, {(out + err).decode(errors='replace')[:200]!r}"


def compare(forest, tools, ours):
    for tool in tools:
        started = time.monotonic()
        wrong = [said for name in forest.names if (said := compared(tool, forest, ours, name))]
        entries = sum(len((forest.plain / f"{name}.mtree").read_text().splitlines()) - 2 for name in forest.names)
        figures = f"{len(forest.names)} archives, {entries:,} entries, {time.monotonic() - started:.0f} s"
        yield Check(f"trees/{tool}", "no difference" if not wrong else f"{len(wrong)} differ: {wrong[:4]}", figures)


def same(place):
    forest = place.forest = Forest(place, 20 if place.quick else 200)
    with place.mount(forest.store) as mount:
        yield from compare(forest, COMPARISONS, mount.path)
        # What was not split at the zip's own seams is shown byte for byte.
        whole = [name for name in forest.names if not (forest.store / f"{name}.z01.smime").exists()]
        wrong = [name for name in whole if output("cmp", mount.path / f"artifacts/{name}.zip", forest.plain / f"{name}.zip")[0]]
        size = sum((forest.plain / f"{name}.zip").stat().st_size for name in whole)
        yield Check("trees/cmp", "no difference" if not wrong else f"{wrong}", f"{len(whole)} zips, {size / 1e6:,.0f} MB")


def control(place):
    """One byte of one file is another one in what is compared with, its time is not: every tool must say so."""
    forest = place.forest
    name = forest.names[1]
    victim = max(files_below(forest.plain / name), key=lambda path: path.stat().st_size)
    right, stamp, zip_path = victim.read_bytes(), victim.stat(), forest.plain / f"{name}.zip"
    spec = forest.plain / f"{name}.mtree"
    right_spec, right_zip = spec.read_text(), zip_path.read_bytes()
    victim.write_bytes(changed(right))
    os.utime(victim, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    at = right_spec.index("sha256digest=") + len("sha256digest=")
    spec.write_text(right_spec[:at] + ("1" if right_spec[at] == "0" else "0") + right_spec[at + 1:])
    zip_path.write_bytes(changed(right_zip))
    try:
        with place.mount(forest.store) as mount:
            noticed = [tool for tool in COMPARISONS if compared(tool, forest, mount.path, name)]
            if output("cmp", mount.path / f"artifacts/{name}.zip", zip_path)[0] == 1:
                noticed.append("cmp")
    finally:
        victim.write_bytes(right)
        os.utime(victim, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        spec.write_text(right_spec)
        zip_path.write_bytes(right_zip)
    yield Check("trees/control", ", ".join(noticed) + " notice it", "one byte changed in what is compared with")


def changed(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1:]
