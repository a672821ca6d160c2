"""fio's verification: every 4 KiB of a file begins with a header that has its place and its CRC-32C, so fio knows by itself what is right.

One such file is in an export three times: before the zip, as the program of a self-extracting zip is, so that fio can read
it in artifacts/ from its first byte on; and as a stored and as a deflated member, for contents/. What artifacts/ has of the
members is read through fuse-zip, a file system of somebody else's on top of ours. (Not by --offset: fio's mmap engine
reads from the beginning of the file whatever the offset.)
"""
import json
import shutil
import subprocess
import time
import zipfile

from bench.common import MNT, Mount, run
from suites.common import Check, output

BLOCK = 4096
ENGINES = [("psync", "read"), ("psync", "randread"), ("mmap", "read"), ("libaio", "read"), ("io_uring", "read")]
RESIDENT_MIB = 128


def make(place, blocks, name):
    """An encrypted export of `blocks` verifiable blocks, cut into parts of 32 MiB."""
    work = place.new(f"{name}-plain")
    data, whole = work / "data", work / "export-fio.zip"
    run("fio", "--name=make", f"--filename={data}", f"--size={blocks * BLOCK}", "--rw=write", "--bs=4k", "--ioengine=psync",
        "--verify=crc32c", "--do_verify=0", "--buffer_compress_percentage=60", "--refill_buffers", cwd=work)
    shutil.copyfile(data, whole)
    with zipfile.ZipFile(whole, "a") as archive:
        archive.write(data, "stored.bin", zipfile.ZIP_STORED)
        archive.write(data, "deflated.bin", zipfile.ZIP_DEFLATED, compresslevel=1)
    run("split", "-b", "32m", "-a", "3", "--numeric-suffixes=1", whole, f"{whole}.")
    store = place.new(name)
    for number, part in enumerate(sorted(work.glob("export-fio.zip.*"))):
        place.encrypt(part, store, number)
    shutil.rmtree(work)
    return store


def fio(path, *options, wrapper=()):
    """Runs fio on a file that it must not change; (exit status, its first job, what it complained of)."""
    command = [*wrapper, "fio", "--readonly", "--name=read", f"--filename={path}", "--bs=4k", "--output-format=json", *options]
    status, out, err = output(*command, cwd="/")
    try:
        job = json.loads(out[out.index(b"{"):])["jobs"][0]
    except (ValueError, IndexError):
        job = {"error": 1, "read": {"total_ios": 0}}
    return status, job, err.decode(errors="replace").strip()


def verify(path, blocks, engine, order, direct, wrapper=()):
    """Whether every block was found right; what is wrong otherwise."""
    status, job, said = fio(path, f"--size={blocks * BLOCK}", f"--rw={order}", f"--ioengine={engine}", f"--direct={direct}",
                            "--iodepth=16", "--verify=crc32c", wrapper=wrapper)
    if status == 0 and job["error"] == 0 and job["read"]["total_ios"] == blocks and not said:
        return None
    return f"{engine} {order} direct={direct}: exit {status}, {job['read']['total_ios']} of {blocks} blocks, {said[:200]}"


def fuse_zip(archive):
    return Mount(["fuse-zip", "-f", "-r", archive, MNT], "stored.bin")


def members(mount):
    """What fio reads in a mount, by the names of its checks."""
    tree = mount.path / "contents" / "export-fio"
    return {"fio/artifact": mount.path / "artifacts" / "export-fio.zip",
            "fio/contents-stored": tree / "stored.bin", "fio/contents-deflated": tree / "deflated.bin"}


def verified(place):
    blocks = 2048 if place.quick else 22_000
    store = make(place, blocks, "fio")
    place.fio_store, place.fio_blocks = store, blocks
    with place.mount(store) as mount, fuse_zip(mount.path / "artifacts" / "export-fio.zip") as stacked:
        through = {"fio/artifact-stored": stacked.path / "stored.bin", "fio/artifact-deflated": stacked.path / "deflated.bin"}
        for name, path in (members(mount) | through).items():
            wrong = [said for engine, order in ENGINES for direct in (0, 1)
                     if (said := verify(path, blocks, engine, order, direct))]
            runs = 2 * len(ENGINES)
            yield Check(name, "every block right" if not wrong else "; ".join(wrong), f"{runs} runs, {runs * blocks:,} blocks")


def control(place):
    """One bit of the middle part is changed: CBC has no integrity, so it is for fio to notice."""
    blocks = 1024
    store = make(place, blocks, "fio-control")
    part, = store.iterdir()
    with open(part, "r+b") as file:
        # In the prefix and in the stored member, at a quarter of each.
        for at in (blocks * BLOCK // 4, blocks * BLOCK * 5 // 4):
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1]))
    with place.mount(store) as mount:
        for check, name in (("fio/control-artifact", "fio/artifact"), ("fio/control-contents", "fio/contents-stored")):
            path = members(mount)[name]
            said = [verify(path, blocks, engine, order, 0) or "" for engine, order in ENGINES]
            noticed = sum("verify" in text for text in said)
            yield Check(check, f"{noticed} of {len(ENGINES)} runs fail", "one bit of the stored part changed")


def under_stress(place):
    """fio verifies while stress-ng loads the processor, the memory and the disk of the store."""
    scratch = place.new("stress")
    stress = subprocess.Popen(["stress-ng", "--vm", "1", "--vm-bytes", "256m", "--hdd", "1", "--hdd-bytes", "64m", "--iomix", "1",
                               "--iomix-bytes", "64m", "--temp-path", str(scratch), "--timeout", "600"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wrong, done, end = [], 0, time.monotonic() + (6 if place.quick else 60)
    try:
        with place.mount(place.fio_store) as mount:
            paths = list(members(mount).values())
            while time.monotonic() < end or done < len(ENGINES):
                engine, order = ENGINES[done % len(ENGINES)]
                wrong += filter(None, [verify(paths[done % 3], place.fio_blocks, engine, order, done % 2)])
                done += 1
        if stress.poll() is not None:
            wrong.append(f"stress-ng ended by itself with {stress.returncode}")
    finally:
        stress.terminate()
        stress.wait()
    yield Check("stress-ng", "every block right" if not wrong else "; ".join(wrong), f"{done} runs, {done * place.fio_blocks:,} blocks")


def load(place):
    """256 clients at random places, each block verified, past the page cache."""
    length = 600 if place.long_load else 10 if place.quick else 60
    with place.mount(place.fio_store) as mount:
        before, _ = mount.memory()
        status, job, said = fio(members(mount)["fio/artifact"], f"--size={place.fio_blocks * BLOCK}", "--rw=randread",
                                "--ioengine=psync", "--direct=1", "--numjobs=256", "--time_based", f"--runtime={length}",
                                "--group_reporting", "--verify=crc32c")
        _, peak = mount.memory()
        answers = members(mount)["fio/artifact"].stat().st_size > 0
    read, outcome = job["read"], []
    if status or job["error"] or said:
        outcome.append(f"exit {status}, error {job['error']}, {said[:200]}")
    if peak > RESIDENT_MIB:
        outcome.append(f"{peak:.0f} MiB resident")
    if not answers:
        outcome.append("the mount does not answer")
    late = read.get("clat_ns", {}).get("percentile", {}).get("99.900000", 0) / 1e6
    figures = (f"{length} s, {read['total_ios']:,} reads, {read.get('iops', 0):,.0f} IOPS, p99.9 {late:.0f} ms, "
               f"resident {before:.0f} MiB, at most {peak:.0f}")
    yield Check("fio/256-clients", "; ".join(outcome) or f"no error, below {RESIDENT_MIB} MiB", figures)
