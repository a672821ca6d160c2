"""The encrypted sets that `scripts/bench read` reads, made once by stock tools and kept in the work directory.

    WORK/key.pem, cert.pem          RSA 2048
    WORK/tiny/                      10,000 sets of three small parts
    WORK/<MiB>/whole.zip            the plaintext artifact: a stored zip of incompressible members
    WORK/<MiB>/base64/ der/ streamed/   its 64 MiB segments, encrypted by openssl in three forms
    WORK/<MiB>/hundred/             the same zip in 100 segments
    WORK/<MiB>/single/              a zip three times as long in one part; single.json has digests of its plaintext
"""
import concurrent.futures
import hashlib
import json
import os
import random
import shutil
import struct
import subprocess
import uuid
import zipfile
import zlib

from bench.common import MIB, require_space, run, say

MEMBERS = 64
SAMPLES = 500
SAMPLE = 64 << 10
SETS = 10_000
FORMS = {"base64": [], "der": ["-outform", "DER"], "streamed": ["-stream"]}


def set_name(key):
    return f"export-{uuid.uuid5(uuid.NAMESPACE_OID, str(key))}"


def random_chunks(seed, length):
    source = random.Random(seed)
    while length > 0:
        yield source.randbytes(min(MIB, length))
        length -= MIB


class Inputs:
    def __init__(self, work, mib):
        self.mib, self.dir = mib, work / str(mib)
        self.dir.mkdir(parents=True, exist_ok=True)
        require_space(work, 13 * mib / 1024)
        self.key, self.cert = work / "key.pem", work / "cert.pem"
        self.whole = self.dir / "whole.zip"
        if not self.cert.exists():
            self._make_key()
        self.tiny = once(work / "tiny", self._tiny)
        once(self.whole, self._whole)
        self.stores = {form: once(self.dir / form, lambda to, f=form: self._split_set(to, "64m", FORMS[f])) for form in FORMS}
        self.hundred = once(self.dir / "hundred", lambda to: self._split_set(to, f"{self._hundredth()}k", []))
        self.single = once(self.dir / "single", self._single)
        self.single_samples = self.dir / "single.json"

    def _make_key(self):
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=bench",
            "-keyout", self.key, "-out", self.cert)
        self.key.chmod(0o600)

    def _encrypt(self, source, target, options=()):
        run("openssl", "cms", "-encrypt", "-binary", "-aes256", *options, "-in", source, "-out", target, self.cert)

    def _whole(self, to):
        """1 MiB less than asked for is content, so that 64 MiB segments come out even."""
        tree = self.dir / "members"
        (tree / "UCS/Interaction/Chat").mkdir(parents=True, exist_ok=True)
        for i in range(MEMBERS):
            with open(tree / f"UCS/Interaction/Chat/Chat-{i:02}.json", "wb") as file:
                file.writelines(random_chunks(i, (self.mib - 1) * MIB // MEMBERS))
        run("zip", "-0", "-q", "-r", "-X", to, "UCS", cwd=tree)
        shutil.rmtree(tree)

    def _hundredth(self):
        """A segment size in KiB that gives 100 segments: a few headers more than the hundredth."""
        return self.whole.stat().st_size // 1024 // 100 + 2

    def _split_set(self, to, segment, options):
        plain = to.with_suffix(".split")
        shutil.rmtree(plain, ignore_errors=True)
        plain.mkdir()
        to.mkdir()
        run("zip", "-q", "-s", segment, self.whole, "--out", plain / f"{set_name(to.stem)}.zip")
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda part: self._encrypt(part, to / f"{part.name}.smime", options), sorted(plain.iterdir())))
        shutil.rmtree(plain)

    def _single(self, to):
        """One part beyond what openssl can decrypt; its plaintext is never on disk, its digests are kept."""
        to.mkdir()
        size = 3 * self.mib * MIB
        target = to / f"{set_name(to.stem)}.zip.smime"
        command = ["openssl", "cms", "-encrypt", "-binary", "-stream", "-aes256", "-out", target, self.cert]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as openssl:
            tee = Digests(openssl.stdin, size)
            with zipfile.ZipFile(tee, "w") as archive:
                for i in range(MEMBERS):
                    with archive.open(f"UCS/Interaction/Chat/Chat-{i:02}.json", "w") as member:
                        for chunk in random_chunks(1000 + i, size // MEMBERS):
                            member.write(chunk)
            openssl.stdin.close()
        if openssl.returncode != 0:
            raise SystemExit("bench: openssl cms -encrypt -stream failed")
        self.dir.joinpath("single.json").write_text(json.dumps(tee.result()))

    def _tiny(self, to):
        """Eight real encrypted sets, copied under 10,000 ids: each is still opened and its key unwrapped on its own."""
        templates = []
        plain = to.with_suffix(".part")
        for template in range(8):
            segments = []
            for segment in tiny_split_zip(template):
                plain.write_bytes(segment)
                cipher = to.with_suffix(".smime")
                self._encrypt(plain, cipher)
                segments.append(cipher.read_bytes())
            templates.append(segments)
        plain.unlink()
        cipher.unlink()
        to.mkdir()
        for i in range(SETS):
            for suffix, segment in zip(("z01", "z02", "zip"), templates[i % len(templates)]):
                (to / f"{set_name(i)}.{suffix}.smime").write_bytes(segment)


class Digests:
    """Passes a stream on and keeps the digest of the whole and of `SAMPLES` ranges at random offsets."""

    def __init__(self, out, size):
        self.out, self.at, self.sha = out, 0, hashlib.sha256()
        self.tail, self.samples = b"", []
        self.offsets = sorted((random.Random(size).randrange(size - SAMPLE) for _ in range(SAMPLES)), reverse=True)

    def write(self, data):
        self.out.write(data)
        self.sha.update(data)
        window, start = self.tail + data, self.at - len(self.tail)
        self.at += len(data)
        while self.offsets and self.offsets[-1] + SAMPLE <= self.at:
            offset = self.offsets.pop()
            self.samples.append([offset, hashlib.sha256(window[offset - start:][:SAMPLE]).hexdigest()])
        self.tail = window[-SAMPLE:]
        return len(data)

    def flush(self):
        self.out.flush()

    def result(self):
        return {"size": self.at, "sha256": self.sha.hexdigest(), "samples": self.samples}


def once(path, build):
    """Builds an input under another name and renames it when it is whole, unless an earlier run has."""
    if not path.exists():
        say("preparing", path)
        making = path.with_name(f"{path.stem}.making{path.suffix}")
        shutil.rmtree(making, ignore_errors=True) if making.is_dir() else making.unlink(missing_ok=True)
        build(making)
        making.rename(path)
    return path


def tiny_split_zip(seed):
    """Three segments, one small stored member in each (APPNOTE 4.3, 8.5); Info-ZIP's smallest segment is 64 KiB."""
    source = random.Random(seed)
    segments, central = [b"PK\7\10", b"", b""], b""
    for disk in range(3):
        name, data = f"UCS/Contact/Contact-{disk}.json".encode(), source.randbytes(source.randrange(200, 2500))
        shared = struct.pack("<5H3L2H", 10, 0, 0, 0, 0x21, zlib.crc32(data), len(data), len(data), len(name), 0)
        central += b"PK\1\2" + struct.pack("<H", 10) + shared + struct.pack("<3H2L", 0, disk, 0, 0, len(segments[disk])) + name
        segments[disk] += b"PK\3\4" + shared + name + data
    end = struct.pack("<4H2LH", 2, 2, 3, 3, len(central), len(segments[2]), 0)
    segments[2] += central + b"PK\5\6" + end
    return segments
