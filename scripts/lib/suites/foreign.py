"""Inputs that other projects keep for their own tests: the odd zips of Go's archive/zip, and the CMS messages of Python's
cryptography. Each is mounted beside a good one, which must stay readable."""
import base64
import errno
import hashlib
import os
import pathlib
import re
import shutil
import stat
import zipfile

from suites.common import Check, log_of, output
from suites import tools

PATIENCE = 30
ERRNOS = ["EIO", "ENOKEY", "EKEYREJECTED", "EOPNOTSUPP", "EACCES", "EBADMSG"]
LISTING = "find . -type f -exec sha256sum {} + ; find . -type l -printf '%l\\t%p\\n'"


def go_archives():
    """Those that are zips or should have been, by their names."""
    folders = sorted(pathlib.Path("/usr/share").glob("go-1.*/src/archive/zip/testdata"))
    if not folders:
        raise SystemExit("suites: no testdata of archive/zip: scripts/setup --suites installs it")
    for path in sorted(folders[-1].iterdir()):
        if path.suffix == ".base64":
            yield path.stem, base64.b64decode(path.read_bytes())
        elif path.suffix in (".zip", ".notzip"):
            yield path.name, path.read_bytes()


def as_python_reads(path):
    """SHA-256 of the members by their names; symbolic links have their target as content. None if it is no zip to Python."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {member.filename: hashlib.sha256(archive.read(member)).hexdigest()
                    for member in archive.infolist() if not member.is_dir()}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError):
        return None


def as_mounted(tree):
    """The same of a directory in the mount, by find and sha256sum."""
    status, out, err = output("bash", "-c", LISTING, cwd=tree, timeout=PATIENCE)
    found = {}
    for line in out.decode(errors="surrogateescape").splitlines():
        what, _, name = line.partition("\t" if "\t" in line else "  ")
        found[name.removeprefix("./")] = what if "\t" not in line else hashlib.sha256(what.encode()).hexdigest()
    return found, "" if status == 0 and not err else errno_in(err)


def errno_of(path):
    """The name of the error that reading a file gives, if any."""
    status, _, err = output("cat", path, timeout=PATIENCE)
    return errno_in(err) if status else None


def errno_in(err):
    """The name of the error that a program has complained of last."""
    text = err.decode(errors="replace").strip().rpartition(": ")[2]
    return next((name for name in ERRNOS if os.strerror(getattr(errno, name)) == text), text)


def reason(mount, stem):
    """What the log says of a set."""
    lines = [line for line in log_of(mount).splitlines() if stem in line]
    return lines[-1].rpartition(f"{stem}")[2] if lines else "nothing in the log"


def good_one(place, store):
    plain = place.root / f"{store.name}-good"
    plain.mkdir()
    with zipfile.ZipFile(plain / "export-good.zip", "w") as archive:
        archive.writestr("good.txt", b"good\n" * 1000)
    place.encrypt(plain / "export-good.zip", store)


def still_good(mount):
    return (mount.path / "contents/export-good/good.txt").read_bytes() == b"good\n" * 1000


def odd_zips(place):
    store, plain = place.new("go-zips"), place.new("go-zips-plain")
    archives = dict(go_archives())
    for name, data in archives.items():
        path = plain / f"export-{name.partition('.')[0]}.zip"
        path.write_bytes(data)
        place.encrypt(path, store)
    good_one(place, store)
    with place.mount(store) as mount:
        for name in archives:
            yield Check(f"go-zip/{name}", one_zip(mount, plain, f"export-{name.partition('.')[0]}"))
        yield Check("go-zip/good-one-beside-them", "readable" if still_good(mount) else "not readable")


def one_zip(mount, plain, stem):
    expected = as_python_reads(plain / f"{stem}.zip")
    refused = errno_of(mount.path / "artifacts" / f"{stem}.zip")
    if refused:
        return f"{refused}, Python {'refuses it too' if expected is None else 'reads it'}"
    found, said = as_mounted(mount.path / "contents" / stem)
    same = output("cmp", mount.path / "artifacts" / f"{stem}.zip", plain / f"{stem}.zip")[0] == 0
    if expected is None:
        return f"{said or f'{len(found)} files'} in contents/, Python refuses it"
    if found != expected or said:
        only_here, only_there = sorted(found.items() - expected.items()), sorted(expected.items() - found.items())
        return f"here {[name for name, _ in only_here]}, Python {[name for name, _ in only_there]} {said}".strip()
    return "as Python reads it" + ("" if same else ", the zip itself changed")


def cms_vectors(place):
    """The plaintexts of these messages are no zips: that one is decrypted shows in that this is what is refused of it."""
    store, key = place.new("vectors"), place.root / "vectors-key.pem"
    vectors = tools.vectors()
    shutil.copyfile(vectors / "x509/custom/ca/rsa_key.pem", key)
    key.chmod(stat.S_IRUSR)
    good_one(place, store)
    messages = sorted((vectors / "pkcs7").iterdir())
    for path in messages:
        shutil.copyfile(path, store / f"export-{path.name}.zip.smime")
    with place.mount(store, "--key", place.key, key=key) as mount:
        for path in messages:
            refused = errno_of(mount.path / "artifacts" / f"export-{path.name}.zip")
            said = re.sub(r"^[^:]*: ", "", reason(mount, f"export-{path.name}")).partition(": recipient")[0]
            yield Check(f"cms/{path.name}", f"{refused}: {said}")
        yield Check("cms/good-one-beside-them", "readable" if still_good(mount) else "not readable")
