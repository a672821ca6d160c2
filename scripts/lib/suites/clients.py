"""Everyday programs in the mount and in a plain copy: the same exit status, 0, and the same output; and all of them again
while the mount and they themselves have little memory."""
import os
import subprocess

from suites.cgroup import MemoryGroup, NoControlGroup
from suites import fio
from suites.common import Check, output

# Run by bash in the mount, and in a directory of the same layout that holds plain copies. $zip, $json, $tree, $file and $db
# are paths in it, $scratch is an empty directory.
CLIENTS = {
    "jq": "jq . $json",
    "jq -s": "jq -s 'map(keys), .' $json",
    "unzip -t": "unzip -tq $zip",
    "unzip -p": "unzip -p $zip | sha256sum",
    "zipinfo -v": "zipinfo -v $zip",
    "7z t": "7z t $zip",
    "bsdtar -t": "bsdtar -tvf $zip",
    "bsdtar -x": "bsdtar -xf $zip -C $scratch && diff -r $scratch $tree && ls -R $scratch",
    "python3 zipfile": "python3 -c 'import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); print(z.testzip(), z.namelist())' $zip",
    "openssl dgst": "openssl dgst -sha256 $zip",
    "git hash-object": "git hash-object $zip",
    "tail -c": "tail -c 1000 $zip | xxd",
    "head -c": "head -c 100000 $zip | xxd",
    "dd direct": "dd if=$zip iflag=direct bs=64k status=none | sha256sum",
    "split": "split -b 64k --filter=sha256sum $zip",
    "cp -a": "cp -a $tree $scratch && diff -r $scratch $tree && find $scratch -type f -printf '%P %s %m %T@\\n' | sort",
    "rsync -a": "rsync -ac $tree/ $scratch/ && rsync -nac --itemize-changes $tree/ $scratch/ && ls -R $scratch",
    "tar": "tar -c --sort=name --owner=0 --group=0 --numeric-owner -C $tree . | sha256sum",
    "du": "find $tree -type f -exec du -b {} + | sort",
    # Directories have a size of their own in every file system.
    "ls -lR": "ls -lR --time-style=full-iso $tree | grep -v -e ^total -e ^d",
    "ncdu": "ncdu -0xo- $tree | jq '[.. | arrays | .[1:][] | objects | select(.name) | [.name, .asize]] | sort'",
    "find": "find $tree -type f -mtime +1 -newermt 2026-01-01 -printf '%P %s %m %T@\\n' | sort",
    "file": "find $tree -type f -exec file {} + | sort",
    "rg": "rg --sort path -c Nachricht $tree",
    "rg --mmap": "rg --sort path --mmap -c Nachricht $tree",
    "rg -z": "rg --sort path -z -c Nachricht $tree",
    "grep -r": "grep -rc Nachricht $tree | sort",
    "sha256sum": "find $tree -type f -exec sha256sum {} + | sort",
    "less": "less -fFX $file",
    "vim -R": "vim -R -u NONE -es '+%p' +qa! $file",
    "sqlite3": "sqlite3 \"file:$db?immutable=1\" 'PRAGMA integrity_check; SELECT count(*), sum(square) FROM numbers'",
    "wc": "wc $file $zip",
    "strings": "strings -n 12 $zip",
}
LEAST_MIB = 64


def paths(forest, mount):
    """The first archive, in the mount, and laid out as there from plain copies."""
    name = forest.names[0]
    copy = forest.place.root / "plain-copy"
    if not copy.exists():
        for folder in ("artifacts", "contents", "history"):
            (copy / folder).mkdir(parents=True)
        os.link(forest.plain / f"{name}.zip", copy / "artifacts" / f"{name}.zip")
        (copy / "contents" / name).symlink_to(forest.plain / name)
        (copy / "history" / f"{name}.json").write_bytes((mount.path / "history" / f"{name}.json").read_bytes())
    file = max((path for path in (forest.plain / name).rglob("*.json")), key=lambda path: path.stat().st_size)
    variables = {"zip": f"artifacts/{name}.zip", "json": f"history/{name}.json", "tree": f"contents/{name}/.",
                 "file": f"contents/{name}/{file.relative_to(forest.plain / name)}", "db": f"contents/{name}/numbers.sqlite"}
    return copy, variables


def client(script, directory, variables, place, wrapper=()):
    scratch = place.new("client-scratch")
    try:
        env = {**os.environ, **variables, "scratch": str(scratch), "TERM": "dumb", "HOME": str(place.root)}
        # IFS: no path is taken apart at its blanks.
        command = [*wrapper, "bash", "-uo", "pipefail", "-c", f"IFS=; {script}"]
        status, out, err = output(*command, cwd=directory, env=env, timeout=120)
    finally:
        subprocess.run(["rm", "-rf", scratch], check=True)
    return status, out.replace(os.fsencode(scratch), b"SCRATCH"), err


def compared(mount, forest, wrapper=()):
    copy, variables = paths(forest, mount)
    for name, script in CLIENTS.items():
        ours = client(script, mount.path, variables, forest.place, wrapper)
        plain = client(script, copy, variables, forest.place)
        yield name, outcome(ours, plain)


def outcome(ours, plain):
    (status, out, err), (wanted, text, complaint) = ours, plain
    if wanted != 0 or not text:
        return f"exit {wanted} on the plain copy: {complaint[:200]!r}"
    if status != 0:
        return f"exit {status}: {err[:200]!r}"
    return "as on a plain copy" if (out, err) == (text, complaint) else f"other output: {(out + err)[:200]!r}"


def matrix(place):
    with place.mount(place.forest.store) as mount:
        for name, said in compared(mount, place.forest):
            yield Check(f"clients/{name}", said)


def control(place):
    """Each client is given another archive than that of the plain copy; those that look inside must differ."""
    forest = place.forest
    with place.mount(forest.store) as mount:
        copy, variables = paths(forest, mount)
        other = {key: value.replace(forest.names[0], forest.names[1]) for key, value in variables.items()}
        same = [name for name, script in CLIENTS.items()
                if outcome(client(script, mount.path, other, place), client(script, copy, variables, place)) == "as on a plain copy"]
    yield Check("clients-control", f"the same all the same: {', '.join(same) or 'none'}", "each client reads another archive")


def in_little_memory(place):
    """The mount and each client in one control group."""
    try:
        with MemoryGroup(LEAST_MIB) as group:
            yield limited(place, group)
    except NoControlGroup as error:
        yield Check("memory", f"no control group that limits memory: {error}")


def limited(place, group):
    wrapper = group.wrapper()
    with place.mount(place.forest.store, wrapper=wrapper) as mount:
        wrong = [f"{name}: {said}" for name, said in compared(mount, place.forest, wrapper) if said != "as on a plain copy"]
        _, small = mount.memory()
    with place.mount(place.fio_store, wrapper=wrapper) as mount:
        wrong += filter(None, [fio.verify(path, place.fio_blocks, "psync", "read", 0, wrapper=wrapper)
                               for path in fio.members(mount).values()])
        _, large = mount.memory()
    if killed := group.killed():
        wrong.append(f"{killed} processes killed")
    return Check("memory", "all clients as on a plain copy, every block right" if not wrong else "; ".join(wrong),
                 f"{LEAST_MIB} MiB for mount, clients and page cache: {group.used()} used; "
                 f"mount resident {small:.0f}, with fio {large:.0f}")
